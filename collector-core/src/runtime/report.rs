//! What a finished run tells its caller.

use super::stop::EndReason;
use crate::accounting::{Imbalance, Reasons};
use crate::event::{EventClass, SummaryEvent};
use crate::ipc::IpcReport;
use crate::process_table::TableStats;
use std::fmt;
use std::time::Duration;

/// How a run went.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RunReport {
    /// Why it ended.
    pub ended: EndReason,
    /// The books: the sources' accounts and the runtime's part, summed. Without classes if no source keeps books.
    pub summary: SummaryEvent,
    /// Whether at least one sink took the summary as the stream's last event.
    pub summary_told: bool,
    /// Classes whose books do not balance.
    pub imbalances: Vec<(EventClass, Imbalance)>,
    /// Each source, in the order of registration.
    pub sources: Vec<SourceReport>,
    /// Each sink, in the order in which they were added.
    pub sinks: Vec<SinkReport>,
    /// What the process table held and what it could not hold.
    pub process_table: TableStats,
    /// What the IPC server did; `None` if there was none to be.
    pub ipc: Option<IpcReport>,
}

/// How a source fared. The counts are of all its events, numbered or not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceReport {
    /// Its name.
    pub name: &'static str,
    /// How it ended.
    pub outcome: SourceOutcome,
    /// Events that at least one sink took.
    pub delivered: u64,
    /// Events read for the collector itself.
    pub internal: u64,
    /// Events read after the run's end was decided.
    pub pending: u64,
    /// Events the runtime lost or refused, by reason.
    pub dropped: Reasons,
    /// How often its start failed, panicked or was not ready in time.
    pub failures: u64,
    /// How often it was started again.
    pub restarts: u64,
    /// Health checks that failed, did not answer in time or panicked.
    pub health_failures: u64,
    /// What the last of them said.
    pub last_health_failure: Option<String>,
}

/// How a source ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceOutcome {
    /// It stopped when it was asked to.
    Stopped,
    /// Its `start` returned this error.
    Failed(String),
    /// Its `start` panicked with this message.
    Panicked(String),
    /// Its `start` was not ready within this time and was aborted.
    NotReady(Duration),
    /// Its `stop` returned this error or panicked with this message.
    StopFailed(String),
    /// Its `stop`, or its `start` after the stop, did not end in time.
    Aborted,
}

impl fmt::Display for SourceOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::Failed(failure) => f.write_str(failure),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::NotReady(timeout) => write!(f, "not ready within {timeout:?}"),
            Self::StopFailed(failure) => write!(f, "failed to stop: {failure}"),
            Self::Aborted => f.write_str("did not stop in time"),
        }
    }
}

impl SourceOutcome {
    /// Whether it stopped when it was asked to.
    pub fn is_clean(&self) -> bool {
        matches!(self, Self::Stopped)
    }
}

/// How a sink fared.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SinkReport {
    /// Its name.
    pub name: String,
    /// How it was at the end.
    pub state: SinkState,
    /// Batches it did not take.
    pub failed_batches: u64,
}

/// How a sink is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SinkState {
    /// It takes batches, though it may have failed to take some.
    Open,
    /// Its reader is gone.
    Closed,
    /// It did not take a batch before the shutdown's end and was given up.
    Blocked,
}
