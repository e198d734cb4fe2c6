//! Which events are wanted. Runs first; what does not pass gets no number.

use crate::raw::{config, constant, current_comm, current_ids, current_uid};

/// Whether the current task's events are wanted.
#[inline(always)]
pub(crate) fn wanted() -> bool {
    let pid = current_ids().0;
    if pid == constant(&config().self_pid) {
        return false;
    }
    let filters = &config().filters;
    one_of(pid, constant(&filters.pids_len), &filters.pids)
        && (constant(&filters.uids_len) == 0
            || one_of(current_uid(), constant(&filters.uids_len), &filters.uids))
        && (constant(&filters.comms_len) == 0 || comm_wanted())
}

#[inline(always)]
fn one_of(value: u32, len: u32, wanted: &'static [u32]) -> bool {
    if len == 0 {
        return true;
    }
    let mut found = false;
    for (index, candidate) in wanted.iter().enumerate() {
        found |= (index as u32) < len && value == constant(candidate);
    }
    found
}

#[inline(always)]
fn comm_wanted() -> bool {
    let filters = &config().filters;
    let comm = current_comm();
    let len = constant(&filters.comms_len);
    let mut found = false;
    for (index, candidate) in filters.comms.iter().enumerate() {
        let word =
            |at: usize| u64::from(constant(&candidate[at])) | u64::from(constant(&candidate[at + 1])) << 32;
        found |= (index as u32) < len && comm[0] == word(0) && comm[1] == word(2);
    }
    found
}
