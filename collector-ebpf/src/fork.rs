//! `sched_process_fork(parent, child)`: a task was created and has not run yet.

use crate::raw::{Number, Reader, Room, constant, follow, is_followed, is_quiet, now_ns, set_canary_child};
use crate::{filter, log, task};
use aya_ebpf::programs::RawTracePointContext;
use collector_common::{DropReason, FORK_THREAD, ForkRecord, Hook, RecordKind, Spans};

#[inline(always)]
pub(crate) fn record<R: Reader>(ctx: &RawTracePointContext) -> i32 {
    let child = R::object(ctx.arg(1), constant!(types.task));
    let child_pid = R::u32(child, constant!(offsets.task_tgid));
    let parent_pid = R::current_ids().0;
    let thread = child_pid == parent_pid;
    if constant!(filters.follow) != 0
        && !thread
        && is_followed(parent_pid)
        && !follow(child_pid)
        && let Some(number) = Number::take(Hook::Fork)
    {
        // Its events will be missing: that is told as a loss.
        number.drop(DropReason::MapFull);
    }
    if (thread && constant!(fork_threads) == 0) || !filter::wanted::<R>() {
        return 0;
    }
    if !thread && parent_pid == constant!(self_pid) {
        set_canary_child(child_pid);
    }
    let Some(number) = Number::take(Hook::Fork) else { return 0 };
    let Some(room) = number.reserve::<ForkRecord>() else { return 0 };
    let record = &mut *room.record;
    let task = R::current();
    record.header.ktime_ns = now_ns();
    if is_quiet(Hook::Fork) {
        // Read for the process table only. The rest lies in a dozen cache lines that nothing else needs now.
        task::fill_key::<R>(&mut record.task, task);
    } else {
        task::fill::<R, _>(&mut record.task, &mut Room::<{ Spans::CRED_WORDS }>::new());
        task::fill_exe::<R>(&mut record.task);
    }
    record.child_pid = child_pid;
    record.child_tid = R::u32(child, constant!(offsets.task_pid));
    record.child_start_ns = R::u64(child, constant!(offsets.task_start_boottime));
    record.flags = if thread { FORK_THREAD } else { 0 };
    room.number.fill(&mut record.header, RecordKind::Fork, size_of::<ForkRecord>() as u32);
    log::emitted!(ctx, "fork", record.header.seq);
    room.submit();
    0
}
