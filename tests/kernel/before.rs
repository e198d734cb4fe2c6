//! Processes that ran before the watch: what the snapshot at the start knows of them.

use crate::doctor;
use crate::embed::kernel_source;
use crate::event::NS_PER_TICK;
use crate::exec::bytes;
use crate::limits;
use crate::process::Process;
use crate::rig::{Act, Rig};
use crate::watch::{Watch, watched};
use anyhow::{Context as _, Result, bail, ensure};
use collector_common::Filters;
use collector_core::process_table::SnapshotEntry;
use collectord::snapshot::{ToldBy, from_proc};
use nix::sys::stat::{major, minor};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use serde_json::Value;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

crate::tests![
    their_events_have_exact_ancestors_and_the_running_file,
    without_the_iterator_proc_tells_all_but_exact_starts,
    an_open_of_one_has_its_program_and_its_parents_name,
    iterator_and_proc_tell_the_same,
    one_that_has_ended_is_not_told_and_one_without_a_leader_is,
];

/// Field 22 of /proc/PID/stat.
fn start_ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind_name = stat.rsplit_once(')').context("a stat has a name")?.1;
    Ok(behind_name.split_whitespace().nth(19).context("a stat has a start")?.parse()?)
}

fn comm(pid: u32) -> Result<String> {
    Ok(std::fs::read_to_string(format!("/proc/{pid}/comm"))?.trim_end_matches('\n').to_owned())
}

/// Waits for a line of the actor's; its pid.
fn told_pid(process: &Process, act: &str) -> Result<u32> {
    while let Some(line) = process.line(limits::act())? {
        let word: Value = serde_json::from_slice(&line)?;
        if word["act"] == act {
            return Ok(u32::try_from(word["pid"].as_u64().context("a pid")?)?);
        }
    }
    Err(process.failure(&format!("ended without {act}")))
}

/// A process that waits for its child, which waits for a byte. Each runs a program of its own.
struct Waiting {
    outer: Process,
    outer_path: PathBuf,
    inner: u32,
    inner_path: PathBuf,
}

fn waiting(rig: &Rig) -> Result<Waiting> {
    let (outer_path, inner_path) = (rig.copy(&rig.actor(), "outer")?, rig.copy(&rig.actor(), "inner")?);
    let mut command = Command::new(&outer_path);
    command.args(["spawn", "1"]).arg(&inner_path).args(["gate", "--"]).arg(rig.actor()).args(["exit", "0"]);
    let outer = Process::start(&mut command, None)?;
    let inner = told_pid(&outer, "gate")?;
    Ok(Waiting { outer, outer_path, inner, inner_path })
}

fn is_path(value: &Value, path: &Path) -> bool {
    value.as_str().map(str::as_bytes) == Some(bytes(path))
}

/// The child executes and both end under a watch.
fn ends_under_a_watch(rig: &Rig, args: &[&str], exact: bool) -> Result<()> {
    let Waiting { mut outer, outer_path, inner, .. } = waiting(rig)?;
    let (own, outer_pid) = (std::process::id(), outer.pid());
    let outer_ticks = start_ticks(outer_pid)?;
    let watch = Watch::start(rig, &[&["--ancestry", "16"], args].concat())?;
    outer.tell(b"x")?;
    let child = Act::finish(outer)?.child()?;
    let stream = watch.stop()?;
    ensure!(child.pid == u64::from(inner), "{child:?}");

    // The actor's word, which has the start of /proc, found it.
    let exec = stream.one("exec", &child)?;
    ensure!(exec.text("process.parent_name")? == "outer", "{}", exec.0);
    let mut exits = stream.of_kind("exit").filter(|exit| exit.pid() == u64::from(outer_pid));
    let exit = exits.next().context("the outer process ended")?;
    let start_ns = exit.number("process.start_ns")?;
    ensure!(start_ns / NS_PER_TICK == outer_ticks, "/proc says {outer_ticks} ticks: {}", exit.0);
    ensure!(is_path(&exit.0["process"]["exe"], &outer_path), "{}", exit.0);
    let file = std::fs::metadata(&outer_path)?;
    let dev = format!("{}:{}", major(file.dev()), minor(file.dev()));
    ensure!(
        exit.text("process.exe_dev")? == dev && exit.number("process.exe_ino")? == file.ino(),
        "{}",
        exit.0
    );
    ensure!(exit.text("process.parent_name")? == comm(own)?, "{}", exit.0);

    let above = &exec.0["process"]["ancestors"];
    ensure!(above[0]["pid"] == outer_pid && above[0]["name"] == "outer", "{}", exec.0);
    ensure!(is_path(&above[0]["exe"], &outer_path), "{}", exec.0);
    ensure!(above[1]["pid"] == own && is_path(&above[1]["exe"], &std::env::current_exe()?), "{}", exec.0);
    // The outer process has had no event of its own yet.
    let told = above[0]["start_ns"].as_u64();
    ensure!(told == exact.then_some(start_ns), "the kernel says {start_ns}: {}", exec.0);
    if exact {
        let own_start = above[1]["start_ns"].as_u64().map(|start| start / NS_PER_TICK);
        ensure!(own_start == Some(start_ticks(own)?), "{}", exec.0);
    }
    Ok(())
}

fn their_events_have_exact_ancestors_and_the_running_file(rig: &Rig) -> Result<()> {
    ends_under_a_watch(rig, &[], true)?;
    ends_under_a_watch(rig, &["--readers", "portable"], true)
}

/// The kernel's BTF, in which nothing is called as the iterator's hook is.
fn btf_without_the_iterator(rig: &Rig) -> Result<String> {
    let mut btf = std::fs::read("/sys/kernel/btf/vmlinux")?;
    let name = b"\0bpf_iter_task\0";
    let at =
        btf.windows(name.len()).position(|bytes| bytes == name).context("this kernel has the iterator")?;
    btf[at + 1] = b'x';
    let file = rig.path("btf");
    std::fs::write(&file, btf)?;
    Ok(file.to_string_lossy().into_owned())
}

fn told_by(rig: &Rig, args: &[&str]) -> Result<Value> {
    let (_, document) = doctor::here(rig, args)?;
    let checks = document["checks"].as_array().context("checks")?;
    let check =
        checks.iter().find(|check| check["name"] == "process snapshot").context("the snapshot's line")?;
    ensure!(check["status"] == "info" && check["cure"].is_null(), "{check}");
    Ok(check["found"].clone())
}

fn without_the_iterator_proc_tells_all_but_exact_starts(rig: &Rig) -> Result<()> {
    let btf = btf_without_the_iterator(rig)?;
    ends_under_a_watch(rig, &["--btf", &btf], false)?;
    let (with, without) = (told_by(rig, &[])?, told_by(rig, &["--btf", &btf])?);
    ensure!(with.as_str().is_some_and(|found| found.starts_with("the kernel's task iterator")), "{with}");
    ensure!(without.as_str().is_some_and(|found| found.starts_with("/proc")), "{without}");
    Ok(())
}

fn an_open_of_one_has_its_program_and_its_parents_name(rig: &Rig) -> Result<()> {
    let own = std::process::id();
    let file = rig.path("opened");
    let args = ["--events", "open", "--pid", &own.to_string(), "--path-prefix", &file.to_string_lossy()];
    let ((), stream) = watched(rig, &args, || {
        std::fs::File::create(&file)?;
        Ok(())
    })?;
    let Some(open) = stream.of_kind("open").next() else {
        stream.skip_if_missed("open")?;
        bail!("the open is not told: {:?}", stream.lines.last());
    };
    ensure!(open.number("process.start_ns")? / NS_PER_TICK == start_ticks(own)?, "{}", open.0);
    ensure!(is_path(&open.0["process"]["exe"], &std::env::current_exe()?), "{}", open.0);
    let parent = comm(std::os::unix::process::parent_id())?;
    ensure!(open.text("process.parent_name")? == parent, "{parent} is the parent: {}", open.0);
    Ok(())
}

fn entry(processes: &[SnapshotEntry], pid: u32) -> Option<&SnapshotEntry> {
    processes.iter().find(|process| process.pid == pid)
}

/// What the iterator tells, and what /proc does.
fn both() -> Result<(Vec<SnapshotEntry>, Vec<SnapshotEntry>)> {
    let told = kernel_source(Filters::default())?.snapshot();
    ensure!(matches!(told.told_by, ToldBy::Iterator(_)), "{:?}", told.told_by);
    Ok((told.processes, from_proc()))
}

fn iterator_and_proc_tell_the_same(rig: &Rig) -> Result<()> {
    let waiting = waiting(rig)?;
    let (outer, own) = (waiting.outer.pid(), std::process::id());
    let (told, shown) = both()?;
    let mut pids: Vec<u32> = told.iter().map(|process| process.pid).collect();
    pids.dedup();
    ensure!(pids.len() == told.len(), "a process stands twice: {pids:?}");
    // Process 1 and the kernel's own threads are there on every machine.
    for pid in [outer, waiting.inner, own, 1, 2] {
        let shown = entry(&shown, pid).with_context(|| format!("/proc has no {pid}"))?;
        let told = entry(&told, pid).with_context(|| format!("the iterator has no {pid}"))?;
        // Some kernels' iterators begin behind process 1, which is then told from /proc.
        ensure!(told.exact || pid == 1, "{told:?}");
        ensure!(told.start_ns / NS_PER_TICK == start_ticks(pid)?, "{told:?}");
        let as_shown = SnapshotEntry { start_ns: shown.start_ns, exact: false, ..told.clone() };
        ensure!(as_shown == *shown, "the iterator says {told:?}, /proc {shown:?}");
    }
    let exe = |pid| entry(&told, pid).and_then(|process| process.exe.clone());
    for (pid, path) in [(outer, &waiting.outer_path), (waiting.inner, &waiting.inner_path)] {
        ensure!(exe(pid).is_some_and(|exe| exe.as_bytes() == bytes(path)), "{pid} runs {}", path.display());
    }
    Ok(())
}

fn one_that_has_ended_is_not_told_and_one_without_a_leader_is(rig: &Rig) -> Result<()> {
    let mut ended = rig.actor_command(["exit", "0"]).spawn()?;
    let pid = Pid::from_raw(i32::try_from(ended.id())?);
    waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    let headless = Process::start(&mut rig.actor_command(["headless"]), None)?;
    let headless_pid = told_pid(&headless, "headless")?;
    let (told, shown) = both()?;
    let zombie = ended.id();
    ended.wait()?;
    for (name, processes) in [("the iterator", told), ("/proc", shown)] {
        ensure!(entry(&processes, zombie).is_none(), "{name} tells {zombie}, whose exit nobody will tell");
        let alive =
            entry(&processes, headless_pid).with_context(|| format!("{name} has no {headless_pid}"))?;
        ensure!(alive.start_ns / NS_PER_TICK == start_ticks(headless_pid)?, "{name}: {alive:?}");
        ensure!(alive.name.as_bytes() == b"actor" && alive.ppid == std::process::id(), "{name}: {alive:?}");
    }
    Ok(())
}
