//! What runs in an emulated machine: the daemon and a load, both on the first CPU.
//!
//! Its CPUs take turns on one thread, so what one does passes as time on all others, also in the middle of a kernel
//! program. With load and daemon on one CPU the others sleep, and what differs between two machines is what the daemon
//! does for a CPU more: its rings and its slots.

use super::agent::{Agent, Output};
use super::figures::{DEFAULT_EVENTS, STATISTICS, Values, whole_cost};
use super::load::{self, Kind, Load};
use crate::afterwards::Setting;
use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Stands before a round's values, which are JSON.
const MARK: &str = "@@round ";
/// Opens a second, by name; 0 is as fast as it goes.
const RATES: [(&str, u64); 2] = [(FULL_SPEED, 0), (PACED, 5_000)];
pub(super) const FULL_SPEED: &str = "at full speed";
/// With time to sleep between events, so that the reader's turns are small and what each of them costs weighs.
pub(super) const PACED: &str = "at 5000/s";
const DIR: &str = "/dev/shm";

/// How often, and whose cost.
#[derive(Debug, Clone, Args)]
pub(crate) struct InGuest {
    #[arg(long)]
    daemon: PathBuf,
    #[arg(long)]
    rounds: u32,
    /// Opens of a round.
    #[arg(long)]
    count: u64,
}

impl InGuest {
    /// The command that runs this in a shell.
    pub(super) fn command(program: &str, daemon: &str, rounds: u32, count: u64) -> String {
        format!("{program} in-guest --daemon {daemon} --rounds {rounds} --count {count}")
    }
}

/// Prints each round's values.
pub(crate) fn run(args: &InGuest) -> Result<()> {
    let mut first = CpuSet::new();
    first.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &first).context("failed to stay on the first CPU")?;
    let _on = Setting::to(STATISTICS, "1")?;
    let agent = Agent::ours(&args.daemon, DEFAULT_EVENTS);
    for (name, rate) in RATES {
        let load = Load { kind: Kind::Open, count: args.count, threads: 1, rate, dir: PathBuf::from(DIR) };
        let running = agent.start(Path::new(DIR), Output::Discarded)?;
        // Until it has attached: emulated, that takes longer than it is given elsewhere.
        running.drain();
        for round in 0..=args.rounds {
            let values = whole_cost(&running, &load)?;
            // The first one fills the caches.
            if round > 0 {
                println!("{}", line(name, &values)?);
            }
        }
        running.stop()?;
        let running = agent.start(Path::new(DIR), Output::Counted)?;
        running.drain();
        let done = load::start(&load)?;
        running.drain();
        let law = running.stop()?.law(done.operations, 0)?;
        println!("law {name}: {law:?}");
        let lost = law.iter().find(|(value, _)| *value == "lost").context("the law says what is lost")?.1;
        ensure!(lost == 0.0, "{name}: {lost} events were lost, which cost less than others");
    }
    Ok(())
}

fn line(name: &str, values: &Values) -> Result<String> {
    let values: BTreeMap<_, _> = values.iter().copied().collect();
    Ok(format!("{MARK}{name}: {}", serde_json::to_string(&values)?))
}

/// The rounds of this name among a guest's lines.
pub(super) fn rounds(lines: &[String], name: &str) -> Result<Vec<BTreeMap<String, f64>>> {
    let rounds =
        lines.iter().filter_map(|line| line.split_once(MARK)?.1.strip_prefix(name)?.strip_prefix(": "));
    rounds.map(|json| serde_json::from_str(json).with_context(|| format!("a round says {json}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_read_as_they_are_written_each_by_its_name() {
        let values = |ns| vec![("bpf_ns_per_operation", ns), ("agent_cpu_s_per_million", 0.5)];
        let lines = [
            "SeaBIOS".to_owned(),
            line(FULL_SPEED, &values(10.0)).unwrap(),
            line(PACED, &values(20.0)).unwrap(),
            format!("noise {}", line(FULL_SPEED, &values(30.0)).unwrap()),
        ];
        let full = rounds(&lines, FULL_SPEED).unwrap();
        let ns: Vec<f64> = full.iter().map(|round| round["bpf_ns_per_operation"]).collect();
        assert_eq!(ns, [10.0, 30.0]);
        assert_eq!(rounds(&lines, PACED).unwrap().len(), 1);
        assert!(rounds(&[format!("{MARK}{PACED}: {{")], PACED).is_err());
    }
}
