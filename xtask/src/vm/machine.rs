//! One kernel's tests, in as many boots as they take: a machine that dies in the middle goes on with the tests that have
//! not run.
//!
//! Emulated machines do die: Debian's kernels patch their own code at each attach to a tracepoint, and QEMU's emulation
//! does not always see it. That is told, with the kernel's own words. A test in which the machine dies twice has failed.

use super::guest;
use super::image::Image;
use super::modules;
use super::qemu::{self, Accelerator, Boot, Ended};
use crate::libtest::Output;
use crate::report::KernelRun;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Enough for what needs another CPU.
const CPUS: u32 = 2;
/// From the first boot to the end of the last: CI's two and everything else stay within an hour.
const RUN_MAX: Duration = Duration::from_secs(40 * 60);
/// Boots in which nothing of ours came to run.
const SILENT_BOOTS_MAX: u32 = 3;
/// Boots in whose middle the machine died.
const DEATHS_MAX: usize = 4;
/// Of what a dying kernel says, lines that say why.
const TELLING: [&str; 6] = ["Kernel panic", "BUG:", "Oops", "RIP:", "int3:", "rcu: INFO"];
/// Such lines that are shown of one death.
const TOLD_MAX: usize = 4;

/// A kernel and where its files lie.
pub(crate) struct Machine<'a> {
    pub(crate) image: &'a Image,
    pub(crate) folder: &'a Path,
    /// What all machines have in common.
    pub(crate) guest: &'a [u8],
}

impl Machine<'_> {
    /// Runs the tests. What does not boot with KVM is emulated, now and later.
    pub(crate) fn run(&self, accelerator: &mut Accelerator) -> Result<KernelRun> {
        let started = Instant::now();
        let mut output = Output::default();
        let mut log = String::new();
        let mut deaths = Vec::new();
        let mut suspects = BTreeSet::new();
        let mut silent_boots = 0;
        let (problem, status) = loop {
            let boot = self.boot(*accelerator, RUN_MAX.saturating_sub(started.elapsed()), &mut output)?;
            log += &boot.lines.join("\n");
            log.push('\n');
            if *accelerator == Accelerator::Kvm && boot.init_after.is_none() {
                println!("KVM does not boot here, so QEMU emulates (slower): {}", last_words(&boot));
                *accelerator = Accelerator::Tcg;
                continue;
            }
            let death = match boot.ended {
                Ended::Status(status) => break (None, Some(status)),
                Ended::Early => format!("it died: {}", last_words(&boot)),
                Ended::Silence(max) => format!("silent for {} s: {}", max.as_secs(), last_words(&boot)),
                Ended::Deadline(_) if started.elapsed() >= RUN_MAX => {
                    let last = last_words(&boot);
                    break (Some(format!("ended by xtask after {} s: {last}", RUN_MAX.as_secs())), None);
                }
                Ended::Deadline(max) => {
                    format!("no init after {} s: {}", max.as_secs(), last_words(&boot))
                }
            };
            println!("{} boots again: {death}", self.short());
            if boot.init_after.is_none() {
                silent_boots += 1;
                if silent_boots == SILENT_BOOTS_MAX {
                    break (Some(death), None);
                }
                continue;
            }
            let suspect = output.unfinished().map(str::to_owned);
            let blamed = suspect.as_deref().filter(|name| !suspects.insert((*name).to_owned()));
            output.broken_off(blamed, Instant::now());
            deaths.push(format!("in {}: {death}", suspect.as_deref().unwrap_or("no test")));
            if deaths.len() > DEATHS_MAX {
                break (Some(format!("it died {} times, the last time {death}", deaths.len())), None);
            }
        };
        let path = self.folder.join("serial.log");
        fs::write(&path, log).with_context(|| format!("failed to write {}", path.display()))?;
        println!(
            "{} took {:.1} s ({accelerator:?}); whole output: {}",
            self.image.release,
            started.elapsed().as_secs_f64(),
            path.display()
        );
        Ok(KernelRun::new(self.image.release.clone(), output, status, problem).with_deaths(deaths))
    }

    fn boot(&self, accelerator: Accelerator, run_max: Duration, output: &mut Output) -> Result<Boot> {
        let initramfs = self.initramfs(output)?;
        let short = self.short();
        qemu::boot(accelerator, CPUS, &self.image.vmlinuz, &initramfs, run_max, |line| {
            if !line.trim().is_empty() {
                println!("{short} | {line}");
            }
            output.line(line, Instant::now());
        })
    }

    /// Archives one behind the other, as the kernel unpacks them.
    fn initramfs(&self, output: &Output) -> Result<PathBuf> {
        let path = self.folder.join("initramfs.cpio");
        let done = guest::done(output.tests.keys())?;
        fs::write(&path, [self.guest, &modules::archive(self.image)?, &done].concat())
            .with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }

    fn short(&self) -> &str {
        self.image.release.split(['-', '+']).next().unwrap_or(&self.image.release)
    }
}

/// Why the kernel says that it died, or the last line if it does not.
fn last_words(boot: &Boot) -> String {
    let telling: Vec<&str> = boot
        .lines
        .iter()
        .map(String::as_str)
        .filter(|line| line.starts_with("kernel: ") && TELLING.iter().any(|word| line.contains(word)))
        .collect();
    if !telling.is_empty() {
        // The first tell the cause, later ones what came of it.
        return telling[..telling.len().min(TOLD_MAX)].join(" | ");
    }
    let words = boot.lines.iter().rev().find(|line| !line.trim().is_empty());
    words.map_or("it printed nothing".to_owned(), |line| format!("its last line: {line}"))
}
