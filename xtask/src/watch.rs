//! `run`: the daemon's main job from a checkout.

use crate::exec;
use crate::programs;
use crate::repo::{self, Repo};
use crate::suites;
use anyhow::{Context, Result, bail};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Builds collectord and becomes `collectord watch`. Returns only if that fails.
pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    let mut cargo = programs::cargo();
    cargo.current_dir(&repo.root).args(["build", "--release", "--locked", "--package", "collectord"]);
    exec::run(&mut cargo)?;
    let mut watch = Command::new(repo.target.join("release/collectord"));
    watch.arg("watch").args(arguments);
    if !suites::is_root()? {
        let sudo = if repo::find_program("sudo").is_some() { "sudo " } else { "" };
        bail!("loading programs into the kernel needs root; run as root: {sudo}{}", exec::shown(&watch));
    }
    println!("+ {}", exec::shown(&watch));
    let error = watch.exec();
    Err(error).with_context(|| format!("failed to start {}", exec::shown(&watch)))
}
