//! `build-ebpf`: from the kernel programs' sources to the committed object, the same bytes on every machine.

pub(crate) mod crate_ids;
mod stamp;
mod toolchain;

use crate::exec;
use crate::repo::{self, Repo};
use anyhow::{Context, Result, bail};
use stamp::Stamp;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use toolchain::Toolchain;

const PACKAGE: &str = "collector-ebpf";
const OBJECT: &str = "collector-ebpf/collector.bpf.o";
/// The object's name in a target directory.
const STRIPPED: &str = "collector.bpf.o";
const STAMP: &str = "collector-ebpf/collector.bpf.txt";

/// Rebuilds the committed object and the text beside it.
pub(crate) fn build(repo: &Repo) -> Result<()> {
    require_crate(repo)?;
    let toolchain = Toolchain::find()?;
    println!("kernel toolchain: {}", toolchain.route());
    let object = compile(repo, &toolchain, &repo.target.join("ebpf"), &[])?;
    let stamp = Stamp::new(toolchain.versions()?, stamp::source_hashes(&repo.root)?, &object);
    write(&repo.path(OBJECT), &object)?;
    write(&repo.path(STAMP), stamp.to_text().as_bytes())?;
    println!("wrote {OBJECT} ({} bytes, sha256 {}) and {STAMP}", object.len(), stamp.object);
    Ok(())
}

/// Builds an object whose programs write log lines, beside the committed one, and says how to use it.
pub(crate) fn build_with_log(repo: &Repo) -> Result<()> {
    require_crate(repo)?;
    let toolchain = Toolchain::find()?;
    println!("kernel toolchain: {}", toolchain.route());
    let target = repo.target.join("ebpf-log");
    compile(repo, &toolchain, &target, &["--features", "log"])?;
    let object = target.join(STRIPPED);
    println!("wrote {}; to read its lines:", object.display());
    println!(
        "  cargo run --package collectord --features ebpf-log -- watch -vv --object {}",
        object.display()
    );
    Ok(())
}

/// Fails if the committed object is not what the sources give.
pub(crate) fn check(repo: &Repo) -> Result<()> {
    require_crate(repo)?;
    let committed = read(&repo.path(OBJECT))?;
    let text = String::from_utf8(read(&repo.path(STAMP))?).with_context(|| format!("{STAMP} is not text"))?;
    let stamp = Stamp::parse(&text).with_context(|| format!("failed to read {STAMP}"))?;
    let toolchain = Toolchain::find()?;
    println!("kernel toolchain: {}", toolchain.route());

    let here = Stamp::new(toolchain.versions()?, stamp::source_hashes(&repo.root)?, &committed);
    if here.object != stamp.object {
        bail!(
            "{OBJECT} has sha256 {}, {STAMP} says {}: run `cargo xtask build-ebpf`",
            here.object,
            stamp.object
        );
    }
    let stale = stamp.changed_sources(&here);
    if !stale.is_empty() {
        bail!("sources changed since {OBJECT} was built: {}: run `cargo xtask build-ebpf`", stale.join(", "));
    }
    if here.tools != stamp.tools {
        println!(
            "this machine's toolchain is another one than the object's, so only the sources' hashes were compared:"
        );
        println!("  object:  {}", stamp.tools.join("; "));
        println!("  machine: {}", here.tools.join("; "));
        return Ok(());
    }
    let scratch = Scratch::new(repo.target.join(format!("ebpf-check-{}", process::id())))?;
    let rebuilt = compile(repo, &toolchain, &scratch.0, &[])?;
    if rebuilt != committed {
        bail!(
            "{OBJECT} is not what its sources give: committed {} bytes, sha256 {}; rebuilt {} bytes, sha256 {}",
            committed.len(),
            here.object,
            rebuilt.len(),
            stamp::sha256(&rebuilt)
        );
    }
    println!(
        "{OBJECT} is what its sources give, byte for byte ({} bytes, sha256 {})",
        committed.len(),
        here.object
    );
    Ok(())
}

/// Compiles, links and strips; gives the object's bytes.
fn compile(repo: &Repo, toolchain: &Toolchain, target: &Path, more: &[&str]) -> Result<Vec<u8>> {
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(repo.path(PACKAGE))
        .args(["build", "--release", "--locked", "--package", PACKAGE, "--target", toolchain::TARGET])
        .args(more)
        .arg("--target-dir")
        .arg(target)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(repo, target)?);
    crate_ids::wrap(&mut cargo)?;
    exec::run(&mut cargo)?;

    let linked = target.join(toolchain::TARGET).join("release").join(PACKAGE);
    let stripped = target.join(STRIPPED);
    exec::run(Command::new(&toolchain.objcopy).arg("--strip-debug").arg(&linked).arg(&stripped))?;
    read(&stripped)
}

/// Flags that are the same on every machine but for the folders they map away.
fn rustflags(repo: &Repo, target: &Path) -> Result<String> {
    let mut flags: Vec<String> = ["--cfg", "bpf_target_arch=\"x86_64\"", "-Cdebuginfo=2", "-Clink-arg=--btf"]
        .map(str::to_owned)
        .to_vec();
    // The last one that matches wins, and the target directory often lies inside the checkout.
    let cargo_home = repo::cargo_home()?;
    for (folder, name) in [(repo.root.as_path(), "/checkout"), (&cargo_home, "/cargo"), (target, "/target")] {
        flags.push(format!("--remap-path-prefix={}={name}", folder.display()));
    }
    Ok(flags.join("\u{1f}"))
}

fn require_crate(repo: &Repo) -> Result<()> {
    let manifest = repo.path(PACKAGE).join("Cargo.toml");
    if !manifest.is_file() {
        bail!("no kernel programs to build: {} is not there", manifest.display());
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("failed to write {}", path.display()))
}

/// A folder that goes away with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("failed to remove {}: {error}", self.0.display());
        }
    }
}
