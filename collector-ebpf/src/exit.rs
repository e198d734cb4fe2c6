//! `sched_process_exit(task[, group_dead])`: fires for every thread; a process ends once, with its last one.

use crate::raw::{Number, Reader, Room, constant, first_exit, now_ns, set_canary_child, unfollow};
use crate::{filter, log, task};
use aya_ebpf::programs::RawTracePointContext;
use collector_common::{ExitRecord, Hook, RecordKind, Spans};

/// `SIGNAL_GROUP_EXIT`: the process ended as a whole, and `group_exit_code` says how.
const SIGNAL_GROUP_EXIT: u32 = 4;

#[inline(always)]
pub(crate) fn record<R: Reader>(ctx: &RawTracePointContext) -> i32 {
    let task = R::current();
    let signal = R::ptr(task, constant!(offsets.task_signal));
    let told = constant!(exit_tells_group_dead) != 0;
    let last = if told {
        ctx.arg::<u64>(1) & 0xff != 0
    } else {
        R::u32(signal, constant!(offsets.signal_live)) == 0
    };
    if !last {
        return 0;
    }
    let Some(own) = filter::wanted_process::<R>() else { return 0 };
    if own != 0 {
        set_canary_child(0);
    }
    if constant!(filters.follow) != 0 {
        unfollow(R::current_ids().0);
    }
    // Threads that end at once can each find themselves the last, where the tracepoint does not say; one of them tells.
    // How many threads are left decides nothing: the others may be gone by now.
    if !told && !first_exit(R::current_ids().0, task::start::<R>(task)) {
        return 0;
    }
    let Some(number) = Number::take(Hook::Exit) else { return 0 };
    let Some(room) = number.reserve::<ExitRecord>() else { return 0 };
    let record = &mut *room.record;
    record.header.ktime_ns = now_ns();
    record.header.missing = own;
    task::fill::<R, _>(&mut record.task, &mut Room::<{ Spans::CRED_WORDS }>::new());
    task::fill_exe::<R>(&mut record.task);
    // What the parent's wait gives: the process's code if it ended as a whole, else its first thread's.
    record.status = if R::u32(signal, constant!(offsets.signal_flags)) & SIGNAL_GROUP_EXIT != 0 {
        R::u32(signal, constant!(offsets.signal_group_exit_code))
    } else {
        R::u32(R::ptr(task, constant!(offsets.task_group_leader)), constant!(offsets.task_exit_code))
    };
    room.number.fill(&mut record.header, RecordKind::Exit, size_of::<ExitRecord>() as u32);
    log::emitted!(ctx, "exit", record.header.seq);
    room.submit();
    0
}
