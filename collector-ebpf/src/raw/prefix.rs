//! The comparison of paths as a function of its own.

use super::scratch::Kept;
use crate::prefix;
use collector_common::OpenRecord;

/// A global function: the verifier walks it once, and not again behind each way through a path walk. Whether the open in
/// the scratch is wanted; `failed` is 0 if it came out well.
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn open_path_is_wanted(failed: u64) -> u64 {
    let Some(scratch) = OpenRecord::scratch() else { return 0 };
    u64::from(prefix::is_wanted(scratch, failed != 0))
}

#[inline(always)]
pub(crate) fn path_is_wanted(failed: bool) -> bool {
    open_path_is_wanted(u64::from(failed)) != 0
}
