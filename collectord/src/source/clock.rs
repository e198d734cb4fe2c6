//! The clocks that kernel events and people use.

use nix::time::{ClockId, clock_gettime};
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

/// Inode of the initial time namespace (`PROC_TIME_INIT_INO`).
const INITIAL_TIME_NS_INODE: u64 = 0xEFFF_FFFA;

/// The kernel programs' `CLOCK_BOOTTIME`, ns.
pub(crate) fn boot_ns() -> u64 {
    kernels_ns(read(ClockId::CLOCK_BOOTTIME))
}

/// The kernel programs' time of what this process is told as `CLOCK_BOOTTIME`. In a time namespace, that is another.
pub(crate) fn kernels_ns(own_ns: u64) -> u64 {
    static ADDED_NS: OnceLock<i64> = OnceLock::new();
    own_ns.saturating_add_signed(ADDED_NS.get_or_init(added_ns).saturating_neg())
}

/// Wall clock minus `CLOCK_BOOTTIME`, ns. The wall clock is read between two readings of the other, and of some tries
/// the one with the least time between them counts.
pub(crate) fn wall_offset_ns() -> u64 {
    const TRIES: usize = 5;
    let sample = |_| {
        let before = boot_ns();
        let wall = read(ClockId::CLOCK_REALTIME);
        let after = boot_ns();
        (after - before, wall.saturating_sub(before + (after - before) / 2))
    };
    (0..TRIES).map(sample).min().map_or(0, |(_, offset)| offset)
}

fn read(clock: ClockId) -> u64 {
    // Both clocks exist on every kernel that has ring buffers.
    let time = clock_gettime(clock).expect("CLOCK_BOOTTIME and CLOCK_REALTIME can be read");
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
}

/// What this process's time namespace adds to `CLOCK_BOOTTIME`. A process never leaves its own.
fn added_ns() -> i64 {
    let inode = |name| std::fs::metadata(format!("/proc/self/ns/{name}")).map(|file| file.ino()).ok();
    let own = inode("time");
    // Without time namespaces there is none to be in.
    if own.is_none() || own == Some(INITIAL_TIME_NS_INODE) {
        return 0;
    }
    // The file is about the namespace that its children will be in.
    if own != inode("time_for_children") {
        tracing::warn!("this process's children are in another time namespace: times may be wrong");
        return 0;
    }
    let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    added_to_boottime(&offsets).unwrap_or_else(|| {
        tracing::warn!(offsets, "the offsets of the time namespace cannot be read: times are wrong");
        0
    })
}

/// Of lines such as `boottime  -100  0`: seconds and nanoseconds.
fn added_to_boottime(offsets: &str) -> Option<i64> {
    let mut fields = offsets.lines().find_map(|line| line.strip_prefix("boottime"))?.split_whitespace();
    let (seconds, nanos): (i64, i64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn a_time_namespaces_offset_is_understood() {
        let of =
            |boottime: &str| added_to_boottime(&format!("monotonic           7          8\n{boottime}\n"));
        assert_eq!(of("boottime         1000000          5"), Some(1_000_000_000_000_005));
        assert_eq!(of("boottime              -1  900000000"), Some(-100_000_000));
        assert_eq!(of("boottime"), None);
        assert_eq!(of("boottime 9223372036854775807 0"), None);
        assert_eq!(added_to_boottime(""), None);
    }

    #[test]
    fn the_kernels_time_and_the_offset_are_the_wall_clocks() {
        let wall = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        // Somebody may set the wall clock.
        let is_between = |_| {
            let before = wall().as_nanos();
            let told = u128::from(boot_ns() + wall_offset_ns());
            (before..=wall().as_nanos()).contains(&told)
        };
        assert!((0..10).any(is_between));
    }
}
