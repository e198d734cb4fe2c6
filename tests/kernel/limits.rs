//! Every deadline, in one place. Deadlines only end what hangs; the few limits that are promises are named so.

use anyhow::{Result, bail};
use std::fmt::Debug;
use std::sync::LazyLock;
use std::time::Duration;

/// How much slower this machine may be than real hardware: an emulated CPU is.
pub(crate) static SLACK: LazyLock<u32> = LazyLock::new(|| {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if cpu.contains("QEMU") { 10 } else { 1 }
});

/// From the daemon's start to its first line.
pub(crate) fn start() -> Duration {
    Duration::from_secs(20) * *SLACK
}

/// From the request to stop to the daemon's end; far above the promise.
pub(crate) fn stop() -> Duration {
    Duration::from_secs(10) * *SLACK
}

/// For one run of the actor, and for any one line that must come.
pub(crate) fn act() -> Duration {
    Duration::from_secs(60) * *SLACK
}

/// Holds a promise in time against the best of three tries: what else this machine does says nothing about the daemon.
pub(crate) fn kept<T: PartialOrd + Debug>(promised: T, measure: impl Fn() -> Result<T>) -> Result<()> {
    let mut measured = Vec::new();
    for _ in 0..3 {
        let value = measure()?;
        if value <= promised {
            return Ok(());
        }
        measured.push(value);
    }
    bail!("promised are {promised:?}, measured {measured:?}")
}

/// Promise: from SIGINT to the end of the daemon.
pub(crate) fn promised_stop() -> Duration {
    Duration::from_millis(500) * *SLACK
}

/// Promise: from a hook that is taken off to the fault that tells it.
pub(crate) fn promised_canary() -> Duration {
    Duration::from_secs(10) * *SLACK
}

/// How long the idle daemon is watched.
pub(crate) const IDLE_WINDOW: Duration = Duration::from_secs(5);

/// Promise: resident memory of the idle daemon.
pub(crate) const IDLE_RESIDENT_KIB_MAX: u64 = 40 * 1024;

/// Promise: the idle daemon's share of one core, in percent.
pub(crate) fn promised_idle_percent() -> f64 {
    f64::from(*SLACK)
}

/// More events than this in the idle window: the machine was not quiet, the numbers say nothing.
pub(crate) const IDLE_EVENTS_MAX: u64 = 20;

/// The same for a program with portable readers where direct ones serve.
pub(crate) const VERIFIED_ASIDE_MAX: u64 = 500_000;

/// Promise: instructions the verifier walks for one program.
pub(crate) const VERIFIED_INSTRUCTIONS_MAX: u64 = 100_000;
