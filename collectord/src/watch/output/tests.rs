use super::*;
use crate::source::convert::fixtures::{converter, open};
use collector_common::Record;
use collector_core::event::KernelEvent;
use collector_core::{
    Collector, CollectorConfig, EndReason, EventSource, RunReport, ShutdownHandle, SourceCaps,
};
use nix::sys::signal::{SigSet, Signal};
use std::io::{BufRead, BufReader, PipeReader, pipe};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

const EVENTS: u64 = 300;

fn event(seq: u64) -> CollectionEvent {
    let bytes = open(b"file\0etc\0", b"/etc/file\0", |_| {});
    let (hook, record) = Record::parse(bytes.get()).unwrap();
    let event = converter().event(hook, &record).unwrap();
    CollectionEvent::Kernel(Box::new(KernelEvent { seq, internal: false, ..*event }))
}

/// Emits its events, then ends the run.
struct Emits(ShutdownHandle);

#[async_trait]
impl EventSource for Emits {
    fn name(&self) -> &'static str {
        "emits"
    }

    fn capabilities(&self) -> SourceCaps {
        SourceCaps::all()
    }

    async fn start(&self, tx: mpsc::Sender<CollectionEvent>) -> anyhow::Result<()> {
        for seq in 0..EVENTS {
            tx.send(event(seq)).await?;
        }
        self.0.shutdown();
        tx.closed().await;
        Ok(())
    }

    async fn stop(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Runs the source into an output, in batches of 10.
fn run(out: impl Write + Send + 'static) -> RunReport {
    let config = CollectorConfig::new()
        .with_max_batch_size(10)
        .with_batch_timeout(Duration::ZERO)
        .with_shutdown_timeout(Duration::from_secs(5));
    let mut collector = Collector::new(config).without_signal_handling();
    collector.register(Box::new(Emits(collector.shutdown_handle()))).unwrap();
    collector.add_sink(Box::new(Output::new("test", Lines::Json(JsonEncoder::new()), out).unwrap()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(collector.run_to_report()).unwrap()
}

/// Takes a few bytes at a time, and so many in all.
#[derive(Clone, Default)]
struct Short {
    taken: Arc<Mutex<Vec<u8>>>,
    room: usize,
}

impl Short {
    fn with_room(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    fn text(&self) -> String {
        String::from_utf8(self.taken.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Short {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = self.taken.lock().unwrap();
        let count = bytes.len().min(100).min(self.room.saturating_sub(taken.len()));
        taken.extend_from_slice(&bytes[..count]);
        if count == 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(count) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Remembers how much it was given at once.
struct Widest(Arc<Mutex<usize>>);

impl Write for Widest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut widest = self.0.lock().unwrap();
        *widest = bytes.len().max(*widest);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_batch_of_long_lines_is_never_rendered_as_a_whole() {
    let requested = [&[1; 4000][..], &[0]].concat();
    let bytes = open(b"file\0etc\0", &requested, |_| {});
    let (hook, record) = Record::parse(bytes.get()).unwrap();
    let event = || CollectionEvent::Kernel(converter().event(hook, &record).unwrap());
    let batch: Vec<_> = std::iter::repeat_with(event).take(512).collect();
    let widest = Arc::default();
    let out = Widest(Arc::clone(&widest));
    let mut output = Output::new("test", Lines::Json(JsonEncoder::new()), out).unwrap();
    output.write(&batch).await.unwrap();
    let line = 6 * 4000 + 2000;
    let widest = *widest.lock().unwrap();
    assert!((BUFFER_KEPT_BYTES..BUFFER_KEPT_BYTES + PART_EVENTS * line).contains(&widest), "{widest}");
}

#[test]
fn what_a_full_device_refuses_is_booked_as_failed_and_none_of_it_as_delivered() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let report = run(Patient(full));
    assert_eq!(report.sources[0].delivered, 0);
    assert_eq!(report.sources[0].dropped, [("sink_failed".to_owned(), EVENTS)].into());
}

#[test]
fn delivered_lines_are_in_the_output_however_little_each_write_takes() {
    let short = Short::with_room(usize::MAX);
    let report = run(short.clone());
    let lines = short.text().lines().filter(|line| line.starts_with(r#"{"event":"open""#)).count();
    assert_eq!((report.sources[0].delivered, lines as u64), (EVENTS, EVENTS));
}

#[test]
fn an_output_that_fills_up_in_the_middle_has_each_delivered_line_and_each_other_is_booked_as_failed() {
    let short = Short::with_room(100_000);
    let report = run(short.clone());
    let source = &report.sources[0];
    let lines = short.text().lines().filter(|line| line.ends_with('}')).count() as u64;
    assert_eq!(source.delivered + source.dropped["sink_failed"], EVENTS);
    // Of the batch that did not fit, some lines stand there that are told as lost.
    assert!((source.delivered..source.delivered + 10).contains(&lines), "{lines}, {source:?}");
}

#[test]
fn a_pipe_whose_reader_leaves_ends_the_run_with_what_was_written_delivered() {
    // The test harness has undone that a program in Rust ignores it; the output's thread inherits the mask.
    SigSet::from_iter([Signal::SIGPIPE]).thread_block().unwrap();
    let (reader, writer) = pipe().unwrap();
    let written =
        Counted { pipe: Patient(File::from(std::os::fd::OwnedFd::from(writer))), lines: Arc::default() };
    let lines = Arc::clone(&written.lines);
    let reading = std::thread::spawn(move || read_lines(reader, 25));
    let report = run(written);
    assert_eq!(reading.join().unwrap(), 25);
    let source = &report.sources[0];
    // It can leave after the source has ended; then the run has, and every event has its place.
    let accounted = source.delivered + source.pending + source.dropped.values().sum::<u64>();
    assert!(
        matches!(&report.ended, EndReason::SinkClosed(sink) if sink == "test") || accounted == EVENTS,
        "{report:?}"
    );
    let delivered = source.delivered;
    let lines = *lines.lock().unwrap();
    assert!(delivered <= lines && lines < delivered + 10, "{delivered} delivered, {lines} written");
}

/// A pipe, and the whole lines that it took.
struct Counted {
    pipe: Patient,
    lines: Arc<Mutex<u64>>,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.pipe.write(bytes)?;
        *self.lines.lock().unwrap() += bytes[..count].iter().filter(|&&byte| byte == b'\n').count() as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read_lines(reader: PipeReader, count: usize) -> usize {
    BufReader::new(reader).lines().take(count).map_while(Result::ok).count()
}

/// Nobody reads: what the pipe holds is written at once, the rest waits for the reader and nothing but it.
#[test]
fn what_a_pipe_takes_at_once_and_what_waits_for_its_reader_arrive_whole_and_in_order() {
    const BATCHES: u64 = 6;
    // Of several parts: the pipe takes the first, a piece of the second, and none of the third.
    const EVENTS: u64 = PART_EVENTS as u64 * 5 / 2;
    let (reader, writer) = pipe().unwrap();
    let writer = File::from(std::os::fd::OwnedFd::from(writer));
    let at_once = Some(writer.try_clone().unwrap());
    let output = Output::new("test", Lines::Json(JsonEncoder::new()), Patient(writer)).unwrap();
    let mut output = Output { at_once, ..output };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut waiting = false;
    let mut reading = None;
    runtime.block_on(async {
        for batch in 0..BATCHES {
            let events: Vec<_> = (0..EVENTS).map(|n| event(batch * EVENTS + n)).collect();
            let mut write = std::pin::pin!(output.write(&events));
            if reading.is_none() && tokio::time::timeout(Duration::from_millis(100), &mut write).await.is_ok()
            {
                continue;
            }
            waiting = true;
            let reader = reader.try_clone().unwrap();
            reading.get_or_insert_with(|| std::thread::spawn(move || read_seqs(reader)));
            // It was ready before, or the reader makes room for it.
            let written = tokio::time::timeout(Duration::from_secs(20), write).await;
            written.expect("the reader makes room").unwrap();
        }
    });
    assert!(waiting, "{BATCHES} batches fit into the pipe");
    drop((output, reader));
    let seqs = reading.unwrap().join().unwrap();
    assert_eq!(seqs, (0..BATCHES * EVENTS).collect::<Vec<_>>());
}

fn read_seqs(reader: PipeReader) -> Vec<u64> {
    let lines = BufReader::new(reader).lines().map_while(Result::ok);
    let lines = lines.map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap());
    lines.map(|line| line["seq"].as_u64().unwrap()).collect()
}

#[test]
fn a_torn_line_does_not_damage_the_next_batch() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let short = Arc::new(Mutex::new(Short::with_room(10)));
    let mut output =
        Output::new("torn", Lines::Json(JsonEncoder::new()), Shared(Arc::clone(&short))).unwrap();
    assert!(matches!(runtime.block_on(output.write(&[event(0)])), Err(SinkError::Write { .. })));
    short.lock().unwrap().room = usize::MAX;
    runtime.block_on(output.write(&[event(1), event(2)])).unwrap();
    let text = short.lock().unwrap().text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0].len()), (3, 10));
    for line in &lines[1..] {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

struct Shared(Arc<Mutex<Short>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
