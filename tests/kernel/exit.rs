//! Ends of processes: once each, with the status that the parent's waitpid saw.

use crate::event::{Child, NS_PER_TICK};
use crate::rig::{Rig, Skip};
use crate::watch::{Stream, watched};
use anyhow::{Result, bail, ensure};
use serde_json::Value;

crate::tests![
    each_exit_code_is_told,
    a_killed_process_tells_the_signal,
    a_core_dump_is_told,
    racing_threads_are_one_exit,
    a_leader_that_ends_first_is_no_exit_until_the_last_thread_ends,
    a_group_exit_after_the_leader_ended_is_one_exit,
    threads_that_end_are_no_exits,
    the_duration_is_how_long_the_process_lived,
    the_start_is_that_of_proc_stat_and_the_same_in_exec_and_exit,
    a_process_without_an_exec_ends_with_its_exit,
    forks_are_told_when_asked_for,
    threads_are_told_when_asked_for,
    forks_are_counted_as_internal_when_not_asked_for,
];

fn acted(rig: &Rig, args: &[&str]) -> Result<(Vec<Child>, Stream)> {
    let (act, stream) = watched(rig, &[], || rig.act(args))?;
    Ok((act.children()?, stream))
}

/// Every child ends once, as its parent saw it; as many exits may be absent as runs of preempted hooks were skipped.
fn ends_once(rig: &Rig, args: &[&str]) -> Result<(Vec<Child>, Stream)> {
    let (children, stream) = acted(rig, args)?;
    ensure!(!children.is_empty(), "the actor made no children");
    let mut absent = 0;
    for child in &children {
        match stream.exit_of(child) {
            Err(error) if error.is::<Skip>() => absent += 1,
            other => drop(other?),
        }
    }
    ensure!(absent <= stream.may_miss("process")?, "{absent} of {} exits are absent", children.len());
    stream.none_from_the_collector()?;
    Ok((children, stream))
}

fn each_exit_code_is_told(rig: &Rig) -> Result<()> {
    let (children, _) = ends_once(rig, &["spawn", "256", "./actor", "exit", "%"])?;
    for (code, child) in (0..).zip(&children) {
        ensure!(child.status == code << 8, "child {code} ended with {:#x}", child.status);
    }
    Ok(())
}

fn a_killed_process_tells_the_signal(rig: &Rig) -> Result<()> {
    // SIGKILL, SIGSEGV, SIGTERM, and the last real-time signal.
    for signal in ["9", "11", "15", "64"] {
        let (children, _) = ends_once(rig, &["signal", signal])?;
        ensure!(children[0].status & 0x7f == signal.parse::<u64>()?, "{children:?}");
    }
    Ok(())
}

fn a_core_dump_is_told(rig: &Rig) -> Result<()> {
    let (children, _) = ends_once(rig, &["core"])?;
    if children[0].word["core"] != Value::Bool(true) {
        bail!(Skip("no core dump is written here".to_owned()));
    }
    Ok(())
}

fn racing_threads_are_one_exit(rig: &Rig) -> Result<()> {
    const TIMES: usize = 200;
    let (children, _) = ends_once(rig, &["race", &TIMES.to_string(), "8"])?;
    ensure!(children.len() == TIMES, "{} children", children.len());
    Ok(())
}

fn a_leader_that_ends_first_is_no_exit_until_the_last_thread_ends(rig: &Rig) -> Result<()> {
    // Whose code the parent sees differs between kernels: waitpid decides.
    ends_once(rig, &["leader-first", "3", "7", "thread"]).map(drop)
}

fn a_group_exit_after_the_leader_ended_is_one_exit(rig: &Rig) -> Result<()> {
    let (children, _) = ends_once(rig, &["leader-first", "3", "7", "group"])?;
    ensure!(children[0].status == 7 << 8, "exit_group decides the code: {children:?}");
    Ok(())
}

fn threads_that_end_are_no_exits(rig: &Rig) -> Result<()> {
    ends_once(rig, &["short-threads", "16", "9"]).map(drop)
}

fn the_duration_is_how_long_the_process_lived(rig: &Rig) -> Result<()> {
    let (children, stream) = ends_once(rig, &["live", "60", "2"])?;
    let exit = stream.one("exit", &children[0])?;
    let duration = exit.number("exit.duration_ns")?;
    ensure!(duration >= 60_000_000, "it lived 60 ms, the event says {duration} ns");
    ensure!(
        duration <= children[0].elapsed_ns,
        "its parent saw {} ns, not {duration}",
        children[0].elapsed_ns
    );
    let span = exit.number("ktime_ns")?.checked_sub(exit.number("process.start_ns")?);
    ensure!(
        span.is_some_and(|span| span.abs_diff(duration) < NS_PER_TICK),
        "start, time and duration: {}",
        exit.0
    );
    Ok(())
}

fn the_start_is_that_of_proc_stat_and_the_same_in_exec_and_exit(rig: &Rig) -> Result<()> {
    let (children, stream) = ends_once(rig, &["spawn", "20", "./actor", "exit", "0"])?;
    for child in &children {
        // `one` compares with /proc/PID/stat to the tick.
        let (exec, exit) = (stream.one("exec", child)?, stream.one("exit", child)?);
        for path in ["process.start_ns", "process.key"] {
            ensure!(exec.find(path) == exit.find(path), "{path} differs: {} {}", exec.0, exit.0);
        }
    }
    Ok(())
}

fn a_process_without_an_exec_ends_with_its_exit(rig: &Rig) -> Result<()> {
    let (children, stream) = ends_once(rig, &["forks", "20"])?;
    for child in &children {
        let exec = stream.of_kind("exec").find(|event| child.is_in(event));
        ensure!(exec.is_none(), "it never called exec: {exec:?}");
    }
    Ok(())
}

fn forks_are_told_when_asked_for(rig: &Rig) -> Result<()> {
    let (act, stream) = watched(rig, &["--events", "fork,exit"], || rig.act(["forks", "50"]))?;
    for child in act.children()? {
        let mut forks = stream.of_kind("fork").filter(|fork| {
            fork.pid() == child.ppid && fork.number("fork.child_pid").is_ok_and(|pid| pid == child.pid)
        });
        let (Some(fork), None) = (forks.next(), forks.next()) else {
            bail!("{child:?} has no fork, or two");
        };
        ensure!(fork.number("fork.child_tid")? == child.pid, "child_tid: {}", fork.0);
        ensure!(!fork.flag("fork.thread")?, "no thread: {}", fork.0);
        stream.exit_of(&child)?;
    }
    let execs = stream.of_kind("exec").next();
    ensure!(execs.is_none(), "execs were not asked for: {execs:?}");
    // Threads are not asked for, and the actor made none; others may.
    let thread = stream.of_kind("fork").find(|fork| fork.flag("fork.thread").unwrap_or(true));
    ensure!(thread.is_none(), "a thread is told: {thread:?}");
    stream.none_from_the_collector()
}

fn threads_are_told_when_asked_for(rig: &Rig) -> Result<()> {
    const THREADS: usize = 16;
    let flags = ["--events", "fork,exit", "--threads"];
    let (act, stream) = watched(rig, &flags, || rig.act(["short-threads", &THREADS.to_string(), "0"]))?;
    let child = &act.children()?[0];
    let threads: Vec<_> = stream.of_kind("fork").filter(|fork| fork.pid() == child.pid).collect();
    ensure!(threads.len() == THREADS, "{} of {THREADS} threads are told", threads.len());
    let mut tids = Vec::new();
    for thread in threads {
        ensure!(thread.flag("fork.thread")?, "no thread: {}", thread.0);
        ensure!(thread.number("fork.child_pid")? == child.pid, "of another process: {}", thread.0);
        tids.push(thread.number("fork.child_tid")?);
    }
    tids.sort_unstable();
    tids.dedup();
    ensure!(tids.len() == THREADS && !tids.contains(&child.pid), "thread ids: {tids:?}");
    stream.exit_of(child).map(drop)
}

fn forks_are_counted_as_internal_when_not_asked_for(rig: &Rig) -> Result<()> {
    let (act, stream) = watched(rig, &[], || rig.act(["forks", "50"]))?;
    let forks = act.children()?.len() as u64;
    let internal = stream.summed("internal")?;
    ensure!(internal >= forks, "{forks} forks happened, {internal} events were internal");
    ensure!(stream.of_kind("fork").next().is_none(), "forks were not asked for");
    Ok(())
}
