//! Which program an event is told of: the one that ran at the hook, though what it runs and what it opens come from
//! different sources.

use crate::process::Process;
use crate::rig::{Act, Rig};
use crate::watch::{Stream, Watch};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;

crate::tests![
    what_short_programs_open_is_told_with_their_path,
    portable_readers_tell_the_same,
    an_open_has_the_file_that_runs_from_its_own_hook,
];

/// Side by side.
const PROCESSES: usize = 3;
/// Of each: a program that starts another one, which opens.
const PROGRAMS: usize = 60;

/// When a process executed what.
type Execs<'a> = BTreeMap<&'a str, Vec<(u64, &'a Value)>>;

fn execs(stream: &Stream) -> Result<Execs<'_>> {
    let mut execs = Execs::new();
    for event in stream.of_kind("exec") {
        let path = event.find("exec.path").context("an exec has a path")?;
        execs.entry(event.text("process.key")?).or_default().push((event.number("ktime_ns")?, path));
    }
    execs.values_mut().for_each(|of_process| of_process.sort_by_key(|(ktime_ns, _)| *ktime_ns));
    Ok(execs)
}

fn short_programs(rig: &Rig, args: &[&str]) -> Result<Stream> {
    let (outer, inner) = (rig.copy(&rig.actor(), "outer")?, rig.copy(&rig.actor(), "inner")?);
    let watch = Watch::start(rig, args)?;
    let mut actors = Vec::new();
    for number in 0..PROCESSES {
        let mut command = rig.actor_command(["spawn", &PROGRAMS.to_string()]);
        let folder = rig.path(format!("files{number}"));
        std::fs::create_dir(&folder)?;
        command.arg(&outer).args(["spawn", "1"]).arg(&inner).args(["open-each", "%"]).current_dir(folder);
        actors.push(Process::start(&mut command, None)?);
    }
    actors.into_iter().map(Act::finish).collect::<Result<Vec<_>>>()?;
    watch.stop()
}

fn have_their_path(rig: &Rig, args: &[&str]) -> Result<()> {
    let stream = short_programs(rig, args)?;
    ensure!(stream.lost == 0, "{} events were lost", stream.lost);
    let execs = execs(&stream)?;
    let (mut told, mut without) = (0, 0_u64);
    for event in ["open", "exit"].iter().flat_map(|kind| stream.of_kind(kind)) {
        let Some(of_process) = execs.get(event.text("process.key")?) else { continue };
        let ktime_ns = event.number("ktime_ns")?;
        let Some((_, path)) = of_process.iter().rev().find(|(exec_ns, _)| *exec_ns < ktime_ns) else {
            continue;
        };
        told += 1;
        match event.find("process.exe") {
            None => without += 1,
            Some(exe) => ensure!(exe == *path, "{path} ran: {}", event.0),
        }
    }
    // Two opens and two ends each.
    ensure!(told >= PROCESSES * PROGRAMS * 4, "{told} events of programs");
    // Where the kernel preempts programs, it skips others meanwhile, and counts them.
    ensure!(without <= stream.summed("missed")?, "{without} of {told} have no path");
    Ok(())
}

fn what_short_programs_open_is_told_with_their_path(rig: &Rig) -> Result<()> {
    have_their_path(rig, &["--events", "exec,exit,open"])
}

fn portable_readers_tell_the_same(rig: &Rig) -> Result<()> {
    have_their_path(rig, &["--events", "exec,exit,open", "--readers", "portable"])
}

fn an_open_has_the_file_that_runs_from_its_own_hook(rig: &Rig) -> Result<()> {
    let stream = short_programs(rig, &["--events", "open"])?;
    let inner = rig.path("inner");
    let file = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&inner)?);
    // Opens of it that the kernel may have skipped.
    let mut told = stream.may_miss("file")?;
    for event in
        stream.of_kind("open").filter(|event| event.text("process.name").is_ok_and(|name| name == "inner"))
    {
        told += 1;
        ensure!(event.number("process.exe_ino")? == file, "{}", event.0);
        let derived = event.0["derived"].as_array().context("a list")?;
        ensure!(!derived.iter().any(|field| field == "process.exe_ino"), "{}", event.0);
    }
    ensure!(told >= (PROCESSES * PROGRAMS * 2) as u64, "{told} opens of it");
    Ok(())
}
