//! What an embedder can set, the bounds of it, and where it can come from.

mod bounds;
mod builders;
mod daemoneye;
mod layers;
mod load_error;
mod origin;
mod units;

pub use bounds::{BATCH_SIZE_MAX, ConfigError, DURATION_MAX, EVENT_BUFFER_MAX, EVENT_SOURCES_MAX};
pub use layers::{CONFIG_FILE_BYTES_MAX, ConfigLayers, Loaded};
pub use load_error::ConfigLoadError;
pub use origin::Origin;
pub use units::ByteSize;
pub(crate) use units::duration;

use serde::{Deserialize, Serialize};
use std::time::Duration;

const BACKPRESSURE_THRESHOLD_DEFAULT: usize = 800;

/// The configuration of a [`crate::Collector`].
///
/// ```
/// use collector_core::CollectorConfig;
/// use std::time::Duration;
///
/// let config = CollectorConfig::new()
///     .with_max_event_sources(32)
///     .with_event_buffer_size(2000)
///     .with_shutdown_timeout(Duration::from_secs(60))
///     .with_health_check_interval(Duration::from_secs(120))
///     .with_debug_logging(true);
/// assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectorConfig {
    /// How many sources can be registered. Default 16.
    pub max_event_sources: usize,
    /// How many events each source's queue holds. Default 1000.
    pub event_buffer_size: usize,
    /// How long a shutdown may take in all, from the request to the return of `run`. Default 30 s.
    #[serde(deserialize_with = "units::duration")]
    pub shutdown_timeout: Duration,
    /// How often each source is asked how it is. Default 60 s.
    #[serde(deserialize_with = "units::duration")]
    pub health_check_interval: Duration,
    /// How long a source may take to become ready, see [`crate::EventSource`]. Default 10 s.
    #[serde(deserialize_with = "units::duration")]
    pub startup_timeout: Duration,
    /// Whether the collector logs each batch, at debug level. Default false.
    pub enable_debug_logging: bool,
    /// How many events a batch holds at most. Default 100.
    pub max_batch_size: usize,
    /// How long an event waits for its batch to fill. Zero: a batch is handed on as soon as nothing more is ready.
    /// Default 100 ms.
    #[serde(deserialize_with = "units::duration")]
    pub batch_timeout: Duration,
    /// Queue length from which a source counts as under backpressure, and from which events whose policy is
    /// [`crate::BackpressurePolicy::Drop`] are dropped. Default 800; in a smaller queue a value of 800 means four fifths of
    /// the queue.
    pub backpressure_threshold: usize,
    /// How long a source is made to wait, without any room coming free in its queue, before events are dropped whose
    /// policy is [`crate::BackpressurePolicy::WaitThenDrop`]. Default 500 ms.
    #[serde(deserialize_with = "units::duration")]
    pub max_backpressure_wait: Duration,
    /// Whether the collector measures itself, see [`crate::Telemetry`]. Default true.
    pub enable_telemetry: bool,
    /// How often it does. Default 30 s.
    #[serde(deserialize_with = "units::duration")]
    pub telemetry_interval: Duration,
    /// The component's name in logs, telemetry and the metric `collector_info`. Default "collector-core".
    pub component_name: String,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            max_event_sources: 16,
            event_buffer_size: 1000,
            shutdown_timeout: Duration::from_secs(30),
            health_check_interval: Duration::from_secs(60),
            startup_timeout: Duration::from_secs(10),
            enable_debug_logging: false,
            max_batch_size: 100,
            batch_timeout: Duration::from_millis(100),
            backpressure_threshold: BACKPRESSURE_THRESHOLD_DEFAULT,
            max_backpressure_wait: Duration::from_millis(500),
            enable_telemetry: true,
            telemetry_interval: Duration::from_secs(30),
            component_name: "collector-core".to_owned(),
        }
    }
}
