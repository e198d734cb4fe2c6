//! The processes that run when the collector starts, for the process table: from the kernel's task iterator, or from
//! /proc. Nothing an event must have comes from here.

use crate::kernel::{KernelObject, Readers, ReadersChoice, Refusal, Running, in_initial_pid_namespace};
use crate::source::clock::kernels_ns;
use crate::source::convert::{comm, is_place, write_path};
use bytes::BytesMut;
use collector_core::event::Text;
use collector_core::process_table::{PROCESS_TABLE_CAPACITY, SnapshotEntry};
use procfs::ProcResult;
use procfs::process::Process;
use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

/// The processes, and who told them.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Those that have not ended.
    pub processes: Vec<SnapshotEntry>,
    /// Who told them.
    pub told_by: ToldBy,
}

/// Who told a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToldBy {
    /// The kernel's task iterator, with this family of readers.
    Iterator(Readers),
    /// /proc, because the iterator was refused.
    Proc(Refusal),
}

/// By the iterator where the kernel takes it. What ends later must be told by an event, so the hooks are attached first.
pub(crate) fn take(object: &mut KernelObject, readers: ReadersChoice) -> Snapshot {
    match object.running(readers) {
        Ok((running, readers)) => {
            let mut text = BytesMut::new();
            let mut processes: Vec<_> = running.iter().map(|running| entry(running, &mut text)).collect();
            let untold = untold(&processes);
            processes.extend(untold);
            tracing::debug!(
                processes = processes.len(),
                readers = readers.name(),
                "told by the task iterator"
            );
            Snapshot { processes, told_by: ToldBy::Iterator(readers) }
        }
        Err(refusal) => {
            tracing::info!(%refusal, "the task iterator is refused; /proc tells what runs");
            Snapshot { processes: from_proc(), told_by: ToldBy::Proc(refusal) }
        }
    }
}

fn entry(running: &Running, buffer: &mut BytesMut) -> SnapshotEntry {
    let task = &running.record.task;
    SnapshotEntry {
        pid: task.pid,
        start_ns: task.start_ns,
        ppid: task.ppid,
        name: Text::from(comm(&task.comm)),
        exe: running.names.as_ref().filter(|names| is_place(names, running.record.path)).map(|names| {
            write_path(names, buffer);
            Text::new(buffer.split().freeze())
        }),
        exe_file: (task.exe_ino != 0).then_some((task.exe_dev, task.exe_ino)),
        exact: true,
    }
}

/// Processes that /proc shows and the iterator did not tell: the youngest, and on some kernels the first.
fn untold(told: &[SnapshotEntry]) -> Vec<SnapshotEntry> {
    if !in_initial_pid_namespace() {
        return Vec::new();
    }
    let told: HashSet<i32> = told.iter().filter_map(|process| i32::try_from(process.pid).ok()).collect();
    let shown = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = shown.filter_map(|folder| folder.file_name().to_str()?.parse().ok());
    let untold = pids.filter(|pid| !told.contains(pid)).filter_map(|pid| Process::new(pid).ok());
    entries_of_proc(untold).take(PROCESS_TABLE_CAPACITY.saturating_sub(told.len())).collect()
}

/// The processes that /proc shows and that have not ended, as many as a process table holds. Their starts are those of the
/// clock tick.
pub fn from_proc() -> Vec<SnapshotEntry> {
    let Ok(processes) = procfs::process::all_processes() else { return Vec::new() };
    entries_of_proc(processes.flatten()).take(PROCESS_TABLE_CAPACITY).collect()
}

fn entries_of_proc(processes: impl Iterator<Item = Process>) -> impl Iterator<Item = SnapshotEntry> {
    let tick_ns = 1_000_000_000 / procfs::ticks_per_second().max(1);
    processes.filter_map(move |process| entry_of_proc(&process, tick_ns).ok().flatten())
}

/// `None` for one that has ended and waits for its parent: no event will tell its exit.
fn entry_of_proc(process: &Process, tick_ns: u64) -> ProcResult<Option<SnapshotEntry>> {
    let stat = process.stat()?;
    if matches!(stat.state, 'Z' | 'X') && stat.num_threads <= 1 {
        return Ok(None);
    }
    let (Ok(pid), Ok(ppid)) = (u32::try_from(stat.pid), u32::try_from(stat.ppid)) else { return Ok(None) };
    let exe = exe_of(process);
    Ok(Some(SnapshotEntry {
        pid,
        start_ns: kernels_ns(stat.starttime.saturating_mul(tick_ns)),
        ppid,
        name: Text::from(stat.comm.as_str()),
        exe_file: exe.as_ref().map(|(_, file)| *file),
        exe: exe.map(|(path, _)| path),
        exact: false,
    }))
}

/// Path, device and inode of the running file; `None` if there is none, or another one by the time both are read. The
/// path is read through a descriptor of the process's own folder, which answers no longer when the process is gone: what
/// is read by pid in between is of no other.
fn exe_of(process: &Process) -> Option<(Text, (u32, u64))> {
    let path = process.exe().ok()?;
    let file = std::fs::metadata(format!("/proc/{}/exe", process.pid)).ok()?;
    if process.exe().ok()? != path {
        return None;
    }
    let path = path.as_os_str().as_bytes();
    // What the kernel puts behind the name of a file that has none any more. The hooks tell the name alone.
    let name = path.strip_suffix(b" (deleted)").filter(|_| file.nlink() == 0).unwrap_or(path);
    Some((Text::from(name), (kernel_dev(file.dev()), file.ino())))
}

/// A device as the kernel has it, from the encoding of `stat(2)`.
fn kernel_dev(dev: u64) -> u32 {
    let (major, minor) = (nix::sys::stat::major(dev), nix::sys::stat::minor(dev));
    u32::try_from((major << 20) | (minor & 0xf_ffff)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_in_that_of_proc() {
        let me = std::process::id();
        let all = from_proc();
        let entry = all.iter().find(|entry| entry.pid == me).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert_eq!(entry.exe.as_ref().unwrap().as_bytes(), exe.as_os_str().as_bytes());
        assert_eq!(entry.exe_file.unwrap().1, std::fs::metadata(&exe).unwrap().ino());
        assert_eq!(entry.ppid, std::os::unix::process::parent_id());
    }
}
