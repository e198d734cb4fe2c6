//! Starts of programs: complete, exact, and told once.

use crate::event::Child;
use crate::rig::{Act, Rig};
use crate::watch::{Stream, Watch, watched};
use anyhow::{Context as _, Result, bail, ensure};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

crate::tests![
    direct_readers_tell_1000_of_1000_execs_and_exits_exactly,
    portable_readers_tell_1000_of_1000_execs_and_exits_exactly,
    the_path_is_the_file_that_runs_however_it_was_named,
    a_vforked_program_is_told_with_its_own_pid,
    a_posix_spawned_program_is_told_with_its_own_pid,
    an_exec_from_another_thread_keeps_the_pid_and_tells_the_old_tid,
    an_exec_from_the_leader_has_no_old_tid,
    the_executed_inode_is_told_while_another_thread_changes_the_path,
    one_process_that_execs_many_times_is_one_process,
    empty_arguments_are_kept,
    argv_0_is_what_the_caller_gave,
    an_exec_without_any_argument_is_told,
    argv_of_8_kib_is_whole,
    longer_argv_is_cut_and_says_its_length,
    the_working_directory_is_told,
    two_watches_each_see_everything,
    the_process_section_agrees_with_the_exec,
];

const TIMES: usize = 1000;

fn direct_readers_tell_1000_of_1000_execs_and_exits_exactly(rig: &Rig) -> Result<()> {
    thousand(rig, "direct")
}

fn portable_readers_tell_1000_of_1000_execs_and_exits_exactly(rig: &Rig) -> Result<()> {
    thousand(rig, "portable")
}

fn thousand(rig: &Rig, readers: &str) -> Result<()> {
    let program = rig.copy(Path::new("/bin/true"), "true")?;
    let watch = Watch::with_readers(rig, readers)?;
    let act = rig.act_os(&[&"spawn", &TIMES.to_string(), &program, &"one", &"two words"])?;
    let stream = watch.stop()?;
    let children = act.children()?;
    ensure!(children.len() == TIMES, "the actor made {} children", children.len());
    for child in &children {
        let exec = exec_of(&stream, child, &act, &program)?;
        let argv: [&[u8]; 3] = [bytes(&program), b"one", b"two words"];
        ensure!(exec.argv()? == argv, "argv in {}", exec.0);
        ensure!(exec.bytes("exec.filename")? == bytes(&program), "filename in {}", exec.0);
        ensure!(child.status == 0, "true failed: {child:?}");
        stream.exit_of(child)?;
    }
    let told =
        stream.of_kind("exec").filter(|e| e.bytes("exec.path").is_ok_and(|p| p == bytes(&program))).count();
    ensure!(told == TIMES, "{told} execs of the program, {TIMES} happened");
    let hooks = &stream.lines[0].0["classes"]["process"]["hooks"];
    let family = hooks.as_array().context("hooks")?.iter().find_map(|hook| hook["readers"].as_str());
    ensure!(
        family.is_none_or(|family| family == readers),
        "coverage says readers {family:?}, asked {readers}"
    );
    stream.none_from_the_collector()
}

pub(crate) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// The child's one exec of `path`, with everything that the actor's word decides.
pub(crate) fn exec_of<'a>(
    stream: &'a Stream,
    child: &Child,
    act: &Act,
    path: &Path,
) -> Result<&'a crate::event::Event> {
    let exec = stream.one("exec", child)?;
    let (dev, ino) = act.file()?;
    ensure!(exec.bytes("exec.path")? == bytes(path), "path is not {}: {}", path.display(), exec.0);
    ensure!(exec.text("exec.dev")? == dev, "dev is not {dev}: {}", exec.0);
    ensure!(exec.number("exec.ino")? == ino, "ino is not {ino}: {}", exec.0);
    ensure!(exec.number("process.ppid")? == child.ppid, "ppid is not {}: {}", child.ppid, exec.0);
    ensure!(exec.number("process.tid")? == child.pid, "tid is not the pid: {}", exec.0);
    Ok(exec)
}

fn the_path_is_the_file_that_runs_however_it_was_named(rig: &Rig) -> Result<()> {
    let program = rig.copy(&rig.actor(), "program")?;
    std::os::unix::fs::symlink("program", rig.path("link"))?;
    std::fs::create_dir(rig.path("sub"))?;
    let names = ["./program", "link", "sub/../program", "./././/program"];
    let (acts, stream) = watched(rig, &[], || {
        names
            .iter()
            .map(|name| Ok((name, rig.act(["spawn", "1", name, "exit", "0"])?)))
            .collect::<Result<Vec<_>>>()
    })?;
    for (name, act) in acts {
        let exec = exec_of(&stream, &act.child()?, &act, &program)?;
        ensure!(exec.text("exec.filename")? == *name, "filename is not {name}: {}", exec.0);
        ensure!(!exec.flag("exec.fileless")?, "a file is called fileless: {}", exec.0);
        ensure!(exec.find("exec.script").is_none(), "no script ran: {}", exec.0);
    }
    Ok(())
}

fn started_by(rig: &Rig, how: &str) -> Result<(Act, Stream)> {
    let program = rig.copy(&rig.actor(), "program")?;
    let (act, stream) = watched(rig, &[], || rig.act_os(&[&how, &program, &"exit", &"6"]))?;
    let child = act.child()?;
    let exec = exec_of(&stream, &child, &act, &program)?;
    ensure!(exec.argv()? == [bytes(&program), b"exit", b"6"], "argv in {}", exec.0);
    stream.exit_of(&child)?;
    Ok((act, stream))
}

fn a_vforked_program_is_told_with_its_own_pid(rig: &Rig) -> Result<()> {
    started_by(rig, "vfork").map(drop)
}

fn a_posix_spawned_program_is_told_with_its_own_pid(rig: &Rig) -> Result<()> {
    started_by(rig, "posix-spawn").map(drop)
}

fn an_exec_from_another_thread_keeps_the_pid_and_tells_the_old_tid(rig: &Rig) -> Result<()> {
    let (act, stream) = started_by(rig, "thread-exec")?;
    let child = act.child()?;
    let tid = child.word["tid"].as_u64().context("the actor tells the thread")?;
    let exec = stream.one("exec", &child)?;
    ensure!(exec.number("exec.old_tid")? == tid, "old_tid is not {tid}: {}", exec.0);
    // The threads that the exec ended are no processes.
    let by_thread = stream.events().find(|event| event.pid() == tid);
    ensure!(by_thread.is_none(), "a thread is told as a process: {by_thread:?}");
    Ok(())
}

fn an_exec_from_the_leader_has_no_old_tid(rig: &Rig) -> Result<()> {
    let (act, stream) = started_by(rig, "vfork")?;
    let exec = stream.one("exec", &act.child()?)?;
    ensure!(exec.find("exec.old_tid").is_none(), "{}", exec.0);
    Ok(())
}

/// What the kernel ran is told, not what the caller's memory held before or after.
fn the_executed_inode_is_told_while_another_thread_changes_the_path(rig: &Rig) -> Result<()> {
    const RACES: usize = 300;
    let files = [rig.copy(&rig.actor(), "raced-a")?, rig.copy(&rig.actor(), "raced-b")?];
    let inodes = [std::fs::metadata(&files[0])?.ino(), std::fs::metadata(&files[1])?.ino()];
    let (act, stream) =
        watched(rig, &[], || rig.act_os(&[&"path-race", &RACES.to_string(), &files[0], &files[1]]))?;
    let children = act.children()?;
    ensure!(children.len() == RACES, "the actor made {} children of {RACES}", children.len());
    let mut runs = [0; 2];
    for child in &children {
        ensure!(child.status == 0, "a child did not run: {child:?}");
        let words: Vec<_> =
            act.words.iter().filter(|word| word["act"] == "ran" && word["pid"] == child.pid).collect();
        let [word] = words[..] else { bail!("{} files ran in {child:?}: {words:?}", words.len()) };
        let which = inodes.iter().position(|&ino| word["ino"] == ino).context("another file ran")?;
        runs[which] += 1;
        let (path, exec) = (bytes(&files[which]), stream.one("exec", child)?);
        ensure!(exec.number("exec.ino")? == inodes[which], "{word} ran, told is {}", exec.0);
        ensure!(word["dev"] == exec.text("exec.dev")?, "{word} ran, told is {}", exec.0);
        for key in ["exec.path", "exec.filename", "process.exe"] {
            ensure!(exec.bytes(key)? == path, "{key} is not of {word}: {}", exec.0);
        }
        ensure!(exec.number("process.exe_ino")? == inodes[which], "exe_ino is not of {word}: {}", exec.0);
        stream.exit_of(child)?;
    }
    ensure!(runs.iter().all(|&count| count > 0), "nothing was raced: the files ran {runs:?} times");
    Ok(())
}

fn one_process_that_execs_many_times_is_one_process(rig: &Rig) -> Result<()> {
    const TURNS: usize = 20;
    let (act, stream) = watched(rig, &[], || {
        rig.act_os(&[&"spawn", &"1", &rig.actor(), &"chain", &TURNS.to_string(), &"3"])
    })?;
    let child = act.child()?;
    let execs: Vec<_> = stream.of_kind("exec").filter(|event| child.is_in(event)).collect();
    ensure!(execs.len() == TURNS + 1, "{} execs of {}", execs.len(), TURNS + 1);
    let key = execs[0].text("process.key")?;
    ensure!(execs.iter().all(|exec| exec.text("process.key").is_ok_and(|k| k == key)), "the key changes");
    ensure!(stream.exit_of(&child)?.text("process.key")? == key, "the exit has another key");
    Ok(())
}

/// Execs the actor with exactly this argv (its first two arguments must make it end with 0).
fn argv_comes_back(rig: &Rig, argv: &[&str]) -> Result<Stream> {
    let mut args = vec![OsStr::new("argv").to_owned(), rig.actor().into_os_string()];
    args.extend(argv.iter().map(|arg| OsStr::new(arg).to_owned()));
    let (act, stream) = watched(rig, &[], || rig.act(&args))?;
    let exec = exec_of(&stream, &act.child()?, &act, &rig.actor())?;
    let expected: Vec<&[u8]> = argv.iter().map(|arg| arg.as_bytes()).collect();
    ensure!(exec.argv()? == expected, "argv is not {argv:?}: {}", exec.0);
    ensure!(exec.told("truncated", "exec.argv").is_none(), "whole, but called truncated: {}", exec.0);
    Ok(stream)
}

fn empty_arguments_are_kept(rig: &Rig) -> Result<()> {
    argv_comes_back(rig, &["actor", "exit", "0", "", "x", "", ""])?;
    argv_comes_back(rig, &["", "exit", "0", ""]).map(drop)
}

fn argv_0_is_what_the_caller_gave(rig: &Rig) -> Result<()> {
    argv_comes_back(rig, &["-another name", "exit", "0"]).map(drop)
}

fn an_exec_without_any_argument_is_told(rig: &Rig) -> Result<()> {
    let (act, stream) = watched(rig, &[], || rig.act_os(&[&"argv", &rig.actor()]))?;
    let child = act.child()?;
    // The program's own count of its arguments: newer kernels add an empty one.
    let count = usize::try_from((child.status >> 8) - 100)?;
    let exec = exec_of(&stream, &child, &act, &rig.actor())?;
    ensure!(exec.argv()? == vec![Vec::<u8>::new(); count], "argv is not {count} empty ones: {}", exec.0);
    Ok(())
}

fn argv_of_8_kib_is_whole(rig: &Rig) -> Result<()> {
    // Each argument's NUL counts.
    let fixed = ["actor", "exit", "0", ""].map(|arg| arg.len() + 1).iter().sum::<usize>();
    let long = "y".repeat(8192 - fixed);
    argv_comes_back(rig, &["actor", "exit", "0", &long]).map(drop)
}

fn longer_argv_is_cut_and_says_its_length(rig: &Rig) -> Result<()> {
    let parts: Vec<String> = (0..40).map(|n| format!("{n:02}").repeat(512)).collect();
    let mut args: Vec<&OsStr> = ["argv".as_ref()].to_vec();
    let actor = rig.actor();
    args.push(actor.as_ref());
    let argv: Vec<&str> =
        ["actor", "exit", "0"].into_iter().chain(parts.iter().map(String::as_str)).collect();
    args.extend(argv.iter().map(AsRef::<OsStr>::as_ref));
    let (act, stream) = watched(rig, &[], || rig.act(&args))?;
    let exec = exec_of(&stream, &act.child()?, &act, &actor)?;
    let whole = argv.iter().map(|arg| arg.len() + 1).sum::<usize>();
    let said = exec.told("truncated", "exec.argv").and_then(serde_json::Value::as_u64);
    ensure!(said == Some(whole as u64), "truncated says {said:?}, argv had {whole} bytes");
    let kept = exec.argv()?;
    let text = kept.join(&0);
    let original = argv.join("\0").into_bytes();
    ensure!(original.starts_with(&text), "what was kept is not how argv begins");
    ensure!(text.len() >= 8191, "only {} bytes were kept", text.len());
    Ok(())
}

fn the_working_directory_is_told(rig: &Rig) -> Result<()> {
    let (act, stream) = watched(rig, &[], || rig.act(["spawn", "1", "./actor", "exit", "0"]))?;
    let exec = stream.one("exec", &act.child()?)?;
    ensure!(
        exec.bytes("exec.cwd")? == bytes(&rig.folder()),
        "cwd is not {}: {}",
        rig.folder().display(),
        exec.0
    );
    Ok(())
}

fn two_watches_each_see_everything(rig: &Rig) -> Result<()> {
    let (first, second) = (Watch::start(rig, &[])?, Watch::start(rig, &[])?);
    let act = rig.act_os(&[&"spawn", &"50", &rig.actor(), &"exit", &"%"])?;
    for stream in [first.stop()?, second.stop()?] {
        for child in act.children()? {
            exec_of(&stream, &child, &act, &rig.actor())?;
            stream.exit_of(&child)?;
        }
        stream.none_from_the_collector()?;
    }
    Ok(())
}

fn the_process_section_agrees_with_the_exec(rig: &Rig) -> Result<()> {
    let program = rig.copy(&rig.actor(), "named-fifteen-b-and-more")?;
    let (act, stream) = watched(rig, &[], || rig.act_os(&[&"spawn", &"1", &program, &"exit", &"0"]))?;
    let exec = exec_of(&stream, &act.child()?, &act, &program)?;
    ensure!(exec.text("process.name")? == "named-fifteen-b", "comm in {}", exec.0);
    for (body, process) in [("exec.path", "process.exe"), ("exec.dev", "process.exe_dev")] {
        ensure!(exec.text(body)? == exec.text(process)?, "{process} is not {body}: {}", exec.0);
    }
    ensure!(exec.number("exec.ino")? == exec.number("process.exe_ino")?, "exe_ino in {}", exec.0);
    // What the hook itself saw is not derived.
    let derived = exec.find("derived").map(ToString::to_string).unwrap_or_default();
    ensure!(!derived.contains("exe") && !derived.contains("process.name"), "derived: {}", exec.0);
    Ok(())
}
