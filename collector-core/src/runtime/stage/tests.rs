use super::*;
use crate::event::{EventClass, FilesystemEvent, LossGap, Origin, PerformanceEvent, ProcessEvent};
use crate::source::SourceCaps;
use crate::test_events::kernel_event;

const WAIT: Duration = Duration::from_millis(500);

fn stage(events_max: usize, policies: BackpressurePolicies) -> Stage {
    let bytes_max = 1024 * 1024;
    Stage::new(StageLimits { events_max, bytes_max, threshold: 4, wait_max: WAIT, policies })
}

fn process(pid: u32) -> CollectionEvent {
    CollectionEvent::Process(ProcessEvent { pid, ..ProcessEvent::default() })
}

fn file() -> CollectionEvent {
    CollectionEvent::Filesystem(FilesystemEvent::default())
}

fn measurement() -> CollectionEvent {
    CollectionEvent::Performance(PerformanceEvent::default())
}

fn numbered(seq: u64) -> CollectionEvent {
    CollectionEvent::Kernel(Box::new(kernel_event(seq)))
}

/// One that a source tells.
fn loss(count: u64) -> CollectionEvent {
    let gap = LossGap { stream: "s".to_owned(), cpu: 0, first_seq: 0, last_seq: count - 1 };
    let (class, gap, t) = (EventClass::Process, Some(gap), std::time::SystemTime::UNIX_EPOCH);
    let reasons = [("ring_full".to_owned(), count)].into();
    CollectionEvent::Loss(Box::new(LossEvent { class, gap, count, t_first: t, t_last: t, reasons }))
}

fn dropped(books: &SourceBooks) -> u64 {
    books.all().dropped_for(DropReason::Backpressure)
}

fn taken(stage: &mut Stage, books: &mut SourceBooks) -> Vec<CollectionEvent> {
    let mut events = Vec::new();
    while !stage.is_empty() {
        stage.take(10, Instant::now(), books, &mut events);
    }
    events
}

#[test]
fn an_event_without_room_waits_its_time_and_is_dropped_and_booked() {
    let (mut stage, mut books) = (stage(2, BackpressurePolicies::default()), SourceBooks::default());
    let start = Instant::now();
    for pid in 0..3 {
        stage.offer(process(pid), 0, start, &mut books);
    }
    assert!(!stage.reads(), "the third is held, and the channel waits behind it");
    assert_eq!(stage.drops_at(), Some(start + WAIT));
    stage.retry(start + WAIT - Duration::from_millis(1), &mut books);
    assert_eq!((stage.reads(), dropped(&books)), (false, 0));
    stage.retry(start + WAIT, &mut books);
    assert_eq!((stage.reads(), dropped(&books)), (true, 1));
    stage.offer(process(3), 0, start + WAIT, &mut books);
    assert_eq!((stage.reads(), dropped(&books)), (true, 2), "nothing waits again until there was room");
    assert_eq!(taken(&mut stage, &mut books), [process(0), process(1)]);
}

#[test]
fn room_in_time_saves_the_event_that_waits() {
    let (mut stage, mut books) = (stage(2, BackpressurePolicies::default()), SourceBooks::default());
    let start = Instant::now();
    for pid in 0..3 {
        stage.offer(process(pid), 0, start, &mut books);
    }
    let mut events = Vec::new();
    stage.take(1, start + WAIT, &mut books, &mut events);
    assert!(stage.reads());
    stage.offer(process(3), 0, start + WAIT, &mut books);
    stage.retry(start + WAIT + WAIT / 2, &mut books);
    assert!(!stage.reads(), "its own time has begun with the new shortage");
    events.extend(taken(&mut stage, &mut books));
    assert_eq!(events, [process(0), process(1), process(2), process(3)]);
    assert_eq!(dropped(&books), 0);
}

#[test]
fn what_waits_for_ever_is_never_dropped() {
    let (mut stage, mut books) = (stage(1, BackpressurePolicies::default()), SourceBooks::default());
    let start = Instant::now();
    for seq in 0..2 {
        stage.offer(numbered(seq), 0, start, &mut books);
    }
    stage.retry(start + WAIT * 1000, &mut books);
    assert_eq!((stage.reads(), stage.drops_at(), dropped(&books)), (false, None, 0));
    assert_eq!(taken(&mut stage, &mut books), [numbered(0), numbered(1)]);
}

#[test]
fn bytes_bound_it_as_well_and_an_event_larger_than_all_is_refused() {
    let (mut stage, mut books) = (stage(1000, BackpressurePolicies::default()), SourceBooks::default());
    let now = Instant::now();
    let big = |len: usize| {
        CollectionEvent::Process(ProcessEvent { name: "n".repeat(len), ..ProcessEvent::default() })
    };
    for _ in 0..3 {
        stage.offer(big(400_000), 0, now, &mut books);
        assert!(stage.bytes() <= stage.limits.bytes_max, "{}", stage.bytes());
    }
    assert_eq!((stage.len(), stage.reads()), (3, false), "two in the queue and one held");
    let mut other = Stage::new(stage.limits);
    other.offer(big(1024 * 1024), 0, now, &mut books);
    assert_eq!((other.len(), books.all().dropped_for(DropReason::Oversize)), (0, 1));
    let besides = big(0).size_hint();
    other.offer(big(stage.limits.bytes_max - besides), 0, now, &mut books);
    assert_eq!((other.len(), other.reads()), (1, true), "one that fills all of it has room");
}

/// All that the next decision goes by.
fn check_sums(stage: &Stage) {
    let bytes: usize = stage.queue.iter().map(|waiting| waiting.bytes).sum();
    let mut of_priority = [0; PRIORITY_LOWEST + 1];
    stage.queue.iter().for_each(|waiting| of_priority[waiting.priority] += 1);
    assert_eq!((stage.bytes, stage.of_priority), (bytes, of_priority));
}

#[test]
fn its_sums_are_those_of_what_is_in_it() {
    let policies =
        BackpressurePolicies::default().with_domains(SourceCaps::FILESYSTEM, BackpressurePolicy::Drop);
    let (mut stage, mut books) = (stage(3, policies), SourceBooks::default());
    let (now, mut events) = (Instant::now(), Vec::new());
    for event in [file(), numbered(1), file(), process(1), process(2), numbered(2), measurement()] {
        stage.offer(event, 0, now, &mut books);
        check_sums(&stage);
    }
    assert_eq!(dropped(&books), 2, "the files have made room");
    while !stage.is_empty() {
        stage.take(1, now, &mut books, &mut events);
        check_sums(&stage);
    }
    assert_eq!(stage.bytes, 0);
}

#[test]
fn what_waits_for_ever_makes_no_room_for_a_higher_one() {
    let mut of_file = kernel_event(1);
    let origin = Origin { class: EventClass::File, ..of_file.origin.as_ref().clone() };
    of_file.origin = std::sync::Arc::new(origin);
    let of_file = CollectionEvent::Kernel(Box::new(of_file));
    let (mut stage, mut books) = (stage(1, BackpressurePolicies::default()), SourceBooks::default());
    let start = Instant::now();
    stage.offer(of_file.clone(), 0, start, &mut books);
    stage.offer(process(1), 0, start, &mut books);
    stage.retry(start + WAIT, &mut books);
    assert_eq!(dropped(&books), 1, "the higher one goes, as its policy says");
    assert_eq!(taken(&mut stage, &mut books)[0], of_file);
}

#[test]
fn the_newest_of_the_lowest_priority_makes_room_for_a_higher_one() {
    let policies = BackpressurePolicies::default()
        .with_domains(SourceCaps::FILESYSTEM | SourceCaps::PERFORMANCE, BackpressurePolicy::Drop);
    let (mut stage, mut books) = (stage(4, policies), SourceBooks::default());
    let now = Instant::now();
    for event in [measurement(), file(), measurement(), process(1)] {
        stage.offer(event, 0, now, &mut books);
    }
    stage.offer(process(2), 0, now, &mut books);
    assert_eq!(dropped(&books), 1);
    assert_eq!(taken(&mut stage, &mut books), [measurement(), file(), process(1), process(2)]);
}

#[test]
fn an_event_puts_none_of_its_own_priority_out() {
    let (mut stage, mut books) = (stage(1, BackpressurePolicies::default()), SourceBooks::default());
    let start = Instant::now();
    stage.offer(process(1), 0, start, &mut books);
    stage.offer(process(2), 0, start, &mut books);
    stage.retry(start + WAIT, &mut books);
    assert_eq!(taken(&mut stage, &mut books), [process(1)], "the newest goes");
}

#[test]
fn what_never_waits_is_dropped_from_the_threshold_on() {
    let policies =
        BackpressurePolicies::default().with_domains(SourceCaps::PERFORMANCE, BackpressurePolicy::Drop);
    let (mut stage, mut books) = (stage(100, policies), SourceBooks::default());
    let now = Instant::now();
    for _ in 0..10 {
        stage.offer(measurement(), 0, now, &mut books);
    }
    assert_eq!((stage.len(), dropped(&books)), (4, 6));
    stage.offer(process(1), 0, now, &mut books);
    assert_eq!(stage.len(), 5, "room beyond the threshold is for others");
    let mut behind = Stage::new(stage.limits);
    behind.offer(measurement(), 4, now, &mut books);
    assert_eq!(behind.len(), 0, "what is still in the channel counts");
}

/// A stream with holes that are not told just before what follows them breaks the contract.
#[test]
fn losses_stand_where_the_dropped_events_would_have_been() {
    let policies =
        BackpressurePolicies::default().with_numbered(EventClass::Process, BackpressurePolicy::WaitThenDrop);
    let (mut stage, mut books) = (stage(3, policies), SourceBooks::default());
    let start = Instant::now();
    let mut events = Vec::new();
    for seq in 0..50 {
        let now = start + WAIT * u32::try_from(seq).unwrap();
        stage.retry(now, &mut books);
        stage.offer(numbered(seq), 0, now, &mut books);
        if seq % 7 == 6 {
            stage.take(2, now, &mut books, &mut events);
        }
    }
    stage.retry(start + WAIT * 100, &mut books);
    events.extend(taken(&mut stage, &mut books));
    let (mut next, mut lost) = (0, 0);
    for event in &events {
        match event {
            CollectionEvent::Kernel(event) => {
                assert_eq!(event.seq, next, "a hole that was not told before");
                next += 1;
            }
            CollectionEvent::Loss(loss) => {
                let gap = loss.gap.as_ref().unwrap();
                assert_eq!(gap.first_seq, next);
                next = gap.last_seq + 1;
                lost += loss.count;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((next, lost), (50, dropped(&books)));
    assert!(lost > 10, "{lost}");
}

/// It would have no bound, and only the runtime tells it.
#[test]
fn coverage_from_a_source_never_waits_and_is_a_violation() {
    let (mut stage, mut books) = (stage(4, BackpressurePolicies::default()), SourceBooks::default());
    let coverage = crate::event::CoverageEvent {
        kernel: "k".repeat(1 << 20),
        classes: std::collections::BTreeMap::new(),
        timestamp: std::time::SystemTime::UNIX_EPOCH,
    };
    stage.offer(CollectionEvent::Coverage(Box::new(coverage)), 0, Instant::now(), &mut books);
    assert!(stage.is_empty());
    assert_eq!(books.all().dropped_for(DropReason::CapabilityViolation), 1);
}

/// The channel does not wait behind it: what is told of losses has its own place in the bound.
#[test]
fn losses_without_room_wait_in_their_place_and_in_the_bound() {
    let (mut stage, mut books) = (stage(1, BackpressurePolicies::default()), SourceBooks::default());
    stage.offer(process(1), 0, Instant::now(), &mut books);
    for count in 1..=3 {
        stage.offer(loss(count), 0, Instant::now(), &mut books);
        assert!(stage.reads());
    }
    let room = stage.limits.bytes_max - stage.bytes - 3 * LOSS_BYTES;
    stage.limits.events_max = 9;
    assert!(stage.has_room(room) && !stage.has_room(room + 1));
    assert_eq!(taken(&mut stage, &mut books), [process(1), loss(1), loss(2), loss(3)]);
}

#[test]
fn an_event_that_needs_all_the_room_follows_the_losses_before_it() {
    let (mut stage, mut books) = (stage(1, BackpressurePolicies::default()), SourceBooks::default());
    let start = Instant::now();
    let name = "n".repeat(stage.limits.bytes_max - process(0).size_hint());
    let largest = CollectionEvent::Process(ProcessEvent { name, ..ProcessEvent::default() });
    for event in [process(1), loss(7), largest.clone()] {
        stage.offer(event, 0, start, &mut books);
    }
    let mut events = Vec::new();
    for _ in 0..2 {
        stage.take(10, start, &mut books, &mut events);
    }
    assert!(events == [process(1), loss(7), largest], "{} events, {} wait", events.len(), stage.len());
}

#[test]
fn a_loss_that_is_larger_than_one_of_ours_waits_like_any_event() {
    let (mut stage, mut books) = (stage(1, BackpressurePolicies::default()), SourceBooks::default());
    let now = std::time::SystemTime::UNIX_EPOCH;
    let large = CollectionEvent::Loss(Box::new(LossEvent {
        class: EventClass::Process,
        gap: None,
        count: 1,
        t_first: now,
        t_last: now,
        reasons: [("r".repeat(1000), 1)].into(),
    }));
    stage.offer(process(1), 0, Instant::now(), &mut books);
    stage.offer(large.clone(), 0, Instant::now(), &mut books);
    assert!(!stage.reads(), "what waits outside of the queue's bound is one event");
    assert_eq!(taken(&mut stage, &mut books), [process(1), large]);
}
