//! Memory that was needed to load and is not needed to run.
#![allow(unsafe_code)]

/// Keeps this process's memory in small pages. Where huge ones are on for all, the kernel soon makes them out of what was
/// given back, all but empty: 12 MiB of a daemon's 43.
pub(crate) fn stay_small() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "huge pages cannot be switched off");
    }
}

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
