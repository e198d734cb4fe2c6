//! The figures: each runs its loads with and without a collector, alternating, and takes medians.

use super::agent::{Agent, Output, ProgramTime, Running};
use super::load::{self, Kind, Load};
use super::meanwhile::{ExecsMeanwhile, build_like};
use super::results::Run;
use super::sleepers::Sleepers;
use super::{median, percentile};
use crate::afterwards::Setting;
use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Switches the kernel's statistics of program run time.
pub(super) const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// All that `watch` tells unless it is asked for less.
pub(super) const DEFAULT_EVENTS: &str = "--events exec,exit,connect,open";
/// Name of the rounds without a collector.
pub(super) const NONE: &str = "none";

pub(super) type Values = Vec<(&'static str, f64)>;

/// Where a run stands: what is common to all figures.
pub(super) struct Bench<'a> {
    pub(super) run: Run,
    pub(super) rounds: u32,
    pub(super) dir: &'a Path,
    /// The daemon under test.
    pub(super) daemon: PathBuf,
    /// Where a program can be built; on no filesystem that forbids running it.
    pub(super) scratch: PathBuf,
    pub(super) others: Vec<Agent>,
}

impl Bench<'_> {
    /// The daemon with these flags first, then the others with the same events, as letters.
    fn agents(&self, flags: &str, letters: &str) -> Vec<Agent> {
        let mut agents = vec![self.ours(flags)];
        agents.extend(self.others.iter().map(|agent| agent.about(letters)));
        agents
    }

    fn ours(&self, flags: &str) -> Agent {
        Agent::ours(&self.daemon, flags)
    }

    fn load(&self, kind: Kind, count: u64) -> Load {
        Load { kind, count, threads: 1, rate: 0, dir: self.dir.to_owned() }
    }

    /// Run time of kernel programs per operation.
    pub(super) fn kernel(&mut self) -> Result<()> {
        let portable = "--events open --readers portable";
        let loads = [
            ("kernel open", Kind::Open, 100_000, self.agents("--events open", "o")),
            ("kernel open, portable", Kind::Open, 100_000, self.agents(portable, "o")),
            ("kernel connect-udp", Kind::ConnectUdp, 50_000, self.agents("--events connect", "c")),
            ("kernel connect-refused", Kind::ConnectRefused, 10_000, self.agents("--events connect", "c")),
            // With the programs of fork and exit, which no watch is without.
            ("kernel exec", Kind::Exec, 2_000, self.agents("--events exec,exit", "e")),
        ];
        let _on = Setting::to(STATISTICS, "1")?;
        for (figure, kind, count, agents) in loads {
            let load = self.load(kind, count);
            self.alternate(figure, &agents, |running| program_time(running, &load))?;
        }
        Ok(())
    }

    /// What an event costs that the kernel programs filter out, beside one that they tell.
    pub(super) fn filtered(&mut self) -> Result<()> {
        let load = self.load(Kind::Open, 100_000);
        let _on = Setting::to(STATISTICS, "1")?;
        for (figure, flags) in [
            ("open told", "--events open"),
            ("open filtered by comm", "--events open --comm nobody-has-it"),
            ("open filtered by path", "--events open --path-prefix /nowhere/at/all"),
        ] {
            let agents = [self.ours(flags)];
            self.alternate(figure, &agents, |running| program_time(running, &load))?;
        }
        Ok(())
    }

    /// CPU time that a collector adds to its machine's work, and its own.
    pub(super) fn cost(&mut self) -> Result<()> {
        let agents = self.agents(DEFAULT_EVENTS, "oce");
        for (kind, count) in [(Kind::Open, 1_000_000), (Kind::Getppid, 2_000_000), (Kind::Exec, 2_000)] {
            let load = self.load(kind, count);
            self.beside_none(
                &format!("cost {}", kind.name()),
                &agents,
                || Ok(load::start(&load)?.cpu_ns_per_operation),
                count,
            )?;
        }
        Ok(())
    }

    /// What is lost at a rate of opens, whether the books balance, and how execs fare meanwhile.
    pub(super) fn flood(&mut self, seconds: u64) -> Result<()> {
        for rate in [400_000, 0] {
            let asked = if rate == 0 { "at full speed".to_owned() } else { format!("at {rate}/s") };
            let count = if rate == 0 { 600_000 } else { rate } * seconds / 2;
            let load = Load { threads: 2, rate, ..self.load(Kind::Open, count) };
            for agent in self.agents(DEFAULT_EVENTS, "oce") {
                let running = agent.start(self.dir, Output::Counted)?;
                let execs = ExecsMeanwhile::start()?;
                let cpu_before = running.cpu_s();
                let done = load::start(&load)?;
                let execs = execs.stop()?;
                running.drain();
                let cpu_s = running.cpu_s() - cpu_before;
                let resident = running.resident_mib();
                let stream = running.stop()?;
                let mut values = vec![
                    ("rate_per_s", done.rate),
                    ("opens", done.operations as f64),
                    ("agent_cpu_s_per_million", cpu_s * 1e6 / done.operations as f64),
                    ("resident_mib", resident),
                ];
                if agent.name == "collectord" {
                    values.extend(stream.law(done.operations, execs)?);
                } else {
                    let seen = stream.of_load.min(done.operations) as f64;
                    values.push(("lost_percent", 100.0 * (1.0 - seen / done.operations as f64)));
                }
                self.run.note(&format!("flood {asked}"), &agent.name, &values);
            }
        }
        Ok(())
    }

    /// Opens at full speed into small rings, the daemon stopped twice meanwhile: what is lost must be told.
    pub(super) fn stopped(&mut self, opens: u64) -> Result<()> {
        let load = Load { threads: 2, ..self.load(Kind::Open, opens / 2) };
        let agent = self.ours("--events exec,exit,open --ring-size file=1MiB");
        let running = agent.start(self.dir, Output::Counted)?;
        let execs = ExecsMeanwhile::start()?;
        let worker = thread::spawn(move || load::start(&load));
        for _ in 0..2 {
            thread::sleep(Duration::from_secs(1));
            running.signal(Signal::SIGSTOP)?;
            thread::sleep(Duration::from_millis(500));
            running.signal(Signal::SIGCONT)?;
        }
        let done = worker.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        let execs = execs.stop()?;
        running.drain();
        let stream = running.stop()?;
        let mut values = vec![("opens", done.operations as f64), ("rate_per_s", done.rate)];
        values.extend(stream.law(done.operations, execs)?);
        self.run.note("law, daemon stopped twice", &agent.name, &values);
        Ok(())
    }

    /// Time from the hook to the line on a pipe, at 200 opens a second; and what a collector costs when idle.
    pub(super) fn latency(&mut self) -> Result<()> {
        let load = Load { rate: 200, ..self.load(Kind::Open, 1000) };
        let agent = self.ours(DEFAULT_EVENTS);
        let running = agent.start(self.dir, Output::Counted)?;
        let before = running.cpu_s();
        load::start(&load)?;
        let core_percent = (running.cpu_s() - before) / 5.0 * 100.0;
        thread::sleep(Duration::from_millis(500));
        let stream = running.stop()?;
        let values = [
            ("events", stream.open_ms.len() as f64),
            ("p50_ms", percentile(&stream.open_ms, 50)),
            ("p99_ms", percentile(&stream.open_ms, 99)),
            ("core_percent", core_percent),
        ];
        self.run.note("latency at 200/s", &agent.name, &values);
        for agent in self.agents(DEFAULT_EVENTS, "oce") {
            let running = agent.start(self.dir, Output::Discarded)?;
            let before = running.cpu_s();
            thread::sleep(Duration::from_secs(10));
            let percent = (running.cpu_s() - before) * 10.0;
            let values = [("core_percent", percent), ("resident_mib", running.resident_mib())];
            self.run.note("idle", &agent.name, &values);
            running.stop()?;
        }
        Ok(())
    }

    /// A load like a build's: compilers, a shell's short commands, files looked at.
    pub(super) fn build(&mut self) -> Result<()> {
        let agents = self.agents(DEFAULT_EVENTS, "oce");
        let dir = self.dir.join("build");
        build_like(&dir).context("the build-like load")?;
        self.beside_none("build", &agents, || Ok(build_like(&dir)? * 1e9), 1)
    }

    /// What an event costs among more and more live processes.
    pub(super) fn growth(&mut self) -> Result<()> {
        // As many as for `cost`.
        let load = self.load(Kind::Open, 1_000_000);
        let agents = [self.ours(DEFAULT_EVENTS)];
        for processes in [100, 10_000, 100_000] {
            let figure = format!("growth {processes} processes");
            let _sleepers = match Sleepers::start(processes, &self.scratch) {
                Ok(sleepers) => sleepers,
                Err(error) => {
                    println!("{figure}: skipped, {error:#}");
                    continue;
                }
            };
            let _on = Setting::to(STATISTICS, "1")?;
            self.alternate(&figure, &agents, |running| whole_cost(running, &load))?;
        }
        Ok(())
    }

    /// Rounds of no collector and of each one after the other: what each adds to a load's CPU time, and its own.
    fn beside_none(
        &mut self,
        figure: &str,
        agents: &[Agent],
        load_cpu_ns: impl Fn() -> Result<f64>,
        count: u64,
    ) -> Result<()> {
        let mut bare = Vec::new();
        let mut rounds: Vec<Vec<Values>> = vec![Vec::new(); agents.len()];
        for _ in 0..self.rounds {
            let without = load_cpu_ns()?;
            bare.push(vec![("load_cpu_ns", without)]);
            for (agent, rounds) in agents.iter().zip(&mut rounds) {
                let running = agent.start(self.dir, Output::Discarded)?;
                let agent_before = running.cpu_s();
                let with = load_cpu_ns()?;
                running.drain();
                let agent_s = running.cpu_s() - agent_before;
                rounds.push(vec![
                    ("load_cpu_ns", with),
                    ("added_ns", with - without),
                    ("added_percent", 100.0 * (with / without - 1.0)),
                    ("agent_cpu_s_per_million", agent_s / count as f64 * 1e6),
                    ("agent_percent_of_load", 100.0 * agent_s * 1e9 / (without * count as f64)),
                    ("resident_mib", running.resident_mib()),
                ]);
                running.stop()?;
            }
        }
        self.run.note(figure, NONE, &medians(&bare));
        for (agent, rounds) in agents.iter().zip(rounds) {
            self.run.note(figure, &agent.name, &medians(&rounds));
        }
        Ok(())
    }

    /// One round of each collector after the other, as often as asked; the median of each value.
    fn alternate(
        &mut self,
        figure: &str,
        agents: &[Agent],
        measure: impl Fn(&Running) -> Result<Values>,
    ) -> Result<()> {
        let mut rounds: Vec<Vec<Values>> = vec![Vec::new(); agents.len()];
        for _ in 0..self.rounds {
            for (agent, rounds) in agents.iter().zip(&mut rounds) {
                let running = agent.start(self.dir, Output::Discarded)?;
                rounds.push(measure(&running)?);
                running.stop()?;
            }
        }
        for (agent, rounds) in agents.iter().zip(rounds) {
            self.run.note(figure, &agent.name, &medians(&rounds));
        }
        Ok(())
    }
}

/// Run time of a collector's programs for each operation of a load.
fn program_time(running: &Running, load: &Load) -> Result<Values> {
    let before = running.program_time();
    load::start(load)?;
    let ProgramTime { ns, runs } = running.program_time();
    let per = |now: u64, before: u64| now.saturating_sub(before) as f64 / load.count as f64;
    Ok(vec![("bpf_ns_per_operation", per(ns, before.ns)), ("runs_per_operation", per(runs, before.runs))])
}

/// Run time of its programs and its own CPU time for each operation of a load.
pub(super) fn whole_cost(running: &Running, load: &Load) -> Result<Values> {
    let cpu_before = running.cpu_s();
    let mut values = program_time(running, load)?;
    running.drain();
    let cpu_s = running.cpu_s() - cpu_before;
    values.push(("agent_cpu_s_per_million", cpu_s * 1e6 / load.count as f64));
    values.push(("resident_mib", running.resident_mib()));
    Ok(values)
}

fn medians(rounds: &[Values]) -> Values {
    let names = rounds.first().into_iter().flatten().map(|(name, _)| *name).enumerate();
    names.map(|(at, name)| (name, median(rounds.iter().map(|round| round[at].1).collect()))).collect()
}
