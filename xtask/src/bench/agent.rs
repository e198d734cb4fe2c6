//! A collector under test: started by a shell command in a process group of its own, watched through /proc, stopped by
//! SIGINT, also if this program is killed.

use super::stream::{self, Stream};
use crate::afterwards::Afterwards;
use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a collector may take to be attached.
const SETTLE: Duration = Duration::from_millis(2500);
/// How long a collector may take to end.
const END_MAX: Duration = Duration::from_secs(20);

/// Bytes of the pipe that a collector writes to.
const PIPE_BYTES: i32 = 1 << 20;

/// What becomes of a collector's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    Discarded,
    Counted,
}

/// A collector and how it is started.
#[derive(Debug, Clone)]
pub(super) struct Agent {
    pub(super) name: String,
    /// A command for `sh -c` that writes events to its standard output until SIGINT. `{events}` stands for what a figure
    /// is about, as letters: o (opens), c (connects), e (execs).
    pub(super) command: String,
}

/// A collector that runs.
pub(super) struct Running {
    child: Child,
    /// Reads its standard output to the end.
    reader: Option<JoinHandle<Result<Stream>>>,
    ended: bool,
    /// Stops it if this program is killed.
    _stop: Afterwards,
}

/// Run time of the programs that a collector holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ProgramTime {
    pub(super) ns: u64,
    pub(super) runs: u64,
}

impl Agent {
    /// The daemon under test with these flags.
    pub(super) fn ours(daemon: &Path, flags: &str) -> Self {
        let command = format!("{} watch --format json {flags}", daemon.display());
        Self { name: "collectord".to_owned(), command }
    }

    /// The same for what a figure is about.
    pub(super) fn about(&self, events: &str) -> Self {
        Self { name: self.name.clone(), command: self.command.replace("{events}", events) }
    }

    /// Starts it, its output read and counted, or thrown away.
    pub(super) fn start(&self, dir: &Path, output: Output) -> Result<Running> {
        let (stdout, reader) = match output {
            Output::Discarded => (Stdio::from(File::create("/dev/null")?), None),
            Output::Counted => {
                let (read, write) = std::io::pipe()?;
                // A reader that has to wait for its CPU must not make the collector wait.
                fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES)).context("failed to make a large pipe")?;
                (Stdio::from(write), Some(thread::spawn(move || stream::read(read))))
            }
        };
        let errors = dir.join(format!("{}.err", self.name));
        let child = Command::new("sh")
            .args(["-c", &format!("exec {}", self.command)])
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(File::create(&errors)?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("failed to start {}", self.command))?;
        let stop = Afterwards::run("kill -INT \"-$1\" 2>/dev/null || :", &[&child.id().to_string()])?;
        let mut running = Running { child, reader, ended: false, _stop: stop };
        thread::sleep(SETTLE);
        if let Some(status) = running.child.try_wait()? {
            running.ended = true;
            let said = fs::read_to_string(&errors).unwrap_or_default();
            bail!("{} ended with {status}: {}", self.name, said.trim());
        }
        Ok(running)
    }
}

impl Running {
    /// CPU time of all its processes, in seconds.
    pub(super) fn cpu_s(&self) -> f64 {
        self.pids().into_iter().filter_map(cpu_time).sum::<Duration>().as_secs_f64()
    }

    /// Memory resident, in MiB.
    pub(super) fn resident_mib(&self) -> f64 {
        let kib = self.pids().into_iter().filter_map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        });
        kib.sum::<u64>() as f64 / 1024.0
    }

    /// Run time of its kernel programs, as the kernel's statistics have it while they are switched on.
    pub(super) fn program_time(&self) -> ProgramTime {
        let mut programs = BTreeMap::new();
        for pid in self.pids() {
            let Ok(files) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else { continue };
            for file in files.flatten() {
                let info = fs::read_to_string(file.path()).unwrap_or_default();
                let value = |key: &str| {
                    let line = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
                    line.and_then(|value| value.parse::<u64>().ok())
                };
                // Several descriptors can be of one program.
                if let (Some(id), Some(ns), Some(runs)) =
                    (value("prog_id"), value("run_time_ns"), value("run_cnt"))
                {
                    programs.insert(id, ProgramTime { ns, runs });
                }
            }
        }
        programs.values().fold(ProgramTime::default(), |sum, one| ProgramTime {
            ns: sum.ns + one.ns,
            runs: sum.runs + one.runs,
        })
    }

    /// Waits until it has no more work, as its CPU time says.
    pub(super) fn drain(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        let mut before = self.cpu_s();
        while Instant::now() < end {
            thread::sleep(Duration::from_millis(500));
            let now = self.cpu_s();
            if now - before < 0.04 {
                return;
            }
            before = now;
        }
    }

    /// Sends a signal to all its processes.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(killpg(self.group()?, signal)?)
    }

    /// Stops it and waits for its end; says what it wrote, if that was counted.
    pub(super) fn stop(mut self) -> Result<Stream> {
        self.end()?;
        match self.reader.take().map(JoinHandle::join) {
            None => Ok(Stream::default()),
            Some(Ok(stream)) => stream,
            Some(Err(_)) => bail!("the reader of a stream panicked"),
        }
    }

    fn end(&mut self) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        let group = self.group()?;
        killpg(group, Signal::SIGINT)?;
        let deadline = Instant::now() + END_MAX;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        killpg(group, Signal::SIGKILL)?;
        self.child.wait()?;
        bail!("a collector did not end {} s after SIGINT", END_MAX.as_secs())
    }

    fn group(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }

    /// The process that was started and those below it. Not a walk over /proc: among 100,000 processes that takes 3 s.
    fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.child.id()];
        let mut at = 0;
        while let Some(pid) = pids.get(at) {
            pids.extend(children(*pid));
            at += 1;
        }
        pids
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error:#}");
        }
    }
}

/// The processes that its threads have started and that have not been waited for.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// The process's CPU clock, which counts nanoseconds: /proc has ticks of 10 ms, and the yardstick uses 12 ms beside a
/// build of 1.5 s.
fn cpu_time(pid: u32) -> Option<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid).ok()?)).ok()?;
    Some(clock.now().ok()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_those_of_every_thread() {
        let sleeps = || Command::new("sleep").arg("60").spawn().unwrap();
        let mut child = thread::spawn(sleeps).join().unwrap();
        let mut second = sleeps();
        let found = children(std::process::id());
        for child in [&mut child, &mut second] {
            assert!(found.contains(&child.id()), "{found:?}");
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
