//! When a batch is handed on. Decides only; the time is an argument.

use crate::event::CollectionEvent;
use std::time::Duration;
use tokio::time::Instant;

/// With a zero timeout a batch is handed on when nothing more is ready; if something always is (events that feed only
/// the process table do not fill a batch), it still waits no longer than this.
const NO_WAIT_HOLD_MAX: Duration = Duration::from_millis(1);

/// Events waiting to be handed on together, each with the index of its source.
#[derive(Debug)]
pub(super) struct Batch {
    events: Vec<CollectionEvent>,
    sources: Vec<usize>,
    numbered: u64,
    first_at: Option<Instant>,
    size_max: usize,
    timeout: Duration,
}

impl Batch {
    pub(super) fn new(size_max: usize, timeout: Duration) -> Self {
        Self { events: Vec::new(), sources: Vec::new(), numbered: 0, first_at: None, size_max, timeout }
    }

    pub(super) fn push(&mut self, source: usize, event: CollectionEvent, now: Instant) {
        self.numbered += u64::from(matches!(event, CollectionEvent::Kernel(_)));
        self.events.push(event);
        self.sources.push(source);
        self.first_at.get_or_insert(now);
    }

    /// Puts events of the runtime's own before all others. They may make the batch larger than its size.
    pub(super) fn put_first(&mut self, own: impl Iterator<Item = CollectionEvent>) {
        let before = self.events.len();
        self.events.splice(0..0, own);
        let added = self.events.len() - before;
        // Nothing of these is counted for a source; any index will do.
        self.sources.splice(0..0, std::iter::repeat_n(0, added));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= self.size_max
    }

    /// Kernel events in it.
    pub(super) fn numbered(&self) -> u64 {
        self.numbered
    }

    /// Whether it is handed on as soon as nothing more is ready.
    pub(super) fn waits_for_nothing(&self) -> bool {
        self.timeout.is_zero()
    }

    /// When it has to be handed on; `None` while it is empty.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let wait = if self.timeout.is_zero() { NO_WAIT_HOLD_MAX } else { self.timeout };
        self.first_at.map(|first_at| first_at + wait)
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due_at().is_some_and(|due_at| due_at <= now)
    }

    /// The events to hand on.
    pub(super) fn events(&self) -> &[CollectionEvent] {
        &self.events
    }

    /// Its events with their sources, removed.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (usize, CollectionEvent)> {
        self.numbered = 0;
        self.first_at = None;
        self.sources.drain(..).zip(self.events.drain(..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ProcessEvent;

    fn event() -> CollectionEvent {
        CollectionEvent::Process(ProcessEvent::default())
    }

    #[test]
    fn the_first_event_sets_the_time_and_draining_clears_it() {
        let mut batch = Batch::new(3, Duration::from_millis(100));
        let start = Instant::now();
        assert_eq!(batch.due_at(), None);
        batch.push(0, event(), start);
        batch.push(1, event(), start + Duration::from_millis(90));
        assert!(!batch.is_due(start + Duration::from_millis(99)));
        assert!(batch.is_due(start + Duration::from_millis(100)));
        assert_eq!(batch.drain().map(|(source, _)| source).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(batch.due_at(), None);
    }

    #[test]
    fn it_is_full_at_its_size() {
        let mut batch = Batch::new(2, Duration::ZERO);
        batch.push(0, event(), Instant::now());
        assert!(!batch.is_full());
        batch.push(0, event(), Instant::now());
        assert!(batch.is_full());
    }

    #[test]
    fn a_zero_timeout_still_bounds_the_wait() {
        let mut batch = Batch::new(2, Duration::ZERO);
        let start = Instant::now();
        batch.push(0, event(), start);
        assert!(batch.waits_for_nothing());
        assert!(!batch.is_due(start));
        assert!(batch.is_due(start + NO_WAIT_HOLD_MAX));
    }
}
