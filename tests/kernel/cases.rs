//! Rare kinds of opens and execs, against what the caller itself saw.

use crate::connect::{acted, agree};
use crate::exec::exec_of;
use crate::hostile;
use crate::open::{of_process, text, words};
use crate::rig::{Act, Rig};
use crate::watch::{Stream, watched};
use anyhow::{Result, ensure};
use nix::errno::Errno;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

crate::tests![
    a_file_without_a_name_and_in_other_namespaces_is_told,
    a_connect_in_a_pid_namespace_is_told_with_the_outer_pid,
    the_opened_inode_is_told_while_another_thread_changes_the_path,
    each_kind_of_failed_open_has_its_errno,
    each_kind_of_failed_exec_has_its_errno_and_thread,
    hostile_bytes_of_a_failed_exec_come_back_exactly,
    an_exec_by_a_32_bit_call_is_told,
];

fn open_acted(rig: &Rig, act: &str, more: &[&str]) -> Result<(Act, Stream)> {
    let folder = rig.path("cases");
    std::fs::create_dir(&folder)?;
    let args = [OsString::from(act), folder.into()].into_iter().chain(more.iter().map(OsString::from));
    watched(rig, &["--events", "open"], || rig.act(args))
}

fn a_file_without_a_name_and_in_other_namespaces_is_told(rig: &Rig) -> Result<()> {
    let (act, stream) = open_acted(rig, "open-cases", &[])?;
    crate::open_places::check(&stream, &act)?;
    let kinds: BTreeSet<&str> = act.words.iter().map(|word| text(word, "kind")).collect();
    ensure!(kinds.contains("another's root") && kinds.contains("a pid namespace"), "{kinds:?}");
    Ok(())
}

fn a_connect_in_a_pid_namespace_is_told_with_the_outer_pid(rig: &Rig) -> Result<()> {
    let (acts, stream) = acted(rig, &["pidns-connect"])?;
    ensure!(agree(&acts, &stream)? == 1, "not one");
    let (pid, _) = words(&acts[0], "connect")?;
    let event = of_process(&stream, "connect", pid)[0];
    ensure!(event.number("process.ns_pid")? == 1, "{}", event.0);
    Ok(())
}

fn the_opened_inode_is_told_while_another_thread_changes_the_path(rig: &Rig) -> Result<()> {
    let (act, stream) = open_acted(rig, "raced-opens", &["500"])?;
    let (pid, words) = words(&act, "open")?;
    let events = of_process(&stream, "open", pid);
    ensure!(words.len() == 500 && events.len() == 500, "{} of {} are told", events.len(), words.len());
    for (event, word) in events.into_iter().zip(&words) {
        let same = ["path", "fd", "dev", "ino"].iter().all(|&key| event.0["open"][key] == word[key]);
        ensure!(same, "the caller saw {word}, the event says {}", event.0);
    }
    let files: BTreeSet<&str> = words.iter().map(|word| text(word, "path")).collect();
    ensure!(files.len() == 2, "the race never changed what was opened: {files:?}");
    Ok(())
}

fn each_kind_of_failed_open_has_its_errno(rig: &Rig) -> Result<()> {
    let (act, stream) = open_acted(rig, "open-failures", &[])?;
    let (pid, words) = words(&act, "failed")?;
    let events = of_process(&stream, "open", pid);
    let failed: Vec<_> = events.into_iter().filter(|event| event.find("open.errno").is_some()).collect();
    ensure!(failed.len() == words.len(), "{} opens failed, {} are told", words.len(), failed.len());
    let mut errnos = BTreeSet::new();
    for (event, word) in failed.into_iter().zip(&words) {
        let errno = format!("{:?}", errno_of(word)?);
        ensure!(event.text("open.errno")? == errno, "{word}: {}", event.0);
        let requested = event.find("open.requested").and_then(Value::as_str).unwrap_or_default();
        ensure!(requested == text(word, "requested"), "{word}: {}", event.0);
        errnos.insert(errno);
    }
    for errno in ["ENOENT", "EISDIR", "ENAMETOOLONG", "ELOOP", "EACCES"] {
        ensure!(errnos.contains(errno), "no {errno}: {errnos:?}");
    }
    Ok(())
}

fn errno_of(word: &Value) -> Result<Errno> {
    Ok(Errno::from_raw(i32::try_from(word["errno"].as_i64().unwrap_or_default())?))
}

fn each_kind_of_failed_exec_has_its_errno_and_thread(rig: &Rig) -> Result<()> {
    let folder = rig.path("cases");
    std::fs::create_dir(&folder)?;
    let (act, stream) = watched(rig, &["--events", "exec"], || rig.act_os(&[&"exec-failures", &folder]))?;
    let (pid, words) = words(&act, "exec_failed")?;
    let events = of_process(&stream, "exec_failed", pid);
    ensure!(events.len() == words.len(), "{words:?} are told as {events:?}");
    for (event, word) in events.into_iter().zip(&words) {
        ensure!(event.text("exec_failed.errno")? == format!("{:?}", errno_of(word)?), "{word}: {}", event.0);
        ensure!(event.text("exec_failed.filename")? == text(word, "path"), "{word}: {}", event.0);
        ensure!(event.number("process.tid").ok() == word["tid"].as_u64(), "{word}: {}", event.0);
        let cut = event.told("truncated", "exec_failed.argv").is_some();
        ensure!(cut == (text(word, "kind") == "too large"), "{word}: {}", event.0);
    }
    let errnos: Vec<_> = words.iter().map(|word| errno_of(word)).collect::<Result<_>>()?;
    ensure!(
        errnos == [Errno::EACCES, Errno::EACCES, Errno::ENOEXEC, Errno::E2BIG, Errno::ENOENT],
        "{errnos:?}"
    );
    Ok(())
}

fn hostile_bytes_of_a_failed_exec_come_back_exactly(rig: &Rig) -> Result<()> {
    let names: Vec<OsString> = hostile::names().map(OsString::from).collect();
    let mut args = vec![OsString::from("exec-nowhere")];
    args.extend(names.iter().cloned());
    let (act, stream) = watched(rig, &["--events", "exec"], || rig.act(&args))?;
    let (pid, _) = words(&act, "exec_failed")?;
    let events = of_process(&stream, "exec_failed", pid);
    ensure!(events.len() == 1, "{events:?}");
    ensure!(events[0].bytes("exec_failed.filename")? == names[0].as_bytes(), "{}", events[0].0);
    let expected: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
    ensure!(events[0].list("exec_failed.argv")? == expected, "{}", events[0].0);
    Ok(())
}

fn an_exec_by_a_32_bit_call_is_told(rig: &Rig) -> Result<()> {
    let (act, stream) = watched(rig, &[], || rig.act_os(&[&"exec32", &rig.actor(), &"exit", &"7"]))?;
    let child = act.child()?;
    let exec = exec_of(&stream, &child, &act, &rig.actor())?;
    ensure!(exec.argv()?[1..] == [&b"exit"[..], b"7"], "{}", exec.0);
    stream.exit_of(&child).map(drop)
}
