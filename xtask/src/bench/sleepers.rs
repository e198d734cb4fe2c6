//! Many processes that do nothing, for what grows with their number. A small C program makes them (`sleepers.c`), which
//! is compiled here when it is needed.

use crate::afterwards::Setting;
use crate::exec;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const SOURCE: &str = include_str!("sleepers.c");
/// Memory that the kernel takes for one of them; 26.3 KiB on 6.18.
const SLEEPER_KIB: u64 = 27;
const PID_MAX: &str = "/proc/sys/kernel/pid_max";

/// Processes that do nothing until this is dropped or this program has ended.
pub(super) struct Sleepers {
    /// The program that made them; they end when its standard input does.
    parent: Child,
    /// Dropped after them.
    _pid_max: Option<Setting>,
}

impl Sleepers {
    /// Makes them. The program is built in `folder`.
    pub(super) fn start(processes: u64, folder: &Path) -> Result<Self> {
        let memory = fs::read_to_string("/proc/meminfo")?;
        let (available, needed) = (available_kib(&memory)?, needed_kib(processes));
        ensure!(available > needed, "it needs {needed} KiB of memory, {available} are available");
        let program = compiled(folder)?;
        // Threads and other processes need pids too.
        let raised = fs::read_to_string(PID_MAX)?.trim().parse::<u64>()? < processes * 2;
        let pid_max = raised.then(|| Setting::to(PID_MAX, &(processes * 2).to_string())).transpose()?;
        let parent = Command::new(program)
            .arg(processes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("failed to start the program that makes processes")?;
        let mut sleepers = Self { parent, _pid_max: pid_max };
        let stdout = sleepers.parent.stdout.take().context("a piped command has no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line == "there\n", "{processes} processes could not be made");
        Ok(sleepers)
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        drop(self.parent.stdin.take());
        if let Err(error) = self.parent.wait() {
            eprintln!("failed to wait for the end of many processes: {error}");
        }
    }
}

fn compiled(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let (source, program) = (folder.join("sleepers.c"), folder.join("sleepers"));
    fs::write(&source, SOURCE).with_context(|| format!("failed to write {}", source.display()))?;
    // Static: a call that is bound at its first use would need more than their small stacks.
    let flags = ["-std=gnu11", "-static", "-O1", "-Wall", "-Wextra", "-o"];
    exec::capture(Command::new("cc").args(flags).arg(&program).arg(&source))?;
    Ok(program)
}

/// Half as much again as they take.
fn needed_kib(processes: u64) -> u64 {
    processes * SLEEPER_KIB * 3 / 2
}

fn available_kib(meminfo: &str) -> Result<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    number.context("/proc/meminfo does not say what is available")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_and_a_hundred_thousand_need_four_gigabytes() {
        let text = "MemTotal:       24689572 kB\nMemFree:         5823444 kB\nMemAvailable:   22196184 kB\n";
        assert_eq!(available_kib(text).unwrap(), 22_196_184);
        assert!(available_kib("MemFree: 1 kB\n").is_err());
        assert_eq!(needed_kib(100_000), 4_050_000);
    }

    #[test]
    fn they_are_there_and_end_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let sleepers = Sleepers::start(20, folder.path()).unwrap();
        let pid = sleepers.parent.id();
        let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let there: Vec<String> = children().split_whitespace().map(str::to_owned).collect();
        assert_eq!(there.len(), 20);
        drop(sleepers);
        for pid in there {
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is still there");
        }
    }
}
