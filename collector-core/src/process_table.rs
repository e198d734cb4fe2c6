//! What the collector knows of the running processes, so that an event can say which program its process runs.
//!
//! The table is driven by exec, fork and exit events in stream order, and by a snapshot taken at start. It is bounded,
//! and no live process is ever put out to make room: at capacity the oldest exited entries go first, and then new ones
//! are refused and counted. Exited entries stay for [`EXITED_KEPT_NS`], because events of different CPUs can be read
//! slightly out of order: a process's exit before its exec. So does what a process ran before its last exec: its opens
//! and connections come from other sources.

mod ancestry;
mod by_pid;
mod gone;
mod host;
mod images;
mod live;

pub use ancestry::ANCESTRY_MAX;
pub use host::HostLookup;

use crate::event::{Ancestor, Exec, Fork, KernelBody, KernelEvent, ProcessContext, ProcessIdentity, Text};
use by_pid::ByPid;
use gone::Gone;
use images::{Image, Replaced};
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
    name: Text,
    exited: bool,
    /// What it runs.
    image: Image,
    /// When it executed that: events that are older saw it run something else. 0 where that is not known.
    since_ns: u64,
    /// What it ran before, and until when, the oldest first.
    earlier: Vec<(u64, Image)>,
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
    replaced: Replaced,
    capacity: usize,
    stats: TableStats,
    newest_ktime_ns: u64,
    gone: Gone,
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
            gone: Gone::default(),
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
            let image = Image { from_snapshot: !process.exact, ..Image::new(process.ppid, identity) };
            let entry = Entry {
                start_approximate: !process.exact,
                ..Entry::new(process.start_ns, process.name.detached(), image)
            };
            self.insert(process.pid, entry);
        }
        self.seed_ancestors();
    }

    /// Learns from an event and tells it what is known of its process.
    pub fn apply(&mut self, event: &mut KernelEvent) {
        self.newest_ktime_ns = self.newest_ktime_ns.max(event.ktime_ns);
        let oldest_kept_ns = self.newest_ktime_ns.saturating_sub(EXITED_KEPT_NS);
        self.end_gone();
        self.expire(oldest_kept_ns);
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
        let drives = matches!(event.body, KernelBody::Exec(_) | KernelBody::Fork(_) | KernelBody::Exit(_));
        event.identity = match entry_in(&mut self.by_pid, process.pid, process.start_ns) {
            Some(entry) if late || (!executes && at_ns < entry.since_ns) => {
                let then = entry.image_at(process.exe, at_ns);
                Some(self.identity_then(then, process))
            }
            // It can have ended and be forgotten since: no exit would ever end an entry.
            None if late || (!drives && at_ns < oldest_kept_ns) => {
                Some(self.unknown(process).identity_now(process, self.host.as_deref_mut()))
            }
            // Nearly every event: one look into the table.
            Some(entry) if !executes && entry.image.ppid == process.ppid => {
                entry.observe(process, at_ns, false, &mut self.replaced);
                Some(entry.image.identity_now(process, self.host.as_deref_mut()))
            }
            _ => {
                self.observe(process, at_ns, executes);
                if let KernelBody::Exec(exec) = &event.body {
                    self.exec(process, at_ns, exec);
                }
                entry_in(&mut self.by_pid, process.pid, process.start_ns)
                    .map(|entry| entry.image.identity_now(process, self.host.as_deref_mut()))
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
        if let Some(entry) = entry_in(&mut self.by_pid, process.pid, process.start_ns) {
            entry.observe(process, at_ns, executes, &mut self.replaced);
            if entry.image.ppid == process.ppid {
                return;
            }
            // Its parent ended and another one took it over.
            let (parent_name, ancestors) = self.above(process);
            if let Some(entry) = self.entry(process.pid, process.start_ns) {
                entry.image.taken_over(process.ppid, parent_name, ancestors);
            }
        } else if self.has_no_room() {
            // It comes here with each of its events: no entry is made that would be thrown away.
            self.stats.refused += 1;
            self.exits_were_lost();
        } else {
            let image = self.unknown(process);
            self.insert(process.pid, Entry::new(process.start_ns, process.name.detached(), image));
        }
    }

    /// What a process runs of which no entry tells more.
    fn unknown(&mut self, process: &ProcessContext) -> Image {
        let (parent_name, ancestors) = self.above(process);
        let exe_file = process.exe;
        let identity = ProcessIdentity { exe_file, parent_name, ancestors, ..ProcessIdentity::default() };
        Image::new(process.ppid, identity)
    }

    /// What is told to an event that is read when its process runs something else by now, or has another parent, other
    /// users or another cgroup. Nothing of it is kept.
    fn identity_then(&mut self, mut then: Image, process: &ProcessContext) -> Arc<ProcessIdentity> {
        if then.ppid != process.ppid {
            let (parent_name, ancestors) = self.above(process);
            then.taken_over(process.ppid, parent_name, ancestors);
        }
        then.identity_now(process, self.host.as_deref_mut())
    }

    fn exec(&mut self, process: &ProcessContext, at_ns: u64, exec: &Exec) {
        let (parent_name, ancestors) = self.above(process);
        let Some(entry) = entry_in(&mut self.by_pid, process.pid, process.start_ns) else { return };
        let file = exec.dev.zip(exec.ino).or(process.exe);
        entry.keep_image(process.pid, at_ns, file, &mut self.replaced);
        entry.since_ns = at_ns;
        let image = &mut entry.image;
        image.from_snapshot = false;
        // The users' names may be others by now.
        image.named_users = None;
        let before = &image.identity;
        image.identity = Arc::new(ProcessIdentity {
            exe: exec.path.as_ref().map(Text::detached),
            exe_file: file,
            parent_name: parent_name.or_else(|| before.parent_name.clone()),
            ancestors: if ancestors.is_empty() { before.ancestors.clone() } else { ancestors },
            ..(**before).clone()
        });
    }

    fn fork(&mut self, parent: &ProcessContext, fork: &Fork) {
        // What was forked has the name of the thread that did it; its parent is the whole process.
        let name = parent.name.detached();
        let (parent_name, mut image) = match self.entry(parent.pid, parent.start_ns) {
            Some(entry) => (entry.name.clone(), entry.image.clone()),
            None => {
                let identity = ProcessIdentity { exe_file: parent.exe, ..ProcessIdentity::default() };
                (name.clone(), Image::new(parent.pid, identity))
            }
        };
        let ancestors = self.lineage(parent.pid, fork.child_start_ns);
        if let Some(child) = self.entry(fork.child_pid, fork.child_start_ns) {
            // The child's own events were read first, or it is in the snapshot: they know better what it runs now.
            if child.image.identity.parent_name.is_none() && child.image.ppid == parent.pid {
                child.image.taken_over(parent.pid, Some(parent_name), ancestors);
            }
            return;
        }
        image.taken_over(parent.pid, Some(parent_name), ancestors);
        self.insert(fork.child_pid, Entry::new(fork.child_start_ns, name, image));
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

    fn expire(&mut self, oldest_kept_ns: u64) {
        while let Some(&(at, pid, id)) = self.exited.front()
            && at < oldest_kept_ns
        {
            self.exited.pop_front();
            self.remove(pid, id);
        }
        while let Some(&(at, pid, id)) = self.replaced.front()
            && at < oldest_kept_ns
        {
            self.replaced.pop_front();
            let entries = self.by_pid.get_mut(&pid).into_iter().flatten();
            for entry in entries.filter(|entry| entry.id == id) {
                entry.forget_images(oldest_kept_ns);
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
    fn new(start_ns: u64, name: Text, image: Image) -> Self {
        Self {
            id: 0,
            start_ns,
            start_approximate: false,
            name,
            exited: false,
            image,
            since_ns: 0,
            earlier: Vec::new(),
            as_ancestor: None,
        }
    }

    /// Brings it up to what the hook saw. What it ran until then is kept, and noted as replaced.
    fn observe(&mut self, process: &ProcessContext, at_ns: u64, executes: bool, replaced: &mut Replaced) {
        // Other threads have names of their own.
        if process.tid == process.pid && self.name != process.name {
            self.name = process.name.detached();
        }
        // An exec replaces the file anyway.
        if let Some(file) = process.exe.filter(|_| !executes) {
            self.check_running_file(process.pid, at_ns, file, replaced);
        }
    }

    /// Compares with the file the hook saw running. Where it is another one (an exec that was lost or is not read
    /// yet), the known path is not that file's.
    fn check_running_file(&mut self, pid: u32, at_ns: u64, file: (u32, u64), replaced: &mut Replaced) {
        if self.image.identity.exe_file == Some(file) {
            return;
        }
        let same = self.image.runs(file);
        if !same {
            self.keep_image(pid, at_ns, Some(file), replaced);
            self.image.from_snapshot = false;
            self.since_ns = at_ns;
        }
        let identity = Arc::make_mut(&mut self.image.identity);
        identity.exe_file = Some(file);
        if !same {
            identity.exe = None;
        }
    }
}

#[cfg(test)]
mod tests;
