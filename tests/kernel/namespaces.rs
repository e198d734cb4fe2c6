//! The daemon in namespaces of its own: it knows itself there, and times are the kernel's.

use crate::limits;
use crate::process::Process;
use crate::rig::{Rig, Skip};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::time::{Duration, SystemTime};

crate::tests![
    in_a_pid_namespace_it_is_not_in_its_own_stream,
    in_a_time_namespace_times_are_the_kernels_and_nothing_seems_to_be_gone,
];

/// Wall clock and the kernel's are compared every ten seconds, and one can be set meanwhile by a little.
const SLACK: Duration = Duration::from_millis(500);

/// What a watch says that the actor starts under one of its changes.
fn watched(rig: &Rig, change: &[&str]) -> Result<Vec<Value>> {
    let daemon = rig.collectord_path().to_string_lossy().into_owned();
    let watch = ["watch", "--format", "json", "--canary", "100ms", "--duration", "4s"];
    let mut process =
        Process::start(&mut rig.actor_command(change.iter().copied().chain([&*daemon]).chain(watch)), None)?;
    let mut lines: Vec<_> = process.line(limits::act())?.into_iter().collect();
    // It watches, or says what was refused.
    rig.act(["forks", "1"])?;
    lines.extend(process.rest(limits::act())?);
    let code = process.wait(limits::act())?.code();
    let lines = lines.iter().map(|line| serde_json::from_slice(line).context("a line is JSON"));
    let lines: Vec<Value> = lines.collect::<Result<_>>()?;
    if let Some(refused) = lines.iter().find(|line| line["act"] == "refused") {
        bail!(Skip(refused.to_string()));
    }
    ensure!(code == Some(0), process.failure(&format!("ended with {code:?}")));
    Ok(lines)
}

/// Its canary came back to itself alone.
fn knows_itself(rig: &Rig, lines: &[Value]) -> Result<()> {
    let faults: Vec<_> = lines.iter().filter(|line| line["event"] == "error").collect();
    ensure!(faults.is_empty(), "{faults:?}");
    // Another daemon may be on this machine.
    let daemon = rig.collectord_path().canonicalize()?;
    let is_own = |line: &&Value| line["process"]["exe"] == *daemon.to_string_lossy();
    let own = lines.iter().filter(is_own).find(|line| line.to_string().contains("collectord-canary"));
    ensure!(own.is_none(), "an event of its own: {own:?}");
    let summary = lines.iter().find(|line| line["event"] == "summary").context("a summary")?;
    for class in ["process", "network", "file"] {
        let internal = &summary["classes"][class]["internal"];
        ensure!(internal.as_u64() >= Some(5), "{class}: {internal} internal events");
    }
    Ok(())
}

fn in_a_pid_namespace_it_is_not_in_its_own_stream(rig: &Rig) -> Result<()> {
    knows_itself(rig, &watched(rig, &["pidns"])?)
}

fn in_a_time_namespace_times_are_the_kernels_and_nothing_seems_to_be_gone(rig: &Rig) -> Result<()> {
    // Less than the machine has run, or its clock would stand below 0.
    for seconds in ["1000000", "-1"] {
        let begun = SystemTime::now();
        let lines = watched(rig, &["timens", seconds, "--"])?;
        knows_itself(rig, &lines)?;
        let times = lines.iter().filter(|line| line["ktime_ns"].is_u64());
        let times = times.filter_map(|line| line["time"].as_str()).map(humantime::parse_rfc3339);
        let times: Vec<SystemTime> = times.collect::<Result<_, _>>()?;
        let (first, last) =
            (times.iter().min().context("an event")?, times.iter().max().context("an event")?);
        ensure!(*first >= begun - SLACK && *last <= SystemTime::now() + SLACK, "{first:?} to {last:?}");
    }
    Ok(())
}
