//! Reading the table as a whole.

use super::{ProcessTable, SnapshotEntry};

impl ProcessTable {
    /// The processes that have not ended, in no order. A pid that a late event left with two live entries is told
    /// once, as the younger.
    pub fn live(&self) -> impl Iterator<Item = SnapshotEntry> {
        self.by_pid.iter().filter_map(|(&pid, entries)| {
            let entry = entries.iter().rev().find(|entry| !entry.exited)?;
            Some(SnapshotEntry {
                pid,
                start_ns: entry.start_ns,
                ppid: entry.image.ppid,
                name: entry.name.clone(),
                exe: entry.image.identity.exe.clone(),
                exe_file: entry.image.identity.exe_file,
                exact: !entry.start_approximate && !entry.image.from_snapshot,
            })
        })
    }
}
