//! Program runs that the kernel skipped, told as they become more. Decides only; the time is an argument.

use crate::event::{EventClass, LossEvent};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// The reason under which skipped runs are told; they have no number and stand outside the other counts.
pub(super) const MISSED: &str = "missed";

/// What was told of each class, so that each run is told once and all that is told is what the books say in the end.
#[derive(Debug)]
pub(super) struct Missed {
    told: BTreeMap<EventClass, u64>,
    /// When the counters were read last.
    looked_at: SystemTime,
}

impl Missed {
    /// Nothing was skipped before `now`.
    pub(super) fn new(now: SystemTime) -> Self {
        Self { told: BTreeMap::new(), looked_at: now }
    }

    /// What is to be told of counts that all sources together have reached. A count that is lower than before, because
    /// a source does not say its own at present, takes nothing back.
    pub(super) fn grown(
        &mut self,
        counts: impl IntoIterator<Item = (EventClass, u64)>,
        now: SystemTime,
    ) -> Vec<LossEvent> {
        let since = std::mem::replace(&mut self.looked_at, now);
        let mut losses = Vec::new();
        for (class, missed) in counts {
            let told = self.told.entry(class).or_default();
            let count = missed.saturating_sub(*told);
            *told += count;
            if count > 0 {
                let reasons = [(MISSED.to_owned(), count)].into();
                losses.push(LossEvent { class, gap: None, count, t_first: since, t_last: now, reasons });
            }
        }
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_skipped_run_is_told_once_with_the_time_in_which_it_was() {
        let second = |n| SystemTime::UNIX_EPOCH + Duration::from_secs(n);
        let mut missed = Missed::new(second(0));
        let mut told = Vec::new();
        // The kernel's counts; at 4 a source does not say its own.
        for (at, process, network) in [(1, 0, 0), (2, 3, 0), (3, 3, 0), (4, 0, 2), (5, 3, 2), (6, 7, 2)] {
            let counts = [(EventClass::Process, process), (EventClass::Network, network)];
            told.extend(missed.grown(counts, second(at)));
        }
        let short: Vec<_> =
            told.iter().map(|loss| (loss.class, loss.count, loss.t_first, loss.t_last)).collect();
        assert_eq!(
            short,
            [
                (EventClass::Process, 3, second(1), second(2)),
                (EventClass::Network, 2, second(3), second(4)),
                (EventClass::Process, 4, second(5), second(6)),
            ]
        );
        assert!(
            told.iter()
                .all(|loss| loss.gap.is_none() && loss.reasons == [(MISSED.to_owned(), loss.count)].into())
        );
    }
}
