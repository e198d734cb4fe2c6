//! Names that requests of io_uring are to open, from the request's making until it is done.

use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{LruHashMap, PerCpuArray};
use collector_common::PATH_BYTES_MAX;

type Name = [u8; PATH_BYTES_MAX as usize];

/// By the request's address. The loader sets the size; a name that was put out by others is not told.
#[map]
static REQUESTED: LruHashMap<u64, Name> = LruHashMap::with_max_entries(1, 0);

/// Where a name is copied to before it is kept: too large for a stack.
#[map]
static NAME_SCRATCH: PerCpuArray<Name> = PerCpuArray::with_max_entries(1, 0);

/// Keeps a kernel string.
#[inline(always)]
pub(crate) fn keep_name(request: u64, name: u64) {
    let Some(scratch) = NAME_SCRATCH.get_ptr_mut(0) else { return };
    // SAFETY: the scratch has that many bytes; the helper survives any address.
    let len = unsafe { helper::bpf_probe_read_kernel_str(scratch.cast(), PATH_BYTES_MAX, name as *const _) };
    if len <= 0 {
        // What an earlier request at this address has left.
        return forget_name(request);
    }
    // SAFETY: the scratch is this CPU's and the program is not entered twice on one CPU; any bytes are a name.
    let _ = REQUESTED.insert(&request, unsafe { &*scratch }, 0);
}

/// Where a request's name is kept.
#[inline(always)]
pub(crate) fn kept_name(request: u64) -> Option<*const Name> {
    REQUESTED.get_ptr(&request)
}

#[inline(always)]
pub(crate) fn forget_name(request: u64) {
    let _ = REQUESTED.remove(&request);
}
