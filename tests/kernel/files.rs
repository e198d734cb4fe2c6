//! What runs where a name says something else, or nothing: scripts, descriptors, files without a name.

use crate::event::Event;
use crate::exec::{bytes, exec_of};
use crate::rig::Rig;
use crate::watch::{Stream, watched};
use anyhow::{Context as _, Result, ensure};
use std::os::linux::fs::MetadataExt as _;
use std::path::Path;

crate::tests![
    a_script_tells_its_name_its_interpreter_and_its_file,
    a_script_named_relatively_is_told_with_its_whole_path,
    a_script_with_an_argument_in_its_first_line_is_told_with_it,
    a_script_run_by_a_script_tells_the_one_that_was_asked_for,
    a_memfd_is_fileless,
    an_unlinked_file_is_fileless,
    execveat_on_a_descriptor_tells_the_real_file,
    a_name_in_proc_self_fd_tells_the_real_file,
];

const SHELL: &str = "/bin/sh";

fn script_runs(rig: &Rig, asked: &str, script: &Path, argv: &[&str]) -> Result<(Stream, usize)> {
    let (act, stream) = watched(rig, &[], || rig.act(["spawn", "1", asked, "first", ""]))?;
    let child = act.child()?;
    let exec = stream.one("exec", &child)?;
    let file = script.metadata()?;
    let shell = Path::new(SHELL).canonicalize()?;
    ensure!(exec.text("exec.filename")? == asked, "filename is not what was asked: {}", exec.0);
    ensure!(exec.bytes("exec.path")? == bytes(&shell), "path is not {}: {}", shell.display(), exec.0);
    ensure!(exec.number("exec.ino")? == shell.metadata()?.st_ino(), "ino is not the shell's: {}", exec.0);
    ensure!(exec.text("exec.interp")? == SHELL, "interp is not {SHELL}: {}", exec.0);
    ensure!(
        exec.bytes("exec.script.path")? == bytes(script),
        "script.path is not {}: {}",
        script.display(),
        exec.0
    );
    ensure!(
        exec.number("exec.script.ino")? == file.st_ino(),
        "script.ino is not {}: {}",
        file.st_ino(),
        exec.0
    );
    let dev = device(file.st_dev());
    ensure!(exec.text("exec.script.dev")? == dev, "script.dev is not {dev}: {}", exec.0);
    let expected: Vec<&[u8]> = argv.iter().map(|arg| arg.as_bytes()).collect();
    ensure!(exec.argv()? == expected, "argv is not {argv:?}: {}", exec.0);
    ensure!(child.status >> 8 == 7, "the script did not run: {child:?}");
    stream.exit_of(&child)?;
    let at = stream.lines.iter().position(|line| std::ptr::eq(line, exec)).context("it is there")?;
    Ok((stream, at))
}

/// As glibc's `major` and `minor` take a `st_dev` apart.
fn device(dev: u64) -> String {
    let major = (dev >> 8 & 0xfff) | (dev >> 32 & 0xffff_f000);
    let minor = (dev & 0xff) | (dev >> 12 & 0xffff_ff00);
    format!("{major}:{minor}")
}

fn a_script_tells_its_name_its_interpreter_and_its_file(rig: &Rig) -> Result<()> {
    let script = rig.script("script", "#!/bin/sh\nexit 7\n")?;
    let asked = script.to_string_lossy();
    let (stream, at) = script_runs(rig, &asked, &script, &[SHELL, &asked, "first", ""])?;
    let exec: &Event = &stream.lines[at];
    ensure!(exec.text("process.name")? == "script", "comm is not the script's: {}", exec.0);
    Ok(())
}

fn a_script_named_relatively_is_told_with_its_whole_path(rig: &Rig) -> Result<()> {
    let script = rig.script("script", "#!/bin/sh\nexit 7\n")?;
    script_runs(rig, "./script", &script, &[SHELL, "./script", "first", ""]).map(drop)
}

fn a_script_with_an_argument_in_its_first_line_is_told_with_it(rig: &Rig) -> Result<()> {
    let script = rig.script("script", "#! /bin/sh  -e\t\nexit 7\n")?;
    script_runs(rig, "./script", &script, &[SHELL, "-e", "./script", "first", ""]).map(drop)
}

fn a_script_run_by_a_script_tells_the_one_that_was_asked_for(rig: &Rig) -> Result<()> {
    let inner = rig.script("inner", "#!/bin/sh\nexit 7\n")?;
    let inner = inner.to_string_lossy();
    let outer = rig.script("outer", &format!("#!{inner}\n"))?;
    script_runs(rig, "./outer", &outer, &[SHELL, &inner, "./outer", "first", ""]).map(drop)
}

/// Runs a copy of the actor in some way; the exec must tell this file as the actor saw it by fstat.
fn descriptor_runs(rig: &Rig, how: &str, fileless: bool) -> Result<(Stream, usize)> {
    let program = rig.copy(&rig.actor(), "program")?;
    let (act, stream) = watched(rig, &[], || rig.act_os(&[&how, &program, &"exit", &"5"]))?;
    let child = act.child()?;
    let (dev, ino) = act.file()?;
    let exec = stream.one("exec", &child)?;
    ensure!(exec.flag("exec.fileless")? == fileless, "fileless is not {fileless}: {}", exec.0);
    ensure!(exec.number("exec.ino")? == ino, "ino is not {ino}: {}", exec.0);
    ensure!(exec.text("exec.dev")? == dev, "dev is not {dev}: {}", exec.0);
    ensure!(exec.find("exec.script").is_none(), "no script ran: {}", exec.0);
    if !fileless {
        exec_of(&stream, &child, &act, &program)?;
    }
    stream.exit_of(&child)?;
    let at = stream.lines.iter().position(|line| std::ptr::eq(line, exec)).context("it is there")?;
    Ok((stream, at))
}

fn a_memfd_is_fileless(rig: &Rig) -> Result<()> {
    let (stream, at) = descriptor_runs(rig, "memfd", true)?;
    let exec = &stream.lines[at];
    ensure!(exec.text("exec.path")?.contains("memfd:in-memory"), "the memfd's name is not told: {}", exec.0);
    Ok(())
}

fn an_unlinked_file_is_fileless(rig: &Rig) -> Result<()> {
    let (stream, at) = descriptor_runs(rig, "unlinked", true)?;
    let exec = &stream.lines[at];
    ensure!(exec.text("exec.path")?.contains("program"), "the name that it had is not told: {}", exec.0);
    Ok(())
}

fn execveat_on_a_descriptor_tells_the_real_file(rig: &Rig) -> Result<()> {
    let (stream, at) = descriptor_runs(rig, "execveat-fd", false)?;
    let exec = &stream.lines[at];
    // The kernel names what it was asked for itself here.
    ensure!(exec.text("exec.filename")?.starts_with("/dev/fd/"), "{}", exec.0);
    Ok(())
}

fn a_name_in_proc_self_fd_tells_the_real_file(rig: &Rig) -> Result<()> {
    let (stream, at) = descriptor_runs(rig, "procfd", false)?;
    let exec = &stream.lines[at];
    ensure!(exec.text("exec.filename")?.starts_with("/proc/self/fd/"), "{}", exec.0);
    Ok(())
}
