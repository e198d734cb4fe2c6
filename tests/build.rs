//! Compiles the actor, the C program whose deeds the kernel tests watch.
//!
//! It is C because it must not share the collector's view of the world, and because it makes raw system calls, which
//! would be unsafe code here. It is static so that it also runs in a machine that has nothing else.
#![allow(clippy::print_stdout, reason = "cargo reads a build script's stdout")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SOURCES: [&str; 19] = [
    "actor.c",
    "answers.c",
    "calls32.c",
    "cases.c",
    "compat.c",
    "connects.c",
    "edges.c",
    "ends.c",
    "far.c",
    "given_up.c",
    "hooks.c",
    "mixed.c",
    "opens.c",
    "places.c",
    "spaces.c",
    "spawn.c",
    "terminal.c",
    "uring.c",
    "ways.c",
];
const FLAGS: [&str; 8] =
    ["-std=gnu11", "-static", "-O1", "-g0", "-Wall", "-Wextra", "-Werror=implicit", "-pthread"];

fn main() {
    println!("cargo::rerun-if-changed=actor");
    println!("cargo::rerun-if-env-changed=CC");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("actor");
    match compile(&compiler, &out) {
        Ok(()) => println!("cargo::rustc-env=ACTOR_BIN={}", out.display()),
        Err(why) => {
            for line in why.lines() {
                println!("cargo::error={line}");
            }
        }
    }
}

fn compile(compiler: &str, out: &Path) -> Result<(), String> {
    let sources = SOURCES.map(|name| Path::new("actor").join(name));
    let Output { status, stderr, .. } =
        Command::new(compiler).args(FLAGS).arg("-o").arg(out).args(sources).output().map_err(|error| {
            format!("the tests' actor needs a C compiler: {compiler}: {error} (Debian: apt-get install gcc libc6-dev)")
        })?;
    let stderr = String::from_utf8_lossy(&stderr);
    if !status.success() {
        return Err(format!("{compiler} could not compile the tests' actor statically\n{stderr}"));
    }
    for line in stderr.lines() {
        println!("cargo::warning={line}");
    }
    Ok(())
}
