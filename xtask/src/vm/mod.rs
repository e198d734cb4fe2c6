//! The kernel tests in virtual machines with Debian's kernels, two at a time.

mod cpio;
mod guest;
mod image;
mod modules;
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
use std::thread;
use std::time::Instant;

/// Which virtual machines, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Machines {
    /// Every kernel, not only those of CI.
    pub(crate) matrix: bool,
    /// One after the other, not two at a time.
    pub(crate) one_by_one: bool,
}

/// Machines that run at once. On two cores, with others at work, CI's two took 564 s side by side and 665 s one after
/// the other: tests wait more than they compute.
const AT_ONCE: usize = 2;
/// Suites whose newest cloud kernel is always tested: 5.10 and 6.12.
const SUITES: [&str; 2] = ["bullseye", "bookworm-security"];
/// Further ones of the whole matrix: 6.1 and the newest there is.
const MATRIX_SUITES: [&str; 2] = ["bookworm", "sid"];

/// Runs the tests on each kernel; one that cannot be fetched or booted is a run that broke, not a missing one.
pub(crate) fn run(
    repo: &Repo,
    programs: &Programs,
    machines: Machines,
    arguments: &[String],
) -> Result<Vec<KernelRun>> {
    let folder = repo.target.join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let archive =
        guest::initramfs(programs, arguments, &folder).context("failed to put the guest together")?;
    println!("guest: {} MiB", archive.len() >> 20);

    let started = Instant::now();
    let suites: Vec<&str> =
        SUITES.into_iter().chain(MATRIX_SUITES.into_iter().filter(|_| machines.matrix)).collect();
    let run = |suite: &str, mut accelerator: Accelerator| {
        let run = on_suite(suite, &folder.join(suite), &archive, &mut accelerator)
            .unwrap_or_else(|error| KernelRun::broken(suite, format!("{error:#}")));
        (run, accelerator)
    };
    let at_once = if machines.one_by_one { 1 } else { AT_ONCE };
    let mut accelerator = Accelerator::Kvm;
    let mut runs = Vec::new();
    for suites in suites.chunks(at_once) {
        let (run, first) = (&run, accelerator);
        let ended = thread::scope(|scope| {
            let started: Vec<_> =
                suites.iter().map(|suite| (suite, scope.spawn(move || run(suite, first)))).collect();
            let ended = started.into_iter().map(|(suite, thread)| {
                let broken = |_| (KernelRun::broken(suite, "its thread panicked".to_owned()), first);
                thread.join().unwrap_or_else(broken)
            });
            ended.collect::<Vec<_>>()
        });
        for (run, found) in ended {
            runs.push(run);
            // What did not boot with KVM is not tried with it again.
            accelerator = found;
        }
    }
    println!("virtual machines: {:.1} s", started.elapsed().as_secs_f64());
    Ok(runs)
}

/// A kernel that dies before init is booted so often in all.
const BOOTS_MAX: u32 = 3;

fn on_suite(suite: &str, folder: &Path, guest: &[u8], accelerator: &mut Accelerator) -> Result<KernelRun> {
    fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let image = image::of_suite(suite, folder)?;
    // The kernel unpacks archives one behind the other.
    let initramfs = folder.join("initramfs.cpio");
    fs::write(&initramfs, [guest, &modules::archive(&image)?].concat())
        .with_context(|| format!("failed to write {}", initramfs.display()))?;
    let short = image.release.split(['-', '+']).next().unwrap_or(&image.release).to_owned();
    println!("\nkernel {} (Debian {suite}) in QEMU", image.release);
    // Of the last boot: one that KVM did not bring up has no tests.
    let mut output = Output::default();
    let mut boot_with = |accelerator| {
        output = Output::default();
        qemu::boot(accelerator, &image.vmlinuz, &initramfs, |line| {
            show(&short, line);
            output.line(line, Instant::now());
        })
    };
    let mut boot = boot_with(*accelerator)?;
    if *accelerator == Accelerator::Kvm && boot.init_after.is_none() {
        println!("KVM does not boot here, so QEMU emulates (slower): {}", last_words(&boot));
        *accelerator = Accelerator::Tcg;
        boot = boot_with(*accelerator)?;
    }
    // Seen of Debian's 6.12 and 7.2: an int3 where the kernel patches its own code while it boots, under emulation.
    for _ in 1..BOOTS_MAX {
        if boot.init_after.is_some() {
            break;
        }
        println!("{short} died before anything of ours ran, so it boots again: {}", last_words(&boot));
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
