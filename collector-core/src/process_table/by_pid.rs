//! A map by pid, asked for every event.

use super::Entry;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// The entries of each pid.
pub(super) type ByPid = HashMap<u32, Vec<Entry>, BuildHasherDefault<PidHasher>>;

/// A multiplication. The standard hasher costs several times as much and is there against keys that were chosen to
/// collide; pids are the kernel's to choose. It gives them out one after the other and has at most 2^22 of them
/// (`PID_MAX_LIMIT`), so of a full table's buckets (2^17, by the low bits) none can be met by more than 32 pids.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PidHasher(u64);

/// 2^64 divided by the golden ratio, odd: pids that differ in their low bits stay apart in the hash's, and the map's
/// tags come from its upper bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for PidHasher {
    fn write_u32(&mut self, pid: u32) {
        self.0 = u64::from(pid).wrapping_mul(SPREAD);
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not used for a u32; a hasher must have it.
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(SPREAD);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::hash::Hash;

    const PID_MAX_LIMIT: u32 = 1 << 22;
    const BUCKETS: u64 = 1 << 17;

    #[test]
    fn no_choice_of_pids_puts_more_than_32_into_a_bucket() {
        let mut buckets: HashMap<u64, u32> = HashMap::new();
        for pid in 0..PID_MAX_LIMIT {
            let mut hasher = PidHasher::default();
            pid.hash(&mut hasher);
            *buckets.entry(hasher.finish() % BUCKETS).or_default() += 1;
        }
        assert_eq!(buckets.values().max(), Some(&32));
    }
}
