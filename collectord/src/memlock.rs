//! Kernels before 5.11 charge maps to the locked-memory limit, whose default is too small.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// Lifts the limit as far as this process may. A kernel that needs more says so when the maps are made.
pub fn raise() {
    if setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok() {
        return;
    }
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK) else { return };
    if soft < hard && setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard).is_ok() {
        tracing::debug!(bytes = hard, "locked-memory limit raised to its hard limit");
    }
    tracing::debug!(
        soft,
        hard,
        "locked-memory limit cannot be lifted; it counts on kernels before 5.11 only"
    );
}
