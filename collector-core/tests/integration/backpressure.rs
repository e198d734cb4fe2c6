//! A sink that takes nothing: who waits, who is dropped, and what memory holds meanwhile.

use crate::support::{Behaviour, TestSink, TestSource, collector, config, numbered, run};
use collector_core::event::EventClass;
use collector_core::{
    BackpressurePolicies, BackpressurePolicy, CollectionEvent, PerformanceEvent, ProcessEvent,
    QUEUE_BYTES_MIN, SourceCaps,
};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// Sends measurements as fast as it may.
fn measures(name: &'static str, text: usize) -> TestSource {
    let source = TestSource::new(name, move |feed| async move {
        while !feed.is_stopped() {
            let event = PerformanceEvent { unit: "x".repeat(text), ..PerformanceEvent::default() };
            if feed.tx.send(CollectionEvent::Performance(event)).await.is_err() {
                break;
            }
            feed.ledger.missed.fetch_add(1, SeqCst);
            tokio::task::yield_now().await;
        }
        Ok(())
    });
    source.caps(SourceCaps::PERFORMANCE).without_books()
}

#[tokio::test(start_paused = true)]
async fn numbered_events_wait_for_a_stalled_sink_however_long_and_are_all_there() {
    let source = TestSource::sends("fast", 2_000);
    let ledger = source.ledger();
    let mut collector = collector(config().with_event_buffer_size(100).with_max_batch_size(10));
    collector.register(Box::new(source)).unwrap();
    let (sink, mut recorded) = TestSink::new("slow", Behaviour::Slow(Duration::from_secs(60)));
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run_without_deadline(collector));
    tokio::time::sleep(Duration::from_secs(59)).await;
    let ahead = ledger.decoded.load(SeqCst);
    assert!(
        ahead <= 100 + 10 + 10 + 2,
        "{ahead} events ahead: a queue, a batch, an inbox, one held, one waiting"
    );
    // Longer than any deadline of the helper, in time that only passes when nothing else can happen.
    tokio::time::sleep(Duration::from_secs(60 * 300)).await;
    recorded.until_events(2_001).await;
    handle.shutdown();
    let report = running.await.unwrap();
    assert_eq!((report.sources[0].delivered, report.sources[0].dropped.len()), (2_000, 0));
    assert_eq!(report.imbalances, []);
}

async fn run_without_deadline(collector: collector_core::Collector) -> collector_core::RunReport {
    collector.run_to_report().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn dropped_numbers_are_booked_and_told_where_they_were() {
    let policies =
        BackpressurePolicies::default().with_numbered(EventClass::Process, BackpressurePolicy::WaitThenDrop);
    let source = TestSource::new("numbered", |feed| async move {
        for _ in 0..400 {
            feed.send(1).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        feed.stopped().await;
        Ok(())
    });
    let config = config().with_event_buffer_size(20).with_max_batch_size(10);
    let mut collector = collector(config).with_backpressure_policies(policies);
    collector.register(Box::new(source)).unwrap();
    let (sink, recorded) = TestSink::new("slow", Behaviour::Slow(Duration::from_millis(900)));
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run_without_deadline(collector));
    tokio::time::sleep(Duration::from_secs(60)).await;
    handle.shutdown();
    let report = running.await.unwrap();
    let lost = report.sources[0].dropped["backpressure"];
    assert!((100..400).contains(&lost), "{lost}");
    assert_eq!(report.imbalances, []);
    let (mut next, mut told) = (0, 0);
    for event in &recorded.events() {
        if let Some((_, seq)) = numbered(event) {
            assert_eq!(seq, next, "a hole that was not told before");
            next += 1;
        } else if let CollectionEvent::Loss(loss) = event {
            let gap = loss.gap.as_ref().unwrap();
            assert_eq!(gap.first_seq, next);
            next = gap.last_seq + 1;
            told += loss.count;
        }
    }
    assert_eq!((next, told), (400, lost));
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_dropped_after_the_wait_and_the_other_source_loses_nothing() {
    let good = TestSource::new("good", |feed| async move {
        for _ in 0..40 {
            feed.send(1).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        feed.stopped().await;
        Ok(())
    });
    let flood = TestSource::new("flood", |feed| async move {
        while !feed.is_stopped() {
            for _ in 0..100 {
                feed.other(CollectionEvent::Process(ProcessEvent::default())).await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    });
    let mut collector = collector(config().with_event_buffer_size(100));
    collector.register(Box::new(flood.without_books())).unwrap();
    collector.register(Box::new(good)).unwrap();
    let (sink, _) = TestSink::new("slow", Behaviour::Slow(Duration::from_millis(1_500)));
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let stats = collector.handle();
    let running = tokio::spawn(run_without_deadline(collector));
    tokio::time::sleep(Duration::from_millis(5_980)).await;
    assert!(stats.stats().is_under_backpressure(), "{:?} {:?}", stats.stats(), stats.health());
    handle.shutdown();
    let report = running.await.unwrap();
    assert!(report.sources[0].dropped["backpressure"] > 1_000, "{:?}", report.sources[0].dropped);
    assert_eq!((report.sources[1].delivered, report.sources[1].dropped.len()), (40, 0));
    assert_eq!(report.imbalances, []);
}

/// Real time: a flood of large events against a sink that takes nothing, for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queued_bytes_stay_within_their_bound_under_a_flood_and_a_stalled_sink() {
    const SOURCES: [&str; 4] = ["a", "b", "c", "d"];
    let config = config().with_event_buffer_size(100_000).with_max_backpressure_wait(Duration::ZERO);
    let mut collector =
        collector(config.with_shutdown_timeout(Duration::from_secs(1))).with_queue_bytes(QUEUE_BYTES_MIN);
    let mut ledgers = Vec::new();
    for name in SOURCES {
        let source = measures(name, 1_000);
        ledgers.push(source.ledger());
        collector.register(Box::new(source)).unwrap();
    }
    let (sink, mut recorded) = TestSink::new("stalled", Behaviour::BlocksAt(0));
    collector.add_sink(sink);
    let (handle, shutdown) = (collector.handle(), collector.shutdown_handle());
    let running = tokio::spawn(run(collector));
    recorded.until_offered(1).await;
    // Each source has sent a hundred times what its queue can hold.
    let enough = 100 * QUEUE_BYTES_MIN as u64 / 1_000;
    let deadline = std::time::Instant::now() + crate::support::DEADLINE;
    while ledgers.iter().any(|ledger| ledger.missed.load(SeqCst) < enough) {
        assert!(std::time::Instant::now() < deadline, "the flood was held up");
        let queued: f64 = metric(&handle.encode_metrics().unwrap(), "collector_queue_bytes{");
        assert!(queued <= (SOURCES.len() * QUEUE_BYTES_MIN) as f64, "{queued}");
        tokio::task::yield_now().await;
    }
    let text = handle.encode_metrics().unwrap();
    let bound = (SOURCES.len() * QUEUE_BYTES_MIN) as f64;
    let peak = metric(&text, "collector_queue_peak_bytes{");
    assert!(peak <= bound && peak > bound * 0.9, "the queues were filled to their bound: {peak} of {bound}");
    assert_eq!(handle.queue_bytes_max(), SOURCES.len() * QUEUE_BYTES_MIN);
    shutdown.shutdown();
    let report = running.await.unwrap();
    assert!(report.sources.iter().all(|source| source.dropped["backpressure"] > 0));
}

/// The sum of a metric's series.
fn metric(text: &str, name: &str) -> f64 {
    let series = text.lines().filter(|line| line.starts_with(name));
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn a_bound_on_bytes_that_is_too_small_is_refused() {
    let mut collector = collector(config()).with_queue_bytes(QUEUE_BYTES_MIN - 1);
    collector.register(Box::new(TestSource::sends("a", 1))).unwrap();
    let error = collector.run_to_report().await.unwrap_err();
    assert_eq!(error.to_string(), "the bound on a queue's bytes is 262143, but must be at least 262144");
}
