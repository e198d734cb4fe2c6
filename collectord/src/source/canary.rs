//! The canary: a thread of the daemon's own that now and then opens a path that nobody else does. Each of these opens has
//! to come back through its hook exactly once. None, and the hook is gone; two, and it is there twice, which the numbering
//! cannot see. The events end in the books as internal and are never told.

use collector_common::{CANARY_COMM, Hook};
use collector_core::event::{KernelBody, KernelEvent};
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, openat, openat2};
use nix::sys::stat::Mode;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the canary opens its path if nobody says otherwise: with the time until the reader looks, a fault is told
/// within ten seconds.
pub const CANARY_PERIOD: Duration = Duration::from_secs(8);

/// The hooks through which it comes.
const HOOKS: [Hook; 2] = [Hook::Openat, Hook::Openat2];

/// The last opens that were made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Flight {
    /// Counts them, from 1 on.
    number: u64,
    /// `CLOCK_BOOTTIME` when both calls had returned.
    returned_ns: u64,
}

/// What thread and reader share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Debug, Default)]
struct State {
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
    path: PathBuf,
    period: Duration,
    hooks: Vec<Hook>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    check: Check,
}

impl Canary {
    /// One for these hooks of a class; `None` if it would come through none of them. Its path is relative: where path
    /// prefixes filter, such a name passes if it is not there.
    pub(crate) fn new(period: Duration, hooks: &[Hook], now_ns: u64) -> Option<Self> {
        let hooks: Vec<Hook> = HOOKS.into_iter().filter(|hook| hooks.contains(hook)).collect();
        let path = PathBuf::from(format!(".collectord-canary-{}-{now_ns:x}", std::process::id()));
        let check = Check::default();
        (!hooks.is_empty()).then_some(Self {
            path,
            period,
            hooks,
            shared: Arc::default(),
            thread: None,
            check,
        })
    }

    /// Lets it fly.
    pub(crate) fn start(&mut self) {
        let (path, period, hooks) = (self.path.clone(), self.period, self.hooks.clone());
        let shared = Arc::clone(&self.shared);
        let name = CANARY_COMM.split(|&byte| byte == 0).next().unwrap_or_default();
        let thread = std::thread::Builder::new()
            .name(String::from_utf8_lossy(name).into_owned())
            .spawn(move || fly(&shared, &path, period, &hooks));
        self.thread = thread
            .inspect_err(|error| tracing::warn!(%error, "no thread for the canary: hooks are not watched"))
            .ok();
    }

    /// Takes an event of this process, which is nobody else's.
    pub(crate) fn take(&mut self, hook: Hook, event: &KernelEvent) {
        let KernelBody::Open(open) = &event.body else { return };
        let requested =
            Path::new(OsStr::from_bytes(open.requested.as_ref().map_or(&[], |text| text.as_bytes())));
        let number =
            requested.strip_prefix(&self.path).ok().and_then(Path::to_str).and_then(|n| n.parse().ok());
        if let Some(number) = number {
            self.check.came(number, hook);
        }
    }

    /// Looks whether the last opens came back, and says what is wrong; `None` if there is nothing new to look at. Once everything older than `complete_ns` has been read. `lost` is what
    /// the hook has lost up to now, which is told elsewhere.
    pub(crate) fn look(&mut self, complete_ns: u64, lost: impl Fn(Hook) -> u64) -> Option<Vec<String>> {
        let last = self.shared.state().last;
        // The next may be on its way back already: then that one is looked at.
        let passed = self.check.number > last.number;
        if last.number == self.check.looked || passed || last.returned_ns >= complete_ns {
            return None;
        }
        Some(self.check.look(last.number, &self.hooks, lost))
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

/// The thread: opens, waits, and so on.
fn fly(shared: &Shared, path: &Path, period: Duration, hooks: &[Hook]) {
    let mut number = 0;
    let mut state = shared.state();
    while !state.stop {
        drop(state);
        number += 1;
        let path = path.join(number.to_string());
        // Neither is there, and the folder neither: what comes of it is ENOENT. Meant to write, as `--writes` tells it.
        for hook in hooks {
            let opened = match hook {
                Hook::Openat2 => openat2(AT_FDCWD, &path, OpenHow::new().flags(OFlag::O_WRONLY)),
                _ => openat(AT_FDCWD, &path, OFlag::O_WRONLY, Mode::empty()),
            };
            debug_assert!(opened.is_err(), "nobody has made {}", path.display());
        }
        let last = Flight { number, returned_ns: super::clock::boot_ns() };
        state = shared.state();
        state.last = last;
        let waited = shared.stopped.wait_timeout_while(state, period, |state| !state.stop);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

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

    /// What is wrong with a flight, by hook. One whose hook has lost something since the last look is not judged.
    fn look(&mut self, number: u64, hooks: &[Hook], lost: impl Fn(Hook) -> u64) -> Vec<String> {
        self.looked = number;
        let mut faults = Vec::new();
        for (at, hook) in HOOKS.into_iter().enumerate().filter(|(_, hook)| hooks.contains(hook)) {
            let came = if self.number == number { self.came[at] } else { 0 };
            let lost = lost(hook);
            let explained = std::mem::replace(&mut self.lost[at], lost) != lost;
            match came {
                1 => {}
                0 if explained => {}
                0 => faults.push(format!(
                    "{} no longer tells what happens: an open of our own did not come back",
                    hook.target()
                )),
                times => faults.push(format!(
                    "{} tells what happens {times} times: so often an open of our own came back",
                    hook.target()
                )),
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(check: &mut Check, number: u64, lost: u64) -> usize {
        check.look(number, &HOOKS, |_| lost).len()
    }

    #[test]
    fn once_is_right_never_and_twice_are_faults() {
        let mut check = Check::default();
        check.came(1, Hook::Openat);
        check.came(1, Hook::Openat2);
        assert_eq!(looked(&mut check, 1, 0), 0);
        check.came(2, Hook::Openat);
        let faults = check.look(2, &HOOKS, |_| 0);
        assert!(
            faults.len() == 1 && faults[0].contains("openat2") && faults[0].contains("no longer"),
            "{faults:?}"
        );
        check.came(3, Hook::Openat);
        check.came(3, Hook::Openat2);
        check.came(3, Hook::Openat);
        let faults = check.look(3, &HOOKS, |_| 0);
        assert!(faults.len() == 1 && faults[0].contains("2 times"), "{faults:?}");
    }

    #[test]
    fn one_that_was_lost_and_told_is_no_fault_of_the_hook() {
        let mut check = Check::default();
        assert_eq!(looked(&mut check, 1, 5), 0);
        assert_eq!(looked(&mut check, 2, 5), 2);
    }

    #[test]
    fn a_hook_that_is_not_attached_is_not_missed() {
        let mut check = Check::default();
        check.came(1, Hook::Openat);
        assert!(check.look(1, &[Hook::Openat], |_| 0).is_empty());
    }

    #[test]
    fn it_flies_and_ends() {
        let mut canary = Canary::new(Duration::from_millis(1), &HOOKS, 7).expect("there are hooks");
        canary.start();
        while canary.shared.state().last.number < 3 {
            std::thread::yield_now();
        }
        let faults = canary.look(u64::MAX, |_| 0).expect("it has flown");
        assert_eq!(faults.len(), 2, "nobody read its events: {faults:?}");
        drop(canary);
    }
}
