//! What is easily taken for something else: files to which no path leads, calls that never return or complete another, a
//! script that is closed before its interpreter runs.

use crate::connect::{acted, agree};
use crate::limits;
use crate::open::{of_process, words};
use crate::rig::Rig;
use crate::watch::watched;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

crate::tests![
    files_to_which_no_path_leads_have_none_and_say_so,
    execs_of_threads_that_another_ones_exec_ends_are_not_told_as_failed,
    a_script_that_is_closed_before_its_interpreter_runs_is_never_another_file,
    a_call_that_ends_an_attempt_whose_error_was_taken_is_no_attempt,
];

fn files_to_which_no_path_leads_have_none_and_say_so(rig: &Rig) -> Result<()> {
    let folder = rig.path("placeless");
    std::fs::create_dir(&folder)?;
    let (act, stream) = watched(rig, &["--events", "open"], || rig.act_os(&[&"placeless", &folder]))?;
    let (pid, words) = words(&act, "open")?;
    let opens = of_process(&stream, "open", pid);
    ensure!(words.len() == 3, "{words:?}");
    for word in words {
        let mut same = opens.iter().filter(|event| {
            let open = &event.0["open"];
            ["requested", "dev", "ino", "fd"].iter().all(|&key| open[key] == word[key])
        });
        let event = same.next().with_context(|| format!("{word} is told"))?;
        ensure!(event.find("open.path").is_none(), "{word}: {}", event.0);
        let why = event.told("missing", "open.path").and_then(Value::as_str);
        ensure!(why == Some("unsupported"), "{word}: {}", event.0);
    }
    Ok(())
}

/// What they get is no errno, but says that the call is to be made again. One can fail on the way there like any other.
fn execs_of_threads_that_another_ones_exec_ends_are_not_told_as_failed(rig: &Rig) -> Result<()> {
    // On a slow machine each takes longer, and more of them meet.
    let races = (600 / *limits::SLACK).to_string();
    let (act, stream) =
        watched(rig, &["--events", "exec"], || rig.act_os(&[&"racing-execs", &races, &rig.actor()]))?;
    for child in act.children()? {
        stream.one("exec", &child)?;
    }
    for failed in stream.of_kind("exec_failed") {
        let errno = failed.text("exec_failed.errno")?;
        ensure!(!errno.starts_with("E5"), "{}", failed.0);
    }
    Ok(())
}

/// Where the kernel has let go of it, nothing is told of it, and that is said. What the old program ran waits to be closed
/// as well, and is no script.
fn a_script_that_is_closed_before_its_interpreter_runs_is_never_another_file(rig: &Rig) -> Result<()> {
    let script = rig.script("pending", &format!("#!{} exit\n", rig.actor().display()))?;
    let (act, stream) = watched(rig, &["--events", "exec"], || rig.act_os(&[&"pending-exec", &script]))?;
    let child = act.child()?;
    let events: Vec<_> = stream.of_kind("exec").filter(|event| child.is_in(event)).collect();
    ensure!(events.len() == 2, "{events:?}");
    let event = events[1];
    ensure!(event.text("exec.filename")? == script.to_string_lossy(), "{}", event.0);
    match event.find("exec.script.path").and_then(Value::as_str) {
        Some(path) => ensure!(path == script.to_string_lossy(), "{}", event.0),
        None => ensure!(event.told("missing", "exec.script").is_some(), "{}", event.0),
    }
    Ok(())
}

fn a_call_that_ends_an_attempt_whose_error_was_taken_is_no_attempt(rig: &Rig) -> Result<()> {
    let (acts, stream) = acted(rig, &["taken-errors", "20"])?;
    let told = agree(&acts, &stream)?;
    ensure!(told == 21, "{told} attempts");
    Ok(())
}
