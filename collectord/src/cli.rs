//! The command line.

use crate::color;
use crate::doctor::{self, DoctorArgs};
use crate::failure::Failure;
use crate::generate::{self, CompletionsArgs, ManArgs};
use crate::programs::{self, ProgramsArgs};
use crate::watch::{self, WatchArgs};
use clap::{Parser, Subcommand};
use std::io::Write;
use tracing_subscriber::EnvFilter;

/// Tells what every process starts and how it ends, as the kernel does it, without silent loss
#[derive(Debug, Parser)]
#[command(name = "collectord", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed while running, 2 wrong usage, 69 this kernel cannot do it, 77 privileges missing."
)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,

    /// Say more on stderr: -v what is done, -vv everything, with the verifier's whole log where a program is refused
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write events to stdout as they happen
    Watch(Box<WatchArgs>),
    /// Try what this kernel and these privileges allow, and say what helps where something is missing
    Doctor(DoctorArgs),
    /// Load every kernel program, attach none, and list what the verifier says
    Programs(ProgramsArgs),
    /// Write a shell's completions to stdout, such as for /etc/bash_completion.d/collectord
    Completions(CompletionsArgs),
    /// Write the manual pages into a folder, such as /usr/local/share/man/man1
    Man(ManArgs),
}

impl Cli {
    /// Does it, and gives the exit code.
    ///
    /// # Errors
    /// Why it could not be done, with the exit code.
    pub fn run(&self) -> Result<u8, Failure> {
        self.start_log();
        match &self.command {
            Command::Watch(args) => watch::run(args, self.verbose >= 2).map(|()| 0),
            Command::Doctor(args) => doctor::run(args, self.verbose >= 2),
            Command::Programs(args) => print(programs::list(args, self.verbose >= 2)?.as_bytes()),
            Command::Completions(args) => print(&generate::completions(args)),
            Command::Man(args) => generate::man(args).map(|()| 0),
        }
    }

    /// Logs go to stderr; COLLECTORD_LOG takes tracing's filter syntax and wins over -v.
    fn start_log(&self) {
        let level = match self.verbose {
            0 => "warn",
            1 => "collectord=debug,collector_core=debug,warn",
            // collector_ebpf: the programs' own lines, if they were built with them.
            _ => "collectord=trace,collector_core=trace,collector_ebpf=trace,warn",
        };
        let filter = EnvFilter::try_from_env("COLLECTORD_LOG").unwrap_or_else(|_| EnvFilter::new(level));
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(color::is_wanted(&std::io::stderr()))
            .with_writer(std::io::stderr);
        // An embedder or a second call may have set one: theirs stays.
        let _ = log.try_init();
    }
}

/// Writes to stdout. A reader that goes away has seen enough.
fn print(text: &[u8]) -> Result<u8, Failure> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::runtime(error)),
        _ => Ok(0),
    }
}
