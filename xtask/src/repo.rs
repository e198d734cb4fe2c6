//! Where things are: the checkout, the target directory, cargo's own folder.

use anyhow::{Context, Result, bail};
use std::env;
use std::path::{Path, PathBuf};

/// The checkout this command works on.
pub(crate) struct Repo {
    /// Top folder of the checkout.
    pub(crate) root: PathBuf,
    /// Cargo's target directory: `CARGO_TARGET_DIR`, else `target/` of the checkout.
    pub(crate) target: PathBuf,
}

impl Repo {
    pub(crate) fn locate() -> Result<Self> {
        let cwd = env::current_dir().context("failed to read the current directory")?;
        // `cargo run` sets it to xtask's folder, whatever folder the user stands in.
        let start = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| cwd.clone(), PathBuf::from);
        let Some(root) = start.ancestors().find(|dir| dir.join("xtask/Cargo.toml").is_file()) else {
            bail!("no checkout of this project above {}", start.display());
        };
        let target = match env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => cwd.join(dir),
            None => root.join("target"),
        };
        Ok(Self { root: root.to_path_buf(), target })
    }

    /// A path inside the checkout.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }
}

/// Cargo's home: registry sources and installed binaries.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("CARGO_HOME").filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(dir));
    }
    let home = env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?;
    Ok(Path::new(&home).join(".cargo"))
}

/// An executable by name: in cargo's own bin folder, then in `PATH`, then where Debian puts an administrator's tools.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_bin = cargo_home().ok().map(|home| home.join("bin"));
    cargo_bin
        .into_iter()
        .chain(env::split_paths(&path))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}
