//! Native system calls of which the C library makes others, for whoever wants an event of the call itself: the doctor's
//! helper and the canary.
#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
#[cfg(target_arch = "x86_64")]
use std::ffi::CStr;

fn outcome(returned: i64) -> Result<(), Errno> {
    Errno::result(returned).map(drop)
}

/// `open`, without making the file.
#[cfg(target_arch = "x86_64")]
pub(crate) fn open(path: &CStr, flags: OFlag) -> Result<(), Errno> {
    // SAFETY: the call reads the name to its NUL and touches no other memory.
    outcome(unsafe { libc::syscall(libc::SYS_open, path.as_ptr(), flags.bits()) })
}

/// `creat`, for a file that only its owner may use.
#[cfg(target_arch = "x86_64")]
pub(crate) fn creat(path: &CStr) -> Result<(), Errno> {
    // SAFETY: as above.
    outcome(unsafe { libc::syscall(libc::SYS_creat, path.as_ptr(), 0o600) })
}

/// `open_by_handle_at` with an empty handle. Fails in any case: without the capability, or for the handle.
pub(crate) fn open_by_handle(flags: OFlag) -> Result<(), Errno> {
    let empty = [0u32; 2];
    // SAFETY: the kernel reads the eight bytes of an empty handle, if anything.
    outcome(unsafe { libc::syscall(libc::SYS_open_by_handle_at, -1, empty.as_ptr(), flags.bits()) })
}
