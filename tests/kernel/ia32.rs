//! System calls of 32 bits, for which the tracepoints of system calls do not fire: told where the returns of their
//! functions can be hooked, named blind elsewhere.

use crate::connect::{acted, agree};
use crate::event::Event;
use crate::open::{of_process, text};
use crate::process::Process;
use crate::rig::{Act, Rig, Skip};
use crate::watch::{Stream, Watch, watched};
use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use serde_json::{Value, json};

crate::tests![
    a_thousand_opens_are_told_once_each,
    portable_readers_tell_the_same_opens,
    an_open_is_told_while_many_others_wait_in_theirs,
    failed_execs_are_told,
    unix_sockets_are_told,
    a_connect_without_a_route_is_told,
    what_is_not_hooked_is_named_blind,
];

/// Side by side, so that one comes in between another's.
const PROCESSES: usize = 4;
const OPENS: usize = 250;
/// More than the kernel has places for, of calls under way, at a kretprobe.
const WAITING: usize = 40;

/// The names that stand for hooks of these calls, and the streams of each.
const BLIND: [(&str, &str, &[&str]); 3] = [
    ("file", "ia32-open", &["openat", "open", "openat2", "creat", "open_by_handle_at"]),
    ("process", "ia32-exec-failed", &["execve", "execveat"]),
    ("network", "ia32-connect", &["connect", "socketcall"]),
];

fn by_32_bits(event: &Event, class: &str) -> Result<()> {
    ensure!(event.text("abi")? == "ia32", "{}", event.0);
    ensure!(event.text("via")?.starts_with("fexit:ia32_"), "{}", event.0);
    ensure!(event.text("class")? == class && event.text("stream")?.starts_with("ia32_"), "{}", event.0);
    Ok(())
}

/// Holds each open that is told, failed or not, against the caller's word for it; how many of its words are not told.
fn check_opens(stream: &Stream, act: &Act) -> Result<usize> {
    let words: Vec<_> =
        act.words.iter().filter(|word| word["act"] == "open" || word["act"] == "failed").collect();
    let pid = words.first().and_then(|word| word["pid"].as_u64()).context("the actor says its pid")?;
    let mut events = of_process(stream, "open", pid);
    // The actor looks by a child whether there are such calls, and into /proc what became of it.
    events.retain(|event| !event.text("open.requested").is_ok_and(|name| name.starts_with("/proc/")));
    let mut untold = words.len();
    let mut words = words.into_iter();
    for event in events {
        // Words that are about none in this order are of opens that are not told.
        let word = words.find(|word| is_about(event, word));
        let word = word.with_context(|| format!("no word of the caller's: {}", event.0))?;
        untold -= 1;
        let find = |key: &str| event.find(&format!("open.{key}"));
        if text(word, "kind") == "folder" {
            ensure!(event.text("abi")? == "x86_64", "{}", event.0);
            continue;
        }
        by_32_bits(event, "file")?;
        ensure!(
            find("requested").and_then(Value::as_str).unwrap_or_default() == text(word, "requested"),
            "the caller saw {word}, the event says {}",
            event.0
        );
        let same = if word["act"] == "open" {
            let flags = find("flags").and_then(Value::as_array).context("flags")?;
            let mode = find("mode").and_then(Value::as_str);
            let asked = match text(word, "kind") {
                "open" => (json!(["O_RDWR"]), None),
                "openat" => (json!(["O_WRONLY"]), None),
                "creat" => (json!(["O_WRONLY", "O_CREAT", "O_TRUNC"]), Some("0640")),
                "openat2" | "made" => (json!(["O_RDWR", "O_CREAT"]), Some("0600")),
                _ => (json!(["O_RDONLY"]), None),
            };
            ensure!((json!(flags), mode) == asked, "asked was {asked:?}: {}", event.0);
            ["path", "fd", "dev", "ino", "created"].iter().all(|&key| event.0["open"][key] == word[key])
        } else {
            let errno = Errno::from_raw(i32::try_from(word["errno"].as_i64().unwrap_or_default())?);
            find("errno") == Some(&json!(format!("{errno:?}"))) && find("fd").is_none()
        };
        ensure!(same, "the caller saw {word}, the event says {}", event.0);
    }
    Ok(untold)
}

fn is_about(event: &Event, word: &Value) -> bool {
    let requested = event.find("open.requested").and_then(Value::as_str).unwrap_or_default();
    let handle = event.text("stream").is_ok_and(|stream| stream == "ia32_open_by_handle_at");
    let same_file = event.find("open.ino") == word.get("ino");
    requested == text(word, "requested") && handle == (text(word, "kind") == "handle") && same_file
}

fn opens(rig: &Rig, args: &[&str]) -> Result<()> {
    let watch = Watch::start(rig, args)?;
    let mut actors = Vec::new();
    for number in 0..PROCESSES {
        let folder = rig.path(format!("opens{number}"));
        std::fs::create_dir(&folder)?;
        let mut command = rig.actor_command(["ia32-opens"]);
        actors.push(Process::start(command.arg(folder).arg(OPENS.to_string()), None)?);
    }
    let acts = actors.into_iter().map(Act::finish).collect::<Result<Vec<_>>>()?;
    let stream = watch.stop()?;
    stream.skip_if_blind("file", "ia32-open")?;
    ensure!(stream.lost == 0, "{} events were lost", stream.lost);
    let untold = acts.iter().map(|act| check_opens(&stream, act)).sum::<Result<usize>>()?;
    let missed = stream.summed("missed")?;
    // Where the kernel preempts programs, it skips others meanwhile, and counts them.
    ensure!(untold as u64 <= missed, "{untold} are not told, {missed} counted as missed");
    Ok(())
}

fn a_thousand_opens_are_told_once_each(rig: &Rig) -> Result<()> {
    opens(rig, &["--events", "open"])
}

fn portable_readers_tell_the_same_opens(rig: &Rig) -> Result<()> {
    opens(rig, &["--events", "open", "--readers", "portable"])
}

fn an_open_is_told_while_many_others_wait_in_theirs(rig: &Rig) -> Result<()> {
    let (pipe, file) = (rig.path("pipe"), rig.path("file"));
    let (act, stream) = watched(rig, &["--events", "open"], || {
        rig.act_os(&[&"ia32-waiting", &pipe, &file, &WAITING.to_string()])
    })?;
    stream.skip_if_blind("file", "ia32-open")?;
    let word = act.word("open")?;
    let opens = of_process(&stream, "open", word["pid"].as_u64().context("a pid")?);
    let of_file = |event: &&&Event| ["dev", "ino"].iter().all(|&key| event.0["open"][key] == word[key]);
    let told = opens.iter().filter(of_file).count();
    ensure!(told == 1, "it is told {told} times; the caller saw {word}");
    let waited = opens.iter().filter(|event| event.text("abi").is_ok_and(|abi| abi == "ia32")).count() - 1;
    // They wake at once: where the kernel preempts programs, it skips some of them, and counts them.
    let missed = usize::try_from(stream.summed("missed")?)?;
    ensure!(waited <= WAITING && waited + missed >= WAITING, "{waited} are told, {missed} counted as missed");
    Ok(())
}

fn failed_execs_are_told(rig: &Rig) -> Result<()> {
    const EXECS: usize = 300;
    let absent = rig.path("absent");
    for readers in ["auto", "portable"] {
        let args = ["--events", "exec", "--readers", readers];
        let (act, stream) =
            watched(rig, &args, || rig.act_os(&[&"ia32-failed-execs", &absent, &EXECS.to_string()]))?;
        stream.skip_if_blind("process", "ia32-exec-failed")?;
        let words: Vec<_> = act.words.iter().filter(|word| word["act"] == "exec_failed").collect();
        let pid = words.first().and_then(|word| word["pid"].as_u64()).context("a pid")?;
        let events = of_process(&stream, "exec_failed", pid);
        ensure!(words.len() == EXECS && events.len() == EXECS, "{} are told", events.len());
        for (event, word) in events.into_iter().zip(words) {
            by_32_bits(event, "process")?;
            let errno = Errno::from_raw(i32::try_from(word["errno"].as_i64().unwrap_or_default())?);
            ensure!(event.text("exec_failed.errno")? == format!("{errno:?}"), "{word}: {}", event.0);
            ensure!(event.text("exec_failed.filename")? == absent.to_string_lossy(), "{}", event.0);
            let argv = event.find("exec_failed.argv");
            if text(word, "kind") == "fault" {
                ensure!(argv.is_none() && event.told("missing", "exec_failed.argv").is_some(), "{}", event.0);
            } else {
                ensure!(argv == Some(&json!(["zero", "", "two words"])), "{}", event.0);
            }
        }
    }
    Ok(())
}

fn connects(rig: &Rig, args: &[&str], attempts: usize) -> Result<()> {
    let (acts, stream) = acted(rig, args)?;
    stream.skip_if_blind("network", "ia32-connect")?;
    ensure!(agree(&acts, &stream)? == attempts, "not {attempts}");
    let pid = acts[0].word("connect")?["pid"].as_u64().context("a pid")?;
    for event in of_process(&stream, "connect", pid) {
        by_32_bits(event, "network")?;
    }
    Ok(())
}

fn unix_sockets_are_told(rig: &Rig) -> Result<()> {
    connects(rig, &["ia32-unix", &rig.path("socket").to_string_lossy(), "40"], 40)
}

fn a_connect_without_a_route_is_told(rig: &Rig) -> Result<()> {
    connects(rig, &["ia32-no-route", "20"], 20)
}

/// Every hook of these calls is there, or a name says that it is not; where the kernel has no such calls, neither.
fn what_is_not_hooked_is_named_blind(rig: &Rig) -> Result<()> {
    let stream = Watch::start(rig, &["--events", "exec,connect,open"])?.stop()?;
    let coverage = stream.lines.first().context("a stream has a first line")?;
    if !cfg!(target_arch = "x86_64") {
        bail!(Skip("not an x86".to_owned()));
    }
    let has_calls = rig.act(["ia32-refused", "1"]).is_ok();
    for (class, name, calls) in BLIND {
        let list = |part: &str| coverage.find(&format!("classes.{class}.{part}")).and_then(Value::as_array);
        let blind = list("blind").context("what is blind")?.contains(&json!(name));
        let hooks = list("hooks").context("hooks")?;
        let hooked = calls.iter().all(|call| {
            hooks.iter().any(|hook| hook["via"] == format!("fexit:ia32_{call}") && hook["rung"] == "fexit")
        });
        ensure!(blind != hooked || !has_calls && !blind, "{class}: {}", coverage.0);
        for other in ["x32-open", "x32-exec-failed", "x32-connect"] {
            ensure!(!list("blind").context("what is blind")?.contains(&json!(other)), "{}", coverage.0);
        }
    }
    Ok(())
}
