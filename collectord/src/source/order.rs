//! Events of several rings in the order in which they happened.
//!
//! Rings are read one after the other, so what lies in the second may be older than what was read from the first. An
//! event is let go once no ring can hold an older one that is finished, and none of the process class is older (see
//! `horizon`); a program that is just writing its record may still be passed by.

use collector_core::CollectionEvent;
use collector_core::event::KernelEvent;

/// Most events that wait for an older one; beyond it they go as they are.
const WAITING_MAX: usize = 4096;

/// What waits: two words, since it is moved several times. A [`CollectionEvent`] has as many bytes as the largest of
/// its variants, and is made when it is sent.
#[derive(Debug)]
pub(crate) enum Waiting {
    Event(Box<KernelEvent>),
    Told(Box<CollectionEvent>),
}

impl From<CollectionEvent> for Waiting {
    fn from(event: CollectionEvent) -> Self {
        match event {
            CollectionEvent::Kernel(event) => Self::Event(event),
            told => Self::Told(Box::new(told)),
        }
    }
}

impl From<Waiting> for CollectionEvent {
    fn from(waiting: Waiting) -> Self {
        match waiting {
            Waiting::Event(event) => Self::Kernel(event),
            Waiting::Told(told) => *told,
        }
    }
}

/// Events that wait for their turn.
#[derive(Debug, Default)]
pub(crate) struct InOrder {
    waiting: Vec<(u64, Waiting)>,
}

impl InOrder {
    /// Adds an event of this time. Of events of the same time, the one that was added first goes first.
    pub(crate) fn push(&mut self, ktime_ns: u64, event: impl Into<Waiting>) {
        self.waiting.push((ktime_ns, event.into()));
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Lets go what happened up to this time; everything, if too much waits.
    pub(crate) fn release(&mut self, until_ns: u64, batch: &mut Vec<Waiting>) {
        // What was read is a few sorted runs, one after the other: the standard sort makes one pass of that.
        self.waiting.sort_by_key(|(ktime_ns, _)| *ktime_ns);
        let count = if self.waiting.len() > WAITING_MAX {
            self.waiting.len()
        } else {
            self.waiting.partition_point(|(ktime_ns, _)| *ktime_ns <= until_ns)
        };
        batch.extend(self.waiting.drain(..count).map(|(_, event)| event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use collector_core::ProcessEvent;

    fn event(pid: u32) -> CollectionEvent {
        CollectionEvent::Process(ProcessEvent { pid, ..ProcessEvent::default() })
    }

    fn released(order: &mut InOrder, until_ns: u64) -> Vec<u32> {
        let mut batch = Vec::new();
        order.release(until_ns, &mut batch);
        batch.into_iter().filter_map(|event| CollectionEvent::from(event).pid()).collect()
    }

    #[test]
    fn rings_are_merged_by_time() {
        let mut order = InOrder::default();
        for time in [10, 30, 50, 20, 40] {
            order.push(time, event(u32::try_from(time).unwrap()));
        }
        assert_eq!(released(&mut order, 100), [10, 20, 30, 40, 50]);
    }

    #[test]
    fn what_another_ring_may_still_precede_waits() {
        let mut order = InOrder::default();
        order.push(10, event(10));
        order.push(30, event(30));
        assert_eq!(released(&mut order, 20), [10]);
        order.push(25, event(25));
        assert_eq!(released(&mut order, 30), [25, 30]);
    }

    #[test]
    fn same_time_keeps_the_order_of_reading() {
        let mut order = InOrder::default();
        for pid in [3, 1, 2] {
            order.push(7, event(pid));
        }
        assert_eq!(released(&mut order, 7), [3, 1, 2]);
    }

    #[test]
    fn too_many_waiting_events_go_at_once() {
        let mut order = InOrder::default();
        for time in 1..=WAITING_MAX as u64 {
            order.push(100 + time, event(1));
        }
        assert!(released(&mut order, 0).is_empty(), "so many may wait");
        order.push(100, event(1));
        assert_eq!(released(&mut order, 0).len(), WAITING_MAX + 1);
    }
}
