//! `bench`: the project's own figures, beside any other collector in the same run.

mod agent;
mod cpus;
mod criterion;
mod figures;
pub(crate) mod in_guest;
pub(crate) mod load;
mod meanwhile;
mod results;
mod sleepers;
mod stream;
mod targets;

use crate::afterwards::Afterwards;
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
    /// What to measure, each by name [default: all but criterion, growth and growth-cpus]
    #[arg(value_enum)]
    figures: Vec<Part>,
    /// Another collector to run beside ours, as NAME=COMMAND: it writes events to its standard output until SIGINT.
    /// `{events}` in it stands for what a figure is about: o (opens), c (connects), e (execs), or several. The yardstick
    /// that targets are held against is called `ref`: 'ref=target/refbench/ref -i 5 -o /proc/self/fd/1 -e {events}'
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
    /// Run time of the kernel programs for opens (also with portable readers), connects and execs (K1)
    Kernel,
    /// An event that is filtered by comm or by path, beside one that is told (K4)
    Filtered,
    /// CPU time that is added to opens, execs and an unrelated system call, and the collector's own (K2, K3, U1)
    Cost,
    /// Loss at 400,000 opens a second and at full speed, with execs and their latency meanwhile (L1, L2)
    Flood,
    /// Opens at full speed with the daemon stopped twice: generated, delivered, told (the law)
    Law,
    /// Time from the hook to the line, and the cost of doing nothing (T1, M1)
    Latency,
    /// What a build-like load of compilers and short commands pays (B1)
    Build,
    /// What an event costs among 100, 10,000 and 100,000 live processes; needs a C compiler and 4 GB of memory (G1)
    Growth,
    /// What an event costs on 1, 2, 4, 8 and 16 CPUs of an emulated machine; needs QEMU, fetches a kernel (G1)
    GrowthCpus,
    /// The benches of collector-core and collectord: parse, convert, encode, runtime (U2); without root
    Criterion,
}

/// Builds the daemon and measures (as root, but for `criterion`).
pub(crate) fn run(repo: &Repo, args: &BenchArgs) -> Result<()> {
    let all = [Part::Kernel, Part::Filtered, Part::Cost, Part::Flood, Part::Law, Part::Latency, Part::Build];
    let figures = if args.figures.is_empty() { &all[..] } else { &args.figures };
    if figures.contains(&Part::Criterion) {
        let mut cargo = programs::cargo();
        cargo.current_dir(&repo.root).args(["bench", "--locked", "-p", "collector-core", "-p", "collectord"]);
        exec::run(&mut cargo)?;
    }
    let mut run = Run::new(repo, args.rounds)?;
    if figures.contains(&Part::Criterion) {
        run.note("criterion", "collectord", &criterion::estimates(&repo.target.join("criterion"))?);
    }
    if figures == [Part::Criterion] {
        return run.finish(repo, args.keep);
    }
    if !suites::is_root()? {
        bail!("measuring kernel programs needs root; `cargo xtask bench criterion` does not");
    }
    let mut cargo = programs::cargo();
    cargo.current_dir(&repo.root).args(["build", "--release", "--locked", "--package", "collectord"]);
    exec::run(&mut cargo)?;
    // On tmpfs: a disk would be measured otherwise.
    let dir = tempfile::tempdir_in("/dev/shm").context("failed to make a directory in /dev/shm")?;
    let _remove = Afterwards::run("rm -rf \"$1\"", &[&dir.path().to_string_lossy()])?;
    let mut bench = Bench {
        run,
        rounds: args.rounds,
        dir: dir.path(),
        daemon: repo.target.join("release/collectord"),
        scratch: repo.target.join("bench"),
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
            Part::Build => bench.build()?,
            Part::Growth => bench.growth()?,
            Part::GrowthCpus => bench.growth_cpus(repo)?,
            Part::Criterion => {}
        }
    }
    bench.run.finish(repo, args.keep)
}

fn median(values: Vec<f64>) -> f64 {
    percentile(&values, 50)
}

/// The value below which so many percent lie; no number if there are none.
fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

fn parse_agent(text: &str) -> Result<Agent, String> {
    let (name, command) = text.split_once('=').ok_or("expected NAME=COMMAND")?;
    if name.is_empty() || name == "collectord" || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    {
        return Err(format!("{name:?} is no name: letters, digits and hyphens, and not collectord"));
    }
    Ok(Agent { name: name.to_owned(), command: command.to_owned() })
}
