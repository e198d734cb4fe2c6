//! The crate's unsafe code: arrays that kernel programs and this process share through a memory mapping.
//!
//! A mapping needs no system call to read and works after `bpf(2)` is forbidden to the process.
#![allow(unsafe_code)]

use collector_common::{DROP_REASONS, StreamSlot};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// 8-byte words of a memory-mapped BPF array.
#[derive(Debug)]
pub struct MappedWords {
    start: NonNull<c_void>,
    words: usize,
}

// SAFETY: the mapping belongs to the value until it is dropped, and its words are only touched as atomics.
unsafe impl Send for MappedWords {}
// SAFETY: as above.
unsafe impl Sync for MappedWords {}

impl MappedWords {
    /// Maps an array whose values are `words` 8-byte words in all.
    ///
    /// # Errors
    /// What `mmap` said.
    pub fn new(array: impl AsFd, words: usize, writable: bool) -> nix::Result<Self> {
        let bytes = NonZeroUsize::new(words * 8).ok_or(nix::Error::EINVAL)?;
        let protection =
            if writable { ProtFlags::PROT_READ | ProtFlags::PROT_WRITE } else { ProtFlags::PROT_READ };
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours. The kernel refuses a
        // length beyond the array's pages.
        let start = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, array, 0) }?;
        Ok(Self { start, words })
    }

    /// The word at `index`.
    ///
    /// # Panics
    /// If `index` lies outside the array.
    pub fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.words, "word {index} of {}", self.words);
        // SAFETY: the index was checked, and the mapping starts at a page.
        let word = unsafe { self.start.cast::<u64>().add(index) };
        // SAFETY: the word is aligned, mapped as long as `self` lives, and only ever accessed atomically; the kernel
        // writes aligned 8-byte words, which are atomic as well.
        unsafe { AtomicU64::from_ptr(word.as_ptr()) }
    }
}

impl Drop for MappedWords {
    fn drop(&mut self) {
        // SAFETY: start and length are those of the mapping, and no reference outlives `self`.
        let _ = unsafe { munmap(self.start, self.words * 8) };
    }
}

/// The numbering slots of all CPUs and hooks.
#[derive(Debug)]
pub struct Slots {
    words: MappedWords,
    hooks: usize,
}

const SLOT_WORDS: usize = size_of::<StreamSlot>() / 8;

impl Slots {
    /// Maps the slots of `cpus` CPUs with `hooks` hooks each.
    ///
    /// # Errors
    /// What `mmap` said.
    pub fn new(array: impl AsFd, cpus: usize, hooks: usize) -> nix::Result<Self> {
        Ok(Self { words: MappedWords::new(array, cpus * hooks * SLOT_WORDS, false)?, hooks })
    }

    /// How many CPUs there are slots for.
    pub fn cpus(&self) -> usize {
        self.words.words / SLOT_WORDS / self.hooks
    }

    /// Numbers given and lost. The losses are read first: a loss that shows has its number in `generated`.
    pub fn read(&self, cpu: usize, hook: usize) -> (u64, [u64; DROP_REASONS]) {
        let first = (cpu * self.hooks + hook) * SLOT_WORDS;
        let mut dropped = [0; DROP_REASONS];
        for (reason, count) in dropped.iter_mut().enumerate() {
            *count = self.words.word(first + 1 + reason).load(Ordering::Acquire);
        }
        (self.words.word(first).load(Ordering::Acquire), dropped)
    }

    /// Runs that a program left at once, because it was interrupted by itself.
    pub fn missed(&self, cpu: usize, hook: usize) -> u64 {
        self.words.word((cpu * self.hooks + hook + 1) * SLOT_WORDS - 1).load(Ordering::Acquire)
    }
}
