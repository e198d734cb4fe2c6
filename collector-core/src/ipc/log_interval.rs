//! At most one line in a while for what a client can cause as often as it likes.

use std::time::Duration;
use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct LogInterval {
    logged_at: Option<Instant>,
    count: u64,
}

impl LogInterval {
    /// Whether to log now, and how often it happened since the last line.
    pub(super) fn log(&mut self) -> Option<u64> {
        self.count += 1;
        let now = Instant::now();
        let is_due = self.logged_at.is_none_or(|at| now.duration_since(at) >= INTERVAL);
        is_due.then(|| {
            self.logged_at = Some(now);
            std::mem::take(&mut self.count)
        })
    }
}
