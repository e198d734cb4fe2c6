//! A machine on paper, driven by a seed: a kernel with CPUs that number, rings with room, losses for each reason, records
//! that are none; the reader's own numbering and merging; behind it a bounded queue, a batch and a sink. At any step any
//! stage may stall, the sink may fail, and the reader may be killed. Held against it, whatever happens in which order:
//! the four equations after every step, and at the end told losses + delivered + lost in userspace = generated, each
//! number once.

use super::*;
use crate::source::order::{InOrder, Waiting};
use collector_core::accounting::{ClassAccount, Reasons};
use collector_core::{CollectionEvent, ProcessEvent};
use std::collections::VecDeque;

mod kernel;
mod pipeline;

use kernel::{Kernel, Random, Written};
use pipeline::Pipeline;

const SEEDS: u64 = 100_000;
const STEPS: usize = 100;
/// Seeds that once failed, kept.
const ONCE_FAILED: [u64; 2] = [6, 21];
/// The streams of one source.
const HOOKS: [Hook; 3] = [Hook::Exec, Hook::Fork, Hook::Exit];

struct Simulation {
    random: Random,
    kernel: Kernel,
    numbering: Numbering,
    pipeline: Pipeline,
    read: u64,
    malformed: u64,
    told: Vec<(&'static str, u64)>,
    /// The books, brought up to date by each check.
    books: ClassAccount,
    /// The reader is gone; what it held is lost, and the rings stay as they are.
    killed: bool,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let kernel = Kernel::new(&mut random);
        Self {
            numbering: Numbering::new(kernel.cpus, kernel.now_ns),
            pipeline: Pipeline::new(&mut random),
            kernel,
            random,
            read: 0,
            malformed: 0,
            told: Vec::new(),
            books: ClassAccount::default(),
            killed: false,
        }
    }

    /// One record of one ring, as the reader takes it.
    fn read_one(&mut self) {
        // A reader whose queue is full waits; one that is gone reads nothing.
        if self.killed || self.pipeline.is_full() {
            return;
        }
        let ring = self.random.below(self.kernel.rings.len());
        let Some(written) = self.kernel.rings[ring].pop_front() else { return };
        self.read += 1;
        if !written.readable {
            self.malformed += 1;
            self.numbering.malformed();
            return;
        }
        let Written { cpu, hook, seq, ktime_ns, .. } = written;
        let counters = self.kernel.counters(cpu, hook);
        let gap = self.numbering.came(cpu, hook, seq, ktime_ns, || counters).expect("no number comes twice");
        if let Some(gap) = gap {
            assert_eq!(gap.last_seq + 1, seq, "the gap ends where the record stands");
            self.tell(&gap);
        }
        self.kernel.end(cpu, hook, seq);
        self.pipeline.came(ktime_ns);
    }

    /// The reader looks at the counters while the hooks go on: losses first, numbers later.
    fn reconcile(&mut self) {
        if self.killed {
            return;
        }
        let (cpu, hook) = (self.random.below(self.kernel.cpus), HOOKS[self.random.below(HOOKS.len())]);
        let (_, dropped) = self.kernel.counters(cpu, hook);
        for _ in 0..self.random.below(4) {
            self.kernel.generate(&mut self.random);
        }
        let (generated, _) = self.kernel.counters(cpu, hook);
        if let Some(gap) = self.numbering.reconcile(cpu, hook, (generated, dropped), self.kernel.now_ns) {
            self.tell(&gap);
        }
    }

    fn tell(&mut self, gap: &Gap) {
        let count = gap.last_seq - gap.first_seq + 1;
        assert_eq!(gap.reasons.iter().map(|(_, count)| count).sum::<u64>(), count, "{gap:?}");
        assert!(gap.after_ns <= gap.before_ns, "{gap:?}");
        for seq in gap.first_seq..=gap.last_seq {
            self.kernel.end(gap.cpu, gap.hook, seq);
        }
        self.told.extend(&gap.reasons);
    }

    fn kill(&mut self) {
        self.killed = true;
        self.pipeline.reader_died();
    }

    /// What holds after every step.
    fn check(&mut self) {
        self.bring_books_up_to_date();
        self.books.check().unwrap();
    }

    /// What holds and takes longer to see.
    fn check_numbers(&self) {
        for (cpu, hook) in self.kernel.streams() {
            let next = self.numbering.streams[index(cpu, hook)].next;
            let ended = &self.kernel.slots[index(cpu, hook)].ended;
            // The numbers are settled in order: what has ended is all that stands below the next one.
            let settled = usize::try_from(next).unwrap();
            assert!(settled <= ended.len(), "no number is told before it is given");
            assert!(ended[..settled].iter().all(|ended| *ended) && !ended[settled..].contains(&true));
        }
        for written in self.kernel.rings.iter().flatten().filter(|written| written.readable) {
            let next = self.numbering.streams[index(written.cpu, written.hook)].next;
            assert!(written.seq >= next, "{written:?} is on its way and was told as lost");
        }
    }

    fn bring_books_up_to_date(&mut self) {
        let Self { books, kernel, pipeline, .. } = self;
        books.generated = kernel.generated;
        books.in_ring = kernel.rings.iter().map(VecDeque::len).sum::<usize>() as u64;
        books.read = self.read;
        books.malformed = self.malformed;
        books.decoded = self.read - self.malformed;
        books.delivered = pipeline.delivered;
        books.pending = pipeline.under_way();
        let kernels = DropReason::ALL.iter().map(|reason| reason.name()).zip(kernel.dropped);
        note(&mut books.dropped_kernel, kernels);
        let users = [("sink_failed", pipeline.sink_failed), ("source_failed", pipeline.source_failed)];
        note(&mut books.dropped_user, users.into_iter());
    }

    /// The run ends: what is left is read, handed on, and told.
    fn close(&mut self) {
        while !self.killed && self.kernel.rings.iter().any(|ring| !ring.is_empty()) {
            self.read_one();
            let complete_ns = self.kernel.complete_ns();
            self.pipeline.step(&mut self.random, complete_ns);
            self.check();
        }
        self.pipeline.finish();
        self.check();
        if self.killed {
            return;
        }
        for (cpu, hook) in self.kernel.streams() {
            let counters = self.kernel.counters(cpu, hook);
            if let Some(gap) = self.numbering.close(cpu, hook, counters, self.kernel.now_ns) {
                self.tell(&gap);
            }
            assert!(self.numbering.is_settled(cpu, hook, counters.0));
            assert_eq!(self.numbering.close(cpu, hook, counters, self.kernel.now_ns), None, "told once");
        }
        self.check_numbers();
        assert_eq!(self.pipeline.under_way(), 0);
        assert!(self.kernel.slots.iter().all(|slot| slot.ended.iter().all(|ended| *ended)));
        // Each reason is told as often as it was counted, and nothing is left unexplained.
        let mut told = ClassAccount::default().dropped();
        for (reason, count) in &self.told {
            *told.entry((*reason).to_owned()).or_default() += count;
        }
        let mut counted = self.books.clone();
        counted.dropped_user.clear();
        assert_eq!(told, counted.dropped());
    }
}

/// Sets counts that are not 0; a map that has the reason already need not allocate.
fn note(reasons: &mut Reasons, counts: impl Iterator<Item = (&'static str, u64)>) {
    for (reason, count) in counts.filter(|(_, count)| *count > 0) {
        match reasons.get_mut(reason) {
            Some(noted) => *noted = count,
            None => {
                reasons.insert(reason.to_owned(), count);
            }
        }
    }
}

fn run(seed: u64) {
    let mut simulation = Simulation::new(seed);
    // A reader that keeps up, one that does not, and one that hardly comes; one in four dies some time.
    let pace = simulation.random.below(3);
    let death = simulation.random.below(4 * STEPS);
    for step in 0..STEPS {
        if step == death {
            simulation.kill();
        }
        match simulation.random.below(10) {
            0 => simulation.reconcile(),
            turn if turn <= 2 + 2 * pace => simulation.kernel.generate(&mut simulation.random),
            7 => {
                let complete_ns = simulation.kernel.complete_ns();
                simulation.pipeline.step(&mut simulation.random, complete_ns);
            }
            _ => simulation.read_one(),
        }
        simulation.check();
        if step % 10 == 0 {
            simulation.check_numbers();
        }
    }
    simulation.close();
}

#[test]
fn each_number_is_delivered_or_told_once_whatever_stalls_fails_or_dies() {
    const THREADS: u64 = 2;
    for seed in ONCE_FAILED {
        run(seed);
    }
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for seed in (thread..SEEDS).step_by(usize::try_from(THREADS).unwrap()) {
                    if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
                        eprintln!("seed {seed}");
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
}
