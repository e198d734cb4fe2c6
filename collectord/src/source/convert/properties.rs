//! Any bytes in a record come back exactly from what people and programs read, and reach neither as a control.

mod bodies;

use super::fixtures::{
    ExecParts, comm, connect, converted, converter, exec_failed, exec_of, exit, fork, leaf_first,
};
use crate::watch::compact::CompactLines;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bodies::hostile_open;
use collector_common::{ARGV_BYTES_MAX, PATH_BYTES_MAX, Record, RecordKind};
use collector_core::escape::unescape;
use collector_core::event::KernelEvent;
use collector_core::{CollectionEvent, JsonEncoder};
use serde_json::Value;

/// Execs that carry random bytes, each in five or more texts.
const HOSTILE_EVENTS: u64 = 100_000;
/// Texts of random bytes, none of them empty, that the execs carry at least; those of the other bodies are in `bodies`.
const EXEC_TEXTS_MIN: u64 = 530_000;
const _: () = assert!(EXEC_TEXTS_MIN + bodies::TEXTS_MIN >= 1_000_000, "the promise is a million");
/// One text in so many is as long as it can be, and one more of any length.
const LONG_EVERY: usize = 300;
/// Damaged records.
const DAMAGED_RECORDS: u64 = 50_000;
/// Events written at once.
const BATCH: u64 = 200;

/// SplitMix64: each seed is a case that can be run again.
struct Random(u64);

/// What was generated: texts that are not empty, and the longest of each.
#[derive(Debug, Default)]
struct Made {
    texts: u64,
    name: usize,
    path: usize,
    argv: usize,
}

impl Made {
    fn text(&mut self, text: &[u8]) {
        self.texts += u64::from(!text.is_empty());
    }

    /// An absolute path: the root alone is nobody's random bytes.
    fn path(&mut self, path: &[u8]) {
        self.texts += u64::from(path != b"/");
        self.path = self.path.max(path.len());
        self.name = self.name.max(path.split(|&byte| byte == b'/').map(<[u8]>::len).max().unwrap_or(0));
    }

    fn args(&mut self, args: &[Vec<u8>]) {
        args.iter().for_each(|arg| self.text(arg));
        self.argv = self.argv.max(args.iter().map(|arg| arg.len() + 1).sum());
    }
}

/// What is hard to write: what must be escaped, what looks like an escape or like the line's own marks, cut UTF-8.
const HARD: [&[u8]; 34] = [
    b"\n",
    b"\r",
    b"\x1b[2J",
    b"\x1b]0;x\x07",
    b"\"",
    b"\\",
    b"\\x41",
    b"\\x22",
    b"\\u{41}",
    b" ",
    b"(",
    b")",
    b"[fileless]",
    b" [script /x]",
    b"?",
    b"\x7f",
    b"\xc2\x80",
    b"\xc2\x9b",
    b"\xc2\xa0",
    b"\xd8\x9c",
    b"\xe2\x80\x8e",
    b"\xe2\x80\xa8",
    b"\xe2\x80\xa9",
    b"\xe2\x80\xae",
    b"\xe2\x81\xa6",
    b"\xe2\x81\xa9",
    b"\xef\xbf\xbd",
    b"\xf4\x8f\xbf\xbf",
    b"\xe2\x80",
    b"\xf0\x9f\x92",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xc0\xaf",
    b"\xff",
];

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// Any bytes but NUL, which ends every text of the kernel's; at least one.
    fn text(&mut self, len_max: usize) -> Vec<u8> {
        let pieces = 1 + self.below(3);
        let len = match self.below(LONG_EVERY) {
            0 => len_max,
            1 => 1 + self.below(len_max),
            _ => 0,
        };
        let mut text = Vec::new();
        let mut made = 0;
        while made < pieces || text.len() < len {
            match self.below(4) {
                0 => text.extend_from_slice(b"plain"),
                1 => text.extend((0..1 + self.below(4)).map(|_| self.byte().max(1))),
                _ => text.extend_from_slice(HARD[self.below(HARD.len())]),
            }
            made += 1;
        }
        text.truncate(if len > 0 { len } else { len_max });
        text
    }

    /// A text or, now and then, none.
    fn argument(&mut self, len_max: usize) -> Vec<u8> {
        if self.below(8) == 0 { Vec::new() } else { self.text(len_max) }
    }

    /// As many arguments as `room` has bytes for, their NULs counted.
    fn arguments(&mut self, mut room: usize) -> Vec<Vec<u8>> {
        let mut args = Vec::new();
        for _ in 0..self.below(4) {
            let Some(left) = room.checked_sub(1).filter(|&left| left > 0) else { break };
            let arg = self.argument(left);
            room = left - arg.len();
            args.push(arg);
        }
        args
    }

    /// A name in a directory: not empty, without a slash.
    fn name(&mut self) -> Vec<u8> {
        let mut name = self.text(255);
        name.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = b'|');
        name
    }

    /// A path's names; one in so many takes all the bytes that there are.
    fn names(&mut self) -> Vec<Vec<u8>> {
        if self.below(LONG_EVERY) == 0 {
            let name = |random: &mut Self| {
                let mut name = random.name();
                name.resize(255, b'n');
                name
            };
            return (0..PATH_BYTES_MAX / 256).map(|_| name(self)).collect();
        }
        (0..self.below(4)).map(|_| self.name()).collect()
    }
}

fn walked(names: &[Vec<u8>]) -> Vec<u8> {
    leaf_first(&names.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn absolute(names: &[Vec<u8>]) -> Vec<u8> {
    if names.is_empty() {
        return b"/".to_vec();
    }
    names.iter().flat_map(|name| [b"/", name.as_slice()].concat()).collect()
}

fn with_nul(text: &[u8]) -> Vec<u8> {
    [text, b"\0"].concat()
}

/// The texts that went into a record.
#[derive(Debug, PartialEq)]
struct Texts {
    comm: Vec<u8>,
    path: Vec<u8>,
    cwd: Vec<u8>,
    script: Option<Vec<u8>>,
    filename: Vec<u8>,
    interp: Option<Vec<u8>>,
    args: Vec<Vec<u8>>,
}

impl Texts {
    fn count(&self, made: &mut Made) {
        made.text(&self.comm);
        made.text(&self.filename);
        self.interp.iter().for_each(|interp| made.text(interp));
        [Some(&self.path), Some(&self.cwd), self.script.as_ref()]
            .into_iter()
            .flatten()
            .for_each(|path| made.path(path));
        made.args(&self.args);
    }
}

fn hostile(random: &mut Random) -> (Texts, super::fixtures::Bytes) {
    let (path, cwd, script) = (random.names(), random.names(), random.names());
    let is_script = random.below(3) == 0 && !script.is_empty();
    let interp = random.text(255);
    let mut args = random.arguments(ARGV_BYTES_MAX as usize);
    let args_len: usize = args.iter().map(|arg| arg.len() + 1).sum();
    if let Some(first) = args.first_mut()
        && random.below(3) == 0
        && args_len + absolute(&path).len() <= ARGV_BYTES_MAX as usize
    {
        *first = absolute(&path);
    }
    let texts = Texts {
        comm: random.text(15),
        path: absolute(&path),
        cwd: absolute(&cwd),
        script: is_script.then(|| absolute(&script)),
        filename: random.text(PATH_BYTES_MAX as usize - 1),
        interp: is_script.then(|| interp.clone()),
        args,
    };
    let parts = ExecParts {
        path: walked(&path),
        cwd: walked(&cwd),
        script_path: if is_script { walked(&script) } else { Vec::new() },
        filename: with_nul(&texts.filename),
        interp: with_nul(&interp),
        argv: texts.args.iter().flat_map(|arg| with_nul(arg)).collect(),
    };
    let record = parts.record(|record| record.task.comm = comm(&texts.comm));
    (texts, record)
}

/// Says it of itself, and not with the function that the encoders use.
fn is_safe(line: &str) -> bool {
    !line.chars().any(|character| {
        character.is_control()
            || matches!(character,
                '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

/// The lines of an output that ends with a newline.
fn lines(out: Vec<u8>) -> Vec<String> {
    let out = String::from_utf8(out).expect("an output is UTF-8");
    let whole = out.strip_suffix('\n').expect("the last line ends");
    whole.split('\n').map(str::to_owned).collect()
}

fn json(events: &[CollectionEvent]) -> Vec<String> {
    let (mut encoder, mut out) = (JsonEncoder::new(), Vec::new());
    for event in events {
        encoder.encode(event, &mut out);
    }
    lines(out)
}

fn compact(events: &[CollectionEvent], width: fn() -> Option<usize>) -> Vec<String> {
    let mut out = Vec::new();
    CompactLines::new(false, width).render(events, &mut out);
    lines(out)
}

fn exact(object: &Value, name: &str) -> Option<Vec<u8>> {
    match object.get(format!("{name}_b64")) {
        Some(base64) => Some(STANDARD.decode(base64.as_str().unwrap()).unwrap()),
        None => Some(object.get(name)?.as_str().unwrap().as_bytes().to_vec()),
    }
}

fn texts_of_json(line: &str) -> Texts {
    let line: Value = serde_json::from_str(line).unwrap();
    let exec = &line["exec"];
    let args = |name| Some(exec.get(name)?.as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()));
    Texts {
        comm: exact(&line["process"], "name").unwrap(),
        path: exact(exec, "path").unwrap(),
        cwd: exact(exec, "cwd").unwrap(),
        script: exec.get("script").map(|script| exact(script, "path").unwrap()),
        filename: exact(exec, "filename").unwrap(),
        interp: exact(exec, "interp"),
        args: match args("argv_b64") {
            Some(args) => args.map(|arg| STANDARD.decode(arg).unwrap()).collect(),
            None => args("argv").unwrap().map(|arg| arg.as_bytes().to_vec()).collect(),
        },
    }
}

/// A reader of the compact line, who knows how it is written and nothing of the event.
struct Words<'a>(&'a str);

impl Words<'_> {
    /// The next word, which ends at one of `ends` unless it is in quotes.
    fn word(&mut self, ends: char) -> Vec<u8> {
        let (word, rest) = match self.0.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').expect("the quote is closed"),
            None => self.0.split_at(self.0.find(ends).unwrap_or(self.0.len())),
        };
        self.0 = rest;
        unescape(word).expect("each word is escaped as stated")
    }

    fn skip(&mut self, mark: &str) -> bool {
        let rest = self.0.strip_prefix(mark);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// argv[0] in its parentheses; without quotes it may hold some itself.
    fn argv_0(&mut self) -> Vec<u8> {
        if self.0.starts_with('"') {
            let word = self.word(' ');
            assert!(self.skip(")"));
            return word;
        }
        let end = self.0.find(' ').unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        unescape(word.strip_suffix(')').expect("the parenthesis is closed")).unwrap()
    }
}

/// What a compact line shows of an exec.
#[derive(Debug, PartialEq)]
struct Shown {
    comm: Vec<u8>,
    path: Vec<u8>,
    /// Unless it is the path.
    argv_0: Option<Vec<u8>>,
    /// Behind argv[0].
    args: Vec<Vec<u8>>,
    script: Option<Vec<u8>>,
}

fn shown_by_compact(line: &str) -> Shown {
    let (time, rest) = line.split_at(13);
    assert!(time.bytes().filter(|&byte| byte == b':').count() == 2, "{line}");
    let mut words = Words(rest);
    assert!(words.skip("exec        4000 4294967294 "), "{line}");
    let comm = words.word('(');
    assert!(words.skip("(3999)"), "{line}");
    words.0 = words.0.trim_start_matches(' ');
    let path = words.word(' ');
    let (mut argv_0, mut args, mut script) = (None, Vec::new(), None);
    while words.skip(" ") {
        if words.skip("[script ") {
            // The mark's end is not the path's: it is the last thing in the line.
            words.0 = words.0.strip_suffix(']').expect("the mark is closed");
            script = Some(words.word('\n'));
        } else if words.skip("(") {
            argv_0 = Some(words.argv_0());
        } else {
            args.push(words.word(' '));
        }
    }
    assert_eq!(words.0, "", "{line}");
    Shown { comm, path, argv_0, args, script }
}

#[test]
fn any_bytes_come_back_exactly_from_one_safe_line_of_each_format() {
    let mut converter = converter();
    let mut made = Made::default();
    for first in (0..HOSTILE_EVENTS).step_by(usize::try_from(BATCH).unwrap()) {
        let seeds = first..(first + BATCH).min(HOSTILE_EVENTS);
        let (texts, events): (Vec<_>, Vec<_>) = seeds
            .clone()
            .map(|seed| {
                let (texts, record) = hostile(&mut Random(seed));
                let event = converted(&mut converter, &record);
                (texts, CollectionEvent::Kernel(Box::new(event)))
            })
            .unzip();
        let (json, cut, compact) = (json(&events), compact(&events, || Some(80)), compact(&events, || None));
        assert_eq!(
            (json.len(), compact.len(), cut.len()),
            (texts.len(), texts.len(), texts.len()),
            "one event is one line, from seed {first}"
        );
        assert!(cut.iter().all(|line| is_safe(line)), "from seed {first}");
        for (seed, ((texts, json), compact)) in seeds.zip(texts.iter().zip(&json).zip(&compact)) {
            assert!(is_safe(json) && is_safe(compact), "seed {seed}:\n{json}\n{compact}");
            assert_eq!(&texts_of_json(json), texts, "seed {seed}: {json}");
            texts.count(&mut made);
            let shown = Shown {
                argv_0: texts.args.first().filter(|&argv_0| *argv_0 != texts.path).cloned(),
                args: texts.args.iter().skip(1).cloned().collect(),
                comm: texts.comm.clone(),
                path: texts.path.clone(),
                script: texts.script.clone(),
            };
            assert_eq!(shown_by_compact(compact), shown, "seed {seed}: {compact}");
        }
    }
    assert!(made.texts >= EXEC_TEXTS_MIN, "{made:?}");
    let bounds = (255, PATH_BYTES_MAX as usize, ARGV_BYTES_MAX as usize);
    assert_eq!((made.name, made.path, made.argv), bounds);
}

/// A good record of some kind with some bytes changed.
fn damaged(random: &mut Random) -> super::fixtures::Bytes {
    let mut record = match random.below(8) {
        0 => exit(|_| ()),
        1 => fork(|_| ()),
        2 => connect(RecordKind::Connect, b"\x01\0/run/\x1b[2Jsocket", |record| record.flags = 0),
        3 => connect(RecordKind::ConnectResult, b"", |_| ()),
        4 => hostile_open(random).record,
        5 => exec_failed(&with_nul(&random.text(255)), &with_nul(&random.text(255)), |_| ()),
        _ => hostile(random).1,
    };
    for _ in 0..1 + random.below(6) {
        let at = random.below(record.get().len());
        record.get_mut()[at] = match random.below(3) {
            0 => 0xff,
            1 => 0,
            _ => random.byte(),
        };
    }
    record
}

#[test]
fn a_damaged_record_is_refused_or_one_safe_line_of_each_format() {
    let mut converter = converter();
    let mut taken = 0;
    for seed in 0..DAMAGED_RECORDS {
        let record = damaged(&mut Random(seed));
        let Ok((hook, record)) = Record::parse(record.get()) else { continue };
        let mut event: KernelEvent = *converter.event(hook, &record).expect("every hook is this source's");
        // The users of the machine are no part of this, and are slow to look up.
        event.process.ruid = 0;
        taken += 1;
        let event = [CollectionEvent::Kernel(Box::new(event))];
        for line in [json(&event), compact(&event, || None), compact(&event, || Some(80))] {
            assert!(line.len() == 1 && is_safe(&line[0]), "seed {seed}: {line:?}");
        }
    }
    assert!(taken > DAMAGED_RECORDS / 4, "{taken} records were taken: the test shows little");
}

#[test]
fn arguments_that_look_like_the_lines_own_marks_stand_in_quotes() {
    let parts = ExecParts { argv: b"sleep\0[fileless]\0(sleep)\0a(b)[c]\0".to_vec(), ..ExecParts::sleep() };
    let event = converted(&mut converter(), &parts.record(|record| record.task.comm = comm(b"sh(init)  x")));
    assert_eq!(exec_of(&event).args().count(), 4);
    let line = compact(&[CollectionEvent::Kernel(Box::new(event))], || None).remove(0);
    assert!(line.contains(r#" "sh(init)  x"(3999) "#), "{line}");
    assert!(line.ends_with(r#" /usr/bin/sleep (sleep) "[fileless]" "(sleep)" a(b)[c]"#), "{line}");
}
