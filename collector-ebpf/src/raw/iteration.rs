//! The task iterator: its programs, what the kernel hands them, and what they write for whoever reads its descriptor.

use super::reader::{Direct, Portable, Reader};
use crate::running;
use aya_ebpf::bindings::seq_file;
use aya_ebpf::helpers::generated as helper;
use core::ptr::read_volatile;

/// `struct bpf_iter__task`: a pointer to `struct bpf_iter_meta`, whose first member is a pointer to the `seq_file`, and
/// one to the task.
#[derive(Clone, Copy)]
pub(crate) struct Iteration(*const u64);

impl Iteration {
    /// The task; `None` when all were told.
    #[inline(always)]
    pub(crate) fn task<R: Reader>(self) -> Option<R::Ptr> {
        // SAFETY: the context has two words.
        let task = unsafe { read_volatile(self.0.add(1)) };
        (task != 0).then(|| R::typed(task.cast_signed()))
    }

    /// Appends what is read from the descriptor. What finds no room there now is asked for again by the kernel.
    #[inline(always)]
    pub(super) fn write(self, bytes: *const u8, len: u32) {
        // SAFETY: the context has two words.
        let meta = unsafe { read_volatile(self.0) } as *const u64;
        // SAFETY: the verifier has typed the pointer; its first word is there.
        let file = unsafe { read_volatile(meta) } as *mut seq_file;
        // SAFETY: callers pass `len` readable bytes; the verifier checks it again.
        unsafe { helper::bpf_seq_write(file, bytes.cast(), len) };
    }
}

// SAFETY: no other symbol of the object has this name; the loader reads the section's.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn running_direct(context: *const u64) -> i32 {
    running::record::<Direct>(Iteration(context))
}

// SAFETY: as above.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn running_portable(context: *const u64) -> i32 {
    running::record::<Portable>(Iteration(context))
}
