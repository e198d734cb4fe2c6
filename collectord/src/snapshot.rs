//! The processes that run when the collector starts, from /proc: names and programs for the process table. Nothing an
//! event must have comes from here.

use collector_core::event::Text;
use collector_core::process_table::SnapshotEntry;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

/// Every process that /proc shows. A process that ends meanwhile is left out.
pub fn processes() -> Vec<SnapshotEntry> {
    let Ok(processes) = procfs::process::all_processes() else { return Vec::new() };
    let tick_ns = 1_000_000_000 / procfs::ticks_per_second().max(1);
    processes
        .flatten()
        .filter_map(|process| {
            let stat = process.stat().ok()?;
            Some(SnapshotEntry {
                pid: u32::try_from(stat.pid).ok()?,
                start_ns: stat.starttime.saturating_mul(tick_ns),
                ppid: u32::try_from(stat.ppid).ok()?,
                name: Text::from(stat.comm.as_str()),
                exe: process.exe().ok().map(|path| Text::from(path.as_os_str().as_bytes())),
                exe_file: std::fs::metadata(format!("/proc/{}/exe", stat.pid))
                    .ok()
                    .map(|file| (kernel_dev(file.dev()), file.ino())),
            })
        })
        .collect()
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
    fn this_process_is_in_it() {
        let me = std::process::id();
        let all = processes();
        let entry = all.iter().find(|entry| entry.pid == me).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert_eq!(entry.exe.as_ref().unwrap().as_bytes(), exe.as_os_str().as_bytes());
        assert_eq!(entry.exe_file.unwrap().1, std::fs::metadata(&exe).unwrap().ino());
        assert_eq!(entry.ppid, std::os::unix::process::parent_id());
    }
}
