//! The other bodies that carry text: opens, failed execs, connections of unix sockets.

use super::super::fixtures::{Bytes, comm, connect, converted, converter, exec_failed, open};
use super::{Made, Random, Words, absolute, compact, exact, is_safe, json, walked, with_nul};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use collector_common::{ARGV_BYTES_MAX, Hook, PATH_BYTES_MAX, RecordKind};
use collector_core::CollectionEvent;
use serde_json::Value;

/// Events of each body.
const EVENTS: u64 = 70_000;
/// Texts of random bytes, none of them empty, that they carry at least.
pub(super) const TEXTS_MIN: u64 = OPEN_TEXTS_MIN + FAILED_TEXTS_MIN + UNIX_TEXTS_MIN;
const OPEN_TEXTS_MIN: u64 = 160_000;
const FAILED_TEXTS_MIN: u64 = 225_000;
const UNIX_TEXTS_MIN: u64 = 140_000;
/// Bytes of a unix socket's name.
const UNIX_NAME_MAX: usize = 108;

/// One line of each format for a record, each of them safe; the compact one is also cut to 80 columns.
struct Lines {
    json: Value,
    compact: String,
}

fn lines(seed: u64, event: &[CollectionEvent]) -> Lines {
    let (json, whole, cut) = (json(event), compact(event, || None), compact(event, || Some(80)));
    for lines in [&json, &whole, &cut] {
        assert!(lines.len() == 1 && is_safe(&lines[0]), "seed {seed}: {lines:?}");
    }
    Lines { json: serde_json::from_str(&json[0]).unwrap(), compact: whole.into_iter().next().unwrap() }
}

/// The comm of a compact line and, behind the columns, the event's own words.
fn detail<'a>(line: &'a str, label: &str) -> (Vec<u8>, Words<'a>) {
    let mut words = Words(&line[13..]);
    assert!(words.skip(&format!("{label:<8}    4000 4294967294 ")), "{line}");
    let comm = words.word('(');
    assert!(words.skip("(3999)"), "{line}");
    words.0 = words.0.trim_start_matches(' ');
    (comm, words)
}

/// An open with random bytes in its comm, its path and its requested name. One that failed has no path.
pub(super) struct Open {
    comm: Vec<u8>,
    path: Option<Vec<u8>>,
    requested: Vec<u8>,
    pub(super) record: Bytes,
}

pub(super) fn hostile_open(random: &mut Random) -> Open {
    let (names, requested) = (random.names(), random.text(PATH_BYTES_MAX as usize - 1));
    let (name, failed) = (random.text(15), random.below(2) == 0);
    let walked = if failed { Vec::new() } else { walked(&names) };
    let record = open(&walked, &with_nul(&requested), |record| {
        record.task.comm = comm(&name);
        record.result = if failed { -2 } else { 3 };
    });
    Open { comm: name, path: (!failed).then(|| absolute(&names)), requested, record }
}

#[test]
fn an_opens_bytes_come_back_exactly_from_one_safe_line() {
    let (mut converter, mut made) = (converter(), Made::default());
    for seed in 0..EVENTS {
        let Open { comm, path, requested, record } = hostile_open(&mut Random(seed));
        let event = [CollectionEvent::Kernel(Box::new(converted(&mut converter, &record)))];
        let Lines { json, compact } = lines(seed, &event);
        assert_eq!(exact(&json["process"], "name").unwrap(), comm, "seed {seed}: {json}");
        assert_eq!(exact(&json["open"], "path"), path, "seed {seed}: {json}");
        assert_eq!(exact(&json["open"], "requested").unwrap(), requested, "seed {seed}: {json}");
        // A person is shown the file, or what was asked for.
        let (shown_comm, mut words) = detail(&compact, "open");
        let shown = words.word(' ');
        assert_eq!(
            (&shown_comm, &shown),
            (&comm, path.as_ref().unwrap_or(&requested)),
            "seed {seed}: {compact}"
        );
        assert_eq!(
            words.0,
            if path.is_some() { " O_RDONLY|O_CLOEXEC = 3" } else { " O_RDONLY|O_CLOEXEC ENOENT" }
        );
        made.text(&comm);
        made.text(&requested);
        path.iter().for_each(|path| made.path(path));
    }
    assert!(made.texts >= OPEN_TEXTS_MIN, "{made:?}");
    assert_eq!((made.name, made.path), (255, PATH_BYTES_MAX as usize));
}

#[test]
fn a_failed_execs_bytes_come_back_exactly_from_one_safe_line() {
    let (mut converter, mut made) = (converter(), Made::default());
    for seed in 0..EVENTS {
        let random = &mut Random(seed);
        let (filename, name) = (random.text(PATH_BYTES_MAX as usize - 1), random.text(15));
        let args = random.arguments(ARGV_BYTES_MAX as usize);
        let argv: Vec<u8> = args.iter().flat_map(|arg| with_nul(arg)).collect();
        let record = exec_failed(&with_nul(&filename), &argv, |record| record.task.comm = comm(&name));
        let event = [CollectionEvent::Kernel(Box::new(converted(&mut converter, &record)))];
        let Lines { json, compact } = lines(seed, &event);
        let body = &json["exec_failed"];
        let list = |name| Some(body.get(name)?.as_array()?.iter().map(|arg| arg.as_str().unwrap()));
        let told: Vec<Vec<u8>> = match list("argv_b64") {
            Some(args) => args.map(|arg| STANDARD.decode(arg).unwrap()).collect(),
            None => list("argv").unwrap().map(|arg| arg.as_bytes().to_vec()).collect(),
        };
        assert_eq!(exact(&json["process"], "name").unwrap(), name, "seed {seed}: {json}");
        assert_eq!(exact(body, "filename").unwrap(), filename, "seed {seed}: {json}");
        assert_eq!(told, args, "seed {seed}: {json}");
        let (shown_comm, mut words) = detail(&compact, "execfail");
        assert_eq!((&shown_comm, &words.word(' ')), (&name, &filename), "seed {seed}: {compact}");
        words.0 = words.0.strip_suffix(" ENOENT").expect("the error stands last");
        let mut shown = Vec::new();
        while words.skip(" ") {
            shown.push(if shown.is_empty() && words.skip("(") { words.argv_0() } else { words.word(' ') });
        }
        let said = args.first().is_some_and(|argv_0| *argv_0 == filename);
        assert_eq!(shown, args[usize::from(said)..], "seed {seed}: {compact}");
        made.text(&name);
        made.text(&filename);
        made.args(&args);
    }
    assert!(made.texts >= FAILED_TEXTS_MIN, "{made:?}");
    assert_eq!(made.argv, ARGV_BYTES_MAX as usize);
}

#[test]
fn a_unix_sockets_name_comes_back_exactly_from_one_safe_line() {
    let (mut converter, mut made) = (converter(), Made::default());
    for seed in 0..EVENTS {
        let random = &mut Random(seed);
        let (is_abstract, name) = (random.below(2) == 0, random.text(15));
        let socket = random.text(UNIX_NAME_MAX - 1);
        let address = [&b"\x01\0"[..], if is_abstract { b"\0" } else { b"" }, &socket].concat();
        let record = connect(RecordKind::Connect, &address, |record| {
            record.header.hook = Hook::ConnectExit as u16;
            record.task.comm = comm(&name);
            (record.flags, record.family, record.protocol) = (0, 1, 0);
        });
        let event = [CollectionEvent::Kernel(Box::new(converted(&mut converter, &record)))];
        let Lines { json, compact } = lines(seed, &event);
        let (key, other) = if is_abstract { ("abstract", "path") } else { ("path", "abstract") };
        let remote = &json["connect"]["remote"];
        assert_eq!(exact(&json["process"], "name").unwrap(), name, "seed {seed}: {json}");
        assert_eq!(exact(remote, key).unwrap(), socket, "seed {seed}: {json}");
        assert!(remote.get(other).is_none(), "seed {seed}: {json}");
        let (shown_comm, mut words) = detail(&compact, "connect");
        assert!(words.skip("stream "), "{compact}");
        let shown = [if is_abstract { &b"@"[..] } else { b"" }, &socket].concat();
        assert_eq!((shown_comm, words.word(' ')), (name.clone(), shown), "seed {seed}: {compact}");
        assert_eq!(words.0, " ok");
        made.text(&name);
        made.text(&socket);
    }
    assert!(made.texts >= UNIX_TEXTS_MIN, "{made:?}");
}
