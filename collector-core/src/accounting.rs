//! The law of no silent loss, as code.
//!
//! Every event that a hook numbered ends in exactly one counter. The counters are kept where the event ends (the
//! kernel's ring, the source's reader, the runtime), and [`ClassAccount::check`] says whether they balance:
//!
//! 1. generated = reserved + dropped in the kernel
//! 2. reserved = read + still in the ring
//! 3. read = decoded + malformed
//! 4. decoded = delivered + filtered + internal + merged + dropped in userspace + pending

use crate::event::EventClass;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Reason name to count.
pub type Reasons = BTreeMap<String, u64>;

/// What a source counted for each of its classes, up to its queue.
pub type SourceAccount = BTreeMap<EventClass, ClassAccount>;

/// The books of one class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassAccount {
    /// Numbers given by the kernel programs.
    pub generated: u64,
    /// Lost in the kernel, after numbering, by reason.
    pub dropped_kernel: Reasons,
    /// Reserved in a ring and not read yet.
    pub in_ring: u64,
    /// Records read from the rings.
    pub read: u64,
    /// Records that did not decode.
    pub malformed: u64,
    /// Records that became events.
    pub decoded: u64,
    /// Events that at least one sink took; what a further sink failed to take is that sink's own loss, in the report.
    pub delivered: u64,
    /// Events that a filter in userspace removed.
    pub filtered: u64,
    /// Events read for the collector itself.
    pub internal: u64,
    /// Events that two hooks saw and one tells.
    pub merged: u64,
    /// Lost in userspace, by stage and reason.
    pub dropped_user: Reasons,
    /// Events on their way, or left over when the run ended.
    pub pending: u64,
    /// Program runs that the kernel skipped; they have no number and stand outside the equations.
    pub missed: u64,
}

/// An equation that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("accounting equation {equation} does not balance: {left_name} {left}, {right_name} {right}")]
pub struct Imbalance {
    /// Which of the four.
    pub equation: &'static str,
    /// What stands left.
    pub left_name: &'static str,
    /// Its value.
    pub left: u64,
    /// What stands right.
    pub right_name: &'static str,
    /// Its sum.
    pub right: u64,
}

impl ClassAccount {
    /// All losses by reason: the kernel's, malformed records, and those in userspace.
    pub fn dropped(&self) -> Reasons {
        let mut all = self.dropped_kernel.clone();
        for (reason, count) in &self.dropped_user {
            *all.entry(reason.clone()).or_default() += count;
        }
        *all.entry("malformed".to_owned()).or_default() += self.malformed;
        all.retain(|_, count| *count > 0);
        all
    }

    /// Adds another account of the same class (another source, or the runtime's part).
    pub fn add(&mut self, other: &Self) {
        self.generated += other.generated;
        self.in_ring += other.in_ring;
        self.read += other.read;
        self.malformed += other.malformed;
        self.decoded += other.decoded;
        self.delivered += other.delivered;
        self.filtered += other.filtered;
        self.internal += other.internal;
        self.merged += other.merged;
        self.pending += other.pending;
        self.missed += other.missed;
        for (mine, theirs) in
            [(&mut self.dropped_kernel, &other.dropped_kernel), (&mut self.dropped_user, &other.dropped_user)]
        {
            for (reason, count) in theirs {
                *mine.entry(reason.clone()).or_default() += count;
            }
        }
    }

    /// Whether the equations can hold for a class at work: what one counter has and the next does not have yet is on its
    /// way, and counts as pending. A counter that is ahead of the one before it is a fault. The counters must have been
    /// read from the last to the first.
    ///
    /// # Errors
    /// As for [`Self::check`].
    pub fn check_running(&self) -> Result<(), Imbalance> {
        let dropped_user: u64 = self.dropped_user.values().sum();
        let ended =
            self.delivered + self.filtered + self.internal + self.merged + dropped_user + self.pending;
        let mut whole = self.clone();
        whole.pending += self.decoded.saturating_sub(ended);
        // A record that is being decoded is still in its ring.
        let in_hand = self.read.saturating_sub(self.decoded + self.malformed);
        whole.read -= in_hand;
        whole.in_ring += in_hand;
        whole.check()
    }

    /// Whether the four equations hold. The reserved ones of equation 1 are those of equation 2, so the two are
    /// checked as one.
    ///
    /// # Errors
    /// The first equation that does not balance, with both sides.
    pub fn check(&self) -> Result<(), Imbalance> {
        let dropped_kernel: u64 = self.dropped_kernel.values().sum();
        let dropped_user: u64 = self.dropped_user.values().sum();
        let equations = [
            (
                "1+2",
                "generated",
                self.generated,
                "read + in ring + dropped",
                self.read + self.in_ring + dropped_kernel,
            ),
            ("3", "read", self.read, "decoded + malformed", self.decoded + self.malformed),
            (
                "4",
                "decoded",
                self.decoded,
                "delivered + filtered + internal + merged + dropped + pending",
                self.delivered + self.filtered + self.internal + self.merged + dropped_user + self.pending,
            ),
        ];
        for (equation, left_name, left, right_name, right) in equations {
            if left != right {
                return Err(Imbalance { equation, left_name, left, right_name, right });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balanced() -> ClassAccount {
        ClassAccount {
            generated: 100,
            dropped_kernel: [("ring_full".to_owned(), 7)].into(),
            in_ring: 3,
            read: 90,
            malformed: 2,
            decoded: 88,
            delivered: 70,
            filtered: 1,
            internal: 9,
            merged: 2,
            dropped_user: [("sink".to_owned(), 5)].into(),
            pending: 1,
            missed: 4,
        }
    }

    #[test]
    fn balanced_books_pass_and_sum_the_losses() {
        let account = balanced();
        account.check().unwrap();
        let told: u64 = account.dropped().values().sum();
        assert_eq!(told, 7 + 5 + 2);
    }

    #[test]
    fn a_reason_under_which_nothing_was_lost_is_none() {
        let dropped_kernel = [("ring_full".to_owned(), 0), ("no_ring".to_owned(), 1)].into();
        let account = ClassAccount { dropped_kernel, ..ClassAccount::default() };
        assert_eq!(account.dropped(), [("no_ring".to_owned(), 1)].into());
    }

    type Change = fn(&mut ClassAccount);

    #[test]
    fn each_counter_off_by_one_breaks_an_equation() {
        let changes: [Change; 11] = [
            |a| a.generated += 1,
            |a| *a.dropped_kernel.get_mut("ring_full").unwrap() += 1,
            |a| a.in_ring += 1,
            |a| a.read += 1,
            |a| a.malformed += 1,
            |a| a.decoded += 1,
            |a| a.delivered += 1,
            |a| a.filtered += 1,
            |a| a.internal += 1,
            |a| a.merged += 1,
            |a| a.pending += 1,
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut account = balanced();
            change(&mut account);
            assert!(account.check().is_err(), "change {index} went unseen");
        }
    }

    #[test]
    fn what_is_on_its_way_balances_while_it_runs_and_what_came_from_nowhere_does_not() {
        let changed = |change: fn(&mut ClassAccount)| {
            let mut account = balanced();
            change(&mut account);
            account
        };
        let being_delivered = changed(|account| account.delivered -= 1);
        let being_decoded = changed(|account| {
            account.decoded -= 1;
            account.delivered -= 1;
        });
        for on_its_way in [being_delivered, being_decoded] {
            assert!(on_its_way.check().is_err());
            assert_eq!(on_its_way.check_running(), Ok(()));
        }
        for from_nowhere in [
            changed(|account| account.delivered += 1),
            changed(|account| account.decoded += 1),
            changed(|account| account.read += 1),
        ] {
            assert!(from_nowhere.check_running().is_err(), "{from_nowhere:?}");
        }
    }

    #[test]
    fn sums_of_balanced_books_balance() {
        let mut sum = balanced();
        sum.add(&balanced());
        sum.check().unwrap();
        assert_eq!(sum.generated, 200);
    }
}
