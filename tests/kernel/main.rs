//! The tests that need a kernel: the daemon watches, the actor acts, and every event is held against the actor's own
//! account.
//!
//! One binary for every kernel: here, and copied into virtual machines. The list of tests is the same everywhere; a
//! test that cannot run on a kernel finds that out by trying and is ignored with its reason. `COLLECTORD_BIN` and
//! `ACTOR_BIN` name the programs where they do not lie where cargo put them; `--print-actor` prints the actor's path.
//! `TESTS_DONE` names a file of tests, one a line, that are left out: they have run before their machine died.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the test runner's own output")]

mod answered;
mod before;
mod canary;
mod cases;
mod cgroup;
mod cli;
mod connect;
mod connect_ways;
mod cost;
mod derived;
mod doctor;
mod edges;
mod embed;
mod event;
mod exec;
mod exec_failed;
mod exit;
mod files;
mod filters;
mod hostile;
mod ia32;
mod identity;
mod law;
mod limits;
mod namespaces;
mod nice;
mod open;
mod open_oracle;
mod open_places;
mod privileges;
mod process;
mod program;
mod rig;
mod terminal;
mod unseen;
mod uring;
mod watch;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use rig::{Rig, Skip, Tools};
use std::process::ExitCode;
use std::sync::OnceLock;

/// A test's name and body.
pub(crate) type Test = (&'static str, fn(&Rig) -> anyhow::Result<()>);

/// Names each function once.
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        pub(crate) const TESTS: &[$crate::Test] = &[$((stringify!($test), $test)),*];
    };
}
pub(crate) use tests;

const MODULES: &[(&str, &[Test])] = &[
    ("exec", exec::TESTS),
    ("exec_failed", exec_failed::TESTS),
    ("open", open::TESTS),
    ("open_places", open_places::TESTS),
    ("open_oracle", open_oracle::TESTS),
    ("uring", uring::TESTS),
    ("ia32", ia32::TESTS),
    ("cases", cases::TESTS),
    ("files", files::TESTS),
    ("exit", exit::TESTS),
    ("connect", connect::TESTS),
    ("connect_ways", connect_ways::TESTS),
    ("unseen", unseen::TESTS),
    ("answered", answered::TESTS),
    ("program", program::TESTS),
    ("identity", identity::TESTS),
    ("derived", derived::TESTS),
    ("before", before::TESTS),
    ("hostile", hostile::TESTS),
    ("filters", filters::TESTS),
    ("law", law::TESTS),
    ("canary", canary::TESTS),
    ("namespaces", namespaces::TESTS),
    ("cli", cli::TESTS),
    ("terminal", terminal::TESTS),
    ("privileges", privileges::TESTS),
    ("nice", nice::TESTS),
    ("doctor", doctor::TESTS),
    ("cost", cost::TESTS),
    ("edges", edges::TESTS),
    ("embed", embed::TESTS),
];

fn main() -> ExitCode {
    if std::env::args().skip(1).eq(["--print-actor"]) {
        println!("{}", rig::actor_path().display());
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    // What one test does, every other would see.
    arguments.test_threads.get_or_insert(1);
    let done = done();
    let trials = MODULES.iter().flat_map(|(module, tests)| {
        tests.iter().map(move |&(test, body)| {
            let name = format!("{module}::{test}");
            Trial::ignorable_test(name.clone(), move || run(&name, body))
        })
    });
    let trials = trials.filter(|trial| !done.lines().any(|name| name == trial.name()));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn done() -> String {
    let file = std::env::var_os("TESTS_DONE");
    file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default()
}

fn run(name: &str, test: fn(&Rig) -> anyhow::Result<()>) -> Result<Completion, Failed> {
    static TOOLS: OnceLock<Result<Tools, Reason>> = OnceLock::new();
    let tools = match TOOLS.get_or_init(|| Tools::find().map_err(Reason::from)) {
        Ok(tools) => tools,
        Err(reason) => return reason.clone().into(),
    };
    match Rig::new(tools).and_then(|rig| test(&rig)) {
        Ok(()) => Ok(Completion::Completed),
        Err(error) => {
            let reason = Reason::from(error);
            if let Reason::Failed(text) = &reason {
                // At the end it comes again; a run that is cut short has no end.
                println!("\n---- {name} ----\n{text}\n");
            }
            reason.into()
        }
    }
}

/// Why a test did not pass.
#[derive(Debug, Clone)]
enum Reason {
    Skipped(String),
    Failed(String),
}

impl From<anyhow::Error> for Reason {
    fn from(error: anyhow::Error) -> Self {
        let text = format!("{error:#}");
        if error.is::<Skip>() { Self::Skipped(text) } else { Self::Failed(text) }
    }
}

impl From<Reason> for Result<Completion, Failed> {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Skipped(text) => Ok(Completion::ignored_with(text)),
            Reason::Failed(text) => Err(text.into()),
        }
    }
}
