//! Which compiler, linker and object tool build the kernel programs on this machine.

use crate::exec;
use crate::repo;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const TARGET: &str = "bpfel-unknown-none";

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// How `core` for BPF is had.
enum Route {
    /// Debian's rustc-web with its precompiled `core`.
    Debian,
    /// A rustup nightly that builds `core` from rust-src.
    Nightly,
}

pub(crate) struct Toolchain {
    route: Route,
    linker: PathBuf,
    pub(crate) objcopy: PathBuf,
}

impl Toolchain {
    pub(crate) fn find() -> Result<Self> {
        let (Some(linker), Some(objcopy)) = (repo::find_program("bpf-linker"), find_objcopy()) else {
            bail!("bpf-linker or llvm-objcopy 22 is missing: run `cargo xtask setup`");
        };
        let route = if debian_has_bpf_core() {
            Route::Debian
        } else if nightly_has_rust_src() {
            Route::Nightly
        } else {
            bail!(
                "no Rust that builds for {TARGET}: neither Debian's rustc-web with libstd-rust-web-dev-bpf nor a \
                 rustup nightly with rust-src: run `cargo xtask setup`"
            );
        };
        Ok(Self { route, linker, objcopy })
    }

    /// The route in words.
    pub(crate) fn route(&self) -> &'static str {
        match self.route {
            Route::Debian => "Debian's rustc-web with its precompiled core",
            Route::Nightly => "rustup's nightly with -Z build-std=core",
        }
    }

    /// A cargo of this toolchain, free of the environment of the cargo that started us.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = match self.route {
            Route::Debian => Command::new(DEBIAN_CARGO),
            Route::Nightly => Command::new("rustup"),
        };
        exec::without_cargo_environment(&mut cargo);
        match self.route {
            Route::Debian => cargo.env("RUSTC", DEBIAN_RUSTC),
            Route::Nightly => cargo.args(["run", "nightly", "cargo", "-Zbuild-std=core"]),
        };
        cargo
            // aya-ebpf needs one feature gate.
            .env("RUSTC_BOOTSTRAP", "1")
            // Not in the flags: those are part of what the compiler hashes, and this path is the machine's.
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker);
        cargo
    }

    /// The exact versions that decide the object's bytes.
    pub(crate) fn versions(&self) -> Result<Vec<String>> {
        let mut rustc = match self.route {
            Route::Debian => Command::new(DEBIAN_RUSTC),
            Route::Nightly => rustup_nightly("rustc"),
        };
        exec::without_cargo_environment(&mut rustc);
        let verbose = exec::capture(rustc.arg("-vV"))?;
        let mut lines = verbose.lines();
        let release = lines.next().context("rustc -vV printed nothing")?;
        let llvm = lines.find(|line| line.starts_with("LLVM version")).unwrap_or("LLVM version unknown");
        let linker = exec::version(Command::new(&self.linker).arg("--version"))?;
        let objcopy = exec::capture(Command::new(&self.objcopy).arg("--version"))?;
        let objcopy =
            objcopy.lines().find(|line| line.contains("LLVM version")).unwrap_or("unknown version").trim();
        Ok(vec![format!("{release}, {llvm}"), linker, format!("llvm-objcopy, {objcopy}")])
    }
}

fn find_objcopy() -> Option<PathBuf> {
    repo::find_program("llvm-objcopy-22").or_else(|| {
        let beside_llvm = PathBuf::from("/usr/lib/llvm-22/bin/llvm-objcopy");
        beside_llvm.is_file().then_some(beside_llvm)
    })
}

/// Debian's compiler is installed and brings `core` for BPF.
fn debian_has_bpf_core() -> bool {
    if !Path::new(DEBIAN_CARGO).is_file() || !Path::new(DEBIAN_RUSTC).is_file() {
        return false;
    }
    let mut rustc = Command::new(DEBIAN_RUSTC);
    exec::without_cargo_environment(&mut rustc);
    let libdir = exec::capture(rustc.args(["--print", "target-libdir", "--target", TARGET]));
    libdir.is_ok_and(|dir| Path::new(dir.trim()).is_dir())
}

fn nightly_has_rust_src() -> bool {
    let mut rustc = rustup_nightly("rustc");
    exec::without_cargo_environment(&mut rustc);
    let sysroot = exec::capture(rustc.args(["--print", "sysroot"]));
    sysroot.is_ok_and(|dir| Path::new(dir.trim()).join("lib/rustlib/src/rust/library/core").is_dir())
}

fn rustup_nightly(tool: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", tool]);
    command
}
