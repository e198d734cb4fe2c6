//! The processes above one: its parent's name, and as many ancestors as were asked for.
//!
//! Told is what the table knew when a process was first seen under its parent or last executed a program. The first
//! ancestor is always the process whose pid the kernel gave as the parent's; those above it are the parents that the
//! table knew last, also if they have ended since.

use super::by_pid::ByPid;
use super::{Entry, ProcessTable, SNAPSHOT_START_TOLERANCE_NS};
use crate::event::{Ancestor, ProcessContext, Text};
use std::sync::Arc;

/// Ancestors that are named at most.
pub const ANCESTRY_MAX: usize = 16;

impl ProcessTable {
    /// The comm of a process's parent, and its ancestors.
    pub(super) fn above(&mut self, process: &ProcessContext) -> (Option<Text>, Vec<Arc<Ancestor>>) {
        let parent = parent_in(&mut self.by_pid, process.ppid, process.start_ns);
        let name = parent.map(|parent| parent.name.clone());
        (name, self.lineage(process.ppid, process.start_ns))
    }

    /// The ancestors of a process with this parent, nearest first.
    pub(super) fn lineage(&mut self, ppid: u32, child_start_ns: u64) -> Vec<Arc<Ancestor>> {
        let mut above = Vec::new();
        let (mut pid, mut start_ns) = (ppid, child_start_ns);
        let mut last = None;
        while above.len() < self.ancestry {
            let Some(entry) = parent_in(&mut self.by_pid, pid, start_ns) else { break };
            above.push(entry.as_ancestor(pid));
            (pid, start_ns) = (entry.image.ppid, entry.latest_start_ns());
            last = Some(Arc::clone(&entry.image.identity));
        }
        // Its parent has ended and is no longer kept, but was known when this one was first seen.
        if let Some(known) = last {
            let room = self.ancestry - above.len();
            above.extend(known.ancestors.iter().take(room).cloned());
        }
        above
    }

    /// Names the ancestors of the processes that ran before.
    pub(super) fn seed_ancestors(&mut self) {
        if self.ancestry == 0 {
            return;
        }
        let all = self.by_pid.iter().flat_map(|(&pid, entries)| {
            entries.iter().map(move |entry| (pid, entry.start_ns, entry.image.ppid, entry.latest_start_ns()))
        });
        for (pid, start_ns, ppid, latest_start_ns) in all.collect::<Vec<_>>() {
            let ancestors = self.lineage(ppid, latest_start_ns);
            let entries = self.by_pid.get_mut(&pid).into_iter().flatten();
            for entry in entries.filter(|entry| entry.start_ns == start_ns) {
                Arc::make_mut(&mut entry.image.identity).ancestors = ancestors.clone();
            }
        }
    }
}

/// The youngest process with this pid that can be the parent of one that started then: a parent is never younger, or
/// its pid has been given again.
fn parent_in(by_pid: &mut ByPid, ppid: u32, child_start_ns: u64) -> Option<&mut Entry> {
    let entries = by_pid.get_mut(&ppid)?;
    entries.iter_mut().rev().find(|entry| entry.earliest_start_ns() <= child_start_ns)
}

impl Entry {
    fn earliest_start_ns(&self) -> u64 {
        let inexact = if self.start_approximate { SNAPSHOT_START_TOLERANCE_NS } else { 0 };
        self.start_ns.saturating_sub(inexact)
    }

    fn latest_start_ns(&self) -> u64 {
        let inexact = if self.start_approximate { SNAPSHOT_START_TOLERANCE_NS } else { 0 };
        self.start_ns.saturating_add(inexact)
    }

    fn as_ancestor(&mut self, pid: u32) -> Arc<Ancestor> {
        let start_ns = (!self.start_approximate).then_some(self.start_ns);
        if let Some(kept) = &self.as_ancestor
            && (kept.start_ns, &kept.name, &kept.exe) == (start_ns, &self.name, &self.image.identity.exe)
        {
            return Arc::clone(kept);
        }
        let named = Ancestor { pid, start_ns, name: self.name.clone(), exe: self.image.identity.exe.clone() };
        Arc::clone(self.as_ancestor.insert(Arc::new(named)))
    }
}
