//! The daemon's share of a machine that has too little time for all.

use crate::failure::Failure;
use anyhow::anyhow;
use rustix::io::Errno;
use rustix::process::{getpriority_process, setpriority_process};

/// The nice value of a daemon to which nobody gave one. A load that fills every CPU leaves each of the daemon's threads
/// less than it needs, and rings run full; with two and a half times a usual thread's weight none did. It is auditd's, too.
const NICE_DEFAULT: i32 = -4;

/// Sets the nice value of the calling thread, which threads that it starts inherit. If none is asked for, that which
/// somebody gave to the daemon is kept.
///
/// # Errors
/// The one that is asked for is refused.
pub(crate) fn set(asked: Option<i8>) -> Result<(), Failure> {
    let Some(nice) = asked else {
        match getpriority_process(None) {
            Ok(0) => {}
            found => {
                tracing::debug!(?found, "the nice value is somebody else's");
                return Ok(());
            }
        }
        if let Err(error) = setpriority_process(None, NICE_DEFAULT) {
            tracing::debug!(%error, nice = NICE_DEFAULT, "the nice value stays as it is");
        }
        return Ok(());
    };
    setpriority_process(None, nice.into()).map_err(|error| {
        let told =
            anyhow!("--nice {nice}: {error}; a lower value than now needs CAP_SYS_NICE or RLIMIT_NICE");
        match error {
            Errno::ACCESS | Errno::PERM => Failure::no_permission(told),
            _ => Failure::runtime(told),
        }
    })
}
