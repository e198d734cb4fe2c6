//! Further ways to connect: without a bind before, through options of TCP, by other families, to where nobody is.

use crate::connect::{EVENTS, acted, agree, decided_by_timers};
use crate::event::Event;
use crate::hostile;
use crate::open::words;
use crate::rig::{Act, Rig};
use crate::watch::{Stream, watched};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

crate::tests![
    a_client_that_bound_nothing_has_the_address_that_was_chosen,
    multipath_tcp_is_told_as_tcp,
    fast_open_with_cookies_of_both_families_is_told,
    fast_open_by_connect_is_told_once,
    refused_calls_of_32_bits_are_told_with_their_abi,
    io_urings_polling_thread_is_told_by_its_owner,
    datagram_and_packet_sockets_of_unix_are_told,
    hostile_names_of_unix_sockets_come_back_exactly,
    other_families_are_declared,
    a_network_that_drops_packets_is_a_timeout,
    nobody_at_the_address_is_unreachable_later,
    no_route_is_told_at_once_with_its_errno,
];

/// Holds the stream against the actor's word, which has so many attempts.
fn agrees(rig: &Rig, args: &[&str], attempts: usize) -> Result<(Vec<Act>, Stream)> {
    let (acts, stream) = acted(rig, args)?;
    let told = agree(&acts, &stream)?;
    ensure!(told == attempts, "{told} attempts, not {attempts}");
    Ok((acts, stream))
}

fn a_client_that_bound_nothing_has_the_address_that_was_chosen(rig: &Rig) -> Result<()> {
    agrees(rig, &["unbound", "40"], 80).map(drop)
}

fn multipath_tcp_is_told_as_tcp(rig: &Rig) -> Result<()> {
    agrees(rig, &["mptcp", "10"], 10).map(drop)
}

fn fast_open_with_cookies_of_both_families_is_told(rig: &Rig) -> Result<()> {
    agrees(rig, &["fastopen-ways", "12", "sendto"], 24).map(drop)
}

fn fast_open_by_connect_is_told_once(rig: &Rig) -> Result<()> {
    agrees(rig, &["fastopen-ways", "12", "connect"], 24).map(drop)
}

fn refused_calls_of_32_bits_are_told_with_their_abi(rig: &Rig) -> Result<()> {
    let (acts, stream) = agrees(rig, &["ia32-refused", "20"], 20)?;
    for event in of_actor(&acts[0], "connect", &stream)? {
        ensure!(event.text("abi")? == "ia32", "{}", event.0);
    }
    Ok(())
}

fn io_urings_polling_thread_is_told_by_its_owner(rig: &Rig) -> Result<()> {
    agrees(rig, &["uring-polled", "20"], 20).map(drop)
}

fn datagram_and_packet_sockets_of_unix_are_told(rig: &Rig) -> Result<()> {
    agrees(rig, &["unix-types", "10"], 20).map(drop)
}

/// The connects of the process that told `word`, in order.
fn of_actor<'a>(act: &Act, word: &str, stream: &'a Stream) -> Result<Vec<&'a Event>> {
    let (pid, _) = words(act, word)?;
    Ok(crate::open::of_process(stream, "connect", pid))
}

fn hostile_names_of_unix_sockets_come_back_exactly(rig: &Rig) -> Result<()> {
    let names: Vec<&OsStr> = hostile::names().collect();
    let (act, stream) = watched(rig, &EVENTS, || {
        rig.act([OsStr::new("unix-names")].into_iter().chain(names.iter().copied()))
    })?;
    let (_, words) = words(&act, "unix-name")?;
    let events = of_actor(&act, "unix-name", &stream)?;
    ensure!(events.len() == 2 * names.len() && words.len() == events.len(), "{} are told", events.len());
    for (event, word) in events.into_iter().zip(words) {
        let name = names[usize::try_from(word["number"].as_u64().context("a number")?)?].as_bytes();
        let (key, result, errno) = match word["abstract"] == true {
            true => ("connect.remote.abstract", "refused", "ECONNREFUSED"),
            false => ("connect.remote.path", "error", "ENOENT"),
        };
        ensure!(event.bytes(key)? == name, "{name:?} is told as {}", event.0);
        ensure!(event.text("connect.family")? == "unix", "{}", event.0);
        ensure!(
            event.text("connect.errno")? == errno && event.text("connect.result")? == result,
            "{}",
            event.0
        );
    }
    Ok(())
}

fn other_families_are_declared(rig: &Rig) -> Result<()> {
    let (act, stream) = watched(rig, &EVENTS, || rig.act(["families"]))?;
    let (_, words) = words(&act, "family")?;
    let events = of_actor(&act, "family", &stream)?;
    ensure!(words.len() == events.len(), "{words:?}, told are {events:?}");
    for (event, word) in events.into_iter().zip(words) {
        ensure!(event.find("connect.family") == Some(&word["family"]), "{word}: {}", event.0);
        let raw = i32::try_from(word["errno"].as_i64().context("an errno")?)?;
        let errno = (raw != 0).then(|| format!("{:?}", nix::errno::Errno::from_raw(raw)));
        let told = event.find("connect.errno").and_then(Value::as_str);
        ensure!(told == errno.as_deref(), "{word}: {}", event.0);
        let remote = event.find("connect.remote").context("where to")?;
        let expected = match word["family"] == "vsock" {
            true => serde_json::json!({"addr": "1", "port": 4711}),
            false => serde_json::json!({"addr": "0"}),
        };
        ensure!(*remote == expected, "{}", event.0);
    }
    Ok(())
}

/// Both families; IPv4 alone where the kernel has no veth.
fn a_network_that_drops_packets_is_a_timeout(rig: &Rig) -> Result<()> {
    let (acts, stream, attempts) = decided_by_timers(rig, &["dropped", "20"])?;
    ensure!(matches!(attempts, 21 | 41), "{attempts} attempts");
    let of_actor = of_actor(&acts[0], "connect", &stream)?;
    let waited = of_actor.iter().filter(|event| event.text("connect.result").is_ok_and(|is| is == "timeout"));
    ensure!(waited.count() == 1, "one waits for its timeout: {of_actor:?}");
    Ok(())
}

fn nobody_at_the_address_is_unreachable_later(rig: &Rig) -> Result<()> {
    let (acts, _, attempts) = decided_by_timers(rig, &["nobody-there", "10"])?;
    ensure!(attempts == 21, "{attempts} attempts");
    let later = acts[0].words.iter().filter(|word| word["later"] == "unreachable").count();
    ensure!(later == 20, "{later} were decided as unreachable");
    Ok(())
}

/// Nothing, unreachable, prohibited and blackhole, of each family.
fn no_route_is_told_at_once_with_its_errno(rig: &Rig) -> Result<()> {
    agrees(rig, &["no-route", "4"], 32).map(drop)
}
