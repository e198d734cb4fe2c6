//! What the collector tells about itself, in the same stream: coverage first, losses where they happened, the
//! summary last.

use super::kernel::EventClass;
use crate::accounting::ClassAccount;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Which hooks serve which classes, and what is blind on this kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CoverageEvent {
    /// The kernel's release, as `uname -r` gives it.
    pub kernel: String,
    /// Per class, what serves it.
    pub classes: BTreeMap<EventClass, ClassCoverage>,
    /// When everything was attached.
    pub timestamp: SystemTime,
}

/// What serves one class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCoverage {
    /// The attached hooks.
    pub hooks: Vec<HookCoverage>,
    /// Names of what cannot be seen.
    pub blind: Vec<String>,
}

/// One attached hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookCoverage {
    /// Rung and hook, such as `raw_tp:sched_process_exec`.
    pub via: String,
    /// The rung alone.
    pub rung: String,
    /// The family of readers the program uses: `direct` or `portable`.
    pub readers: String,
}

/// Events of one numbering stream that were lost, or runs of a program that the kernel skipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossEvent {
    /// The class that lost events.
    pub class: EventClass,
    /// The numbering stream and CPU, with the first and last number lost; absent for skipped runs, which have none.
    pub gap: Option<LossGap>,
    /// How many.
    pub count: u64,
    /// No lost event is older: the time of the last event seen before.
    pub t_first: SystemTime,
    /// No lost event is younger: the time of the next event seen, or of the reconciliation.
    pub t_last: SystemTime,
    /// Reason name to count; the counts sum to `count`.
    pub reasons: BTreeMap<String, u64>,
}

/// A contiguous gap in a numbering stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossGap {
    /// Name of the stream.
    pub stream: String,
    /// CPU whose numbers these are.
    pub cpu: u32,
    /// First number lost.
    pub first_seq: u64,
    /// Last number lost.
    pub last_seq: u64,
}

/// Something is wrong with the collection itself: what was told, or will be, may not be all or may stand twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorEvent {
    /// The class that it concerns.
    pub class: EventClass,
    /// What kind of fault.
    pub code: ErrorCode,
    /// What was found, for a person.
    pub message: String,
    /// When it was found.
    pub timestamp: SystemTime,
}

/// Kinds of faults of the collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The books do not balance: an event was lost without a trace, or counted twice.
    Accounting,
    /// A canary event did not come back exactly once: its hook is gone, or there twice.
    Canary,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 2] = [Self::Accounting, Self::Canary];

    /// The code's name in the native format and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accounting => "accounting",
            Self::Canary => "canary",
        }
    }
}

/// The books of a run, per class, summed over CPUs and streams.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SummaryEvent {
    /// Per attached class.
    pub classes: BTreeMap<EventClass, ClassAccount>,
    /// When the books were closed.
    pub timestamp: SystemTime,
}
