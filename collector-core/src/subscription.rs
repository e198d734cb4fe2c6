//! Consumers that come and go: each with a bounded queue and a loss count of its own.

use crate::event::CollectionEvent;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// How much a subscription holds for a consumer that is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// A name for metrics and logs. Default "subscription".
    pub name: String,
    /// Events that wait at most. Default 10,000.
    pub queue_events: usize,
    /// Bytes of events that wait at most. Default 8 MiB.
    pub queue_bytes: usize,
}

impl Default for SubscriptionOptions {
    fn default() -> Self {
        Self { name: "subscription".to_owned(), queue_events: 10_000, queue_bytes: 8 * 1024 * 1024 }
    }
}

/// A batch of the stream, shared by all who got it.
#[derive(Debug, Clone, PartialEq)]
pub struct EventBatch(Arc<Vec<CollectionEvent>>);

impl EventBatch {
    pub(crate) fn new(events: Vec<CollectionEvent>) -> Self {
        Self(Arc::new(events))
    }
}

impl Deref for EventBatch {
    type Target = [CollectionEvent];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// What a subscription gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// The next events of the stream.
    Batch(EventBatch),
    /// So many events stood here in the stream and found no room in this subscription's queue.
    Lost(u64),
}

#[derive(Debug, Default)]
struct Room {
    events: AtomicUsize,
    bytes: AtomicUsize,
    lost: AtomicU64,
}

/// One consumer's end. Dropping it ends the subscription.
///
/// It never slows the run or another consumer: a batch that does not fit into its queue is lost to it as a whole, is
/// counted in [`Self::lost`], and stands as [`Received::Lost`] where it would have been. A queue that is empty takes
/// one batch of any size.
#[derive(Debug)]
pub struct Subscription {
    queue: mpsc::UnboundedReceiver<(Received, usize)>,
    room: Arc<Room>,
}

impl Subscription {
    /// The next batch or loss; `None` once the run has ended and everything was taken.
    pub async fn recv(&mut self) -> Option<Received> {
        let taken = self.queue.recv().await;
        self.give_back(taken)
    }

    /// As [`Self::recv`] without waiting; `None` also if nothing is there now.
    pub fn try_recv(&mut self) -> Option<Received> {
        let taken = self.queue.try_recv().ok();
        self.give_back(taken)
    }

    /// Events that found no room in this subscription's queue.
    pub fn lost(&self) -> u64 {
        self.room.lost.load(Relaxed)
    }

    /// Events waiting in its queue.
    pub fn queued(&self) -> usize {
        self.room.events.load(Relaxed)
    }

    fn give_back(&self, taken: Option<(Received, usize)>) -> Option<Received> {
        let (received, bytes) = taken?;
        if let Received::Batch(batch) = &received {
            self.room.events.fetch_sub(batch.len(), Relaxed);
            self.room.bytes.fetch_sub(bytes, Relaxed);
        }
        Some(received)
    }
}

#[derive(Debug)]
struct Subscriber {
    queue: mpsc::UnboundedSender<(Received, usize)>,
    room: Arc<Room>,
    options: SubscriptionOptions,
    /// Lost and not told in the queue yet.
    untold: u64,
}

/// The runtime's ends of all subscriptions of a collector.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subscribers(Arc<Registry>);

#[derive(Debug, Default)]
struct Registry {
    count: AtomicUsize,
    /// Taken once a batch, and by who subscribes.
    all: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    subscribers: Vec<Subscriber>,
    ended: bool,
}

/// All subscriptions of one name, as metrics tell them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SubscriptionDepth {
    pub(crate) queued: usize,
    pub(crate) lost: u64,
}

impl Subscribers {
    pub(crate) fn subscribe(&self, options: SubscriptionOptions) -> Subscription {
        let (tx, queue) = mpsc::unbounded_channel();
        let room = Arc::<Room>::default();
        let mut state = self.locked();
        // After the end there is nothing to wait for: the sender is dropped right here.
        if !state.ended {
            let subscriber = Subscriber { queue: tx, room: Arc::clone(&room), options, untold: 0 };
            state.subscribers.push(subscriber);
            self.0.count.store(state.subscribers.len(), Relaxed);
        }
        Subscription { queue, room }
    }

    pub(crate) fn are_there(&self) -> bool {
        self.0.count.load(Relaxed) > 0
    }

    /// Puts a batch into every queue that has room; says whether one had.
    pub(crate) fn offer(&self, batch: &EventBatch) -> bool {
        let bytes = batch.iter().map(CollectionEvent::size_hint).sum();
        let mut state = self.locked();
        state.subscribers.retain(|subscriber| !subscriber.queue.is_closed());
        self.0.count.store(state.subscribers.len(), Relaxed);
        let mut taken = false;
        for subscriber in &mut state.subscribers {
            taken |= subscriber.offer(batch, bytes);
        }
        taken
    }

    /// The run is over: what was lost last is told, and the queues end.
    pub(crate) fn end(&self) {
        let mut state = self.locked();
        state.ended = true;
        for mut subscriber in state.subscribers.drain(..) {
            subscriber.tell_lost();
        }
        self.0.count.store(0, Relaxed);
    }

    /// Those of one name together: they share a label.
    pub(crate) fn depths(&self) -> BTreeMap<String, SubscriptionDepth> {
        let mut depths = BTreeMap::<_, SubscriptionDepth>::new();
        for subscriber in &self.locked().subscribers {
            let depth = depths.entry(subscriber.options.name.clone()).or_default();
            depth.queued += subscriber.room.events.load(Relaxed);
            depth.lost += subscriber.room.lost.load(Relaxed);
        }
        depths
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        // Whoever panicked while it was held has left a list that is whole.
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber {
    fn offer(&mut self, batch: &EventBatch, bytes: usize) -> bool {
        let queued = self.room.events.load(Relaxed);
        let fits = queued + batch.len() <= self.options.queue_events
            && self.room.bytes.load(Relaxed) + bytes <= self.options.queue_bytes;
        if !fits && queued > 0 {
            self.untold += batch.len() as u64;
            self.room.lost.fetch_add(batch.len() as u64, Relaxed);
            return false;
        }
        self.tell_lost();
        self.room.events.fetch_add(batch.len(), Relaxed);
        self.room.bytes.fetch_add(bytes, Relaxed);
        // A consumer that has gone just now is taken off the list at the next batch.
        self.queue.send((Received::Batch(batch.clone()), bytes)).is_ok()
    }

    fn tell_lost(&mut self) {
        if self.untold > 0 {
            let _ = self.queue.send((Received::Lost(std::mem::take(&mut self.untold)), 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ProcessEvent;

    fn batch(len: usize) -> EventBatch {
        EventBatch::new(vec![CollectionEvent::Process(ProcessEvent::default()); len])
    }

    fn options(queue_events: usize) -> SubscriptionOptions {
        SubscriptionOptions { queue_events, ..SubscriptionOptions::default() }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_stands_where_it_was() {
        let subscribers = Subscribers::default();
        let mut slow = subscribers.subscribe(options(10));
        let mut wide = subscribers.subscribe(options(1000));
        for len in [6, 6, 7, 4] {
            assert!(subscribers.offer(&batch(len)));
        }
        assert_eq!((slow.lost(), slow.queued()), (13, 10));
        assert_eq!(slow.try_recv(), Some(Received::Batch(batch(6))));
        assert_eq!(slow.try_recv(), Some(Received::Lost(13)));
        assert_eq!(slow.try_recv(), Some(Received::Batch(batch(4))));
        assert_eq!((slow.try_recv(), slow.queued()), (None, 0));
        let of_wide: usize = std::iter::from_fn(|| wide.try_recv())
            .map(|got| matches!(got, Received::Batch(_)) as usize)
            .sum();
        assert_eq!((of_wide, wide.lost()), (4, 0), "another's losses are not its own");
    }

    #[test]
    fn bytes_bound_a_queue_too_and_an_empty_one_takes_any_batch() {
        let subscribers = Subscribers::default();
        let mut subscription =
            subscribers.subscribe(SubscriptionOptions { queue_bytes: 10, ..SubscriptionOptions::default() });
        assert!(subscribers.offer(&batch(5)));
        assert!(!subscribers.offer(&batch(1)));
        subscribers.end();
        assert!(matches!(subscription.try_recv(), Some(Received::Batch(_))));
        assert_eq!(subscription.try_recv(), Some(Received::Lost(1)), "told also when nothing comes after it");
    }

    #[test]
    fn a_dropped_subscription_is_forgotten_and_a_late_one_ends_at_once() {
        let subscribers = Subscribers::default();
        drop(subscribers.subscribe(options(10)));
        assert!(!subscribers.offer(&batch(1)));
        assert!(!subscribers.are_there());
        subscribers.end();
        let mut late = subscribers.subscribe(options(10));
        assert_eq!(late.try_recv(), None);
        assert!(late.queue.is_closed());
    }
}
