//! `collectord doctor`: what it says is what `watch` then does, and what is missing has a cure.

use crate::cli::run;
use crate::privileges;
use crate::rig::{Rig, Skip};
use crate::watch::Watch;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::process::Command;

crate::tests![
    it_agrees_with_the_coverage_of_watch,
    an_event_of_its_own_comes_back_in_every_class,
    a_hook_is_ok_only_if_an_event_of_its_own_came_through_it,
    its_document_has_every_field,
    without_privileges_it_exits_77_with_the_cure,
    without_one_capability_it_exits_77_and_names_it,
    with_the_two_capabilities_alone_it_serves_processes,
    without_room_for_locked_memory_it_names_the_limit,
    without_btf_it_exits_69_with_the_cure,
    without_tracefs_it_names_the_mount_command,
    its_text_is_safe_and_ends_with_a_verdict,
    an_unknown_format_exits_2,
];

const CAP_SYS_ADMIN: &str = "21";
const CAP_SYS_RESOURCE: &str = "24";
const CAP_PERFMON: &str = "38";
const CAP_BPF: &str = "39";

/// Exit code and document of a doctor, which is the end of this command.
fn examined(command: &mut Command) -> Result<(i32, Value)> {
    let (code, out, err) = run(command)?;
    if let Some(refused) = out.lines().find(|line| line.contains("\"act\":\"refused\"")) {
        bail!(Skip(refused.to_owned()));
    }
    ensure!(!err.contains("panicked"), "{err}");
    let document: Value = serde_json::from_str(&out).with_context(|| format!("no document: {out}{err}"))?;
    let code = code.context("a code")?;
    ensure!(document["exit_code"].as_i64() == Some(code.into()), "ends with {code}, says {document}");
    Ok((code, document))
}

pub(crate) fn here(rig: &Rig, args: &[&str]) -> Result<(i32, Value)> {
    examined(rig.collectord().args(["doctor", "--format", "json"]).args(args))
}

/// Under one of the actor's changes.
fn changed(rig: &Rig, change: &[&str], program: &OsStr) -> Result<(i32, Value)> {
    let mut command = rig.actor_command(change);
    examined(command.arg("--").arg(program).args(["doctor", "--format", "json"]))
}

/// The check's status and cure.
fn check<'a>(document: &'a Value, name: &str) -> Result<(&'a str, &'a str)> {
    let checks = document["checks"].as_array().context("checks")?;
    let check = checks.iter().find(|check| check["name"] == name);
    let check = check.with_context(|| format!("no check {name}: {document}"))?;
    Ok((check["status"].as_str().context("a status")?, check["cure"].as_str().unwrap_or_default()))
}

/// Every value that `--events` takes.
fn every_event(rig: &Rig) -> Result<String> {
    let (_, _, err) = run(rig.collectord().args(["watch", "--events", "no-such-event"]))?;
    let values = err.split_once("[possible values: ").and_then(|(_, rest)| rest.split_once(']'));
    Ok(values.with_context(|| format!("no values are named: {err}"))?.0.replace(' ', ""))
}

fn it_agrees_with_the_coverage_of_watch(rig: &Rig) -> Result<()> {
    let events = every_event(rig)?;
    let stream = Watch::start(rig, &["--events", &events])?.stop()?;
    let coverage = stream.lines.first().context("a stream has lines")?.0["classes"].clone();
    let (code, document) = here(rig, &[])?;
    ensure!(code == 0, "watch serves and doctor exits {code}: {document}");
    let names = |classes: &Value| -> Result<BTreeSet<String>> {
        Ok(classes.as_object().context("classes")?.keys().cloned().collect())
    };
    ensure!(names(&coverage)? == names(&document["classes"])?, "{coverage} and {document}");
    for class in names(&coverage)? {
        let (told, found) = (&coverage[&class], &document["classes"][&class]);
        for part in ["hooks", "blind"] {
            ensure!(told[part] == found[part], "{class}: watch {} doctor {}", told[part], found[part]);
        }
    }
    Ok(())
}

fn an_event_of_its_own_comes_back_in_every_class(rig: &Rig) -> Result<()> {
    let (code, document) = here(rig, &[])?;
    ensure!(code == 0, "exit {code}: {document}");
    for (class, found) in document["classes"].as_object().context("classes")? {
        ensure!(found["status"] == "ok", "{class}: {found}");
        ensure!(found["event_after_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{class}: {found}");
        let hooks = document["hooks"].as_array().context("hooks")?;
        let came = hooks.iter().any(|hook| hook["class"] == class.as_str() && hook["event"] == true);
        ensure!(came, "{class}: no hook is named for its event: {document}");
    }
    for via in ["raw_tp:sched_process_exec", "raw_tp:sched_process_fork", "raw_tp:sched_process_exit"] {
        let hook = document["hooks"].as_array().into_iter().flatten().find(|hook| hook["via"] == via);
        ensure!(hook.is_some_and(|hook| hook["event"] == true), "{via}: {document}");
    }
    Ok(())
}

fn a_hook_is_ok_only_if_an_event_of_its_own_came_through_it(rig: &Rig) -> Result<()> {
    let (_, document) = here(rig, &[])?;
    let hooks = document["hooks"].as_array().context("hooks")?;
    for hook in hooks {
        let attached = ["direct", "portable"].iter().any(|readers| hook[readers]["attached"] == true);
        let status = hook["status"].as_str().context("a status")?;
        let expected = if hook["event"] == true { "ok" } else { "untested" };
        ensure!(if attached { status == expected } else { status != "ok" }, "{hook}");
    }
    // What the helper can make an event for, has one. Requests of io_uring it cannot make.
    let status = |stream: &str| {
        let hook = hooks.iter().find(|hook| hook["stream"] == stream);
        hook.map_or("not there", |hook| hook["status"].as_str().unwrap_or_default())
    };
    for stream in [
        "exec",
        "fork",
        "exit",
        "execve",
        "execveat",
        "tcp_begin",
        "tcp_end",
        "connect_exit",
        "openat",
        "openat2",
    ] {
        ensure!(status(stream) == "ok", "{stream} is {}: {document}", status(stream));
    }
    // These not every kernel has, or allows.
    let others = hooks.iter().filter(|hook| {
        let stream = hook["stream"].as_str().unwrap_or_default();
        stream.starts_with("ia32_") || ["open", "creat", "open_by_handle_at"].contains(&stream)
    });
    for hook in others {
        ensure!(hook["status"] != "untested", "{hook}");
    }
    let (code, out, _) = run(rig.collectord().arg("doctor"))?;
    let untested = out.lines().filter(|line| line.starts_with("  ?  ") && line.ends_with("untested")).count();
    let expected = hooks.iter().filter(|hook| hook["status"] == "untested").count();
    ensure!(code == Some(0) && untested == expected, "{out}");
    Ok(())
}

fn its_document_has_every_field(rig: &Rig) -> Result<()> {
    let (_, document) = here(rig, &[])?;
    let has = |value: &Value, fields: &[&str]| {
        let keys: BTreeSet<&str> =
            value.as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default();
        keys == fields.iter().copied().collect()
    };
    let all = ["version", "kernel", "exit_code", "checks", "classes", "hooks", "hooks_untried"];
    ensure!(has(&document, &all), "{document}");
    let checks = document["checks"].as_array().context("checks")?;
    for check in checks {
        ensure!(has(check, &["name", "status", "found", "cure"]), "{check}");
        ensure!(matches!(check["status"].as_str(), Some("ok" | "warn" | "fail" | "info")), "{check}");
    }
    for name in ["BTF", "capabilities", "tracefs", "cgroup2", "memlock", "lockdown", "process snapshot"] {
        check(&document, name)?;
    }
    for class in document["classes"].as_object().context("classes")?.values() {
        let fields = ["status", "hooks", "blind", "event_after_ms", "helper_failed"];
        ensure!(has(class, &fields), "{class}");
    }
    let fields = ["via", "class", "stream", "status", "direct", "portable", "event", "blind_without", "cure"];
    for hook in document["hooks"].as_array().context("hooks")? {
        ensure!(has(hook, &fields), "{hook}");
        for readers in ["direct", "portable"] {
            ensure!(has(&hook[readers], &["loaded", "attached", "refused"]), "{hook}");
            let refused = hook[readers]["refused"].is_string();
            ensure!(refused != (hook[readers]["attached"] == true), "refused and attached: {hook}");
        }
    }
    Ok(())
}

/// Not served for lack of this capability, with what to do about it.
fn lacks(code: i32, document: &Value, capability: &str) -> Result<()> {
    ensure!(code == 77, "exit {code}, not 77: {document}");
    let (status, cure) = check(document, "capabilities")?;
    ensure!(status == "fail", "{document}");
    for cure in [cure, document["classes"]["process"]["cure"].as_str().unwrap_or_default()] {
        for part in [capability, "setcap cap_bpf,cap_perfmon", "AmbientCapabilities=", "as root"] {
            ensure!(cure.contains(part), "{part} is not in the cure: {cure}");
        }
    }
    let missing = document["classes"]["process"]["missing_capabilities"].as_array().context("a list")?;
    ensure!(missing.iter().any(|name| name == capability), "{missing:?}");
    Ok(())
}

fn without_privileges_it_exits_77_with_the_cure(rig: &Rig) -> Result<()> {
    // Where the daemon was built, another user may not be let in.
    let copy = rig.copy(rig.collectord_path(), "collectord")?;
    let (code, document) = changed(rig, &["uid", "34567"], copy.as_os_str())?;
    lacks(code, &document, "CAP_BPF")?;
    ensure!(check(&document, "BTF")?.0 == "ok", "BTF needs no privilege: {document}");
    Ok(())
}

fn without_one_capability_it_exits_77_and_names_it(rig: &Rig) -> Result<()> {
    for (number, name) in [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")] {
        let change = ["dropcap", number, CAP_SYS_ADMIN];
        let (code, document) = changed(rig, &change, rig.collectord_path().as_os_str())?;
        lacks(code, &document, name)?;
    }
    Ok(())
}

fn with_the_two_capabilities_alone_it_serves_processes(rig: &Rig) -> Result<()> {
    let others: Vec<String> =
        (0..=40).map(|number| number.to_string()).filter(|n| n != CAP_BPF && n != CAP_PERFMON).collect();
    let actor = rig.actor();
    let actor = actor.to_string_lossy();
    // Kernels before 5.11 charge maps to the limit, and CAP_SYS_RESOURCE goes with the others: lifted where it may be.
    let lift = ["memlock", "1099511627776", "--", &actor];
    let may_lift = rig.act(lift.into_iter().chain(["tell"])).is_ok();
    let mut change: Vec<&str> = lift.into_iter().filter(|_| may_lift).chain(["dropcap"]).collect();
    change.extend(others.iter().map(String::as_str));
    let probe: Vec<&str> = change.iter().copied().chain(["--", &actor, "probe-bpf", "attach"]).collect();
    rig.act(probe)?;
    let (_, document) = changed(rig, &change, rig.collectord_path().as_os_str())?;
    ensure!(document["classes"]["process"]["status"] == "ok", "{document}");
    // Another user than root may not read tracefs, and without it no open is seen.
    let copy = rig.copy(rig.collectord_path(), "collectord")?;
    let mut command = rig.actor_command(&privileges::two_capabilities(rig)?);
    let (code, document) = examined(command.arg(copy).args(["doctor", "--format", "json"]))?;
    let file = &document["classes"]["file"];
    ensure!(code == 77, "exit {code}, not 77: {document}");
    ensure!(document["classes"]["process"]["status"] == "ok", "{document}");
    ensure!(file["missing_capabilities"] == json!(["CAP_DAC_READ_SEARCH"]), "{file}");
    ensure!(file["cure"].as_str().is_some_and(|cure| cure.contains("CAP_DAC_READ_SEARCH")), "{file}");
    Ok(())
}

fn without_room_for_locked_memory_it_names_the_limit(rig: &Rig) -> Result<()> {
    let actor = rig.actor();
    let actor = actor.to_string_lossy();
    let change = ["memlock", "0", "--", &actor, "dropcap", CAP_SYS_RESOURCE];
    let probe: Vec<&str> = change.iter().copied().chain(["--", &actor, "probe-bpf", "map"]).collect();
    if rig.act(&probe).is_ok() {
        bail!(Skip("this kernel charges no maps to the limit".to_owned()));
    }
    let (code, document) = changed(rig, &change, rig.collectord_path().as_os_str())?;
    let cure = document["classes"]["process"]["cure"].as_str().unwrap_or_default();
    ensure!(code == 69 && cure.contains("LimitMEMLOCK=infinity"), "exit {code}: {document}");
    Ok(())
}

fn without_btf_it_exits_69_with_the_cure(rig: &Rig) -> Result<()> {
    let (code, document) = changed(rig, &["nobtf"], rig.collectord_path().as_os_str())?;
    ensure!(code == 69, "exit {code}: {document}");
    let (status, cure) = check(&document, "BTF")?;
    ensure!(
        status == "fail" && cure.contains("CONFIG_DEBUG_INFO_BTF=y") && cure.contains("--btf"),
        "{document}"
    );
    let text = rig.path("text");
    std::fs::write(&text, "this is no BTF\n".repeat(100))?;
    for file in [text, rig.path("no-such-file")] {
        let (code, document) = here(rig, &["--btf", &file.to_string_lossy()])?;
        ensure!(code == 69, "exit {code}: {document}");
        let (status, cure) = check(&document, "BTF")?;
        ensure!(status == "fail" && cure.contains("--btf"), "{document}");
    }
    Ok(())
}

fn without_tracefs_it_names_the_mount_command(rig: &Rig) -> Result<()> {
    let (_, document) = changed(rig, &["notracefs"], rig.collectord_path().as_os_str())?;
    let (status, cure) = check(&document, "tracefs")?;
    ensure!(status != "ok" && cure.contains("mount -t tracefs"), "{document}");
    ensure!(document["classes"]["process"]["status"] == "ok", "processes need no tracefs: {document}");
    // Not every kernel has every other hook.
    let (_, before) = here(rig, &[])?;
    let before = before["hooks"].as_array().context("hooks")?;
    for (hook, before) in document["hooks"].as_array().context("hooks")?.iter().zip(before) {
        let by_tracefs = hook["via"].as_str().is_some_and(|via| via.starts_with("tp:"));
        // In a class that cannot be served without it no other hook can tell either.
        let served = document["classes"][hook["class"].as_str().context("a class")?]["status"] == "ok";
        let expected = before["status"] == "ok" && !by_tracefs && served;
        ensure!((hook["status"] == "ok") == expected, "{hook}");
        if by_tracefs {
            ensure!(hook["cure"].as_str().is_some_and(|cure| cure.contains("mount -t tracefs")), "{hook}");
        }
    }
    Ok(())
}

fn its_text_is_safe_and_ends_with_a_verdict(rig: &Rig) -> Result<()> {
    // A file name that would paint the terminal.
    let file = rig.path("\x1b[31mred");
    let (code, out, err) = run(rig.collectord().args(["doctor", "--btf"]).arg(&file))?;
    ensure!(code == Some(69), "exit {code:?}: {out}{err}");
    ensure!(!out.contains('\x1b') && !err.contains('\x1b'), "an escape reaches the terminal: {out:?}");
    ensure!(out.contains("FAIL  BTF") && out.contains("cure: "), "{out}");
    let verdict = out.lines().last().unwrap_or_default();
    ensure!(verdict.starts_with("Not served on this kernel: process"), "{out}");
    let (code, out, _) = run(rig.collectord().arg("doctor"))?;
    let verdict = out.lines().last().unwrap_or_default();
    ensure!(code == Some(0) && verdict.starts_with("Every class is served"), "exit {code:?}: {out}");
    Ok(())
}

fn an_unknown_format_exits_2(rig: &Rig) -> Result<()> {
    let (code, out, err) = run(rig.collectord().args(["doctor", "--format", "xml"]))?;
    ensure!(code == Some(2) && out.is_empty() && err.contains("json"), "exit {code:?}: {out}{err}");
    Ok(())
}
