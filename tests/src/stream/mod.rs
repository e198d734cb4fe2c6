//! Checks a stream of native events (JSON Lines) against the rules of the format.
//!
//! Rules of a line: UTF-8, no unescaped control or bidirectional character, one JSON object, known keys of the right
//! types, exact twins that decode to what they stand beside. Rules of the stream: coverage first, summary last, one
//! boot id, hooks that coverage named, one key per process, one exit per process, numbers in order and never doubled,
//! and sums: every number is delivered, told as lost, or counted in the summary.

mod numbering;
mod schema;
mod values;

use numbering::{Books, Ledger};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use values::{Gaps, Object, check_object};

/// The longest fault list that is kept; a broken stream breaks on every line.
const FAULTS_MAX: usize = 1000;

/// How the stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With a summary.
    Summary,
    /// Cut off by its reader: no summary, and the last line may be a piece of one.
    Cut,
}

/// What the check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Each broken rule, with its line where it has one.
    pub faults: Vec<String>,
    /// Kernel events.
    pub events: u64,
    /// Events told as lost.
    pub lost: u64,
    /// Faults of the collection that it told itself.
    pub errors: u64,
}

impl Report {
    /// Whether the stream holds.
    pub fn holds(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in self.faults.iter().take(40) {
            // A fault may quote what it complains about.
            for character in fault.chars() {
                if is_unsafe(character) {
                    write!(f, "{}", character.escape_unicode())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            writeln!(f)?;
        }
        write!(f, "{} events, {} told lost, {} faults", self.events, self.lost, self.faults.len())?;
        if self.errors > 0 {
            write!(f, ", {} errors told", self.errors)?;
        }
        Ok(())
    }
}

/// Checks a whole stream.
pub fn check(stream: &[u8], ending: Ending) -> Report {
    let mut lines: Vec<&[u8]> = stream.split(|&byte| byte == b'\n').collect();
    // What follows the last newline is no line, unless the stream was cut there.
    let rest = lines.pop().unwrap_or_default();
    let mut checker = Checker::default();
    for line in &lines {
        checker.line(line);
    }
    if ending == Ending::Summary && !rest.is_empty() {
        checker.line(rest);
        checker.fault("the last line does not end");
    }
    checker.close(ending)
}

/// Whether a character may act on a terminal or change the direction of text.
pub fn is_unsafe(character: char) -> bool {
    matches!(character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}'
        // Unicode's Bidi_Control property.
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[derive(Default)]
struct Checker {
    line: usize,
    kinds: Vec<String>,
    ledger: Ledger,
    report: Report,
    /// (class, via) as coverage named them.
    hooks: BTreeSet<(String, String)>,
    boot_id: Option<String>,
    keys: BTreeMap<String, (u64, u64)>,
    ended: BTreeSet<String>,
}

impl Checker {
    fn fault(&mut self, text: impl fmt::Display) {
        if self.report.faults.len() < FAULTS_MAX {
            self.report.faults.push(format!("line {}: {text}", self.line));
        }
    }

    fn line(&mut self, raw: &[u8]) {
        self.line += 1;
        let mut faults = Vec::new();
        match parse(raw, &mut faults) {
            None => self.kinds.push(String::new()),
            Some(event) => {
                let kind = event.get("event").and_then(Value::as_str).unwrap_or_default().to_owned();
                match kind.as_str() {
                    "coverage" => self.coverage(&event, &mut faults),
                    "loss" => self.loss(&event, &mut faults),
                    "summary" => self.summary(&event, &mut faults),
                    "error" => {
                        self.report.errors += 1;
                        check_object("", &event, schema::ERROR, &[], &Gaps::default(), &mut faults);
                    }
                    _ => self.kernel_event(&kind, &event, &mut faults),
                }
                self.kinds.push(kind);
            }
        }
        for fault in faults {
            self.fault(fault);
        }
    }

    fn coverage(&mut self, event: &Object, faults: &mut Vec<String>) {
        check_object("", event, schema::COVERAGE, &["classes"], &Gaps::default(), faults);
        for (class, coverage) in classes(event, faults) {
            let path = format!("classes.{class}");
            check_object(&path, coverage, schema::CLASS_COVERAGE, &["hooks"], &Gaps::default(), faults);
            let Some(hooks) = coverage.get("hooks").and_then(Value::as_array) else {
                faults.push(format!("{path}.hooks is not a list"));
                continue;
            };
            for hook in hooks {
                let Some(hook) = hook.as_object() else {
                    faults.push(format!("{path}.hooks holds {hook}"));
                    continue;
                };
                check_object(&path, hook, schema::HOOK, &[], &Gaps::default(), faults);
                let [via, rung] =
                    ["via", "rung"].map(|key| hook.get(key).and_then(Value::as_str).unwrap_or_default());
                if via.split_once(':').is_none_or(|(first, _)| first != rung) {
                    faults.push(format!("{path}: via {via:?} does not begin with its rung {rung:?}"));
                }
                self.hooks.insert((class.clone(), via.to_owned()));
            }
        }
    }

    fn summary(&mut self, event: &Object, faults: &mut Vec<String>) {
        check_object("", event, schema::SUMMARY, &["classes"], &Gaps::default(), faults);
        for (class, books) in classes(event, faults) {
            check_object(&format!("classes.{class}"), books, schema::BOOKS, &[], &Gaps::default(), faults);
            let number = |key| books.get(key).and_then(Value::as_u64).unwrap_or_default();
            let dropped = books.get("dropped").and_then(Value::as_object);
            let books = Books {
                generated: number("generated"),
                delivered: number("delivered"),
                aside: ["filtered", "internal", "merged", "pending"].map(number).iter().sum(),
                missed: number("missed"),
                dropped: dropped.map_or(0, |reasons| reasons.values().filter_map(Value::as_u64).sum()),
            };
            self.ledger.books.insert(class.clone(), books);
        }
    }

    fn loss(&mut self, event: &Object, faults: &mut Vec<String>) {
        let missed = event.get("reason").and_then(Value::as_str) == Some("missed");
        let fields = if missed { schema::MISSED } else { schema::LOSS };
        check_object("", event, fields, &[], &Gaps::default(), faults);
        let number = |key| event.get(key).and_then(Value::as_u64);
        let text = |key| event.get(key).and_then(Value::as_str).unwrap_or_default();
        let count = number("count").unwrap_or_default();
        let class = text("class");
        if text("t_first") > text("t_last") {
            faults.push("loss: t_first is later than t_last".to_owned());
        }
        if missed {
            self.ledger.class(class).missed += count;
            return;
        }
        self.ledger.class(class).lost += count;
        self.report.lost += count;
        match (event.contains_key("reason"), event.get("reasons").and_then(Value::as_object)) {
            (true, None) => {}
            (false, Some(reasons)) => {
                let sum: u64 = reasons.values().filter_map(Value::as_u64).sum();
                if sum != count {
                    faults.push(format!("loss: {count} lost, but the reasons give {sum}"));
                }
            }
            _ => faults.push("loss: exactly one of reason and reasons".to_owned()),
        }
        let absent: Vec<&str> =
            schema::NUMBERING.iter().copied().filter(|&key| !event.contains_key(key)).collect();
        if absent.len() == schema::NUMBERING.len() {
            self.ledger.class(class).unnumbered += count;
            return;
        }
        if !absent.is_empty() {
            faults.push(format!("loss: numbers without {}", absent.join(", ")));
        }
        let (Some(cpu), Some(first), Some(last)) = (number("cpu"), number("first_seq"), number("last_seq"))
        else {
            return;
        };
        if last < first || last - first != count.wrapping_sub(1) {
            faults.push(format!("loss: count {count}, but numbers {first} to {last}"));
        }
        self.ledger.loss(class, cpu, text("stream"), (first, last), faults);
    }

    fn kernel_event(&mut self, kind: &str, event: &Object, faults: &mut Vec<String>) {
        let Some(known) = schema::EVENTS.iter().find(|known| known.name == kind) else {
            faults.push(format!("unknown event {kind:?}"));
            return;
        };
        self.report.events += 1;
        let gaps = Gaps::read(event, faults);
        check_object("", event, schema::COMMON, &["missing", "truncated", kind], &gaps, faults);
        match event.get(kind) {
            Some(Value::Object(body)) => {
                check_object(kind, body, known.body, &[], &gaps, faults);
                check_body(kind, body, &gaps, faults);
            }
            _ => faults.push(format!("{kind} without its body")),
        }
        let text = |key| event.get(key).and_then(Value::as_str).unwrap_or_default();
        let class = text("class");
        if class != known.class {
            faults.push(format!("{kind}: class {class:?}"));
        }
        if !self.hooks.contains(&(class.to_owned(), text("via").to_owned())) {
            faults.push(format!("coverage names no hook {:?} for class {class:?}", text("via")));
        }
        let boot_id = self.boot_id.get_or_insert_with(|| text("boot_id").to_owned());
        if boot_id != text("boot_id") {
            faults.push(format!("boot_id was {boot_id:?}, now {:?}", text("boot_id")));
        }
        let number = |key| event.get(key).and_then(Value::as_u64);
        if let (Some(cpu), Some(seq)) = (number("cpu"), number("seq")) {
            self.ledger.event(class, cpu, text("stream"), seq, faults);
        }
        self.identity(kind, event, faults);
    }

    /// A key stands for one process, and a process ends once.
    fn identity(&mut self, kind: &str, event: &Object, faults: &mut Vec<String>) {
        let number = |path| values::at(event, path).and_then(Value::as_u64);
        let key = values::at(event, "process.key").and_then(Value::as_str);
        let (Some(key), Some(pid), Some(start)) = (key, number("process.pid"), number("process.start_ns"))
        else {
            return;
        };
        let known = *self.keys.entry(key.to_owned()).or_insert((pid, start));
        if known != (pid, start) {
            faults.push(format!(
                "process.key {key:?} stands for {known:?} and {:?} (pid, start)",
                (pid, start)
            ));
        }
        if kind == "exit" && !self.ended.insert(key.to_owned()) {
            faults.push(format!("process {key:?} ends twice"));
        }
    }

    fn close(mut self, ending: Ending) -> Report {
        if self.kinds.first().is_none_or(|first| first != "coverage") {
            self.report.faults.push("the first line is not coverage".to_owned());
        }
        if self.kinds.iter().filter(|kind| *kind == "coverage").count() > 1 {
            self.report.faults.push("coverage stands twice".to_owned());
        }
        let summaries = self.kinds.iter().filter(|kind| *kind == "summary").count();
        let last = self.kinds.last().is_some_and(|last| last == "summary");
        if summaries > 1 || (summaries == 1 && !last) || (ending == Ending::Summary && !last) {
            self.report.faults.push("the last line, and only that, is the summary".to_owned());
        }
        self.ledger.close(summaries > 0, &mut self.report.faults);
        self.report
    }
}

fn parse(raw: &[u8], faults: &mut Vec<String>) -> Option<Object> {
    let Ok(text) = std::str::from_utf8(raw) else {
        faults.push("not UTF-8".to_owned());
        return None;
    };
    if let Some(character) = text.chars().find(|&character| is_unsafe(character)) {
        faults.push(format!("unescaped control or bidirectional character {character:?}"));
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(event)) => Some(event),
        Ok(other) => {
            faults.push(format!("not an object: {other}"));
            None
        }
        Err(error) => {
            faults.push(format!("not JSON: {error}"));
            None
        }
    }
}

/// The classes that coverage or summary speak of.
fn classes<'a>(event: &'a Object, faults: &mut Vec<String>) -> Vec<(&'a String, &'a Object)> {
    let Some(classes) = event.get("classes").and_then(Value::as_object) else {
        faults.push("no classes".to_owned());
        return Vec::new();
    };
    let mut known = Vec::new();
    for (class, value) in classes {
        match value {
            Value::Object(value) if schema::CLASSES.contains(&class.as_str()) => known.push((class, value)),
            _ => faults.push(format!("class {class:?} is {value}")),
        }
    }
    known
}

/// Rules between the keys of one body.
fn check_body(kind: &str, body: &Object, gaps: &Gaps, faults: &mut Vec<String>) {
    let has = |key| body.contains_key(key);
    match kind {
        "exit" => {
            if has("code") == has("signal") {
                faults.push("exit: exactly one of code and signal".to_owned());
            }
            let dumped = body.get("core_dumped").and_then(Value::as_bool);
            if has("signal") && dumped.is_none() {
                faults.push("exit.core_dumped is not there, but a signal is".to_owned());
            }
            if has("code") && dumped == Some(true) {
                faults.push("exit: a core dump without a signal".to_owned());
            }
            if body.get("code").and_then(Value::as_u64).is_some_and(|code| code > 255) {
                faults.push("exit.code is over 255".to_owned());
            }
        }
        "open" => {
            if has("fd") == has("errno") {
                faults.push("open: exactly one of fd and errno".to_owned());
            }
            for key in ["path", "dev", "ino"] {
                if has("fd") && !has(key) && !gaps.tells(&format!("open.{key}")) {
                    faults.push(format!("open.{key} is not there, but a file was opened"));
                }
            }
            let path = body.get("path").and_then(Value::as_str);
            if has("fd") && path.is_some_and(|path| !path.starts_with('/')) {
                faults.push(format!("open.path {path:?} is not absolute"));
            }
        }
        _ => {}
    }
}
