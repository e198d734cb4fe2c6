//! The report for people: aligned lines with a mark each, what is wrong with its cure below.

use super::report::{Check, ClassReport, HookReport, Report, Status};
use crate::kernel::{Tried, blind_without, via};
use collector_core::escape::escape_into;
use std::fmt::Write;

/// The report as text, with colours if `color`.
pub(super) fn of(report: &Report, color: bool) -> String {
    let mut page = Page { color, out: String::new() };
    page.line(&format!("collectord {} on Linux {}", env!("CARGO_PKG_VERSION"), report.kernel));
    page.line("\nSurroundings");
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in &report.checks {
        page.check(check, width);
    }
    page.line("\nHooks, each tried by itself");
    let width = report.hooks.iter().map(|hook| via(hook.hook).len()).max().unwrap_or(0);
    for hook in &report.hooks {
        page.hook(hook, width);
    }
    if let Some(why) = &report.no_trials {
        let what = if report.hooks.is_empty() { "none" } else { "not all" };
        page.marked(Status::Fail, &format!("{what} could be tried: {why}"));
    }
    page.line("\nClasses, as `watch` serves them");
    let width = report.classes.iter().map(|class| class.class.name().len()).max().unwrap_or(0);
    for class in &report.classes {
        page.class(class, width);
    }
    page.line(&format!("\n{}", verdict(report)));
    page.out
}

fn verdict(report: &Report) -> String {
    let names = |wanted| {
        let classes = report.classes.iter().filter(move |class| class.status() == wanted);
        classes.map(|class| class.class.name()).collect::<Vec<_>>().join(", ")
    };
    let blind = report.classes.iter().filter_map(|class| class.proof.as_ref().ok());
    let blind: Vec<&str> = blind.flat_map(|proof| &proof.coverage.blind).map(String::as_str).collect();
    match report.exit_code() {
        0 if blind.is_empty() => "Every class is served.".to_owned(),
        0 => format!("Every class is served; blind to {}.", blind.join(", ")),
        77 => format!("Not served for lack of privileges: {}.", names(Status::Fail)),
        _ => format!("Not served on this kernel: {}.", names(Status::Fail)),
    }
}

struct Page {
    color: bool,
    out: String,
}

impl Page {
    fn line(&mut self, text: &str) {
        for (index, part) in text.split('\n').enumerate() {
            if index > 0 {
                self.out.push('\n');
            }
            // Paths and the kernel's words may hold anything.
            escape_into(&mut self.out, part.as_bytes());
        }
        self.out.push('\n');
    }

    fn marked(&mut self, status: Status, text: &str) {
        let (mark, code) = match status {
            Status::Ok => ("ok", "\x1b[32m"),
            Status::Warn => ("warn", "\x1b[33m"),
            Status::Fail => ("FAIL", "\x1b[31m"),
            Status::Info => ("-", "\x1b[2m"),
        };
        let (begin, end) = if self.color { (code, "\x1b[0m") } else { ("", "") };
        let _ = write!(self.out, "  {begin}{mark:<4}{end}  ");
        self.line(text);
    }

    fn cure(&mut self, cure: Option<&str>) {
        if let Some(cure) = cure {
            self.line(&format!("        cure: {cure}"));
        }
    }

    fn check(&mut self, check: &Check, width: usize) {
        self.marked(check.status, &format!("{:<width$}  {}", check.name, check.found));
        if matches!(check.status, Status::Warn | Status::Fail) {
            self.cure(check.cure.as_deref());
        }
    }

    fn hook(&mut self, report: &HookReport, width: usize) {
        let tried = |tried: &Option<Tried>| match tried {
            Some(Tried::Attached) => "ok",
            Some(Tried::NotAttached(_)) => "not attached",
            Some(Tried::NotLoaded(_)) => "not loaded",
            None => "untried",
        };
        let event = if report.event { "own event came" } else { "" };
        let text = format!(
            "{:<width$}  direct {:<12}  portable {:<12}  {event}",
            via(report.hook),
            tried(&report.direct),
            tried(&report.portable)
        );
        self.marked(report.status(), text.trim_end());
        if report.status() == Status::Ok {
            return;
        }
        for (readers, tried) in [("direct", &report.direct), ("portable", &report.portable)] {
            if let Some(Tried::NotAttached(refusal) | Tried::NotLoaded(refusal)) = tried {
                self.line(&format!("        {readers}: {refusal}"));
            }
        }
        if let Some(name) = blind_without(report.hook) {
            self.line(&format!("        without it: {name}"));
        }
        self.cure(report.cure.as_deref());
    }

    fn class(&mut self, report: &ClassReport, width: usize) {
        let name = report.class.name();
        match &report.proof {
            Ok(proof) => {
                let mut families: Vec<&str> =
                    proof.coverage.hooks.iter().map(|hook| hook.readers.as_str()).collect();
                families.sort_unstable();
                families.dedup();
                let after = proof.after.unwrap_or_default().as_secs_f64() * 1000.0;
                let text = format!(
                    "{name:<width$}  {} hooks, {} readers; own event back after {after:.1} ms",
                    proof.coverage.hooks.len(),
                    families.join(" and ")
                );
                self.marked(report.status(), &text);
                if !proof.coverage.blind.is_empty() {
                    self.line(&format!("        blind: {}", proof.coverage.blind.join(", ")));
                }
            }
            Err(unserved) => {
                self.marked(report.status(), &format!("{name:<width$}  {}", unserved.why));
                self.cure(Some(&unserved.cure));
            }
        }
    }
}
