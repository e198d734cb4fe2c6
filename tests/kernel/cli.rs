//! The command line: exit codes, what stands where, and a reader that goes away.

use crate::limits;
use crate::process::Process;
use crate::rig::Rig;
use crate::watch::{Watch, watched};
use anyhow::{Result, ensure};
use collector_tests::stream::{Ending, check, is_unsafe};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::process::Command;

crate::tests![
    a_wrong_value_exits_2_and_names_the_valid_ones,
    a_size_out_of_bounds_exits_2_and_names_them,
    more_filter_values_than_are_compared_exit_2,
    an_unknown_flag_exits_2,
    a_flag_that_would_do_nothing_exits_2_and_says_why,
    a_value_that_does_not_parse_exits_2_and_names_the_flag,
    help_names_every_flag,
    the_version_is_printed,
    sigterm_ends_like_sigint,
    a_terminal_that_goes_away_ends_it_like_sigint,
    a_closed_stdout_is_a_quiet_exit_0,
    the_compact_form_is_one_safe_line_an_event,
    no_color_means_no_escape,
    verbose_logs_stand_on_stderr_alone,
];

/// Runs to the end; code, stdout, stderr.
pub(crate) fn run(command: &mut Command) -> Result<(Option<i32>, String, String)> {
    let mut process = Process::start(command, None)?;
    let out = process.rest(limits::start())?.concat();
    let code = process.wait(limits::stop())?.code();
    Ok((code, String::from_utf8_lossy(&out).into_owned(), process.stderr()))
}

fn a_wrong_value_exits_2_and_names_the_valid_ones(rig: &Rig) -> Result<()> {
    let wrong: [(&[&str], &[&str]); 4] = [
        (&["--events", "exec,opne"], &["exec", "exit", "fork"]),
        (&["--format", "xml"], &["compact", "json"]),
        (&["--readers", "fast"], &["auto", "direct", "portable"]),
        (&["--ring-size", "proces=1MiB"], &["process"]),
    ];
    for (args, names) in wrong {
        let (code, out, err) = run(rig.collectord().arg("watch").args(args))?;
        ensure!(code == Some(2), "watch {args:?} exits {code:?}: {err}");
        for name in names {
            ensure!(err.contains(name), "watch {args:?} does not name {name}: {err}");
        }
        ensure!(out.is_empty(), "watch {args:?} writes to stdout: {out}");
    }
    Ok(())
}

fn a_size_out_of_bounds_exits_2_and_names_them(rig: &Rig) -> Result<()> {
    for size in ["process=4KiB", "process=3MiB", "process=1GiB"] {
        let (code, _, err) = run(rig.collectord().args(["watch", "--ring-size", size]))?;
        ensure!(code == Some(2), "{size} exits {code:?}: {err}");
        ensure!(err.contains("32KiB") && err.contains("256MiB"), "{size}: the bounds are not named: {err}");
    }
    Ok(())
}

fn more_filter_values_than_are_compared_exit_2(rig: &Rig) -> Result<()> {
    let mut command = rig.collectord();
    command.args(["watch", "--duration", "1s"]);
    for pid in 1..=9 {
        command.args(["--pid", &pid.to_string()]);
    }
    let (code, _, err) = run(&mut command)?;
    ensure!(code == Some(2) && err.contains("--pid") && err.contains('8'), "exit {code:?}: {err}");
    let (code, _, err) = run(rig.collectord().args(["watch", "--comm", "sixteen-bytes-xx"]))?;
    ensure!(code == Some(2) && err.contains("15"), "exit {code:?}: {err}");
    Ok(())
}

fn a_flag_that_would_do_nothing_exits_2_and_says_why(rig: &Rig) -> Result<()> {
    let idle: [(&[&str], &str); 7] = [
        (&["--threads"], "--events fork"),
        (&["--events", "exec", "--writes"], "--writes is about opens"),
        (&["--events", "exec,connect", "--path-prefix", "/etc"], "--path-prefix is about opens"),
        (&["--events", "exit", "--failed"], "--failed is about opens, connections and program starts"),
        (&["--events", "fork,exit", "--failed"], "--failed is about opens, connections and program starts"),
        (&["--format", "compact", "--ancestry", "3"], "--format json"),
        (&["--follow"], "--pid"),
    ];
    for (args, says) in idle {
        let (code, out, err) = run(rig.collectord().args(["watch", "--duration", "1s"]).args(args))?;
        ensure!(code == Some(2) && out.is_empty(), "watch {args:?} exits {code:?}: {out}{err}");
        ensure!(err.contains(says), "watch {args:?} does not say {says:?}: {err}");
    }
    Ok(())
}

fn an_unknown_flag_exits_2(rig: &Rig) -> Result<()> {
    let (code, _, err) = run(rig.collectord().args(["watch", "--colour"]))?;
    ensure!(code == Some(2) && err.contains("--colour"), "exit {code:?}: {err}");
    Ok(())
}

fn a_value_that_does_not_parse_exits_2_and_names_the_flag(rig: &Rig) -> Result<()> {
    for args in [
        ["--pid", "init"],
        ["--uid", "no such user"],
        ["--count", "0x"],
        ["--duration", "5 parsecs"],
        ["--ring-size", "process=much"],
        ["--ring-memory", "much"],
    ] {
        let (code, _, err) = run(rig.collectord().arg("watch").args(args))?;
        ensure!(code == Some(2), "watch {args:?} exits {code:?}: {err}");
        ensure!(err.contains(args[0]), "watch {args:?} does not name the flag: {err}");
    }
    Ok(())
}

fn help_names_every_flag(rig: &Rig) -> Result<()> {
    let (code, out, err) = run(rig.collectord().args(["watch", "--help"]))?;
    ensure!(code == Some(0) && err.is_empty(), "exit {code:?}: {err}");
    let flags = [
        "--events",
        "--format",
        "--duration",
        "--count",
        "--pid",
        "--uid",
        "--comm",
        "--cgroup",
        "--follow",
        "--path-prefix",
        "--writes",
        "--failed",
        "--ancestry",
        "--canary",
        "--threads",
        "--reader-cpus",
        "--nice",
        "--readers",
        "--ring-size",
        "--ring-memory",
        "--btf",
        "--no-color",
        "--wide",
        "--verbose",
        "--help",
    ];
    // An option's line begins with it, behind its short form if it has one.
    let first =
        |line: &str| line.split([' ', '=', '.']).find_map(|word| word.strip_prefix("--").map(str::to_owned));
    let told: BTreeSet<String> =
        out.lines().map(str::trim_start).filter(|line| line.starts_with('-')).filter_map(first).collect();
    let expected = flags.iter().map(|flag| flag.trim_start_matches("--").to_owned()).collect();
    ensure!(told == expected, "the help has {told:?}, expected are {expected:?}:\n{out}");
    Ok(())
}

fn the_version_is_printed(rig: &Rig) -> Result<()> {
    let (code, out, _) = run(rig.collectord().arg("--version"))?;
    ensure!(code == Some(0) && out.contains(env!("CARGO_PKG_VERSION")), "exit {code:?}: {out}");
    Ok(())
}

fn ends_like_sigint(rig: &Rig, signal: Signal) -> Result<()> {
    let watch = Watch::start(rig, &[])?;
    let act = rig.act_os(&[&"spawn", &"3", &rig.actor(), &"exit", &"0"])?;
    watch.process.signal(signal)?;
    let stream = watch.end(limits::stop())?;
    for child in act.children()? {
        stream.exit_of(&child)?;
    }
    Ok(())
}

fn sigterm_ends_like_sigint(rig: &Rig) -> Result<()> {
    ends_like_sigint(rig, Signal::SIGTERM)
}

fn a_terminal_that_goes_away_ends_it_like_sigint(rig: &Rig) -> Result<()> {
    ends_like_sigint(rig, Signal::SIGHUP)
}

fn a_closed_stdout_is_a_quiet_exit_0(rig: &Rig) -> Result<()> {
    let mut process = Process::start(rig.collectord().args(["watch", "--format", "json"]), Some(3))?;
    let mut head = Vec::new();
    if let Some(first) = process.line(limits::start())? {
        head.extend(first);
    }
    // More than 3 lines, and after them more for the daemon to write into the closed pipe.
    rig.act_os(&[&"spawn", &"20", &rig.actor(), &"exit", &"0"])?;
    head.extend(process.rest(limits::act())?.concat());
    rig.act_os(&[&"spawn", &"20", &rig.actor(), &"exit", &"0"])?;
    let code = process.wait(limits::stop())?.code();
    let err = process.stderr();
    ensure!(code == Some(0), process.failure(&format!("ended with {code:?}")));
    for loud in ["panic", "error", "broken pipe"] {
        ensure!(!err.to_lowercase().contains(loud), "stderr is not quiet: {err}");
    }
    let report = check(&head, Ending::Cut);
    ensure!(report.holds(), "{report}");
    Ok(())
}

/// A compact watch while hostile arguments run; its lines.
fn compact(rig: &Rig, args: &[&str]) -> Result<Vec<String>> {
    let mut process = Process::start(
        rig.collectord()
            .args(["watch", "--format", "compact", "--events", "exec,exit"])
            .args(["--comm", "actor", "--count", "2"])
            .args(args),
        None,
    )?;
    let mut lines = Vec::new();
    // Without a first line to wait for, act until two events came.
    let mut code = None;
    for _ in 0..100 {
        rig.act_os(&[&"argv", &rig.actor(), &"actor", &"exit", &"0", &"\x1b[31m\n\u{9b}\u{202e}", &"plain"])?;
        lines.extend(process.lines_within(std::time::Duration::from_millis(50)));
        if let Ok(status) = process.wait(std::time::Duration::from_millis(50)) {
            code = status.code();
            break;
        }
    }
    lines.extend(process.rest(limits::stop())?);
    ensure!(code == Some(0), process.failure(&format!("ended with {code:?}")));
    lines.into_iter().map(|line| Ok(String::from_utf8(line)?)).collect()
}

fn the_compact_form_is_one_safe_line_an_event(rig: &Rig) -> Result<()> {
    let lines = compact(rig, &["--no-color"])?;
    for line in &lines {
        let bad = line.trim_end_matches('\n').chars().find(|&c| is_unsafe(c));
        ensure!(bad.is_none(), "{bad:?} reaches the terminal: {line:?}");
    }
    let of_actor =
        |kind: &str| lines.iter().filter(|line| line.contains(kind) && line.contains("actor")).count();
    ensure!(of_actor("exec") + of_actor("exit") >= 2, "not one line an event: {lines:#?}");
    Ok(())
}

fn no_color_means_no_escape(rig: &Rig) -> Result<()> {
    let escape = compact(rig, &["--no-color"])?.concat().contains('\x1b');
    ensure!(!escape, "an escape sequence with --no-color");
    Ok(())
}

fn verbose_logs_stand_on_stderr_alone(rig: &Rig) -> Result<()> {
    let (_, stream) = watched(rig, &["-vv"], || rig.act(["forks", "1"]))?;
    ensure!(!stream.stderr.is_empty(), "-vv says nothing");
    Ok(())
}
