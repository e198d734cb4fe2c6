//! Calls that a seccomp filter answers in the kernel's place. What it refuses is told as having failed; what it calls done
//! was not done, and no socket says that it is connected.

use crate::event::Event;
use crate::rig::Rig;
use crate::watch::{Stream, watched};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::path::PathBuf;

crate::tests![
    what_a_filter_refuses_is_told_as_failed,
    what_a_filter_calls_done_is_no_connection,
    portable_readers_are_not_fooled_either,
];

const ARGS: [&str; 2] = ["--events", "exec,connect,open"];

struct Told {
    stream: Stream,
    pid: u64,
    path: PathBuf,
}

fn answered(rig: &Rig, args: &[&str], errno: &str) -> Result<Told> {
    let path = rig.path("nothing");
    let (act, stream) = watched(rig, args, || rig.act_os(&[&"answered", &errno, &path]))?;
    let pid = act.word("answered")?["pid"].as_u64().context("a pid")?;
    ensure!(stream.lost == 0, "{} events were lost", stream.lost);
    Ok(Told { stream, pid, path })
}

impl Told {
    fn events(&self, kind: &str) -> impl Iterator<Item = &Event> {
        self.stream.of_kind(kind).filter(|event| event.pid() == self.pid)
    }

    fn connects(&self) -> Vec<(String, Option<Value>, Option<Value>)> {
        let found = |event: &Event, key: &str| event.find(&format!("connect.{key}")).cloned();
        let told = |event: &Event| {
            let protocol = event.text("connect.protocol").unwrap_or_default().to_owned();
            (protocol, found(event, "remote"), found(event, "errno").or_else(|| found(event, "result")))
        };
        self.events("connect").map(told).collect()
    }

    fn remote(&self, protocol: &str) -> Value {
        if protocol == "stream" {
            json!({"path": self.path})
        } else {
            json!({"addr": "127.0.0.1", "port": 9})
        }
    }
}

fn what_a_filter_refuses_is_told_as_failed(rig: &Rig) -> Result<()> {
    let told = answered(rig, &ARGS, "1")?;
    let expected = ["udp", "tcp", "stream"]
        .map(|protocol| (protocol.to_owned(), Some(told.remote(protocol)), Some(json!("EPERM"))));
    ensure!(told.connects() == expected, "{:?}", told.connects());
    let open = told.events("open").find(|event| event.text("open.errno").is_ok_and(|errno| errno == "EPERM"));
    let open = open.context("the open is told")?;
    ensure!(open.find("open.requested") == Some(&json!(told.path)), "{}", open.0);
    let exec = told.events("exec_failed").next().context("the exec is told")?;
    ensure!(exec.text("exec_failed.errno")? == "EPERM", "{}", exec.0);
    ensure!(exec.find("exec_failed.filename") == Some(&json!(told.path)), "{}", exec.0);
    Ok(())
}

fn is_no_connection(rig: &Rig, args: &[&str]) -> Result<()> {
    let told = answered(rig, args, "0")?;
    let expected = ["udp", "stream"].map(|protocol| (protocol.to_owned(), Some(told.remote(protocol)), None));
    ensure!(told.connects() == expected, "{:?}", told.connects());
    for event in told.events("connect") {
        ensure!(event.told("missing", "connect.result").is_some(), "{}", event.0);
    }
    ensure!(told.events("exec_failed").next().is_none(), "none failed");
    Ok(())
}

fn what_a_filter_calls_done_is_no_connection(rig: &Rig) -> Result<()> {
    is_no_connection(rig, &ARGS)
}

fn portable_readers_are_not_fooled_either(rig: &Rig) -> Result<()> {
    is_no_connection(rig, &[&ARGS[..], &["--readers", "portable"]].concat())
}
