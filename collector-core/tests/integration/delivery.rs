//! What is sent arrives, in order, in batches, between coverage and summary.

use crate::support::{Behaviour, TestSink, TestSource, collector, config, kernel_event, numbered, run};
use collector_core::event::EventClass;
use collector_core::{CollectionEvent, EndReason, ProcessEvent, SourceCaps, SourceOutcome};
use std::time::Duration;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_of_every_source_arrives_once_and_in_its_sources_order() {
    const EACH: u64 = 5_000;
    const ALL: usize = 20_000;
    let mut collector = collector(config().with_max_batch_size(64));
    for name in NAMES {
        collector.register(Box::new(TestSource::sends(name, EACH))).unwrap();
    }
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(ALL + 1).await;
    handle.shutdown();
    let report = running.await.unwrap();

    let events = recorded.events();
    for name in NAMES {
        let of_source = events.iter().filter_map(numbered).filter(|(source, _)| *source == name);
        assert!(of_source.map(|(_, seq)| seq).eq(0..EACH), "{name}");
    }
    assert_eq!(report.ended, EndReason::Handle);
    assert!(report.sources.iter().all(|source| source.outcome.is_clean() && source.delivered == EACH));
    assert!(recorded.batches().iter().all(|batch| batch.len() <= 64));
}

#[tokio::test]
async fn one_merged_coverage_stands_first_and_one_summary_last() {
    let mut collector = collector(config());
    for name in NAMES {
        collector.register(Box::new(TestSource::sends(name, 100))).unwrap();
    }
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(401).await;
    handle.shutdown();
    let report = running.await.unwrap();

    let events = recorded.events();
    let Some(CollectionEvent::Coverage(coverage)) = events.first() else { panic!("{:?}", events.first()) };
    assert_eq!(coverage.classes[&EventClass::Process].blind, NAMES);
    let Some(CollectionEvent::Summary(summary)) = events.last() else { panic!("{:?}", events.last()) };
    let account = &summary.classes[&EventClass::Process];
    account.check().unwrap();
    assert_eq!((account.generated, account.delivered), (400, 400));
    assert_eq!((**summary).clone(), report.summary);
    assert!(report.summary_told);
    let own = events.iter().filter(|event| event.domain().is_none()).count();
    assert_eq!(own, 2, "coverage and summary stand once each");
}

#[tokio::test]
async fn without_books_there_is_no_coverage_and_no_summary() {
    let source = TestSource::new("plain", |feed| async move {
        feed.other(CollectionEvent::Process(ProcessEvent { pid: 7, ..ProcessEvent::default() })).await;
        Ok(())
    });
    let mut collector = collector(config());
    collector.register(Box::new(source.without_books())).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(1).await;
    handle.shutdown();
    let report = running.await.unwrap();
    assert_eq!(recorded.events().len(), 1);
    assert_eq!((report.summary_told, report.sources[0].delivered), (false, 1));
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_its_timeout_and_not_longer() {
    let source = TestSource::new("late", |feed| async move {
        feed.send(3).await;
        feed.stopped().await;
        Ok(())
    });
    let mut collector = collector(config().with_batch_timeout(Duration::from_millis(100)));
    collector.register(Box::new(source)).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let start = tokio::time::Instant::now();
    let running = tokio::spawn(run(collector));
    recorded.until_events(4).await;
    let waited = start.elapsed();
    handle.shutdown();
    running.await.unwrap();
    assert!((Duration::from_millis(100)..Duration::from_millis(110)).contains(&waited), "{waited:?}");
    assert_eq!(recorded.batches()[1].len(), 3, "one batch, not one for each event");
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_does_not_wait() {
    let mut collector =
        collector(config().with_batch_timeout(Duration::from_secs(3600)).with_max_batch_size(10));
    collector.register(Box::new(TestSource::sends("full", 25))).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let start = tokio::time::Instant::now();
    let running = tokio::spawn(run(collector));
    recorded.until_events(21).await;
    handle.shutdown();
    running.await.unwrap();
    let sizes: Vec<_> = recorded.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 10, 10, 5, 1], "coverage, two full batches, the rest at the end, the summary");
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_slow_sink_makes_sources_wait_and_loses_nothing() {
    let source = TestSource::sends("fast", 500);
    let ledger = source.ledger();
    let mut collector = collector(config().with_event_buffer_size(10).with_max_batch_size(5));
    collector.register(Box::new(source)).unwrap();
    let (sink, mut recorded) = TestSink::new("slow", Behaviour::Slow(Duration::from_millis(10)));
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(11).await;
    let ahead = ledger.decoded.load(std::sync::atomic::Ordering::SeqCst) - 10;
    assert!(
        ahead <= 10 + 5 + 5 + 1,
        "{ahead} events ahead of the sink: a queue, a batch, an inbox and one waiting"
    );
    recorded.until_events(501).await;
    handle.shutdown();
    let report = running.await.unwrap();
    assert_eq!((recorded.numbered(), report.sources[0].delivered), (500, 500));
}

#[tokio::test]
async fn events_for_the_collector_itself_are_counted_and_not_delivered() {
    let source = TestSource::new("forks", |feed| async move {
        for _ in 0..10 {
            let seq = feed.ledger.decoded.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let CollectionEvent::Kernel(mut event) = kernel_event("forks", EventClass::Process, seq) else {
                unreachable!()
            };
            event.internal = seq % 2 == 0;
            feed.other(CollectionEvent::Kernel(event)).await;
        }
        Ok(())
    });
    let mut collector = collector(config());
    collector.register(Box::new(source)).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(6).await;
    handle.shutdown();
    let report = running.await.unwrap();
    let account = &report.summary.classes[&EventClass::Process];
    assert_eq!((account.delivered, account.internal, recorded.numbered()), (5, 5, 5));
    assert_eq!(report.imbalances, []);
}

#[tokio::test]
async fn registration_is_refused_with_the_known_messages() {
    let mut collector = collector(config().with_max_event_sources(2));
    collector.register(Box::new(TestSource::sends("a", 0))).unwrap();
    let twice = collector.register(Box::new(TestSource::sends("a", 0))).unwrap_err();
    assert_eq!(twice.to_string(), "Event source with name 'a' is already registered");
    collector.register(Box::new(TestSource::sends("b", 0).caps(SourceCaps::NETWORK))).unwrap();
    let many = collector.register(Box::new(TestSource::sends("c", 0))).unwrap_err();
    assert_eq!(many.to_string(), "Cannot register more than 2 event sources");
    assert_eq!(collector.source_count(), 2);
    assert_eq!(collector.capabilities(), SourceCaps::PROCESS | SourceCaps::NETWORK);
}

#[tokio::test]
async fn a_run_that_cannot_be_right_does_not_begin() {
    let empty = collector(config()).run_to_report().await.unwrap_err();
    assert_eq!(empty.to_string(), "No event sources registered");
    let mut invalid = collector(config().with_max_batch_size(0));
    let source = TestSource::sends("a", 1);
    let ledger = source.ledger();
    invalid.register(Box::new(source)).unwrap();
    assert!(invalid.run_to_report().await.unwrap_err().to_string().starts_with("max_batch_size is 0"));
    assert_eq!(ledger.starts.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_source_may_return_from_start_and_send_from_a_task_of_its_own() {
    let source = TestSource::new("task", |feed| async move {
        tokio::spawn(async move {
            feed.send(50).await;
            feed.stopped().await;
        });
        Ok(())
    });
    let mut collector = collector(config());
    collector.register(Box::new(source)).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(51).await;
    handle.shutdown();
    let report = running.await.unwrap();
    assert_eq!(report.sources[0].outcome, SourceOutcome::Stopped);
    assert_eq!(report.sources[0].delivered, 50);
}
