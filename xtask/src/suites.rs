//! `test`: which parts run, in which order, into one report.

use crate::ebpf;
use crate::exec;
use crate::libtest::Output;
use crate::programs::{self, KERNEL_TARGET, Programs};
use crate::repo::Repo;
use crate::report::{KernelRun, Report};
use crate::vm::{self, Machines};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// `cargo test` without the kernel tests, with doc tests.
    Unit,
    /// The kernel tests on this machine's kernel; needs root.
    Kernel,
    /// The kernel tests in virtual machines with Debian's kernels.
    Vm,
    /// All of these, and `build-ebpf --check`.
    All,
}

/// Runs parts into a report; a part that cannot run is a problem in it, and the others go on.
pub(crate) fn run(repo: &Repo, part: Part, machines: &Machines, arguments: &[String], report: &mut Report) {
    let wants = |wanted| part == wanted || part == Part::All;
    if wants(Part::Unit) {
        report.step("unit tests", |report| unit(repo, arguments, report));
    }
    if wants(Part::Kernel) || wants(Part::Vm) {
        report.step("kernel tests", |report| {
            let programs = Programs::build(repo)?;
            if wants(Part::Kernel) {
                report.add_kernels([on_this_kernel(&programs, arguments)?]);
            }
            if wants(Part::Vm) {
                report.add_kernels(vm::run(repo, &programs, machines, arguments)?);
            }
            Ok(())
        });
    }
    if part == Part::All {
        report.step("build-ebpf --check", |_| ebpf::check(repo));
    }
}

fn unit(repo: &Repo, arguments: &[String], report: &mut Report) -> Result<()> {
    let mut tests = programs::cargo();
    tests.current_dir(&repo.root).args([
        "test",
        "--workspace",
        "--locked",
        "--no-fail-fast",
        "--lib",
        "--bins",
    ]);
    for target in test_targets(repo)? {
        tests.args(["--test", &target]);
    }
    let mut docs = programs::cargo();
    docs.current_dir(&repo.root).args(["test", "--workspace", "--locked", "--no-fail-fast", "--doc"]);
    let mut failed = Vec::new();
    for command in [&mut tests, &mut docs] {
        command.arg("--").args(arguments);
        let (output, success) = run_tests(command)?;
        if !success {
            failed.push(format!("`{}` failed", exec::shown(command)));
        }
        report.add_output(output);
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(())
}

/// Integration tests of the workspace but for the kernel tests.
fn test_targets(repo: &Repo) -> Result<BTreeSet<String>> {
    let mut metadata = programs::cargo();
    metadata.current_dir(&repo.root).args(["metadata", "--no-deps", "--locked", "--format-version", "1"]);
    let metadata: Value =
        serde_json::from_str(&exec::capture(&mut metadata)?).context("cargo metadata is no JSON")?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let targets = packages.iter().filter_map(|package| package["targets"].as_array()).flatten();
    let is_test =
        |target: &&Value| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k == "test"));
    let names = targets.filter(is_test).filter_map(|target| target["name"].as_str().map(str::to_owned));
    Ok(names.filter(|name| name != KERNEL_TARGET).collect())
}

fn on_this_kernel(programs: &Programs, arguments: &[String]) -> Result<KernelRun> {
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("failed to read the kernel's release")?;
    let release = release.trim().to_owned();
    println!("\nkernel {release} of this machine");
    let mut tests = Command::new(&programs.kernel_tests);
    tests.args(["--color", "never"]).args(arguments);
    if !is_root()? {
        let reason = "needs root: the collector loads programs into the kernel";
        let names = listed_tests(&exec::capture(tests.arg("--list"))?);
        names.iter().for_each(|name| println!("test {name} ... ignored, {reason}"));
        return Ok(KernelRun::skipped(release, names, reason));
    }
    mount_tracefs()?;
    tests.env("COLLECTORD_BIN", &programs.collectord).env("ACTOR_BIN", &programs.actor);
    let (output, success) = run_tests(&mut tests)?;
    Ok(KernelRun::new(release, output, Some(i32::from(!success)), None))
}

/// Mounts tracefs where nobody has: without it the tracepoints of system calls cannot be attached. A machine with systemd
/// has it mounted.
fn mount_tracefs() -> Result<()> {
    const TRACEFS: &str = "/sys/kernel/tracing";
    if Path::new(TRACEFS).join("events").is_dir() {
        return Ok(());
    }
    exec::run(Command::new("mount").args(["-t", "tracefs", "nodev", TRACEFS]))
}

/// Runs a test program and shows what it prints as it comes.
fn run_tests(command: &mut Command) -> Result<(Output, bool)> {
    println!("+ {}", exec::shown(command));
    let mut output = Output::default();
    let status = exec::each_line(command, |line| {
        println!("{line}");
        output.line(line, Instant::now());
    })?;
    Ok((output, status.success()))
}

/// `NAME: test` lines.
fn listed_tests(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_suffix(": test")).map(|name| name.trim().to_owned()).collect()
}

/// This process may do what root may.
pub(crate) fn is_root() -> Result<bool> {
    let own = fs::metadata("/proc/self").context("failed to look at /proc/self")?;
    Ok(own.uid() == 0)
}
