//! Times as the messages have them.

use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime};

/// The two clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    pub(super) wall: SystemTime,
    /// `CLOCK_BOOTTIME`, ns; 0 on a kernel that has none.
    pub(super) boottime_ns: u64,
}

impl Clocks {
    pub(super) fn now() -> Self {
        let boottime = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
        Self { wall: SystemTime::now(), boottime_ns: u64::try_from(boottime.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// The wall-clock time of a `CLOCK_BOOTTIME`.
    pub(super) fn wall_of_boottime(&self, ns: u64) -> SystemTime {
        let ago = Duration::from_nanos(self.boottime_ns.saturating_sub(ns));
        self.wall.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Whole seconds since the epoch, rounded down.
pub(super) fn epoch_seconds(time: SystemTime) -> i64 {
    epoch_millis(time).div_euclid(1000)
}

/// Whole milliseconds since the epoch, rounded down.
pub(super) fn epoch_millis(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => {
            let nanos = before.duration().as_nanos().div_ceil(1_000_000);
            i64::try_from(nanos).map_or(i64::MIN, |millis| -millis)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_the_epoch_are_rounded_down() {
        let epoch = SystemTime::UNIX_EPOCH;
        let after = epoch + Duration::from_micros(1_999_999);
        assert_eq!((epoch_millis(after), epoch_seconds(after)), (1999, 1));
        let before = epoch - Duration::from_micros(1);
        assert_eq!((epoch_millis(before), epoch_seconds(before)), (-1, -1));
        assert_eq!((epoch_millis(epoch), epoch_seconds(epoch)), (0, 0));
    }
}
