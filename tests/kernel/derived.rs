//! What the process table adds: names of users, cgroups and containers, and ancestors.

use crate::cgroup::{Group, spawned_in};
use crate::event::Event;
use crate::exec::bytes;
use crate::process::Process;
use crate::rig::{Act, Rig};
use crate::watch::{Stream, Watch, watched};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

crate::tests![
    a_container_is_told_by_the_cgroup_of_its_processes,
    a_container_that_is_gone_at_once_is_told_with_its_id,
    a_container_far_down_is_never_taken_for_an_outer_one,
    a_process_that_changes_its_cgroup_is_told_in_the_new_one,
    users_are_told_by_name,
    ancestors_are_told_nearest_first_and_only_when_asked_for,
    a_process_whose_parent_has_ended_is_told_under_the_one_that_took_it_over,
    a_connection_that_is_decided_later_names_the_parent_and_the_user_that_asked,
];

/// A container's id of this run alone.
fn some_id(salt: u32) -> String {
    format!("{:08x}{salt:08x}", std::process::id()).repeat(4)
}

fn derived(event: &Event, path: &str) -> bool {
    event.0["derived"].as_array().is_some_and(|list| list.contains(&json!(path)))
}

/// The exec of the actor's child, which ran in that cgroup.
fn check_cgroup(stream: &Stream, act: &Act, path: &str, id: &str, runtime: Option<&str>) -> Result<()> {
    let child = act.child()?;
    for event in [stream.one("exec", &child)?, stream.one("exit", &child)?] {
        ensure!(event.text("process.cgroup")? == path, "the cgroup is {path}: {}", event.0);
        ensure!(event.text("process.container_id")? == id, "the container is {id}: {}", event.0);
        let told = event.find("process.container_runtime").and_then(Value::as_str);
        ensure!(told == runtime, "the runtime is {runtime:?}: {}", event.0);
        for field in ["process.cgroup", "process.container_id"] {
            ensure!(derived(event, field), "{field} is not in derived: {}", event.0);
        }
    }
    Ok(())
}

fn a_container_is_told_by_the_cgroup_of_its_processes(rig: &Rig) -> Result<()> {
    let (early, late) = (some_id(1), some_id(2));
    let early_path = format!("/docker-{early}.scope");
    let early_group = Group::new(&early_path)?;
    let watch = Watch::start(rig, &[])?;
    let early_act = spawned_in(rig, &early_group)?;
    // Made while the watch runs: the hierarchy is walked again.
    let late_path = format!("/libpod-{late}.scope");
    let late_group = Group::new(&late_path)?;
    let late_act = spawned_in(rig, &late_group)?;
    let stream = watch.stop()?;
    check_cgroup(&stream, &early_act, &early_path, &early, Some("docker"))?;
    check_cgroup(&stream, &late_act, &late_path, &late, Some("podman"))
}

fn a_container_that_is_gone_at_once_is_told_with_its_id(rig: &Rig) -> Result<()> {
    const CONTAINERS: u32 = 10;
    let watch = Watch::start(rig, &[])?;
    let mut acts = Vec::new();
    for number in 0..CONTAINERS {
        let id = some_id(100 + number);
        let path = format!("/docker-{id}.scope");
        let group = Group::new(&path)?;
        acts.push((spawned_in(rig, &group)?, path, id));
        // Here it is removed: nobody can find it by walking the hierarchy any more.
        drop(group);
    }
    let stream = watch.stop()?;
    stream.skip_if_blind("process", "cgroup-short-lived")?;
    for (act, path, id) in &acts {
        check_cgroup(&stream, act, path, id, Some("docker"))?;
    }
    Ok(())
}

/// So far that the kernel's own word for it is cut.
fn a_container_far_down_is_never_taken_for_an_outer_one(rig: &Rig) -> Result<()> {
    const LEVELS: usize = 6;
    const CHILDREN: usize = 10;
    let (outer, inner) = (some_id(4), some_id(5));
    let watch = Watch::start(rig, &[])?;
    let mut path = format!("/docker-{outer}.scope");
    let mut groups = vec![Group::new(&path)?];
    for _ in 0..LEVELS {
        path = format!("{path}/{}", "n".repeat(200));
        groups.push(Group::new(&path)?);
    }
    path = format!("{path}/libpod-{inner}");
    let group = Group::new(&path)?;
    let acts = (0..CHILDREN).map(|_| spawned_in(rig, &group)).collect::<Result<Vec<_>>>()?;
    let stream = watch.stop()?;
    // The outer ones last.
    drop(group);
    while groups.pop().is_some() {}
    let mut told = 0;
    for act in &acts {
        let child = act.child()?;
        for event in [stream.one("exec", &child)?, stream.one("exit", &child)?] {
            let cgroup = event.find("process.cgroup").and_then(Value::as_str);
            let container = event.find("process.container_id").and_then(Value::as_str);
            // It is found by a walk of the hierarchy, and between walks there is a rest.
            let known = cgroup.is_some();
            ensure!(cgroup.is_none_or(|cgroup| cgroup == path), "the cgroup is {path}: {}", event.0);
            ensure!(container == known.then_some(&*inner), "the container is {inner}: {}", event.0);
            told += u32::from(known);
        }
    }
    ensure!(told > 0, "none is told with its cgroup");
    Ok(())
}

fn a_process_that_changes_its_cgroup_is_told_in_the_new_one(rig: &Rig) -> Result<()> {
    let id = some_id(3);
    let (from, to) = (Group::new(&format!("/plain-{}", std::process::id()))?, Group::new(&format!("/{id}"))?);
    let actor = rig.actor().to_string_lossy().into_owned();
    let watch = Watch::start(rig, &[])?;
    let args = ["gate", "--", &actor, "gate", "--", &actor, "exit", "0"];
    let mut process = Process::start(&mut rig.actor_command(args), None)?;
    let pid = process.pid();
    from.take_in(pid)?;
    to.take_in(pid)?;
    process.tell(b"xx")?;
    Act::finish(process)?;
    let stream = watch.stop()?;
    let last = stream.of_kind("exec").filter(|exec| exec.pid() == u64::from(pid)).last();
    let last = last.context("no exec of the actor")?;
    ensure!(last.text("process.cgroup")? == format!("/{id}"), "{}", last.0);
    ensure!(last.text("process.container_id")? == id, "{}", last.0);
    ensure!(last.find("process.container_runtime").is_none(), "nothing says whose it is: {}", last.0);
    Ok(())
}

/// The name that /etc/passwd gives a user.
fn name_of(uid: u64) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').nth(2) == Some(uid.to_string().as_str()))?;
    line.split(':').next().map(str::to_owned)
}

fn users_are_told_by_name(rig: &Rig) -> Result<()> {
    for uid in [0, 1, 12_345] {
        let actor = rig.actor().to_string_lossy().into_owned();
        let args = ["uid", &uid.to_string(), "--", &actor, "tell"];
        let (act, stream) = watched(rig, &[], || rig.act(args))?;
        let pid = act.word("self")?["pid"].as_u64();
        let exec = stream.of_kind("exec").filter(|exec| Some(exec.pid()) == pid).last();
        let exec = exec.context("no exec of the actor")?;
        ensure!(exec.number("process.user.ruid")? == uid, "{}", exec.0);
        for field in ["process.user.ruid_name", "process.user.euid_name"] {
            let told = exec.find(field).and_then(Value::as_str);
            ensure!(told == name_of(uid).as_deref(), "user {uid} is {:?}: {}", name_of(uid), exec.0);
            ensure!(derived(exec, field) == told.is_some(), "{field} in derived: {}", exec.0);
        }
    }
    Ok(())
}

fn ancestors(event: &Event) -> Result<&Vec<Value>> {
    event
        .find("process.ancestors")
        .and_then(Value::as_array)
        .with_context(|| format!("no ancestors in {}", event.0))
}

fn ancestors_are_told_nearest_first_and_only_when_asked_for(rig: &Rig) -> Result<()> {
    let actor = rig.actor();
    let act = |rig: &Rig| rig.act_os(&[&"spawn", &"1", &actor, &"spawn", &"1", &actor, &"exit", &"0"]);
    let (acted, stream) = watched(rig, &["--ancestry", "3"], || act(rig))?;
    // Told by the inner actor first.
    let children = acted.children()?;
    let [child, parent] = &children[..] else { bail!("two children: {children:?}") };
    ensure!(child.ppid == parent.pid, "{children:?}");
    for event in [stream.one("exec", child)?, stream.one("exit", child)?] {
        let above = ancestors(event)?;
        let pids: Vec<_> = above.iter().filter_map(|above| above["pid"].as_u64()).collect();
        let own = u64::from(std::process::id());
        ensure!(pids == [parent.pid, parent.ppid, own], "{pids:?}: {}", event.0);
        for (above, pid) in above.iter().zip([parent.pid, parent.ppid]) {
            let exec = stream.of_kind("exec").find(|exec| exec.pid() == pid).context("an ancestor's exec")?;
            ensure!(above["start_ns"] == exec.0["process"]["start_ns"], "{above} and {}", exec.0);
            ensure!(above["name"] == "actor", "{above}");
            ensure!(above["exe"].as_str().map(str::as_bytes) == Some(bytes(&actor)), "{above}");
        }
        let own_exe = std::env::current_exe()?;
        ensure!(above[2]["exe"].as_str().map(str::as_bytes) == Some(bytes(&own_exe)), "{}", above[2]);
        ensure!(derived(event, "process.ancestors"), "{}", event.0);
    }
    let (acted, stream) = watched(rig, &[], || act(rig))?;
    let exec = stream.one("exec", &acted.children()?[0])?;
    ensure!(exec.find("process.ancestors").is_none(), "nobody asked: {}", exec.0);
    Ok(())
}

fn a_process_whose_parent_has_ended_is_told_under_the_one_that_took_it_over(rig: &Rig) -> Result<()> {
    let args: [&dyn AsRef<std::ffi::OsStr>; 4] = [&"orphan", &rig.actor(), &"exit", &"0"];
    let (act, stream) = watched(rig, &["--ancestry", "16"], || rig.act_os(&args))?;
    let (child, ended) = (act.child()?, act.word("ended")?["pid"].as_u64());
    let exec = stream.one("exec", &child)?;
    ensure!(exec.number("process.ppid")? == child.ppid, "{}", exec.0);
    let above = ancestors(exec)?;
    ensure!(above[0]["pid"] == child.ppid, "the actor took it over: {}", exec.0);
    ensure!(above.iter().all(|above| above["pid"].as_u64() != ended), "{ended:?} has ended: {}", exec.0);
    ensure!(exec.text("process.parent_name")? == "actor", "{}", exec.0);
    Ok(())
}

fn a_connection_that_is_decided_later_names_the_parent_and_the_user_that_asked(rig: &Rig) -> Result<()> {
    let args = ["--events", "exec,exit,connect", "--ancestry", "1"];
    let (act, stream) = watched(rig, &args, || rig.act(["changed-meanwhile", "1"]))?;
    let asked = act.word("asked")?;
    let (pid, ppid) = (asked["pid"].as_u64(), asked["ppid"].as_u64());
    let decided = stream.of_kind("connect_result").find(|event| Some(event.pid()) == pid);
    let decided = decided.context("no result")?;
    ensure!(decided.find("process.ppid").and_then(Value::as_u64) == ppid, "{}", decided.0);
    ensure!(decided.text("process.parent_name")? == "first-parent", "{}", decided.0);
    ensure!(ancestors(decided)?[0]["pid"].as_u64() == ppid, "{}", decided.0);
    ensure!(decided.number("process.user.ruid")? == 0, "{}", decided.0);
    let told = decided.find("process.user.ruid_name").and_then(Value::as_str);
    ensure!(told == name_of(0).as_deref(), "user 0 is {:?}: {}", name_of(0), decided.0);
    let exit = stream.of_kind("exit").find(|event| Some(event.pid()) == pid).context("no exit")?;
    ensure!(exit.text("process.parent_name")? == "actor", "{}", exit.0);
    ensure!(exit.number("process.user.ruid")? == 1, "{}", exit.0);
    let told = exit.find("process.user.ruid_name").and_then(Value::as_str);
    ensure!(told == name_of(1).as_deref(), "user 1 is {:?}: {}", name_of(1), exit.0);
    Ok(())
}
