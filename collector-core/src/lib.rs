//! A framework for event collectors.
//!
//! Sources ([`EventSource`]) produce [`CollectionEvent`]s, one runtime ([`Collector`]) carries them over bounded
//! queues to sinks ([`EventSink`]) and keeps the books. The crate knows nothing of eBPF, aya or a kernel object: a
//! kernel event reaches it as plain data.
//!
//! Invariants:
//! 1. **No silent loss.** Every event that a source counted as decoded ends in exactly one counter of
//!    [`accounting::ClassAccount`]; [`accounting::ClassAccount::check`] is the law as code.
//! 2. **A source emits only the domains its capabilities claim**; anything else is refused and counted.
//! 3. **A source cannot take another's share**: each has a queue of its own, bounded in events and in bytes.
//! 4. **The stream tells its own limits**: coverage stands first, losses stand where they happened, the summary
//!    stands last.
//!
//! What it does not do: it does not parse kernel records, resolve names, or decide what is suspicious.
#![forbid(unsafe_code)]

pub mod accounting;
mod backpressure;
mod collector;
mod config;
pub mod escape;
pub mod event;
mod handle;
mod health;
mod ipc;
mod json;
mod metrics;
pub mod process_table;
mod restart;
mod runtime;
mod sink;
mod source;
mod stats;
mod subscription;
mod telemetry;
#[cfg(test)]
mod test_events;

pub use backpressure::{BackpressurePolicies, BackpressurePolicy, QUEUE_BYTES_DEFAULT, QUEUE_BYTES_MIN};
pub use collector::Collector;
pub use config::{
    BATCH_SIZE_MAX, ByteSize, CONFIG_FILE_BYTES_MAX, CollectorConfig, ConfigError, ConfigLayers,
    ConfigLoadError, DURATION_MAX, EVENT_BUFFER_MAX, EVENT_SOURCES_MAX, Loaded, Origin,
};
pub use event::{
    CollectionEvent, FilesystemEvent, KernelEvent, NetworkEvent, PerformanceEvent, ProcessEvent,
};
pub use handle::CollectorHandle;
pub use health::{Health, HealthReason, HealthState, PartHealth};
pub use ipc::{
    IPC_CLIENTS_MAX, IPC_FRAME_BYTES_MAX, IPC_HASH_BYTES_MAX, IPC_RECENT_BYTES_MAX, IPC_RECENT_EVENTS_MAX,
    IPC_TASK_TIME_MAX, IPC_TOLD_PROCESSES_MAX, IpcError, IpcOptions, IpcReport,
};
pub use json::{JsonEncoder, JsonLinesSink};
pub use restart::RestartPolicy;
pub use runtime::{EndReason, RunReport, ShutdownHandle, SinkReport, SinkState, SourceOutcome, SourceReport};
pub use sink::{EventSink, SinkError};
pub use source::{EventSource, SourceCaps};
pub use stats::RuntimeStats;
pub use subscription::{EventBatch, Received, Subscription, SubscriptionOptions};
pub use telemetry::{ProcessUsage, SourceTelemetry, Telemetry};

/// The README's examples, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Code as existing users have it, compiled as it stands.
#[cfg(doctest)]
#[doc = include_str!("../tests/compat/seed.md")]
struct Seed;
