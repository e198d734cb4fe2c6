//! How a reader rests between two turns. Decides only.

use collector_common::Class;

/// Shortest nap, and the one after a turn that read nothing.
pub(super) const NAP_MS_MIN: u16 = 1;
/// Longest nap of a reader of processes or connections where few records come.
const NAP_MS_MAX: u16 = 16;
/// The same of opened files, which are many where there are several, and urgent to nobody.
const NAP_MS_FILES_MAX: u16 = 32;
/// Longest nap where many come: what is read after it is to be in the cache when it is written. At 400,000 records a
/// second on two CPUs, a fifth of a default ring fills in it.
const NAP_MS_DENSE_MAX: u16 = 4;
/// So many since the last nap are many.
const DENSE_RECORDS: usize = 512;
/// Naps without a record after which the reader lies down.
const NAPS_MAX: u32 = 2;
/// So many since it lay down are a burst, in which naps without a record stay as long as they are.
const BURST_RECORDS: usize = 64;
/// A turn that read so many records is followed by the next one at once: more may be there than it was allowed to read.
pub(super) const BUSY_RECORDS: usize = super::drain::RECORDS_PER_TURN_MAX;

/// What to do before the next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Read on.
    None,
    /// Look again after so many milliseconds, without being woken: what comes meanwhile costs its task nothing.
    Nap(u16),
    /// Lie down until a record wakes the reader, which costs the task that causes it 7 us.
    Sleep,
}

/// A reader that has read something naps instead of lying down. As long as each nap ends with records the next is twice
/// as long, up to a bound: what a turn costs beside its records (a dozen system calls of three threads) is then shared
/// by more of them. A burst has lulls (a compiler runs, and starts nothing): beginning anew after each would cost many
/// turns that find nothing. The first records after it lay down never wait longer than the shortest nap.
#[derive(Debug)]
pub(super) struct Naps {
    ms: u16,
    longest: u16,
    /// Records that were read since the last nap; `None` where there was none since the reader lay down.
    since_nap: Option<usize>,
    /// Records that were read since the reader lay down.
    since_sleep: usize,
    /// Turns without a record, one after the other.
    empty: u32,
}

impl Naps {
    pub(super) fn of(class: Class) -> Self {
        let longest = if class == Class::File { NAP_MS_FILES_MAX } else { NAP_MS_MAX };
        Self { ms: NAP_MS_MIN, longest, since_nap: None, since_sleep: 0, empty: 0 }
    }

    /// What to do after a turn that read so many records.
    pub(super) fn after(&mut self, read: usize) -> Rest {
        if read == 0 {
            self.empty = self.empty.saturating_add(1);
            let lies_down = self.empty > NAPS_MAX;
            if lies_down || self.since_sleep < BURST_RECORDS {
                self.ms = NAP_MS_MIN;
            }
            if lies_down {
                self.since_sleep = 0;
            }
            self.since_nap = (!lies_down).then_some(0);
            return if lies_down { Rest::Sleep } else { Rest::Nap(self.ms) };
        }
        self.empty = 0;
        self.since_sleep += read;
        self.since_nap = self.since_nap.map(|records| records + read);
        if read >= BUSY_RECORDS {
            return Rest::None;
        }
        if let Some(records) = self.since_nap {
            let longest =
                if records < DENSE_RECORDS { self.longest } else { NAP_MS_DENSE_MAX.max(self.ms / 2) };
            self.ms = (self.ms * 2).min(longest);
        }
        self.since_nap = Some(0);
        Rest::Nap(self.ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rests(turns: &[usize]) -> Vec<Rest> {
        let mut naps = Naps::of(Class::Network);
        turns.iter().map(|&read| naps.after(read)).collect()
    }

    #[test]
    fn naps_that_end_with_records_become_longer_up_to_the_bound() {
        let few = BUSY_RECORDS - 1;
        assert_eq!(rests(&[few; 6]), [1, 2, 4, 8, 16, 16].map(Rest::Nap));
        // Many are read in several turns.
        let many = [&[BUSY_RECORDS; DENSE_RECORDS / BUSY_RECORDS][..], &[1]].concat();
        let naps: Vec<_> = rests(&many.repeat(5)).into_iter().filter(|rest| *rest != Rest::None).collect();
        assert_eq!(naps, [1, 2, 4, 4, 4].map(Rest::Nap));
        for (records, ms) in [(DENSE_RECORDS, 4), (DENSE_RECORDS - 1, 16)] {
            assert_eq!(rests(&[1, 1, 1, 1, records - 1, 1])[5], Rest::Nap(ms));
        }
        let naps = rests(&[&[1; 4], &many[..], &[1]].concat());
        assert_eq!(naps[3..], [&[8].map(Rest::Nap)[..], &[Rest::None; 4], &[4, 8].map(Rest::Nap)].concat());
        let mut files = Naps::of(Class::File);
        let naps: Vec<_> = [few; 7].iter().map(|&read| files.after(read)).collect();
        assert_eq!(naps[4..], [16, 32, 32].map(Rest::Nap));
    }

    #[test]
    fn a_pause_makes_naps_short_again_and_then_the_reader_lies_down() {
        use Rest::{Nap, Sleep};
        let turns = [1, 1, 1, 0, 0, 0, 0, 1, 1];
        assert_eq!(rests(&turns), [Nap(1), Nap(2), Nap(4), Nap(1), Nap(1), Sleep, Sleep, Nap(1), Nap(2)]);
    }

    #[test]
    fn a_lull_in_a_burst_does_not_make_naps_short_but_its_end_does() {
        use Rest::{Nap, Sleep};
        let turns = [1, 1, BURST_RECORDS - 2, 0, 1, 0, 0, 0, 1, 0];
        let naps = [1, 2, 4, 4, 8, 8, 8].map(Nap);
        assert_eq!(rests(&turns), [&naps[..], &[Sleep, Nap(1), Nap(1)]].concat());
        assert_eq!(rests(&[1, 1, BURST_RECORDS - 3, 0])[2..], [4, 1].map(Nap));
    }

    #[test]
    fn a_full_turn_is_followed_by_the_next() {
        assert_eq!(rests(&[BUSY_RECORDS, BUSY_RECORDS + 9, 3]), [Rest::None, Rest::None, Rest::Nap(1)]);
    }
}
