//! Opened files and failed opens, against what the caller itself saw.

use crate::event::Event;
use crate::rig::{Act, Rig};
use crate::watch::{Stream, Watch, watched};
use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

crate::tests![
    ten_thousand_opens_each_once,
    opens_by_portable_readers_are_the_same,
    a_thousand_failed_opens_have_their_errno,
    a_path_of_2000_names_is_whole,
    a_path_over_4_kib_is_cut_and_says_so,
    a_pipe_opened_again_has_no_path_and_says_so,
    a_storm_of_opens_loses_no_exec,
];

/// Rounds of the actor; each tenth makes two opens.
const OPENS: u64 = 10_000;
const FAILED: u64 = 1_001;

/// The events of one process, in the order in which they happened.
pub(crate) fn of_process<'a>(stream: &'a Stream, kind: &str, pid: u64) -> Vec<&'a Event> {
    let mut events: Vec<_> = stream.of_kind(kind).filter(|event| event.pid() == pid).collect();
    events.sort_by_key(|event| event.number("ktime_ns").unwrap_or_default());
    events
}

pub(crate) fn words<'a>(act: &'a Act, name: &str) -> Result<(u64, Vec<&'a Value>)> {
    let words: Vec<_> = act.words.iter().filter(|word| word["act"] == name).collect();
    let pid = words.first().and_then(|word| word["pid"].as_u64()).context("the actor says its pid")?;
    Ok((pid, words))
}

pub(crate) fn text<'a>(word: &'a Value, key: &str) -> &'a str {
    word[key].as_str().unwrap_or_default()
}

/// Holds every open of the caller against its word for it. It is static and tells each open that it makes, so that one
/// told twice is seen whatever it lacks.
fn check_opens(stream: &Stream, act: &Act) -> Result<usize> {
    let (pid, words) = words(act, "open")?;
    let events = of_process(stream, "open", pid);
    ensure!(events.len() == words.len(), "{} opens were made, {} told", words.len(), events.len());
    for (event, word) in events.into_iter().zip(&words) {
        let same = event.text("open.path")? == text(word, "path")
            && event.find("open.requested").and_then(Value::as_str).unwrap_or_default()
                == text(word, "requested")
            && event.number("open.fd").ok() == word["fd"].as_u64()
            && event.text("open.dev")? == text(word, "dev")
            && event.number("open.ino").ok() == word["ino"].as_u64()
            && event.flag("open.created").ok() == word["created"].as_bool();
        ensure!(same, "the caller saw {word}, the event says {}", event.0);
    }
    Ok(words.len())
}

fn opens(rig: &Rig, watch: Watch, count: u64) -> Result<()> {
    let folder = rig.path("opens");
    std::fs::create_dir(&folder)?;
    let act = rig.act_os(&[&"opens", &folder, &count.to_string()])?;
    let stream = watch.stop()?;
    ensure!(stream.lost == 0, "{} events were lost", stream.lost);
    let opens = check_opens(&stream, &act)?;
    // And the folder itself.
    ensure!(opens as u64 == count + count / 10 + 1, "{opens} opens");
    Ok(())
}

fn ten_thousand_opens_each_once(rig: &Rig) -> Result<()> {
    opens(rig, Watch::start(rig, &["--events", "open"])?, OPENS)
}

fn opens_by_portable_readers_are_the_same(rig: &Rig) -> Result<()> {
    opens(rig, Watch::start(rig, &["--events", "open", "--readers", "portable"])?, 1_000)
}

fn a_thousand_failed_opens_have_their_errno(rig: &Rig) -> Result<()> {
    let folder = rig.path("failed");
    std::fs::create_dir(&folder)?;
    let (act, stream) =
        watched(rig, &["--events", "open"], || rig.act_os(&[&"failed-opens", &folder, &FAILED.to_string()]))?;
    let (pid, words) = words(&act, "failed")?;
    let events = of_process(&stream, "open", pid);
    let failed: Vec<_> = events.into_iter().filter(|event| event.find("open.errno").is_some()).collect();
    // The loader's own failed opens come first; the actor is static and has none.
    ensure!(failed.len() == words.len(), "{} opens failed, {} are told", words.len(), failed.len());
    for (event, word) in failed.into_iter().zip(&words) {
        let errno = nix::errno::Errno::from_raw(i32::try_from(word["errno"].as_i64().unwrap_or_default())?);
        ensure!(event.text("open.errno")? == format!("{errno:?}"), "{word}: {}", event.0);
        ensure!(event.find("open.path").is_none() && event.find("open.fd").is_none(), "{}", event.0);
        if text(word, "kind") == "fault" {
            ensure!(event.told("missing", "open.requested").is_some(), "{}", event.0);
        } else {
            ensure!(event.text("open.requested")? == text(word, "requested"), "{word}: {}", event.0);
        }
    }
    Ok(())
}

fn deep(rig: &Rig, depth: usize) -> Result<Event> {
    // In a folder of few names: what is tested is the bound of the walk.
    let (act, stream) = watched(rig, &["--events", "open"], || {
        rig.act_os(&[&"deep-open", &rig.folder(), &depth.to_string()])
    })?;
    let (pid, words) = words(&act, "open")?;
    let found = of_process(&stream, "open", pid);
    let event = found.into_iter().find(|event| event.number("open.ino").ok() == words[0]["ino"].as_u64());
    Ok(event.context("the deep file is told")?.clone())
}

fn a_path_of_2000_names_is_whole(rig: &Rig) -> Result<()> {
    let event = deep(rig, 2000)?;
    let expected = format!("{}{}/f", rig.folder().display(), "/d".repeat(2000));
    ensure!(event.text("open.path")? == expected, "{}", event.0);
    ensure!(event.0.get("truncated").is_none(), "{}", event.0);
    Ok(())
}

fn a_path_over_4_kib_is_cut_and_says_so(rig: &Rig) -> Result<()> {
    let event = deep(rig, 2100)?;
    let cut = event.told("truncated", "open.path").and_then(Value::as_u64);
    let whole = rig.folder().as_os_str().len() + 2 * 2100 + 2;
    ensure!(cut == Some(whole as u64), "the path has {whole} bytes: {}", event.0);
    Ok(())
}

fn a_pipe_opened_again_has_no_path_and_says_so(rig: &Rig) -> Result<()> {
    let (act, stream) = watched(rig, &["--events", "open"], || rig.act(["nameless"]))?;
    let (pid, words) = words(&act, "open")?;
    let found = of_process(&stream, "open", pid);
    let event = found.iter().find(|event| event.number("open.ino").ok() == words[0]["ino"].as_u64());
    let event = event.context("the pipe's open is told")?;
    ensure!(event.find("open.path").is_none(), "{}", event.0);
    ensure!(event.told("missing", "open.path").and_then(Value::as_str) == Some("unsupported"), "{}", event.0);
    Ok(())
}

/// The classes have rings of their own: while opens are lost, execs and exits are not.
fn a_storm_of_opens_loses_no_exec(rig: &Rig) -> Result<()> {
    let folder = rig.path("storm");
    std::fs::create_dir(&folder)?;
    let watch = Watch::start(rig, &["--events", "exec,exit,open", "--ring-size", "file=32KiB"])?;
    watch.process.signal(Signal::SIGSTOP)?;
    let acts = rig
        .act_os(&[&"opens", &folder, &"3000"])
        .and_then(|_| rig.act_os(&[&"spawn", &"20", &rig.actor(), &"exit", &"0"]));
    watch.process.signal(Signal::SIGCONT)?;
    let act = acts?;
    let stream = watch.stop()?;
    ensure!(stream.lost > 0, "no open was lost: the test shows nothing");
    if let Some(loss) =
        stream.of_kind("loss").find(|loss| loss.text("class").is_ok_and(|class| class != "file"))
    {
        bail!("another class lost events: {}", loss.0);
    }
    for child in act.children()? {
        stream.one("exec", &child)?;
        stream.exit_of(&child)?;
    }
    Ok(())
}
