//! All unsafe code of the kernel programs: constants and helpers here, the two families of readers, the scratch in which
//! a large record is put together, and numbers that end in a ring or in a counter.
//!
//! The verifier proves memory safety of the result on every load; what stands here keeps Rust's own rules beside it.
#![allow(unsafe_code)]

mod address;
pub(crate) mod attempts;
mod canary;
mod cgroup;
mod constants;
mod datagram;
mod dentry;
mod exits;
mod followed;
mod iteration;
mod names;
mod number;
mod opens;
mod own_pid;
mod reader;
mod regs;
mod scratch;
mod slots;

pub(crate) use address::AddressScratch;
pub(crate) use attempts::{Attempt, CALL_OVER};
pub(crate) use canary::{canary_child, set_canary_child};
pub(crate) use cgroup::CgroupScratch;
pub(crate) use constants::{SpanAt, constant, entry, filters, operand, span};
pub(crate) use datagram::{Datagram, is_new_flow};
pub(crate) use dentry::NameOffsets;
pub(crate) use exits::{CallExit, alone, alone_where_preempted};
pub(crate) use followed::{follow, is_followed, unfollow};
pub(crate) use iteration::Iteration;
pub(crate) use names::{forget_name, keep_name, kept_name};
pub(crate) use number::{Guard, Number, first_exit, is_quiet};
pub(crate) use opens::{Opened, RingOpen};
pub(crate) use reader::{Direct, Fields, Portable, Reader, Room};
pub(crate) use regs::{Arguments, Registers, is_compat};
pub(crate) use scratch::{Emitted, Kept, Pathed, Scratch};
pub(crate) use slots::own_file;

use aya_ebpf::helpers::generated as helper;

/// Process and thread id of the current task, of the initial pid namespace.
#[inline(always)]
pub(crate) fn current_ids() -> (u32, u32) {
    // SAFETY: the helper has no preconditions.
    let both = unsafe { helper::bpf_get_current_pid_tgid() };
    ((both >> 32) as u32, both as u32)
}

/// Real user id of the current task.
#[inline(always)]
pub(crate) fn current_uid() -> u32 {
    // SAFETY: the helper has no preconditions.
    unsafe { helper::bpf_get_current_uid_gid() as u32 }
}

/// The current task's comm, NUL-padded.
#[inline(always)]
pub(crate) fn current_comm() -> [u64; 2] {
    let mut comm = [0u64; 2];
    // SAFETY: the buffer has the 16 bytes that are named.
    unsafe { helper::bpf_get_current_comm((&raw mut comm).cast(), 16) };
    comm
}

/// Id of the current task's cgroup in the unified hierarchy.
#[inline(always)]
pub(crate) fn current_cgroup_id() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { helper::bpf_get_current_cgroup_id() }
}

/// Id of the current task's cgroup at this level of the unified hierarchy; 0 if it lies higher up. Tracing programs have
/// the helper since 5.15.
#[inline(always)]
pub(crate) fn ancestor_cgroup_id(level: u32) -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { helper::bpf_get_current_ancestor_cgroup_id(level as i32) }
}

/// The CPU that this runs on.
#[inline(always)]
pub(crate) fn current_cpu() -> u32 {
    // SAFETY: the helper has no preconditions.
    unsafe { helper::bpf_get_smp_processor_id() }
}

/// `CLOCK_BOOTTIME` in ns.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { helper::bpf_ktime_get_boot_ns() }
}

/// Reads a byte of kernel memory; 0 if it cannot be read.
#[inline(always)]
pub(crate) fn probe_u8(address: u64) -> u8 {
    let mut value = 0u8;
    // SAFETY: as for `probe_u32`, with one byte.
    unsafe { helper::bpf_probe_read_kernel((&raw mut value).cast(), 1, address as *const _) };
    value
}

/// Reads 2 bytes of kernel memory; 0 if they cannot be read.
#[inline(always)]
pub(crate) fn probe_u16(address: u64) -> u16 {
    let mut value = 0u16;
    // SAFETY: as for `probe_u32`, with 2 bytes.
    unsafe { helper::bpf_probe_read_kernel((&raw mut value).cast(), 2, address as *const _) };
    value
}

/// Reads 4 bytes of kernel memory; 0 if they cannot be read. For addresses that are computed at run time, which a
/// typed pointer cannot have.
#[inline(always)]
pub(crate) fn probe_u32(address: u64) -> u32 {
    let mut value = 0u32;
    // SAFETY: `value` has 4 bytes; the helper survives any address and fills with zeros on a fault.
    unsafe { helper::bpf_probe_read_kernel((&raw mut value).cast(), 4, address as *const _) };
    value
}

/// Reads 8 bytes of kernel memory; 0 if they cannot be read.
#[inline(always)]
pub(crate) fn probe_u64(address: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: as for `probe_u32`, with 8 bytes.
    unsafe { helper::bpf_probe_read_kernel((&raw mut value).cast(), 8, address as *const _) };
    value
}

/// Reads 8 bytes of the current task's user memory; `None` if they cannot be read.
#[inline(always)]
pub(crate) fn user_u64(address: u64) -> Option<u64> {
    let mut value = 0u64;
    // SAFETY: `value` has 8 bytes; the helper survives any address.
    let failed = unsafe { helper::bpf_probe_read_user((&raw mut value).cast(), 8, address as *const _) } != 0;
    if failed { None } else { Some(value) }
}

/// Reads 4 bytes of the current task's user memory; `None` if they cannot be read.
#[inline(always)]
pub(crate) fn user_u32(address: u64) -> Option<u32> {
    let mut value = 0u32;
    // SAFETY: as for `user_u64`, with 4 bytes.
    let failed = unsafe { helper::bpf_probe_read_user((&raw mut value).cast(), 4, address as *const _) } != 0;
    if failed { None } else { Some(value) }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program in which this can be reached.
    loop {}
}

/// Kernel helpers and kfuncs need a GPL-compatible licence.
// SAFETY: the loader reads this section and name.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
