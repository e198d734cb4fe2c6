//! What runs beside or instead of a load: execs during a flood, sleeping processes, a build.

use super::load::EXEC_MARK;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, killpg};
use nix::sys::time::TimeValLike as _;
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Between two execs during a flood.
const EXEC_PERIOD: Duration = Duration::from_millis(20);

/// Starts a program every 20 ms until it is stopped.
pub(super) struct ExecsMeanwhile {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl ExecsMeanwhile {
    pub(super) fn start() -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("execs".to_owned()).spawn(move || {
            let mut execs = 0;
            while !stopped.load(Ordering::Relaxed) {
                let status = Command::new("/bin/true").arg(EXEC_MARK).status()?;
                ensure!(status.success(), "/bin/true ended with {status}");
                execs += 1;
                thread::sleep(EXEC_PERIOD);
            }
            Ok(execs)
        })?;
        Ok(Self { stop, thread })
    }

    /// Says how many there were.
    pub(super) fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the thread of the execs panicked"))?
    }
}

/// Memory that must be there for each sleeping process, and is not used up by it.
const SLEEPER_KIB: u64 = 120;
const PID_MAX: &str = "/proc/sys/kernel/pid_max";
/// Forks children that sleep until they are killed, then says so.
const SLEEP: &str = "$| = 1; for (1 .. $ARGV[0]) { my $pid = fork(); die \"fork: $!\" unless defined $pid; \
                     if (!$pid) { sleep 100000 while 1 } } print \"there\\n\"; sleep 100000 while 1";

/// Processes that do nothing, in a group of their own, until this is dropped.
pub(super) struct Sleepers {
    parent: Child,
    /// What the highest pid was before it was raised.
    pid_max: Option<String>,
}

impl Sleepers {
    pub(super) fn start(processes: u64) -> Result<Self> {
        let memory = fs::read_to_string("/proc/meminfo")?;
        let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let available: u64 = available.unwrap_or_default().trim().trim_end_matches(" kB").parse()?;
        let needed = processes * SLEEPER_KIB * 3 / 2;
        ensure!(available > needed, "it needs {needed} KiB of memory, {available} are available");
        let before = fs::read_to_string(PID_MAX)?.trim().to_owned();
        // Threads and other processes need pids too.
        let raised = before.parse::<u64>()? < processes * 2;
        if raised {
            fs::write(PID_MAX, (processes * 2).to_string())
                .with_context(|| format!("failed to write {PID_MAX}"))?;
        }
        let parent = Command::new("perl")
            .args(["-e", SLEEP, &processes.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("failed to start perl")?;
        let mut sleepers = Self { parent, pid_max: raised.then_some(before) };
        let stdout = sleepers.parent.stdout.take().context("a piped command has no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line == "there\n", "{processes} processes could not be made");
        Ok(sleepers)
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        if let Ok(group) = i32::try_from(self.parent.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.parent.wait();
        if let Some(before) = &self.pid_max
            && let Err(error) = fs::write(PID_MAX, before)
        {
            eprintln!("failed to restore {PID_MAX}: {error}");
        }
    }
}

const BUILD_FILES: usize = 25;
const BUILD_FUNCTIONS: usize = 60;
const BUILD: &str = "rm -f *.o; ls *.c | xargs -P2 -n1 gcc -c; \
    for i in $(seq 100); do /bin/true; /usr/bin/test -e /etc/passwd; x=$(/usr/bin/expr $i + 1); done; \
    find /usr/include -type f | head -4000 | xargs -n 200 stat -c %s >/dev/null; \
    find /usr/include -name '*.h' -type f | head -2500 | xargs -n 100 cat >/dev/null";

/// Compiles small files, starts short commands and reads headers, in `dir`; gives the CPU seconds of all of it.
pub(super) fn build_like(dir: &Path) -> Result<f64> {
    if !dir.exists() {
        fs::create_dir(dir)?;
        for file in 0..BUILD_FILES {
            let functions: String = (0..BUILD_FUNCTIONS)
                .map(|at| format!("int f{file}_{at}(int x){{return printf(\"%d\",x*{at});}}\n"))
                .collect();
            let text = format!("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n{functions}");
            fs::write(dir.join(format!("f{file}.c")), text)?;
        }
    }
    let before = children_cpu_s()?;
    let output = Command::new("sh").args(["-c", BUILD]).current_dir(dir).stdin(Stdio::null()).output()?;
    if !dir.join("f0.o").exists() {
        bail!("nothing was built: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(children_cpu_s()? - before)
}

fn children_cpu_s() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok((usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6)
}
