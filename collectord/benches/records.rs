//! What an event costs in userspace, from the bytes in a ring to the line: `convert/*` parses and converts a record,
//! `encode/*` writes the event as a line of JSON, `whole/*` does both and drops the event. One thread, one core.
#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench fails by panicking"
)]

use collector_common::{Record, RecordKind};
use collector_core::{CollectionEvent, JsonEncoder};
use collectord::source::Converter;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fixtures::{Bytes, ExecParts, connect, converter, exit, leaf_first, open};
use std::hint::black_box;

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../src/source/convert/fixtures.rs"]
mod fixtures;

/// One record of each usual kind.
fn records() -> [(&'static str, Bytes); 4] {
    let path = leaf_first(&[b"usr", b"lib", b"x86_64-linux-gnu", b"libc.so.6"]);
    [
        ("open", open(&path, b"/lib/x86_64-linux-gnu/libc.so.6\0", |_| {})),
        ("exec", ExecParts::sleep().record(|_| {})),
        ("exit", exit(|_| {})),
        ("connect", connect(RecordKind::Connect, b"", |_| {})),
    ]
}

fn event(converter: &mut Converter, bytes: &Bytes) -> CollectionEvent {
    let (hook, record) = Record::parse(black_box(bytes.get())).expect("a fixture is a record");
    CollectionEvent::Kernel(converter.event(hook, &record).expect("every hook is this source's"))
}

fn records_to_lines(criterion: &mut Criterion) {
    let mut convert = criterion.benchmark_group("convert");
    convert.throughput(Throughput::Elements(1));
    for (name, bytes) in records() {
        let mut converter = converter();
        convert.bench_function(name, |bencher| bencher.iter(|| event(&mut converter, &bytes)));
    }
    convert.finish();
    let mut encode = criterion.benchmark_group("encode");
    encode.throughput(Throughput::Elements(1));
    for (name, bytes) in records() {
        let event = event(&mut converter(), &bytes);
        let (mut encoder, mut out) = (JsonEncoder::new(), Vec::new());
        encode.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                encoder.encode(black_box(&event), &mut out);
                out.len()
            });
        });
    }
    encode.finish();
    let mut whole = criterion.benchmark_group("whole");
    whole.throughput(Throughput::Elements(1));
    for (name, bytes) in records() {
        let (mut converter, mut encoder, mut out) = (converter(), JsonEncoder::new(), Vec::new());
        whole.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                encoder.encode(&event(&mut converter, &bytes), &mut out);
                out.len()
            });
        });
    }
    whole.finish();
}

criterion_group!(benches, records_to_lines);
criterion_main!(benches);
