//! Runs `collectord watch` around what a test does, and holds every stream against the checker.

use crate::event::{Child, Event};
use crate::limits;
use crate::process::Process;
use crate::rig::{Rig, Skip};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use collector_tests::stream::{Ending, check};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A daemon that has attached everything.
pub(crate) struct Watch {
    pub(crate) process: Process,
    raw: Vec<u8>,
}

/// A daemon that would not start.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

impl Watch {
    /// Starts `collectord watch --format json` with further arguments; returns when everything is attached.
    pub(crate) fn start(rig: &Rig, args: &[&str]) -> Result<Self> {
        Self::try_start(rig, args)?.map_err(|refusal| anyhow!("watch {args:?} did not start: {refusal:?}"))
    }

    /// Starts it; a refusal is an answer, too.
    pub(crate) fn try_start(rig: &Rig, args: &[&str]) -> Result<Result<Self, Refusal>> {
        let mut command = rig.collectord();
        command.args(["watch", "--format", "json"]);
        // Most tests are about processes. On a busy machine the opens of all others would make their streams many times
        // as long, and a test that is about opens or connections says so.
        if !args.contains(&"--events") {
            command.args(["--events", "exec,exit"]);
        }
        command.args(args);
        Self::run(&mut command, None)
    }

    /// Starts with one family of readers; where the kernel refuses it, the daemon must have said so with exit 69.
    pub(crate) fn with_readers(rig: &Rig, readers: &str) -> Result<Self> {
        match Self::try_start(rig, &["--readers", readers])? {
            Ok(watch) => Ok(watch),
            Err(Refusal { code: Some(69), stderr }) => {
                let last = stderr.lines().last().unwrap_or_default().to_owned();
                bail!(Skip(format!("the daemon says exit 69: {last}")))
            }
            Err(refusal) => bail!("watch --readers {readers} did not start: {refusal:?}"),
        }
    }

    /// Starts any command that runs a watch; with `lines_max`, stdout is closed after that many lines.
    pub(crate) fn run(command: &mut Command, lines_max: Option<usize>) -> Result<Result<Self, Refusal>> {
        let mut process = Process::start(command, lines_max)?;
        match process.line(limits::start())? {
            Some(first) => Ok(Ok(Self { process, raw: first })),
            None => {
                let code = process.wait(limits::stop())?.code();
                Ok(Err(Refusal { code, stderr: process.stderr() }))
            }
        }
    }

    pub(crate) fn pid(&self) -> u64 {
        self.process.pid().into()
    }

    /// The lines that come within a window, for what must be seen while it runs.
    pub(crate) fn lines_within(&mut self, window: Duration) -> usize {
        let lines = self.process.lines_within(window);
        self.raw.extend(lines.concat());
        lines.len()
    }

    /// Waits for so many lines with this text in them.
    pub(crate) fn until(&mut self, lines: usize, text: &str) -> Result<()> {
        let mut seen = 0;
        while seen < lines {
            let line = self.process.line(limits::act())?;
            let line = line.with_context(|| format!("it ended after {seen} lines with {text:?}"))?;
            seen += usize::from(String::from_utf8_lossy(&line).contains(text));
            self.raw.extend(line);
        }
        Ok(())
    }

    /// SIGINT, then everything to the end.
    pub(crate) fn stop(self) -> Result<Stream> {
        self.process.signal(Signal::SIGINT)?;
        self.end(limits::stop())
    }

    /// Everything until it ends by itself.
    pub(crate) fn end(mut self, deadline: Duration) -> Result<Stream> {
        let asked = Instant::now();
        let mut raw = std::mem::take(&mut self.raw);
        raw.extend(self.process.rest(deadline)?.concat());
        let code = self.process.wait(deadline)?.code();
        let took = asked.elapsed();
        let stderr = self.process.stderr();
        ensure!(code == Some(0), self.process.failure(&format!("ended with {code:?}")));
        keep(&raw)?;
        let report = check(&raw, Ending::Summary);
        ensure!(report.holds(), "the stream does not hold: {report}\nstderr:\n{stderr}");
        ensure!(report.errors == 0, "it tells a fault of its own: {report}\nstderr:\n{stderr}");
        let lines = parsed(&raw)?;
        Ok(Stream { pid: self.pid(), lines, lost: report.lost, took, stderr })
    }
}

/// The events of whole lines.
pub(crate) fn parsed(raw: &[u8]) -> Result<Vec<Event>> {
    let lines = raw.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map(Event).context("a line is no JSON")).collect()
}

/// Writes the stream into the folder that `KEEP_STREAMS` names, for a look at it or for another checker.
fn keep(raw: &[u8]) -> Result<()> {
    static KEPT: AtomicUsize = AtomicUsize::new(0);
    let Some(folder) = std::env::var_os("KEEP_STREAMS") else { return Ok(()) };
    let number = KEPT.fetch_add(1, Ordering::Relaxed);
    let file = PathBuf::from(folder).join(format!("{number:03}.jsonl"));
    std::fs::write(&file, raw).with_context(|| format!("cannot write {}", file.display()))
}

/// A whole stream that holds.
pub(crate) struct Stream {
    /// The daemon that wrote it.
    pub(crate) pid: u64,
    pub(crate) lines: Vec<Event>,
    pub(crate) lost: u64,
    /// From the request to stop to the end of the process.
    pub(crate) took: Duration,
    pub(crate) stderr: String,
}

impl Stream {
    /// Skips the test where the coverage says that this is not seen.
    pub(crate) fn skip_if_blind(&self, class: &str, name: &str) -> Result<()> {
        if self.is_blind(class, name)? {
            bail!(Skip(format!("the coverage says blind: {name}")));
        }
        Ok(())
    }

    pub(crate) fn is_blind(&self, class: &str, name: &str) -> Result<bool> {
        let coverage = self.lines.first().context("a stream has a first line")?;
        let blind = coverage.find(&format!("classes.{class}.blind")).and_then(Value::as_array);
        Ok(blind.is_some_and(|blind| blind.iter().any(|blind| blind == name)))
    }

    /// How many events may be missing without a number: runs of a hook's program that the kernel skipped. None, where
    /// the coverage does not say that this happens.
    pub(crate) fn may_miss(&self, class: &str) -> Result<u64> {
        if !self.is_blind(class, "preempted-hook")? {
            return Ok(0);
        }
        let missed = self.lines.last().and_then(|summary| summary.find(&format!("classes.{class}.missed")));
        missed.and_then(Value::as_u64).context("a summary says what is missed")
    }

    /// Skips the test that looks for one event, where the kernel may have skipped the program that would have told it.
    pub(crate) fn skip_if_missed(&self, kind: &str) -> Result<()> {
        let class = match kind {
            "exec" | "exec_failed" | "fork" | "exit" => "process",
            "open" => "file",
            _ => "network",
        };
        let missed = self.may_miss(class)?;
        if missed > 0 {
            bail!(Skip(format!("no {kind}, and the kernel skipped runs of preempted hooks: {missed}")));
        }
        Ok(())
    }

    /// The kernel's events.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.lines.iter().filter(|line| !matches!(line.kind(), "coverage" | "loss" | "error" | "summary"))
    }

    pub(crate) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Event> {
        self.lines.iter().filter(move |line| line.kind() == kind)
    }

    /// A number of the summary, over all classes.
    pub(crate) fn summed(&self, counter: &str) -> Result<u64> {
        let summary = self.lines.last().context("a stream has lines")?;
        let classes = summary.find("classes").and_then(Value::as_object).context("a summary has classes")?;
        let counts = classes.values().map(|books| books[counter].as_u64().context("a counter is a number"));
        counts.sum()
    }

    /// The one event of this kind about this child: none, and two, are failures. None skips the test where a skipped
    /// run explains it.
    pub(crate) fn one(&self, kind: &str, child: &Child) -> Result<&Event> {
        let found: Vec<&Event> = self.of_kind(kind).filter(|event| child.is_in(event)).collect();
        match found[..] {
            [event] => Ok(event),
            [] => {
                self.skip_if_missed(kind)?;
                let alike: Vec<_> = self.events().filter(|event| event.pid() == child.pid).collect();
                bail!(
                    "no {kind} of {child:?} ({} lost); with its pid: {alike:?}; stderr: {}",
                    self.lost,
                    self.stderr
                )
            }
            _ => bail!("{} {kind} events of {child:?}: {found:?}", found.len()),
        }
    }

    /// The exit of this child, held against the status that its parent saw.
    pub(crate) fn exit_of(&self, child: &Child) -> Result<&Event> {
        let exit = self.one("exit", child)?;
        child.check_exit(exit)?;
        Ok(exit)
    }

    /// The daemon never tells of itself, and not of what its canary starts.
    pub(crate) fn none_from_the_collector(&self) -> Result<()> {
        let is_own = |event: &&Event| {
            event.pid() == self.pid || event.number("process.ppid").is_ok_and(|ppid| ppid == self.pid)
        };
        let own = self.events().find(is_own);
        ensure!(own.is_none(), "the collector tells of itself: {own:?}");
        Ok(())
    }
}

/// What a test does while a default watch runs, and the stream.
pub(crate) fn watched<T>(rig: &Rig, args: &[&str], act: impl FnOnce() -> Result<T>) -> Result<(T, Stream)> {
    let watch = Watch::start(rig, args)?;
    let done = act()?;
    Ok((done, watch.stop()?))
}
