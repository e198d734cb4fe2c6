//! How far the process class's reader has come. What a process opens or connects to is told after the exec of the program
//! that does it, since the process table is asked what that program is: so the other classes' readers hand on what they
//! have read only as far as the process class has handed on what happened before.

use super::clock::boot_ns;
use super::drain::ReaderCounters;
use crate::kernel::mapped::Slots;
use collector_common::Hook;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for the process class's reader. It looks at once when it is asked; where its queue is full, what it has
/// read waits there, and the others read on meanwhile.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// What happened in the process class, and what became of it.
#[derive(Debug)]
pub(crate) struct Processes {
    pub(crate) slots: Arc<Slots>,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) counters: Arc<ReaderCounters>,
}

impl Processes {
    /// Whether all that has a number is handed on, or lost.
    fn are_handed_on(&self) -> bool {
        // Before the numbers: what is numbered later makes them more.
        let sent = self.counters.sent.load(Ordering::Acquire);
        let ended = sent + self.counters.malformed.load(Ordering::Acquire);
        let in_stream = |cpu, hook: &Hook| {
            let (generated, dropped) = self.slots.read(cpu, *hook as usize);
            generated - dropped.iter().sum::<u64>()
        };
        let of_cpu = |cpu| self.hooks.iter().map(|hook| in_stream(cpu, hook)).sum::<u64>();
        (0..self.slots.cpus()).map(of_cpu).sum::<u64>() == ended
    }
}

#[derive(Debug)]
struct State {
    /// All that happened up to this time is handed on.
    reached_ns: u64,
    /// Somebody wants it to be later.
    asked: bool,
    /// How many wait for that.
    waiting: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Horizon {
    state: Mutex<State>,
    moved: Condvar,
    ask: EventFd,
    processes: Processes,
}

impl Horizon {
    /// One that keeps nobody waiting, as long as nobody leads.
    pub(crate) fn new(processes: Processes) -> nix::Result<Self> {
        let ask = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let state = Mutex::new(State { reached_ns: u64::MAX, asked: false, waiting: 0 });
        Ok(Self { state, moved: Condvar::new(), ask, processes })
    }

    pub(crate) fn processes(&self) -> &Processes {
        &self.processes
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
        let mut state = self.state();
        // A full turn ends at its last record, which can be older than the turn before.
        state.reached_ns = state.reached_ns.max(ktime_ns);
        let waiting = state.waiting;
        drop(state);
        // It is a system call also where nobody waits.
        if waiting > 0 {
            self.moved.notify_all();
        }
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

    /// Up to when all is handed on. Looks closer if that is not as late as wanted.
    pub(crate) fn reached_ns(&self, wanted_ns: u64) -> u64 {
        let reached_ns = self.state().reached_ns;
        if reached_ns >= wanted_ns {
            return reached_ns;
        }
        // Where no process starts or ends, nobody need be asked.
        let now_ns = boot_ns();
        if self.processes.are_handed_on() { now_ns } else { reached_ns }
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
        state.waiting += 1;
        while state.reached_ns < ktime_ns
            && let Some(left) = deadline.checked_duration_since(Instant::now())
        {
            // Each time: what it reached last may be too old.
            self.ask_in(&mut state);
            state = self.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting -= 1;
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
    use super::super::drain::tests::{CPUS, Counters};
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::sync::atomic::AtomicBool;

    /// Of processes of which one start is not handed on yet.
    fn behind() -> (Horizon, Counters) {
        let numbers = Counters::new();
        numbers.set(0, Hook::Exec, 1, 0);
        let (hooks, counters) = (vec![Hook::Exec, Hook::Fork], Arc::default());
        let horizon = Horizon::new(Processes { slots: Arc::new(numbers.slots()), hooks, counters }).unwrap();
        (horizon, numbers)
    }

    fn is_asking(horizon: &Horizon) -> bool {
        poll(&mut [PollFd::new(horizon.asking(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(1)
    }

    #[test]
    fn nobody_waits_where_nobody_leads() {
        let (horizon, _numbers) = behind();
        horizon.wait(u64::MAX);
        assert_eq!(horizon.reached_ns(1), u64::MAX);
        drop(horizon.lead());
        horizon.wait(u64::MAX);
        assert!(!is_asking(&horizon));
    }

    #[test]
    fn nobody_waits_where_all_that_has_a_number_is_handed_on_or_lost() {
        let (horizon, numbers) = behind();
        let _lead = horizon.lead();
        horizon.reach(5);
        let is_behind = |wanted_ns| horizon.reached_ns(wanted_ns) == 5;
        assert!(is_behind(5) && is_behind(6));
        horizon.processes.counters.sent.store(1, Ordering::Release);
        assert!(is_behind(5) && !is_behind(6), "it looks only if it has to");
        assert!(horizon.reached_ns(6) <= boot_ns());
        numbers.set(CPUS - 1, Hook::Fork, 3, 2);
        assert!(is_behind(6));
        horizon.processes.counters.malformed.store(1, Ordering::Release);
        assert!(!is_behind(6));
        numbers.set(0, Hook::Open, 1, 0);
        assert!(!is_behind(6), "an open is none of them");
    }

    #[test]
    fn who_waits_asks_until_it_is_far_enough() {
        let (horizon, _numbers) = behind();
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
        let (horizon, _numbers) = behind();
        std::thread::scope(|scope| {
            let lead = horizon.lead();
            let follower = scope.spawn(|| horizon.wait(20));
            while !is_asking(&horizon) {
                std::thread::yield_now();
            }
            drop(lead);
            follower.join().unwrap();
        });
        assert_eq!(horizon.reached_ns(20), u64::MAX);
    }

    #[test]
    fn a_wait_for_who_does_not_answer_has_an_end() {
        let (horizon, _numbers) = behind();
        let _lead = horizon.lead();
        let begun = Instant::now();
        horizon.wait(1);
        assert!(begun.elapsed() >= WAIT_MAX);
    }
}
