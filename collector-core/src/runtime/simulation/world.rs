//! What stands around the batcher: sources that number, lose and die, a sink that stalls, fails and leaves.

use crate::accounting::{ClassAccount, Reasons, SourceAccount};
use crate::event::{
    CollectionEvent, EventClass, FilesystemEvent, KernelEvent, LossEvent, LossGap, Origin, PerformanceEvent,
    ProcessEvent,
};
use crate::sink::{EventSink, SinkError};
use crate::source::SourceCaps;
use crate::test_events::kernel_event;
use async_trait::async_trait;
use fastrand::Rng;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::SystemTime;
use tokio::sync::mpsc;

/// Whether it is one of so many chances.
pub(super) fn one_in(random: &mut Rng, chances: usize) -> bool {
    random.usize(..chances) == 0
}

/// What became of a source's numbers, as far as a reader of the stream knows.
#[derive(Debug, Default)]
pub(super) struct Ended {
    numbers: Vec<bool>,
    last: Option<u64>,
}

impl Ended {
    fn one(&mut self, seq: u64) {
        let at = usize::try_from(seq).unwrap();
        if self.numbers.len() <= at {
            self.numbers.resize(at + 1, false);
        }
        assert!(!std::mem::replace(&mut self.numbers[at], true), "number {seq} was delivered or told twice");
    }

    pub(super) fn count(&self) -> u64 {
        self.numbers.iter().filter(|ended| **ended).count() as u64
    }
}

/// How the sink answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Takes,
    Stalls,
    Fails,
    Leaves,
}

/// What the sink took.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) mode: Mode,
    /// It makes the batcher wait for its answer.
    pub(super) is_asked: bool,
    pub(super) of: [Ended; CLASSES.len()],
    pub(super) told: Reasons,
    /// Of these, those of which no number is known.
    pub(super) unseen: u64,
}

impl Taken {
    fn take(&mut self, batch: &[CollectionEvent]) {
        for event in batch {
            match event {
                CollectionEvent::Kernel(event) => {
                    assert!(!event.internal, "an internal event was delivered");
                    let of = &mut self.of[index(event.origin.class)];
                    of.one(event.seq);
                    assert!(
                        of.last.is_none_or(|last| last < event.seq),
                        "{} came after {:?}",
                        event.seq,
                        of.last
                    );
                    of.last = Some(event.seq);
                }
                CollectionEvent::Loss(loss) => {
                    assert_eq!(loss.reasons.values().sum::<u64>(), loss.count, "{loss:?}");
                    for (reason, count) in &loss.reasons {
                        *self.told.entry(reason.clone()).or_default() += count;
                    }
                    match &loss.gap {
                        Some(gap) => {
                            assert_eq!(gap.last_seq - gap.first_seq + 1, loss.count, "{loss:?}");
                            (gap.first_seq..=gap.last_seq)
                                .for_each(|seq| self.of[index(loss.class)].one(seq));
                        }
                        None => self.unseen += loss.count,
                    }
                }
                _ => {}
            }
        }
    }
}

/// The classes, each with one source.
pub(super) const CLASSES: [EventClass; 2] = [EventClass::Process, EventClass::File];

fn index(class: EventClass) -> usize {
    CLASSES.iter().position(|known| *known == class).expect("the class has a source")
}

pub(super) struct Sink(pub(super) Arc<Mutex<Taken>>);

impl Sink {
    pub(super) fn new() -> Self {
        let of = Default::default();
        Self(Arc::new(Mutex::new(Taken {
            mode: Mode::Takes,
            is_asked: false,
            of,
            told: Reasons::new(),
            unseen: 0,
        })))
    }
}

pub(super) fn locked(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap()
}

#[async_trait]
impl EventSink for Sink {
    fn name(&self) -> &str {
        "sink"
    }

    async fn write(&mut self, batch: &[CollectionEvent]) -> Result<(), SinkError> {
        poll_fn(|_| {
            let mut taken = locked(&self.0);
            let sink = "sink".to_owned();
            taken.is_asked = taken.mode == Mode::Stalls;
            match taken.mode {
                Mode::Takes => {
                    taken.take(batch);
                    Poll::Ready(Ok(()))
                }
                Mode::Stalls => Poll::Pending,
                Mode::Fails => {
                    Poll::Ready(Err(SinkError::Write { sink, source: std::io::Error::other("it fails") }))
                }
                Mode::Leaves => Poll::Ready(Err(SinkError::Closed { sink })),
            }
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        poll_fn(|_| {
            let mut taken = locked(&self.0);
            taken.is_asked = taken.mode == Mode::Stalls;
            if taken.is_asked { Poll::Pending } else { Poll::Ready(Ok(())) }
        })
        .await
    }
}

/// A source that numbers its events, as the kernel's do: what its ring has no room for is counted and told at the next
/// record, and what its queue has no room for waits in its hand.
pub(super) struct Source {
    pub(super) class: EventClass,
    origin: Arc<Origin>,
    /// `None` once it is dead or has stopped.
    queue: Option<mpsc::Sender<CollectionEvent>>,
    pub(super) account: ClassAccount,
    ring: VecDeque<u64>,
    ring_max: usize,
    next_seq: u64,
    hand: VecDeque<CollectionEvent>,
    /// Of everything that was given to the queue, in order: whether it has a number.
    sent: Vec<bool>,
    /// Some of its events have a domain that it does not claim.
    lies: bool,
    pub(super) killed: bool,
}

impl Source {
    pub(super) fn new(class: EventClass, queue: mpsc::Sender<CollectionEvent>, random: &mut Rng) -> Self {
        let origin = Origin { class, ..(*kernel_event(0).origin).clone() };
        Self {
            class,
            origin: Arc::new(origin),
            queue: Some(queue),
            account: ClassAccount::default(),
            ring: VecDeque::new(),
            ring_max: 1 + random.usize(..12),
            next_seq: 0,
            hand: VecDeque::new(),
            sent: Vec::new(),
            lies: one_in(random, 8),
            killed: false,
        }
    }

    /// What it claims. One that lies claims nothing that it sends.
    pub(super) fn caps(&self) -> SourceCaps {
        if self.lies { SourceCaps::NETWORK } else { self.class.domain() }
    }

    /// A hook runs: a number, then room, or a loss that is counted.
    pub(super) fn generate(&mut self) {
        let seq = self.account.generated;
        self.account.generated += 1;
        if self.ring.len() < self.ring_max {
            self.ring.push_back(seq);
            self.account.in_ring += 1;
        } else {
            *self.account.dropped_kernel.entry("ring_full".to_owned()).or_default() += 1;
        }
    }

    /// The reader takes a record, if its hand is empty.
    pub(super) fn read(&mut self, random: &mut Rng) {
        if self.queue.is_none() || !self.hand.is_empty() {
            return;
        }
        if one_in(random, 6) {
            self.hand.push_back(unnumbered(random));
            return;
        }
        let Some(seq) = self.ring.pop_front() else { return };
        (self.account.in_ring, self.account.read) = (self.account.in_ring - 1, self.account.read + 1);
        if one_in(random, 20) {
            // No record of ours: its number is missing, and told with the next.
            self.account.malformed += 1;
            return;
        }
        self.tell_gap(seq);
        self.account.decoded += 1;
        let internal = one_in(random, 5);
        let event = KernelEvent { origin: Arc::clone(&self.origin), internal, ..kernel_event(seq) };
        self.hand.push_back(CollectionEvent::Kernel(Box::new(event)));
        self.next_seq = seq + 1;
    }

    /// Tells the numbers up to this one.
    fn tell_gap(&mut self, seq: u64) {
        let count = seq - self.next_seq;
        if count == 0 {
            return;
        }
        let (first_seq, last_seq) = (self.next_seq, seq - 1);
        let now = SystemTime::UNIX_EPOCH;
        let stream = self.origin.stream.clone();
        self.hand.push_back(CollectionEvent::Loss(Box::new(LossEvent {
            class: self.class,
            gap: Some(LossGap { stream, cpu: 0, first_seq, last_seq }),
            count,
            t_first: now,
            t_last: now,
            reasons: [("gap".to_owned(), count)].into(),
        })));
        self.next_seq = seq;
    }

    /// Gives the queue what it has room for.
    pub(super) fn send(&mut self) {
        let Some(queue) = &self.queue else { return };
        while let Ok(permit) = queue.try_reserve()
            && let Some(event) = self.hand.pop_front()
        {
            self.sent.push(matches!(event, CollectionEvent::Kernel(_)));
            permit.send(event);
        }
    }

    /// It fails: what it has in hand is lost, and nobody reads its ring.
    pub(super) fn kill(&mut self) {
        self.killed |= self.queue.take().is_some();
    }

    /// It is aborted if it has not stopped.
    pub(super) fn kill_if_open(&mut self) {
        if self.queue.is_some() {
            self.kill();
        }
    }

    /// Events that were given to its queue and stand in the books.
    pub(super) fn sent(&self) -> u64 {
        self.sent.len() as u64
    }

    /// The hooks are gone: a step to the end of what is left. Returns whether more is left.
    pub(super) fn stop(&mut self, random: &mut Rng) -> bool {
        self.read(random);
        if self.ring.is_empty() && self.hand.is_empty() {
            self.tell_gap(self.account.generated);
        }
        self.send();
        let is_done = self.next_seq == self.account.generated && self.hand.is_empty();
        let more = self.queue.is_some() && !is_done;
        if !more {
            self.queue = None;
        }
        more
    }

    /// Numbered events in its hand, and in its channel if so much of what it sent was received.
    pub(super) fn numbered_before(&self, received: u64) -> usize {
        let numbered = |event: &&CollectionEvent| matches!(event, CollectionEvent::Kernel(_));
        let in_channel = &self.sent[usize::try_from(received).unwrap()..];
        let in_hand = if self.killed { 0 } else { self.hand.iter().filter(numbered).count() };
        in_channel.iter().filter(|numbered| **numbered).count() + in_hand
    }

    /// What died in its hand.
    pub(super) fn died_in_hand(&self) -> u64 {
        let numbered = |event: &&CollectionEvent| matches!(event, CollectionEvent::Kernel(_));
        if self.killed { self.hand.iter().filter(numbered).count() as u64 } else { 0 }
    }

    pub(super) fn books(&self) -> SourceAccount {
        [(self.class, self.account.clone())].into()
    }
}

/// What a framework's other sources send.
fn unnumbered(random: &mut Rng) -> CollectionEvent {
    match random.usize(..3) {
        0 => CollectionEvent::Process(ProcessEvent::default()),
        1 => CollectionEvent::Filesystem(FilesystemEvent::default()),
        _ => CollectionEvent::Performance(PerformanceEvent::default()),
    }
}
