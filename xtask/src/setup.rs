//! `setup`: what the full build and test need, installed once, each thing said before it is done.

use crate::exec;
use crate::programs;
use crate::repo;
use crate::suites;
use anyhow::{Result, bail};
use std::process::{Command, ExitCode};

/// Debian packages and what they are for.
const PACKAGES: [(&str, &str); 11] = [
    ("rustc-web", "the compiler of the kernel programs"),
    ("cargo-web", "its cargo"),
    ("libstd-rust-web-dev-bpf", "core for the BPF target"),
    ("llvm-22-dev", "LLVM for bpf-linker"),
    ("llvm-22", "llvm-objcopy"),
    ("gcc", "linker, and compiler of the tests' actor"),
    ("libc6-dev", "C library of the tests' actor"),
    ("binutils", "strip, for the programs in the virtual machine"),
    ("qemu-system-x86", "virtual machines with other kernels"),
    ("busybox-static", "tools inside the virtual machine"),
    ("xz-utils", "xz, for the modules of the virtual machine's kernel"),
];

/// Programs from crates.io: name, version, further arguments of `cargo install`.
const CRATES: [(&str, &str, &[&str]); 2] = [
    ("bpf-linker", "0.13.0", &["--no-default-features", "--features", "llvm-22"]),
    ("cargo-deny", "0.20.2", &[]),
];

/// Parts of the Rust toolchain: cargo's subcommand and rustup's component.
const COMPONENTS: [(&str, &str); 2] = [("clippy", "clippy"), ("fmt", "rustfmt")];

/// Says what is there and what is missing; fails if something is.
pub(crate) fn check() -> ExitCode {
    let missing = Missing::find();
    for (name, purpose) in PACKAGES {
        report_one(!missing.packages.contains(&name), "Debian package", name, purpose);
    }
    for (name, version, _) in CRATES {
        report_one(!missing.crates.iter().any(|other| other.0 == name), "crates.io", name, version);
    }
    for (_, component) in COMPONENTS {
        report_one(
            !missing.components.contains(&component),
            "Rust component",
            component,
            "for this toolchain",
        );
    }
    if missing.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("something is missing: `cargo xtask setup` (as root) installs it");
    ExitCode::FAILURE
}

fn report_one(there: bool, kind: &str, name: &str, detail: &str) {
    println!("{:7}  {kind:14}  {name} ({detail})", if there { "there" } else { "MISSING" });
}

/// Installs what is missing.
pub(crate) fn install() -> Result<()> {
    let missing = Missing::find();
    if missing.is_empty() {
        println!("setup: everything is there");
        return Ok(());
    }
    install_packages(&missing.packages)?;
    for (name, version, arguments) in missing.crates {
        println!("setup: building {name} {version} from crates.io into cargo's bin folder (minutes)");
        let mut cargo = Command::new("cargo");
        exec::without_cargo_environment(&mut cargo).env("LLVM_PREFIX", "/usr/lib/llvm-22");
        exec::run(
            cargo.args(["install", name, "--version", version, "--locked", "--force"]).args(arguments),
        )?;
    }
    if !missing.components.is_empty() {
        println!("setup: adding {} to the Rust toolchain", missing.components.join(", "));
        exec::run(Command::new("rustup").args(["component", "add"]).args(&missing.components))?;
    }
    let left = Missing::find();
    if !left.is_empty() {
        bail!("still missing after setup: {left:?}");
    }
    Ok(())
}

fn install_packages(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if repo::find_program("apt-get").is_none() {
        bail!("no apt-get here: set-up is written for Debian 12; missing: {list}");
    }
    if !suites::is_root()? {
        bail!(
            "apt-get needs root; as root: apt-get update && apt-get install -y --no-install-recommends {list}"
        );
    }
    println!("setup: installing Debian's packages {list}");
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "Dpkg::Use-Pty=0"]);
        apt
    };
    exec::run(apt().arg("update"))?;
    exec::run(apt().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

#[derive(Debug)]
struct Missing {
    packages: Vec<&'static str>,
    crates: Vec<(&'static str, &'static str, &'static [&'static str])>,
    components: Vec<&'static str>,
}

impl Missing {
    fn find() -> Self {
        Self {
            packages: PACKAGES.map(|(name, _)| name).into_iter().filter(|name| !is_installed(name)).collect(),
            crates: CRATES.into_iter().filter(|(name, version, _)| !has_version(name, version)).collect(),
            components: COMPONENTS
                .into_iter()
                .filter(|(tool, _)| !has_subcommand(tool))
                .map(|(_, name)| name)
                .collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.packages.is_empty() && self.crates.is_empty() && self.components.is_empty()
    }
}

fn is_installed(package: &str) -> bool {
    let status = exec::capture(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]));
    status.is_ok_and(|status| status == "installed")
}

/// bpf-linker decides the object's bytes, so its version must be the one; of the others any will do.
fn has_version(program: &str, version: &str) -> bool {
    let Some(path) = repo::find_program(program) else { return false };
    let found = exec::version(Command::new(path).arg("--version"));
    found.is_ok_and(|found| program != "bpf-linker" || found.ends_with(&format!(" {version}")))
}

fn has_subcommand(tool: &str) -> bool {
    exec::capture(programs::cargo().args([tool, "--version"])).is_ok()
}
