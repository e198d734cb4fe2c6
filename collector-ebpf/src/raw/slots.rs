//! Files that a task's open files (`struct files_struct`) hold themselves. A typed pointer can be followed from there even
//! where the kernel has no cast; a table of its own, which a process has once it needed more, is an array of addresses.

use super::constant;
use super::reader::{Direct, Reader};
use core::arch::asm;

/// How many there are (`NR_OPEN_DEFAULT` of a 64-bit kernel).
const SLOTS: u32 = 64;

/// What a descriptor stands for, if it is one of them.
#[inline(always)]
pub(crate) fn own_file(files: *const u8, fd: u32) -> Option<*const u8> {
    let table = Direct::ptr(files, constant!(offsets.files_fdt));
    let slots = Direct::within(files, constant!(offsets.files_own));
    if fd >= SLOTS || !Direct::same(Direct::ptr(table, constant!(offsets.fdt_files)), slots) {
        return None;
    }
    let slot =
        bit::<8>(bit::<16>(bit::<32>(bit::<64>(bit::<128>(bit::<256>(slots, fd), fd), fd), fd), fd), fd);
    Some(Direct::ptr(slot, 0))
}

/// Adds one bit of a slot's place. The verifier takes no sum of a typed pointer and a number that it does not know, but it
/// knows this one behind each branch.
#[inline(always)]
fn bit<const BYTES: u32>(slot: *const u8, fd: u32) -> *const u8 {
    let mut slot = slot;
    if fd & (BYTES / 8) != 0 {
        // SAFETY: one addition. The compiler must not know it, or it makes a number of the branch.
        unsafe { asm!("{0} += {1}", inout(reg) slot, const BYTES, options(nomem, nostack)) };
    }
    slot
}
