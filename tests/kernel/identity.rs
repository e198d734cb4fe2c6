//! Who a process is: users, capabilities, namespaces, pids inside and outside.

use crate::event::Event;
use crate::exec::exec_of;
use crate::rig::{Rig, Skip};
use crate::watch::{Stream, watched};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::os::linux::fs::MetadataExt as _;

crate::tests![
    ids_and_capabilities_are_those_that_the_process_has,
    ids_after_setresuid_are_the_new_ones,
    namespaces_are_told_by_inode,
    a_login_uid_and_its_session_are_told,
    a_process_in_a_pid_namespace_has_both_pids,
    the_cgroup_id_is_that_of_the_unified_hierarchy,
];

/// Lets the actor become someone, exec itself, and say who it is; returns its word and that exec's event.
fn self_told(rig: &Rig, become_someone: &[&str]) -> Result<(Value, Stream, usize)> {
    let actor = rig.actor();
    let actor = actor.to_string_lossy();
    let mut args: Vec<&str> = become_someone.to_vec();
    if !args.is_empty() {
        args.extend(["--", &actor]);
    }
    args.push("tell");
    let (act, stream) = watched(rig, &[], || rig.act(&args))?;
    let word = act.word("self")?.clone();
    let exec = stream
        .lines
        .iter()
        .rposition(|line| line.kind() == "exec" && Some(line.pid()) == word["pid"].as_u64())
        .context("no exec of the actor")?;
    Ok((word, stream, exec))
}

fn check_ids(word: &Value, exec: &Event) -> Result<()> {
    for id in ["ruid", "euid", "rgid", "egid"] {
        let told = exec.find(&format!("process.user.{id}"));
        ensure!(told == Some(&word[id]), "{id} is {}: {}", word[id], exec.0);
    }
    let caps = u64::from_str_radix(exec.text("process.cap_effective")?.trim_start_matches("0x"), 16)?;
    ensure!(Some(caps) == word["caps"].as_u64(), "capabilities are {}: {}", word["caps"], exec.0);
    Ok(())
}

fn check_namespaces(word: &Value, exec: &Event) -> Result<()> {
    for ns in ["pid", "mnt", "net", "user"] {
        let real = &word["ns"][ns];
        // The kernel was built without that kind.
        if *real != 0 {
            let told = exec.find(&format!("process.ns.{ns}"));
            ensure!(told == Some(real), "the {ns} namespace is {real}: {}", exec.0);
        }
    }
    Ok(())
}

fn ids_and_capabilities_are_those_that_the_process_has(rig: &Rig) -> Result<()> {
    let (word, stream, at) = self_told(rig, &[])?;
    check_ids(&word, &stream.lines[at])?;
    check_namespaces(&word, &stream.lines[at])
}

fn ids_after_setresuid_are_the_new_ones(rig: &Rig) -> Result<()> {
    let (word, stream, at) = self_told(rig, &["uid", "12345"])?;
    ensure!(word["ruid"] == 12345, "the actor is {word}");
    check_ids(&word, &stream.lines[at])
}

fn namespaces_are_told_by_inode(rig: &Rig) -> Result<()> {
    for kinds in ["mnt", "net", "user", "mnt,net,user"] {
        let (word, stream, at) = self_told(rig, &["ns", kinds])?;
        check_namespaces(&word, &stream.lines[at]).with_context(|| format!("unshared {kinds}"))?;
    }
    Ok(())
}

fn a_login_uid_and_its_session_are_told(rig: &Rig) -> Result<()> {
    let (word, stream, at) = self_told(rig, &["loginuid", "4321"])?;
    let exec = &stream.lines[at];
    ensure!(word["loginuid"] == "4321", "the actor is {word}");
    ensure!(exec.number("process.loginuid")? == 4321, "{}", exec.0);
    ensure!(
        Some(exec.number("process.session")?.to_string().as_str()) == word["session"].as_str(),
        "{}",
        exec.0
    );
    Ok(())
}

fn a_process_in_a_pid_namespace_has_both_pids(rig: &Rig) -> Result<()> {
    let (act, stream) = watched(rig, &[], || rig.act_os(&[&"pidns", &rig.actor(), &"exit", &"2"]))?;
    let child = act.child()?;
    let exec = stream.one("exec", &child)?;
    ensure!(child.word["inner"] == 1, "the first process of a namespace is pid 1: {:?}", child.word);
    ensure!(exec.number("process.ns_pid")? == 1, "ns_pid is not 1: {}", exec.0);
    ensure!(exec.number("process.ppid")? == child.ppid, "ppid is that outside, {}: {}", child.ppid, exec.0);
    ensure!(
        exec.find("process.ns.pid") == Some(&child.word["ns_pid"]),
        "ns.pid is {}: {}",
        child.word["ns_pid"],
        exec.0
    );
    let exit = stream.exit_of(&child)?;
    ensure!(exit.number("process.ns_pid")? == 1, "ns_pid at the exit: {}", exit.0);
    Ok(())
}

fn the_cgroup_id_is_that_of_the_unified_hierarchy(rig: &Rig) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let own = std::fs::read_to_string("/proc/self/cgroup")?;
    let mounted = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        (fields.next()? == "cgroup2").then_some(point)
    });
    let (Some(mounted), Some(path)) = (mounted, own.lines().find_map(|line| line.strip_prefix("0::"))) else {
        bail!(Skip("no unified cgroup hierarchy is mounted".to_owned()));
    };
    let inode = std::fs::metadata(format!("{mounted}{path}"))?.st_ino();
    let (act, stream) = watched(rig, &[], || rig.act_os(&[&"spawn", &"1", &rig.actor(), &"exit", &"0"]))?;
    let exec = exec_of(&stream, &act.child()?, &act, &rig.actor())?;
    ensure!(exec.number("process.cgroup_id")? == inode, "the cgroup's inode is {inode}: {}", exec.0);
    Ok(())
}
