//! Memory that was needed to load and is not needed to run.
#![allow(unsafe_code)]

/// Gives freed memory back to the kernel. The allocator keeps what was freed below the last block in use: after the
/// load that was 12.7 MB of the daemon's 23.5 MB.
#[cfg(target_env = "gnu")]
pub(crate) fn trim() {
    // SAFETY: the function takes the allocator's own locks and only releases pages that hold no block in use.
    let released = unsafe { nix::libc::malloc_trim(0) };
    tracing::debug!(released = released != 0, "trimmed the heap");
}

/// Other allocators decide for themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn trim() {}
