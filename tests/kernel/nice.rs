//! The daemon's share of a busy machine: each of its threads has the nice value that was asked for, or the usual one.

use crate::cli::run;
use crate::rig::{Rig, Skip};
use crate::watch::Watch;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::process::{getpriority_process, setpriority_process};
use std::collections::BTreeSet;

crate::tests![
    its_threads_come_before_a_loads,
    a_value_that_it_was_given_is_kept,
    a_value_that_is_asked_for_is_taken,
    without_cap_sys_nice_it_runs_as_it_is_and_refuses_less,
];

const CAP_SYS_NICE: &str = "23";

/// The nice values of the daemon's threads.
fn of_threads(rig: &Rig, args: &[&str]) -> Result<BTreeSet<i32>> {
    let watch = Watch::start(rig, args)?;
    let values = values(watch.pid());
    watch.stop()?;
    values
}

fn values(pid: u64) -> Result<BTreeSet<i32>> {
    let mut values = BTreeSet::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = std::fs::read_to_string(thread?.path().join("stat"))?;
        // The 19th field; the second is in parentheses.
        let nice = stat.rsplit_once(')').context("a comm")?.1.split_whitespace().nth(16).context("nice")?;
        values.insert(nice.parse()?);
    }
    Ok(values)
}

fn its_threads_come_before_a_loads(rig: &Rig) -> Result<()> {
    let own = getpriority_process(None)?;
    let values = of_threads(rig, &[])?;
    let expected = if own == 0 { -4 } else { own };
    ensure!(values == BTreeSet::from([expected]), "{values:?}, not {expected}");
    Ok(())
}

fn a_value_that_it_was_given_is_kept(rig: &Rig) -> Result<()> {
    // Its own thread alone gets the value, and what that one starts.
    let values = std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            setpriority_process(None, 3)?;
            of_threads(rig, &[])
        });
        started.join().map_err(|_| anyhow!("the thread panicked"))?
    })?;
    ensure!(values == BTreeSet::from([3]), "{values:?}, not 3");
    Ok(())
}

fn a_value_that_is_asked_for_is_taken(rig: &Rig) -> Result<()> {
    for nice in [0, 5, -7] {
        let values = of_threads(rig, &["--nice", &nice.to_string()])?;
        ensure!(values == BTreeSet::from([nice]), "{values:?}, not {nice}");
    }
    Ok(())
}

fn without_cap_sys_nice_it_runs_as_it_is_and_refuses_less(rig: &Rig) -> Result<()> {
    let changed = |args: &[&str]| {
        let mut command = rig.actor_command(["dropcap", CAP_SYS_NICE, "--"]);
        command.arg(rig.collectord_path()).args(["watch", "--format", "json", "--duration", "100ms"]);
        command.args(["--events", "exec"]).args(args);
        run(&mut command)
    };
    let (code, out, err) = changed(&[])?;
    if let Some(refused) = out.lines().find(|line| line.contains("\"act\":\"refused\"")) {
        bail!(Skip(refused.to_owned()));
    }
    ensure!(code == Some(0), "exit {code:?}: {err}");
    let (code, out, err) = changed(&["--nice", "-10"])?;
    ensure!(code == Some(77) && out.is_empty(), "exit {code:?}: {err}");
    ensure!(err.contains("--nice -10") && err.contains("CAP_SYS_NICE"), "{err}");
    Ok(())
}
