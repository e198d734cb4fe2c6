//! What a source is, and what it may claim.

use crate::accounting::SourceAccount;
use crate::event::{CollectionEvent, CoverageEvent};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

bitflags::bitflags! {
    /// What a source can see and how. The low four bits are domains, the others qualities.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
    pub struct SourceCaps: u32 {
        /// Processes: starts, ends, forks.
        const PROCESS = 1;
        /// Network connections.
        const NETWORK = 2;
        /// Files.
        const FILESYSTEM = 4;
        /// Measurements.
        const PERFORMANCE = 8;
        /// Events arrive as they happen, not by polling.
        const REALTIME = 16;
        /// Events come from the kernel's own hooks.
        const KERNEL_LEVEL = 32;
        /// The whole machine is seen, not a selection.
        const SYSTEM_WIDE = 64;
    }
}

/// A producer of events.
///
/// `start` may return at once and let a task of its own send, or send for its whole life; either way the runtime
/// keeps the source until `stop`. An implementation must not send after its `stop` has returned.
///
/// A source is *ready* when its `start` has returned `Ok`, or its first event has come, or its `health_check` says
/// `Ok` while `start` still runs. One that is not ready within the configured startup timeout is aborted. A source that
/// is busy in `start` for long before it can work says so by a `health_check` that fails until then.
///
/// A start that failed, panicked or was aborted was none: `stop` is not called for it. The runtime starts the source
/// again after a while, if it is [`Self::restartable`].
#[async_trait]
pub trait EventSource: Send + Sync {
    /// A name, unique among the registered sources.
    fn name(&self) -> &'static str;

    /// What the source can see. The runtime refuses and counts an event of a domain that is not claimed here.
    fn capabilities(&self) -> SourceCaps;

    /// Starts the source; `tx` is a bounded queue of its own, and sending waits while it is full.
    async fn start(&self, tx: mpsc::Sender<CollectionEvent>) -> anyhow::Result<()>;

    /// Stops the source: everything it had read has been sent when this returns.
    async fn stop(&self) -> anyhow::Result<()>;

    /// Whether a start that failed may be tried again, with the same queue. A source that holds something it can use
    /// only once says no here, and its first failure is its end.
    fn restartable(&self) -> bool {
        true
    }

    /// Whether the source works. An error makes the source degraded, with the error as the reason; so does an answer
    /// that takes longer than the interval of the checks, or five seconds.
    async fn health_check(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Which hook serves each event class and what is blind, if the source can say; known from registration on.
    /// The runtime merges the answers into the stream's first event.
    fn coverage(&self) -> Option<CoverageEvent> {
        None
    }

    /// What the source counted up to now, per class, if it keeps such books. The runtime adds what happened behind
    /// the queue and writes the sum as the stream's last event.
    fn account(&self) -> Option<SourceAccount> {
        None
    }
}
