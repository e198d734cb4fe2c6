//! The numbering of a class's streams as the reader sees it: finds what is missing and says why.
//!
//! Pure: it is given numbers and counters, and gives gaps.

use collector_common::{DROP_REASONS, DropReason, Hook};

/// Reason for numbers whose record was read but was no record.
pub(crate) const MALFORMED: &str = "malformed";
/// Reason for numbers that no counter explains; it breaks the accounting equations, as it must.
pub(crate) const UNEXPLAINED: &str = "unexplained";

/// Numbers of one stream that will not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) cpu: usize,
    pub(crate) hook: Hook,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) reasons: Vec<(&'static str, u64)>,
    /// `CLOCK_BOOTTIME` of the last event seen before.
    pub(crate) after_ns: u64,
    /// `CLOCK_BOOTTIME` of the next event, or of the reconciliation.
    pub(crate) before_ns: u64,
}

/// A number that cannot be the record's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrongNumber {
    /// It was seen or told before.
    #[error("stream {stream} of cpu {cpu} gave number {seq} again, {expected} was next")]
    Repeated { stream: &'static str, cpu: usize, seq: u64, expected: u64 },
    /// The programs have not come that far.
    #[error("stream {stream} of cpu {cpu} gave number {seq}, and only {generated} were given")]
    NotGiven { stream: &'static str, cpu: usize, seq: u64, generated: u64 },
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    /// The number that comes next.
    next: u64,
    last_ns: u64,
    told: [u64; DROP_REASONS],
}

/// The streams of one class.
#[derive(Debug)]
pub(crate) struct Numbering {
    /// By cpu, then by number of the hook.
    streams: Vec<Stream>,
    /// Malformed records that no gap was put down to yet.
    malformed: u64,
}

impl Numbering {
    /// Streams that all begin at 0, at the time `now_ns`.
    pub(crate) fn new(cpus: usize, now_ns: u64) -> Self {
        let stream = Stream { next: 0, last_ns: now_ns, told: [0; DROP_REASONS] };
        Self { streams: vec![stream; cpus * Hook::ALL.len()], malformed: 0 }
    }

    /// A record that could not be read: its number will be missing.
    pub(crate) fn malformed(&mut self) {
        self.malformed += 1;
    }

    /// A record came. `counters` gives the numbers given and lost in the stream, and is asked only if numbers are
    /// missing.
    pub(crate) fn came(
        &mut self,
        cpu: usize,
        hook: Hook,
        seq: u64,
        ktime_ns: u64,
        counters: impl FnOnce() -> (u64, [u64; DROP_REASONS]),
    ) -> Result<Option<Gap>, WrongNumber> {
        let expected = self.streams[index(cpu, hook)].next;
        let gap = match seq.checked_sub(expected) {
            None => return Err(WrongNumber::Repeated { stream: hook.stream(), cpu, seq, expected }),
            Some(0) => None,
            Some(missing) => {
                let (generated, dropped) = counters();
                // Believed, it would tell numbers as lost that are yet to come, and refuse them when they come.
                if seq >= generated {
                    return Err(WrongNumber::NotGiven { stream: hook.stream(), cpu, seq, generated });
                }
                Some(self.take(cpu, hook, missing, dropped, ktime_ns))
            }
        };
        let stream = &mut self.streams[index(cpu, hook)];
        stream.next = seq + 1;
        stream.last_ns = ktime_ns;
        Ok(gap)
    }

    /// Compares a stream with its counters: numbers behind the last event that are all counted as lost are a gap
    /// without an event to show it. Numbers of records on their way are left alone.
    pub(crate) fn reconcile(
        &mut self,
        cpu: usize,
        hook: Hook,
        (generated, dropped): (u64, [u64; DROP_REASONS]),
        now_ns: u64,
    ) -> Option<Gap> {
        let stream = &self.streams[index(cpu, hook)];
        let outstanding = generated.saturating_sub(stream.next);
        let lost: u64 = untold(&dropped, &stream.told).iter().sum();
        (outstanding > 0 && outstanding == lost).then(|| self.take(cpu, hook, outstanding, dropped, now_ns))
    }

    /// Like [`Numbering::reconcile`], when nothing can be on its way any more.
    pub(crate) fn close(
        &mut self,
        cpu: usize,
        hook: Hook,
        (generated, dropped): (u64, [u64; DROP_REASONS]),
        now_ns: u64,
    ) -> Option<Gap> {
        let outstanding = generated.saturating_sub(self.streams[index(cpu, hook)].next);
        (outstanding > 0).then(|| self.take(cpu, hook, outstanding, dropped, now_ns))
    }

    /// Whether every number that was given has come or was told as lost.
    pub(crate) fn is_settled(&self, cpu: usize, hook: Hook, generated: u64) -> bool {
        self.streams[index(cpu, hook)].next == generated
    }

    fn take(&mut self, cpu: usize, hook: Hook, count: u64, dropped: [u64; DROP_REASONS], now_ns: u64) -> Gap {
        let stream = &mut self.streams[index(cpu, hook)];
        let mut left = count;
        let mut reasons = Vec::new();
        for (slot, untold) in untold(&dropped, &stream.told).into_iter().enumerate() {
            let part = untold.min(left);
            if part > 0 {
                stream.told[slot] += part;
                left -= part;
                reasons.push((DropReason::ALL[slot].name(), part));
            }
        }
        let malformed = self.malformed.min(left);
        self.malformed -= malformed;
        for (reason, part) in [(MALFORMED, malformed), (UNEXPLAINED, left - malformed)] {
            if part > 0 {
                reasons.push((reason, part));
            }
        }
        let first_seq = stream.next;
        stream.next += count;
        Gap {
            cpu,
            hook,
            first_seq,
            last_seq: stream.next - 1,
            reasons,
            after_ns: stream.last_ns,
            before_ns: now_ns,
        }
    }
}

fn index(cpu: usize, hook: Hook) -> usize {
    cpu * Hook::ALL.len() + hook as usize
}

fn untold(dropped: &[u64; DROP_REASONS], told: &[u64; DROP_REASONS]) -> [u64; DROP_REASONS] {
    std::array::from_fn(|slot| dropped[slot].saturating_sub(told[slot]))
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests {
    use super::*;

    const FULL: [u64; DROP_REASONS] = [3, 0, 0, 0, 0];
    const NONE: (u64, [u64; DROP_REASONS]) = (9, [0; DROP_REASONS]);

    fn numbering() -> Numbering {
        Numbering::new(2, 1000)
    }

    #[test]
    fn consecutive_numbers_show_no_gap_and_ask_no_counter() {
        let mut numbering = numbering();
        for seq in 0..5 {
            let gap = numbering.came(1, Hook::Exec, seq, 2000 + seq, || unreachable!("no number is missing"));
            assert_eq!(gap, Ok(None));
        }
    }

    #[test]
    fn gap_names_numbers_reason_and_times() {
        let mut numbering = numbering();
        numbering.came(0, Hook::Exit, 0, 2000, || NONE).unwrap();
        let gap = numbering.came(0, Hook::Exit, 4, 3000, || (5, FULL)).unwrap().unwrap();
        assert_eq!((gap.first_seq, gap.last_seq), (1, 3));
        assert_eq!(gap.reasons, [("ring_full", 3)]);
        assert_eq!((gap.after_ns, gap.before_ns), (2000, 3000));
    }

    #[test]
    fn streams_of_other_cpus_and_hooks_are_apart() {
        let mut numbering = numbering();
        numbering.came(0, Hook::Exec, 0, 1, || NONE).unwrap();
        assert_eq!(numbering.came(1, Hook::Exec, 0, 1, || NONE), Ok(None));
        assert_eq!(numbering.came(0, Hook::Exit, 0, 1, || NONE), Ok(None));
    }

    #[test]
    fn repeated_number_is_refused() {
        let mut numbering = numbering();
        numbering.came(0, Hook::Exec, 0, 1, || NONE).unwrap();
        assert!(numbering.came(0, Hook::Exec, 0, 1, || NONE).is_err());
    }

    #[test]
    fn number_that_was_not_given_yet_is_refused_and_changes_nothing() {
        let mut numbering = numbering();
        for seq in [3, u64::MAX] {
            let refused = Err(WrongNumber::NotGiven { stream: "exec", cpu: 0, seq, generated: 3 });
            assert_eq!(numbering.came(0, Hook::Exec, seq, 1, || (3, FULL)), refused);
        }
        assert_eq!(numbering.came(0, Hook::Exec, 0, 1, || NONE), Ok(None));
    }

    #[test]
    fn tail_loss_is_told_once() {
        let mut numbering = numbering();
        numbering.came(0, Hook::Exec, 0, 1, || NONE).unwrap();
        let gap = numbering.reconcile(0, Hook::Exec, (4, FULL), 9000).unwrap();
        assert_eq!((gap.first_seq, gap.last_seq, gap.before_ns), (1, 3, 9000));
        assert_eq!(numbering.reconcile(0, Hook::Exec, (4, FULL), 9001), None);
        assert!(numbering.is_settled(0, Hook::Exec, 4));
    }

    #[test]
    fn records_on_their_way_are_no_loss() {
        let mut numbering = numbering();
        // Numbers 0 to 3 were given, three are lost, one is on its way.
        assert_eq!(numbering.reconcile(0, Hook::Exec, (4, FULL), 1), None);
        assert!(!numbering.is_settled(0, Hook::Exec, 4));
        assert_eq!(numbering.came(0, Hook::Exec, 0, 1, || (4, FULL)), Ok(None));
        assert!(!numbering.is_settled(0, Hook::Exec, 4), "the loss is not told yet");
        assert!(numbering.reconcile(0, Hook::Exec, (4, FULL), 1).is_some());
    }

    #[test]
    fn counters_that_ran_ahead_are_told_later() {
        let mut numbering = numbering();
        let gap = numbering.came(0, Hook::Exec, 2, 1, || (4, FULL)).unwrap().unwrap();
        assert_eq!(gap.reasons, [("ring_full", 2)]);
        let gap = numbering.reconcile(0, Hook::Exec, (4, FULL), 2).unwrap();
        assert_eq!(gap.reasons, [("ring_full", 1)]);
    }

    #[test]
    fn mixed_malformed_and_unexplained_are_told_apart() {
        let mut numbering = numbering();
        numbering.malformed();
        let gap = numbering.came(0, Hook::Exec, 4, 1, || (5, [1, 1, 0, 0, 0])).unwrap().unwrap();
        assert_eq!(gap.reasons, [("ring_full", 1), ("no_ring", 1), ("malformed", 1), ("unexplained", 1)]);
    }
    #[test]
    fn a_malformed_record_explains_one_number() {
        let mut numbering = numbering();
        numbering.malformed();
        let gap = numbering.came(0, Hook::Exec, 1, 1, || NONE).unwrap().unwrap();
        assert_eq!(gap.reasons, [("malformed", 1)]);
        let gap = numbering.came(0, Hook::Exec, 3, 1, || NONE).unwrap().unwrap();
        assert_eq!(gap.reasons, [("unexplained", 1)]);
    }
}
