//! No silent loss: what is lost is told, to the last event.

use crate::exec::{bytes, exec_of};
use crate::limits;
use crate::process::Process;
use crate::rig::Rig;
use crate::watch::{Watch, watched};
use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use std::time::Duration;

crate::tests![
    nothing_is_lost_at_the_default_size,
    nothing_is_lost_while_a_watch_starts,
    a_full_ring_tells_each_loss,
    a_loss_in_the_last_events_is_told,
    the_largest_exec_fits_the_smallest_ring,
    what_happened_before_sigint_is_delivered,
    every_event_told_is_in_the_summary,
];

/// The smallest ring that the daemon takes.
const RING_SMALLEST: &str = "process=32KiB";

/// Each makes an exit (and an internal fork).
const STORM: u64 = 1500;

fn nothing_is_lost_at_the_default_size(rig: &Rig) -> Result<()> {
    let (_, stream) = watched(rig, &[], || rig.act(["storm", &STORM.to_string()]))?;
    ensure!(stream.lost == 0, "{} events were lost", stream.lost);
    let missed = stream.summed("missed")?;
    ensure!(missed == stream.may_miss("process")?, "{missed} runs were skipped");
    let exits = stream.of_kind("exit").count() as u64;
    ensure!(exits > STORM, "{exits} exits of more than {STORM}");
    Ok(())
}

fn nothing_is_lost_while_a_watch_starts(rig: &Rig) -> Result<()> {
    // Events come from the first moment on: each one that is numbered has a ring to go to.
    for _ in 0..3 {
        let storm = Process::start(&mut rig.actor_command(["storm", "100000"]), None)?;
        let watch = Watch::start(rig, &[])?;
        // Drops, and so ends, the storm.
        drop(storm);
        let stream = watch.stop()?;
        ensure!(stream.lost == 0, "{} events were lost at the start: {:?}", stream.lost, stream.lines.last());
    }
    Ok(())
}

/// A storm into small rings, while the daemon is stopped from outside; afterwards one more event if `after`.
fn storm_while_stopped(rig: &Rig, after: bool) -> Result<()> {
    let watch = Watch::start(rig, &["--ring-size", RING_SMALLEST])?;
    watch.process.signal(Signal::SIGSTOP)?;
    let storm = rig.act(["storm", &STORM.to_string()]);
    watch.process.signal(Signal::SIGCONT)?;
    storm?;
    if after {
        rig.act(["forks", "1"])?;
    }
    // The checker holds the law: delivered + told losses + internal = generated, each number once.
    let stream = watch.stop()?;
    ensure!(stream.lost > 0, "nothing was lost: the test shows nothing");
    let generated = stream.summed("generated")?;
    ensure!(generated >= 2 * STORM, "{STORM} forks and exits happened, {generated} events were generated");
    Ok(())
}

fn a_full_ring_tells_each_loss(rig: &Rig) -> Result<()> {
    storm_while_stopped(rig, true)
}

fn a_loss_in_the_last_events_is_told(rig: &Rig) -> Result<()> {
    storm_while_stopped(rig, false)
}

fn the_largest_exec_fits_the_smallest_ring(rig: &Rig) -> Result<()> {
    // Path and working directory just under 4 KiB, and more arguments than are kept.
    let depth = (4000 - rig.folder().as_os_str().len()) / 201;
    let argument = "a".repeat(10_000);
    let (act, stream) = watched(rig, &["--ring-size", RING_SMALLEST], || {
        rig.act_os(&[&"deep", &rig.folder(), &depth.to_string(), &"200", &argument])
    })?;
    let folder = (0..depth).fold(rig.folder(), |folder, _| folder.join("d".repeat(200)));
    let exec = exec_of(&stream, &act.child()?, &act, &folder.join("deepest"))?;
    ensure!(exec.bytes("exec.cwd")? == bytes(&folder), "cwd: {}", exec.0);
    ensure!(exec.told("truncated", "exec.argv").is_some(), "argv is cut: {}", exec.0);
    Ok(())
}

fn what_happened_before_sigint_is_delivered(rig: &Rig) -> Result<()> {
    // Five times, since the race is with the last event.
    let mut took = (0..5).map(|_| one_stop(rig)).collect::<Result<Vec<_>>>()?;
    took.sort_unstable();
    let promised = limits::promised_stop();
    ensure!(took[2] <= promised, "SIGINT to the end took {took:?}, promised are {promised:?}");
    Ok(())
}

/// How long it takes from SIGINT to the end.
fn one_stop(rig: &Rig) -> Result<Duration> {
    let (act, stream) = watched(rig, &[], || rig.act_os(&[&"spawn", &"3", &rig.actor(), &"exit", &"0"]))?;
    for child in act.children()? {
        stream.exit_of(&child)?;
    }
    ensure!(stream.summed("pending")? == 0, "{} events are left over", stream.summed("pending")?);
    Ok(stream.took)
}

fn every_event_told_is_in_the_summary(rig: &Rig) -> Result<()> {
    let (act, stream) = watched(rig, &["--events", "exec,exit,fork"], || {
        rig.act_os(&[&"spawn", &"20", &rig.actor(), &"exit", &"0"])
    })?;
    let told = stream.events().count() as u64;
    ensure!(stream.summed("delivered")? == told, "{told} lines");
    ensure!(act.children()?.len() == 20, "the actor made fewer children");
    ensure!(told >= 60, "20 forks, execs and exits happened, {told} events are told");
    Ok(())
}
