//! Building a configuration in code.

use super::CollectorConfig;
use std::time::Duration;

impl CollectorConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many sources can be registered.
    #[must_use]
    pub fn with_max_event_sources(mut self, count: usize) -> Self {
        self.max_event_sources = count;
        self
    }

    /// Sets how many events each source's queue holds. A threshold left at its default follows a smaller queue.
    #[must_use]
    pub fn with_event_buffer_size(mut self, events: usize) -> Self {
        self.event_buffer_size = events;
        self
    }

    /// Sets how long a shutdown may take in all.
    #[must_use]
    pub fn with_shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// Sets how often each source's health is asked for.
    #[must_use]
    pub fn with_health_check_interval(mut self, interval: Duration) -> Self {
        self.health_check_interval = interval;
        self
    }

    /// Sets whether the collector logs in detail.
    #[must_use]
    pub fn with_debug_logging(mut self, enable: bool) -> Self {
        self.enable_debug_logging = enable;
        self
    }

    /// Sets the component's name in logs and metrics.
    #[must_use]
    pub fn with_component_name(mut self, name: impl Into<String>) -> Self {
        self.component_name = name.into();
        self
    }

    /// Sets the queue length from which a source counts as under backpressure.
    #[must_use]
    pub fn with_backpressure_threshold(mut self, events: usize) -> Self {
        self.backpressure_threshold = events;
        self
    }

    /// Sets how long a source is made to wait for room in its queue.
    #[must_use]
    pub fn with_max_backpressure_wait(mut self, wait: Duration) -> Self {
        self.max_backpressure_wait = wait;
        self
    }

    /// Sets how many events a batch holds at most.
    #[must_use]
    pub fn with_max_batch_size(mut self, events: usize) -> Self {
        self.max_batch_size = events;
        self
    }

    /// Sets how long an event waits for its batch to fill.
    #[must_use]
    pub fn with_batch_timeout(mut self, timeout: Duration) -> Self {
        self.batch_timeout = timeout;
        self
    }

    /// Sets whether the collector measures itself.
    #[must_use]
    pub fn with_telemetry(mut self, enable: bool) -> Self {
        self.enable_telemetry = enable;
        self
    }

    /// Sets how often the collector measures itself.
    #[must_use]
    pub fn with_telemetry_interval(mut self, interval: Duration) -> Self {
        self.telemetry_interval = interval;
        self
    }
}
