//! Execs that failed: what was asked for, and why it was refused.

use crate::rig::Rig;
use crate::watch::watched;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

crate::tests![a_failed_exec_has_its_name_arguments_and_errno, a_successful_exec_is_no_failed_one];

fn a_failed_exec_has_its_name_arguments_and_errno(rig: &Rig) -> Result<()> {
    let absent = rig.path("absent");
    let (act, stream) =
        watched(rig, &["--events", "exec"], || rig.act_os(&[&"failed-execs", &absent, &"200"]))?;
    let words: Vec<_> = act.words.iter().filter(|word| word["act"] == "exec_failed").collect();
    let pid = words.first().and_then(|word| word["pid"].as_u64()).context("the actor says its pid")?;
    let mut events: Vec<_> = stream.of_kind("exec_failed").filter(|event| event.pid() == pid).collect();
    events.sort_by_key(|event| event.number("ktime_ns").unwrap_or_default());
    ensure!(
        events.len() == 200 && words.len() == 200,
        "{} execs failed, {} are told",
        words.len(),
        events.len()
    );
    for (event, word) in events.into_iter().zip(words) {
        let errno = nix::errno::Errno::from_raw(i32::try_from(word["errno"].as_i64().unwrap_or_default())?);
        ensure!(event.text("exec_failed.errno")? == format!("{errno:?}"), "{word}: {}", event.0);
        ensure!(event.text("exec_failed.filename")? == absent.to_string_lossy(), "{}", event.0);
        let argv = event.find("exec_failed.argv");
        let cut = event.told("truncated", "exec_failed.argv");
        match word["kind"].as_str().unwrap_or_default() {
            "many" => {
                ensure!(argv.and_then(Value::as_array).map(Vec::len) == Some(64), "{}", event.0);
                ensure!(cut.is_some(), "{}", event.0);
            }
            "fault" => {
                ensure!(argv.is_none() && event.told("missing", "exec_failed.argv").is_some(), "{}", event.0);
            }
            _ => ensure!(
                argv == Some(&json!(["zero", "", "two words"])) && cut.is_none(),
                "{word} is told as {}",
                event.0
            ),
        }
    }
    Ok(())
}

fn a_successful_exec_is_no_failed_one(rig: &Rig) -> Result<()> {
    let (act, stream) =
        watched(rig, &["--events", "exec"], || rig.act_os(&[&"spawn", &"20", &rig.actor(), &"exit", &"0"]))?;
    for child in act.children()? {
        stream.one("exec", &child)?;
        ensure!(
            !stream.of_kind("exec_failed").any(|event| child.is_in(event)),
            "{child:?} is told as failed"
        );
    }
    Ok(())
}
