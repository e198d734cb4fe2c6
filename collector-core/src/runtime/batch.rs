//! When a batch is handed on. Decides only; the time is an argument.

use super::books::{Fate, PAGES, UNNUMBERED, page};
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

    /// Where a source's events are read into, at the end; [`Self::admit`] has to follow.
    pub(super) fn tail(&mut self) -> &mut Vec<CollectionEvent> {
        &mut self.events
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// How many more events it takes.
    pub(super) fn room(&self) -> usize {
        self.size_max.saturating_sub(self.events.len())
    }

    /// Takes in what was read behind the first `from` events, and puts out what `judge` has decided on.
    pub(super) fn admit(
        &mut self,
        from: usize,
        source: usize,
        now: Instant,
        mut judge: impl FnMut(&mut CollectionEvent) -> Option<Fate>,
        out: &mut Vec<(CollectionEvent, Fate)>,
    ) {
        let Self { events, counts, bytes, numbered, .. } = self;
        let counts = &mut counts[source];
        let mut fates = Vec::new();
        let refused = events.extract_if(from.., |event| match judge(event) {
            None => {
                if let Some(page) = page(event) {
                    counts[page] += 1;
                    *numbered += u64::from(page != UNNUMBERED);
                }
                *bytes += event.size_hint();
                false
            }
            Some(fate) => {
                fates.push(fate);
                true
            }
        });
        let refused: Vec<_> = refused.collect();
        out.extend(refused.into_iter().zip(fates));
        if self.events.len() > from {
            self.first_at.get_or_insert(now);
        }
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

    /// Whether events of a source are in it.
    pub(super) fn has_of(&self, source: usize) -> bool {
        self.counts[source].iter().any(|&events| events > 0)
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
    use crate::test_events::kernel_event;

    fn numbered(seq: u64) -> CollectionEvent {
        CollectionEvent::Kernel(Box::new(kernel_event(seq)))
    }

    fn push(batch: &mut Batch, source: usize, event: CollectionEvent, now: Instant) {
        let from = batch.len();
        batch.tail().push(event);
        batch.admit(from, source, now, |_| None, &mut Vec::new());
    }

    fn event() -> CollectionEvent {
        CollectionEvent::Process(ProcessEvent::default())
    }

    #[test]
    fn the_first_event_sets_the_time_and_draining_clears_it() {
        let mut batch = Batch::new(2, 3, Duration::from_millis(100));
        let start = Instant::now();
        assert_eq!(batch.due_at(), None);
        push(&mut batch, 0, event(), start);
        push(&mut batch, 1, event(), start + Duration::from_millis(90));
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
    fn what_is_refused_goes_out_in_order_and_is_not_counted() {
        let mut batch = Batch::new(1, 10, Duration::ZERO);
        push(&mut batch, 0, event(), Instant::now());
        batch.tail().extend((0..6).map(numbered));
        let mut out = Vec::new();
        let judge = |event: &mut CollectionEvent| match event {
            CollectionEvent::Kernel(event) => (event.seq % 2 == 1).then_some(Fate::Internal),
            other => panic!("judged twice: {other:?}"),
        };
        batch.admit(1, 0, Instant::now(), judge, &mut out);
        let odd: Vec<_> = [1, 3, 5].map(|seq| (numbered(seq), Fate::Internal)).into();
        assert_eq!(out, odd);
        assert_eq!(batch.events(), [event(), numbered(0), numbered(2), numbered(4)]);
        assert_eq!((batch.numbered(), batch.room()), (3, 6));
        assert_eq!(batch.counts().map(|(_, pages)| pages.iter().sum::<u64>()).sum::<u64>(), 4);
    }

    #[test]
    fn a_batch_in_which_all_was_refused_is_empty_and_has_no_time() {
        let mut batch = Batch::new(2, 10, Duration::ZERO);
        batch.tail().push(numbered(0));
        batch.admit(0, 1, Instant::now(), |_| Some(Fate::Internal), &mut Vec::new());
        assert_eq!((batch.is_empty(), batch.due_at(), batch.has_of(1)), (true, None, false));
        push(&mut batch, 1, numbered(1), Instant::now());
        assert_eq!([batch.has_of(0), batch.has_of(1), batch.is_empty()], [false, true, false]);
    }

    #[test]
    fn it_is_full_at_its_size() {
        let mut batch = Batch::new(1, 2, Duration::ZERO);
        push(&mut batch, 0, event(), Instant::now());
        assert!(!batch.is_full());
        push(&mut batch, 0, event(), Instant::now());
        assert!(batch.is_full());
    }

    #[test]
    fn it_is_full_at_its_bytes() {
        let mut batch = Batch::new(1, 1000, Duration::ZERO);
        let name = "n".repeat(BATCH_BYTES_MAX / 4);
        for full in [false, false, false, true] {
            let event = ProcessEvent { name: name.clone(), ..ProcessEvent::default() };
            push(&mut batch, 0, CollectionEvent::Process(event), Instant::now());
            assert_eq!(batch.is_full(), full);
        }
        batch.clear();
        assert!(!batch.is_full());
    }

    #[test]
    fn a_zero_timeout_still_bounds_the_wait() {
        let mut batch = Batch::new(1, 2, Duration::ZERO);
        let start = Instant::now();
        push(&mut batch, 0, event(), start);
        assert!(batch.waits_for_nothing());
        assert!(!batch.is_due(start));
        assert!(batch.is_due(start + NO_WAIT_HOLD_MAX));
    }
}
