//! Processes that are followed with their descendants.

use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use collector_common::FOLLOWED_MAX;

/// Process ids. Userspace puts in the first ones, fork and exit keep it up; the loader makes it small where nobody is
/// followed.
#[map]
static FOLLOWED: HashMap<u32, u32> = HashMap::with_max_entries(FOLLOWED_MAX, 0);

#[inline(always)]
pub(crate) fn is_followed(pid: u32) -> bool {
    FOLLOWED.get_ptr(&pid).is_some()
}

/// Follows a process; false if there is no room.
#[inline(always)]
pub(crate) fn follow(pid: u32) -> bool {
    FOLLOWED.insert(&pid, &1, 0).is_ok()
}

#[inline(always)]
pub(crate) fn unfollow(pid: u32) {
    let _ = FOLLOWED.remove(&pid);
}
