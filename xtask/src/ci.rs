//! `ci`: everything a submission must pass, each step timed, one report.

use crate::exec;
use crate::programs;
use crate::repo::{self, Repo};
use crate::report::Report;
use crate::setup;
use crate::suites::{self, Part};
use crate::vm::Machines;
use anyhow::{Context, Result};
use std::process::{Command, ExitCode};

/// A step that fails does not stop the later ones: one run tells all that is wrong.
pub(crate) fn run(repo: &Repo) -> ExitCode {
    let mut report = Report::default();
    report.step("setup", |_| setup::install());
    report.step("format", |_| format(repo));
    report.step("clippy", |_| {
        cargo(repo, &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], None)
    });
    report
        .step("doc", |_| cargo(repo, &["doc", "--workspace", "--no-deps", "--locked"], Some("-D warnings")));
    report.step("deny", |_| deny(repo));
    suites::run(repo, Part::All, &Machines::default(), &[], &mut report);
    report.close()
}

fn format(repo: &Repo) -> Result<()> {
    cargo(repo, &["fmt", "--all", "--check"], None)?;
    // A workspace of its own.
    cargo(repo, &["fmt", "--check", "--manifest-path", "collector-ebpf/Cargo.toml"], None)
}

fn cargo(repo: &Repo, arguments: &[&str], rustdoc_flags: Option<&str>) -> Result<()> {
    let mut cargo = programs::cargo();
    cargo.current_dir(&repo.root).args(arguments);
    if let Some(flags) = rustdoc_flags {
        cargo.env("RUSTDOCFLAGS", flags);
    }
    exec::run(&mut cargo)
}

fn deny(repo: &Repo) -> Result<()> {
    let program =
        repo::find_program("cargo-deny").context("cargo-deny is missing: run `cargo xtask setup`")?;
    println!("advisories are not checked: their database is fetched from the network");
    let mut deny = Command::new(program);
    exec::run(deny.current_dir(&repo.root).args([
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]))
}
