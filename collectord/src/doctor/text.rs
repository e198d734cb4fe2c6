//! The report for people: aligned lines with a mark each, what is wrong with its cure below.

use super::report::{Check, ClassReport, HookReport, Report, Status};
use crate::kernel::{Tried, blind_without, via};
use crate::terminal::wrapped;
use collector_core::escape::escape_into;
use std::fmt::Write;

/// What a line begins with that goes on with the one before, or that is about it.
const NEXT_LINE: &str = "        ";

/// The report as text, with colours if `color`, in lines of at most `width` columns.
pub(super) fn of(report: &Report, color: bool, width: Option<usize>) -> String {
    let mut page = Page { color, width, out: String::new() };
    page.line(&format!("collectord {} on Linux {}", env!("CARGO_PKG_VERSION"), report.kernel));
    page.title("Surroundings");
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in &report.checks {
        page.check(check, width);
    }
    page.title("Hooks, each tried by itself");
    let width = report.hooks.iter().map(|hook| via(hook.hook).len()).max().unwrap_or(0);
    let words = report.hooks.iter().flat_map(|hook| [&hook.direct, &hook.portable]);
    let tried_width = words.map(|word| tried(word.as_ref()).len()).max().unwrap_or(0);
    for (at, hook) in report.hooks.iter().enumerate() {
        page.hook(hook, width, tried_width);
        // What several have in common is said once, below the last.
        if report.hooks.get(at + 1).is_none_or(|next| !hook.is_refused_like(next)) {
            page.refusal(hook);
        }
    }
    if let Some(why) = &report.no_trials {
        let what = if report.hooks.is_empty() { "none" } else { "not all" };
        page.marked(Status::Fail, &format!("{what} could be tried: {why}"));
    }
    page.title("Classes, as `watch` serves them");
    let width = report.classes.iter().map(|class| class.class.name().len()).max().unwrap_or(0);
    for class in &report.classes {
        page.class(class, width);
    }
    page.title(&verdict(report));
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

/// How far a try came, in a word or two.
fn tried(tried: Option<&Tried>) -> &'static str {
    match tried {
        Some(Tried::Attached) => "ok",
        Some(Tried::NotAttached(_)) => "not attached",
        Some(Tried::NotLoaded(_)) => "not loaded",
        None => "untried",
    }
}

struct Page {
    color: bool,
    width: Option<usize>,
    out: String,
}

impl Page {
    fn title(&mut self, text: &str) {
        self.out.push('\n');
        self.line(text);
    }

    /// A line, or several where it is too long.
    fn line(&mut self, text: &str) {
        let words = text.trim_start_matches(' ');
        let indent = text.len() - words.len();
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.words(words, indent);
    }

    /// Words behind what takes so many columns. Paths and the kernel's words may hold anything.
    fn words(&mut self, text: &str, taken: usize) {
        let mut safe = String::new();
        escape_into(&mut safe, text.as_bytes());
        for line in wrapped(&safe, self.width, taken, NEXT_LINE) {
            let _ = writeln!(self.out, "{}", line.trim_end());
        }
    }

    fn marked(&mut self, status: Status, text: &str) {
        let (mark, code) = match status {
            Status::Ok => ("ok", "\x1b[32m"),
            Status::Untested => ("?", "\x1b[2m"),
            Status::Warn => ("warn", "\x1b[33m"),
            Status::Fail => ("FAIL", "\x1b[31m"),
            Status::Info => ("-", "\x1b[2m"),
        };
        let (begin, end) = if self.color { (code, "\x1b[0m") } else { ("", "") };
        let _ = write!(self.out, "  {begin}{mark:<4}{end}  ");
        self.words(text, NEXT_LINE.len());
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

    fn hook(&mut self, report: &HookReport, width: usize, tried_width: usize) {
        let event = match report.status() {
            Status::Ok => "own event",
            Status::Untested => "untested",
            _ => "",
        };
        let text = format!(
            "{:<width$}  direct {:<tried_width$}  portable {:<tried_width$}  {event}",
            via(report.hook),
            tried(report.direct.as_ref()),
            tried(report.portable.as_ref())
        );
        self.marked(report.status(), text.trim_end());
    }

    /// Why a hook is not served, and what would help.
    fn refusal(&mut self, report: &HookReport) {
        if report.is_served() {
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
