//! What runs beside or instead of a load: execs during a flood, a build.

use super::load::EXEC_MARK;
use anyhow::{Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
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
