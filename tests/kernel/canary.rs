//! The canary: calls of the daemon's own show that its hooks are there, once, and are never told.

use crate::embed::Embedded;
use crate::limits;
use crate::process::Process;
use crate::rig::Rig;
use crate::watch::{Stream, Watch};
use anyhow::{Context as _, Result, bail, ensure};
use collector_common::{Class, Hook};
use collector_core::event::ErrorCode;
use collector_core::{CollectionEvent, EventSource};
use collectord::kernel::LoadOptions;
use collectord::source::{CANARY_PERIOD, KernelSource, KernelSourceOptions};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

crate::tests![
    a_canary_comes_back_and_is_never_told,
    no_filter_holds_a_canary_back,
    it_comes_back_in_each_class_and_through_each_hook_once,
    without_a_canary_nothing_is_opened,
    a_hook_that_is_there_twice_is_told,
    a_hook_of_programs_that_is_there_twice_is_told,
    each_hook_that_is_gone_is_told_within_ten_seconds,
];

/// Of opens alone: forks for the process table are internal too.
const OPENS: [&str; 2] = ["--events", "open"];

/// A watch whose canary flies, and another without one that sees it fly four times: their streams.
fn flown(rig: &Rig, filters: &[&str]) -> Result<(Stream, Stream)> {
    let flier = Watch::start(rig, &[&OPENS[..], &["--canary", "20ms"], filters].concat())?;
    let pid = flier.pid().to_string();
    let mut observer = Watch::start(rig, &[&OPENS[..], &["--canary", "off", "--pid", &pid]].concat())?;
    observer.until(4, "collectord-canary")?;
    let (observer, flier) = (observer.stop()?, flier.stop()?);
    flier.none_from_the_collector()?;
    observer.none_from_the_collector()?;
    let told = flier.lines.iter().any(|line| line.0.to_string().contains("canary"));
    ensure!(!told, "an event of the canary, or a fault");
    Ok((flier, observer))
}

fn a_canary_comes_back_and_is_never_told(rig: &Rig) -> Result<()> {
    let (flier, _) = flown(rig, &["--comm", "nobody"])?;
    let with = flier.summed("internal")?;
    ensure!(with >= 4, "{with} internal events");
    Ok(())
}

fn no_filter_holds_a_canary_back(rig: &Rig) -> Result<()> {
    let filters = ["--uid", "4711", "--comm", "nobody", "--path-prefix", "/nowhere", "--writes", "--failed"];
    let (flier, _) = flown(rig, &filters)?;
    let with = flier.summed("internal")?;
    ensure!(with >= 4, "{with} internal events");
    Ok(())
}

fn without_a_canary_nothing_is_opened(rig: &Rig) -> Result<()> {
    let (_, observer) = flown(rig, &["--comm", "nobody"])?;
    // Programs that the other one's canary starts are for the process table.
    let without = &observer.lines.last().context("a stream has lines")?.0["classes"]["file"]["internal"];
    ensure!(*without == 0, "{without} internal opens");
    Ok(())
}

fn it_comes_back_in_each_class_and_through_each_hook_once(rig: &Rig) -> Result<()> {
    let args = ["--events", "exec,exit,connect,open", "--comm", "nobody", "--canary", "20ms"];
    let flier = Watch::start(rig, &args)?;
    let pid = flier.pid().to_string();
    let mut observer = Watch::start(rig, &[&OPENS[..], &["--canary", "off", "--pid", &pid]].concat())?;
    // Longer than it takes to tell what did not come back.
    observer.until(200, "collectord-canary")?;
    let (_, flier) = (observer.stop()?, flier.stop()?);
    flier.none_from_the_collector()?;
    let faults: Vec<_> = flier.lines.iter().filter(|line| line.0["event"] == "error").collect();
    ensure!(faults.is_empty(), "{faults:?}");
    let summary = &flier.lines.last().context("a stream has lines")?.0;
    for class in ["process", "network", "file"] {
        // Where tracefs cannot be read, the class has no hook that it could come through.
        let internal = &summary["classes"][class]["internal"];
        ensure!(internal.as_u64() >= Some(20), "{class}: {internal} internal events");
    }
    Ok(())
}

fn a_hook_that_is_there_twice_is_told(rig: &Rig) -> Result<()> {
    doubled(rig, "open", "sys_exit_openat")
}

fn a_hook_of_programs_that_is_there_twice_is_told(rig: &Rig) -> Result<()> {
    doubled(rig, "exec", "sys_exit_execve")
}

fn doubled(rig: &Rig, events: &str, tracepoint: &str) -> Result<()> {
    let mut command = rig.collectord();
    command.args(["watch", "--format", "json", "--comm", "nobody", "--canary", "20ms", "--events", events]);
    let watch = Process::start(&mut command, None)?;
    // The first line comes when the hooks are attached.
    watch.line(limits::start())?.context("the watch ended early")?;
    // The reader of a busy machine may need more than one look.
    for _ in 0..5 {
        // The kernel takes no program twice at one tracepoint; that of openat2 (of execveat) has the same 15 bytes of a
        // name, and beside that of openat (of execve) it tells its calls as its own.
        rig.act(["double-hook", tracepoint, "500"])?;
        for line in watch.lines_within(Duration::from_millis(100)) {
            let line: Value = serde_json::from_slice(&line)?;
            if line["event"] == "error" && line["code"] == "canary" {
                let message = line["message"].as_str().unwrap_or_default();
                ensure!(message.starts_with(tracepoint) && message.contains("2 times"), "{message}");
                return Ok(());
            }
        }
    }
    bail!("no fault is told")
}

/// Takes the programs off their hooks, as somebody with the same privileges could: what holds them
/// there is closed in this very process. Another file has the number afterwards, for whoever owns it will close it, too.
fn take_off_hooks() -> Result<usize> {
    let mut links = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name().into_string().ok().context("a descriptor is a number")?;
        // Gone is the one of the folder itself.
        let Ok(target) = std::fs::read_link(format!("/proc/self/fd/{name}")) else { continue };
        let target = target.to_string_lossy().into_owned();
        let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{name}")).unwrap_or_default();
        if target.contains("perf_event") || (target.contains("bpf") && about.contains("link_type")) {
            links.push(name.parse::<i32>()?);
        }
    }
    for &link in &links {
        nix::unistd::close(link)?;
        let mut others = Vec::new();
        loop {
            let file = File::open("/dev/null")?;
            if file.as_raw_fd() == link {
                std::mem::forget(file);
                break;
            }
            ensure!(others.len() < 1000, "descriptor {link} is somebody else's by now");
            others.push(file);
        }
    }
    Ok(links.len())
}

fn each_hook_that_is_gone_is_told_within_ten_seconds(_rig: &Rig) -> Result<()> {
    collectord::memlock::raise();
    limits::kept(limits::promised_canary(), all_hooks_gone)
}

/// How long it takes until each is told.
fn all_hooks_gone() -> Result<Duration> {
    let sources = KernelSource::open(&KernelSourceOptions {
        load: LoadOptions { optional: Class::ALL.to_vec(), ..LoadOptions::default() },
        told: Hook::ALL.to_vec(),
        canary: Some(CANARY_PERIOD),
    })?;
    // That of a TCP attempt's begin is shown by the one of its end.
    let watched =
        ["open", "openat", "openat2", "creat", "open_by_handle_at", "execve", "execveat", "connect"]
            .map(|call| format!("sys_exit_{call}"));
    let others = ["sched_process_fork", "sched_process_exec", "sched_process_exit"];
    let others = others.into_iter().chain(["inet_sock_set_state", "sendmsg4", "sendmsg6"]);
    let watched = watched.into_iter().chain(others.map(str::to_owned));
    let ipv6 = std::net::UdpSocket::bind("[::1]:0").is_ok();
    let is_attached = |name: &String| {
        let coverages = sources.iter().filter_map(EventSource::coverage);
        let mut hooks = coverages.flat_map(|all| all.classes.into_values().flat_map(|class| class.hooks));
        hooks.any(|hook| hook.via.rsplit(':').next() == Some(name)) && (ipv6 || name != "sendmsg6")
    };
    let watched: BTreeSet<String> = watched.filter(is_attached).collect();
    ensure!(watched.len() >= 5, "{watched:?} alone are attached");
    let sources = sources.into_iter().map(|source| Box::new(source) as Box<dyn EventSource>).collect();
    let mut collector = Embedded::start(sources)?;
    let links = take_off_hooks()?;
    let gone = Instant::now();
    ensure!(links >= watched.len(), "{links} links to hooks are open here");
    let told = RefCell::new(BTreeSet::new());
    collector.until("all faults", |event| {
        if let CollectionEvent::Error(error) = event
            && error.code == ErrorCode::Canary
        {
            let name = error.message.split(' ').next().unwrap_or_default();
            told.borrow_mut().insert(name.to_owned());
        }
        watched.is_subset(&told.borrow())
    })?;
    let after = gone.elapsed();
    collector.stop()?;
    Ok(after)
}
