//! When a batch is handed on. Decides only; the time is an argument.

use super::books::{PAGES, page};
use crate::event::CollectionEvent;
use std::time::Duration;
use tokio::time::Instant;

/// With a zero timeout a batch is handed on when nothing more is ready; if something always is (events that feed only
/// the process table do not fill a batch), it still waits no longer than this.
const NO_WAIT_HOLD_MAX: Duration = Duration::from_millis(1);

/// A batch is full also when its events hold this many bytes.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Events waiting to be handed on together, and from whom they are.
#[derive(Debug)]
pub(super) struct Batch {
    events: Vec<CollectionEvent>,
    /// Of each source, how many belong on which page of its books.
    counts: Vec<[u64; PAGES]>,
    bytes: usize,
    numbered: u64,
    first_at: Option<Instant>,
    size_max: usize,
    timeout: Duration,
}

impl Batch {
    pub(super) fn new(sources: usize, size_max: usize, timeout: Duration) -> Self {
        Self {
            events: Vec::new(),
            counts: vec![[0; PAGES]; sources],
            bytes: 0,
            numbered: 0,
            first_at: None,
            size_max,
            timeout,
        }
    }

    pub(super) fn push(&mut self, source: usize, event: CollectionEvent, now: Instant) {
        if let Some(page) = page(&event) {
            self.counts[source][page] += 1;
        }
        self.numbered += u64::from(matches!(event, CollectionEvent::Kernel(_)));
        self.bytes += event.size_hint();
        self.events.push(event);
        self.first_at.get_or_insert(now);
    }

    /// Puts events of the runtime's own before all others. They may make the batch larger than its size, and are
    /// nobody's in the books.
    pub(super) fn put_first(&mut self, own: impl Iterator<Item = CollectionEvent>) {
        self.events.splice(0..0, own);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= self.size_max || self.bytes >= BATCH_BYTES_MAX
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

    /// Whose events it holds: per source, how many on which page.
    pub(super) fn counts(&self) -> impl Iterator<Item = (usize, &[u64; PAGES])> {
        self.counts.iter().enumerate().filter(|(_, pages)| pages.iter().any(|&events| events > 0))
    }

    /// Its events, to be kept beyond the batch; whose they were is still known.
    pub(super) fn take_events(&mut self) -> Vec<CollectionEvent> {
        let next = Vec::with_capacity(self.events.len().min(self.size_max));
        std::mem::replace(&mut self.events, next)
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.events.clear();
        self.counts.fill([0; PAGES]);
        self.bytes = 0;
        self.numbered = 0;
        self.first_at = None;
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
        let mut batch = Batch::new(2, 3, Duration::from_millis(100));
        let start = Instant::now();
        assert_eq!(batch.due_at(), None);
        batch.push(0, event(), start);
        batch.push(1, event(), start + Duration::from_millis(90));
        assert!(!batch.is_due(start + Duration::from_millis(99)));
        assert!(batch.is_due(start + Duration::from_millis(100)));
        let counts: Vec<_> =
            batch.counts().map(|(source, pages)| (source, pages.iter().sum::<u64>())).collect();
        assert_eq!(counts, [(0, 1), (1, 1)]);
        assert_eq!(batch.take_events().len(), 2);
        batch.clear();
        assert_eq!((batch.due_at(), batch.counts().count()), (None, 0));
    }

    #[test]
    fn it_is_full_at_its_size() {
        let mut batch = Batch::new(1, 2, Duration::ZERO);
        batch.push(0, event(), Instant::now());
        assert!(!batch.is_full());
        batch.push(0, event(), Instant::now());
        assert!(batch.is_full());
    }

    #[test]
    fn it_is_full_at_its_bytes() {
        let mut batch = Batch::new(1, 1000, Duration::ZERO);
        let name = "n".repeat(BATCH_BYTES_MAX / 4);
        for full in [false, false, false, true] {
            let event = ProcessEvent { name: name.clone(), ..ProcessEvent::default() };
            batch.push(0, CollectionEvent::Process(event), Instant::now());
            assert_eq!(batch.is_full(), full);
        }
        batch.clear();
        assert!(!batch.is_full());
    }

    #[test]
    fn a_zero_timeout_still_bounds_the_wait() {
        let mut batch = Batch::new(1, 2, Duration::ZERO);
        let start = Instant::now();
        batch.push(0, event(), start);
        assert!(batch.waits_for_nothing());
        assert!(!batch.is_due(start));
        assert!(batch.is_due(start + NO_WAIT_HOLD_MAX));
    }
}
