//! The bounds of each value.

use super::{BACKPRESSURE_THRESHOLD_DEFAULT, CollectorConfig};
use std::time::Duration;

/// Sources that can be registered at most, whatever the configuration says.
pub const EVENT_SOURCES_MAX: usize = 1024;
/// Events that one source's queue holds at most, whatever the configuration says.
pub const EVENT_BUFFER_MAX: usize = 1_000_000;
/// Events in a batch at most, whatever the configuration says.
pub const BATCH_SIZE_MAX: usize = 100_000;
/// The longest of the configurable times.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A value outside its bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, but must be {bound}")]
pub struct ConfigError {
    /// The field's name.
    pub field: &'static str,
    /// The value it has.
    pub value: String,
    /// The bound it breaks.
    pub bound: String,
}

impl CollectorConfig {
    /// Whether every value is within its bound.
    ///
    /// # Errors
    /// The first field that is not, with its value and its bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let counts = [
            ("max_event_sources", self.max_event_sources, EVENT_SOURCES_MAX),
            ("event_buffer_size", self.event_buffer_size, EVENT_BUFFER_MAX),
            ("max_batch_size", self.max_batch_size, BATCH_SIZE_MAX),
            ("backpressure_threshold", self.followed_threshold(), self.event_buffer_size),
        ];
        for (field, value, max) in counts {
            if value == 0 || value > max {
                let bound = match field {
                    "backpressure_threshold" => format!("between 1 and event_buffer_size ({max})"),
                    _ => format!("between 1 and {max}"),
                };
                return Err(ConfigError { field, value: value.to_string(), bound });
            }
        }
        // A zero wait has a meaning for these two: do not wait. The others would spin or end at once.
        let may_be_zero = true;
        let durations = [
            ("shutdown_timeout", self.shutdown_timeout, !may_be_zero),
            ("health_check_interval", self.health_check_interval, !may_be_zero),
            ("startup_timeout", self.startup_timeout, !may_be_zero),
            ("batch_timeout", self.batch_timeout, may_be_zero),
            ("max_backpressure_wait", self.max_backpressure_wait, may_be_zero),
            ("telemetry_interval", self.telemetry_interval, !may_be_zero),
        ];
        for (field, value, may_be_zero) in durations {
            if value > DURATION_MAX || (value.is_zero() && !may_be_zero) {
                let bound = match may_be_zero {
                    true => format!("at most {DURATION_MAX:?}"),
                    false => format!("more than 0 and at most {DURATION_MAX:?}"),
                };
                return Err(ConfigError { field, value: format!("{value:?}"), bound });
            }
        }
        if self.component_name.is_empty() {
            let value = "\"\"".to_owned();
            return Err(ConfigError { field: "component_name", value, bound: "a name".to_owned() });
        }
        Ok(())
    }

    /// The threshold that holds: one that nobody set follows a queue that is smaller than it.
    pub(crate) fn followed_threshold(&self) -> usize {
        let nobody_set_it = self.backpressure_threshold == BACKPRESSURE_THRESHOLD_DEFAULT;
        if nobody_set_it && self.event_buffer_size < self.backpressure_threshold {
            (self.event_buffer_size * 4 / 5).max(1)
        } else {
            self.backpressure_threshold
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        CollectorConfig::default().validate().unwrap();
    }

    #[test]
    fn a_smaller_buffer_alone_stays_valid_however_it_was_set() {
        let built = CollectorConfig::new().with_event_buffer_size(10);
        built.validate().unwrap();
        assert_eq!(built.followed_threshold(), 8);
        let parsed: CollectorConfig = serde_json::from_str(r#"{"event_buffer_size":1}"#).unwrap();
        parsed.validate().unwrap();
    }

    #[test]
    fn the_threshold_follows_the_last_size_of_the_buffer_and_one_that_was_set_stays() {
        let smaller = CollectorConfig::new().with_event_buffer_size(100).with_event_buffer_size(50);
        smaller.validate().unwrap();
        assert_eq!(smaller.followed_threshold(), 40);
        let larger = CollectorConfig::new().with_event_buffer_size(10).with_event_buffer_size(1000);
        assert_eq!((larger.followed_threshold(), &larger), (800, &CollectorConfig::new()));
        let set = CollectorConfig::new().with_backpressure_threshold(6).with_event_buffer_size(10);
        assert_eq!(set.with_event_buffer_size(1000).followed_threshold(), 6);
    }

    #[test]
    fn a_threshold_above_the_buffer_names_field_value_and_bound() {
        let error = CollectorConfig::new().with_backpressure_threshold(1001).validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "backpressure_threshold is 1001, but must be between 1 and event_buffer_size (1000)"
        );
    }

    #[test]
    fn each_bound_is_kept_on_both_sides() {
        type Change = fn(CollectorConfig) -> CollectorConfig;
        let bad: [(&str, Change); 15] = [
            ("max_event_sources", |c| c.with_max_event_sources(0)),
            ("max_event_sources", |c| c.with_max_event_sources(EVENT_SOURCES_MAX + 1)),
            ("event_buffer_size", |c| c.with_event_buffer_size(0)),
            ("event_buffer_size", |c| c.with_event_buffer_size(EVENT_BUFFER_MAX + 1)),
            ("max_batch_size", |c| c.with_max_batch_size(0)),
            ("max_batch_size", |c| c.with_max_batch_size(BATCH_SIZE_MAX + 1)),
            ("backpressure_threshold", |c| c.with_backpressure_threshold(0)),
            ("shutdown_timeout", |c| c.with_shutdown_timeout(Duration::ZERO)),
            ("shutdown_timeout", |c| c.with_shutdown_timeout(DURATION_MAX * 2)),
            ("health_check_interval", |c| c.with_health_check_interval(Duration::ZERO)),
            ("batch_timeout", |c| c.with_batch_timeout(DURATION_MAX * 2)),
            ("max_backpressure_wait", |c| c.with_max_backpressure_wait(DURATION_MAX * 2)),
            ("telemetry_interval", |c| c.with_telemetry_interval(Duration::ZERO)),
            ("component_name", |c| c.with_component_name("")),
            ("startup_timeout", |mut c| {
                c.startup_timeout = Duration::ZERO;
                c
            }),
        ];
        for (field, change) in bad {
            assert_eq!(change(CollectorConfig::new()).validate().unwrap_err().field, field);
        }
        let at_the_bounds = CollectorConfig::new()
            .with_max_event_sources(EVENT_SOURCES_MAX)
            .with_event_buffer_size(EVENT_BUFFER_MAX)
            .with_max_batch_size(BATCH_SIZE_MAX)
            .with_shutdown_timeout(DURATION_MAX)
            .with_batch_timeout(Duration::ZERO)
            .with_max_backpressure_wait(Duration::ZERO);
        at_the_bounds.validate().unwrap();
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let parsed: Result<CollectorConfig, _> = serde_json::from_str(r#"{"evnt_buffer_size":1}"#);
        assert!(parsed.unwrap_err().to_string().contains("evnt_buffer_size"));
    }
}
