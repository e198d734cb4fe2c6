//! Ends of TCP attempts that no program has seen: here because that program is not attached; else because the kernel
//! skips a run of it, or runs nobody's programs in the task that the end happens to interrupt. Each attempt is told all
//! the same, once.

use crate::connect;
use crate::embed::Embedded;
use crate::rig::{Act, Rig};
use crate::watch::{Stream, Watch, parsed};
use anyhow::{Context as _, Result, ensure};
use collector_common::Hook;
use collector_core::{CollectionEvent, EventSink as _, EventSource, JsonLinesSink};
use collectord::kernel::{LoadOptions, Readers, ReadersChoice};
use collectord::source::{KernelSource, KernelSourceOptions};
use serde_json::Value;
use std::time::Duration;

crate::tests![
    attempts_whose_end_is_unseen_are_told_once_each,
    portable_readers_tell_the_same,
    attempts_that_find_no_slot_are_told_too,
    attempts_that_another_thread_gives_up_are_told_once_each,
    portable_readers_tell_those_once_each_too,
];

/// What the hooks tell of the actor, but for the one that sees the ends.
fn without_ends(rig: &Rig, readers: ReadersChoice, args: &[&str]) -> Result<(Act, Stream)> {
    collectord::memlock::raise();
    let sources = KernelSource::open(&KernelSourceOptions {
        load: LoadOptions { readers, ..LoadOptions::default() },
        told: vec![Hook::TcpBegin, Hook::TcpDestroy, Hook::ConnectExit],
        canary: None,
    })?;
    let sources = sources.into_iter().map(|source| Box::new(source) as Box<dyn EventSource>).collect();
    let collector = Embedded::start(sources)?;
    let act = rig.act(args)?;
    let (_, taken) = collector.stop()?;
    Ok((act, stream(&taken)?))
}

/// As a daemon would have written it.
fn stream(taken: &[CollectionEvent]) -> Result<Stream> {
    let mut sink = JsonLinesSink::new("lines", Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(sink.write(taken))?;
    let lines = parsed(&sink.into_inner())?;
    // There is no daemon of which nothing may be told.
    Ok(Stream { pid: 0, lines, lost: 0, took: Duration::ZERO, stderr: String::new() })
}

fn told_once_each(rig: &Rig, readers: ReadersChoice) -> Result<()> {
    let (act, stream) = without_ends(rig, readers, &["connects", "5"])?;
    // A refusal is told by the call that returns it, and other protocols have no end.
    let open =
        |word: &&Value| word["protocol"] == "tcp" && word["errno"] != nix::errno::Errno::ECONNREFUSED as i32;
    let open = act.words.iter().filter(open).count() as u64;
    let acts = [act];
    let (attempts, unseen) = connect::agree_but_unseen(&acts, &stream)?;
    ensure!(attempts == 90, "{attempts} attempts");
    ensure!(
        open > 0 && unseen == open,
        "the end of {unseen} was not seen, and {open} went on or came through"
    );
    // Those that waited and came through: nobody told them before their sockets went.
    let pid = acts[0].word("connect")?["pid"].as_u64().context("a pid")?;
    let at_the_end = crate::open::of_process(&stream, "connect", pid);
    let at_the_end = at_the_end.iter().filter(|event| event.0["via"] == connect::DESTROYED).count();
    ensure!(at_the_end > 0, "none was told when its socket went");
    Ok(())
}

fn attempts_whose_end_is_unseen_are_told_once_each(rig: &Rig) -> Result<()> {
    told_once_each(rig, ReadersChoice::Auto)
}

fn portable_readers_tell_the_same(rig: &Rig) -> Result<()> {
    told_once_each(rig, ReadersChoice::Only(Readers::Portable))
}

/// So many at once that some find the slot of their socket's address another's.
fn attempts_that_find_no_slot_are_told_too(rig: &Rig) -> Result<()> {
    const PENDING: u64 = 400;
    let (act, stream) = without_ends(rig, ReadersChoice::Auto, &["timeouts", &PENDING.to_string()])?;
    let (attempts, unseen) = connect::agree_but_unseen(&[act], &stream)?;
    ensure!(attempts as u64 == PENDING + 1, "{attempts} attempts");
    // The one that waits has its outcome from the call.
    ensure!(unseen == PENDING, "the end of {unseen} was not seen");
    Ok(())
}

/// Each attempt is one `connect`, whether its call fails with something of its own or does not find the socket any more.
fn given_up_once_each(rig: &Rig, readers: &str) -> Result<()> {
    let watch = Watch::start(rig, &[&connect::EVENTS[..], &["--readers", readers]].concat())?;
    let act = rig.act(["given-up"])?;
    let stream = watch.stop()?;
    for word in &act.words {
        let told = stream.lines.iter().filter(|line| {
            line.0["event"] == "connect" && line.0["connect"]["local"]["port"] == word["port"]
        });
        let told: Vec<_> = told.map(|line| &line.0).collect();
        ensure!(told.len() == 1, "one that was {} is told {} times: {told:?}", word["way"], told.len());
        ensure!(told[0]["connect"]["result"] != "ok", "{}", told[0]);
    }
    ensure!(act.words.len() == 4, "{:?}", act.words);
    Ok(())
}

fn attempts_that_another_thread_gives_up_are_told_once_each(rig: &Rig) -> Result<()> {
    given_up_once_each(rig, "auto")
}

fn portable_readers_tell_those_once_each_too(rig: &Rig) -> Result<()> {
    given_up_once_each(rig, "portable")
}
