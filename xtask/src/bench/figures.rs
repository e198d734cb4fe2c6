//! The figures: each runs its loads with and without a collector, alternating, and takes medians.

use super::agent::{Agent, ProgramTime, Running};
use super::load::{self, FILE_PREFIX, Kind, Load};
use super::results::Run;
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Switches the kernel's statistics of program run time.
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Where a run stands: what is common to all figures.
pub(super) struct Bench<'a> {
    pub(super) run: Run,
    pub(super) rounds: u32,
    pub(super) dir: &'a Path,
    /// The daemon under test.
    pub(super) daemon: PathBuf,
    pub(super) others: Vec<Agent>,
}

impl Bench<'_> {
    /// The daemon with these events first, then the others.
    fn agents(&self, flags: &str) -> Vec<Agent> {
        let command = format!("{} watch --format json {flags}", self.daemon.display());
        let mut agents = vec![Agent { name: "collectord".to_owned(), command }];
        agents.extend(self.others.iter().cloned());
        agents
    }

    fn load(&self, kind: Kind, count: u64) -> Load {
        Load { kind, count, threads: 1, rate: 0, dir: self.dir.to_owned() }
    }

    /// Run time of kernel programs per operation.
    pub(super) fn kernel(&mut self) -> Result<()> {
        let loads = [
            (Kind::Open, 100_000, "--events open"),
            (Kind::ConnectUdp, 50_000, "--events connect"),
            (Kind::ConnectRefused, 10_000, "--events connect"),
            (Kind::Exec, 2_000, "--events exec,exit"),
        ];
        let _on = Statistics::on()?;
        for (kind, count, flags) in loads {
            let load = self.load(kind, count);
            let agents = self.agents(flags);
            self.alternate(&format!("kernel {}", kind.name()), &agents, |running| {
                let before = running.program_time();
                load::start(&load)?;
                let ProgramTime { ns, runs } = running.program_time();
                let per = |now: u64, before: u64| now.saturating_sub(before) as f64 / count as f64;
                Ok(vec![
                    ("bpf_ns_per_operation", per(ns, before.ns)),
                    ("runs_per_operation", per(runs, before.runs)),
                ])
            })?;
        }
        Ok(())
    }

    /// What an event costs that the kernel programs filter out, beside one that they tell.
    pub(super) fn filtered(&mut self) -> Result<()> {
        let load = self.load(Kind::Open, 100_000);
        let _on = Statistics::on()?;
        for (name, flags) in
            [("told", "--events open"), ("filtered by comm", "--events open --comm nobody-has-it")]
        {
            let agents = self.agents(flags);
            self.alternate(&format!("open {name}"), &agents[..1], |running| {
                let before = running.program_time().ns;
                load::start(&load)?;
                let ns = running.program_time().ns.saturating_sub(before);
                Ok(vec![("bpf_ns_per_operation", ns as f64 / load.count as f64)])
            })?;
        }
        Ok(())
    }

    /// CPU time that a collector adds to its machine's work, and its own.
    pub(super) fn cost(&mut self) -> Result<()> {
        for (kind, count) in [(Kind::Open, 300_000), (Kind::Getppid, 2_000_000), (Kind::Exec, 2_000)] {
            let load = self.load(kind, count);
            let agents = self.agents("--events exec,exit,connect,open");
            let mut bare = Vec::new();
            self.alternate(&format!("cost {}", kind.name()), &agents, |running| {
                // Both in one breath, and both with the collector there: stopped, it costs its hooks only.
                let agent_before = running.cpu_s();
                let with = load::start(&load)?.cpu_ns_per_operation;
                running.drain();
                let agent = (running.cpu_s() - agent_before) / count as f64 * 1e6;
                bare.push(with);
                Ok(vec![
                    ("load_cpu_ns_per_operation", with),
                    ("agent_cpu_s_per_million", agent),
                    ("resident_mib", running.resident_mib()),
                ])
            })?;
            let without: Vec<f64> = (0..self.rounds)
                .map(|_| Ok(load::start(&load)?.cpu_ns_per_operation))
                .collect::<Result<_>>()?;
            self.run.note(
                &format!("cost {}", kind.name()),
                "none",
                &[("load_cpu_ns_per_operation", median(without))],
            );
        }
        Ok(())
    }

    /// What is lost at a rate of opens, and whether the books balance.
    pub(super) fn flood(&mut self, seconds: u64) -> Result<()> {
        for rate in [400_000, 0] {
            let asked = if rate == 0 { "at full speed".to_owned() } else { format!("at {rate}/s") };
            let count = if rate == 0 { 600_000 } else { rate } * seconds / 2;
            let load = Load { threads: 2, rate, ..self.load(Kind::Open, count) };
            for agent in self.agents("--events exec,exit,connect,open") {
                let running = agent.start(self.dir, true)?;
                let done = load::start(&load)?;
                running.drain();
                let resident = running.resident_mib();
                let output = running.output.clone();
                running.stop()?;
                let seen = count_lines(&output, FILE_PREFIX)?;
                let mut values = vec![
                    ("rate_per_s", done.rate),
                    (
                        "lost_percent",
                        100.0 * (1.0 - (seen.min(done.operations) as f64 / done.operations as f64)),
                    ),
                    ("resident_mib", resident),
                ];
                if agent.name == "collectord" {
                    values.extend(law(&output)?);
                }
                fs::remove_file(&output)?;
                self.run.note(&format!("flood {asked}"), &agent.name, &values);
            }
        }
        Ok(())
    }

    /// Opens at full speed into small rings, the daemon stopped twice meanwhile: what is lost must be told.
    pub(super) fn stopped(&mut self, opens: u64) -> Result<()> {
        let load = Load { threads: 2, ..self.load(Kind::Open, opens / 2) };
        let agent = self.agents("--events exec,exit,open --ring-size file=1MiB").remove(0);
        let running = agent.start(self.dir, true)?;
        let worker = thread::spawn(move || load::start(&load));
        for _ in 0..2 {
            thread::sleep(Duration::from_secs(1));
            running.signal(Signal::SIGSTOP)?;
            thread::sleep(Duration::from_millis(500));
            running.signal(Signal::SIGCONT)?;
        }
        let done = worker.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        running.drain();
        let output = running.output.clone();
        running.stop()?;
        let mut values = vec![("opens", done.operations as f64), ("rate_per_s", done.rate)];
        values.extend(law(&output)?);
        fs::remove_file(&output)?;
        self.run.note("law, daemon stopped twice", &agent.name, &values);
        Ok(())
    }

    /// Time from the hook to the line on a pipe, at 200 opens a second; and what the daemon costs when idle.
    pub(super) fn latency(&mut self) -> Result<()> {
        let load = Load { rate: 200, ..self.load(Kind::Open, 1000) };
        let command =
            format!("{} watch --format json --events exec,exit,connect,open", self.daemon.display());
        let mut child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {command}"))?;
        let stdout = child.stdout.take().context("a piped command has no standard output")?;
        let (send, receive) = mpsc::channel();
        let reader = thread::spawn(move || read_latencies(stdout, &send));
        thread::sleep(Duration::from_secs(2));
        let loaded = load::start(&load);
        thread::sleep(Duration::from_millis(500));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
        child.wait()?;
        reader.join().map_err(|_| anyhow::anyhow!("the reader of the latencies panicked"))??;
        loaded?;
        let mut latencies: Vec<f64> = receive.try_iter().collect();
        latencies.sort_by(f64::total_cmp);
        let at = |part: usize| latencies.get(latencies.len() * part / 100).copied().unwrap_or(f64::NAN);
        let values = [("events", latencies.len() as f64), ("p50_ms", at(50)), ("p99_ms", at(99))];
        self.run.note("latency at 200/s", "collectord", &values);
        for agent in self.agents("--events exec,exit,connect,open") {
            let running = agent.start(self.dir, false)?;
            let before = running.cpu_s();
            thread::sleep(Duration::from_secs(10));
            let percent = (running.cpu_s() - before) * 10.0;
            self.run.note(
                "idle",
                &agent.name,
                &[("core_percent", percent), ("resident_mib", running.resident_mib())],
            );
            running.stop()?;
        }
        Ok(())
    }

    /// One round of each collector after the other, as often as asked; the median of each value.
    fn alternate(
        &mut self,
        figure: &str,
        agents: &[Agent],
        mut measure: impl FnMut(&Running) -> Result<Vec<(&'static str, f64)>>,
    ) -> Result<()> {
        let mut values: Vec<Vec<Vec<(&str, f64)>>> = vec![Vec::new(); agents.len()];
        for _ in 0..self.rounds {
            for (agent, values) in agents.iter().zip(&mut values) {
                let running = agent.start(self.dir, false)?;
                values.push(measure(&running)?);
                running.stop()?;
            }
        }
        for (agent, rounds) in agents.iter().zip(values) {
            let names: Vec<&str> = rounds.first().into_iter().flatten().map(|(name, _)| *name).collect();
            let medians: Vec<(&str, f64)> = names
                .iter()
                .enumerate()
                .map(|(at, name)| (*name, median(rounds.iter().map(|round| round[at].1).collect())))
                .collect();
            self.run.note(figure, &agent.name, &medians);
        }
        Ok(())
    }
}

/// The kernel's run-time statistics, on as long as this lives.
struct Statistics(String);

impl Statistics {
    fn on() -> Result<Self> {
        let before =
            fs::read_to_string(STATISTICS).with_context(|| format!("failed to read {STATISTICS}"))?;
        fs::write(STATISTICS, "1").with_context(|| format!("failed to write {STATISTICS}"))?;
        Ok(Self(before))
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = fs::write(STATISTICS, self.0.trim()) {
            eprintln!("failed to restore {STATISTICS}: {error}");
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn count_lines(path: &Path, text: &str) -> Result<u64> {
    let mut count = 0;
    for line in BufReader::new(File::open(path)?).split(b'\n') {
        count += u64::from(line?.windows(text.len()).any(|window| window == text.as_bytes()));
    }
    Ok(count)
}

/// The file class's books from the summary, and the losses told in the stream.
fn law(path: &Path) -> Result<Vec<(&'static str, f64)>> {
    let (mut told, mut summary) = (0, None);
    for line in BufReader::new(File::open(path)?).split(b'\n') {
        let line = line?;
        if line.starts_with(br#"{"event":"loss""#) {
            let loss: Value = serde_json::from_slice(&line)?;
            if loss["class"] == "file" && loss["reason"] != "missed" {
                told += loss["count"].as_u64().unwrap_or(0);
            }
        } else if line.starts_with(br#"{"event":"summary""#) {
            summary = Some(serde_json::from_slice::<Value>(&line)?);
        }
    }
    let Some(summary) = summary else { bail!("{} has no summary", path.display()) };
    let books = &summary["classes"]["file"];
    let number = |key: &str| books[key].as_u64().unwrap_or(0);
    let dropped: u64 =
        books["dropped"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
    let parts = ["delivered", "filtered", "internal", "merged", "pending"].map(number).iter().sum::<u64>();
    let lost_execs = summary["classes"]["process"]["dropped"].as_object().into_iter().flatten();
    Ok(vec![
        ("generated", number("generated") as f64),
        ("dropped", dropped as f64),
        ("told_lost", told as f64),
        ("unaccounted", number("generated") as f64 - (parts + dropped) as f64),
        ("process_events_lost", lost_execs.filter_map(|(_, n)| n.as_u64()).sum::<u64>() as f64),
    ])
}

/// Milliseconds from the hook to here, for each open of the load.
fn read_latencies(stdout: impl std::io::Read, send: &mpsc::Sender<f64>) -> Result<()> {
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
        let now_ns = now.tv_sec() * 1_000_000_000 + now.tv_nsec();
        let text = String::from_utf8_lossy(&line);
        if !text.contains(FILE_PREFIX) || !text.starts_with(r#"{"event":"open""#) {
            continue;
        }
        let Some((_, rest)) = text.split_once(r#""ktime_ns":"#) else { continue };
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        let _ = send.send((now_ns - digits.parse::<i64>()?) as f64 / 1e6);
    }
    Ok(())
}
