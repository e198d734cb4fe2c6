//! Processes whose exit no event tells, because that event was lost.

use super::ProcessTable;

/// The least time between two looks, in the events' own time: each asks for every process that is held as alive.
const LOOKS_NS: u64 = 10_000_000_000;

/// When to ask which processes have ended.
#[derive(Debug, Default)]
pub(super) struct Gone {
    /// Exits can have been lost since the last look.
    suspected: bool,
    next_look_ns: u64,
}

impl ProcessTable {
    /// Exits can have been lost: what they would have ended is looked for with one of the next events.
    pub fn exits_were_lost(&mut self) {
        self.gone.suspected = true;
    }

    /// Ends what has ended without a word, where that is suspected and it is time. It stays as long as if its exit had come
    /// now.
    pub(super) fn end_gone(&mut self) {
        if !self.gone.suspected || self.newest_ktime_ns < self.gone.next_look_ns {
            return;
        }
        self.gone = Gone { suspected: false, next_look_ns: self.newest_ktime_ns.saturating_add(LOOKS_NS) };
        let Some(host) = &mut self.host else { return };
        for (&pid, entries) in &mut self.by_pid {
            for entry in entries.iter_mut().filter(|entry| !entry.exited) {
                // A pid that is in use again ends the older entry by its first event.
                if host.has_ended(pid) {
                    entry.exited = true;
                    self.exited.push_back((self.newest_ktime_ns, pid, entry.id));
                }
            }
        }
    }
}
