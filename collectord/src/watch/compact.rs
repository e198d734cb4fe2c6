//! One aligned line an event, for people. No byte that a terminal could act on gets through: text is escaped as
//! `collector_core::escape` states, so its exact bytes can be recovered where nothing is cut.

mod columns;
mod connect;
mod fit;
mod told;

use collector_core::CollectionEvent;
use collector_core::escape::escape_into;
use collector_core::event::{
    Abi, Connect, ConnectOutcome, ConnectResult, Exec, ExecFailed, Exit, KernelBody, KernelEvent, Open, Text,
};
use columns::Columns;
use fit::{Cut, Keep};
use nix::sys::signal::Signal;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Renders events as aligned lines.
pub(crate) struct CompactLines {
    line: Lines,
    /// How wide a line may be; asked before every batch, since a person may change it.
    width: fn() -> Option<usize>,
}

impl CompactLines {
    /// With colours if `color`, and in at most the columns that `width` says.
    pub(crate) fn new(color: bool, width: fn() -> Option<usize>) -> Self {
        Self { line: Lines::new(color, width()), width }
    }

    /// Appends a line for each event, and those above them that name columns.
    pub(crate) fn render(&mut self, batch: &[CollectionEvent], out: &mut Vec<u8>) {
        self.line.out.clear();
        self.line.set_width((self.width)());
        for event in batch {
            self.line.event(event);
        }
        out.extend_from_slice(self.line.out.as_bytes());
    }
}

#[derive(Clone, Copy)]
enum Color {
    Green,
    Yellow,
    Red,
    Dim,
}

impl Color {
    fn code(self) -> &'static str {
        match self {
            Self::Green => "\x1b[32m",
            Self::Yellow => "\x1b[33m",
            Self::Red => "\x1b[31m",
            Self::Dim => "\x1b[2m",
        }
    }
}

struct Lines {
    color: bool,
    columns: Columns,
    /// Whether the columns' names stand above what is written.
    headed: bool,
    out: String,
    /// Where the line may be cut.
    cuts: Vec<Cut>,
}

impl Lines {
    fn new(color: bool, width: Option<usize>) -> Self {
        let columns = Columns::of(width);
        Self { color, columns, headed: false, out: String::new(), cuts: Vec::new() }
    }

    /// Columns that change get new names above them.
    fn set_width(&mut self, width: Option<usize>) {
        let columns = Columns::of(width);
        let moved = !columns.stand_like(&self.columns);
        self.columns = columns;
        if moved && self.headed {
            self.header();
        }
    }

    fn event(&mut self, event: &CollectionEvent) {
        match event {
            CollectionEvent::Kernel(event) => self.kernel(event),
            CollectionEvent::Loss(loss) => self.loss(loss),
            CollectionEvent::Error(error) => self.error(error),
            CollectionEvent::Coverage(coverage) => self.coverage(coverage),
            CollectionEvent::Summary(summary) => self.summary(summary),
            other => {
                self.lead(other.timestamp(), Color::Dim, other.event_type(), other.pid().unwrap_or(0));
                self.out.push('\n');
            }
        }
    }

    /// Time, event and pid.
    fn lead(&mut self, time: SystemTime, color: Color, event: &str, pid: u32) {
        let Columns { clock: width, event: label, .. } = self.columns;
        let _ = write!(self.out, "{} ", &clock(time)[..width]);
        self.painted(color, &format!("{event:<label$}"));
        let _ = write!(self.out, " {pid:>7}");
    }

    fn kernel(&mut self, event: &KernelEvent) {
        let color = match &event.body {
            KernelBody::Exec(_) => Color::Green,
            KernelBody::Exit(exit) if exit.status != 0 => Color::Yellow,
            KernelBody::Connect(Connect { result, .. }) if is_failure(*result) => Color::Yellow,
            KernelBody::ConnectResult(ConnectResult { result, .. }) if is_failure(*result) => Color::Yellow,
            KernelBody::Open(open) if open.errno.is_some() => Color::Yellow,
            KernelBody::ExecFailed(_) => Color::Yellow,
            _ => Color::Dim,
        };
        let start = self.out.len();
        self.cuts.clear();
        self.lead(event.time(), color, label(event.body.name()), event.process.pid);
        if let Some(width) = self.columns.user {
            self.out.push(' ');
            self.columns.cell(&mut self.out, &user(event), width, Keep::Begin);
        }
        let mut names = String::new();
        name_word(&mut names, &event.process.name);
        if self.columns.parent {
            names.push('(');
            match event.identity.as_ref().and_then(|identity| identity.parent_name.as_ref()) {
                Some(parent) => name_word(&mut names, parent),
                None => {
                    let _ = write!(names, "{}", event.process.ppid);
                }
            }
            names.push(')');
        }
        self.out.push(' ');
        self.columns.cell(&mut self.out, &names, self.columns.process, Keep::Ends);
        self.out.push(' ');
        match &event.body {
            KernelBody::Exec(exec) => self.exec(exec),
            KernelBody::Exit(exit) => self.exit(exit),
            KernelBody::Connect(connect) => self.connect(connect),
            KernelBody::ConnectResult(decided) => self.connect_result(decided),
            KernelBody::Open(open) => self.open(open, event.abi),
            KernelBody::ExecFailed(failed) => self.exec_failed(failed),
            KernelBody::Fork(fork) => {
                let _ = match fork.thread {
                    true => write!(self.out, "thread {}", fork.child_tid),
                    false => write!(self.out, "child {}", fork.child_pid),
                };
            }
            _ => {}
        }
        // Whose field it is, the line says.
        let short = |field: &str| {
            let of_body = field.strip_prefix(event.body.name()).and_then(|rest| rest.strip_prefix('.'));
            of_body.unwrap_or(field).to_owned()
        };
        for missing in &event.missing {
            self.painted(Color::Yellow, &format!(" [{} missing]", short(&missing.field)));
        }
        for truncated in &event.truncated {
            let field = short(&truncated.field);
            self.painted(Color::Yellow, &format!(" [{field} cut, was {} bytes]", truncated.original_len));
        }
        self.columns.fit(&mut self.out, start, &self.cuts);
        self.out.push('\n');
    }

    fn exec(&mut self, exec: &Exec) {
        match &exec.path {
            Some(path) => self.argument(path.as_bytes()),
            None => self.out.push('?'),
        }
        self.arguments(exec.args(), exec.path.as_ref());
        if let Some(script) = &exec.script {
            self.out.push_str(" [script ");
            match &script.path {
                Some(path) => self.argument(path.as_bytes()),
                None => self.out.push('?'),
            }
            self.out.push(']');
        }
        if exec.fileless == Some(true) {
            self.painted(Color::Red, " [fileless]");
        }
    }

    /// The file that was opened, what for, and what came of it: `PATH O_RDWR|O_CREAT 0644 = 3 [created]`.
    fn open(&mut self, open: &Open, abi: Option<Abi>) {
        match open.path.as_ref().or(open.requested.as_ref()) {
            Some(path) => self.argument(path.as_bytes()),
            None => self.out.push('?'),
        }
        let start = self.out.len();
        if let Some(flags) = open.flags {
            for (index, name) in flags.names(abi).enumerate() {
                self.out.push(if index == 0 { ' ' } else { '|' });
                self.out.push_str(&name);
            }
        }
        if let Some(mode) = open.mode {
            let _ = write!(self.out, " {mode:04o}");
        }
        // Behind the space: on 80 columns there is seldom room for all flags.
        if start < self.out.len() {
            self.cuts.push(Cut { range: start + 1..self.out.len(), keep: Keep::First });
        }
        if let Some(fd) = open.fd {
            let _ = write!(self.out, " = {fd}");
        }
        if let Some(errno) = open.errno {
            self.painted(Color::Yellow, &format!(" {}", errno.name()));
        }
        if open.created == Some(true) {
            self.out.push_str(" [created]");
        }
        if open.direct {
            self.out.push_str(" [direct]");
        }
    }

    fn exec_failed(&mut self, failed: &ExecFailed) {
        match &failed.filename {
            Some(filename) => self.argument(filename.as_bytes()),
            None => self.out.push('?'),
        }
        self.arguments(failed.args(), failed.filename.as_ref());
        self.painted(Color::Yellow, &format!(" {}", failed.errno.name()));
    }

    /// A path or an argument. One that begins like a mark of the line's own (`(argv0)`, `[fileless]`) is no mark.
    fn argument(&mut self, arg: &[u8]) {
        let start = self.out.len();
        word(&mut self.out, arg, |text| text.starts_with(['(', '[']));
        // Of a path that is too long, its begin and the file's name are kept.
        self.cuts.push(Cut { range: start..self.out.len(), keep: Keep::Ends });
    }

    /// argv[0] in parentheses, unless it says what `file` said, as it does more often than not, and the others. Of a
    /// list that is too long, the begin is kept.
    fn arguments<'a>(&mut self, args: impl Iterator<Item = &'a [u8]>, file: Option<&Text>) {
        let (start, cuts) = (self.out.len(), self.cuts.len());
        for (index, arg) in args.enumerate() {
            if index == 0 && Some(arg) == file.map(Text::as_bytes) {
                continue;
            }
            self.out.push_str(if index == 0 { " (" } else { " " });
            self.argument(arg);
            if index == 0 {
                self.out.push(')');
            }
        }
        self.cuts.truncate(cuts);
        // The space before the first one stays.
        if start < self.out.len() {
            self.cuts.push(Cut { range: start + 1..self.out.len(), keep: Keep::Begin });
        }
    }

    fn exit(&mut self, exit: &Exit) {
        match exit.signal() {
            Some(number) => {
                let name = i32::try_from(number).ok().and_then(|number| Signal::try_from(number).ok());
                let name =
                    name.map_or_else(|| format!("signal {number}"), |signal| signal.as_str().to_owned());
                let core = if exit.core_dumped() { ", core dumped" } else { "" };
                let _ = write!(self.out, "{name}{core}");
            }
            None => {
                let _ = write!(self.out, "code {}", exit.code().unwrap_or(0));
            }
        }
        let _ = write!(self.out, " after {}", duration(exit.duration_ns));
    }

    /// Appends text in a colour. It is escaped like all other: names of hooks and reasons come from sources.
    fn painted(&mut self, color: Color, text: &str) {
        if self.color {
            self.out.push_str(color.code());
        }
        escape_into(&mut self.out, text.as_bytes());
        if self.color {
            self.out.push_str("\x1b[0m");
        }
    }
}

/// The real user's name, or the number where it has none.
fn user(event: &KernelEvent) -> String {
    match event.identity.as_ref().and_then(|identity| identity.ruid_name.as_ref()) {
        Some(known) => {
            let mut name = String::new();
            escape_into(&mut name, known.as_bytes());
            name
        }
        None => event.process.ruid.to_string(),
    }
}

/// What an event is called here: the native format's name, shortened where a column could not hold it.
fn label(name: &'static str) -> &'static str {
    match name {
        "exec_failed" => "execfail",
        "connect_result" => "result",
        other => other,
    }
}

fn is_failure(result: Option<ConnectOutcome>) -> bool {
    !matches!(result, None | Some(ConnectOutcome::Ok | ConnectOutcome::Pending))
}

/// A process's name, which the parent's follows in parentheses.
fn name_word(out: &mut String, name: &Text) {
    word(out, name.as_bytes(), |text| text.contains(['(', ')']));
}

/// Text in quotes if it would not stand for one word, or if it is `marked`; a quote inside is `\x22`.
fn word(out: &mut String, bytes: &[u8], marked: impl FnOnce(&str) -> bool) {
    let mut text = String::with_capacity(bytes.len());
    escape_into(&mut text, bytes);
    let is_apart = |character: char| character.is_whitespace() || character == '"';
    if text.is_empty() || text.contains(is_apart) || marked(&text) {
        let _ = write!(out, "\"{}\"", text.replace('"', "\\x22"));
    } else {
        out.push_str(&text);
    }
}

/// Time of day in UTC, ms.
fn clock(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = since.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}.{:03}", second / 3600, second / 60 % 60, second % 60, since.subsec_millis())
}

/// A duration in its largest unit, three digits.
fn duration(ns: u64) -> String {
    const UNITS: [(u64, u64, &str); 4] = [
        (3_600_000_000_000, 60_000_000_000, "h"),
        (1_000_000_000, 1_000_000, "s"),
        (1_000_000, 1_000, "ms"),
        (1_000, 1, "us"),
    ];
    for (unit, thousandth, name) in UNITS {
        if ns >= unit {
            let whole = ns / unit;
            if name == "h" {
                return format!("{whole}h{:02}m", ns % unit / thousandth);
            }
            return format!("{whole}.{:03}{name}", ns % unit / thousandth);
        }
    }
    format!("{ns}ns")
}

/// A duration in its largest unit, without a fraction.
fn whole_duration(ns: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(3_600_000_000_000, "h"), (1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| ns >= *unit).unwrap_or((1, "ns"));
    format!("{}{name}", ns / unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::convert::fixtures::{event, exit};
    use collector_core::event::ProcessIdentity;
    use std::sync::Arc;

    fn lines() -> Lines {
        Lines::new(false, None)
    }

    #[test]
    fn arguments_stay_apart_and_hostile_bytes_stay_harmless() {
        let mut lines = lines();
        for arg in [&b"plain"[..], b"", b"two words", b"q\"q", b"\x1b[2J\n\xff"] {
            lines.argument(arg);
            lines.out.push('|');
        }
        assert_eq!(lines.out, "plain|\"\"|\"two words\"|\"q\\x22q\"|\\x1b[2J\\x0a\\xff|");
    }

    #[test]
    fn names_from_sources_cannot_reach_the_terminal() {
        let mut lines = lines();
        lines.painted(Color::Red, "hook\x1b[2J\nnext");
        assert_eq!(lines.out, "hook\\x1b[2J\\x0anext");
    }

    #[test]
    fn durations_show_their_largest_unit() {
        assert_eq!(duration(999), "999ns");
        assert_eq!(duration(1_500), "1.500us");
        assert_eq!(duration(12_345_678), "12.345ms");
        assert_eq!(duration(61_001_000_000), "61.001s");
        assert_eq!(duration(3_660_000_000_000), "1h01m");
        let whole = [999, 1_500, 12_345_678, 61_001_000_000, 3_660_000_000_000].map(whole_duration);
        assert_eq!(whole, ["999ns", "1us", "12ms", "61s", "1h"]);
    }

    #[test]
    fn signals_are_named() {
        let mut lines = lines();
        lines.exit(&Exit { status: 11 | 0x80, duration_ns: 5 });
        assert_eq!(lines.out, "SIGSEGV, core dumped after 5ns");
    }

    #[test]
    fn a_user_has_the_name_that_the_event_has_and_else_a_number() {
        let mut event = event(&exit(|_| {}));
        event.process.ruid = 4_294_967_294;
        assert_eq!(user(&event), "4294967294");
        let named = ProcessIdentity { ruid_name: Some("a\x1bb".into()), ..ProcessIdentity::default() };
        event.identity = Some(Arc::new(named));
        assert_eq!(user(&event), "a\\x1bb");
    }
}
