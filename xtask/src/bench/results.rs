//! What was measured: as a table, as JSON, kept, and compared with the last run that was kept.

use super::targets;
use crate::exec;
use crate::repo::Repo;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::process::Command;

/// The kept runs, one JSON object a line.
const KEPT: &str = "bench/runs.jsonl";
/// The last run, kept or not, below the target directory.
const LAST: &str = "bench/last.json";

/// One figure of one collector.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Figure {
    /// What was measured.
    pub(super) figure: String,
    /// Of which collector.
    pub(super) agent: String,
    /// Values by name; the name ends in the unit.
    pub(super) values: BTreeMap<String, f64>,
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Run {
    date: String,
    kernel: String,
    commit: String,
    cpus: usize,
    rounds: u32,
    pub(super) figures: Vec<Figure>,
}

impl Run {
    /// A run of now, here, of this commit.
    pub(super) fn new(repo: &Repo, rounds: u32) -> Result<Self> {
        let mut git = Command::new("git");
        git.current_dir(&repo.root).args(["describe", "--always", "--dirty", "--abbrev=12"]);
        Ok(Self {
            date: exec::capture(Command::new("date").args(["-u", "+%FT%TZ"]))?.trim().to_owned(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            commit: exec::capture(&mut git)?.trim().to_owned(),
            cpus: std::thread::available_parallelism()?.get(),
            rounds,
            figures: Vec::new(),
        })
    }

    /// Notes a figure and prints it at once: a run takes minutes.
    pub(super) fn note(&mut self, figure: &str, agent: &str, values: &[(impl AsRef<str>, f64)]) {
        let figure = Figure {
            figure: figure.to_owned(),
            agent: agent.to_owned(),
            values: values
                .iter()
                .filter(|(_, value)| value.is_finite())
                .map(|(name, value)| (name.as_ref().to_owned(), *value))
                .collect(),
        };
        println!("{}", figure.line(None));
        self.figures.push(figure);
    }

    /// Writes the run down, compares it with the last kept one, and keeps it if asked to.
    pub(super) fn finish(&self, repo: &Repo, keep: bool) -> Result<()> {
        let kept = repo.path(KEPT);
        let text = fs::read_to_string(&kept).unwrap_or_default();
        let kept_runs: Vec<Self> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        println!(
            "\nkernel {}, commit {}, {} CPUs, median of {} rounds",
            self.kernel, self.commit, self.cpus, self.rounds
        );
        if let Some(last) = kept_runs.last() {
            println!(
                "in brackets: the last kept run that has the figure; the last of all is of {} (kernel {}, commit {})",
                last.date, last.kernel, last.commit
            );
        }
        for figure in &self.figures {
            let same = |other: &&Figure| other.figure == figure.figure && other.agent == figure.agent;
            println!("{}", figure.line(kept_runs.iter().rev().find_map(|run| run.figures.iter().find(same))));
        }
        println!("\ntargets:");
        for line in targets::lines(&self.figures) {
            println!("{line}");
        }
        let line = serde_json::to_string(self)?;
        let last = repo.target.join(LAST);
        write(&last, &line, false)?;
        println!("written to {}", last.display());
        if keep {
            write(&kept, &line, true)?;
            println!("kept in {}", kept.display());
        }
        Ok(())
    }
}

impl Figure {
    fn line(&self, before: Option<&Self>) -> String {
        let values = self.values.iter().map(|(name, value)| {
            let before = before.and_then(|before| before.values.get(name));
            let before = before.map(|before| format!(" [{}]", number(*before))).unwrap_or_default();
            format!("{name} {}{before}", number(*value))
        });
        format!("{:<28} {:<10} {}", self.figure, self.agent, values.collect::<Vec<_>>().join(", "))
    }
}

fn number(value: f64) -> String {
    if value == value.trunc() || value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

fn write(path: &std::path::Path, line: &str, append: bool) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    }
    let file = OpenOptions::new().create(true).write(true).append(append).truncate(!append).open(path);
    let mut file = file.with_context(|| format!("failed to open {}", path.display()))?;
    writeln!(file, "{line}").with_context(|| format!("failed to write {}", path.display()))
}
