//! Processes as clients are told of them: from the process table, from sources that tell processes themselves, and the
//! details that neither keeps from /proc, at the time of the question.

use super::filter;
use super::hash::{HashError, Limits, hash_file};
use super::proto::ProcessRecord;
use super::time::{Clocks, epoch_millis, epoch_seconds};
use crate::event::ProcessEvent;
use crate::process_table::{SNAPSHOT_START_TOLERANCE_NS, SnapshotEntry};
use procfs::process::Process;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use tokio_util::sync::CancellationToken;

/// One process before its details are known.
#[derive(Debug, Clone)]
pub(super) enum Known {
    /// From the process table.
    Table(SnapshotEntry),
    /// As a source told it.
    Told(Box<ProcessEvent>),
}

impl Known {
    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Table(process) => process.pid,
            Self::Told(process) => process.pid,
        }
    }

    fn ppid(&self) -> Option<u32> {
        match self {
            Self::Table(process) => Some(process.ppid),
            Self::Told(process) => process.ppid,
        }
    }

    fn is_allowed_by(&self, filter: &filter::Processes) -> bool {
        match self {
            Self::Table(process) => {
                let executable = process.exe.as_ref().map(|path| path.to_string_lossy());
                filter.allow(process.pid, &process.name.to_string_lossy(), executable.as_deref())
            }
            Self::Told(process) => {
                filter.allow(process.pid, &process.name, process.executable_path.as_deref())
            }
        }
    }
}

/// All processes by pid. The table knows what the kernel said; a source's word is for what the table does not have.
pub(super) fn known(table: Vec<SnapshotEntry>, told: Vec<ProcessEvent>) -> Vec<Known> {
    let told = told.into_iter().map(|process| (process.pid, Known::Told(Box::new(process))));
    let mut all: BTreeMap<u32, Known> = told.collect();
    all.extend(table.into_iter().map(|process| (process.pid, Known::Table(process))));
    all.into_values().collect()
}

/// Those that the filter lets through.
pub(super) fn selected(all: Vec<Known>, filter: &filter::Processes) -> Vec<Known> {
    all.into_iter().filter(|process| process.is_allowed_by(filter)).collect()
}

/// Those that the filter lets through and all their descendants, each parent before its children.
pub(super) fn trees(all: Vec<Known>, filter: &filter::Processes) -> Vec<Known> {
    let mut children: HashMap<u32, Vec<usize>> = HashMap::new();
    for (index, process) in all.iter().enumerate() {
        if let Some(ppid) = process.ppid() {
            children.entry(ppid).or_default().push(index);
        }
    }
    let known: HashSet<u32> = all.iter().map(Known::pid).collect();
    // Roots first: a selected process below another is reached from it. What remains has parents that are not known, or,
    // from events out of order, a circle of them.
    let (roots, rest): (Vec<usize>, Vec<usize>) =
        (0..all.len()).partition(|&index| all[index].ppid().is_none_or(|ppid| !known.contains(&ppid)));
    let mut taken = vec![false; all.len()];
    let mut seen = vec![false; all.len()];
    let mut order = Vec::new();
    for start in roots.into_iter().chain(rest) {
        let mut stack = vec![(start, false)];
        while let Some((index, below)) = stack.pop() {
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            let take = below || all[index].is_allowed_by(filter);
            if take {
                taken[index] = true;
                order.push(index);
            }
            let below_it = children.get(&all[index].pid()).into_iter().flatten().rev();
            stack.extend(below_it.map(|&child| (child, take)));
        }
    }
    let mut all: Vec<_> = all.into_iter().map(Some).collect();
    order.into_iter().filter(|&index| taken[index]).filter_map(|index| all[index].take()).collect()
}

/// Makes records; reads /proc and so blocks its thread.
#[derive(Debug)]
pub(super) struct Recorder {
    clocks: Clocks,
    ticks_per_second: u64,
    page_bytes: u64,
    /// With limits, the executables are hashed as well.
    hash: Option<Limits>,
    /// By device, inode and change time: many processes run one program.
    hashes: HashMap<(u64, u64, i64, i64), Option<String>>,
    /// Processes whose executable was not hashed, since the time for it was over.
    late: usize,
    /// Cancelled when nobody waits for the records any more.
    stop: CancellationToken,
}

impl Recorder {
    pub(super) fn new(hash: Option<Limits>, stop: CancellationToken) -> Self {
        Self {
            clocks: Clocks::now(),
            ticks_per_second: procfs::ticks_per_second().max(1),
            page_bytes: procfs::page_size(),
            hash,
            hashes: HashMap::new(),
            late: 0,
            stop,
        }
    }

    /// What a client is told of hashes that are missing.
    pub(super) fn note(&self) -> Option<String> {
        let timeout = self.hash.as_ref()?.timeout;
        let late = self.late;
        (late > 0).then(|| format!("{late} executables were not hashed: it took longer than {timeout:?}"))
    }

    pub(super) fn record(&mut self, process: Known) -> ProcessRecord {
        match process {
            Known::Table(process) => self.of_table(process),
            Known::Told(process) => of_told(*process),
        }
    }

    fn of_table(&mut self, process: SnapshotEntry) -> ProcessRecord {
        let mut record = ProcessRecord {
            pid: process.pid,
            ppid: Some(process.ppid),
            name: process.name.to_string_lossy().into_owned(),
            executable_path: process.exe.as_ref().map(|path| path.to_string_lossy().into_owned()),
            start_time: Some(epoch_seconds(self.clocks.wall_of_boottime(process.start_ns))),
            collection_time: epoch_millis(self.clocks.wall),
            ..ProcessRecord::default()
        };
        self.add_details(&process, &mut record);
        record
    }

    /// Adds what /proc says, if it is about this very process.
    fn add_details(&mut self, process: &SnapshotEntry, record: &mut ProcessRecord) -> Option<()> {
        if self.stop.is_cancelled() {
            return None;
        }
        let of_proc = Process::new(i32::try_from(process.pid).ok()?).ok()?;
        let stat = of_proc.stat().ok()?;
        let started = stat.starttime.saturating_mul(1_000_000_000 / self.ticks_per_second);
        if started.abs_diff(process.start_ns) > SNAPSHOT_START_TOLERANCE_NS {
            return None;
        }
        let lived = self.clocks.boottime_ns.saturating_sub(process.start_ns) as f64 / 1e9;
        let used = (stat.utime + stat.stime) as f64 / self.ticks_per_second as f64;
        record.cpu_usage = (lived > 0.0).then(|| 100.0 * used / lived);
        record.memory_usage = Some(stat.rss.saturating_mul(self.page_bytes));
        record.user_id = of_proc.status().ok().map(|status| status.ruid.to_string());
        record.command_line = of_proc.cmdline().unwrap_or_default();
        if let Ok(executable) = File::open(format!("/proc/{}/exe", process.pid)) {
            record.file_exists = executable.metadata().is_ok_and(|file| file.nlink() > 0);
            if record.executable_path.is_none() && record.file_exists {
                record.executable_path = of_proc.exe().ok().map(|path| path.to_string_lossy().into_owned());
            }
            record.executable_hash = self.hash_of(&executable);
            record.hash_algorithm = record.executable_hash.as_ref().map(|_| "sha256".to_owned());
        }
        record.accessible = record.user_id.is_some();
        Some(())
    }

    fn hash_of(&mut self, executable: &File) -> Option<String> {
        let limits = self.hash.as_ref()?;
        let file = executable.metadata().ok()?;
        let key = (file.dev(), file.ino(), file.ctime(), file.ctime_nsec());
        if let Some(hash) = self.hashes.get(&key) {
            return hash.clone();
        }
        let hash = match hash_file(executable, limits, || {}) {
            Err(HashError::TimedOut(_)) => {
                self.late += 1;
                return None;
            }
            result => result.ok(),
        };
        self.hashes.insert(key, hash.clone());
        hash
    }
}

fn of_told(process: ProcessEvent) -> ProcessRecord {
    ProcessRecord {
        pid: process.pid,
        ppid: process.ppid,
        name: process.name,
        executable_path: process.executable_path,
        command_line: process.command_line,
        start_time: process.start_time.map(epoch_seconds),
        cpu_usage: process.cpu_usage,
        memory_usage: process.memory_usage,
        hash_algorithm: process.executable_hash.as_ref().map(|_| "sha256".to_owned()),
        executable_hash: process.executable_hash,
        user_id: process.user_id,
        accessible: process.accessible,
        file_exists: process.file_exists,
        collection_time: epoch_millis(process.timestamp),
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::ProcessFilter;
    use super::*;

    fn process(pid: u32, ppid: u32) -> SnapshotEntry {
        SnapshotEntry { pid, ppid, name: format!("p{pid}").as_str().into(), ..SnapshotEntry::default() }
    }

    fn filter(pids: &[u32]) -> filter::Processes {
        let filter = ProcessFilter { pids: pids.to_vec(), ..ProcessFilter::default() };
        filter::Processes::new(Some(filter)).unwrap()
    }

    fn pids(processes: &[Known]) -> Vec<u32> {
        processes.iter().map(Known::pid).collect()
    }

    #[test]
    fn a_tree_has_each_parent_before_its_children_and_nothing_else() {
        // 1 -> (2 -> (5, 6), 3 -> 4), and 9 whose parent is not known.
        let all = || {
            let entries = [(1, 0), (2, 1), (3, 1), (4, 3), (5, 2), (6, 2), (9, 77)];
            known(entries.map(|(pid, ppid)| process(pid, ppid)).to_vec(), Vec::new())
        };
        assert_eq!(pids(&trees(all(), &filter(&[2]))), [2, 5, 6]);
        assert_eq!(pids(&trees(all(), &filter(&[4, 3]))), [3, 4]);
        assert_eq!(pids(&trees(all(), &filter(&[9]))), [9]);
        assert_eq!(pids(&trees(all(), &filter(&[]))), [1, 2, 5, 6, 3, 4, 9]);
        assert!(trees(all(), &filter(&[100])).is_empty());
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let all = known(vec![process(1, 2), process(2, 1), process(3, 3)], Vec::new());
        assert_eq!(pids(&trees(all, &filter(&[]))), [1, 2, 3]);
    }

    #[test]
    fn the_table_stands_over_what_a_source_told() {
        let told = |pid| ProcessEvent { pid, name: "told".to_owned(), ..ProcessEvent::default() };
        let all = known(vec![process(2, 1)], vec![told(1), told(2)]);
        assert_eq!(pids(&all), [1, 2]);
        assert!(matches!(&all[..], [Known::Told(_), Known::Table(_)]));
    }

    #[test]
    fn details_are_added_to_the_very_process_and_to_no_other_with_its_pid() {
        let own = Process::myself().unwrap().stat().unwrap();
        let start_ns = own.starttime * (1_000_000_000 / procfs::ticks_per_second());
        let entry = |start_ns| Known::Table(SnapshotEntry { start_ns, ..process(std::process::id(), 1) });
        let mut recorder = Recorder::new(None, CancellationToken::new());
        let record = recorder.record(entry(start_ns));
        assert!(record.accessible && record.file_exists);
        assert_eq!(record.command_line, std::env::args().collect::<Vec<_>>());
        assert!(record.memory_usage.unwrap() > 1 << 20);
        assert!(record.cpu_usage.is_some() && record.user_id.is_some());
        let now = epoch_seconds(std::time::SystemTime::now());
        assert!((now - 600..=now).contains(&record.start_time.unwrap()), "{record:?}");
        let other = recorder.record(entry(start_ns + 2 * SNAPSHOT_START_TOLERANCE_NS));
        assert!(!other.accessible && other.command_line.is_empty() && other.memory_usage.is_none());
    }

    #[test]
    fn hashes_that_came_too_late_are_absent_and_said() {
        let limits = Limits {
            bytes_max: 1 << 30,
            until: std::time::Instant::now(),
            timeout: std::time::Duration::from_secs(20),
            access: crate::ipc::peer::Access::Full,
            stop: CancellationToken::new(),
        };
        let own = Process::myself().unwrap().stat().unwrap();
        let start_ns = own.starttime * (1_000_000_000 / procfs::ticks_per_second());
        let own = || Known::Table(SnapshotEntry { start_ns, ..process(std::process::id(), 1) });
        let mut recorder = Recorder::new(Some(limits), CancellationToken::new());
        for _ in 0..2 {
            let record = recorder.record(own());
            assert!(record.accessible && record.executable_hash.is_none());
        }
        let note = recorder.note().unwrap();
        assert_eq!(note, "2 executables were not hashed: it took longer than 20s");
    }
}
