//! The canary: a thread of the daemon's own that now and then makes calls which change nothing, most of which fail, and
//! starts a program that does nothing. Each has to come back through its hook exactly once. None, and the hook is gone;
//! two, and it is there twice, which the numbering cannot see. The events end in the books as internal and are never
//! told.

use super::clock::boot_ns;
use collector_common::{CANARY_COMM, Filters, Hook};
use collector_core::event::{AddressFamily, KernelBody, KernelEvent};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

mod calls;

use calls::Calls;

/// How often the canary flies if nobody says otherwise: with the time until the reader looks, and until skipped runs show,
/// a fault is told within ten seconds.
pub const CANARY_PERIOD: Duration = Duration::from_secs(6);

/// The hooks through which it comes. An attempt that is refused comes through that of its end, for which that of its begin
/// must have been there.
const HOOKS: [Hook; 14] = [
    Hook::Fork,
    Hook::Exec,
    Hook::Exit,
    Hook::Open,
    Hook::Openat,
    Hook::Openat2,
    Hook::Creat,
    Hook::OpenByHandle,
    Hook::Execve,
    Hook::Execveat,
    Hook::ConnectExit,
    Hook::TcpEnd,
    Hook::SendMsg4,
    Hook::SendMsg6,
];

/// Of a program that the kernel has skipped, the heartbeat tells so after this at the latest.
const SKIPPED_SHOWS_NS: u64 = 1_200_000_000;

/// Calls that were made one after the other.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Flight {
    /// Counts them, from 1 on.
    number: u64,
    /// `CLOCK_BOOTTIME` before the first call.
    begun_ns: u64,
    /// `CLOCK_BOOTTIME` when all had returned.
    returned_ns: u64,
    /// By hook, whether the call came out in such a way that its event is due.
    due: [bool; HOOKS.len()],
}

/// What thread and reader share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The last one that has begun.
    begun: Flight,
    /// The last one whose calls have returned.
    last: Flight,
    stop: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reader's side.
#[derive(Debug)]
pub(crate) struct Canary {
    /// Makes its names those of this daemon and start alone.
    now_ns: u64,
    period: Duration,
    hooks: Vec<Hook>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    check: Check,
    suspicion: Option<Suspicion>,
}

/// Calls that did not come back, to be told unless it shows that a program was skipped.
#[derive(Debug)]
struct Suspicion {
    told_at_ns: u64,
    /// With what the hook had lost by then.
    gone: Counted,
}

impl Canary {
    /// One for these hooks of a class; `None` if it would come through none of them.
    pub(crate) fn new(period: Duration, hooks: &[Hook], filters: &Filters, now_ns: u64) -> Option<Self> {
        // Of a datagram that is sent no failure is known: `--failed` leaves them out.
        let told =
            |hook: &Hook| filters.only_failures == 0 || !matches!(hook, Hook::SendMsg4 | Hook::SendMsg6);
        let hooks: Vec<Hook> = HOOKS.into_iter().filter(|hook| hooks.contains(hook)).filter(told).collect();
        (!hooks.is_empty()).then(|| Self {
            now_ns,
            period,
            hooks,
            shared: Arc::default(),
            thread: None,
            check: Check::default(),
            suspicion: None,
        })
    }

    /// Lets it fly.
    pub(crate) fn start(&mut self) {
        let (calls, period, hooks) = (Calls::new(self.now_ns), self.period, self.hooks.clone());
        let shared = Arc::clone(&self.shared);
        let name = CANARY_COMM.split(|&byte| byte == 0).next().unwrap_or_default();
        let thread = std::thread::Builder::new()
            .name(String::from_utf8_lossy(name).into_owned())
            .spawn(move || fly(&shared, &calls, period, &hooks));
        self.thread = thread
            .inspect_err(|error| tracing::warn!(%error, "no thread for the canary: hooks are not watched"))
            .ok();
    }

    /// Takes an event of this process, or of the one that the canary has started: of this one's threads, the filters let
    /// only the canary's through.
    pub(crate) fn take(&mut self, hook: Hook, event: &KernelEvent) {
        let is_its_own = match &event.body {
            // A refused attempt comes through another hook, unless there was no way there.
            KernelBody::Connect(connect) => {
                hook != Hook::ConnectExit || connect.family == AddressFamily::UNIX
            }
            KernelBody::ConnectResult(_) => false,
            _ => true,
        };
        let State { begun, last, .. } = *self.shared.state();
        let flight = [begun, last].into_iter().find(|flight| event.ktime_ns >= flight.begun_ns);
        if let Some(flight) = flight.filter(|_| is_its_own) {
            self.check.came(flight.number, hook);
        }
    }

    /// Looks whether the last calls came back, and says what is wrong; `None` if there is nothing new to say. Once
    /// everything older than `complete_ns` has been read. `lost` is what the hook has lost up to now, skipped runs
    /// included, which is told elsewhere.
    pub(crate) fn look(&mut self, complete_ns: u64, lost: impl Fn(Hook) -> u64) -> Option<Vec<String>> {
        // An attempt that found no room is lost where it began.
        let lost = |hook| lost(hook) + if hook == Hook::TcpEnd { lost(Hook::TcpBegin) } else { 0 };
        if let Some(suspicion) = &self.suspicion {
            if complete_ns < suspicion.told_at_ns {
                return None;
            }
            let gone = suspicion.gone.iter().filter(|(hook, before)| lost(*hook) == *before);
            let faults = gone.map(|(hook, _)| {
                format!("{} no longer tells what happens: a call of our own did not come back", hook.target())
            });
            let faults = faults.collect();
            self.suspicion = None;
            return Some(faults);
        }
        let last = self.shared.state().last;
        // The next may be on its way back already: then that one is looked at.
        let passed = self.check.number > last.number;
        if last.number == self.check.looked || passed || last.returned_ns >= complete_ns {
            return None;
        }
        let (gone, repeated) = self.check.look(&last, &self.hooks, lost);
        if !gone.is_empty() {
            let told_at_ns = last.returned_ns + SKIPPED_SHOWS_NS;
            self.suspicion = Some(Suspicion { told_at_ns, gone });
        }
        let faults = repeated.into_iter().map(|(hook, times)| {
            format!(
                "{} tells what happens {times} times: so often a call of our own came back",
                hook.target()
            )
        });
        let faults: Vec<_> = faults.collect();
        (self.suspicion.is_none() || !faults.is_empty()).then_some(faults)
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.stopped.notify_all();
        // It sleeps or makes a call that fails at once.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread: calls, waits, and so on.
fn fly(shared: &Shared, calls: &Calls, period: Duration, hooks: &[Hook]) {
    let mut number = 0;
    let mut state = shared.state();
    while !state.stop {
        number += 1;
        let mut flight = Flight { number, begun_ns: boot_ns(), ..Flight::default() };
        state.begun = flight;
        drop(state);
        let mut has_run = None;
        for (at, hook) in HOOKS.into_iter().enumerate().filter(|(_, hook)| hooks.contains(hook)) {
            flight.due[at] = match hook {
                // One program comes through all three.
                Hook::Fork | Hook::Exec | Hook::Exit => *has_run.get_or_insert_with(|| calls.run_program()),
                _ => calls.make(hook, number),
            };
        }
        flight.returned_ns = boot_ns();
        state = shared.state();
        state.last = flight;
        let waited = shared.stopped.wait_timeout_while(state, period, |state| !state.stop);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Hooks, each with a count.
type Counted = Vec<(Hook, u64)>;

/// Counts what came back.
#[derive(Debug, Default)]
struct Check {
    /// The flight that is counted, and by hook how often it came.
    number: u64,
    came: [u64; HOOKS.len()],
    /// By hook, what was lost up to the last look.
    lost: [u64; HOOKS.len()],
    looked: u64,
}

impl Check {
    fn came(&mut self, number: u64, hook: Hook) {
        if number > self.number {
            (self.number, self.came) = (number, [0; HOOKS.len()]);
        }
        if let Some(at) = HOOKS.iter().position(|known| *known == hook)
            && number == self.number
        {
            self.came[at] += 1;
        }
    }

    /// The hooks through which a flight did not come, with what they have lost, and those through which it came more than
    /// once, with how often. A hook that has lost something since the last look explains that itself.
    fn look(&mut self, flight: &Flight, hooks: &[Hook], lost: impl Fn(Hook) -> u64) -> (Counted, Counted) {
        self.looked = flight.number;
        let (mut gone, mut repeated) = (Vec::new(), Vec::new());
        for (at, hook) in HOOKS.into_iter().enumerate().filter(|(_, hook)| hooks.contains(hook)) {
            let came = if self.number == flight.number { self.came[at] } else { 0 };
            let lost = lost(hook);
            let explained = std::mem::replace(&mut self.lost[at], lost) != lost;
            match came {
                1 => {}
                0 if explained || !flight.due[at] => {}
                0 => gone.push((hook, lost)),
                times => repeated.push((hook, times)),
            }
        }
        (gone, repeated)
    }
}

#[cfg(test)]
mod tests;
