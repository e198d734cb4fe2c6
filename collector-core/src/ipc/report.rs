//! What the server counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the IPC server did in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IpcReport {
    /// Clients that were served.
    pub served: u64,
    /// Clients that were refused for who they are.
    pub refused: u64,
    /// Clients that were refused because there were as many as may be.
    pub over_limit: u64,
    /// Questions that were answered, also with an error.
    pub tasks: u64,
    /// Connections that the server closed: a broken frame, a malformed request, too slow, silent for too long.
    pub closed: u64,
    /// Whether the server broke: it could not begin, or panicked.
    pub failed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) served: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) over_limit: AtomicU64,
    pub(super) tasks: AtomicU64,
    pub(super) closed: AtomicU64,
}

impl IpcReport {
    /// Of a server that could not begin.
    pub(crate) fn of_failed() -> Self {
        Self { failed: true, ..Self::default() }
    }
}

impl Counters {
    pub(super) fn report(&self, failed: bool) -> IpcReport {
        IpcReport {
            served: self.served.load(Relaxed),
            refused: self.refused.load(Relaxed),
            over_limit: self.over_limit.load(Relaxed),
            tasks: self.tasks.load(Relaxed),
            closed: self.closed.load(Relaxed),
            failed,
        }
    }
}
