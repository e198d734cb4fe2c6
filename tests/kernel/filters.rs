//! What was asked for comes, and nothing else; what a filter leaves out takes no number.

use crate::cgroup::{Group, spawned_in};
use crate::event::Event;
use crate::limits;
use crate::process::Process;
use crate::rig::{Act, Rig};
use crate::watch::{self, Stream, Watch};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};

crate::tests![
    a_pid_filter_tells_that_process_alone,
    a_uid_filter_tells_that_user_alone,
    a_comm_filter_tells_that_name_alone,
    a_repeated_filter_tells_either,
    filters_combine_with_and,
    followed_processes_bring_their_descendants,
    a_path_prefix_tells_opens_below_it_alone,
    a_path_prefix_tells_first_names_of_any_length_apart,
    writes_tells_no_open_that_only_reads,
    failed_tells_no_success,
    a_cgroup_filter_holds_everything_below_it,
    a_cgroup_that_is_not_there_is_refused,
    events_tells_only_the_kinds_asked_for,
    count_ends_after_exactly_that_many_events,
    duration_ends_the_watch,
];

/// A watch without a canary, whose events have numbers and are not told.
fn filtered<T>(rig: &Rig, args: &[&str], act: impl FnOnce() -> Result<T>) -> Result<(T, Stream)> {
    watch::watched(rig, &[args, &["--canary", "off"]].concat(), act)
}

/// A filter in the kernel leaves no holes: without losses, each (cpu, stream) is numbered from 0 on.
fn numbered_without_holes(stream: &Stream) -> Result<()> {
    let mut next: BTreeMap<(u64, String), u64> = BTreeMap::new();
    for event in stream.events() {
        let numbers = next.entry((event.number("cpu")?, event.text("stream")?.to_owned())).or_default();
        ensure!(event.number("seq")? == *numbers, "expected number {numbers}: {}", event.0);
        *numbers += 1;
    }
    ensure!(stream.lost == 0, "{} events were lost", stream.lost);
    Ok(())
}

fn all(stream: &Stream, holds: impl Fn(&Event) -> bool) -> Result<()> {
    let other = stream.events().find(|event| !holds(event));
    ensure!(other.is_none(), "not asked for: {other:?}");
    numbered_without_holes(stream)
}

fn a_pid_filter_tells_that_process_alone(rig: &Rig) -> Result<()> {
    const TURNS: usize = 5;
    let actor = rig.actor();
    let actor = actor.to_string_lossy();
    let turns = TURNS.to_string();
    let mut gate =
        Process::start(&mut rig.actor_command(["gate", "--", &actor, "chain", &turns, "0"]), None)?;
    gate.line(limits::act())?.context("the actor waits at the gate")?;
    let pid = u64::from(gate.pid());
    let (_, stream) = filtered(rig, &["--pid", &pid.to_string()], || {
        gate.tell(b"\n")?;
        Act::finish(gate)?;
        rig.act(["forks", "20"])
    })?;
    let execs = stream.of_kind("exec").count();
    let exits = stream.of_kind("exit").count();
    ensure!((execs, exits) == (TURNS + 1, 1), "{execs} execs and {exits} exits of the process");
    all(&stream, |event| event.pid() == pid)
}

fn a_uid_filter_tells_that_user_alone(rig: &Rig) -> Result<()> {
    let actor = rig.actor();
    let actor = actor.to_string_lossy();
    let (act, stream) = filtered(rig, &["--uid", "23456"], || {
        rig.act(["forks", "20"])?;
        rig.act(["uid", "23456", "--", &actor, "spawn", "10", &actor, "exit", "%"])
    })?;
    for child in act.children()? {
        stream.one("exec", &child)?;
        stream.exit_of(&child)?;
    }
    all(&stream, |event| event.number("process.user.ruid").is_ok_and(|uid| uid == 23456))
}

fn a_comm_filter_tells_that_name_alone(rig: &Rig) -> Result<()> {
    let named = rig.copy(&rig.actor(), "wanted")?;
    let (act, stream) = filtered(rig, &["--comm", "wanted"], || {
        rig.act_os(&[&"spawn", &"10", &rig.actor(), &"exit", &"0"])?;
        rig.act_os(&[&"spawn", &"10", &named, &"exit", &"%"])
    })?;
    for child in act.children()? {
        stream.one("exec", &child)?;
        stream.exit_of(&child)?;
    }
    all(&stream, |event| event.text("process.name").is_ok_and(|name| name == "wanted"))
}

fn a_repeated_filter_tells_either(rig: &Rig) -> Result<()> {
    let named = ["wanted-a", "wanted-b"].map(|name| rig.copy(&rig.actor(), name));
    let (acts, stream) = filtered(rig, &["--comm", "wanted-a", "--comm", "wanted-b"], || {
        rig.act_os(&[&"spawn", &"5", &rig.actor(), &"exit", &"0"])?;
        named
            .into_iter()
            .map(|path| rig.act_os(&[&"spawn", &"5", &path?, &"exit", &"0"]))
            .collect::<Result<Vec<_>>>()
    })?;
    for act in acts {
        for child in act.children()? {
            stream.one("exec", &child)?;
        }
    }
    all(&stream, |event| event.text("process.name").is_ok_and(|name| name.starts_with("wanted-")))
}

fn filters_combine_with_and(rig: &Rig) -> Result<()> {
    let named = rig.copy(&rig.actor(), "wanted")?;
    let [actor, named] = [rig.actor(), named].map(|path| path.to_string_lossy().into_owned());
    let (act, stream) = filtered(rig, &["--comm", "wanted", "--uid", "23456"], || {
        rig.act(["spawn", "5", &named, "exit", "0"])?;
        rig.act(["uid", "23456", "--", &actor, "spawn", "5", &actor, "exit", "0"])?;
        rig.act(["uid", "23456", "--", &actor, "spawn", "5", &named, "exit", "0"])
    })?;
    for child in act.children()? {
        stream.one("exec", &child)?;
    }
    ensure!(stream.of_kind("exec").count() == 5, "{} execs", stream.of_kind("exec").count());
    all(&stream, |event| event.text("process.name").is_ok_and(|name| name == "wanted"))
}

fn events_tells_only_the_kinds_asked_for(rig: &Rig) -> Result<()> {
    for kind in ["exec", "exit"] {
        // Others of this machine may do what is told beside it, such as fail to start a program.
        let (act, stream) = filtered(rig, &["--events", kind, "--comm", "actor"], || {
            rig.act_os(&[&"spawn", &"10", &rig.actor(), &"exit", &"0"])
        })?;
        for child in act.children()? {
            stream.one(kind, &child)?;
        }
        all(&stream, |event| event.kind() == kind)?;
    }
    Ok(())
}

fn count_ends_after_exactly_that_many_events(rig: &Rig) -> Result<()> {
    let watch = Watch::start(rig, &["--count", "7"])?;
    rig.act_os(&[&"spawn", &"50", &rig.actor(), &"exit", &"0"])?;
    let stream = watch.end(limits::stop())?;
    ensure!(stream.events().count() == 7, "{} events", stream.events().count());
    ensure!(stream.summed("delivered")? == 7, "the summary has {}", stream.summed("delivered")?);
    Ok(())
}

fn duration_ends_the_watch(rig: &Rig) -> Result<()> {
    let watch = Watch::start(rig, &["--duration", "1s"])?;
    let act = rig.act_os(&[&"spawn", &"5", &rig.actor(), &"exit", &"0"])?;
    let stream = watch.end(limits::stop())?;
    for child in act.children()? {
        stream.exit_of(&child)?;
    }
    Ok(())
}

/// A shell that opens files, starts others that do, and fails to.
const SCRIPT: &str = "cd /etc; cat passwd >/dev/null; (cat /etc/passwd; exec cat /etc/no-such-file) >/dev/null 2>&1; \
                      echo > /dev/null; /no/such/program; cat /proc/self/stat >/dev/null; true";

fn shell(rig: &Rig, args: &[&str]) -> Result<Stream> {
    let (_, stream) = filtered(rig, args, || {
        let status = Command::new("sh").args(["-c", SCRIPT]).stderr(Stdio::null()).status()?;
        ensure!(status.success(), "the shell ended with {status}");
        Ok(())
    })?;
    Ok(stream)
}

fn open_text(event: &Event, key: &str) -> String {
    event.0["open"][key].as_str().unwrap_or_default().to_owned()
}

fn followed_processes_bring_their_descendants(rig: &Rig) -> Result<()> {
    let actor = rig.actor();
    let actor = actor.to_string_lossy();
    let mut gate = Process::start(&mut rig.actor_command(["gate", "--", &actor, "forks", "20"]), None)?;
    gate.line(limits::act())?.context("the actor waits at the gate")?;
    let pid = u64::from(gate.pid());
    let args = ["--pid", &pid.to_string(), "--follow", "--events", "fork,exit"];
    let (_, stream) = filtered(rig, &args, || {
        gate.tell(b"\n")?;
        Act::finish(gate)?;
        rig.act(["forks", "5"])
    })?;
    let forks = stream.of_kind("fork").count();
    let exits = stream.of_kind("exit").count();
    ensure!((forks, exits) == (20, 21), "{forks} forks and {exits} exits of the process and its children");
    numbered_without_holes(&stream)
}

fn a_path_prefix_tells_opens_below_it_alone(rig: &Rig) -> Result<()> {
    let stream = shell(rig, &["--events", "open", "--path-prefix", "/etc/", "--comm", "cat"])?;
    let below = |event: &Event| {
        let path = open_text(event, "path") + &open_text(event, "requested");
        path.starts_with("/etc/")
    };
    let passwd = stream.events().filter(|event| open_text(event, "path") == "/etc/passwd").count();
    ensure!(passwd == 2, "{passwd} opens of /etc/passwd, by its path and from its folder");
    ensure!(
        stream.events().any(|event| open_text(event, "requested") == "/etc/no-such-file"),
        "the failed one"
    );
    all(&stream, below)
}

/// A directory below the root.
struct Directory(String);

impl Directory {
    fn new(name: &str) -> Result<Self> {
        let path = format!("/{name}");
        std::fs::create_dir(&path).with_context(|| format!("failed to make {path}"))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The kernel programs look at the begin of the first name before they look at anything else.
fn a_path_prefix_tells_first_names_of_any_length_apart(rig: &Rig) -> Result<()> {
    let own = std::process::id();
    let long = format!("cpfilter{}", "x".repeat(60));
    let directories = ["cpf", "cpfilte", "cpfilter", "cpfilter-1", "cpfilter-2", &long].map(Directory::new);
    let directories = directories.into_iter().collect::<Result<Vec<_>>>()?;
    // Both readers have one comparison: to the portable ones, the lengths around its words.
    for (readers, wanted) in [("auto", &directories[..]), ("portable", &directories[2..4])] {
        for wanted in wanted {
            let args = ["--events", "open", "--pid", &own.to_string(), "--path-prefix", &wanted.0];
            let (_, stream) = filtered(rig, &[&args[..], &["--readers", readers]].concat(), || {
                for directory in &directories {
                    std::fs::File::create(format!("{}/file", directory.0))?;
                }
                Ok(())
            })?;
            let paths: Vec<_> = stream.events().map(|event| open_text(event, "path")).collect();
            if paths.is_empty() && stream.may_miss("file")? > 0 {
                continue;
            }
            ensure!(paths == [format!("{}/file", wanted.0)], "{readers}, below {}: {paths:?}", wanted.0);
        }
    }
    Ok(())
}

fn writes_tells_no_open_that_only_reads(rig: &Rig) -> Result<()> {
    let stream = shell(rig, &["--events", "open", "--writes", "--comm", "sh"])?;
    ensure!(stream.events().any(|event| open_text(event, "path") == "/dev/null"), "the one that writes");
    all(&stream, |event| event.0["open"]["flags"][0] != "O_RDONLY" || event.0["open"]["mode"].is_string())
}

fn failed_tells_no_success(rig: &Rig) -> Result<()> {
    let stream = shell(rig, &["--events", "exec,exit,fork,connect,open", "--failed"])?;
    let failed =
        stream.of_kind("exec_failed").any(|event| event.0["exec_failed"]["filename"] == "/no/such/program");
    ensure!(failed, "the program that is not there");
    ensure!(
        stream.events().any(|event| open_text(event, "requested") == "/etc/no-such-file"),
        "the file neither"
    );
    all(&stream, |event| {
        event.0["open"]["errno"].is_string()
            || event.0["exec_failed"]["errno"].is_string()
            || event.0["connect"]["errno"].is_string()
            || !event.0["connect_result"].is_null()
    })
}

fn a_cgroup_filter_holds_everything_below_it(rig: &Rig) -> Result<()> {
    let path = format!("/collector-filter-{}", std::process::id());
    let parent = Group::new(&path)?;
    let below = Group::new(&format!("{path}/below"))?;
    // Its name begins with the other's.
    let beside = Group::new(&format!("{path}-beside"))?;
    for value in [path.clone(), parent.id()?.to_string()] {
        let (acts, stream) = filtered(rig, &["--cgroup", &value], || {
            let inside = [spawned_in(rig, &parent)?, spawned_in(rig, &below)?];
            spawned_in(rig, &beside)?;
            rig.act_os(&[&"spawn", &"1", &rig.actor(), &"exit", &"0"])?;
            Ok(inside)
        })?;
        for act in acts {
            stream.one("exec", &act.child()?)?;
            stream.exit_of(&act.child()?)?;
        }
        let [parent, below] = [parent.id()?, below.id()?];
        all(&stream, |event| event.number("process.cgroup_id").is_ok_and(|id| id == parent || id == below))?;
    }
    Ok(())
}

fn a_cgroup_that_is_not_there_is_refused(rig: &Rig) -> Result<()> {
    let refused = rig.collectord().args(["watch", "--cgroup", "/no/such/cgroup"]).output()?;
    ensure!(refused.status.code() == Some(2), "a cgroup that is not there: {:?}", refused.status);
    Ok(())
}
