//! A source's queue behind its channel: bounded in events and in bytes. Decides only; the time is an argument.

use super::books::{DropReason, Fate, SourceBooks};
use super::untold::Untold;
use crate::backpressure::{BackpressurePolicies, BackpressurePolicy, PRIORITY_LOWEST};
use crate::event::{CollectionEvent, LossEvent};
use std::collections::VecDeque;
use std::mem::size_of;
use std::time::Duration;
use tokio::time::Instant;

/// A loss waiting to be told, in bytes: the struct, its box, and a few short names.
const LOSS_BYTES: usize = size_of::<CollectionEvent>() + size_of::<LossEvent>() + 256;

/// What every queue of a run goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct StageLimits {
    pub(super) events_max: usize,
    pub(super) bytes_max: usize,
    /// Queue length, channel included, from which events that never wait are dropped.
    pub(super) threshold: usize,
    pub(super) wait_max: Duration,
    pub(super) policies: BackpressurePolicies,
}

#[derive(Debug)]
struct Waiting {
    event: CollectionEvent,
    bytes: usize,
    priority: usize,
    policy: BackpressurePolicy,
}

/// Events read from the channel while the sinks were busy. At most `bytes_max` bytes, the held event apart.
#[derive(Debug)]
pub(super) struct Stage {
    limits: StageLimits,
    queue: VecDeque<Waiting>,
    bytes: usize,
    /// Of each priority, how many are in the queue.
    of_priority: [usize; PRIORITY_LOWEST + 1],
    /// Read, and not yet in the queue: nothing more is read before it is.
    held: Option<Waiting>,
    /// Losses that stand behind everything in the queue.
    shed: Untold,
    /// Since when there has been no room, without a break.
    full_since: Option<Instant>,
}

impl Stage {
    pub(super) fn new(limits: StageLimits) -> Self {
        Self {
            limits,
            queue: VecDeque::new(),
            bytes: 0,
            of_priority: [0; PRIORITY_LOWEST + 1],
            held: None,
            shed: Untold::default(),
            full_since: None,
        }
    }

    /// Nothing to take, and no loss to tell before what comes next.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.held.is_none() && self.shed.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len() + usize::from(self.held.is_some())
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether an event found no room, and there has been none since.
    pub(super) fn is_full(&self) -> bool {
        self.full_since.is_some()
    }

    /// Whether a further event may be read from the channel.
    pub(super) fn reads(&self) -> bool {
        self.held.is_none()
    }

    /// When waiting is over for an event that is made to wait.
    pub(super) fn drops_at(&self) -> Option<Instant> {
        let held = self.held.as_ref()?;
        let drops = held.policy == BackpressurePolicy::WaitThenDrop;
        drops.then(|| self.full_since.map(|since| since + self.limits.wait_max)).flatten()
    }

    /// Whether the wait is over and events are being dropped.
    pub(super) fn is_shedding(&self, now: Instant) -> bool {
        self.full_since.is_some_and(|since| now >= since + self.limits.wait_max)
    }

    /// Takes an event that was read while `behind` more were in the channel.
    pub(super) fn offer(
        &mut self,
        event: CollectionEvent,
        behind: usize,
        now: Instant,
        books: &mut SourceBooks,
    ) {
        if event.domain().is_none() {
            // What belongs to the runtime has no bound of its own, so it never waits here.
            self.lose(&event, DropReason::CapabilityViolation, books);
            return;
        }
        let bytes = event.size_hint();
        let (policy, priority) = self.limits.policies.of(&event);
        let offered = Waiting { event, bytes, priority, policy };
        if bytes > self.limits.bytes_max {
            self.lose(&offered.event, DropReason::Oversize, books);
        } else if policy == BackpressurePolicy::Drop && self.len() + behind >= self.limits.threshold {
            self.lose(&offered.event, DropReason::Backpressure, books);
        } else {
            self.settle(offered, now, books);
        }
    }

    /// Finds a place for the event that is held, or drops it if its time is over.
    pub(super) fn retry(&mut self, now: Instant, books: &mut SourceBooks) {
        if let Some(held) = self.held.take() {
            self.settle(held, now, books);
        }
    }

    /// Takes up to `count` events out, the oldest first.
    pub(super) fn take(
        &mut self,
        count: usize,
        now: Instant,
        books: &mut SourceBooks,
        into: &mut Vec<CollectionEvent>,
    ) {
        for _ in 0..count {
            let Some(waiting) = self.queue.pop_front() else { break };
            self.bytes -= waiting.bytes;
            self.of_priority[waiting.priority] -= 1;
            into.push(waiting.event);
        }
        if self.queue.is_empty() {
            // Before what is held, which may need all the room there is, and before what the channel has.
            into.extend(self.shed.take());
        }
        if self.has_room(0) {
            self.full_since = None;
        }
        self.retry(now, books);
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.queue.len() < self.limits.events_max
            && self.bytes + bytes + self.shed.len() * LOSS_BYTES <= self.limits.bytes_max
    }

    fn settle(&mut self, offered: Waiting, now: Instant, books: &mut SourceBooks) {
        if let CollectionEvent::Loss(_) = &offered.event
            && offered.bytes <= LOSS_BYTES
            && !self.has_room(offered.bytes)
        {
            // Told when there is room again, together with what was dropped here: it is the same stretch.
            self.shed.lost(&offered.event, DropReason::Backpressure);
            return;
        }
        let waited = self.is_shedding(now);
        while !self.has_room(offered.bytes) && self.put_out_one_below(offered.priority, waited, books) {}
        if self.has_room(offered.bytes) {
            let losses: Vec<_> = self.shed.take().collect();
            for event in losses {
                self.push(Waiting {
                    event,
                    bytes: LOSS_BYTES,
                    priority: 0,
                    policy: BackpressurePolicy::Wait,
                });
            }
            self.push(offered);
            return;
        }
        self.full_since.get_or_insert(now);
        let drops = match offered.policy {
            BackpressurePolicy::Wait => false,
            BackpressurePolicy::WaitThenDrop => self.is_shedding(now),
            BackpressurePolicy::Drop => true,
        };
        if drops {
            self.lose(&offered.event, DropReason::Backpressure, books);
        } else {
            self.held = Some(offered);
        }
    }

    fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.bytes;
        self.of_priority[waiting.priority] += 1;
        self.queue.push_back(waiting);
    }

    /// Drops the newest event of the lowest priority below this one that may be dropped now; false if there is none.
    fn put_out_one_below(&mut self, priority: usize, waited: bool, books: &mut SourceBooks) -> bool {
        for lower in (priority + 1..=PRIORITY_LOWEST).rev() {
            if self.of_priority[lower] == 0 {
                continue;
            }
            let droppable = |waiting: &Waiting| {
                waiting.priority == lower
                    && match waiting.policy {
                        BackpressurePolicy::Wait => false,
                        BackpressurePolicy::WaitThenDrop => waited,
                        BackpressurePolicy::Drop => true,
                    }
            };
            if let Some(at) = self.queue.iter().rposition(droppable)
                && let Some(out) = self.queue.remove(at)
            {
                self.bytes -= out.bytes;
                self.of_priority[lower] -= 1;
                // No newer event of its class is in the queue, so the losses behind it are where this one belongs.
                self.lose(&out.event, DropReason::Backpressure, books);
                return true;
            }
        }
        false
    }

    fn lose(&mut self, event: &CollectionEvent, reason: DropReason, books: &mut SourceBooks) {
        books.count(event, Fate::Dropped(reason));
        self.shed.lost(event, reason);
    }
}

#[cfg(test)]
impl Stage {
    /// The numbered events in it.
    pub(super) fn numbered(&self) -> usize {
        let waiting = self.queue.iter().chain(&self.held);
        waiting.filter(|waiting| matches!(waiting.event, CollectionEvent::Kernel(_))).count()
    }
}

#[cfg(test)]
mod tests;
