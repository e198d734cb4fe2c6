//! The clocks that kernel events and people use.

use nix::time::{ClockId, clock_gettime};

/// `CLOCK_BOOTTIME`, ns: the clock of the kernel programs.
pub(crate) fn boot_ns() -> u64 {
    read(ClockId::CLOCK_BOOTTIME)
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
