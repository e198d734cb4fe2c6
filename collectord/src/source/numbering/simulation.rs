//! A kernel that exists on paper: CPUs that number, rings with room, losses for each reason, records that are read in
//! order and sometimes are none. Held against it, whatever happens in which order: told gaps + delivered + outstanding
//! = generated, each number once, and the books balance.

use super::*;
use collector_core::accounting::ClassAccount;
use std::collections::VecDeque;

const SEEDS: u64 = 10_000;
const STEPS: usize = 120;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}

#[derive(Debug, Clone, Copy)]
struct Written {
    cpu: usize,
    hook: Hook,
    seq: u64,
    ktime_ns: u64,
    readable: bool,
}

/// Counters of one stream, and where each of its numbers ended.
#[derive(Debug, Clone, Default)]
struct Slot {
    generated: u64,
    dropped: [u64; DROP_REASONS],
    /// By number.
    ended: Vec<Option<End>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Delivered,
    Told,
}

struct Simulation {
    random: Random,
    now_ns: u64,
    slots: Vec<Slot>,
    /// CPU n fills ring n modulo their number.
    rings: Vec<VecDeque<Written>>,
    room: usize,
    numbering: Numbering,
    read: u64,
    malformed: u64,
    delivered: u64,
    told: Vec<(&'static str, u64)>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let cpus = 1 + random.below(3);
        Self {
            now_ns: 1_000,
            slots: vec![Slot::default(); cpus * Hook::ALL.len()],
            rings: vec![VecDeque::new(); 1 + random.below(cpus)],
            room: 1 + random.below(8),
            numbering: Numbering::new(cpus, 1_000),
            read: 0,
            malformed: 0,
            delivered: 0,
            told: Vec::new(),
            random,
        }
    }

    fn streams(&self) -> impl Iterator<Item = (usize, Hook)> + use<> {
        (0..self.slots.len() / Hook::ALL.len()).flat_map(|cpu| Hook::ALL.iter().map(move |&hook| (cpu, hook)))
    }

    /// A hook runs: number first, then room, then the counter of a loss.
    fn generate(&mut self) {
        let cpu = self.random.below(self.slots.len() / Hook::ALL.len());
        let hook = Hook::ALL[self.random.below(Hook::ALL.len())];
        self.now_ns += 1;
        let ring_index = cpu % self.rings.len();
        let is_full = self.rings[ring_index].len() == self.room;
        let slot = &mut self.slots[index(cpu, hook)];
        let seq = slot.generated;
        slot.generated += 1;
        slot.ended.push(None);
        let lost = match self.random.below(20) {
            reason @ 1..DROP_REASONS => Some(reason),
            _ => is_full.then_some(0),
        };
        match lost {
            Some(reason) => slot.dropped[reason] += 1,
            None => {
                let readable = self.random.below(15) != 0;
                let written = Written { cpu, hook, seq, ktime_ns: self.now_ns, readable };
                self.rings[ring_index].push_back(written);
            }
        }
    }

    fn read_one(&mut self) {
        let ring = self.random.below(self.rings.len());
        let Some(written) = self.rings[ring].pop_front() else { return };
        self.read += 1;
        if !written.readable {
            self.malformed += 1;
            self.numbering.malformed();
            return;
        }
        let Written { cpu, hook, seq, ktime_ns, .. } = written;
        let slot = &self.slots[index(cpu, hook)];
        let counters = (slot.generated, slot.dropped);
        let gap = self.numbering.came(cpu, hook, seq, ktime_ns, || counters).expect("no number comes twice");
        if let Some(gap) = gap {
            assert_eq!(gap.last_seq + 1, seq, "the gap ends where the record stands");
            self.tell(&gap);
        }
        self.end(cpu, hook, seq, End::Delivered);
        self.delivered += 1;
    }

    /// The reader looks at the counters while the hooks go on: losses first, numbers later.
    fn reconcile(&mut self) {
        let at = self.random.below(self.slots.len());
        let (cpu, hook) = self.streams().nth(at).unwrap();
        let dropped = self.slots[at].dropped;
        for _ in 0..self.random.below(4) {
            self.generate();
        }
        let generated = self.slots[at].generated;
        if let Some(gap) = self.numbering.reconcile(cpu, hook, (generated, dropped), self.now_ns) {
            self.tell(&gap);
        }
    }

    fn tell(&mut self, gap: &Gap) {
        let count = gap.last_seq - gap.first_seq + 1;
        assert_eq!(gap.reasons.iter().map(|(_, count)| count).sum::<u64>(), count, "{gap:?}");
        assert!(gap.after_ns <= gap.before_ns, "{gap:?}");
        for seq in gap.first_seq..=gap.last_seq {
            self.end(gap.cpu, gap.hook, seq, End::Told);
        }
        self.told.extend(&gap.reasons);
    }

    fn end(&mut self, cpu: usize, hook: Hook, seq: u64, how: End) {
        let number = &mut self.slots[index(cpu, hook)].ended[usize::try_from(seq).unwrap()];
        assert_eq!(number.replace(how), None, "cpu {cpu} {hook:?} number {seq} ended twice");
    }

    /// What holds after every step.
    fn check(&self) {
        for (stream, slot) in self.numbering.streams.iter().zip(&self.slots) {
            // The numbers are settled in order: what has ended is all that stands below the next one.
            let ended = slot.ended.iter().take_while(|end| end.is_some()).count() as u64;
            let all = slot.ended.iter().flatten().count() as u64;
            let outstanding =
                slot.generated.checked_sub(stream.next).expect("no number is told before it is given");
            assert_eq!((ended, all, ended + outstanding), (stream.next, stream.next, slot.generated));
        }
        for written in self.rings.iter().flatten().filter(|written| written.readable) {
            let next = self.numbering.streams[index(written.cpu, written.hook)].next;
            assert!(written.seq >= next, "{written:?} is on its way and was told as lost");
        }
        self.account().check().unwrap();
    }

    fn account(&self) -> ClassAccount {
        let dropped = DropReason::ALL.iter().enumerate().map(|(reason, name)| {
            (name.name().to_owned(), self.slots.iter().map(|slot| slot.dropped[reason]).sum())
        });
        ClassAccount {
            generated: self.slots.iter().map(|slot| slot.generated).sum(),
            dropped_kernel: dropped.collect(),
            in_ring: self.rings.iter().map(VecDeque::len).sum::<usize>() as u64,
            read: self.read,
            malformed: self.malformed,
            decoded: self.read - self.malformed,
            delivered: self.delivered,
            ..ClassAccount::default()
        }
    }

    fn close(&mut self) {
        while self.rings.iter().any(|ring| !ring.is_empty()) {
            self.read_one();
            self.check();
        }
        for (cpu, hook) in self.streams() {
            let slot = &self.slots[index(cpu, hook)];
            let counters = (slot.generated, slot.dropped);
            if let Some(gap) = self.numbering.close(cpu, hook, counters, self.now_ns) {
                self.tell(&gap);
            }
            assert!(self.numbering.is_settled(cpu, hook, counters.0));
            assert_eq!(self.numbering.close(cpu, hook, counters, self.now_ns), None, "told once");
        }
        self.check();
        assert!(self.slots.iter().all(|slot| slot.ended.iter().all(Option::is_some)));
        // Each reason is told as often as it was counted, and nothing is left unexplained.
        let mut told = ClassAccount::default().dropped();
        for (reason, count) in &self.told {
            *told.entry((*reason).to_owned()).or_default() += count;
        }
        assert_eq!(told, self.account().dropped());
    }
}

fn run(seed: u64) {
    let mut simulation = Simulation::new(seed);
    // A reader that keeps up, one that does not, and one that hardly comes.
    let pace = simulation.random.below(3);
    for _ in 0..STEPS {
        match simulation.random.below(8) {
            0 => simulation.reconcile(),
            step if step <= 2 + 2 * pace => simulation.generate(),
            _ => simulation.read_one(),
        }
        simulation.check();
    }
    simulation.close();
}

#[test]
fn each_number_is_delivered_or_told_once_whatever_the_order() {
    for seed in 0..SEEDS {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
