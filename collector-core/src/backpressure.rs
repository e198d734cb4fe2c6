//! What becomes of an event that finds its source's queue full.

use crate::event::{CollectionEvent, EventClass};
use crate::source::SourceCaps;

/// Bytes of events that one source's queue holds at most, unless the embedder says otherwise.
pub const QUEUE_BYTES_DEFAULT: usize = 8 * 1024 * 1024;
/// The smallest bound on a queue's bytes: losses that are waiting to be told have to fit.
pub const QUEUE_BYTES_MIN: usize = 256 * 1024;

/// What a class of events does when its source's queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackpressurePolicy {
    /// The source waits, however long it takes. For sources with a buffer behind them that counts what it loses.
    Wait,
    /// The source waits, at most `max_backpressure_wait` without any room coming free; then the newest event of the
    /// lowest priority is dropped and counted.
    WaitThenDrop,
    /// The source never waits: from `backpressure_threshold` on, the newest event is dropped and counted. Room beyond
    /// the threshold is for the other classes.
    Drop,
}

/// The policy of each class.
///
/// The default lets numbered events wait, since the ring that they come from holds and counts what does not fit; all
/// others wait and are then dropped. Priorities, the highest first: process, network, filesystem, performance. An event
/// puts only events of a lower priority out of its queue. Events of one source stay in their order: behind one that
/// waits, all wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackpressurePolicies {
    numbered: [BackpressurePolicy; EventClass::ALL.len()],
    /// Process, network, filesystem, performance.
    plain: [BackpressurePolicy; 4],
}

impl Default for BackpressurePolicies {
    fn default() -> Self {
        Self {
            numbered: [BackpressurePolicy::Wait; EventClass::ALL.len()],
            plain: [BackpressurePolicy::WaitThenDrop; 4],
        }
    }
}

/// The lowest priority there is.
pub(crate) const PRIORITY_LOWEST: usize = 3;

impl BackpressurePolicies {
    /// Sets the policy of the numbered events of a class.
    #[must_use]
    pub fn with_numbered(mut self, class: EventClass, policy: BackpressurePolicy) -> Self {
        self.numbered[class as usize] = policy;
        self
    }

    /// Sets the policy of events without numbers in these domains.
    #[must_use]
    pub fn with_domains(mut self, domains: SourceCaps, policy: BackpressurePolicy) -> Self {
        for (priority, domain) in DOMAINS.into_iter().enumerate() {
            if domains.contains(domain) {
                self.plain[priority] = policy;
            }
        }
        self
    }

    /// An event's policy and its priority, 0 being the highest.
    pub(crate) fn of(&self, event: &CollectionEvent) -> (BackpressurePolicy, usize) {
        match event {
            CollectionEvent::Kernel(event) => {
                let class = event.origin.class;
                (self.numbered[class as usize], class as usize)
            }
            CollectionEvent::Process(_) => (self.plain[0], 0),
            CollectionEvent::Network(_) => (self.plain[1], 1),
            CollectionEvent::Filesystem(_) => (self.plain[2], 2),
            // The last two are not a source's to send: they are refused further on.
            CollectionEvent::Performance(_) | CollectionEvent::Coverage(_) | CollectionEvent::Summary(_) => {
                (self.plain[PRIORITY_LOWEST], PRIORITY_LOWEST)
            }
            // What is told of losses and faults is never dropped.
            CollectionEvent::Loss(_) | CollectionEvent::Error(_) => (BackpressurePolicy::Wait, 0),
        }
    }
}

const DOMAINS: [SourceCaps; 4] =
    [SourceCaps::PROCESS, SourceCaps::NETWORK, SourceCaps::FILESYSTEM, SourceCaps::PERFORMANCE];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{NetworkEvent, PerformanceEvent};
    use crate::test_events::kernel_event;

    #[test]
    fn numbered_events_wait_and_others_are_dropped_in_the_end() {
        let policies = BackpressurePolicies::default();
        let kernel = CollectionEvent::Kernel(Box::new(kernel_event(1)));
        assert_eq!(policies.of(&kernel), (BackpressurePolicy::Wait, 0));
        let measurement = CollectionEvent::Performance(PerformanceEvent::default());
        assert_eq!(policies.of(&measurement), (BackpressurePolicy::WaitThenDrop, PRIORITY_LOWEST));
    }

    #[test]
    fn a_policy_is_set_for_the_named_domains_alone() {
        let named = SourceCaps::NETWORK | SourceCaps::PERFORMANCE | SourceCaps::REALTIME;
        let policies = BackpressurePolicies::default().with_domains(named, BackpressurePolicy::Drop);
        let network = CollectionEvent::Network(NetworkEvent::default());
        assert_eq!(policies.of(&network), (BackpressurePolicy::Drop, 1));
        assert_eq!(policies.plain[2], BackpressurePolicy::WaitThenDrop);
        let policies = policies.with_numbered(EventClass::File, BackpressurePolicy::Drop);
        assert_eq!(
            policies.numbered,
            [BackpressurePolicy::Wait, BackpressurePolicy::Wait, BackpressurePolicy::Drop]
        );
    }
}
