//! How a run is asked to end, and what its tasks are told about it.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Of the shutdown timeout, the part kept for draining queues and writing the end of the stream; sources get the rest.
const DRAIN_PART: u32 = 4;
/// More than this is never kept for it.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Asks a running collector to stop. Clones ask the same collector; asking again changes nothing.
#[derive(Debug, Clone, Default)]
pub struct ShutdownHandle(CancellationToken);

impl ShutdownHandle {
    /// Asks for a graceful stop. A run that has not begun yet stops as soon as it has.
    pub fn shutdown(&self) {
        self.0.cancel();
    }

    /// Whether a stop was asked for with this handle or a clone of it.
    pub fn is_triggered(&self) -> bool {
        self.0.is_cancelled()
    }

    pub(super) async fn triggered(&self) {
        self.0.cancelled().await;
    }
}

/// Why a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndReason {
    /// A [`ShutdownHandle`] asked for it.
    Handle,
    /// A signal asked for it; its name.
    Signal(String),
    /// The number of events given to `stop_after` was delivered.
    StopAfter,
    /// This sink's reader is gone.
    SinkClosed(String),
    /// Every source failed, so nothing more could come.
    AllSourcesFailed,
}

/// Where the run is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Sources are being stopped and may still send.
    Stopping(Deadlines),
    /// Every source has ended: what is in the queues is all there is.
    Draining(Deadlines),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deadlines {
    /// A source that has not stopped by then is aborted.
    pub(super) sources: Instant,
    /// A sink that has not taken a batch by then is given up.
    pub(super) sinks: Instant,
}

impl Deadlines {
    pub(super) fn new(now: Instant, timeout: Duration) -> Self {
        let reserve = (timeout / DRAIN_PART).min(DRAIN_MAX);
        Self { sources: now + (timeout - reserve), sinks: now + timeout }
    }
}

/// Waits until the run is stopping and the sinks' time is over.
pub(super) async fn sinks_deadline(phase: &mut watch::Receiver<Phase>) {
    loop {
        let deadline = match *phase.borrow_and_update() {
            Phase::Running => None,
            Phase::Stopping(deadlines) | Phase::Draining(deadlines) => Some(deadlines.sinks),
        };
        match deadline {
            Some(deadline) => return sleep_until(deadline).await,
            // The sender lives as long as the run; without it nobody can set a deadline.
            None if phase.changed().await.is_err() => std::future::pending().await,
            None => {}
        }
    }
}

/// The signals that end a run.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// What a terminal that goes away sends; `None` where whoever started the process has it ignored (nohup).
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    pub(super) fn install() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let hangup = if is_hangup_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
        })
    }

    /// Waits for one of them and gives its name; for ever if they are not handled here.
    pub(super) async fn received(signals: &mut Option<Self>) -> &'static str {
        let Some(signals) = signals else { return std::future::pending().await };
        let hangup = async {
            match &mut signals.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = signals.interrupt.recv() => "SIGINT",
            _ = signals.terminate.recv() => "SIGTERM",
            _ = hangup => "SIGHUP",
        }
    }
}

/// Whether SIGHUP was ignored when the process was started; not known without /proc.
fn is_hangup_ignored() -> bool {
    const HANGUP: u64 = 1;
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    status.is_ok_and(|status| status.sigign & HANGUP != 0)
}
