//! The kernel's side: hooks that number, rings, counters.

use super::*;

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) cpu: usize,
    pub(super) hook: Hook,
    pub(super) seq: u64,
    pub(super) ktime_ns: u64,
    pub(super) readable: bool,
}

/// Counters of one stream, and whether each of its numbers was delivered or told.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot {
    generated: u64,
    dropped: [u64; DROP_REASONS],
    pub(super) ended: Vec<bool>,
}

pub(super) struct Kernel {
    pub(super) cpus: usize,
    pub(super) now_ns: u64,
    pub(super) generated: u64,
    /// Of all streams.
    pub(super) dropped: [u64; DROP_REASONS],
    pub(super) slots: Vec<Slot>,
    /// CPU n fills ring n modulo their number.
    pub(super) rings: Vec<VecDeque<Written>>,
    room: usize,
}

impl Kernel {
    pub(super) fn new(random: &mut Random) -> Self {
        let cpus = 1 + random.below(3);
        Self {
            cpus,
            now_ns: 1_000,
            generated: 0,
            dropped: [0; DROP_REASONS],
            slots: vec![Slot::default(); cpus * Hook::ALL.len()],
            rings: vec![VecDeque::new(); 1 + random.below(cpus)],
            room: 1 + random.below(8),
        }
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = (usize, Hook)> + use<> {
        (0..self.cpus).flat_map(|cpu| HOOKS.into_iter().map(move |hook| (cpu, hook)))
    }

    pub(super) fn counters(&self, cpu: usize, hook: Hook) -> (u64, [u64; DROP_REASONS]) {
        let slot = &self.slots[index(cpu, hook)];
        (slot.generated, slot.dropped)
    }

    /// A hook runs: number first, then room, then the counter of a loss.
    pub(super) fn generate(&mut self, random: &mut Random) {
        let cpu = random.below(self.cpus);
        let hook = HOOKS[random.below(HOOKS.len())];
        self.now_ns += 1;
        self.generated += 1;
        let ring_index = cpu % self.rings.len();
        let is_full = self.rings[ring_index].len() == self.room;
        let slot = &mut self.slots[index(cpu, hook)];
        let seq = slot.generated;
        slot.generated += 1;
        slot.ended.push(false);
        let lost = match random.below(20) {
            reason @ 1..DROP_REASONS => Some(reason),
            _ => is_full.then_some(0),
        };
        match lost {
            Some(reason) => {
                slot.dropped[reason] += 1;
                self.dropped[reason] += 1;
            }
            None => {
                let readable = random.below(15) != 0;
                let written = Written { cpu, hook, seq, ktime_ns: self.now_ns, readable };
                self.rings[ring_index].push_back(written);
            }
        }
    }

    /// Up to when no ring holds anything older.
    pub(super) fn complete_ns(&self) -> u64 {
        let oldest = self.rings.iter().filter_map(VecDeque::front).map(|written| written.ktime_ns - 1);
        oldest.min().unwrap_or(self.now_ns)
    }

    /// A number was delivered or told.
    pub(super) fn end(&mut self, cpu: usize, hook: Hook, seq: u64) {
        let number = &mut self.slots[index(cpu, hook)].ended[usize::try_from(seq).unwrap()];
        assert!(!std::mem::replace(number, true), "cpu {cpu} {hook:?} number {seq} ended twice");
    }
}
