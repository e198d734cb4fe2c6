//! Whether an open's path lies at or below a wanted one.

use crate::path;
use crate::raw::{Opened, Reader, Scratch, constant, entry, filters};
use collector_common::{PATH_RACED, PREFIX_BYTES_MAX, PREFIXES_MAX, PathPrefix};

/// Whether an open's path may begin as a wanted one does: the first look, before anything else is read. The path whose
/// begin the scratch names.
#[inline(always)]
pub(crate) fn may_begin<R: Reader, K: Opened>(scratch: &mut Scratch<K>) -> bool {
    !path::begins::<R, K>(scratch, begins_no_prefix)
}

#[inline(always)]
fn begins_no_prefix(bytes: u64) -> bool {
    let filters = filters();
    let len = constant!(filters.prefixes_len);
    let mut found = false;
    for (index, prefix) in filters.prefixes.iter().enumerate() {
        let both = |words: &'static [u32; 2]| u64::from(entry(&words[0])) | u64::from(entry(&words[1])) << 32;
        found |= (index as u32) < len && (bytes ^ both(&prefix.first)) & both(&prefix.first_mask) == 0;
    }
    !found
}

/// An open that came out well is judged by its file's path, a failed one by the name it asked for. A name that is not
/// absolute, or could not be read, could mean anything and is wanted; so is a file whose path was renamed whenever it was looked at.
#[inline(always)]
pub(crate) fn is_wanted<K: Opened>(scratch: &Scratch<K>, failed: bool) -> bool {
    let filters = filters();
    let len = constant!(filters.prefixes_len);
    let mut wanted = scratch.record.path.flags == PATH_RACED;
    for index in 0..PREFIXES_MAX as u64 {
        if (index as u32) < len && !wanted {
            let prefix = &filters.prefixes[index as usize];
            wanted = if failed { begins_below(scratch, prefix) } else { ends_below(scratch, prefix) };
        }
    }
    wanted
}

/// The path is leaf first, so that what it lies below is its end.
#[inline(always)]
fn ends_below<K: Opened>(scratch: &Scratch<K>, prefix: &'static PathPrefix) -> bool {
    let len = entry(&prefix.len);
    let path = scratch.record.path.len;
    if path < len {
        return false;
    }
    let at = path - len;
    // A whole name: what stands before it ends with a NUL.
    (at == 0 || scratch.text_byte(at - 1) == 0) && is_at(scratch, at, &prefix.walked, len)
}

#[inline(always)]
fn begins_below<K: Opened>(scratch: &Scratch<K>, prefix: &'static PathPrefix) -> bool {
    let start = scratch.record.path.len;
    // Where no name could be read, the text is that of an earlier open.
    if scratch.record.requested_len == 0 || scratch.text_byte(start) != b'/' {
        return true;
    }
    let len = entry(&prefix.len);
    let behind = scratch.text_byte(start + len);
    (behind == b'/' || behind == 0) && is_at(scratch, start, &prefix.written, len)
}

#[inline(always)]
fn is_at<K: Opened>(
    scratch: &Scratch<K>,
    at: u32,
    wanted: &'static [u32; PREFIX_BYTES_MAX / 4],
    len: u32,
) -> bool {
    let mut differs = 0;
    // Counted, not iterated: the verifier does not know when one pointer has come up to another.
    for index in 0..(PREFIX_BYTES_MAX / 4) as u64 {
        let offset = index as u32 * 4;
        if offset >= len {
            break;
        }
        let left = len - offset;
        let mask = if left >= 4 { u32::MAX } else { (1 << (left * 8)) - 1 };
        differs |= (scratch.text_word(at + offset) ^ entry(&wanted[index as usize])) & mask;
    }
    differs == 0
}
