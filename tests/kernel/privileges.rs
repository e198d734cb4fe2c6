//! What the daemon lacks, it names: privileges, BTF, memory it may lock.

use crate::cli::run;
use crate::limits;
use crate::rig::{Rig, Skip};
use crate::watch::Watch;
use anyhow::{Result, anyhow, bail, ensure};
use std::path::Path;
use std::process::Command;

crate::tests![
    a_missing_capability_exits_77_and_is_named,
    an_ordinary_user_exits_77,
    without_cap_sys_admin_it_still_runs,
    opens_without_cap_dac_read_search_exit_77,
    without_btf_it_exits_69_and_names_the_option,
    btf_from_a_file_serves_in_place_of_the_kernels,
    a_btf_file_that_is_not_there_is_named,
    a_btf_file_that_is_none_is_named,
    a_memlock_limit_that_cannot_be_raised_is_no_failure,
];

const CAP_SYS_ADMIN: &str = "21";
const CAP_SYS_RESOURCE: &str = "24";
const CAP_PERFMON: &str = "38";
const CAP_BPF: &str = "39";

/// A watch of one second under one of the actor's changes (which ends before its `--`).
fn changed(rig: &Rig, change: &[&str], args: &[&str]) -> Command {
    let mut command = rig.actor_command(change);
    command
        .arg("--")
        .arg(rig.collectord_path())
        .args(["watch", "--format", "json", "--duration", "1s"])
        .args(args);
    command
}

/// It refuses with this code and says this, and writes nothing to stdout.
fn refuses(mut command: Command, expected: i32, says: &str) -> Result<()> {
    let (code, out, err) = run(&mut command)?;
    if let Some(refused) = out.lines().find(|line| line.contains("\"act\":\"refused\"")) {
        bail!(Skip(refused.to_owned()));
    }
    ensure!(code == Some(expected), "exit {code:?}, not {expected}: {err}");
    ensure!(err.contains(says), "{says} is not named: {err}");
    ensure!(err.contains("collectord doctor"), "it does not say who helps: {err}");
    ensure!(!err.contains("panicked"), "{err}");
    ensure!(out.is_empty(), "stdout is not empty: {out}");
    ensure!(err.len() < 4000, "{} bytes of stderr is not a message: {err}", err.len());
    Ok(())
}

fn runs(mut command: Command) -> Result<()> {
    let watch =
        Watch::run(&mut command, None)?.map_err(|refusal| anyhow!("it did not start: {refusal:?}"))?;
    watch.end(limits::stop()).map(drop)
}

fn a_missing_capability_exits_77_and_is_named(rig: &Rig) -> Result<()> {
    for (number, name) in [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")] {
        // CAP_SYS_ADMIN stands for both.
        refuses(changed(rig, &["dropcap", number, CAP_SYS_ADMIN], &[]), 77, name)?;
    }
    Ok(())
}

fn an_ordinary_user_exits_77(rig: &Rig) -> Result<()> {
    // Where the daemon was built, another user may not be let in.
    let copy = rig.copy(rig.collectord_path(), "collectord")?;
    let mut command = rig.actor_command(["uid", "34567", "--"]);
    command.arg(copy).args(["watch", "--format", "json", "--duration", "1s"]);
    refuses(command, 77, "CAP_BPF")
}

fn without_cap_sys_admin_it_still_runs(rig: &Rig) -> Result<()> {
    rig.act_os(&[&"dropcap", &CAP_SYS_ADMIN, &"--", &rig.actor(), &"probe-bpf", &"attach"])?;
    runs(changed(rig, &["dropcap", CAP_SYS_ADMIN], &[]))
}

/// tracefs may be read by its owner, and by who may read everything.
fn opens_without_cap_dac_read_search_exit_77(rig: &Rig) -> Result<()> {
    let copy = rig.copy(rig.collectord_path(), "collectord")?;
    let change = two_capabilities(rig)?;
    let watch = |args: &[&str]| {
        let mut command = rig.actor_command(&change);
        command.arg(&copy).args(["watch", "--format", "json", "--duration", "1s"]).args(args);
        command
    };
    refuses(watch(&["--events", "open"]), 77, "CAP_DAC_READ_SEARCH")?;
    // Where nobody asked for them by name, what is not served is told.
    runs(watch(&[]))
}

/// The actor's words that make another user of the rest, with CAP_BPF and CAP_PERFMON alone; which do serve here.
pub(crate) fn two_capabilities(rig: &Rig) -> Result<Vec<String>> {
    let actor = rig.actor().to_string_lossy().into_owned();
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    // Kernels before 5.11 charge maps to the limit, and there is no CAP_SYS_RESOURCE: lifted where it may be.
    let lift = words(&["memlock", "1099511627776", "--", &actor]);
    let may_lift = rig.act(lift.iter().map(String::as_str).chain(["tell"])).is_ok();
    let mut change = if may_lift { lift } else { Vec::new() };
    change.extend(words(&["uid-caps", "34567", CAP_BPF, CAP_PERFMON, "--"]));
    let probe = words(&[&actor, "probe-bpf", "attach"]);
    rig.act(change.iter().chain(&probe))?;
    Ok(change)
}

fn without_btf_it_exits_69_and_names_the_option(rig: &Rig) -> Result<()> {
    refuses(changed(rig, &["nobtf"], &[]), 69, "CONFIG_DEBUG_INFO_BTF")
}

fn btf_from_a_file_serves_in_place_of_the_kernels(rig: &Rig) -> Result<()> {
    let copy = rig.path("btf");
    std::fs::copy("/sys/kernel/btf/vmlinux", &copy)?;
    runs(changed(rig, &["nobtf"], &["--btf", &copy.to_string_lossy()]))
}

/// Whether it ends with a failure that names the file; which code is the daemon's choice.
fn names_the_file(rig: &Rig, file: &Path) -> Result<()> {
    let (code, out, err) = run(rig.collectord().args(["watch", "--duration", "1s", "--btf"]).arg(file))?;
    ensure!(matches!(code, Some(2 | 69)), "exit {code:?}: {err}");
    ensure!(err.contains(&*file.to_string_lossy()), "the file is not named: {err}");
    ensure!(!err.contains("panicked") && out.is_empty(), "{out}{err}");
    Ok(())
}

fn a_btf_file_that_is_not_there_is_named(rig: &Rig) -> Result<()> {
    names_the_file(rig, &rig.path("no-such-file"))
}

fn a_btf_file_that_is_none_is_named(rig: &Rig) -> Result<()> {
    let text = rig.path("text");
    std::fs::write(&text, "this is no BTF\n".repeat(100))?;
    names_the_file(rig, &text)?;
    // Its head promises more than there is.
    let cut = rig.path("cut");
    let whole = std::fs::read("/sys/kernel/btf/vmlinux")?;
    std::fs::write(&cut, &whole[..whole.len() / 2])?;
    names_the_file(rig, &cut)
}

fn a_memlock_limit_that_cannot_be_raised_is_no_failure(rig: &Rig) -> Result<()> {
    let actor = rig.actor();
    let actor = actor.to_string_lossy();
    let limit = ["memlock", "0", "--", &actor, "dropcap", CAP_SYS_RESOURCE];
    // Kernels before 5.11 charge BPF memory to the limit, and there is nothing to be done about it.
    let probe: Vec<&str> = limit.iter().copied().chain(["--", &actor, "probe-bpf", "map"]).collect();
    rig.act(&probe)?;
    runs(changed(rig, &limit, &[]))
}
