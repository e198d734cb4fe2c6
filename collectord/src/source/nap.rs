//! How a reader rests between two turns. Decides only.

/// Shortest nap, and the one after a turn that read nothing.
const NAP_MS_MIN: u16 = 1;
/// Longest nap between turns of few records.
const NAP_MS_SPARSE_MAX: u16 = 8;
/// Longest nap between others: what is read in one turn is to be in the cache when it is written. At 400,000 records a
/// second on two CPUs, a fifth of a default ring fills in it.
const NAP_MS_DENSE_MAX: u16 = 4;
/// A turn that read fewer is one of few records.
const DENSE_RECORDS: usize = 64;
/// Naps without a record after which the reader lies down.
const NAPS_MAX: u32 = 2;
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
/// by more of them. The first records after a pause never wait longer than the shortest nap.
#[derive(Debug)]
pub(super) struct Naps {
    ms: u16,
    /// The last turn was followed by a nap.
    napped: bool,
    /// Turns without a record, one after the other.
    empty: u32,
}

impl Default for Naps {
    fn default() -> Self {
        Self { ms: NAP_MS_MIN, napped: false, empty: 0 }
    }
}

impl Naps {
    /// What to do after a turn that read so many records.
    pub(super) fn after(&mut self, read: usize) -> Rest {
        let napped = std::mem::replace(&mut self.napped, false);
        if read == 0 {
            self.ms = NAP_MS_MIN;
            self.empty = self.empty.saturating_add(1);
            if self.empty > NAPS_MAX {
                return Rest::Sleep;
            }
        } else {
            self.empty = 0;
            if napped {
                let longest = if read < DENSE_RECORDS { NAP_MS_SPARSE_MAX } else { NAP_MS_DENSE_MAX };
                self.ms = (self.ms * 2).min(longest);
            }
            if read >= BUSY_RECORDS {
                return Rest::None;
            }
        }
        self.napped = true;
        Rest::Nap(self.ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rests(turns: &[usize]) -> Vec<Rest> {
        let mut naps = Naps::default();
        turns.iter().map(|&read| naps.after(read)).collect()
    }

    #[test]
    fn naps_that_end_with_records_become_longer_up_to_the_bound() {
        assert_eq!(rests(&[DENSE_RECORDS; 4]), [1, 2, 4, 4].map(Rest::Nap));
        assert_eq!(rests(&[1; 5]), [1, 2, 4, 8, 8].map(Rest::Nap));
        assert_eq!(rests(&[64, 64, 64, 1, 64]), [1, 2, 4, 8, 4].map(Rest::Nap));
    }

    #[test]
    fn a_pause_makes_naps_short_again_and_then_the_reader_lies_down() {
        use Rest::{Nap, Sleep};
        let turns = [1, 1, 1, 0, 0, 0, 0, 1, 1];
        assert_eq!(rests(&turns), [Nap(1), Nap(2), Nap(4), Nap(1), Nap(1), Sleep, Sleep, Nap(1), Nap(2)]);
    }

    #[test]
    fn a_full_turn_is_followed_by_the_next() {
        assert_eq!(rests(&[BUSY_RECORDS, BUSY_RECORDS + 9, 3]), [Rest::None, Rest::None, Rest::Nap(1)]);
    }
}
