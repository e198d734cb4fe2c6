//! `cgroup_mkdir(cgroup, path)`: a cgroup was made, and nothing runs in it yet. No filter applies: whose it will be, the
//! process table asks when something does.

use crate::raw::{CgroupScratch, Number, Portable, Reader as _, constant, now_ns};
use crate::{log, task};
use aya_ebpf::programs::RawTracePointContext;
use collector_common::{DropReason, Hook, RecordKind};

/// By probe reads in both families: it is rare.
#[inline(always)]
pub(crate) fn record(ctx: &RawTracePointContext) -> i32 {
    let cgroup = Portable::at(ctx.arg(0));
    let root = Portable::ptr(cgroup, constant!(offsets.cgroup_root));
    if Portable::u32(root, constant!(offsets.cgroup_root_hierarchy)) != 0 {
        return 0;
    }
    let Some(number) = Number::take(Hook::CgroupMade) else { return 0 };
    let Some(scratch) = CgroupScratch::get() else {
        number.drop(DropReason::NoScratch);
        return 0;
    };
    let directory = Portable::ptr(cgroup, constant!(offsets.cgroup_directory));
    scratch.record.header.ktime_ns = now_ns();
    scratch.record.header.missing = 0;
    task::fill_key::<Portable>(&mut scratch.record.task, Portable::current());
    scratch.record.id = Portable::u64(directory, constant!(offsets.kernfs_node_id));
    scratch.read_path(ctx.arg(1));
    log::emitted!(ctx, "cgroup", scratch.record.id);
    scratch.emit(number, RecordKind::CgroupMade);
    0
}
