//! `collectord doctor`: what this kernel and these privileges allow. It decides by trying: each hook is loaded and
//! attached, and for each class an event of its own making has to come back through the rings.

mod act;
#[cfg(target_arch = "x86_64")]
mod calls32;
mod cure;
mod prove;
mod report;
mod surroundings;
mod text;

use crate::color;
use crate::failure::Failure;
use crate::kernel::{HookTrial, LoadOptions, try_hooks};
use crate::snapshot::ToldBy;
use crate::terminal;
use clap::{Args, ValueEnum};
use collector_common::{Class, Hook};
use prove::{NoProof, hooks_of};
use report::{Check, ClassReport, HookReport, Report, Status, Unserved};
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// For one program to load, attach and come off.
const TRY_MAX: Duration = Duration::from_secs(30);
/// For one class to be served and its own event to come back.
const PROOF_MAX: Duration = Duration::from_secs(60);

/// How to show what was found.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// No colours; NO_COLOR in the environment does the same
    #[arg(long)]
    pub no_color: bool,

    /// BTF of the running kernel, if it exports none in /sys/kernel/btf/vmlinux
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,

    /// What the doctor starts itself with, for events that are not its own
    #[arg(long, value_name = "CLASS", value_parser = parse_class, hide = true)]
    pub self_made_event: Option<Class>,
}

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned lines for people
    Text,
    /// One JSON object
    Json,
}

fn parse_class(name: &str) -> Result<Class, String> {
    Class::ALL.into_iter().find(|class| class.name() == name).ok_or_else(|| "no such class".to_owned())
}

/// Tries everything, writes the report to stdout, and gives the exit code that sums it up.
///
/// # Errors
/// If stdout cannot be written to.
pub fn run(args: &DoctorArgs, whole_verifier_log: bool) -> Result<u8, Failure> {
    if let Some(class) = args.self_made_event {
        return act::make_events(class).map(|()| 0).map_err(|why| Failure::runtime(anyhow::anyhow!(why)));
    }
    crate::memlock::raise();
    let load = LoadOptions { btf: args.btf.clone(), whole_verifier_log, ..LoadOptions::default() };
    let report = examine(&load);
    let text = match args.format {
        Format::Json => serde_json::to_string_pretty(&report.json()).map_err(Failure::runtime)? + "\n",
        Format::Text => {
            let color = !args.no_color && color::is_wanted(&std::io::stdout());
            text::of(&report, color, terminal::columns())
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::runtime(error)),
        _ => Ok(report.exit_code()),
    }
}

fn examine(load: &LoadOptions) -> Report {
    let mut checks = surroundings::all(load.btf.as_deref());
    let (trials, no_trials) = tried(load.clone());
    // A hook of a system call that this kernel or architecture does not have is not tried.
    let hooks = Hook::ALL.iter().filter(|hook| trials.iter().any(|trial| trial.hook == **hook));
    let mut hooks: Vec<HookReport> = hooks.map(|&hook| HookReport::new(hook, &trials)).collect();
    let served = Class::ALL.into_iter().filter(|class| hooks_of(*class).next().is_some());
    let proofs = served.map(|class| ClassReport { class, proof: proved(class, load.clone(), &hooks) });
    let classes: Vec<ClassReport> = proofs.collect();
    checks.push(snapshot(&classes));
    for report in &mut hooks {
        let class = classes.iter().find(|class| class.class == report.hook.class());
        let proof = class.and_then(|class| class.proof.as_ref().ok());
        // What tells how an attempt ended knows of it from the hook that saw it begin, which tells nothing itself.
        let teller = if report.hook == Hook::TcpBegin { Hook::TcpEnd } else { report.hook };
        report.event = proof.is_some_and(|proof| proof.streams.contains(teller.stream()));
    }
    let kernel = nix::sys::utsname::uname();
    let kernel = kernel.map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    Report { kernel, checks, classes, no_trials, hooks }
}

/// Who tells the processes that ran before: either will do.
fn snapshot(classes: &[ClassReport]) -> Check {
    let mut proofs = classes.iter().filter_map(|class| class.proof.as_ref().ok());
    let found = match proofs.find_map(|proof| proof.snapshot.as_ref()) {
        Some(ToldBy::Iterator(readers)) => format!("the kernel's task iterator, {} readers", readers.name()),
        Some(ToldBy::Proc(refusal)) => format!("/proc, with starts to the clock tick: {refusal}"),
        None => "not tried: no class is served".to_owned(),
    };
    Check::new(Status::Info, "process snapshot", found, None)
}

/// Each hook by itself. A try that hangs ends the tries; the thread goes when the program does.
fn tried(load: LoadOptions) -> (Vec<HookTrial>, Option<String>) {
    let (told, trials) = channel();
    std::thread::spawn(move || {
        let each = told.clone();
        // Nobody listens any more if a deadline has passed.
        let outcome = try_hooks(&load, move |trial| drop(each.send(Ok(trial))));
        let _ = outcome.map_err(|error| told.send(Err(Failure::from(error).to_string())));
    });
    let mut done = Vec::new();
    loop {
        match trials.recv_timeout(TRY_MAX) {
            Ok(Ok(trial)) => done.push(trial),
            Ok(Err(why)) => return (done, Some(why)),
            Err(RecvTimeoutError::Disconnected) => return (done, None),
            Err(RecvTimeoutError::Timeout) => {
                return (done, Some(format!("the kernel did not answer within {} s", TRY_MAX.as_secs())));
            }
        }
    }
}

/// One class, within its time.
fn proved(class: Class, load: LoadOptions, hooks: &[HookReport]) -> Result<prove::Proof, Unserved> {
    let (told, outcome) = channel();
    std::thread::spawn(move || {
        let _ = told.send(prove::prove(class, load));
    });
    let late = || NoProof::Broken(format!("it was not decided within {} s", PROOF_MAX.as_secs()));
    let proof = outcome.recv_timeout(PROOF_MAX).unwrap_or_else(|_| Err(late()));
    let proof = proof.map_err(|error| cure::unserved(class, error, hooks))?;
    if proof.after.is_some() {
        return Ok(proof);
    }
    let why = match &proof.helper_failed {
        Some(why) => why.clone(),
        None => {
            "its hooks are attached, but an event of the doctor's own making did not come back".to_owned()
        }
    };
    let cure =
        "see what -vv says; another program may have taken the hooks off, or loopback may be down".to_owned();
    Err(Unserved { why, cure, missing: Vec::new() })
}
