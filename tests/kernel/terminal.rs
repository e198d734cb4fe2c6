//! The compact form on a real terminal: no line is wider than it, and what came of a thing is whole.

use crate::limits;
use crate::process::Process;
use crate::rig::{Rig, Skip};
use anyhow::{Context as _, Result, bail, ensure};
use collector_tests::stream::is_unsafe;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::ffi::OsString;

crate::tests![
    no_line_is_wider_than_the_terminal_and_outcomes_are_whole,
    wide_lines_are_cut_nowhere,
    losses_fit_the_terminal
];

/// Narrow, without users, without parents, whole.
const COLUMNS: [usize; 4] = [80, 110, 140, 200];
/// What our colours are.
const COLORS: [&str; 5] = ["\x1b[0m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"];

/// What a watch in a terminal of so many columns writes while the actor does what it is asked to.
fn shown(
    rig: &Rig,
    columns: usize,
    args: &[&str],
    act: impl FnOnce(Pid) -> Result<()>,
) -> Result<Vec<String>> {
    let mut words: Vec<OsString> = ["terminal", &columns.to_string(), "--"].map(OsString::from).into();
    words.push(rig.collectord_path().into());
    words.extend(["watch", "--comm", "actor"].into_iter().chain(args.iter().copied()).map(OsString::from));
    let mut process = Process::start(&mut rig.actor_command(words), None)?;
    let first = process.line(limits::start())?.context("the actor tells its child")?;
    let told: Value = serde_json::from_slice(&first)?;
    if told["act"] == "refused" {
        bail!(Skip(told.to_string()));
    }
    let pid = Pid::from_raw(i32::try_from(told["pid"].as_i64().context("a pid")?)?);
    let mut lines = vec![process.line(limits::start())?.context("coverage")?];
    act(pid)?;
    kill(pid, Signal::SIGINT)?;
    lines.extend(process.rest(limits::stop())?);
    ensure!(process.wait(limits::stop())?.success(), process.failure("failed"));
    lines.into_iter().map(|line| Ok(String::from_utf8(line)?.trim_end_matches('\n').to_owned())).collect()
}

/// A line without our colours; nothing else in it acts on a terminal.
fn plain(line: &str) -> Result<String> {
    let plain = COLORS.iter().fold(line.to_owned(), |line, color| line.replace(color, ""));
    let bad = plain.chars().find(|&character| is_unsafe(character));
    ensure!(bad.is_none(), "{bad:?} reaches the terminal: {line:?}");
    Ok(plain)
}

/// Something of every kind, with long words and such that would paint.
fn all_kinds(rig: &Rig) -> Result<()> {
    let folder = rig.path(format!("a{}", "-long-name".repeat(12)));
    std::fs::create_dir_all(folder.join("opens"))?;
    let long = "argument ".repeat(20);
    rig.act_os(&[&"argv", &rig.actor(), &"actor", &"exit", &"3", &"\x1b[31m\n\u{9b}\u{202e}", &long])?;
    rig.act_os(&[&"failed-execs", &folder.join("absent"), &"4"])?;
    rig.act_os(&[&"connects", &"1"])?;
    rig.act_os(&[&"opens", &folder.join("opens"), &"10"])?;
    rig.act_os(&[&"failed-opens", &folder, &"7"])?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

const EVERY: [&str; 2] = ["--events", "exec,exit,fork,connect,open"];

/// What an event's line ends with, behind its paths and arguments.
fn has_outcome(line: &str, kind: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    let last = words.last().copied().unwrap_or_default();
    let is_errno = |word: &str| {
        word.len() > 1
            && word.starts_with('E')
            && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    match kind {
        "exit" => line.contains(" code ") && line.contains(" after "),
        "execfail" => is_errno(last) || line.ends_with(']'),
        "fork" => line.contains(" child "),
        "connect" | "result" => ["ok", "refused", "pending", "error", "timeout", "unreachable"]
            .iter()
            .any(|name| words.contains(name)),
        "open" => is_errno(last) || line.ends_with(']') || words.iter().rev().nth(1) == Some(&"="),
        _ => true,
    }
}

fn no_line_is_wider_than_the_terminal_and_outcomes_are_whole(rig: &Rig) -> Result<()> {
    for columns in COLUMNS {
        let lines = shown(rig, columns, &EVERY, |_| all_kinds(rig))?;
        let mut kinds = std::collections::BTreeSet::new();
        for line in &lines {
            let line = plain(line)?;
            let width = line.chars().count();
            ensure!(width <= columns, "{width} of {columns} columns: {line:?}");
            let kind = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
            ensure!(line.starts_with('#') || has_outcome(&line, &kind), "of {columns} columns: {line:?}");
            kinds.insert(kind);
        }
        for kind in ["exec", "execfail", "exit", "fork", "connect", "result", "open"] {
            ensure!(kinds.contains(kind), "no {kind} among {kinds:?}");
        }
        ensure!(lines.iter().any(|line| line.contains("\x1b[3")), "no colours on a terminal: {lines:?}");
    }
    Ok(())
}

fn wide_lines_are_cut_nowhere(rig: &Rig) -> Result<()> {
    let lines = shown(rig, 80, &[&EVERY[..], &["--wide"]].concat(), |_| all_kinds(rig))?;
    let lines: Vec<String> = lines.iter().map(|line| plain(line)).collect::<Result<_>>()?;
    let cut = lines.iter().find(|line| line.contains('\u{2026}'));
    ensure!(cut.is_none(), "{cut:?}");
    ensure!(lines.iter().any(|line| line.contains(&"argument ".repeat(20))), "no long line: {lines:#?}");
    Ok(())
}

/// While the watch sleeps, a small ring runs over.
fn losses_fit_the_terminal(rig: &Rig) -> Result<()> {
    for columns in COLUMNS {
        let args = ["--events", "exec,exit", "--ring-size", "process=32KiB"];
        let lines = shown(rig, columns, &args, |pid| {
            kill(pid, Signal::SIGSTOP)?;
            let acted = rig.act_os(&[&"spawn", &"200", &rig.actor(), &"exit", &"0"]);
            kill(pid, Signal::SIGCONT)?;
            acted.map(drop)
        })?;
        let lines: Vec<String> = lines.iter().map(|line| plain(line)).collect::<Result<_>>()?;
        let wide = lines.iter().find(|line| line.chars().count() > columns);
        ensure!(wide.is_none(), "over {columns} columns: {wide:?}");
        let lost: Vec<_> = lines.iter().filter(|line| line.contains("LOST")).collect();
        ensure!(!lost.is_empty(), "nothing is lost: the test shows nothing: {lines:#?}");
        ensure!(lines.iter().any(|line| line.contains("ring_full")), "no reason: {lines:#?}");
    }
    Ok(())
}
