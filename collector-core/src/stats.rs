//! A run in five numbers.

use serde::{Deserialize, Serialize};

/// What the runtime has done and has room for, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeStats {
    /// Events that have come to their end: delivered, internal, left over, refused or lost.
    pub events_processed: usize,
    /// Events lost or refused, starts that failed, and health checks that failed.
    pub errors_total: usize,
    /// Sources registered.
    pub registered_sources: usize,
    /// Sources that are ready and have not failed.
    pub active_components: usize,
    /// Events that may still be queued until the fullest of the sources' queues reaches the backpressure threshold.
    pub backpressure_permits_available: usize,
}

impl RuntimeStats {
    /// Errors for a hundred events processed; 0 without events.
    pub fn error_rate(&self) -> f64 {
        if self.events_processed == 0 {
            return 0.0;
        }
        // Exact up to 2^53, far beyond what a rate needs.
        self.errors_total as f64 / self.events_processed as f64 * 100.0
    }

    /// Whether a source has a queue at or beyond the backpressure threshold.
    pub fn is_under_backpressure(&self) -> bool {
        self.registered_sources > 0 && self.backpressure_permits_available == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_rate_is_in_percent_and_zero_without_events() {
        assert!(
            RuntimeStats { errors_total: 3, ..RuntimeStats::default() }.error_rate().abs() < f64::EPSILON
        );
        let stats = RuntimeStats { events_processed: 200, errors_total: 3, ..RuntimeStats::default() };
        assert!((stats.error_rate() - 1.5).abs() < 1e-9);
    }

    #[test]
    fn pressure_is_when_no_permit_is_left() {
        let stats =
            RuntimeStats { registered_sources: 1, backpressure_permits_available: 1, ..Default::default() };
        assert!(!stats.is_under_backpressure());
        assert!(RuntimeStats { backpressure_permits_available: 0, ..stats }.is_under_backpressure());
        assert!(!RuntimeStats::default().is_under_backpressure(), "nothing runs");
    }
}
