//! Where the record of a new cgroup is put together.

use super::number::Number;
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use collector_common::{CGROUP_PATH_BYTES_MAX, CgroupRecord, DropReason, RecordKind};
use core::ptr::read_volatile;

#[map]
static CGROUP_SCRATCH: PerCpuArray<CgroupScratch> = PerCpuArray::with_max_entries(1, 0);

/// The record and its text.
#[repr(C)]
pub(crate) struct CgroupScratch {
    pub(crate) record: CgroupRecord,
    path: [u8; CGROUP_PATH_BYTES_MAX as usize],
}

impl CgroupScratch {
    #[inline(always)]
    pub(crate) fn get() -> Option<&'static mut Self> {
        // SAFETY: the value is this CPU's and this program's, which the kernel does not enter twice on one CPU, so this is
        // the only reference. Any bytes are valid.
        CGROUP_SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
    }

    /// Takes the path from the kernel.
    #[inline(always)]
    pub(crate) fn read_path(&mut self, address: u64) {
        // SAFETY: the buffer has the bytes that are named; the helper survives any address.
        let len = unsafe {
            helper::bpf_probe_read_kernel_str(
                (&raw mut self.path).cast(),
                CGROUP_PATH_BYTES_MAX,
                address as *const _,
            )
        };
        self.record.path_len =
            if len > 0 && len <= i64::from(CGROUP_PATH_BYTES_MAX) { len as u32 } else { 0 };
    }

    /// Writes record and path into the CPU's ring.
    #[inline(always)]
    pub(crate) fn emit(&mut self, number: Number, kind: RecordKind) {
        // SAFETY: a reference is readable; volatile, so that the bound that the compiler knows is checked again: the
        // verifier does not know what comes back from the map.
        let path_len = unsafe { read_volatile(&raw const self.record.path_len) };
        if path_len > CGROUP_PATH_BYTES_MAX {
            return number.drop(DropReason::Oversize);
        }
        let len = size_of::<CgroupRecord>() as u32 + path_len;
        number.fill(&mut self.record.header, kind, len);
        number.output((&raw const self.record).cast(), len);
    }
}
