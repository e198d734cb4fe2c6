//! What an event costs on more and more CPUs. There is one ring of each class for each CPU, and the reader looks into
//! all. This machine has few CPUs, so an emulated one has them, and only ratios of its figures say something.

use super::figures::Bench;
use super::in_guest::{self, FULL_SPEED, InGuest, PACED};
use super::median;
use crate::repo::Repo;
use crate::vm::Emulated;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;

const CPUS: [u32; 5] = [1, 2, 4, 8, 16];
/// Debian 12's newest kernel, 6.12.
const SUITE: &str = "bookworm-security";
/// Opens of a round.
const OPENS: u64 = 20_000;
const DAEMON: &str = "/collector/collectord";
const XTASK: &str = "/collector/xtask";

impl Bench<'_> {
    /// What an event costs on more and more CPUs.
    pub(super) fn growth_cpus(&mut self, repo: &Repo) -> Result<()> {
        let xtask = std::env::current_exe().context("this program's own path is not known")?;
        let command = InGuest::command(XTASK, DAEMON, self.rounds, OPENS);
        let programs = [(self.daemon.as_path(), DAEMON), (xtask.as_path(), XTASK)];
        let machine = Emulated::new(repo, SUITE, &programs, &command)?;
        println!(
            "kernel {}, emulated; its figures are to be compared with each other alone",
            machine.release
        );
        for cpus in CPUS {
            let lines = machine.run(cpus)?;
            for name in [FULL_SPEED, PACED] {
                let rounds = in_guest::rounds(&lines, name)?;
                ensure!(rounds.len() == self.rounds as usize, "{} rounds {name} were told", rounds.len());
                let plural = if cpus == 1 { "" } else { "s" };
                let figure = format!("{cpus} CPU{plural} emulated, {name}");
                self.run.note(&figure, "collectord", &medians(&rounds));
            }
        }
        Ok(())
    }
}

fn medians(rounds: &[BTreeMap<String, f64>]) -> Vec<(String, f64)> {
    let names = rounds.first().into_iter().flat_map(BTreeMap::keys);
    names
        .map(|name| {
            let values = rounds.iter().filter_map(|round| round.get(name).copied());
            (name.clone(), median(values.collect()))
        })
        .collect()
}
