//! The kernel tests in virtual machines, one Debian kernel after the other.

mod cpio;
mod guest;
mod image;
mod qemu;
mod serial;
mod sources;

use crate::libtest::Output;
use crate::programs::Programs;
use crate::repo::Repo;
use crate::report::KernelRun;
use anyhow::{Context, Result};
use qemu::{Accelerator, Boot, Ended};
use std::fs;
use std::path::Path;

/// Suites whose newest cloud kernel is always tested: 5.10 and 6.12.
const SUITES: [&str; 2] = ["bullseye", "bookworm-security"];
/// Further ones of the whole matrix: 6.1 and the newest there is.
const MATRIX_SUITES: [&str; 2] = ["bookworm", "sid"];

/// Runs the tests on each kernel; one that cannot be fetched or booted is a run that broke, not a missing one.
pub(crate) fn run(
    repo: &Repo,
    programs: &Programs,
    matrix: bool,
    arguments: &[String],
) -> Result<Vec<KernelRun>> {
    let folder = repo.target.join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let initramfs = folder.join("initramfs.cpio");
    let archive =
        guest::initramfs(programs, arguments, &folder).context("failed to put the guest together")?;
    fs::write(&initramfs, &archive).with_context(|| format!("failed to write {}", initramfs.display()))?;
    println!("guest: {} ({} MiB)", initramfs.display(), archive.len() >> 20);

    let mut accelerator = Accelerator::Kvm;
    let suites = SUITES.iter().chain(if matrix { &MATRIX_SUITES[..] } else { &[] });
    let runs = suites.map(|suite| {
        on_suite(suite, &folder.join(suite), &initramfs, &mut accelerator)
            .unwrap_or_else(|error| KernelRun::broken(suite, format!("{error:#}")))
    });
    Ok(runs.collect())
}

fn on_suite(
    suite: &str,
    folder: &Path,
    initramfs: &Path,
    accelerator: &mut Accelerator,
) -> Result<KernelRun> {
    fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let image = image::of_suite(suite, folder)?;
    let short = image.release.split(['-', '+']).next().unwrap_or(&image.release).to_owned();
    println!("\nkernel {} (Debian {suite}) in QEMU", image.release);
    let boot_with =
        |accelerator| qemu::boot(accelerator, &image.vmlinuz, initramfs, |line| show(&short, line));
    let mut boot = boot_with(*accelerator)?;
    if *accelerator == Accelerator::Kvm && boot.init_after.is_none() {
        println!("KVM does not boot here, so QEMU emulates (slower): {}", last_words(&boot));
        *accelerator = Accelerator::Tcg;
        boot = boot_with(*accelerator)?;
    }
    let log = folder.join("serial.log");
    fs::write(&log, boot.lines.join("\n")).with_context(|| format!("failed to write {}", log.display()))?;
    let init_after =
        boot.init_after.map_or("never".to_owned(), |time| format!("after {:.1} s", time.as_secs_f64()));
    println!(
        "init {init_after}, ended after {:.1} s ({accelerator:?}); whole output: {}",
        boot.took.as_secs_f64(),
        log.display()
    );

    let output = Output::read(&boot.lines.join("\n"));
    let problem = match boot.ended {
        Ended::Status(_) => None,
        Ended::Early => Some(format!("the machine ended before its tests: {}", last_words(&boot))),
        Ended::Deadline(max) => {
            Some(format!("ended by xtask after {} s: {}", max.as_secs(), last_words(&boot)))
        }
    };
    let status = if let Ended::Status(status) = boot.ended { Some(status) } else { None };
    Ok(KernelRun::new(image.release, output, status, problem))
}

fn show(kernel: &str, line: &str) {
    if !line.trim().is_empty() {
        println!("{kernel} | {line}");
    }
}

fn last_words(boot: &Boot) -> String {
    let words = boot.lines.iter().rev().find(|line| !line.trim().is_empty());
    words.map_or("it printed nothing".to_owned(), |line| format!("its last line: {line}"))
}
