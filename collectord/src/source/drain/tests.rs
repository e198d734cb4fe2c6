//! The reader without a kernel: its counters lie in a file in memory, its records in fixtures.

use super::super::convert::fixtures::{Bytes, WALL_OFFSET_NS, converter, exit};
use super::*;
use crate::source::horizon::Processes;
use collector_common::{DROP_REASONS, StreamSlot};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::os::unix::fs::FileExt;
use zerocopy::IntoBytes;

pub(crate) const CPUS: usize = 2;
const PAGE_BYTES: u64 = 4096;

/// The counters that the kernel programs would write.
pub(crate) struct Counters(File);

impl Counters {
    pub(crate) fn new() -> Self {
        let file = File::from(memfd_create("counters", MFdFlags::empty()).unwrap());
        file.set_len(PAGE_BYTES).unwrap();
        Self(file)
    }

    pub(crate) fn set(&self, cpu: usize, hook: Hook, generated: u64, ring_full: u64) {
        let mut dropped = [0; DROP_REASONS];
        dropped[0] = ring_full;
        let slot = StreamSlot { generated, dropped, ..StreamSlot::default() };
        let at = (cpu * Hook::ALL.len() + hook as usize) * size_of::<StreamSlot>();
        self.0.write_all_at(slot.as_bytes(), at as u64).unwrap();
    }

    pub(crate) fn slots(&self) -> Slots {
        Slots::new(&self.0, CPUS, Hook::ALL.len()).unwrap()
    }
}

/// The exit record of the fixtures with another number and CPU.
fn numbered(seq: u64, cpu: u32) -> Bytes {
    exit(|record| {
        record.header.seq = seq;
        record.header.cpu = cpu;
    })
}

fn read(bytes: &Bytes, numbering: &mut Numbering, counters: &Counters) -> Result<Option<Gap>, String> {
    let read = read_record(bytes.get(), &mut converter(), numbering, &counters.slots());
    read.map(|read| read.gap).map_err(|error| error.to_string())
}

#[test]
fn what_the_canary_has_started_is_its_own() {
    let (counters, mut numbering) = (Counters::new(), Numbering::new(CPUS, 1));
    counters.set(0, Hook::Exit, 2, 0);
    for (seq, own) in [(0, true), (1, false)] {
        let bytes = exit(|record| {
            record.header.seq = seq;
            record.header.missing = if own { RECORD_OWN } else { 0 };
        });
        let read = read_record(bytes.get(), &mut converter(), &mut numbering, &counters.slots());
        assert_eq!(read.map(|read| read.own).ok(), Some(own));
    }
}

#[test]
fn a_gap_before_a_record_is_found_with_its_reason() {
    let (counters, mut numbering) = (Counters::new(), Numbering::new(CPUS, 1));
    counters.set(1, Hook::Exit, 3, 2);
    let gap = read(&numbered(2, 1), &mut numbering, &counters).unwrap().unwrap();
    assert_eq!((gap.cpu, gap.hook, gap.first_seq, gap.last_seq), (1, Hook::Exit, 0, 1));
    assert_eq!(gap.reasons, [("ring_full", 2)]);
}

#[test]
fn a_record_of_a_cpu_that_the_machine_cannot_have_is_refused() {
    let (counters, mut numbering) = (Counters::new(), Numbering::new(CPUS, 1));
    for cpu in [2, u32::MAX] {
        let error = read(&numbered(0, cpu), &mut numbering, &counters).unwrap_err();
        assert!(error.contains(&cpu.to_string()), "{error}");
    }
}

#[test]
fn a_number_that_came_before_or_was_not_given_is_refused() {
    let (counters, mut numbering) = (Counters::new(), Numbering::new(CPUS, 1));
    counters.set(0, Hook::Exit, 2, 0);
    assert_eq!(read(&numbered(0, 0), &mut numbering, &counters), Ok(None));
    assert!(read(&numbered(0, 0), &mut numbering, &counters).unwrap_err().contains("again"));
    for seq in [2, u64::MAX] {
        assert!(read(&numbered(seq, 0), &mut numbering, &counters).unwrap_err().contains("only 2"));
    }
    assert_eq!(read(&numbered(1, 0), &mut numbering, &counters), Ok(None));
}

#[test]
fn a_record_of_another_sources_hook_is_refused() {
    let mut foreign =
        Converter::new(vec![None; Hook::ALL.len()], Vec::new(), &collector_common::Offsets::NONE);
    let (counters, mut numbering) = (Counters::new(), Numbering::new(CPUS, 1));
    let read = read_record(numbered(0, 0).get(), &mut foreign, &mut numbering, &counters.slots());
    assert!(matches!(read, Err(RecordError::Hook(Hook::Exit))));
    assert!(numbering.is_settled(0, Hook::Exit, 0), "it takes no number of ours");
}

/// A reader without rings.
fn reader(counters: &Counters) -> (Reader, Arc<ReaderCounters>, Arc<StopSignal>) {
    let sleeping = Counters::new();
    let counted = Arc::new(ReaderCounters::default());
    let stop = Arc::new(StopSignal::new().unwrap());
    let slots = Arc::new(counters.slots());
    let processes =
        Processes { slots: Arc::clone(&slots), hooks: Hook::ALL.to_vec(), counters: Arc::clone(&counted) };
    let reader = Reader {
        class: Class::Process,
        hooks: Hook::ALL.to_vec(),
        rings: Vec::new(),
        slots,
        sleeping: MappedWords::new(&sleeping.0, 1, true).unwrap(),
        converter: converter(),
        counters: Arc::clone(&counted),
        stop: Arc::clone(&stop),
        numbering: Numbering::new(CPUS, 1),
        order: InOrder::default(),
        horizon: Arc::new(Horizon::new(processes).unwrap()),
        self_pid: 0,
        canary: None,
        cpus: None,
    };
    (reader, counted, stop)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
}

/// The event of the record with this number.
fn waiting(seq: u64) -> Waiting {
    let bytes = numbered(seq, 0);
    let (hook, record) = Record::parse(bytes.get()).unwrap();
    Waiting::Event(converter().event(hook, &record).unwrap())
}

fn gap_of(event: Option<CollectionEvent>) -> (LossGap, u64, Vec<(String, u64)>) {
    let Some(CollectionEvent::Loss(loss)) = event else { panic!("{event:?}") };
    (loss.gap.unwrap(), loss.count, loss.reasons.into_iter().collect())
}

#[test]
fn losses_that_no_event_shows_are_told_while_it_runs_and_the_rest_at_the_stop() {
    let (counters, runtime) = (Counters::new(), runtime());
    let (reader, counted, stop) = reader(&counters);
    // All lost on CPU 0; on CPU 1 a number is on its way that will not come.
    counters.set(0, Hook::Exec, 5, 5);
    counters.set(1, Hook::Fork, 3, 2);
    let (tx, mut rx) = mpsc::channel(1);
    let handle = runtime.handle().clone();
    let thread = std::thread::spawn(move || reader.run(&tx, &handle));
    let (gap, count, reasons) = gap_of(rx.blocking_recv());
    assert_eq!((gap.stream.as_str(), gap.cpu, gap.first_seq, gap.last_seq, count), ("exec", 0, 0, 4, 5));
    assert_eq!(reasons, [("ring_full".to_owned(), 5)]);
    counters.set(0, Hook::Exec, 7, 7);
    let (gap, ..) = gap_of(rx.blocking_recv());
    assert_eq!((gap.first_seq, gap.last_seq), (5, 6));
    assert!(!counted.drained.load(Ordering::Acquire), "it was not told to stop");
    let stopped_ns = boot_ns();
    stop.stop();
    let (gap, count, reasons) = gap_of(rx.blocking_recv());
    assert!(boot_ns() >= stopped_ns + SETTLE_NS, "what is on its way has time to come");
    assert_eq!((gap.stream.as_str(), gap.cpu, gap.first_seq, gap.last_seq, count), ("fork", 1, 0, 2, 3));
    assert_eq!(reasons, [("ring_full".to_owned(), 2), ("unexplained".to_owned(), 1)]);
    let Some(CollectionEvent::Error(fault)) = rx.blocking_recv() else {
        panic!("it is a fault of the books")
    };
    assert_eq!(fault.code, ErrorCode::Accounting);
    assert_eq!(rx.blocking_recv(), None);
    thread.join().unwrap();
    assert!(counted.drained.load(Ordering::Acquire));
    assert_eq!(counted.sent.load(Ordering::Acquire), 0, "a loss is no event of the books");
}

#[test]
fn a_loss_says_which_numbers_how_many_and_between_which_times() {
    let reasons = vec![("ring_full", 2), ("no_ring", 1)];
    let (first_seq, last_seq, after_ns, before_ns) = (7, 9, 1_000, 2_000);
    let gap = Gap { cpu: 1, hook: Hook::Exit, first_seq, last_seq, reasons, after_ns, before_ns };
    let CollectionEvent::Loss(loss) = loss(Class::Process, &gap, &converter()) else { panic!() };
    let wall = |ns| SystemTime::UNIX_EPOCH + Duration::from_nanos(WALL_OFFSET_NS + ns);
    assert_eq!((loss.t_first, loss.t_last, loss.count), (wall(1_000), wall(2_000), 3));
    assert_eq!(loss.gap.map(|gap| (gap.cpu, gap.first_seq, gap.last_seq)), Some((1, 7, 9)));
    assert_eq!(loss.reasons.values().sum::<u64>(), 3);
}

#[test]
fn a_closed_queue_ends_it_undrained() {
    let (counters, runtime) = (Counters::new(), runtime());
    let (reader, counted, _stop) = reader(&counters);
    counters.set(0, Hook::Exec, 5, 5);
    let (tx, rx) = mpsc::channel(1);
    drop(rx);
    reader.run(&tx, runtime.handle());
    assert!(!counted.drained.load(Ordering::Acquire));
}

#[test]
fn a_batch_larger_than_the_queue_waits_for_room_and_keeps_its_order() {
    let (counters, runtime) = (Counters::new(), runtime());
    let (reader, counted, _stop) = reader(&counters);
    const EVENTS: u64 = 100;
    let mut batch: Vec<_> = (0..EVENTS).map(waiting).collect();
    let (tx, mut rx) = mpsc::channel(7);
    let handle = runtime.handle().clone();
    let thread = std::thread::spawn(move || {
        assert!(reader.send(&mut batch, &tx, &handle).is_ok());
        assert!(batch.is_empty());
    });
    for seq in 0..EVENTS {
        let Some(CollectionEvent::Kernel(event)) = rx.blocking_recv() else {
            panic!("event {seq} is missing")
        };
        assert_eq!(event.seq, seq);
    }
    thread.join().unwrap();
    assert_eq!(counted.sent.load(Ordering::Acquire), EVENTS);
}

#[test]
fn other_classes_hand_on_what_happened_before_the_process_class_has_come() {
    let (counters, runtime) = (Counters::new(), runtime());
    let (mut processes, ..) = reader(&counters);
    let (mut files, ..) = reader(&counters);
    files.class = Class::File;
    files.horizon = Arc::clone(&processes.horizon);
    let (tx, mut rx) = mpsc::channel(9);
    let mut hand_on = |reader: &mut Reader, complete_ns| {
        let all = reader.hand_on(complete_ns, &mut Vec::new(), &tx, runtime.handle());
        let told = std::iter::from_fn(|| rx.try_recv().ok()).count();
        (all.unwrap_or_else(|QueueClosed| panic!("it is open")), told)
    };
    for ktime_ns in [10, 20, 30] {
        files.order.push(ktime_ns, waiting(ktime_ns));
    }
    let horizon = Arc::clone(&processes.horizon);
    let lead = horizon.lead();
    counters.set(0, Hook::Exec, 2, 0);
    assert_eq!(hand_on(&mut files, 100), (false, 0));
    let (mut idle, ..) = reader(&counters);
    (idle.class, idle.horizon) = (Class::File, Arc::clone(&processes.horizon));
    assert_eq!(hand_on(&mut idle, 100), (true, 0), "who holds nothing waits for nobody");
    processes.order.push(15, waiting(0));
    assert_eq!(hand_on(&mut processes, 20), (true, 1));
    assert_eq!(hand_on(&mut files, 100), (false, 2));
    drop(lead);
    assert_eq!(hand_on(&mut files, 100), (true, 1), "nobody leads any more");
}

#[test]
fn what_it_holds_at_the_stop_follows_what_the_process_class_still_hands_on() {
    let (counters, runtime) = (Counters::new(), runtime());
    let (processes, ..) = reader(&counters);
    let (mut files, _, stop) = reader(&counters);
    (files.class, files.horizon) = (Class::File, Arc::clone(&processes.horizon));
    files.order.push(10, waiting(10));
    counters.set(0, Hook::Exec, 1, 0);
    let (tx, mut rx) = mpsc::channel(9);
    let (of_processes, handle) = (tx.clone(), runtime.handle().clone());
    let lead = processes.horizon.lead();
    stop.stop();
    let thread = std::thread::spawn(move || files.run(&tx, &handle));
    // It looks once while programs may still run, and at its end; what asks again then does wait.
    let mut asked = 0;
    while asked < 3 {
        assert!(!thread.is_finished(), "it did not wait");
        asked += u32::from(processes.horizon.take_asked());
        std::thread::yield_now();
    }
    assert!(processes.send(&mut vec![waiting(0)], &of_processes, runtime.handle()).is_ok());
    drop(lead);
    thread.join().unwrap();
    let seqs = std::iter::from_fn(|| rx.try_recv().ok()).filter_map(|event| match event {
        CollectionEvent::Kernel(event) => Some(event.seq),
        _ => None,
    });
    assert_eq!(seqs.collect::<Vec<_>>(), [0, 10]);
}
