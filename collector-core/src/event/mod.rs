//! The event model.
//!
//! [`CollectionEvent`] is what travels from a source to a sink. Its four seed variants hold the structs that
//! consumers of the framework build as literals; the others hold what those cannot: a kernel event with its exact
//! bytes and numbering, a loss, coverage, and the summary at the end.

mod connect;
mod container;
mod cost;
mod errno;
mod identity;
mod kernel;
mod open;
mod seed;
mod text;
mod told;

pub(crate) use connect::hex;
pub use connect::{AddressFamily, Connect, ConnectOutcome, ConnectResult, Endpoint};
pub use errno::Errno;
pub use identity::{Ancestor, Cgroup, Container, ContainerRuntime, ProcessIdentity};
pub use kernel::{
    Abi, CgroupMade, EventClass, Exec, Exit, Fork, KernelBody, KernelEvent, Missing, MissingReason,
    Namespaces, Origin, ProcessContext, Script, Truncated,
};
pub use open::{ExecFailed, Open, OpenFlags};
pub use seed::{FilesystemEvent, NetworkEvent, PerformanceEvent, ProcessEvent};
pub use text::Text;
pub use told::{
    ClassCoverage, CoverageEvent, ErrorCode, ErrorEvent, HookCoverage, LossEvent, LossGap, SummaryEvent,
};

use crate::source::SourceCaps;
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// One event on its way from a source to the sinks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CollectionEvent {
    /// A process, as a seed-style source tells it.
    Process(ProcessEvent),
    /// A connection, as a seed-style source tells it.
    Network(NetworkEvent),
    /// A file operation, as a seed-style source tells it.
    Filesystem(FilesystemEvent),
    /// A measurement.
    Performance(PerformanceEvent),
    /// An event that a kernel hook told, with its numbering.
    Kernel(Box<KernelEvent>),
    /// Events that were lost, and how many.
    Loss(Box<LossEvent>),
    /// A fault of the collection itself.
    Error(Box<ErrorEvent>),
    /// Which hooks serve which classes, and what is blind.
    Coverage(Box<CoverageEvent>),
    /// The books at the end of a run.
    Summary(Box<SummaryEvent>),
}

impl CollectionEvent {
    /// The event's type: "process", "network", "filesystem", "performance", or for the framework's own variants the
    /// native event name ("exec", "exit", "fork", "connect", "open", "loss", "error", "summary" and others).
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::Process(_) => "process",
            Self::Network(_) => "network",
            Self::Filesystem(_) => "filesystem",
            Self::Performance(_) => "performance",
            Self::Kernel(event) => event.body.name(),
            Self::Loss(_) => "loss",
            Self::Error(_) => "error",
            Self::Coverage(_) => "coverage",
            Self::Summary(_) => "summary",
        }
    }

    /// The process the event is about, where there is one.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Process(event) => Some(event.pid),
            Self::Network(event) => event.pid,
            Self::Filesystem(event) => event.pid,
            Self::Performance(event) => event.pid,
            Self::Kernel(event) => Some(event.process.pid),
            Self::Loss(_) | Self::Error(_) | Self::Coverage(_) | Self::Summary(_) => None,
        }
    }

    /// When it happened: the hook's time for a kernel event, the last lost event's for a loss.
    pub fn timestamp(&self) -> SystemTime {
        match self {
            Self::Process(event) => event.timestamp,
            Self::Network(event) => event.timestamp,
            Self::Filesystem(event) => event.timestamp,
            Self::Performance(event) => event.timestamp,
            Self::Kernel(event) => event.time(),
            Self::Loss(event) => event.t_last,
            Self::Error(event) => event.timestamp,
            Self::Coverage(event) => event.timestamp,
            Self::Summary(event) => event.timestamp,
        }
    }

    /// The domain a source must claim to emit this event; `None` for what the framework tells about itself.
    pub fn domain(&self) -> Option<SourceCaps> {
        match self {
            Self::Process(_) => Some(SourceCaps::PROCESS),
            Self::Network(_) => Some(SourceCaps::NETWORK),
            Self::Filesystem(_) => Some(SourceCaps::FILESYSTEM),
            Self::Performance(_) => Some(SourceCaps::PERFORMANCE),
            Self::Kernel(event) => Some(event.origin.class.domain()),
            Self::Loss(event) => Some(event.class.domain()),
            Self::Error(event) => Some(event.class.domain()),
            Self::Coverage(_) | Self::Summary(_) => None,
        }
    }
}
