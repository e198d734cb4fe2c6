//! Which events are wanted. Runs first; what does not pass gets no number.

use crate::raw::{
    Portable, Reader, ancestor_cgroup_id, canary_child, constant, current_comm, current_uid, entry, filters,
    is_followed,
};
use collector_common::{CANARY_COMM, Offsets, RECORD_OWN};

/// Whether the current task's events are wanted.
#[inline(always)]
pub(crate) fn wanted<R: Reader>() -> bool {
    let pid = R::current_ids().0;
    if pid == constant!(self_pid) {
        return is_canary();
    }
    pid != canary_child() && passes(pid)
}

/// The same for starts and ends of processes, with what marks the records of the one that the canary has started: no
/// filter applies to it.
#[inline(always)]
pub(crate) fn wanted_process<R: Reader>() -> Option<u32> {
    let pid = R::current_ids().0;
    if pid == canary_child() {
        return Some(RECORD_OWN);
    }
    (pid != constant!(self_pid) && passes(pid)).then_some(0)
}

#[inline(always)]
fn passes(pid: u32) -> bool {
    let filters = filters();
    let pid_wanted = if constant!(filters.follow) != 0 {
        is_followed(pid)
    } else {
        one_of(pid, constant!(filters.pids_len), &filters.pids)
    };
    pid_wanted
        && (constant!(filters.uids_len) == 0
            || one_of(current_uid(), constant!(filters.uids_len), &filters.uids))
        && (constant!(filters.comms_len) == 0 || comm_wanted())
        && (constant!(filters.cgroups_len) == 0 || cgroup_wanted())
}

/// Of the collector's own threads, the one whose opens are to come back: no filter applies to it.
#[inline(always)]
fn is_canary() -> bool {
    const WORDS: [u64; 2] = {
        let (words, _) = CANARY_COMM.as_chunks::<8>();
        [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
    };
    current_comm() == WORDS
}

#[inline(always)]
fn one_of(value: u32, len: u32, wanted: &'static [u32]) -> bool {
    if len == 0 {
        return true;
    }
    let mut found = false;
    for (index, candidate) in wanted.iter().enumerate() {
        found |= (index as u32) < len && value == entry(candidate);
    }
    found
}

#[inline(always)]
fn comm_wanted() -> bool {
    let filters = filters();
    let comm = current_comm();
    let len = constant!(filters.comms_len);
    let mut found = false;
    for (index, candidate) in filters.comms.iter().enumerate() {
        let word = |at: usize| u64::from(entry(&candidate[at])) | u64::from(entry(&candidate[at + 1])) << 32;
        found |= (index as u32) < len && comm[0] == word(0) && comm[1] == word(2);
    }
    found
}

/// Whether the current task is in a wanted cgroup or below one.
#[inline(always)]
fn cgroup_wanted() -> bool {
    let filters = filters();
    let len = constant!(filters.cgroups_len);
    let mut found = false;
    for (index, cgroup) in filters.cgroups.iter().enumerate() {
        if (index as u32) < len {
            let id = u64::from(entry(&cgroup.id[0])) | u64::from(entry(&cgroup.id[1])) << 32;
            found |= cgroup_at(entry(&cgroup.level)) == id;
        }
    }
    found
}

/// Id of the current task's cgroup at a level; 0 if it lies higher up. Read from the cgroup, where kernels before 6.1 keep
/// the ids of all above it: the oldest of them lack the helper.
#[inline(always)]
fn cgroup_at(level: u32) -> u64 {
    let ids = constant!(offsets.cgroup_ancestor_ids);
    if ids == Offsets::ABSENT {
        return ancestor_cgroup_id(level);
    }
    let css_set = Portable::ptr(Portable::current(), constant!(offsets.task_cgroups));
    let cgroup = Portable::ptr(css_set, constant!(offsets.css_set_cgroup));
    if level > Portable::u32(cgroup, constant!(offsets.cgroup_level)) {
        return 0;
    }
    Portable::u64(cgroup, ids + level * 8)
}

/// Whether an open with these flags and this result is wanted.
#[inline(always)]
pub(crate) fn open_wanted(flags: u64, result: i64) -> bool {
    /// `O_ACCMODE`, `O_CREAT`, `O_TRUNC` and what `O_TMPFILE` has beside `O_DIRECTORY`.
    const WRITES: u64 = 3 | 0o100 | 0o1000 | 0o20_000_000;
    (constant!(filters.only_failures) == 0 || result < 0)
        && (constant!(filters.only_writes) == 0 || flags & WRITES != 0)
}

/// Whether calls that came out well, or whose outcome is open, are wanted.
#[inline(always)]
pub(crate) fn successes_wanted() -> bool {
    constant!(filters.only_failures) == 0
}
