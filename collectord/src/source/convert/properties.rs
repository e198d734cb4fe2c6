//! Any bytes in a record come back exactly from what people and programs read, and reach neither as a control.

use super::fixtures::{
    ExecParts, comm, connect, converted, converter, exec_failed, exec_of, exit, fork, leaf_first, open,
};
use crate::watch::compact::CompactLines;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use collector_common::{Record, RecordKind};
use collector_core::escape::unescape;
use collector_core::event::KernelEvent;
use collector_core::{CollectionEvent, JsonEncoder};
use serde_json::Value;

/// Events that carry random bytes, each in six or more texts.
const HOSTILE_EVENTS: u64 = 100_000;
/// Opens, each with three.
const HOSTILE_OPENS: u64 = 100_000;
/// Damaged records.
const DAMAGED_RECORDS: u64 = 50_000;
/// Events written at once.
const BATCH: u64 = 200;

/// SplitMix64: each seed is a case that can be run again.
struct Random(u64);

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

    /// Any bytes but NUL, which ends every text of the kernel's.
    fn text(&mut self, len_max: usize) -> Vec<u8> {
        let mut text = Vec::new();
        for _ in 0..self.below(4) {
            match self.below(4) {
                0 => text.extend_from_slice(b"plain"),
                1 => text.extend((0..1 + self.below(4)).map(|_| self.byte()).filter(|&byte| byte != 0)),
                _ => text.extend_from_slice(HARD[self.below(HARD.len())]),
            }
        }
        text.truncate(len_max);
        text
    }

    /// A name in a directory: not empty, without a slash.
    fn name(&mut self) -> Vec<u8> {
        let mut name = self.text(255);
        name.retain(|&byte| byte != b'/');
        if name.is_empty() { b"d".to_vec() } else { name }
    }

    fn names(&mut self) -> Vec<Vec<u8>> {
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

fn hostile(random: &mut Random) -> (Texts, super::fixtures::Bytes) {
    let (path, cwd, script) = (random.names(), random.names(), random.names());
    let is_script = random.below(3) == 0 && !script.is_empty();
    let interp = random.text(255);
    let mut args: Vec<_> = (0..random.below(4)).map(|_| random.text(100)).collect();
    if let Some(first) = args.first_mut()
        && random.below(3) == 0
    {
        *first = absolute(&path);
    }
    let texts = Texts {
        comm: random.text(15),
        path: absolute(&path),
        cwd: absolute(&cwd),
        script: is_script.then(|| absolute(&script)),
        filename: random.text(255),
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
}

/// An open with random bytes in its comm, its path and its requested name.
fn hostile_open(random: &mut Random) -> ([Vec<u8>; 3], super::fixtures::Bytes) {
    let (path, requested, name) = (random.names(), random.text(255), random.text(15));
    let record = open(&walked(&path), &with_nul(&requested), |record| record.task.comm = comm(&name));
    ([name, absolute(&path), requested], record)
}

#[test]
fn an_opens_bytes_come_back_exactly_from_one_safe_line() {
    let mut converter = converter();
    for seed in 0..HOSTILE_OPENS {
        let ([name, path, requested], record) = hostile_open(&mut Random(seed));
        let event = [CollectionEvent::Kernel(Box::new(converted(&mut converter, &record)))];
        let (json, compact) = (json(&event), compact(&event, || None));
        assert!(json.len() == 1 && is_safe(&json[0]), "seed {seed}: {json:?}");
        assert!(compact.len() == 1 && is_safe(&compact[0]), "seed {seed}: {compact:?}");
        let value: Value = serde_json::from_str(&json[0]).unwrap();
        assert_eq!(exact(&value["process"], "name").unwrap(), name, "seed {seed}: {value}");
        assert_eq!(exact(&value["open"], "path").unwrap(), path, "seed {seed}: {value}");
        assert_eq!(exact(&value["open"], "requested").unwrap(), requested, "seed {seed}: {value}");
    }
}

/// A good record of some kind with some bytes changed.
fn damaged(random: &mut Random) -> super::fixtures::Bytes {
    let mut record = match random.below(8) {
        0 => exit(|_| ()),
        1 => fork(|_| ()),
        2 => connect(RecordKind::Connect, b"\x01\0/run/\x1b[2Jsocket", |record| record.flags = 0),
        3 => connect(RecordKind::ConnectResult, b"", |_| ()),
        4 => hostile_open(random).1,
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
