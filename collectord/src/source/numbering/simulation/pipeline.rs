//! Behind the reader: the merge by time, a bounded queue, a batch, a sink.

use super::*;

/// Events that a batch holds.
const BATCH_MAX: usize = 4;

pub(super) struct Pipeline {
    order: InOrder,
    waiting: u64,
    released: Vec<Waiting>,
    queue: VecDeque<CollectionEvent>,
    queue_max: usize,
    batch: Vec<CollectionEvent>,
    last_ns: u32,
    pub(super) delivered: u64,
    pub(super) sink_failed: u64,
    pub(super) source_failed: u64,
}

impl Pipeline {
    pub(super) fn new(random: &mut Random) -> Self {
        Self {
            order: InOrder::default(),
            waiting: 0,
            released: Vec::new(),
            queue: VecDeque::new(),
            queue_max: 1 + random.below(6),
            batch: Vec::new(),
            last_ns: 0,
            delivered: 0,
            sink_failed: 0,
            source_failed: 0,
        }
    }

    /// Whether the reader must wait.
    pub(super) fn is_full(&self) -> bool {
        !self.released.is_empty()
    }

    /// Decoded and not yet at an end.
    pub(super) fn under_way(&self) -> u64 {
        self.waiting + (self.released.len() + self.queue.len() + self.batch.len()) as u64
    }

    /// The time is kept where an event can carry it.
    pub(super) fn came(&mut self, ktime_ns: u64) {
        let pid = u32::try_from(ktime_ns).unwrap();
        self.order.push(ktime_ns, CollectionEvent::Process(ProcessEvent { pid, ..ProcessEvent::default() }));
        self.waiting += 1;
    }

    /// One of: the reader lets go what no ring can precede, the queue takes, the batch takes, the sink takes or fails, or
    /// nothing moves.
    pub(super) fn step(&mut self, random: &mut Random, complete_ns: u64) {
        match random.below(5) {
            0 if self.released.is_empty() => {
                self.order.release(complete_ns, &mut self.released);
                self.waiting -= self.released.len() as u64;
            }
            1 => self.fill_queue(),
            2 => {
                let room = BATCH_MAX - self.batch.len();
                self.batch.extend(self.queue.drain(..room.min(self.queue.len())));
            }
            3 => self.write(random.below(8) == 0),
            _ => {}
        }
    }

    fn fill_queue(&mut self) {
        let room = self.queue_max - self.queue.len();
        let room = room.min(self.released.len());
        self.queue.extend(self.released.drain(..room).map(CollectionEvent::from));
    }

    fn write(&mut self, fails: bool) {
        // What was let go is in the order in which it happened.
        for event in &self.batch {
            let ktime_ns = event.pid().unwrap();
            assert!(ktime_ns > self.last_ns, "{ktime_ns} came after {}", self.last_ns);
            self.last_ns = ktime_ns;
        }
        let events = self.batch.drain(..).count() as u64;
        *if fails { &mut self.sink_failed } else { &mut self.delivered } += events;
    }

    /// What the reader held and had not handed over is lost; the queue still has what it had.
    pub(super) fn reader_died(&mut self) {
        self.source_failed += self.waiting + self.released.len() as u64;
        self.waiting = 0;
        self.order = InOrder::default();
        self.released.clear();
    }

    /// Hands on all that is left.
    pub(super) fn finish(&mut self) {
        while self.under_way() > 0 {
            if self.released.is_empty() {
                self.order.release(u64::MAX, &mut self.released);
                self.waiting -= self.released.len() as u64;
            }
            self.fill_queue();
            let room = BATCH_MAX - self.batch.len();
            self.batch.extend(self.queue.drain(..room.min(self.queue.len())));
            self.write(false);
        }
    }
}
