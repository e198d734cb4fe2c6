//! `bench`: the project's own figures, beside any other collector in the same run.

mod agent;
mod figures;
pub(crate) mod load;
mod results;

use crate::exec;
use crate::programs;
use crate::repo::Repo;
use crate::suites;
use agent::Agent;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use figures::Bench;
use results::Run;

/// What to measure, and beside what.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchArgs {
    /// What to measure [default: all but criterion]
    #[arg(value_enum)]
    figures: Vec<Part>,
    /// Another collector to run beside ours, as NAME=COMMAND: it writes events to its standard output until SIGINT
    #[arg(long, value_name = "NAME=COMMAND", value_parser = parse_agent)]
    against: Vec<Agent>,
    /// How often each figure is taken; its median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// How long a flood takes, roughly
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Opens for the figure `law`
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    opens: u64,
    /// Append the run to bench/runs.jsonl, with which later runs are compared
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Run time of the kernel programs
    Kernel,
    /// An event that is filtered, beside one that is told
    Filtered,
    /// CPU time that is added to the machine's work, and the collector's own
    Cost,
    /// Loss at 400,000 opens a second and at full speed
    Flood,
    /// Opens at full speed with the daemon stopped twice: generated, delivered, told
    Law,
    /// Time from the hook to the line, and the cost of doing nothing
    Latency,
    /// The benches of collector-core and collectord (parse, convert, encode, runtime)
    Criterion,
}

/// Builds the daemon and measures (as root, but for `criterion`).
pub(crate) fn run(repo: &Repo, args: &BenchArgs) -> Result<()> {
    let all = [Part::Kernel, Part::Filtered, Part::Cost, Part::Flood, Part::Law, Part::Latency];
    let figures = if args.figures.is_empty() { &all[..] } else { &args.figures };
    if figures.contains(&Part::Criterion) {
        let mut cargo = programs::cargo();
        cargo.current_dir(&repo.root).args(["bench", "--locked", "-p", "collector-core", "-p", "collectord"]);
        exec::run(&mut cargo)?;
    }
    if figures == [Part::Criterion] {
        return Ok(());
    }
    if !suites::is_root()? {
        bail!("measuring kernel programs needs root; `cargo xtask bench criterion` does not");
    }
    let mut cargo = programs::cargo();
    cargo.current_dir(&repo.root).args(["build", "--release", "--locked", "--package", "collectord"]);
    exec::run(&mut cargo)?;
    // On tmpfs: a disk would be measured otherwise.
    let dir = tempfile::tempdir_in("/dev/shm").context("failed to make a directory in /dev/shm")?;
    let mut bench = Bench {
        run: Run::new(repo, args.rounds)?,
        rounds: args.rounds,
        dir: dir.path(),
        daemon: repo.target.join("release/collectord"),
        others: args.against.clone(),
    };
    for figure in figures {
        match figure {
            Part::Kernel => bench.kernel()?,
            Part::Filtered => bench.filtered()?,
            Part::Cost => bench.cost()?,
            Part::Flood => bench.flood(args.seconds)?,
            Part::Law => bench.stopped(args.opens)?,
            Part::Latency => bench.latency()?,
            Part::Criterion => {}
        }
    }
    bench.run.finish(repo, args.keep)
}

fn parse_agent(text: &str) -> Result<Agent, String> {
    let (name, command) = text.split_once('=').ok_or("expected NAME=COMMAND")?;
    if name.is_empty() || name == "collectord" || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    {
        return Err(format!("{name:?} is no name: letters, digits and hyphens, and not collectord"));
    }
    Ok(Agent { name: name.to_owned(), command: command.to_owned() })
}
