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
//! 3. **A source cannot take another's share**: each has a bounded queue of its own.
//! 4. **The stream tells its own limits**: coverage stands first, losses stand where they happened, the summary
//!    stands last.
//!
//! What it does not do: it does not parse kernel records, resolve names, or decide what is suspicious.
#![forbid(unsafe_code)]

pub mod accounting;
mod collector;
mod config;
pub mod escape;
pub mod event;
mod json;
pub mod process_table;
mod runtime;
mod sink;
mod source;
#[cfg(test)]
mod test_events;

pub use collector::Collector;
pub use config::{
    BATCH_SIZE_MAX, ByteSize, CONFIG_FILE_BYTES_MAX, CollectorConfig, ConfigError, ConfigLayers,
    ConfigLoadError, DURATION_MAX, EVENT_BUFFER_MAX, EVENT_SOURCES_MAX, Loaded, Origin,
};
pub use event::{
    CollectionEvent, FilesystemEvent, KernelEvent, NetworkEvent, PerformanceEvent, ProcessEvent,
};
pub use json::{JsonEncoder, JsonLinesSink};
pub use runtime::{EndReason, RunReport, ShutdownHandle, SinkReport, SinkState, SourceOutcome, SourceReport};
pub use sink::{EventSink, SinkError};
pub use source::{EventSource, SourceCaps};

/// The README's examples, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Code as existing users have it, compiled as it stands.
#[cfg(doctest)]
#[doc = include_str!("../tests/compat/seed.md")]
struct Seed;
