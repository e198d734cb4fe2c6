//! Text that wants to be something else: one event stays one line, and the exact bytes come back.

use crate::exec::{bytes, exec_of};
use crate::rig::{Act, Rig};
use crate::watch::{Stream, watched};
use anyhow::{Context as _, Result, ensure};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

crate::tests![
    hostile_arguments_come_back_exactly,
    hostile_paths_come_back_exactly,
    a_hostile_comm_comes_back_exactly,
    a_comm_set_by_the_process_comes_back_exactly,
    a_hostile_working_directory_comes_back_exactly,
    a_name_of_255_bytes_comes_back,
    a_path_of_70_components_comes_back,
    a_path_over_4_kib_is_cut_and_says_so,
];

/// Newlines and forged lines, terminal sequences, quotes, what is no UTF-8, C1 and bidirectional characters.
const TEXTS: &[&[u8]] = &[
    b"two\nlines",
    b"\n{\"event\":\"summary\",\"classes\":{}}\n",
    b"carriage\rreturn\ttab\x0bvt\x08bs\x07bel\x7fdel",
    b"\x1b[31mred\x1b]0;title\x07",
    b"\"quotes\" 'and' \\back\\slash\\",
    b"\xff\xfe\x80\xc3(",
    b"cut \xe2\x82",
    b"surrogate \xed\xa0\x80",
    b"overlong \xc0\xae",
    "C1 \u{9b}31m \u{85}".as_bytes(),
    b"bare C1 \x9b31m",
    "\u{2028}separators\u{2029}".as_bytes(),
    "\u{202e}override\u{2066}isolate\u{2069}\u{200f}\u{61c}".as_bytes(),
    "replacement \u{fffd} itself".as_bytes(),
    "astral \u{1f600}".as_bytes(),
    b"",
    b" ",
    b"\\u0000 \\n",
];

fn hostile_arguments_come_back_exactly(rig: &Rig) -> Result<()> {
    let mut args: Vec<OsString> =
        ["argv".into(), rig.actor().into(), "actor".into(), "exit".into(), "0".into()].into();
    args.extend(TEXTS.iter().map(|text| OsStr::from_bytes(text).to_owned()));
    let (act, stream) = watched(rig, &[], || rig.act(&args))?;
    let exec = exec_of(&stream, &act.child()?, &act, &rig.actor())?;
    let expected: Vec<&[u8]> =
        [&b"actor"[..], b"exit", b"0"].into_iter().chain(TEXTS.iter().copied()).collect();
    ensure!(exec.argv()? == expected, "{}", exec.0);
    Ok(())
}

/// The texts that can be file names.
pub(crate) fn names() -> impl Iterator<Item = &'static OsStr> {
    TEXTS.iter().filter(|text| !text.is_empty() && !text.contains(&b'/')).map(|text| OsStr::from_bytes(text))
}

/// Runs a copy of the actor under each hostile name.
fn hostile_names_run(rig: &Rig) -> Result<(Vec<(PathBuf, Act)>, Stream)> {
    watched(rig, &[], || {
        names()
            .map(|name| {
                let program = rig.copy(&rig.actor(), name)?;
                let act = rig.act_os(&[&"spawn", &"1", &program, &"exit", &"4"])?;
                Ok((program, act))
            })
            .collect()
    })
}

fn hostile_paths_come_back_exactly(rig: &Rig) -> Result<()> {
    let (acts, stream) = hostile_names_run(rig)?;
    for (program, act) in acts {
        let exec = exec_of(&stream, &act.child()?, &act, &program)?;
        ensure!(exec.bytes("exec.filename")? == bytes(&program), "{}", exec.0);
        stream.exit_of(&act.child()?)?;
    }
    Ok(())
}

/// What the kernel keeps of a name as a comm.
fn comm(name: &[u8]) -> &[u8] {
    &name[..name.len().min(15)]
}

fn a_hostile_comm_comes_back_exactly(rig: &Rig) -> Result<()> {
    let (acts, stream) = hostile_names_run(rig)?;
    for (program, act) in acts {
        let child = act.child()?;
        let name = program.file_name().context("it has a name")?.as_bytes();
        for event in [stream.one("exec", &child)?, stream.one("exit", &child)?] {
            ensure!(event.bytes("process.name")? == comm(name), "comm of {name:?}: {}", event.0);
        }
    }
    Ok(())
}

fn a_comm_set_by_the_process_comes_back_exactly(rig: &Rig) -> Result<()> {
    let (acts, stream) = watched(rig, &[], || {
        TEXTS
            .iter()
            .map(|text| Ok((text, rig.act([OsStr::new("rename"), OsStr::from_bytes(text)])?)))
            .collect::<Result<Vec<_>>>()
    })?;
    for (text, act) in acts {
        let exit = stream.exit_of(&act.child()?)?;
        ensure!(exit.bytes("process.name")? == comm(text), "comm of {text:?}: {}", exit.0);
    }
    Ok(())
}

fn a_hostile_working_directory_comes_back_exactly(rig: &Rig) -> Result<()> {
    let (acts, stream) = watched(rig, &[], || {
        names()
            .map(|name| {
                let folder = rig.path(name);
                std::fs::create_dir(&folder)?;
                let mut command =
                    rig.actor_command([OsStr::new("spawn"), "1".as_ref(), rig.actor().as_ref()]);
                command.args(["exit", "0"]).current_dir(&folder);
                Ok((folder, Act::finish(crate::process::Process::start(&mut command, None)?)?))
            })
            .collect::<Result<Vec<_>>>()
    })?;
    for (folder, act) in acts {
        let exec = stream.one("exec", &act.child()?)?;
        ensure!(exec.bytes("exec.cwd")? == bytes(&folder), "{}", exec.0);
    }
    Ok(())
}

fn a_name_of_255_bytes_comes_back(rig: &Rig) -> Result<()> {
    let program = rig.copy(&rig.actor(), OsString::from_vec(vec![b'n'; 255]))?;
    let (act, stream) = watched(rig, &[], || rig.act_os(&[&"spawn", &"1", &program, &"exit", &"0"]))?;
    exec_of(&stream, &act.child()?, &act, &program).map(drop)
}

fn a_path_of_70_components_comes_back(rig: &Rig) -> Result<()> {
    const DEPTH: usize = 70;
    let (act, stream) =
        watched(rig, &[], || rig.act_os(&[&"deep", &rig.folder(), &DEPTH.to_string(), &"20"]))?;
    let folder = (0..DEPTH).fold(rig.folder(), |folder, _| folder.join("d".repeat(20)));
    let exec = exec_of(&stream, &act.child()?, &act, &folder.join("deepest"))?;
    ensure!(exec.bytes("exec.cwd")? == bytes(&folder), "cwd: {}", exec.0);
    ensure!(exec.text("exec.filename")? == "./deepest", "filename: {}", exec.0);
    ensure!(exec.find("truncated").is_none(), "nothing is truncated: {}", exec.0);
    Ok(())
}

fn a_path_over_4_kib_is_cut_and_says_so(rig: &Rig) -> Result<()> {
    const DEPTH: usize = 20;
    let (act, stream) =
        watched(rig, &[], || rig.act_os(&[&"deep", &rig.folder(), &DEPTH.to_string(), &"250"]))?;
    let child = act.child()?;
    let exec = stream.one("exec", &child)?;
    for (path, leaf) in [("exec.path", "deepest"), ("exec.cwd", &*"d".repeat(250))] {
        let kept = exec.text(path)?;
        let said = exec.told("truncated", path).and_then(serde_json::Value::as_u64);
        ensure!(
            said.is_some_and(|len| len >= kept.len() as u64),
            "{path}: truncated says {said:?}: {}",
            exec.0
        );
        // The file's own name is worth more than the root's.
        ensure!(kept.ends_with(leaf), "{path} does not end with {leaf}: {}", exec.0);
        ensure!(kept.len() > 2000, "{path}: only {} bytes are kept", kept.len());
    }
    ensure!(exec.number("exec.ino")? == act.file()?.1, "ino: {}", exec.0);
    stream.exit_of(&child).map(drop)
}
