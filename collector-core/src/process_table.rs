//! What the collector knows of the running processes, so that an event can say which program its process runs.
//!
//! The table is driven by exec, fork and exit events in stream order, and by a snapshot taken at start. It is bounded,
//! and no live process is ever put out to make room: at capacity the oldest exited entries go first, and then new ones
//! are refused and counted. Exited entries stay for [`EXITED_KEPT_NS`], because events of different CPUs can be read
//! slightly out of order: a process's exit before its exec.

mod live;

use crate::event::{Exec, Fork, KernelBody, KernelEvent, ProcessContext, ProcessIdentity, Text};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Entries the table holds at most, unless the embedder says otherwise.
pub const PROCESS_TABLE_CAPACITY: usize = 65_536;
/// How long an exited process is kept for late events, in the events' own time.
pub const EXITED_KEPT_NS: u64 = 2_000_000_000;
/// A snapshot's start times come in clock ticks of 10 ms; this is how far off the kernel's own value may be.
pub const SNAPSHOT_START_TOLERANCE_NS: u64 = 20_000_000;

/// A process that ran before the collector did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// Process id.
    pub pid: u32,
    /// When it started: `CLOCK_BOOTTIME`, ns, possibly only to the clock tick.
    pub start_ns: u64,
    /// The parent's process id.
    pub ppid: u32,
    /// Its comm.
    pub name: Text,
    /// Path of the running file.
    pub exe: Option<Text>,
    /// Device (kernel encoding, major << 20 | minor) and inode of the running file.
    pub exe_file: Option<(u32, u64)>,
}

/// What the table holds and what it could not hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Entries, exited ones included.
    pub entries: usize,
    /// How often a process found no room; one that is refused is tried again at its next event.
    pub refused: u64,
    /// Exited entries that went before their time to make room.
    pub evicted_exited: u64,
}

#[derive(Debug)]
struct Entry {
    /// Unlike the start time, it never changes.
    id: u64,
    start_ns: u64,
    /// From the snapshot, and no event has told the exact start yet.
    start_approximate: bool,
    /// The path is the snapshot's or inherited from it: its device number may be another view of the same one.
    exe_from_snapshot: bool,
    ppid: u32,
    name: Text,
    exited: bool,
    identity: Arc<ProcessIdentity>,
}

/// The table. See the module's documentation.
#[derive(Debug)]
pub struct ProcessTable {
    /// All incarnations of a pid that are kept, the youngest last; nearly always one.
    by_pid: HashMap<u32, Vec<Entry>>,
    /// (time of exit, pid, entry), in the order in which the exits were read.
    exited: VecDeque<(u64, u32, u64)>,
    capacity: usize,
    stats: TableStats,
    newest_ktime_ns: u64,
    ids_given: u64,
}

impl ProcessTable {
    /// An empty table that holds `capacity` processes.
    pub fn new(capacity: usize) -> Self {
        Self {
            by_pid: HashMap::new(),
            exited: VecDeque::new(),
            capacity,
            stats: TableStats::default(),
            newest_ktime_ns: 0,
            ids_given: 0,
        }
    }

    /// What the table holds and what it could not hold.
    pub fn stats(&self) -> TableStats {
        self.stats
    }

    /// Takes in the processes that ran before.
    pub fn seed(&mut self, snapshot: Vec<SnapshotEntry>) {
        let names: HashMap<u32, Text> =
            snapshot.iter().map(|entry| (entry.pid, entry.name.detached())).collect();
        for process in snapshot {
            let identity = ProcessIdentity {
                exe: process.exe.as_ref().map(Text::detached),
                exe_file: process.exe_file,
                parent_name: names.get(&process.ppid).cloned(),
            };
            self.insert(
                process.pid,
                Entry {
                    id: 0,
                    start_ns: process.start_ns,
                    start_approximate: true,
                    exe_from_snapshot: true,
                    ppid: process.ppid,
                    name: process.name.detached(),
                    exited: false,
                    identity: Arc::new(identity),
                },
            );
        }
    }

    /// Learns from an event and tells it what is known of its process.
    pub fn apply(&mut self, event: &mut KernelEvent) {
        self.newest_ktime_ns = self.newest_ktime_ns.max(event.ktime_ns);
        self.expire();
        let process = &event.process;
        self.observe(process, matches!(event.body, KernelBody::Exec(_)));
        match &event.body {
            KernelBody::Exec(exec) => self.exec(process, exec),
            KernelBody::Fork(fork) if !fork.thread => self.fork(process, fork),
            KernelBody::Fork(_)
            | KernelBody::Connect(_)
            | KernelBody::ConnectResult(_)
            | KernelBody::Open(_)
            | KernelBody::ExecFailed(_) => {}
            KernelBody::Exit(_) => self.exit(process.pid, process.start_ns, event.ktime_ns),
        }
        if let Some(entry) = self.entry(process.pid, process.start_ns) {
            event.identity = Some(Arc::clone(&entry.identity));
        }
    }

    /// Brings the process's entry up to what the hook saw, or makes one.
    fn observe(&mut self, process: &ProcessContext, executes: bool) {
        let known = match self.entry(process.pid, process.start_ns) {
            Some(entry) => {
                entry.observe(process, executes);
                if entry.ppid == process.ppid {
                    return;
                }
                true
            }
            None => false,
        };
        let parent_name = self.live_name(process.ppid);
        if !known {
            let identity = ProcessIdentity { exe: None, exe_file: process.exe, parent_name };
            self.insert(
                process.pid,
                Entry {
                    id: 0,
                    start_ns: process.start_ns,
                    start_approximate: false,
                    exe_from_snapshot: false,
                    ppid: process.ppid,
                    name: process.name.detached(),
                    exited: false,
                    identity: Arc::new(identity),
                },
            );
        } else if let Some(entry) = self.entry(process.pid, process.start_ns) {
            // Its parent ended and another one took it over: the old name would stand beside the new pid.
            entry.ppid = process.ppid;
            Arc::make_mut(&mut entry.identity).parent_name = parent_name;
        }
    }

    fn exec(&mut self, process: &ProcessContext, exec: &Exec) {
        let parent_name = self.live_name(process.ppid);
        let Some(entry) = self.entry(process.pid, process.start_ns) else { return };
        entry.exe_from_snapshot = false;
        entry.identity = Arc::new(ProcessIdentity {
            exe: exec.path.as_ref().map(Text::detached),
            exe_file: exec.dev.zip(exec.ino).or(process.exe),
            parent_name: parent_name.or_else(|| entry.identity.parent_name.clone()),
        });
    }

    fn fork(&mut self, parent: &ProcessContext, fork: &Fork) {
        let (inherited, from_snapshot) = match self.entry(parent.pid, parent.start_ns) {
            Some(entry) => (Arc::clone(&entry.identity), entry.exe_from_snapshot),
            None => (Arc::new(ProcessIdentity { exe_file: parent.exe, ..ProcessIdentity::default() }), false),
        };
        let name = parent.name.detached();
        if let Some(child) = self.entry(fork.child_pid, fork.child_start_ns) {
            // The child's own events were read first, or it is in the snapshot: they know better what it runs now.
            if child.identity.parent_name.is_none() && child.ppid == parent.pid {
                Arc::make_mut(&mut child.identity).parent_name = Some(name);
            }
            return;
        }
        self.insert(
            fork.child_pid,
            Entry {
                id: 0,
                start_ns: fork.child_start_ns,
                start_approximate: false,
                exe_from_snapshot: from_snapshot,
                ppid: parent.pid,
                name: name.clone(),
                exited: false,
                identity: Arc::new(ProcessIdentity {
                    exe: inherited.exe.clone(),
                    exe_file: inherited.exe_file,
                    parent_name: Some(name),
                }),
            },
        );
    }

    fn exit(&mut self, pid: u32, start_ns: u64, ktime_ns: u64) {
        let Some(entry) = self.entry(pid, start_ns) else { return };
        if !entry.exited {
            entry.exited = true;
            let id = entry.id;
            self.exited.push_back((ktime_ns, pid, id));
        }
    }

    /// The entry of exactly this process. A snapshot's entry gets the exact start time here.
    fn entry(&mut self, pid: u32, start_ns: u64) -> Option<&mut Entry> {
        let entries = self.by_pid.get_mut(&pid)?;
        let at = entries.iter().rposition(|entry| {
            entry.start_ns == start_ns
                || (entry.start_approximate
                    && entry.start_ns.abs_diff(start_ns) <= SNAPSHOT_START_TOLERANCE_NS)
        })?;
        let entry = &mut entries[at];
        entry.start_ns = start_ns;
        entry.start_approximate = false;
        Some(entry)
    }

    /// The comm of the process that has this pid now, or had it last.
    fn live_name(&self, pid: u32) -> Option<Text> {
        let youngest = self.by_pid.get(&pid)?.last()?;
        Some(youngest.name.clone())
    }

    /// Puts a new entry in its place by age, if there is room or room can be made.
    fn insert(&mut self, pid: u32, mut entry: Entry) {
        while self.stats.entries >= self.capacity {
            let Some((_, pid, id)) = self.exited.pop_front() else {
                self.stats.refused += 1;
                return;
            };
            self.remove(pid, id);
            self.stats.evicted_exited += 1;
        }
        self.ids_given += 1;
        entry.id = self.ids_given;
        let entries = self.by_pid.entry(pid).or_default();
        let at = entries.partition_point(|other| other.start_ns <= entry.start_ns);
        entries.insert(at, entry);
        self.stats.entries += 1;
        // A pid is given again only after its process ended: an older entry that still counts as live has lost its
        // exit event.
        let youngest = entries.len() - 1;
        for ended in entries[..youngest].iter_mut().filter(|older| !older.exited) {
            ended.exited = true;
            self.exited.push_back((self.newest_ktime_ns, pid, ended.id));
        }
    }

    fn remove(&mut self, pid: u32, id: u64) {
        let Some(entries) = self.by_pid.get_mut(&pid) else { return };
        let before = entries.len();
        entries.retain(|entry| entry.id != id);
        self.stats.entries -= before - entries.len();
        if entries.is_empty() {
            self.by_pid.remove(&pid);
        }
    }

    fn expire(&mut self) {
        let oldest_kept = self.newest_ktime_ns.saturating_sub(EXITED_KEPT_NS);
        while let Some(&(at, pid, id)) = self.exited.front()
            && at < oldest_kept
        {
            self.exited.pop_front();
            self.remove(pid, id);
        }
    }
}

impl Entry {
    fn observe(&mut self, process: &ProcessContext, executes: bool) {
        if self.name != process.name {
            self.name = process.name.detached();
        }
        // An exec replaces the file anyway.
        if let Some(file) = process.exe.filter(|_| !executes) {
            self.check_running_file(file);
        }
    }

    /// Compares with the file the hook saw running. Where it is another one (an exec that was lost or is not read
    /// yet), the known path is not that file's.
    fn check_running_file(&mut self, file: (u32, u64)) {
        let known = self.identity.exe_file;
        let same = match known {
            None => true,
            // stat and the kernel's superblock can give different devices for one file (btrfs, overlayfs).
            Some((_, inode)) if self.exe_from_snapshot => inode == file.1,
            Some(known) => known == file,
        };
        if known == Some(file) {
            return;
        }
        let identity = Arc::make_mut(&mut self.identity);
        identity.exe_file = Some(file);
        if !same {
            identity.exe = None;
            self.exe_from_snapshot = false;
        }
    }
}

#[cfg(test)]
mod tests;
