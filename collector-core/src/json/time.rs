//! Times as RFC 3339 in UTC with nine digits.

use std::ops::Range;
use std::time::{Duration, SystemTime};

const SECONDS_PER_DAY: i64 = 86_400;
/// Days of 400 years, after which the calendar repeats.
const DAYS_PER_CYCLE: i64 = 146_097;
/// 0000-01-01 and the first second of the year 10000, in seconds since 1970: RFC 3339 has four digits for the year.
const FIRST_SECOND: i64 = -62_167_219_200;
const END_SECOND: i64 = 253_402_300_800;

/// A quoted time.
type Quoted = [u8; 32];
/// Where its nine digits are.
const NANOS: Range<usize> = 21..30;

/// Formats times; the part down to the second is kept, since neighbouring events share it.
#[derive(Debug)]
pub(super) struct TimeCache {
    second: i64,
    text: Quoted,
}

impl Default for TimeCache {
    fn default() -> Self {
        Self { second: 0, text: *b"\"1970-01-01T00:00:00.000000000Z\"" }
    }
}

impl TimeCache {
    /// Writes nanoseconds since the Unix epoch as a quoted time.
    pub(super) fn write_ns(&mut self, out: &mut Vec<u8>, wall_ns: u64) {
        let since = Duration::from_nanos(wall_ns);
        self.write_parts(out, since.as_secs().cast_signed(), since.subsec_nanos());
    }

    /// Writes a quoted time. What lies outside the years 0 to 9999 becomes the nearest time inside.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, time: SystemTime) {
        let (second, nanos) = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos()),
            Err(before) => {
                let until = before.duration();
                let whole = i64::try_from(until.as_secs()).map_or(i64::MIN, |seconds| -seconds);
                match until.subsec_nanos() {
                    0 => (whole, 0),
                    nanos => (whole.saturating_sub(1), 1_000_000_000 - nanos),
                }
            }
        };
        self.write_parts(out, second, nanos);
    }

    fn write_parts(&mut self, out: &mut Vec<u8>, second: i64, nanos: u32) {
        let (second, nanos) = match second {
            ..FIRST_SECOND => (FIRST_SECOND, 0),
            END_SECOND.. => (END_SECOND - 1, 999_999_999),
            _ => (second, nanos),
        };
        if self.second != second {
            self.second = second;
            self.text = written(second);
        }
        let at = out.len();
        out.extend_from_slice(&self.text);
        write_digits(&mut out[at..][NANOS], nanos);
    }
}

/// Fills a slice with the last digits of a number. They are written where they stay: gathered first, they would be
/// copied before they have reached the cache.
fn write_digits(digits: &mut [u8], mut value: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// The beginning of a second.
fn written(second: i64) -> Quoted {
    let (year, month, day) = date(second.div_euclid(SECONDS_PER_DAY));
    let of_day = second.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let text = format!("\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000000000Z\"");
    text.as_bytes().try_into().expect("a year has four digits")
}

/// Year, month and day, counted from days since 1970-01-01. Runs once a second, so it simply counts: whole calendar
/// cycles first, then the years and months that remain.
fn date(days: i64) -> (i64, i64, i64) {
    let mut year = 1970 + days.div_euclid(DAYS_PER_CYCLE) * 400;
    let mut rest = days.rem_euclid(DAYS_PER_CYCLE);
    while rest >= days_of_year(year) {
        rest -= days_of_year(year);
        year += 1;
    }
    let february = days_of_year(year) - 337;
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for days_of_month in months {
        if rest < days_of_month {
            break;
        }
        rest -= days_of_month;
        month += 1;
    }
    (year, month, rest + 1)
}

fn days_of_year(year: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if leap { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(second: i64, nanos: u32) -> String {
        let mut out = Vec::new();
        TimeCache::default().write_parts(&mut out, second, nanos);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_moments_are_written_exactly() {
        // From `date -u -d @SECOND`.
        for (second, nanos, text) in [
            (0, 0, "\"1970-01-01T00:00:00.000000000Z\""),
            (951_782_399, 1, "\"2000-02-28T23:59:59.000000001Z\""),
            (951_782_400, 999_999_999, "\"2000-02-29T00:00:00.999999999Z\""),
            (1_709_164_800, 0, "\"2024-02-29T00:00:00.000000000Z\""),
            (1_735_689_599, 0, "\"2024-12-31T23:59:59.000000000Z\""),
            (4_107_542_400, 0, "\"2100-03-01T00:00:00.000000000Z\""),
            (-1, 5, "\"1969-12-31T23:59:59.000000005Z\""),
            (FIRST_SECOND, 0, "\"0000-01-01T00:00:00.000000000Z\""),
            (END_SECOND - 1, 0, "\"9999-12-31T23:59:59.000000000Z\""),
        ] {
            assert_eq!(formatted(second, nanos), text);
        }
    }

    #[test]
    fn times_outside_four_digit_years_become_the_nearest_inside() {
        assert_eq!(formatted(i64::MAX, 1), "\"9999-12-31T23:59:59.999999999Z\"");
        assert_eq!(formatted(i64::MIN, 1), "\"0000-01-01T00:00:00.000000000Z\"");
    }

    #[test]
    fn every_day_of_a_cycle_follows_the_day_before() {
        let mut last = date(-DAYS_PER_CYCLE);
        for days in 1 - DAYS_PER_CYCLE..=DAYS_PER_CYCLE {
            let now = date(days);
            let follows = now == (last.0, last.1, last.2 + 1)
                || (now == (last.0, last.1 + 1, 1) && last.2 >= 28)
                || (now == (last.0 + 1, 1, 1) && (last.1, last.2) == (12, 31));
            assert!(follows, "{now:?} after {last:?}");
            last = now;
        }
        assert_eq!(last, (2370, 1, 1));
    }

    #[test]
    fn a_time_before_the_epoch_counts_its_fraction_forward() {
        let mut out = Vec::new();
        let time = SystemTime::UNIX_EPOCH - Duration::from_nanos(1);
        TimeCache::default().write(&mut out, time);
        assert_eq!(out, b"\"1969-12-31T23:59:59.999999999Z\"");
    }

    #[test]
    fn the_kept_second_is_not_used_for_another() {
        let mut times = TimeCache::default();
        let mut out = Vec::new();
        for wall_ns in [1_000_000_000, 1_000_000_001, 2_000_000_000] {
            times.write_ns(&mut out, wall_ns);
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\"1970-01-01T00:00:01.000000000Z\"\"1970-01-01T00:00:01.000000001Z\"\"1970-01-01T00:00:02.000000000Z\""
        );
    }
}
