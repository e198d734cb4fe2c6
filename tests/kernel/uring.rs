//! Files opened through io_uring, against what the caller itself saw.

use crate::event::Event;
use crate::rig::{Act, Rig};
use crate::watch::{Stream, watched};
use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use serde_json::Value;
use std::collections::HashMap;

crate::tests![
    opens_at_once_are_each_told_once,
    opens_at_once_by_portable_readers_are_the_same,
    opens_by_workers_are_each_told_once,
    opens_by_the_polling_thread_are_each_told_once,
    opens_into_the_rings_table_have_their_file,
    filters_apply_to_opens_through_io_uring,
];

/// Requests: a fifth of each kind that the actor has.
const OPENS: usize = 2_000;
const DIRECT: usize = 200;

/// What the actor opened while a watch ran, which is not blind to it.
fn acted(rig: &Rig, args: &[&str], act: &[&str]) -> Result<(Act, Stream)> {
    let folder = rig.path("uring");
    std::fs::create_dir(&folder)?;
    let folder = folder.to_string_lossy().into_owned();
    let mut all: Vec<&str> = act.to_vec();
    all.insert(1, &folder);
    let args = [&["--events", "open"], args].concat();
    let (act, stream) = watched(rig, &args, || rig.act(all))?;
    stream.skip_if_blind("file", "io-uring-open")?;
    ensure!(stream.lost == 0, "{} events were lost", stream.lost);
    Ok((act, stream))
}

/// The events of the actor's requests, each as one of io_uring.
fn of_actor<'a>(act: &Act, stream: &'a Stream) -> Result<Vec<&'a Event>> {
    let pid = act.words.first().and_then(|word| word["pid"].as_u64()).context("the actor says its pid")?;
    let events = stream.of_kind("open").filter(|event| event.pid() == pid);
    let events: Vec<_> =
        events.filter(|event| event.text("stream").is_ok_and(|of| of == "uring_open")).collect();
    for event in &events {
        ensure!(event.text("via")? == "raw_tp:io_uring_complete", "{}", event.0);
        ensure!(event.find("abi").is_none(), "a request has no ABI: {}", event.0);
    }
    Ok(events)
}

/// Holds the events against the actor's words. They are done in any order, and each name is asked for once but those
/// that cannot be read.
fn agree(events: &[&Event], words: &[&Value]) -> Result<()> {
    ensure!(events.len() == words.len(), "{} requests were made, {} told", words.len(), events.len());
    let unread = |event: &&&Event| event.find("open.requested").is_none();
    for event in events.iter().filter(unread) {
        ensure!(event.text("open.errno")? == "EFAULT", "{}", event.0);
        for field in ["open.requested", "open.flags"] {
            ensure!(event.told("missing", field).is_some(), "no {field} in missing: {}", event.0);
        }
    }
    let faults = words.iter().filter(|word| word["kind"] == "fault").count();
    ensure!(events.iter().filter(unread).count() == faults, "{faults} names could not be read");
    let mut by_name = HashMap::new();
    for event in events.iter().filter(|event| !unread(event)) {
        let twice = by_name.insert(event.text("open.requested")?.to_owned(), *event);
        ensure!(twice.is_none(), "told twice: {}", event.0);
    }
    for word in words.iter().filter(|word| word["kind"] != "fault") {
        let name = word["requested"].as_str().unwrap_or_default();
        let event = by_name.get(name).with_context(|| format!("not told: {word}"))?;
        let errno =
            word["errno"].as_i64().map(|errno| i32::try_from(errno).map(Errno::from_raw)).transpose()?;
        let same = match errno {
            Some(errno) => event.text("open.errno")? == format!("{errno:?}"),
            None => ["path", "fd", "dev", "ino", "created"]
                .iter()
                .all(|key| event.find(&format!("open.{key}")) == Some(&word[key])),
        };
        ensure!(same, "the caller saw {word}, the event says {}", event.0);
    }
    Ok(())
}

/// Every kind of open that the actor knows, in one way; what was asked for is told too.
fn opens(rig: &Rig, args: &[&str], way: &str) -> Result<()> {
    let (act, stream) = acted(rig, args, &["uring-opens", &OPENS.to_string(), way])?;
    let words: Vec<&Value> = act.words.iter().collect();
    ensure!(words.len() == OPENS, "{} requests", words.len());
    let events = of_actor(&act, &stream)?;
    agree(&events, &words)?;
    let made = events.iter().find(|event| event.flag("open.created").is_ok_and(|made| made));
    let made = made.context("a file is made")?;
    let flags = made.find("open.flags").and_then(Value::as_array).context("flags")?;
    ensure!(flags.iter().any(|flag| flag == "O_CREAT") && flags[0] == "O_RDWR", "{}", made.0);
    ensure!(made.text("open.mode")? == "0600", "{}", made.0);
    Ok(())
}

fn opens_at_once_are_each_told_once(rig: &Rig) -> Result<()> {
    opens(rig, &[], "inline")
}

fn opens_at_once_by_portable_readers_are_the_same(rig: &Rig) -> Result<()> {
    opens(rig, &["--readers", "portable"], "inline")
}

fn opens_by_workers_are_each_told_once(rig: &Rig) -> Result<()> {
    opens(rig, &[], "async")
}

fn opens_by_the_polling_thread_are_each_told_once(rig: &Rig) -> Result<()> {
    opens(rig, &[], "sqpoll")
}

fn opens_into_the_rings_table_have_their_file(rig: &Rig) -> Result<()> {
    let (act, stream) = acted(rig, &[], &["uring-direct", &DIRECT.to_string()])?;
    let events = of_actor(&act, &stream)?;
    agree(&events, &act.words.iter().collect::<Vec<_>>())?;
    for event in events {
        ensure!(event.flag("open.direct")?, "{}", event.0);
    }
    Ok(())
}

fn filters_apply_to_opens_through_io_uring(rig: &Rig) -> Result<()> {
    let wanted = |args: &[&str], keep: fn(&Value) -> bool| -> Result<()> {
        let _ = std::fs::remove_dir_all(rig.path("uring"));
        let (act, stream) = acted(rig, args, &["uring-opens", "100", "inline"])?;
        let words: Vec<&Value> = act.words.iter().filter(|word| keep(word)).collect();
        agree(&of_actor(&act, &stream)?, &words).with_context(|| format!("{args:?}"))
    };
    wanted(&["--failed"], |word| word["act"] == "failed")?;
    wanted(&["--writes"], |word| word["kind"] == "openat2" || word["kind"] == "dirfd")?;
    let below = rig.path("uring");
    // A name that is not there passes by its beginning, one that could not be read by what it might have been.
    wanted(&["--path-prefix", &below.to_string_lossy()], |_| true)?;
    wanted(&["--path-prefix", "/nowhere"], |word| word["kind"] == "fault")?;
    wanted(&["--comm", "no-such-name"], |_| false)
}
