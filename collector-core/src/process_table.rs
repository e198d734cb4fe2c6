//! What the collector knows of the running processes, so that an event can say which program its process runs.
//!
//! The table is driven by exec, fork and exit events in stream order, and by a snapshot taken at start. It is bounded,
//! and no live process is ever put out to make room: at capacity the oldest exited entries go first, and then new ones
//! are refused and counted. Exited entries stay for [`EXITED_KEPT_NS`], because events of different CPUs can be read
//! slightly out of order: a process's exit before its exec. So does what a process ran before its last exec: its opens
//! and connections come from other sources.

mod ancestry;
mod by_pid;
mod host;
mod images;
mod live;

pub use ancestry::ANCESTRY_MAX;
pub use host::HostLookup;

use crate::event::{Ancestor, Exec, Fork, KernelBody, KernelEvent, ProcessContext, ProcessIdentity, Text};
use by_pid::ByPid;
use images::Image;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Entries the table holds at most, unless the embedder says otherwise.
pub const PROCESS_TABLE_CAPACITY: usize = 65_536;
/// How long an exited process is kept for late events, in the events' own time.
pub const EXITED_KEPT_NS: u64 = 2_000_000_000;
/// Start times of /proc come in clock ticks of 10 ms; this is how far off the kernel's own value may be.
pub const SNAPSHOT_START_TOLERANCE_NS: u64 = 20_000_000;

/// A process that ran before the collector did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// Process id.
    pub pid: u32,
    /// When it started: `CLOCK_BOOTTIME`, ns.
    pub start_ns: u64,
    /// The parent's process id.
    pub ppid: u32,
    /// Its comm.
    pub name: Text,
    /// Path of the running file.
    pub exe: Option<Text>,
    /// Device (kernel encoding, major << 20 | minor) and inode of the running file.
    pub exe_file: Option<(u32, u64)>,
    /// Whether start and device are what the kernel's events will say. Those of /proc are not: it gives starts by the
    /// clock tick, and for some filesystems (btrfs, overlayfs) another device.
    pub exact: bool,
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
    /// From a snapshot of /proc, and no event has told the exact start yet.
    start_approximate: bool,
    /// The path is such a snapshot's or inherited from it: its device number may be another view of the same one.
    exe_from_snapshot: bool,
    ppid: u32,
    name: Text,
    exited: bool,
    identity: Arc<ProcessIdentity>,
    /// Real and effective user that the identity names.
    named_users: Option<(u32, u32)>,
    /// Id of the cgroup that the identity names.
    named_cgroup: u64,
    /// When it executed that: events that are older saw it run something else. 0 where that is not known.
    since_ns: u64,
    /// What it ran before, the oldest first.
    earlier: Vec<Image>,
    /// How its descendants name it, shared by them until it changes.
    as_ancestor: Option<Arc<Ancestor>>,
}

/// The table. See the module's documentation.
#[derive(Debug)]
pub struct ProcessTable {
    /// All incarnations of a pid that are kept, the youngest last; nearly always one.
    by_pid: ByPid,
    /// (time of exit, pid, entry), in the order in which the exits were read.
    exited: VecDeque<(u64, u32, u64)>,
    /// The same of processes that have executed another program.
    replaced: VecDeque<(u64, u32, u64)>,
    capacity: usize,
    stats: TableStats,
    newest_ktime_ns: u64,
    ids_given: u64,
    host: Option<Box<dyn HostLookup>>,
    /// Ancestors that an identity names at most.
    ancestry: usize,
}

impl ProcessTable {
    /// An empty table that holds `capacity` processes.
    pub fn new(capacity: usize) -> Self {
        Self {
            by_pid: ByPid::default(),
            exited: VecDeque::new(),
            replaced: VecDeque::new(),
            capacity,
            stats: TableStats::default(),
            newest_ktime_ns: 0,
            ids_given: 0,
            host: None,
            ancestry: 0,
        }
    }

    /// Lets events say the names of users and cgroups.
    #[must_use]
    pub fn with_host(mut self, host: Box<dyn HostLookup>) -> Self {
        self.host = Some(host);
        self
    }

    /// Lets events name up to `levels` ancestors, [`ANCESTRY_MAX`] at most; none if this is not called.
    #[must_use]
    pub fn with_ancestry(mut self, levels: usize) -> Self {
        self.ancestry = levels.min(ANCESTRY_MAX);
        self
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
                ..ProcessIdentity::default()
            };
            let entry = Entry {
                start_approximate: !process.exact,
                exe_from_snapshot: !process.exact,
                ..Entry::new(process.start_ns, process.ppid, process.name.detached(), identity)
            };
            self.insert(process.pid, entry);
        }
        self.seed_ancestors();
    }

    /// Learns from an event and tells it what is known of its process.
    pub fn apply(&mut self, event: &mut KernelEvent) {
        self.newest_ktime_ns = self.newest_ktime_ns.max(event.ktime_ns);
        self.expire();
        if let KernelBody::CgroupMade(made) = &event.body {
            // Nothing runs in it yet.
            if let Some(host) = &mut self.host {
                host.cgroup_made(made.id, &made.path);
            }
            return;
        }
        let process = &event.process;
        let at_ns = event.ktime_ns;
        let executes = matches!(event.body, KernelBody::Exec(_));
        // What is decided later tells its process as it was when it asked.
        let late = matches!(event.body, KernelBody::ConnectResult(_));
        event.identity = match entry_in(&mut self.by_pid, process.pid, process.start_ns) {
            Some(entry) if late || (!executes && at_ns < entry.since_ns) => {
                Some(entry.identity_before(process.exe, at_ns))
            }
            // Nearly every event: one look into the table.
            Some(entry) if !executes && entry.ppid == process.ppid => {
                if entry.observe(process, at_ns, false) {
                    self.replaced.push_back((at_ns, process.pid, entry.id));
                }
                Some(entry.identity_now(process, self.host.as_deref_mut()))
            }
            _ => {
                self.observe(process, at_ns, executes);
                if let KernelBody::Exec(exec) = &event.body {
                    self.exec(process, at_ns, exec);
                }
                entry_in(&mut self.by_pid, process.pid, process.start_ns)
                    .map(|entry| entry.identity_now(process, self.host.as_deref_mut()))
            }
        };
        match &event.body {
            KernelBody::Fork(fork) if !fork.thread => self.fork(process, fork),
            KernelBody::Exit(_) => self.exit(process.pid, process.start_ns, event.ktime_ns),
            KernelBody::Exec(_)
            | KernelBody::Fork(_)
            | KernelBody::Connect(_)
            | KernelBody::ConnectResult(_)
            | KernelBody::Open(_)
            | KernelBody::ExecFailed(_)
            | KernelBody::CgroupMade(_) => {}
        }
    }

    /// Brings the process's entry up to what the hook saw, or makes one.
    fn observe(&mut self, process: &ProcessContext, at_ns: u64, executes: bool) {
        let known = match entry_in(&mut self.by_pid, process.pid, process.start_ns) {
            Some(entry) => {
                if entry.observe(process, at_ns, executes) {
                    self.replaced.push_back((at_ns, process.pid, entry.id));
                }
                if entry.ppid == process.ppid {
                    return;
                }
                true
            }
            None => false,
        };
        if !known && self.has_no_room() {
            // It comes here with each of its events: no entry is made that would be thrown away.
            self.stats.refused += 1;
            return;
        }
        let parent_name = self.parent_name(process.ppid, process.start_ns);
        let ancestors = self.lineage(process.ppid, process.start_ns);
        if !known {
            let identity = ProcessIdentity {
                exe_file: process.exe,
                parent_name,
                ancestors,
                ..ProcessIdentity::default()
            };
            let entry = Entry::new(process.start_ns, process.ppid, process.name.detached(), identity);
            self.insert(process.pid, entry);
        } else if let Some(entry) = self.entry(process.pid, process.start_ns) {
            // Its parent ended and another one took it over: the old name would stand beside the new pid.
            entry.ppid = process.ppid;
            let identity = Arc::make_mut(&mut entry.identity);
            identity.parent_name = parent_name;
            identity.ancestors = ancestors;
        }
    }

    fn exec(&mut self, process: &ProcessContext, at_ns: u64, exec: &Exec) {
        let parent_name = self.parent_name(process.ppid, process.start_ns);
        let ancestors = self.lineage(process.ppid, process.start_ns);
        let Some(entry) = entry_in(&mut self.by_pid, process.pid, process.start_ns) else { return };
        let file = exec.dev.zip(exec.ino).or(process.exe);
        if entry.keep_image(at_ns, file) {
            self.replaced.push_back((at_ns, process.pid, entry.id));
        }
        entry.since_ns = at_ns;
        entry.exe_from_snapshot = false;
        // The users' names may be others by now.
        entry.named_users = None;
        let before = &entry.identity;
        entry.identity = Arc::new(ProcessIdentity {
            exe: exec.path.as_ref().map(Text::detached),
            exe_file: file,
            parent_name: parent_name.or_else(|| before.parent_name.clone()),
            ancestors: if ancestors.is_empty() { before.ancestors.clone() } else { ancestors },
            ..(**before).clone()
        });
    }

    fn fork(&mut self, parent: &ProcessContext, fork: &Fork) {
        let name = parent.name.detached();
        let ancestors = self.lineage(parent.pid, fork.child_start_ns);
        if let Some(child) = self.entry(fork.child_pid, fork.child_start_ns) {
            // The child's own events were read first, or it is in the snapshot: they know better what it runs now.
            if child.identity.parent_name.is_none() && child.ppid == parent.pid {
                let identity = Arc::make_mut(&mut child.identity);
                identity.parent_name = Some(name);
                identity.ancestors = ancestors;
            }
            return;
        }
        let mut child = Entry::new(fork.child_start_ns, parent.pid, name.clone(), ProcessIdentity::default());
        let inherited = match self.entry(parent.pid, parent.start_ns) {
            Some(entry) => {
                child.exe_from_snapshot = entry.exe_from_snapshot;
                child.named_users = entry.named_users;
                child.named_cgroup = entry.named_cgroup;
                (*entry.identity).clone()
            }
            None => ProcessIdentity { exe_file: parent.exe, ..ProcessIdentity::default() },
        };
        child.identity = Arc::new(ProcessIdentity { parent_name: Some(name), ancestors, ..inherited });
        self.insert(fork.child_pid, child);
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
        entry_in(&mut self.by_pid, pid, start_ns)
    }

    /// Whether it is full of processes that live.
    fn has_no_room(&self) -> bool {
        self.stats.entries >= self.capacity && self.exited.is_empty()
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
        while let Some(&(at, pid, id)) = self.replaced.front()
            && at < oldest_kept
        {
            self.replaced.pop_front();
            let entries = self.by_pid.get_mut(&pid).into_iter().flatten();
            for entry in entries.filter(|entry| entry.id == id) {
                entry.forget_images(oldest_kept);
            }
        }
    }
}

fn entry_in(by_pid: &mut ByPid, pid: u32, start_ns: u64) -> Option<&mut Entry> {
    let entries = by_pid.get_mut(&pid)?;
    let at = entries.iter().rposition(|entry| {
        entry.start_ns == start_ns
            || (entry.start_approximate && entry.start_ns.abs_diff(start_ns) <= SNAPSHOT_START_TOLERANCE_NS)
    })?;
    let entry = &mut entries[at];
    entry.start_ns = start_ns;
    entry.start_approximate = false;
    Some(entry)
}

impl Entry {
    /// A live process whose start is exact. It gets its id when it is put in.
    fn new(start_ns: u64, ppid: u32, name: Text, identity: ProcessIdentity) -> Self {
        Self {
            id: 0,
            start_ns,
            start_approximate: false,
            exe_from_snapshot: false,
            ppid,
            name,
            exited: false,
            identity: Arc::new(identity),
            named_users: None,
            named_cgroup: 0,
            since_ns: 0,
            earlier: Vec::new(),
            as_ancestor: None,
        }
    }

    /// What is told of it to an event that saw the process as it is.
    fn identity_now(
        &mut self,
        process: &ProcessContext,
        host: Option<&mut (dyn HostLookup + 'static)>,
    ) -> Arc<ProcessIdentity> {
        if let Some(host) = host {
            self.look_up(process, host);
        }
        Arc::clone(&self.identity)
    }

    /// Brings it up to what the hook saw; whether what it ran until then is kept.
    fn observe(&mut self, process: &ProcessContext, at_ns: u64, executes: bool) -> bool {
        if self.name != process.name {
            self.name = process.name.detached();
        }
        // An exec replaces the file anyway.
        process.exe.filter(|_| !executes).is_some_and(|file| self.check_running_file(at_ns, file))
    }

    /// Compares with the file the hook saw running. Where it is another one (an exec that was lost or is not read
    /// yet), the known path is not that file's; whether that one is kept.
    fn check_running_file(&mut self, at_ns: u64, file: (u32, u64)) -> bool {
        if self.identity.exe_file == Some(file) {
            return false;
        }
        let same = self.runs(file);
        let kept = !same && self.keep_image(at_ns, Some(file));
        let identity = Arc::make_mut(&mut self.identity);
        identity.exe_file = Some(file);
        if !same {
            identity.exe = None;
            self.exe_from_snapshot = false;
            self.since_ns = at_ns;
        }
        kept
    }
}

#[cfg(test)]
mod tests;
