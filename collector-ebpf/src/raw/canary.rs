//! The process that the canary has started: its events are no one's.

use core::cell::UnsafeCell;
use core::ptr::{read_volatile, write_volatile};

/// A word that programs on all CPUs read, and now and then one writes.
#[repr(transparent)]
struct Word(UnsafeCell<u32>);

// SAFETY: it is read and written by single instructions.
unsafe impl Sync for Word {}

/// Its pid, or 0. A pid is given anew once the process has ended, so its exit clears it.
static CHILD: Word = Word(UnsafeCell::new(0));

#[inline(always)]
pub(crate) fn canary_child() -> u32 {
    // SAFETY: the word is the object's own data.
    unsafe { read_volatile(CHILD.0.get()) }
}

#[inline(always)]
pub(crate) fn set_canary_child(pid: u32) {
    // SAFETY: as above.
    unsafe { write_volatile(CHILD.0.get(), pid) }
}
