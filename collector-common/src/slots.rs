//! Numbering and loss counters, per (cpu, hook), in one memory-mapped array that kernel and reader share.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Reasons for which a numbered event is lost in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// The ring had no room.
    RingFull,
    /// No ring is assigned to the CPU.
    NoRing,
    /// The scratch buffer could not be had.
    NoScratch,
    /// The record would not have fitted its buffer.
    Oversize,
    /// The map that holds what is under way was full.
    MapFull,
}

/// Number of reasons.
pub const DROP_REASONS: usize = 5;

impl DropReason {
    /// Every reason, in the order of its slot.
    pub const ALL: [Self; DROP_REASONS] =
        [Self::RingFull, Self::NoRing, Self::NoScratch, Self::Oversize, Self::MapFull];

    /// The reason's name in the native format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::NoRing => "no_ring",
            Self::NoScratch => "no_scratch",
            Self::Oversize => "oversize",
            Self::MapFull => "map_full",
        }
    }
}

/// Counters of one (cpu, hook): one cache line, written by that CPU's program only. Slot `cpu * hooks + hook`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct StreamSlot {
    /// Numbers given.
    pub generated: u64,
    /// Numbers whose event was lost, by [`DropReason`].
    pub dropped: [u64; DROP_REASONS],
    /// 1 while a program that guards itself runs.
    pub active: u64,
    /// Runs that such a program left at once, because it was interrupted by itself.
    pub missed: u64,
}

const _: () = assert!(size_of::<StreamSlot>() == 64);
