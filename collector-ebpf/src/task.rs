//! The process and thread at the hook.

use crate::raw::{Reader, constant, probe_u32, probe_u64};
use collector_common::{Offsets, TaskRecord};

/// Deepest nesting of pid namespaces (`MAX_PID_NS_LEVEL`).
const PID_NS_LEVEL_MAX: u32 = 32;
/// What the kernel has for a login uid or session that is not set.
const NOT_SET: u32 = u32::MAX;

/// Fills what the process table lives on: which process it is, whose child, and its name.
#[inline(always)]
pub(crate) fn fill_key<R: Reader>(record: &mut TaskRecord, task: R::Ptr) {
    let (pid, tid) = R::current_ids();
    record.pid = pid;
    record.tid = tid;
    record.comm = R::current_comm();
    fill_descent::<R>(record, task);
}

/// The same for a task that is not the current one.
#[inline(always)]
pub(crate) fn fill_key_of_other<R: Reader>(record: &mut TaskRecord, task: R::Ptr) {
    let comm = constant!(offsets.task_comm);
    record.pid = R::u32(task, constant!(offsets.task_tgid));
    record.tid = R::u32(task, constant!(offsets.task_pid));
    record.comm = [R::u64(task, comm), R::u64(task, comm + 8)];
    fill_descent::<R>(record, task);
}

#[inline(always)]
fn fill_descent<R: Reader>(record: &mut TaskRecord, task: R::Ptr) {
    let leader = R::ptr(task, constant!(offsets.task_group_leader));
    record.start_ns = R::u64(leader, constant!(offsets.task_start_boottime));
    record.ppid = R::u32(R::ptr(task, constant!(offsets.task_real_parent)), constant!(offsets.task_tgid));
}

/// Fills everything but the running file.
#[inline(always)]
pub(crate) fn fill<R: Reader>(record: &mut TaskRecord, task: R::Ptr) {
    fill_key::<R>(record, task);
    let leader = R::ptr(task, constant!(offsets.task_group_leader));
    let cred = R::ptr(task, constant!(offsets.task_cred));
    record.cgroup_id = R::current_cgroup_id();
    record.cap_effective = R::u64(cred, constant!(offsets.cred_cap_effective));
    record.ruid = R::u32(cred, constant!(offsets.cred_uid));
    record.euid = R::u32(cred, constant!(offsets.cred_euid));
    record.rgid = R::u32(cred, constant!(offsets.cred_gid));
    record.egid = R::u32(cred, constant!(offsets.cred_egid));
    record.loginuid = optional::<R>(task, constant!(offsets.task_loginuid));
    record.session = optional::<R>(task, constant!(offsets.task_sessionid));
    let user_ns = R::ptr(cred, constant!(offsets.cred_user_ns));
    record.ns_user_inum = R::u32(user_ns, constant!(offsets.user_ns_inum));
    let nsproxy = R::ptr(task, constant!(offsets.task_nsproxy));
    let mnt_ns = R::ptr(nsproxy, constant!(offsets.nsproxy_mnt_ns));
    record.ns_mnt_inum = R::u32(mnt_ns, constant!(offsets.mnt_ns_inum));
    let net_ns = R::ptr(nsproxy, constant!(offsets.nsproxy_net_ns));
    record.ns_net_inum = R::u32(net_ns, constant!(offsets.net_ns_inum));
    fill_pid_namespace::<R>(record, leader);
}

/// The running file as the memory map names it; zeros where there is none.
#[inline(always)]
pub(crate) fn fill_exe<R: Reader>(record: &mut TaskRecord, task: R::Ptr) {
    let mm = R::ptr(task, constant!(offsets.task_mm));
    let file = R::ptr(mm, constant!(offsets.mm_exe_file));
    let inode = R::ptr(file, constant!(offsets.file_inode));
    record.exe_ino = R::u64(inode, constant!(offsets.inode_ino));
    record.exe_dev = R::u32(R::ptr(inode, constant!(offsets.inode_sb)), constant!(offsets.sb_dev));
}

#[inline(always)]
fn optional<R: Reader>(task: R::Ptr, offset: u32) -> u32 {
    if offset == Offsets::ABSENT { NOT_SET } else { R::u32(task, offset) }
}

#[inline(always)]
fn fill_pid_namespace<R: Reader>(record: &mut TaskRecord, leader: R::Ptr) {
    let pid = R::ptr(leader, constant!(offsets.task_thread_pid));
    let level = R::u32(pid, constant!(offsets.pid_level));
    record.pid_ns_level = level;
    let numbers = constant!(offsets.pid_numbers);
    if R::DIRECT && level == 0 {
        record.ns_pid = R::u32(pid, numbers + constant!(offsets.upid_nr));
        let ns = R::ptr(pid, numbers + constant!(offsets.upid_ns));
        record.ns_pid_inum = R::u32(ns, constant!(offsets.pid_ns_inum));
        return;
    }
    // The last `upid` is the innermost. Which one that is only the run tells, so its address is computed and probed.
    let level = if level > PID_NS_LEVEL_MAX { PID_NS_LEVEL_MAX } else { level };
    let upid = R::address(pid) + u64::from(numbers) + u64::from(level) * u64::from(constant!(upid_bytes));
    record.ns_pid = probe_u32(upid + u64::from(constant!(offsets.upid_nr)));
    let ns = probe_u64(upid + u64::from(constant!(offsets.upid_ns)));
    record.ns_pid_inum = probe_u32(ns + u64::from(constant!(offsets.pid_ns_inum)));
}
