use super::*;
use crate::backpressure::BackpressurePolicies;
use crate::config::CollectorConfig;
use crate::event::ProcessEvent;
use std::task::Waker;
use std::time::Duration;

fn event(pid: u32) -> CollectionEvent {
    CollectionEvent::Process(ProcessEvent { pid, ..ProcessEvent::default() })
}

fn intake(channels: Vec<mpsc::Receiver<CollectionEvent>>) -> (Intake, Vec<SourceBooks>, Arc<Live>) {
    let caps = vec![SourceCaps::PROCESS; channels.len()];
    intake_of(channels, caps)
}

fn intake_of(
    channels: Vec<mpsc::Receiver<CollectionEvent>>,
    caps: Vec<SourceCaps>,
) -> (Intake, Vec<SourceBooks>, Arc<Live>) {
    let names = ["a", "b", "c"].into_iter().take(channels.len());
    let live = Live::new(
        &CollectorConfig::new().with_backpressure_threshold(20),
        names,
        std::iter::empty(),
        1024 * 1024,
        tokio::sync::watch::Sender::new(None),
    );
    let live = Arc::new(live);
    let limits = StageLimits {
        events_max: 50,
        bytes_max: 1024 * 1024,
        threshold: 20,
        wait_max: Duration::from_millis(500),
        policies: BackpressurePolicies::default(),
    };
    let books = vec![SourceBooks::default(); channels.len()];
    (Intake::new(channels, caps.into_iter(), limits, Arc::clone(&live)), books, live)
}

fn turn(intake: &mut Intake, books: &mut [SourceBooks]) -> Option<(usize, Vec<CollectionEvent>)> {
    let mut events = Vec::new();
    match intake.poll_turn(&mut Context::from_waker(Waker::noop()), books, &mut events, 10) {
        Poll::Ready(source) => Some((source, events)),
        Poll::Pending => None,
    }
}

#[test]
fn a_queue_is_divided_without_losing_a_place() {
    assert_eq!([1, 2, 10, 1000].map(divide), [(1, 1), (1, 1), (5, 5), (500, 500)]);
}

#[test]
fn a_flood_takes_one_share_before_each_other_source_had_its_turn() {
    let (flood, flood_rx) = mpsc::channel(100);
    let (quiet, quiet_rx) = mpsc::channel(100);
    for pid in 0..100 {
        flood.try_send(event(pid)).unwrap();
    }
    quiet.try_send(event(7)).unwrap();
    let (mut intake, mut books, _) = intake(vec![flood_rx, quiet_rx]);
    let turns: Vec<_> = (0..3)
        .map(|_| turn(&mut intake, &mut books).map(|(source, events)| (source, events.len())).unwrap())
        .collect();
    assert_eq!(turns, [(0, 10), (1, 1), (0, 10)]);
}

/// As of the kernel's classes: a storm of opens must not delay an exec much.
#[test]
fn a_higher_lane_goes_first_and_the_lowest_is_not_starved() {
    let (file, file_rx) = mpsc::channel(1000);
    let (measured, measured_rx) = mpsc::channel(1000);
    let (process, process_rx) = mpsc::channel(1000);
    let caps = vec![
        SourceCaps::FILESYSTEM | SourceCaps::REALTIME,
        SourceCaps::PERFORMANCE,
        SourceCaps::PROCESS | SourceCaps::FILESYSTEM,
    ];
    let (mut intake, mut books, _) = intake_of(vec![file_rx, measured_rx, process_rx], caps);
    for pid in 0..1000 {
        for source in [&file, &measured] {
            source.try_send(event(pid)).unwrap();
        }
    }
    let mut next = || turn(&mut intake, &mut books).unwrap().0;
    assert_eq!([next(), next()], [0, 0], "nothing higher waits");
    process.try_send(event(1)).unwrap();
    assert_eq!(next(), 2, "it is behind no more than the turn under way");
    for pid in 0..999 {
        process.try_send(event(pid)).unwrap();
    }
    let turns: Vec<_> = (0..100).map(|_| next()).collect();
    let share = |source| turns.iter().filter(|&&of| of == source).count();
    assert!((75..85).contains(&share(2)), "{turns:?}");
    assert!(share(0) >= 12 && share(1) >= 3, "{turns:?}");
    let waits = turns.split(|&source| source == 1).map(<[usize]>::len).max();
    let most = (LANE_TURNS_MAX + 1).pow(2) - 1;
    assert!(waits <= usize::try_from(most).ok(), "{turns:?}");
}

/// The process table has to have an exec before what the program opens.
#[tokio::test(start_paused = true)]
async fn turns_while_nothing_lower_waited_do_not_put_a_lane_behind() {
    let (process, process_rx) = mpsc::channel(100);
    let (file, file_rx) = mpsc::channel(100);
    let (mut intake, mut books, _) =
        intake_of(vec![process_rx, file_rx], vec![SourceCaps::PROCESS, SourceCaps::FILESYSTEM]);
    let pause = || tokio::time::sleep(Duration::from_millis(100));
    for pid in 0..2 * LANE_TURNS_MAX {
        process.try_send(event(pid)).unwrap();
        assert_eq!(turn(&mut intake, &mut books).unwrap().0, 0);
        pause().await;
    }
    process.try_send(event(1)).unwrap();
    file.try_send(event(2)).unwrap();
    assert_eq!([(); 2].map(|()| turn(&mut intake, &mut books).unwrap().0), [0, 1]);
}

/// A task that has had its share of time gets nothing from channels, but what waits behind them it would.
#[tokio::test]
async fn what_waits_in_a_stage_does_not_overtake_a_higher_lanes_channel() {
    let (process, process_rx) = mpsc::channel(100);
    let (file, file_rx) = mpsc::channel(100);
    let (mut intake, mut books, _) =
        intake_of(vec![process_rx, file_rx], vec![SourceCaps::PROCESS, SourceCaps::FILESYSTEM]);
    file.try_send(event(2)).unwrap();
    intake.fill_during(&mut books, true, tokio::task::yield_now(), |_| Poll::Pending).await;
    assert_eq!(intake.inlets[1].stage.len(), 1);
    process.try_send(event(1)).unwrap();
    while tokio::task::coop::has_budget_remaining() {
        tokio::task::coop::consume_budget().await;
    }
    assert!(turn(&mut intake, &mut books).is_none());
    tokio::task::yield_now().await;
    assert_eq!([(); 2].map(|()| turn(&mut intake, &mut books).unwrap().0), [0, 1]);
}

/// At the end nothing may be dropped for want of room any more.
#[tokio::test(start_paused = true)]
async fn nothing_is_read_during_a_wait_that_reads_no_more() {
    let (sender, receiver) = mpsc::channel(100);
    let (mut intake, mut books, _) = intake(vec![receiver]);
    for pid in 0..100 {
        sender.try_send(event(pid)).unwrap();
    }
    let stalled = tokio::time::sleep(Duration::from_secs(10));
    intake.fill_during(&mut books, false, stalled, |_| Poll::Pending).await;
    assert_eq!((intake.inlets[0].stage.len(), sender.capacity()), (0, 0));
}

/// While the sinks are busy each source fills a queue of its own.
#[tokio::test(start_paused = true)]
async fn a_flood_fills_its_own_queue_and_leaves_another_its_place_and_order() {
    let (flood, flood_rx) = mpsc::channel(100);
    let (quiet, quiet_rx) = mpsc::channel(100);
    let (mut intake, mut books, live) = intake(vec![flood_rx, quiet_rx]);
    for pid in 0..100 {
        flood.try_send(event(pid)).unwrap();
    }
    for pid in 0..40 {
        quiet.try_send(event(pid)).unwrap();
    }
    let stalled = tokio::time::sleep(Duration::from_millis(100));
    intake.fill_during(&mut books, true, stalled, |_| Poll::Pending).await;
    assert_eq!(intake.inlets[0].stage.len(), 51, "the queue, and one held");
    assert_eq!(intake.inlets[1].stage.len(), 40);
    assert_eq!(live.source(0).queued_events(), 100);
    let pressure = live.health().sources.into_iter().map(|source| source.reasons[0].text.clone());
    assert!(pressure.eq(["its queue is full", "its queue has reached 20 events"]));
    let mut quiets = Vec::new();
    while let Some((source, events)) = turn(&mut intake, &mut books) {
        if source == 1 {
            quiets.extend(events);
        }
    }
    assert!(quiets.into_iter().eq((0..40).map(event)));
    assert_eq!(live.source(0).received(), 100);
    assert!(live.health().sources.iter().all(|source| source.reasons.is_empty()));
}

/// 500 ms of a sink that takes nothing is as long as a source is made to wait.
#[tokio::test(start_paused = true)]
async fn a_stalled_sink_holds_a_source_for_the_configured_wait_and_not_longer() {
    let (tx, rx) = mpsc::channel(10);
    let (mut intake, mut books, live) = intake(vec![rx]);
    let begun = Instant::now();
    let source = tokio::spawn(async move {
        for pid in 0..200 {
            tx.send(event(pid)).await.unwrap();
        }
        begun.elapsed()
    });
    let stalled = tokio::time::sleep(Duration::from_secs(2));
    intake.fill_during(&mut books, true, stalled, |_| Poll::Pending).await;
    let waited = tokio::time::timeout(Duration::from_secs(60), source).await.expect("it is let go").unwrap();
    assert!((Duration::from_millis(500)..Duration::from_millis(510)).contains(&waited), "{waited:?}");
    let dropped = books[0].all().dropped_for(super::super::books::DropReason::Backpressure);
    assert_eq!((live.source(0).received(), dropped), (200, 150));
    let reasons: Vec<_> = live.health().sources[0].reasons.iter().map(|reason| reason.text.clone()).collect();
    assert_eq!(reasons, ["its queue has reached 20 events", "events are dropped for want of room"]);
    while turn(&mut intake, &mut books).is_some() {}
    assert!(live.health().sources[0].reasons.is_empty(), "told on although the sink takes events again");
}

#[test]
fn the_rest_is_read_completely_although_a_place_is_reserved() {
    let (tx, rx) = mpsc::channel(10);
    for pid in 0..5 {
        tx.try_send(event(pid)).unwrap();
    }
    let _permit = tx.try_reserve().unwrap();
    let (mut intake, mut books, live) = intake(vec![rx]);
    intake.close();
    let mut shares = Vec::new();
    loop {
        let mut events = Vec::new();
        let Some(source) = intake.take_rest(&mut books, &mut events, 3) else { break };
        shares.push((source, events.len()));
    }
    assert_eq!(shares, [(0, 3), (0, 2)]);
    assert_eq!(live.source(0).received(), 5);
}

/// A waker that counts.
#[derive(Default)]
struct Wakeups(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Wakeups {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_after_a_turn_of_few_events_wakes_nobody_and_is_read_together() {
    let (sender, receiver) = mpsc::channel(100);
    let (mut intake, mut books, _) = intake(vec![receiver]);
    let wakeups = Arc::new(Wakeups::default());
    let waker = Waker::from(Arc::clone(&wakeups));
    let mut turn = || {
        let mut events = Vec::new();
        let turn = intake.poll_turn(&mut Context::from_waker(&waker), &mut books, &mut events, 50);
        turn.is_ready().then_some(events.len())
    };
    let woken = || wakeups.0.load(std::sync::atomic::Ordering::Relaxed);
    sender.try_send(event(0)).unwrap();
    assert_eq!((turn(), turn()), (Some(1), None));
    for pid in 1..20 {
        sender.try_send(event(pid)).unwrap();
    }
    assert_eq!((woken(), turn()), (0, None));
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(woken(), 1, "the moment is over");
    // Many: what comes next is asked for at once.
    assert_eq!((turn(), turn(), woken()), (Some(19), None, 1));
    sender.try_send(event(20)).unwrap();
    assert_eq!((woken(), turn()), (2, Some(1)));
}
