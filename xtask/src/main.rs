//! `cargo xtask`: set-up, kernel object, tests and CI as one typed command.
//!
//! Every other tool (cargo, apt, qemu, bpf-linker) is started as a process whose command line is printed first;
//! nothing is downloaded or installed by a command that does not say so in its name or help.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a build tool's job is to print what it does")]

mod ebpf;
mod exec;
mod libtest;
mod programs;
mod repo;
mod report;
mod suites;
mod vm;

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
    /// Build the kernel programs into the committed object collector-ebpf/collector.bpf.o.
    BuildEbpf {
        /// Change nothing: fail if the committed object is not what the sources give.
        #[arg(long)]
        check: bool,
    },
    /// Run tests; the last line is `N passed, N failed, N skipped`.
    Test {
        #[arg(value_enum, default_value = "all")]
        part: suites::Part,
        /// Also test on Debian 12's own 6.1 and on the newest kernel Debian has.
        #[arg(long)]
        matrix: bool,
        /// Passed to the test programs: a filter, or flags such as --exact.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
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
    let repo = repo::Repo::locate()?;
    match cli.command {
        Command::BuildEbpf { check: false } => ebpf::build(&repo)?,
        Command::BuildEbpf { check: true } => ebpf::check(&repo)?,
        Command::Test { part, matrix, arguments } => {
            let mut report = report::Report::default();
            suites::run(&repo, part, matrix, &arguments, &mut report);
            return Ok(report.close());
        }
    }
    Ok(ExitCode::SUCCESS)
}
