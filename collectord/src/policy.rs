//! Whether the thread that writes interrupts others when it wakes up.
//!
//! A reader puts events into a queue one by one. The thread that writes them is woken by the first, and if it interrupts
//! the reader it finds that one alone, writes it, lies down, and is woken by the second: two switches and four system
//! calls for each event. Under `SCHED_BATCH` (sched(7)) a thread that wakes up waits for its turn, unless a CPU is idle;
//! the reader is done by then, and a build costs the daemon up to a third less. In a flood it would wait too long: there
//! rings ran full that otherwise do not. So it waits only while what it finds is little.
#![allow(unsafe_code, reason = "no crate here sets a policy")]

use std::io::Error;
use std::time::{Duration, Instant};

/// How long no turn has been full before the thread waits.
const CALM: Duration = Duration::from_secs(1);

/// The turns of the thread that writes.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Events in a full turn.
    full: usize,
    last_full: Instant,
    waits: bool,
}

impl Turns {
    pub(crate) fn new(full: usize, now: Instant) -> Self {
        Self { full, last_full: now, waits: false }
    }

    /// Sets the calling thread's policy after a turn of so many events, if that is to be another. A policy that somebody
    /// gave to the daemon is kept.
    pub(crate) fn after(&mut self, events: usize, now: Instant) {
        match self.change(events, now) {
            Some(true) => set(nix::libc::SCHED_OTHER, nix::libc::SCHED_BATCH),
            Some(false) => set(nix::libc::SCHED_BATCH, nix::libc::SCHED_OTHER),
            None => {}
        }
    }

    /// Whether the thread waits for its turn from now on, if it did not or did before.
    fn change(&mut self, events: usize, now: Instant) -> Option<bool> {
        if events >= self.full {
            self.last_full = now;
        }
        let waits = now.duration_since(self.last_full) >= CALM;
        (std::mem::replace(&mut self.waits, waits) != waits).then_some(waits)
    }
}

fn set(from: i32, to: i32) {
    // SAFETY: a pid of 0 is the calling thread.
    if unsafe { nix::libc::sched_getscheduler(0) } != from {
        return;
    }
    let none = nix::libc::sched_param { sched_priority: 0 };
    // SAFETY: as above; the parameter lives on. Neither policy needs a privilege.
    if unsafe { nix::libc::sched_setscheduler(0, to, &raw const none) } != 0 {
        tracing::debug!(error = %Error::last_os_error(), to, "the scheduling policy stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_once_no_turn_was_full_for_a_while() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut turns = Turns::new(8, begin);
        let changes = [(1, 10), (7, 999), (7, 1000), (1, 1500), (8, 1600), (9, 1700), (1, 2600), (1, 2700)]
            .map(|(events, ms)| turns.change(events, at(ms)));
        assert_eq!(changes, [None, None, Some(true), None, Some(false), None, None, Some(true)]);
    }
}
