//! Virtual machines with Debian's kernels: the kernel tests, two machines at a time, and single commands (`emulated.rs`).

mod cpio;
mod emulated;
mod guest;
mod image;
mod machine;
mod modules;
mod qemu;
mod serial;
mod sources;

pub(crate) use emulated::Emulated;

use crate::programs::Programs;
use crate::repo::Repo;
use crate::report::KernelRun;
use anyhow::{Context, Result};
use machine::Machine;
use qemu::Accelerator;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;

/// Which virtual machines, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machines {
    /// These Debian suites alone; none named: those of CI.
    pub(crate) suites: Vec<String>,
    /// Every kernel, not only those of CI.
    pub(crate) matrix: bool,
    /// One after the other, not two at a time.
    pub(crate) one_by_one: bool,
}

impl Machines {
    fn suites(&self) -> Vec<&str> {
        if !self.suites.is_empty() {
            return self.suites.iter().map(String::as_str).collect();
        }
        SUITES.into_iter().chain(MATRIX_SUITES.into_iter().filter(|_| self.matrix)).collect()
    }
}

/// Machines that run at once. On two cores, with others at work, CI's two took 564 s side by side and 665 s one after
/// the other: tests wait more than they compute.
const AT_ONCE: usize = 2;
/// Suites whose newest cloud kernel is always tested: 5.10 and 6.12.
pub(crate) const SUITES: [&str; 2] = ["bullseye", "bookworm-security"];
/// Further ones of the whole matrix: 6.1 and the newest there is.
pub(crate) const MATRIX_SUITES: [&str; 2] = ["bookworm", "sid"];

/// Runs the tests on each kernel; one that cannot be fetched or booted is a run that broke, not a missing one.
pub(crate) fn run(
    repo: &Repo,
    programs: &Programs,
    machines: &Machines,
    arguments: &[String],
) -> Result<Vec<KernelRun>> {
    let folder = repo.target.join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let archive = guest::tests(programs, arguments, &folder).context("failed to put the guest together")?;
    println!("guest: {} MiB", archive.len() >> 20);

    let started = Instant::now();
    let suites = machines.suites();
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

fn on_suite(suite: &str, folder: &Path, guest: &[u8], accelerator: &mut Accelerator) -> Result<KernelRun> {
    fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let image = image::of_suite(suite, folder)?;
    println!("\nkernel {} (Debian {suite}) in QEMU", image.release);
    Machine { image: &image, folder, guest }.run(accelerator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_suites_are_tested_alone_and_the_matrix_is_all() {
        let suites = |machines: Machines| machines.suites().join(" ");
        assert_eq!(suites(Machines::default()), "bullseye bookworm-security");
        let all = suites(Machines { matrix: true, ..Machines::default() });
        assert_eq!(all, "bullseye bookworm-security bookworm sid");
        assert_eq!(suites(Machines { suites: vec!["sid".to_owned()], ..Machines::default() }), "sid");
    }
}
