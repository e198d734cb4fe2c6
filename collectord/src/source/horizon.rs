//! How far the process class's reader has come. What a process opens or connects to is told after the exec of the program
//! that does it, since the process table is asked what that program is: so the other classes' readers hand on what they
//! have read only as far as the process class has handed on what happened before.

use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for the process class's reader. It looks at once when it is asked; where its queue is full, what it has
/// read waits there, and the others read on meanwhile.
const WAIT_MAX: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct State {
    /// All that happened up to this time is handed on.
    reached_ns: u64,
    /// Somebody wants it to be later.
    asked: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Horizon {
    state: Mutex<State>,
    moved: Condvar,
    ask: EventFd,
}

impl Horizon {
    /// One that keeps nobody waiting, as long as nobody leads.
    pub(crate) fn new() -> nix::Result<Self> {
        let ask = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let state = Mutex::new(State { reached_ns: u64::MAX, asked: false });
        Ok(Self { state, moved: Condvar::new(), ask })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the others wait for the caller, until it drops what this gives.
    pub(crate) fn lead(&self) -> Lead<'_> {
        self.state().reached_ns = 0;
        Lead(self)
    }

    /// Says that all that happened up to this time is handed on.
    pub(crate) fn reach(&self, ktime_ns: u64) {
        self.state().reached_ns = ktime_ns;
        self.moved.notify_all();
    }

    /// Whether somebody has asked since this was called last.
    pub(crate) fn take_asked(&self) -> bool {
        let asked = std::mem::take(&mut self.state().asked);
        if asked {
            // It holds something, and nobody else reads it.
            let _ = self.ask.read();
        }
        asked
    }

    /// Readable while somebody asks.
    pub(crate) fn asking(&self) -> BorrowedFd<'_> {
        self.ask.as_fd()
    }

    pub(crate) fn reached_ns(&self) -> u64 {
        self.state().reached_ns
    }

    /// Asks whoever leads to look at once.
    pub(crate) fn ask(&self) {
        self.ask_in(&mut self.state());
    }

    fn ask_in(&self, state: &mut State) {
        if !std::mem::replace(&mut state.asked, true)
            && let Err(error) = self.ask.write(1)
        {
            tracing::warn!(%error, "failed to wake the reader of processes; it looks for itself soon");
        }
    }

    /// Waits until it has come so far, but not for ever.
    pub(crate) fn wait(&self, ktime_ns: u64) {
        let deadline = Instant::now() + WAIT_MAX;
        let mut state = self.state();
        while state.reached_ns < ktime_ns
            && let Some(left) = deadline.checked_duration_since(Instant::now())
        {
            // Each time: what it reached last may be too old.
            self.ask_in(&mut state);
            state = self.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Held by who leads.
#[derive(Debug)]
pub(crate) struct Lead<'a>(&'a Horizon);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.0.reach(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::sync::atomic::{AtomicBool, Ordering};

    fn is_asking(horizon: &Horizon) -> bool {
        poll(&mut [PollFd::new(horizon.asking(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(1)
    }

    #[test]
    fn nobody_waits_where_nobody_leads() {
        let horizon = Horizon::new().unwrap();
        horizon.wait(u64::MAX);
        assert_eq!(horizon.reached_ns(), u64::MAX);
        drop(horizon.lead());
        horizon.wait(u64::MAX);
        assert!(!is_asking(&horizon));
    }

    #[test]
    fn who_waits_asks_until_it_is_far_enough() {
        let horizon = Horizon::new().unwrap();
        let far_enough = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let lead = horizon.lead();
            let follower = scope.spawn(|| {
                horizon.wait(20);
                assert!(far_enough.load(Ordering::SeqCst));
            });
            for reached_ns in [10, 20] {
                while !horizon.take_asked() {
                    std::thread::yield_now();
                }
                assert!(!is_asking(&horizon));
                far_enough.store(reached_ns == 20, Ordering::SeqCst);
                horizon.reach(reached_ns);
            }
            follower.join().unwrap();
            drop(lead);
        });
    }

    #[test]
    fn the_end_of_who_leads_ends_the_wait() {
        let horizon = Horizon::new().unwrap();
        std::thread::scope(|scope| {
            let lead = horizon.lead();
            let follower = scope.spawn(|| horizon.wait(20));
            while !is_asking(&horizon) {
                std::thread::yield_now();
            }
            drop(lead);
            follower.join().unwrap();
        });
        assert_eq!(horizon.reached_ns(), u64::MAX);
    }

    #[test]
    fn a_wait_for_who_does_not_answer_has_an_end() {
        let horizon = Horizon::new().unwrap();
        let _lead = horizon.lead();
        let begun = Instant::now();
        horizon.wait(1);
        assert!(begun.elapsed() >= WAIT_MAX);
    }
}
