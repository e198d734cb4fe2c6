//! How many CPUs there are.

use super::object::LoadError;

/// CPUs that the machine can have: each has a slot in every per-CPU map.
pub(super) fn possible_cpus() -> Result<usize, LoadError> {
    aya::util::nr_cpus()
        .map_err(|(path, error)| LoadError::Unsupported(format!("failed to read {path}: {error}")))
}

/// CPUs that run.
pub(super) fn online_cpus() -> Result<usize, LoadError> {
    let online = aya::util::online_cpus();
    online
        .map(|cpus| cpus.len())
        .map_err(|(path, error)| LoadError::Unsupported(format!("failed to read {path}: {error}")))
}
