//! The loads: one thing done often by this program itself, bounded in count, and what it cost.

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Files that one thread opens in turn.
const FILES: u64 = 16;
/// What their names begin with, so that their events can be counted.
pub(super) const FILE_PREFIX: &str = "bench_load_";
/// An argument of every program that is started, so that its event can be counted.
pub(super) const EXEC_MARK: &str = "bench_exec";
/// A paced thread looks at the clock after this many operations.
const PACE_STEP: u64 = 16;

/// What a load does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Open and close a file on tmpfs.
    Open,
    /// Connect a UDP socket over and over.
    ConnectUdp,
    /// Make a TCP socket and connect it to a port where nobody listens.
    ConnectRefused,
    /// Start /bin/true and wait for it.
    Exec,
    /// A system call that no hook is about.
    Getppid,
}

impl Kind {
    /// Its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::ConnectUdp => "connect-udp",
            Self::ConnectRefused => "connect-refused",
            Self::Exec => "exec",
            Self::Getppid => "getppid",
        }
    }
}

/// One load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Load {
    /// What to do
    #[arg(value_enum)]
    pub(super) kind: Kind,
    /// How often, by each thread
    #[arg(long, default_value_t = 100_000)]
    pub(super) count: u64,
    /// By how many threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) threads: u32,
    /// Operations a second of all threads together; 0 for as fast as possible
    #[arg(long, default_value_t = 0)]
    pub(super) rate: u64,
    /// Where the files to open are made
    #[arg(long, default_value = "/dev/shm")]
    pub(super) dir: PathBuf,
}

/// What a load did and what it cost.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Operations of all threads.
    pub(super) operations: u64,
    /// Operations a second.
    pub(super) rate: f64,
    /// CPU time of the load and its children, per operation.
    pub(super) cpu_ns_per_operation: f64,
}

/// Runs the load in this process and prints what it did as JSON.
pub(crate) fn run(load: &Load) -> Result<()> {
    let paths = (0..load.threads).map(|thread| files(load, thread)).collect::<Result<Vec<_>>>()?;
    let closed_port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let barrier = Barrier::new(load.threads as usize);
    let before = cpu_ns()?;
    let start = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = paths
            .iter()
            .map(|paths| scope.spawn(|| one_thread(load, paths, closed_port, &barrier)))
            .collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("a thread of the load panicked"),
        })
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let operations = load.count * u64::from(load.threads);
    let done = Done {
        operations,
        rate: operations as f64 / seconds,
        cpu_ns_per_operation: (cpu_ns()? - before) as f64 / operations as f64,
    };
    for path in paths.iter().flatten() {
        std::fs::remove_file(path).with_context(|| format!("failed to remove {}", path.display()))?;
    }
    println!("{}", serde_json::to_string(&done)?);
    Ok(())
}

/// Runs the load in a process of its own.
pub(super) fn start(load: &Load) -> Result<Done> {
    let program = std::env::current_exe().context("this program's own path is not known")?;
    let mut command = Command::new(program);
    command
        .args(["load", load.kind.name()])
        .args(["--count", &load.count.to_string(), "--threads", &load.threads.to_string()])
        .args(["--rate", &load.rate.to_string()])
        .arg("--dir")
        .arg(&load.dir)
        .stderr(Stdio::inherit());
    Ok(serde_json::from_str(&crate::exec::capture(&mut command)?)?)
}

fn files(load: &Load, thread: u32) -> Result<Vec<PathBuf>> {
    if load.kind != Kind::Open {
        return Ok(Vec::new());
    }
    let names = (0..FILES).map(|file| load.dir.join(format!("{FILE_PREFIX}{thread}_{file}")));
    names
        .map(|path| {
            File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
            Ok(path)
        })
        .collect()
}

fn one_thread(load: &Load, paths: &[PathBuf], closed_port: u16, barrier: &Barrier) -> Result<()> {
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let per_second = load.rate as f64 / f64::from(load.threads);
    barrier.wait();
    let start = Instant::now();
    for done in 0..load.count {
        if load.rate > 0 && done % PACE_STEP == 0 {
            let due = Duration::from_secs_f64(done as f64 / per_second);
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
        operation(load.kind, paths, done, &udp, closed_port)?;
    }
    Ok(())
}

fn operation(kind: Kind, paths: &[PathBuf], done: u64, udp: &UdpSocket, closed_port: u16) -> Result<()> {
    match kind {
        Kind::Open => {
            let path: &Path = &paths[usize::try_from(done % FILES)?];
            File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
        }
        Kind::ConnectUdp => udp.connect((Ipv4Addr::LOCALHOST, 9))?,
        Kind::ConnectRefused => {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, closed_port)).is_ok() {
                bail!("somebody listens on port {closed_port} now");
            }
        }
        Kind::Exec => {
            let status = Command::new("/bin/true").args([EXEC_MARK, "argument"]).status()?;
            if !status.success() {
                bail!("/bin/true ended with {status}");
            }
        }
        Kind::Getppid => {
            std::hint::black_box(std::os::unix::process::parent_id());
        }
    }
    Ok(())
}

/// CPU time of this process and of the children it has waited for.
fn cpu_ns() -> Result<i64> {
    let mut total = 0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        total += usage.user_time().num_nanoseconds() + usage.system_time().num_nanoseconds();
    }
    Ok(total)
}
