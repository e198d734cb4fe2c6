//! Opens whose names are not what they seem to be, against what the caller itself knows of them.

use crate::hostile::names;
use crate::limits;
use crate::open::{of_process, text, words};
use crate::process::Process;
use crate::rig::{Act, Rig};
use crate::watch::{Stream, watched};
use anyhow::{Context as _, Result, ensure};
use collector_tests::stream::is_unsafe;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

crate::tests![
    a_file_is_named_as_the_mount_namespace_names_it,
    a_file_behind_pivot_root_is_named_from_the_new_root,
    a_file_of_an_overlay_is_the_overlays,
    hostile_names_come_back_exactly_from_opens,
    the_compact_form_of_hostile_names_is_one_safe_line_an_open,
    an_open_that_goes_on_after_signals_is_one,
    no_path_is_told_that_never_was,
];

/// Holds what one process of the actor opened against its words: each once, and nothing else of these files.
pub(crate) fn check(stream: &Stream, act: &Act) -> Result<()> {
    ensure!(stream.lost == 0, "{} events were lost", stream.lost);
    let opens: Vec<_> = act.words.iter().filter(|word| word["act"] == "open").collect();
    let pids: BTreeSet<_> = opens.iter().filter_map(|word| word["pid"].as_u64()).collect();
    for pid in pids {
        let words: Vec<_> = opens.iter().filter(|word| word["pid"] == pid).collect();
        let events: Vec<_> = of_process(stream, "open", pid)
            .into_iter()
            .filter(|event| {
                words.iter().any(|word| {
                    word["ino"] == event.0["open"]["ino"] && word["dev"] == event.0["open"]["dev"]
                })
            })
            .collect();
        ensure!(
            events.len() == words.len(),
            "{pid} made {} opens, {} are told: {words:?}",
            words.len(),
            events.len()
        );
        for (event, word) in events.into_iter().zip(words) {
            let open = &event.0["open"];
            let same = ["path", "requested", "fd", "dev", "ino"].iter().all(|&key| open[key] == word[key]);
            ensure!(same, "the caller saw {word}, the event says {}", event.0);
        }
    }
    Ok(())
}

/// The kinds that the actor told.
fn kinds(act: &Act) -> Vec<&str> {
    act.words.iter().map(|word| text(word, "kind")).collect()
}

fn a_file_is_named_as_the_mount_namespace_names_it(rig: &Rig) -> Result<()> {
    for readers in ["auto", "portable"] {
        let folder = rig.path(readers);
        std::fs::create_dir(&folder)?;
        let (act, stream) = watched(rig, &["--events", "open", "--readers", readers], || {
            rig.act_os(&[&"open-places", &folder])
        })?;
        check(&stream, &act)?;
        let expected = [
            "tmpfs",
            "bound folder",
            "bound again",
            "bound file",
            "chroot",
            "chroot, relative",
            "chroot, no way up",
            "namespace",
            "open_tree",
            "MNT_DETACH",
        ];
        ensure!(kinds(&act) == expected, "{:?}", kinds(&act));
    }
    Ok(())
}

fn a_file_behind_pivot_root_is_named_from_the_new_root(rig: &Rig) -> Result<()> {
    let folder = rig.path("pivoted");
    std::fs::create_dir(&folder)?;
    let (act, stream) = watched(rig, &["--events", "open"], || rig.act_os(&[&"open-pivoted", &folder]))?;
    check(&stream, &act)?;
    ensure!(kinds(&act) == ["absolute", "dirfd"], "{:?}", kinds(&act));
    Ok(())
}

fn a_file_of_an_overlay_is_the_overlays(rig: &Rig) -> Result<()> {
    let folder = rig.path("overlay");
    std::fs::create_dir(&folder)?;
    let (act, stream) = watched(rig, &["--events", "open"], || rig.act_os(&[&"open-overlay", &folder]))?;
    check(&stream, &act)?;
    ensure!(kinds(&act) == ["lower", "copied up", "after it", "made"], "{:?}", kinds(&act));
    Ok(())
}

/// Paths of hostile names in a folder, one of them as long as a name can be.
fn hostile_paths(rig: &Rig) -> Result<(PathBuf, Vec<PathBuf>)> {
    let folder = rig.path("hostile");
    std::fs::create_dir(&folder)?;
    let long = OsString::from_vec(b"\x1b\n\xff\"\\".repeat(51));
    let paths = names().map(OsStr::to_owned).chain([long]).map(|name| folder.join(name)).collect();
    Ok((folder, paths))
}

fn open_each(rig: &Rig, paths: &[PathBuf]) -> Result<Act> {
    rig.act([OsStr::new("open-each")].into_iter().chain(paths.iter().map(|path| path.as_os_str())))
}

fn hostile_names_come_back_exactly_from_opens(rig: &Rig) -> Result<()> {
    let (folder, paths) = hostile_paths(rig)?;
    let (act, stream) = watched(rig, &["--events", "open"], || open_each(rig, &paths))?;
    let (pid, words) = words(&act, "open")?;
    let mut told: Vec<_> = of_process(&stream, "open", pid);
    told.retain(|event| {
        event.bytes("open.requested").is_ok_and(|name| name.starts_with(folder.as_os_str().as_bytes()))
    });
    ensure!(told.len() == 2 * paths.len() && words.len() == paths.len(), "{} opens are told", told.len());
    for ((events, path), word) in told.chunks(2).zip(&paths).zip(words) {
        let [well, failed] = events else { anyhow::bail!("two opens a name: {events:?}") };
        let name = path.as_os_str().as_bytes();
        ensure!(well.bytes("open.path")? == name && well.bytes("open.requested")? == name, "{}", well.0);
        ensure!(well.number("open.ino").ok() == word["ino"].as_u64(), "{word}: {}", well.0);
        ensure!(failed.bytes("open.requested")? == name, "{}", failed.0);
        ensure!(failed.text("open.errno")? == "EEXIST", "{}", failed.0);
    }
    Ok(())
}

fn the_compact_form_of_hostile_names_is_one_safe_line_an_open(rig: &Rig) -> Result<()> {
    let (folder, paths) = hostile_paths(rig)?;
    let mut command = rig.collectord();
    command.args(["watch", "--format", "compact", "--no-color", "--events", "open"]);
    // A failed open by a relative name could be of that folder too, whoever asks for it.
    command.args(["--comm", "actor", "--path-prefix"]);
    let mut process = Process::start(command.arg(folder), None)?;
    process.line(limits::start())?.context("a first line")?;
    open_each(rig, &paths)?;
    process.signal(Signal::SIGINT)?;
    let lines = process.rest(limits::stop())?;
    ensure!(process.wait(limits::stop())?.success(), process.failure("failed"));
    let lines: Vec<_> = lines.into_iter().map(String::from_utf8).collect::<Result<_, _>>()?;
    for line in &lines {
        let bad = line.trim_end_matches('\n').chars().find(|&c| is_unsafe(c));
        ensure!(bad.is_none(), "{bad:?} reaches the terminal: {line:?}");
    }
    // A hook's run that the kernel skipped while a task was preempted in it is told in a line of its own.
    let skips = lines.iter().any(|line| line.starts_with("# file on ") && line.contains("preempted-hook"));
    let is_loss = |line: &str| skips && line.contains(" LOST ") && line.ends_with(", missed 1\n");
    let opens = lines.iter().filter(|line| !line.starts_with('#') && !is_loss(line)).count();
    ensure!(opens == 2 * paths.len(), "{opens} lines of {} opens: {lines:#?}", 2 * paths.len());
    Ok(())
}

/// Opens of a pipe that signals reach. A call that goes on by itself has no end before the last. One that fails with EINTR
/// is not told, and named blind.
fn an_open_that_goes_on_after_signals_is_one(rig: &Rig) -> Result<()> {
    const TIMES: usize = 10;
    let pipe = rig.path("pipe");
    let (act, stream) = watched(rig, &["--events", "open"], || {
        rig.act_os(&[&"interrupted-opens", &pipe, &TIMES.to_string()])
    })?;
    check(&stream, &act)?;
    let (pid, interrupted) = words(&act, "interrupted")?;
    let of_pipe = |event: &&&crate::event::Event| {
        event.bytes("open.requested").is_ok_and(|name| name == pipe.as_os_str().as_bytes())
    };
    let told = of_process(&stream, "open", pid);
    let told = told.iter().filter(of_pipe).count();
    ensure!((interrupted.len(), told) == (TIMES, TIMES), "{told} opens of the pipe by the reader");
    let blind = stream.lines[0].find("classes.file.blind").and_then(Value::as_array);
    ensure!(blind.is_some_and(|blind| blind.contains(&"open-interrupted".into())), "{:?}", stream.lines[0]);
    Ok(())
}

/// Folders above the file are moved and renamed all the time: a path is one that was, or it is not told and says so.
fn no_path_is_told_that_never_was(rig: &Rig) -> Result<()> {
    let opens = 30_000 / u64::from(*limits::SLACK);
    for readers in ["auto", "portable"] {
        let folder = rig.path(readers);
        std::fs::create_dir(&folder)?;
        // Room for all of them: they come faster than they can be written.
        let args = ["--events", "open", "--comm", "actor", "--readers", readers, "--ring-size", "file=16MiB"];
        let (act, stream) =
            watched(rig, &args, || rig.act_os(&[&"moved-opens", &folder, &opens.to_string()]))?;
        ensure!(stream.lost == 0, "{} events were lost", stream.lost);
        let pid = act.word("moved")?["pid"].as_u64().context("the actor says its pid")?;
        let been = [folder.join("o1/m/in/f"), folder.join("y/z/elsewhere/in/f")];
        let (mut told, mut raced) = (0, 0);
        for event in of_process(&stream, "open", pid) {
            if event.find("open.requested").and_then(Value::as_str) != Some("f") {
                continue;
            }
            told += 1;
            if event.find("open.path").is_none() {
                let why = event.told("missing", "open.path").and_then(Value::as_str);
                ensure!(why == Some("raced") && event.number("open.ino")? != 0, "{}", event.0);
                raced += 1;
            } else {
                let path = event.bytes("open.path")?;
                ensure!(
                    been.iter().any(|been| been.as_os_str().as_bytes() == path),
                    "never was: {}",
                    event.0
                );
            }
        }
        ensure!(told == opens, "{told} of {opens} opens are told");
        ensure!(raced * 100 <= told, "{raced} of {told} paths are given up");
    }
    Ok(())
}
