//! Connections: each attempt once, with both addresses and how it came out, as the caller saw it. The actor accepts what
//! it connects, and tells an attempt only if the accepted peer was the caller's address.

use crate::event::Event;
use crate::process::Process;
use crate::rig::{Act, Rig};
use crate::watch::{Stream, Watch, watched};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

crate::tests![
    a_thousand_of_all_kinds_are_told_once_each,
    portable_readers_tell_the_same,
    no_way_there_is_unreachable,
    nobody_answers_is_a_timeout,
    an_interrupted_call_is_one_attempt,
    fast_open_is_told,
    calls_of_32_bits_are_told_with_their_abi,
    io_uring_is_told_by_its_owner,
    udp_of_32_bit_calls_is_told_with_its_abi,
    udp_through_io_uring_is_told_by_its_owner,
    datagrams_with_an_address_are_told_once_a_flow,
    a_cookie_is_of_one_socket,
    filters_apply_to_connections,
];

pub(crate) const EVENTS: [&str; 2] = ["--events", "connect"];
/// Processes side by side, rounds each; a round has 18 attempts.
const PROCESSES: usize = 4;
const ROUNDS: &str = "15";

/// One attempt: family, protocol, local, remote, errno, and what became of it if it was pending.
type Attempt = (String, String, String, String, String, String);

/// Attempts of processes, and how often each was made.
type Attempts = BTreeMap<(u64, Attempt), usize>;

/// What became of a pending attempt of which no result came.
const UNTOLD: &str = "untold";

/// What became of one whose result says that the end was not seen.
const UNSEEN: &str = "unseen";

/// Where an attempt is told whose end was not seen.
pub(crate) const DESTROYED: &str = "raw_tp:tcp_destroy_sock";

/// What the actor says that it did.
fn done(acts: &[Act]) -> Result<Attempts> {
    let mut all = BTreeMap::new();
    for word in acts.iter().flat_map(|act| &act.words).filter(|word| word["act"] == "connect") {
        let text = |key: &str| word[key].as_str().map(str::to_owned).context("a text");
        let pid = word["pid"].as_u64().context("a pid")?;
        let errno = match word["errno"].as_u64().context("an errno")? {
            0 => "",
            2 => "ENOENT",
            13 => "EACCES",
            22 => "EINVAL",
            101 => "ENETUNREACH",
            110 => "ETIMEDOUT",
            111 => "ECONNREFUSED",
            113 => "EHOSTUNREACH",
            115 => "EINPROGRESS",
            other => bail!("errno {other}"),
        };
        let attempt = (
            text("family")?,
            text("protocol")?,
            text("local")?,
            text("remote")?,
            errno.to_owned(),
            text("later")?,
        );
        *all.entry((pid, attempt)).or_default() += 1;
    }
    Ok(all)
}

fn end(address: Option<&Value>) -> String {
    let Some(address) = address else { return String::new() };
    let text = |key: &str| address[key].as_str();
    if let Some(name) = text("path").or_else(|| text("abstract")) {
        return name.to_owned();
    }
    let port = address["port"].as_u64().map_or_else(String::new, |port| port.to_string());
    format!("{} {port}", text("addr").unwrap_or_default())
}

/// What the stream says of these processes. A result belongs to the pending attempt of its cookie.
fn told(stream: &Stream, pids: &BTreeSet<u64>) -> Result<Attempts> {
    let mut results: BTreeMap<u64, &Event> = BTreeMap::new();
    for event in stream.of_kind("connect_result").filter(|event| pids.contains(&event.pid())) {
        let twice = results.insert(event.number("connect_result.socket_cookie")?, event);
        ensure!(twice.is_none(), "two results of one socket: {} {twice:?}", event.0);
    }
    let mut all = BTreeMap::new();
    for event in stream.of_kind("connect").filter(|event| pids.contains(&event.pid())) {
        let text = |key: &str| Ok::<_, anyhow::Error>(event.text(&format!("connect.{key}"))?.to_owned());
        let (local, remote) = (end(event.find("connect.local")), end(event.find("connect.remote")));
        let errno = event.find("connect.errno").and_then(Value::as_str).unwrap_or_default().to_owned();
        let via = event.text("via")?;
        let unseen = via.starts_with("cgroup") || via == DESTROYED;
        let result = if unseen { "ok".to_owned() } else { text("result")? };
        ensure!(result == outcome(&errno), "{errno:?} is not {result}: {}", event.0);
        ensure!(unseen == event.told("missing", "connect.result").is_some(), "{}", event.0);
        ensure!(event.flag("connect.nonblocking")? || errno != "EINPROGRESS", "it waits: {}", event.0);
        let mut later = String::new();
        if via == DESTROYED {
            UNSEEN.clone_into(&mut later);
        }
        if errno == "EINPROGRESS" {
            let cookie = event.number("connect.socket_cookie")?;
            later = match results.remove(&cookie) {
                Some(result) => {
                    let ends =
                        ["local", "remote"].map(|name| end(result.find(&format!("connect_result.{name}"))));
                    ensure!(ends == [local.clone(), remote.clone()], "{} is of {}", result.0, event.0);
                    ensure!(
                        result.number("ktime_ns")? >= event.number("ktime_ns")?,
                        "{} {}",
                        result.0,
                        event.0
                    );
                    let unseen = result.told("missing", "connect_result.result").is_some();
                    ensure!(unseen == (result.text("via")? == DESTROYED), "{}", result.0);
                    if unseen { UNSEEN.to_owned() } else { result.text("connect_result.result")?.to_owned() }
                }
                None => UNTOLD.to_owned(),
            };
        }
        // A handshake's end is seen: it took some time.
        let latency = event.find("connect.latency_ns").and_then(Value::as_u64);
        if !unseen && via.starts_with("raw_tp") && errno != "EINPROGRESS" {
            ensure!(latency.is_some_and(|ns| ns > 0), "no latency: {}", event.0);
        }
        let attempt = (text("family")?, text("protocol")?, local, remote, errno, later);
        *all.entry((event.pid(), attempt)).or_default() += 1;
    }
    ensure!(results.is_empty(), "results of no attempt: {results:?}");
    Ok(all)
}

fn outcome(errno: &str) -> &'static str {
    match errno {
        "" => "ok",
        "ECONNREFUSED" => "refused",
        "ETIMEDOUT" => "timeout",
        "EHOSTUNREACH" | "ENETUNREACH" => "unreachable",
        "EINPROGRESS" => "pending",
        _ => "error",
    }
}

/// Both sides agree on every attempt and how often it was made. As many may lack, or lack their result, as runs of the
/// hooks were skipped on a kernel that preempts them: that is named blind there, and counted.
pub(crate) fn agree(acts: &[Act], stream: &Stream) -> Result<usize> {
    let (attempts, unseen) = agree_but_unseen(acts, stream)?;
    ensure!(unseen <= stream.may_miss("network")?, "the end of {unseen} was not seen");
    Ok(attempts)
}

/// The same, but any number may have an end that was not seen: that one, too.
pub(crate) fn agree_but_unseen(acts: &[Act], stream: &Stream) -> Result<(usize, u64)> {
    let done = done(acts)?;
    let pids = done.keys().map(|(pid, _)| *pid).collect();
    let mut told = told(stream, &pids)?;
    let unseen = without_result(&done, &mut told, UNSEEN);
    let mut absent = without_result(&done, &mut told, UNTOLD);
    absent += done.iter().map(|(key, times)| times.saturating_sub(times_of(&told, key)) as u64).sum::<u64>();
    let missing: Vec<_> = done.iter().filter(|(key, times)| times_of(&told, key) < **times).take(5).collect();
    let invented: Vec<_> =
        told.iter().filter(|(key, times)| times_of(&done, key) < **times).take(5).collect();
    ensure!(
        absent <= stream.may_miss("network")? && invented.is_empty(),
        "{absent} absent, {} lost, {} runs skipped; done and not told so: {missing:#?}; told and not done so: \
         {invented:#?}; in all {} results; the last line: {:?}; stderr: {}",
        stream.lost,
        stream.summed("missed")?,
        stream.of_kind("connect_result").count(),
        stream.lines.last().map(|line| line.0.to_string()),
        stream.stderr
    );
    stream.none_from_the_collector()?;
    Ok((done.values().sum(), unseen))
}

/// Attempts that a timer decides, which runs in whatever task it finds. A kernel can have tasks in which nobody's programs
/// run: the one of 6.18.44-fc leaves out its init (its own tracer saw the ends there, and no program did). So the end of
/// some can be unseen, but not each time.
pub(crate) fn decided_by_timers(rig: &Rig, args: &[&str]) -> Result<(Vec<Act>, Stream, usize)> {
    for _ in 0..3 {
        let (acts, stream) = acted(rig, args)?;
        let (attempts, unseen) = agree_but_unseen(&acts, &stream)?;
        if unseen <= stream.may_miss("network")? {
            return Ok((acts, stream, attempts));
        }
    }
    bail!("ends were not seen, three times")
}

fn times_of(attempts: &Attempts, key: &(u64, Attempt)) -> usize {
    attempts.get(key).copied().unwrap_or_default()
}

/// Takes attempts of which `what` became for those of the actor that they can be. How many there are.
fn without_result(done: &Attempts, told: &mut Attempts, what: &str) -> u64 {
    let mut count = 0;
    for (key, times) in told.extract_if(.., |(_, attempt), _| attempt.5 == what).collect::<Vec<_>>() {
        for _ in 0..times {
            count += 1;
            let fits = |(pid, attempt): &(u64, Attempt)| {
                let mut attempt = attempt.clone();
                if what == UNSEEN && key.1.4.is_empty() {
                    // Nobody saw it return.
                    attempt.4.clear();
                }
                what.clone_into(&mut attempt.5);
                (*pid, attempt) == key
            };
            let found = done.iter().find(|(key, times)| fits(key) && times_of(told, key) < **times);
            *told.entry(found.map_or_else(|| key.clone(), |(key, _)| key.clone())).or_default() += 1;
        }
    }
    count
}

pub(crate) fn acted(rig: &Rig, args: &[&str]) -> Result<(Vec<Act>, Stream)> {
    let (act, stream) = watched(rig, &EVENTS, || rig.act(args))?;
    Ok((vec![act], stream))
}

fn side_by_side(rig: &Rig) -> Result<Vec<Act>> {
    let start = |_| Process::start(&mut rig.actor_command(["connects", ROUNDS]), None);
    let actors: Vec<Process> = (0..PROCESSES).map(start).collect::<Result<_>>()?;
    actors.into_iter().map(Act::finish).collect()
}

fn a_thousand_of_all_kinds_are_told_once_each(rig: &Rig) -> Result<()> {
    let (acts, stream) = watched(rig, &EVENTS, || side_by_side(rig))?;
    let attempts = agree(&acts, &stream)?;
    ensure!(attempts >= 1000, "only {attempts}");
    if stream.is_blind("network", "preempted-hook")? {
        // One after the other, and without a canary, none is in another's way.
        let args = [&EVENTS[..], &["--canary", "off"]].concat();
        let (acts, stream) = watched(rig, &args, || {
            (0..PROCESSES).map(|_| rig.act(["connects", ROUNDS])).collect::<Result<Vec<_>>>()
        })?;
        agree(&acts, &stream)?;
        let missed = stream.may_miss("network")?;
        ensure!(missed == 0, "{missed} runs were skipped");
    }
    // IPv4-mapped addresses are told as what they stand for, and as they were.
    let raw = |event: &&Event| event.find("connect.remote.raw").is_some_and(|raw| raw == "::ffff:127.0.0.1");
    ensure!(stream.of_kind("connect").any(|event| raw(&event)), "no mapped address");
    Ok(())
}

fn portable_readers_tell_the_same(rig: &Rig) -> Result<()> {
    let watch = Watch::start(rig, &["--events", "connect", "--readers", "portable"])?;
    let acts = side_by_side(rig)?;
    agree(&acts, &watch.stop()?).map(drop)
}

fn no_way_there_is_unreachable(rig: &Rig) -> Result<()> {
    let (acts, stream) = acted(rig, &["unreachable", "20"])?;
    ensure!(agree(&acts, &stream)? == 20, "not 20");
    Ok(())
}

fn nobody_answers_is_a_timeout(rig: &Rig) -> Result<()> {
    let (_, _, attempts) = decided_by_timers(rig, &["timeouts", "40"])?;
    ensure!(attempts == 41, "{attempts}, not 41");
    Ok(())
}

fn an_interrupted_call_is_one_attempt(rig: &Rig) -> Result<()> {
    let (acts, stream) = acted(rig, &["interrupted"])?;
    ensure!(agree(&acts, &stream)? == 1, "not one");
    Ok(())
}

fn fast_open_is_told(rig: &Rig) -> Result<()> {
    let (acts, stream) = acted(rig, &["fastopen", "20"])?;
    ensure!(agree(&acts, &stream)? == 20, "not 20");
    Ok(())
}

fn calls_of_32_bits_are_told_with_their_abi(rig: &Rig) -> Result<()> {
    let (acts, stream) = acted(rig, &["ia32", "40"])?;
    ensure!(agree(&acts, &stream)? == 40, "not 40");
    let pid = acts[0].word("connect")?["pid"].as_u64();
    for event in stream.of_kind("connect").filter(|event| Some(event.pid()) == pid) {
        ensure!(event.text("abi")? == "ia32", "{}", event.0);
    }
    Ok(())
}

fn io_uring_is_told_by_its_owner(rig: &Rig) -> Result<()> {
    let (acts, stream) = acted(rig, &["uring", "40"])?;
    ensure!(agree(&acts, &stream)? == 40, "not 40");
    Ok(())
}

fn udp_of_32_bit_calls_is_told_with_its_abi(rig: &Rig) -> Result<()> {
    let (acts, stream) = acted(rig, &["ia32-udp", "20"])?;
    stream.skip_if_blind("network", "udp-connect-other-abi")?;
    ensure!(agree(&acts, &stream)? == 40, "not 40");
    let pid = acts[0].word("connect")?["pid"].as_u64();
    for event in stream.of_kind("connect").filter(|event| Some(event.pid()) == pid) {
        ensure!(event.text("abi")? == "ia32", "{}", event.0);
    }
    Ok(())
}

fn udp_through_io_uring_is_told_by_its_owner(rig: &Rig) -> Result<()> {
    let (acts, stream) = acted(rig, &["uring-udp", "20"])?;
    stream.skip_if_blind("network", "udp-connect-other-abi")?;
    ensure!(agree(&acts, &stream)? == 40, "not 40");
    // None failed, as far as is seen.
    let (act, stream) = watched(rig, &["--events", "connect", "--failed"], || rig.act(["uring-udp", "20"]))?;
    let pid = act.word("connect")?["pid"].as_u64();
    let told = stream.of_kind("connect").find(|event| Some(event.pid()) == pid);
    ensure!(told.is_none(), "{told:?}");
    Ok(())
}

fn datagrams_with_an_address_are_told_once_a_flow(rig: &Rig) -> Result<()> {
    let (acts, stream) = acted(rig, &["datagrams", "50"])?;
    stream.skip_if_blind("network", "udp-sendmsg")?;
    ensure!(agree(&acts, &stream)? == 200, "not 200");
    Ok(())
}

fn a_cookie_is_of_one_socket(rig: &Rig) -> Result<()> {
    let (_, stream) = watched(rig, &EVENTS, || side_by_side(rig))?;
    let mut seen = BTreeSet::new();
    for event in stream.of_kind("connect") {
        if let Some(cookie) = event.find("connect.socket_cookie").and_then(Value::as_u64) {
            ensure!(seen.insert(cookie), "two sockets with one cookie: {}", event.0);
        }
    }
    ensure!(!seen.is_empty(), "no cookies");
    Ok(())
}

fn filters_apply_to_connections(rig: &Rig) -> Result<()> {
    let nobody = ["--events", "connect", "--comm", "no-such-name"];
    let (_, stream) = watched(rig, &nobody, || rig.act(["connects", "2"]))?;
    ensure!(stream.events().count() == 0, "{:?}", stream.events().next());
    let (act, stream) =
        watched(rig, &["--events", "connect", "--comm", "actor"], || rig.act(["connects", "2"]))?;
    agree(&[act], &stream).map(drop)
}
