//! `iter/task`: the kernel runs it once for each task while userspace reads the iterator's descriptor. Tells each process
//! once, for the process table.

use crate::raw::{Iteration, Kept, Reader, Scratch, constant};
use crate::{path, task};
use collector_common::{PathLen, RunningRecord};

/// `PF_KTHREAD`: what such a task has in its memory map was lent to it.
const KERNEL_THREAD: u32 = 0x0020_0000;

#[inline(always)]
pub(crate) fn record<R: Reader>(iteration: Iteration) -> i32 {
    let Some(task) = iteration.task::<R>() else { return 0 };
    let pid = R::u32(task, constant!(offsets.task_pid));
    let live = R::u32(R::ptr(task, constant!(offsets.task_signal)), constant!(offsets.signal_live));
    // A process whose last thread has begun to exit has told its exit, or nobody will.
    if pid != R::u32(task, constant!(offsets.task_tgid)) || live == 0 {
        return 0;
    }
    let Some(scratch) = RunningRecord::scratch() else { return 0 };
    task::fill_key_of_other::<R>(&mut scratch.record.task, task);
    forget_file(scratch);
    let mm = R::ptr(task, constant!(offsets.task_mm));
    let file = R::ptr(mm, constant!(offsets.mm_exe_file));
    let kernel_thread = R::u32(task, constant!(offsets.task_flags)) & KERNEL_THREAD != 0;
    if R::address(file) != 0 && !kernel_thread {
        task::fill_exe_of_any::<R>(&mut scratch.record.task, task);
        let mnt = R::ptr(file, constant!(offsets.file_mnt));
        let dentry = R::ptr(file, constant!(offsets.file_dentry));
        scratch.record.path = path::append::<R, _>(scratch, mnt, dentry);
        // Nothing holds the file but the task. If the task still has it, so it was all the while.
        let mm_after = R::ptr(task, constant!(offsets.task_mm));
        if !R::same(mm, mm_after) || !R::same(file, R::ptr(mm_after, constant!(offsets.mm_exe_file))) {
            forget_file(scratch);
        }
    }
    scratch.write(iteration);
    0
}

#[inline(always)]
fn forget_file(scratch: &mut Scratch<RunningRecord>) {
    scratch.clear_text();
    scratch.record.task.exe_ino = 0;
    scratch.record.task.exe_dev = 0;
    scratch.record.path = PathLen { len: 0, total: 0, flags: 0 };
}
