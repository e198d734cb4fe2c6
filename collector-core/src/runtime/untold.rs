//! Losses that the runtime caused and the stream has not told yet.

use super::books::DropReason;
use super::missed::MISSED;
use crate::event::{CollectionEvent, EventClass, KernelEvent, LossEvent, LossGap};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Gaps kept apart; more of them are told as one loss per class, without numbers.
pub(super) const GAPS_MAX: usize = 256;
/// Reasons that one loss names; a source that names more has the rest told as [`OTHER`].
const REASONS_MAX: usize = 32;
const OTHER: &str = "other";

/// Losses waiting for a batch that a sink takes.
#[derive(Debug, Default)]
pub(super) struct Untold {
    gaps: Vec<LossEvent>,
    /// Without numbers; those of skipped runs apart from the others.
    rest: BTreeMap<(EventClass, bool), LossEvent>,
}

impl Untold {
    pub(super) fn is_empty(&self) -> bool {
        self.gaps.is_empty() && self.rest.is_empty()
    }

    /// How many losses are to be told.
    pub(super) fn len(&self) -> usize {
        self.gaps.len() + self.rest.len()
    }

    /// An event that no sink got, or that was about losses and no sink got.
    pub(super) fn lost(&mut self, event: &CollectionEvent, reason: DropReason) {
        match event {
            CollectionEvent::Kernel(event) => self.lost_event(event, reason),
            CollectionEvent::Loss(loss) => self.keep(loss.as_ref().clone()),
            _ => {}
        }
    }

    /// Events that were lost without a trace of their numbers, between these times.
    pub(super) fn lost_unseen(
        &mut self,
        class: EventClass,
        count: u64,
        reason: DropReason,
        (t_first, t_last): (SystemTime, SystemTime),
    ) {
        let reasons = [(reason.name().to_owned(), count)].into();
        self.fold(LossEvent { class, gap: None, count, t_first, t_last, reasons });
    }

    /// Everything untold, to be put before the next batch; what is not taken has to be given back.
    pub(super) fn take(&mut self) -> impl Iterator<Item = CollectionEvent> + use<> {
        let gaps = std::mem::take(&mut self.gaps);
        let rest = std::mem::take(&mut self.rest);
        gaps.into_iter().chain(rest.into_values()).map(|loss| CollectionEvent::Loss(Box::new(loss)))
    }

    fn lost_event(&mut self, event: &KernelEvent, reason: DropReason) {
        let origin = &event.origin;
        let time = event.time();
        let grown = self.gaps.iter_mut().rev().find(|loss| {
            loss.class == origin.class
                && loss.reasons.contains_key(reason.name())
                && loss.gap.as_ref().is_some_and(|gap| {
                    gap.cpu == event.cpu
                        // After it, or, if a queue lost its newest events one by one, before it.
                        && (gap.last_seq.checked_add(1) == Some(event.seq)
                            || event.seq.checked_add(1) == Some(gap.first_seq))
                        && gap.stream == origin.stream
                })
        });
        if let Some(loss) = grown {
            loss.count += 1;
            loss.t_first = loss.t_first.min(time);
            loss.t_last = loss.t_last.max(time);
            *loss.reasons.entry(reason.name().to_owned()).or_default() += 1;
            if let Some(gap) = &mut loss.gap {
                gap.first_seq = gap.first_seq.min(event.seq);
                gap.last_seq = gap.last_seq.max(event.seq);
            }
            return;
        }
        let stream = origin.stream.clone();
        self.keep(LossEvent {
            class: origin.class,
            gap: Some(LossGap { stream, cpu: event.cpu, first_seq: event.seq, last_seq: event.seq }),
            count: 1,
            t_first: time,
            t_last: time,
            reasons: [(reason.name().to_owned(), 1)].into(),
        });
    }

    /// A loss as it is to be told.
    pub(super) fn keep(&mut self, loss: LossEvent) {
        if loss.gap.is_some() && self.gaps.len() < GAPS_MAX {
            self.gaps.push(loss);
        } else {
            self.fold(loss);
        }
    }

    fn fold(&mut self, loss: LossEvent) {
        let key = (loss.class, loss.reasons.contains_key(MISSED));
        let Some(sum) = self.rest.get_mut(&key) else {
            self.rest.insert(key, LossEvent { gap: None, ..loss });
            return;
        };
        sum.count += loss.count;
        sum.t_first = sum.t_first.min(loss.t_first);
        sum.t_last = sum.t_last.max(loss.t_last);
        for (reason, count) in loss.reasons {
            let is_new = !sum.reasons.contains_key(&reason) && sum.reasons.len() >= REASONS_MAX;
            *sum.reasons.entry(if is_new { OTHER.to_owned() } else { reason }).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_events::kernel_event;

    fn told(untold: &mut Untold) -> Vec<LossEvent> {
        let losses = untold.take().map(|event| match event {
            CollectionEvent::Loss(loss) => *loss,
            other => panic!("{other:?}"),
        });
        losses.collect()
    }

    fn lose(untold: &mut Untold, cpu: u32, seq: u64) {
        let mut event = kernel_event(seq);
        event.cpu = cpu;
        untold.lost(&CollectionEvent::Kernel(Box::new(event)), DropReason::SinkFailed);
    }

    #[test]
    fn neighbouring_numbers_of_a_cpu_become_one_gap() {
        let mut untold = Untold::default();
        for seq in 5..9 {
            lose(&mut untold, 0, seq);
            lose(&mut untold, 1, seq + 100);
        }
        lose(&mut untold, 0, 20);
        let told = told(&mut untold);
        let gaps: Vec<_> = told
            .iter()
            .map(|loss| {
                let gap = loss.gap.as_ref().unwrap();
                (gap.cpu, gap.first_seq, gap.last_seq, loss.count)
            })
            .collect();
        assert_eq!(gaps, [(0, 5, 8, 4), (1, 105, 108, 4), (0, 20, 20, 1)]);
        assert!(untold.is_empty());
    }

    #[test]
    fn more_gaps_than_the_bound_keep_their_count_without_numbers() {
        let mut untold = Untold::default();
        let lost = GAPS_MAX as u64 + 7;
        for n in 0..lost {
            lose(&mut untold, 0, n * 2);
        }
        assert_eq!(untold.len(), GAPS_MAX + 1);
        let told = told(&mut untold);
        assert_eq!(told.len(), GAPS_MAX + 1);
        assert_eq!(told.last().unwrap().count, 7);
        assert_eq!(told.iter().map(|loss| loss.count).sum::<u64>(), lost);
    }

    #[test]
    fn skipped_runs_stay_apart_from_lost_events() {
        let mut untold = Untold::default();
        let now = SystemTime::UNIX_EPOCH;
        untold.lost_unseen(EventClass::Process, 3, DropReason::Stopped, (now, now));
        let missed = LossEvent {
            class: EventClass::Process,
            gap: None,
            count: 9,
            t_first: now,
            t_last: now,
            reasons: [(MISSED.to_owned(), 9)].into(),
        };
        untold.lost(&CollectionEvent::Loss(Box::new(missed.clone())), DropReason::SinkFailed);
        let told = told(&mut untold);
        assert_eq!(told.len(), 2);
        assert_eq!(told[1], missed);
    }

    #[test]
    fn reasons_are_bounded_and_none_is_forgotten() {
        let mut untold = Untold::default();
        let now = SystemTime::UNIX_EPOCH;
        for n in 0..1000 {
            let reasons = [(format!("reason {n}"), 1)].into();
            let class = EventClass::Process;
            let loss = LossEvent { class, gap: None, count: 1, t_first: now, t_last: now, reasons };
            untold.lost(&CollectionEvent::Loss(Box::new(loss)), DropReason::SinkFailed);
        }
        let told = told(&mut untold);
        assert_eq!((told.len(), told[0].count), (1, 1000));
        assert_eq!(told[0].reasons.len(), REASONS_MAX + 1);
        assert_eq!(told[0].reasons.values().sum::<u64>(), 1000);
    }
}
