//! Compiles the IPC messages. No protoc is needed: protox is a compiler in Rust.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/collection.proto");
    let messages = protox::compile(["collection.proto"], ["proto"])?;
    // Maps in their order: equal messages are equal bytes.
    prost_build::Config::new().btree_map(["."]).compile_fds(messages)?;
    Ok(())
}
