//! `cargo xtask`: set-up, kernel object, tests and CI as one typed command.
//!
//! Every other tool (cargo, apt, qemu, bpf-linker) is started as a process whose command line is printed first;
//! nothing is downloaded or installed by a command that does not say so in its name or help.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a build tool's job is to print what it does")]

mod afterwards;
mod bench;
mod ci;
mod ebpf;
mod exec;
mod libtest;
mod programs;
mod repo;
mod report;
mod setup;
mod suites;
#[cfg(test)]
mod tidy;
mod vm;
mod watch;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Set-up, kernel object, tests and CI of this project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the full build and test need: Debian's packages (as root) and programs from crates.io.
    Setup {
        /// Install nothing: say what is there and what is missing, and fail if something is.
        #[arg(long)]
        check: bool,
    },
    /// Build the kernel programs into the committed object collector-ebpf/collector.bpf.o.
    BuildEbpf {
        /// Change nothing: fail if the committed object is not what the sources give.
        #[arg(long, conflicts_with = "log")]
        check: bool,
        /// Leave the committed object alone: build one whose programs write log lines, for debugging them.
        #[arg(long)]
        log: bool,
    },
    /// Build collectord and run `collectord watch`, the main job (as root).
    Run {
        /// Passed to `collectord watch`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Run tests; the last line is `N passed, N failed, N skipped`.
    Test {
        #[arg(value_enum, default_value = "all")]
        part: suites::Part,
        /// Run `setup` first.
        #[arg(long)]
        setup: bool,
        /// Also test on Debian 12's own 6.1 and on the newest kernel Debian has.
        #[arg(long)]
        matrix: bool,
        /// Of the virtual machines only those of this Debian suite; can be given several times.
        #[arg(long = "suite", value_name = "SUITE", conflicts_with = "matrix",
              value_parser = clap::builder::PossibleValuesParser::new(vm::SUITES.into_iter().chain(vm::MATRIX_SUITES)))]
        suites: Vec<String>,
        /// Run the virtual machines one after the other, not two at a time: each takes 1 GiB.
        #[arg(long)]
        one_by_one: bool,
        /// Passed to the test programs: a filter, or flags such as --exact.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Measure, beside any other collector in the same run (as root).
    Bench(bench::BenchArgs),
    /// One load of `bench`, by itself.
    Load(bench::load::Load),
    /// What `bench growth-cpus` runs in a virtual machine.
    #[command(hide = true)]
    InGuest(bench::in_guest::InGuest),
    /// Everything a submission must pass: setup, format, clippy, doc, deny, all tests.
    Ci,
}

fn main() -> ExitCode {
    let outcome = if ebpf::crate_ids::is_wrapper() {
        ebpf::crate_ids::become_rustc().map(|()| ExitCode::FAILURE)
    } else {
        run(Cli::parse())
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    // Where these run there may be no checkout.
    match &cli.command {
        Command::Load(load) => return bench::load::run(load).map(|()| ExitCode::SUCCESS),
        Command::InGuest(rounds) => return bench::in_guest::run(rounds).map(|()| ExitCode::SUCCESS),
        _ => {}
    }
    let repo = repo::Repo::locate()?;
    match cli.command {
        Command::Setup { check: true } => return Ok(setup::check()),
        Command::Setup { check: false } => setup::install()?,
        Command::BuildEbpf { check: true, .. } => ebpf::check(&repo)?,
        Command::BuildEbpf { log: true, .. } => ebpf::build_with_log(&repo)?,
        Command::BuildEbpf { .. } => ebpf::build(&repo)?,
        Command::Run { arguments } => watch::run(&repo, &arguments)?,
        Command::Bench(arguments) => bench::run(&repo, &arguments)?,
        Command::Load(_) | Command::InGuest(_) => {}
        Command::Ci => return Ok(ci::run(&repo)),
        Command::Test { part, setup, suites, matrix, one_by_one, arguments } => {
            let mut report = report::Report::default();
            if setup {
                report.step("setup", |_| setup::install());
            }
            let machines = vm::Machines { suites, matrix, one_by_one };
            suites::run(&repo, part, &machines, &arguments, &mut report);
            return Ok(report.close());
        }
    }
    Ok(ExitCode::SUCCESS)
}
