//! What the daemon costs when nothing happens, and what its programs cost the verifier.

use crate::cli::run;
use crate::limits;
use crate::rig::{Rig, Skip};
use crate::watch::Watch;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

crate::tests![
    an_idle_watch_costs_less_than_promised,
    programs_names_each_program_and_its_hook,
    each_program_is_verified_within_its_bound,
    no_hook_is_lost_to_the_verifier,
];

/// Ticks of CPU time so far, in user and kernel mode.
fn cpu_ticks(pid: u64) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("a comm")?.1.split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

fn resident_kib(pid: u64) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// What it is made of, in one line.
fn memory(pid: u64) -> Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let lines =
        status.lines().filter(|line| ["Rss", "Threads", "THP"].iter().any(|name| line.starts_with(name)));
    let huge = rollup.lines().filter(|line| line.starts_with("AnonHugePages"));
    let words = lines.chain(huge).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    Ok(words.collect::<Vec<_>>().join(", "))
}

/// What a watch of every default class took while it was left alone.
struct Idle {
    events: u64,
    /// Of one core.
    percent: f64,
    resident_kib: u64,
    memory: String,
}

fn left_alone(rig: &Rig, args: &[&str]) -> Result<Idle> {
    let mut watch = Watch::start(rig, &[&["--events", "exec,exit,connect,open"], args].concat())?;
    let before = cpu_ticks(watch.pid())?;
    let events = watch.lines_within(limits::IDLE_WINDOW) as u64;
    let (after, resident_kib) = (cpu_ticks(watch.pid())?, resident_kib(watch.pid())?);
    let memory = memory(watch.pid())?;
    ensure!(memory.contains("THP_enabled: 0"), "huge pages can come: {memory}");
    watch.stop()?;
    // 100 ticks are a second.
    let percent = f64::from(u32::try_from(after - before)?) / limits::IDLE_WINDOW.as_secs_f64();
    Ok(Idle { events, percent, resident_kib, memory })
}

fn an_idle_watch_costs_less_than_promised(rig: &Rig) -> Result<()> {
    limits::kept(limits::promised_idle_percent(), || idle_percent(rig))
}

fn idle_percent(rig: &Rig) -> Result<f64> {
    let mut idle = left_alone(rig, &[])?;
    if idle.events > limits::IDLE_EVENTS_MAX {
        // On a busy machine a watch is idle only if a filter leaves out what the others do.
        idle = left_alone(rig, &["--comm", "no-such-name"])?;
    }
    let Idle { events, percent, resident_kib, memory } = idle;
    ensure!(events <= limits::IDLE_EVENTS_MAX, "{events} events came through a filter that nothing passes");
    ensure!(
        resident_kib <= limits::IDLE_RESIDENT_KIB_MAX,
        "{resident_kib} KiB are resident, promised are {}: {memory}",
        limits::IDLE_RESIDENT_KIB_MAX
    );
    Ok(percent)
}

/// The list that `programs --format json` prints.
fn programs(rig: &Rig) -> Result<Vec<Value>> {
    let (code, out, err) = run(rig.collectord().args(["programs", "--format", "json"]))?;
    ensure!(code == Some(0), "exit {code:?}: {err}");
    let listed: Value = serde_json::from_str(&out).with_context(|| format!("not JSON: {out}"))?;
    let list = listed.as_array().or_else(|| listed["programs"].as_array());
    Ok(list.with_context(|| format!("no list of programs: {out}"))?.clone())
}

fn programs_names_each_program_and_its_hook(rig: &Rig) -> Result<()> {
    let programs = programs(rig)?;
    for hook in ["sched_process_exec", "sched_process_fork", "sched_process_exit"] {
        let serving =
            programs.iter().find(|program| program["hook"].as_str().is_some_and(|h| h.contains(hook)));
        ensure!(
            serving.is_some_and(|program| program["program"].is_string()),
            "no program on {hook}: {programs:?}"
        );
    }
    Ok(())
}

fn each_program_is_verified_within_its_bound(rig: &Rig) -> Result<()> {
    // One that this kernel refuses has no count; that each hook is served is another test.
    let mut programs = programs(rig)?;
    programs.retain(|program| program["loaded"] == true);
    ensure!(!programs.is_empty(), "no programs");
    // Direct readers serve where they can be loaded.
    let serves = |program: &Value| {
        program["readers"] == "direct" || programs.iter().all(|all| all["readers"] != "direct")
    };
    let mut told = 0;
    for program in &programs {
        if let Some(count) = program["verified_instructions"].as_u64() {
            told += 1;
            let max =
                if serves(program) { limits::VERIFIED_INSTRUCTIONS_MAX } else { limits::VERIFIED_ASIDE_MAX };
            ensure!((1..max).contains(&count), "{program} is over {max}");
        }
    }
    if told == 0 {
        bail!(Skip("this kernel does not tell verified instructions".to_owned()));
    }
    ensure!(told == programs.len(), "only {told} of {} programs have a count: {programs:?}", programs.len());
    Ok(())
}

/// A hook that a verifier refuses is only named blind, and what needs it is skipped: so it is looked for here. Where no
/// function's return can be hooked at all, as without trampolines or under lockdown, the kernel refuses before it verifies.
fn no_hook_is_lost_to_the_verifier(rig: &Rig) -> Result<()> {
    let programs = programs(rig)?;
    for program in &programs {
        let stem = |program: &Value| {
            let name = program["program"].as_str().unwrap_or_default();
            name.trim_end_matches("_direct").trim_end_matches("_portable").to_owned()
        };
        let own = stem(program);
        let served = programs.iter().any(|other| stem(other) == own && other["loaded"] == true);
        let refused = program["refused"].as_str().unwrap_or_default();
        let forbidden = program["hook"].as_str().is_some_and(|hook| hook.starts_with("fexit:"))
            && refused.contains("(os error 1)");
        // What the kernel does not have has no error of the kernel's.
        let why: Vec<_> =
            programs.iter().filter(|other| stem(other) == own).map(|other| &other["refused"]).collect();
        ensure!(served || forbidden || !refused.contains("(os error"), "nothing serves {own}: {why:?}");
    }
    Ok(())
}
