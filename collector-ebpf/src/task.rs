//! The process and thread at the hook.

use crate::raw::{Direct, Fields, Portable, Reader, Room, constant, probe_u32, probe_u64, span};
use collector_common::{Offsets, Spans, TaskRecord};

/// Deepest nesting of pid namespaces (`MAX_PID_NS_LEVEL`).
const PID_NS_LEVEL_MAX: u32 = 32;
/// Number of the initial pid namespace (`PROC_PID_INIT_INO`).
const PID_NS_INITIAL: u32 = 0xefff_fffc;
/// What the kernel has for a login uid or session that is not set.
const NOT_SET: u32 = u32::MAX;

/// Fills what the process table lives on: which process it is, whose child, and its name.
#[inline(always)]
pub(crate) fn fill_key<R: Reader>(record: &mut TaskRecord, task: R::Ptr) {
    fill_current::<R, _>(record, task, &mut Room::<{ Spans::FAMILY_WORDS }>::new());
}

/// When the task's process began.
#[inline(always)]
pub(crate) fn start<R: Reader>(task: R::Ptr) -> u64 {
    R::u64(R::ptr(task, constant!(offsets.task_group_leader)), constant!(offsets.task_start_boottime))
}

/// The same for a task that is not the current one.
#[inline(always)]
pub(crate) fn fill_key_of_other<R: Reader>(record: &mut TaskRecord, task: R::Ptr) {
    let comm = constant!(offsets.task_comm);
    record.pid = R::u32(task, constant!(offsets.task_tgid));
    record.tid = R::u32(task, constant!(offsets.task_pid));
    record.comm = [R::u64(task, comm), R::u64(task, comm + 8)];
    fill_descent::<R, _>(record, task, &mut Room::<{ Spans::FAMILY_WORDS }>::new());
}

/// Leader and, if that is the task itself, pid.
#[inline(always)]
fn fill_current<R: Reader, const WORDS: usize>(
    record: &mut TaskRecord,
    task: R::Ptr,
    room: &mut Room<WORDS>,
) -> (R::Ptr, R::Ptr) {
    let (pid, tid) = R::current_ids();
    record.pid = pid;
    record.tid = tid;
    record.comm = R::current_comm();
    fill_descent::<R, WORDS>(record, task, room)
}

#[inline(always)]
fn fill_descent<R: Reader, const WORDS: usize>(
    record: &mut TaskRecord,
    task: R::Ptr,
    room: &mut Room<WORDS>,
) -> (R::Ptr, R::Ptr) {
    let own = R::span(task, span!(family), room);
    let leader = own.ptr(constant!(offsets.task_group_leader));
    record.start_ns = R::u64(leader, constant!(offsets.task_start_boottime));
    record.ppid = R::u32(own.ptr(constant!(offsets.task_real_parent)), constant!(offsets.task_tgid));
    (leader, if R::DIRECT { leader } else { own.ptr(constant!(offsets.task_thread_pid)) })
}

/// Whether typed readers serve what the current task points to, though they do not serve all: the kernel types the task
/// in programs of tracepoints, but has no cast (5.15 to 6.1).
#[inline(always)]
pub(crate) fn types_current<R: Reader>() -> bool {
    !R::DIRECT && constant!(task_regs_helper) != 0
}

/// Fills everything but the running file, of the current task in a program of a tracepoint.
#[inline(always)]
pub(crate) fn fill<R: Reader, const WORDS: usize>(record: &mut TaskRecord, room: &mut Room<WORDS>) {
    if types_current::<R>() {
        // On these kernels no number can be added to a typed pointer.
        let address = |_| {
            let leader = Portable::ptr(Portable::current(), constant!(offsets.task_group_leader));
            Portable::ptr(leader, constant!(offsets.task_thread_pid))
        };
        return fill_by::<Direct, WORDS>(record, Direct::current(), room, address);
    }
    fill_anywhere::<R, WORDS>(record, R::current(), room);
}

/// The same in any program.
#[inline(always)]
pub(crate) fn fill_anywhere<R: Reader, const WORDS: usize>(
    record: &mut TaskRecord,
    task: R::Ptr,
    room: &mut Room<WORDS>,
) {
    fill_by::<R, WORDS>(record, task, room, R::address);
}

/// With `address` for that of the process's pid, as a number.
#[inline(always)]
fn fill_by<R: Reader, const WORDS: usize>(
    record: &mut TaskRecord,
    task: R::Ptr,
    room: &mut Room<WORDS>,
    address: impl FnOnce(R::Ptr) -> u64,
) {
    let (leader, pid) = fill_current::<R, WORDS>(record, task, room);
    let own = R::span(task, span!(own), room);
    let cred = own.ptr(constant!(offsets.task_cred));
    record.loginuid = optional(&own, constant!(offsets.task_loginuid));
    record.session = optional(&own, constant!(offsets.task_sessionid));
    let nsproxy = own.ptr(constant!(offsets.task_nsproxy));
    record.cgroup_id = R::current_cgroup_id();
    let cred = R::span(cred, span!(cred), room);
    record.cap_effective = cred.pair(constant!(offsets.cred_cap_effective));
    record.ruid = cred.u32(constant!(offsets.cred_uid));
    record.euid = cred.u32(constant!(offsets.cred_euid));
    record.rgid = cred.u32(constant!(offsets.cred_gid));
    record.egid = cred.u32(constant!(offsets.cred_egid));
    let user_ns = cred.ptr(constant!(offsets.cred_user_ns));
    record.ns_user_inum = R::u32(user_ns, constant!(offsets.user_ns_inum));
    let spaces = R::span(nsproxy, span!(nsproxy), room);
    let (mnt_ns, net_ns) =
        (spaces.ptr(constant!(offsets.nsproxy_mnt_ns)), spaces.ptr(constant!(offsets.nsproxy_net_ns)));
    record.ns_mnt_inum = R::u32(mnt_ns, constant!(offsets.mnt_ns_inum));
    record.ns_net_inum = R::u32(net_ns, constant!(offsets.net_ns_inum));
    let led = R::DIRECT || !R::same(leader, task);
    let pid = if led { R::ptr(leader, constant!(offsets.task_thread_pid)) } else { pid };
    fill_pid_namespace::<R>(record, pid, address);
}

/// The current task's running file as the memory map names it, in a program of a tracepoint; zeros where there is none.
#[inline(always)]
pub(crate) fn fill_exe<R: Reader>(record: &mut TaskRecord) {
    if types_current::<R>() {
        return fill_exe_of_any::<Direct>(record, Direct::current());
    }
    fill_exe_of_any::<R>(record, R::current());
}

/// The same of any task, in any program.
#[inline(always)]
pub(crate) fn fill_exe_of_any<R: Reader>(record: &mut TaskRecord, task: R::Ptr) {
    let mm = R::ptr(task, constant!(offsets.task_mm));
    let file = R::ptr(mm, constant!(offsets.mm_exe_file));
    let inode = R::ptr(file, constant!(offsets.file_inode));
    record.exe_ino = R::u64(inode, constant!(offsets.inode_ino));
    record.exe_dev = R::u32(R::ptr(inode, constant!(offsets.inode_sb)), constant!(offsets.sb_dev));
}

#[inline(always)]
fn optional<P>(task: &impl Fields<P>, offset: u32) -> u32 {
    if offset == Offsets::ABSENT { NOT_SET } else { task.u32(offset) }
}

#[inline(always)]
fn fill_pid_namespace<R: Reader>(record: &mut TaskRecord, pid: R::Ptr, address: impl FnOnce(R::Ptr) -> u64) {
    let level = R::u32(pid, constant!(offsets.pid_level));
    record.pid_ns_level = level;
    let numbers = constant!(offsets.pid_numbers);
    if R::DIRECT && level == 0 {
        record.ns_pid = R::u32(pid, numbers + constant!(offsets.upid_nr));
        let ns = R::ptr(pid, numbers + constant!(offsets.upid_ns));
        record.ns_pid_inum = R::u32(ns, constant!(offsets.pid_ns_inum));
        return;
    }
    if level == 0 && R::address(pid) != 0 {
        // The initial namespace, whose number never changes.
        record.ns_pid = record.pid;
        record.ns_pid_inum = PID_NS_INITIAL;
        return;
    }
    // The last `upid` is the innermost. Which one that is only the run tells, so its address is computed and probed.
    let level = if level > PID_NS_LEVEL_MAX { PID_NS_LEVEL_MAX } else { level };
    let upid = address(pid) + u64::from(numbers) + u64::from(level) * u64::from(constant!(upid_bytes));
    record.ns_pid = probe_u32(upid + u64::from(constant!(offsets.upid_nr)));
    let ns = probe_u64(upid + u64::from(constant!(offsets.upid_ns)));
    record.ns_pid_inum = probe_u32(ns + u64::from(constant!(offsets.pid_ns_inum)));
}
