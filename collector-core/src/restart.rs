//! How often and how soon a failed source is started again.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

/// What a source that failed may expect. The first wait is the shortest one, each further one twice as long.
///
/// A source that has been ready for [`Self::steady_after`] gets its restarts anew: one that fails once a day is
/// started again each time, one that fails at once is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Restarts in a row at most. Default 5.
    pub restarts_max: usize,
    /// The first wait. Default 1 s.
    pub delay_min: Duration,
    /// No wait is longer. Default 30 s.
    pub delay_max: Duration,
    /// How long a source has to have been ready to count as working again. Default 5 min.
    pub steady_after: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            restarts_max: 5,
            delay_min: Duration::from_secs(1),
            delay_max: Duration::from_secs(30),
            steady_after: Duration::from_secs(300),
        }
    }
}

impl RestartPolicy {
    /// No failed source is started again.
    pub fn never() -> Self {
        Self { restarts_max: 0, ..Self::default() }
    }

    /// The waits, one for each restart.
    pub(crate) fn waits(&self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(self.delay_min)
            .with_max_delay(self.delay_max)
            .with_max_times(self.restarts_max)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let policy = RestartPolicy {
            restarts_max: 4,
            delay_min: Duration::from_secs(1),
            delay_max: Duration::from_secs(3),
            ..RestartPolicy::default()
        };
        let waits: Vec<_> = policy.waits().map(|wait| wait.as_secs()).collect();
        assert_eq!(waits, [1, 2, 3, 3]);
        assert_eq!(RestartPolicy::never().waits().next(), None);
    }
}
