//! One command in an emulated machine whose time is counted in instructions, on as many CPUs as one likes.

use super::qemu::{self, Accelerator, Ended};
use super::{guest, image};
use crate::repo::Repo;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// From QEMU's start to the command's end.
const RUN_MAX: Duration = Duration::from_secs(15 * 60);
/// Lines that are shown of a machine that did not come to its end.
const LAST_LINES: usize = 5;

/// A kernel and a guest, to be booted as often as one likes.
pub(crate) struct Emulated {
    vmlinuz: PathBuf,
    initramfs: PathBuf,
    /// `uname -r` of it.
    pub(crate) release: String,
}

impl Emulated {
    /// Of a Debian suite's kernel, with these programs at these paths, and a command of the shell.
    pub(crate) fn new(repo: &Repo, suite: &str, programs: &[(&Path, &str)], command: &str) -> Result<Self> {
        let folder = repo.target.join("vm").join(suite);
        fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        let image = image::of_suite(suite, &folder)?;
        let archive =
            guest::initramfs(programs, command, &folder).context("failed to put the guest together")?;
        let initramfs = folder.join("emulated.cpio");
        fs::write(&initramfs, archive).with_context(|| format!("failed to write {}", initramfs.display()))?;
        Ok(Self { vmlinuz: image.vmlinuz, initramfs, release: image.release })
    }

    /// Boots it and gives the lines that the command wrote.
    pub(crate) fn run(&self, cpus: u32) -> Result<Vec<String>> {
        let boot = qemu::boot(Accelerator::Counted, cpus, &self.vmlinuz, &self.initramfs, RUN_MAX, |_| ())?;
        if boot.ended != Ended::Status(0) {
            let last = &boot.lines[boot.lines.len().saturating_sub(LAST_LINES)..];
            bail!("a machine of {cpus} CPUs ended with {:?}: {}", boot.ended, last.join(" | "));
        }
        Ok(boot.lines)
    }
}
