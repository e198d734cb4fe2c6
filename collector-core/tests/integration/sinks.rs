//! What the run does when a sink fails, closes or blocks.

use crate::support::{Behaviour, DEADLINE, TestSink, TestSource, collector, config, numbered, run};
use async_trait::async_trait;
use collector_core::event::EventClass;
use collector_core::{CollectionEvent, EndReason, EventSink, SinkError, SinkState};
use std::time::Duration;
use tokio::sync::watch;

/// A source that always has events.
fn flood() -> TestSource {
    TestSource::new("flood", |feed| async move {
        while !feed.is_stopped() && feed.next().await {}
        Ok(())
    })
}

#[tokio::test]
async fn a_closed_sink_ends_the_run_quietly_and_the_books_balance() {
    let mut collector = collector(config());
    collector.register(Box::new(flood())).unwrap();
    let (sink, recorded) = TestSink::new("head", Behaviour::ClosesAt(3));
    collector.add_sink(sink);
    let report = run(collector).await;
    assert_eq!(report.ended, EndReason::SinkClosed("head".to_owned()));
    assert!(!report.summary_told);
    assert_eq!(report.sinks[0].state, SinkState::Closed);
    assert_eq!(report.imbalances, []);
    assert!(report.sources[0].dropped.is_empty(), "what the reader did not want is left over: {report:?}");
    assert_eq!(report.summary.classes[&EventClass::Process].delivered, recorded.numbered() as u64);
    assert!(!recorded.events().iter().any(|event| matches!(event, CollectionEvent::Summary(_))));
}

#[tokio::test]
async fn a_closed_sink_does_not_take_the_end_of_the_stream_from_another() {
    let mut collector = collector(config());
    collector.register(Box::new(flood())).unwrap();
    let (closing, _) = TestSink::new("head", Behaviour::ClosesAt(3));
    let (file, recorded) = TestSink::new("file", Behaviour::Takes);
    collector.add_sink(closing);
    collector.add_sink(file);
    let report = run(collector).await;
    assert_eq!(report.ended, EndReason::SinkClosed("head".to_owned()));
    assert!(matches!(recorded.events().last(), Some(CollectionEvent::Summary(_))));
    assert_eq!(report.sources[0].delivered, recorded.numbered() as u64);
    assert_eq!(report.sources[0].pending, 0);
}

#[tokio::test]
async fn a_batch_that_no_sink_took_is_counted_and_told_when_the_sink_is_back() {
    let mut collector = collector(config().with_max_batch_size(10));
    collector.register(Box::new(flood())).unwrap();
    let (sink, mut recorded) = TestSink::new("flaky", Behaviour::Fails { from: 2, until: 4 });
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_offered(6).await;
    handle.shutdown();
    let report = running.await.unwrap();
    assert_eq!((report.sinks[0].state, report.sinks[0].failed_batches), (SinkState::Open, 2));
    let account = &report.summary.classes[&EventClass::Process];
    let lost = account.dropped()["sink_failed"];
    assert_eq!(account.delivered, recorded.numbered() as u64);

    // Numbers that were delivered and numbers that were told as lost are together all numbers, in their order.
    let mut next = 0;
    let mut told = 0;
    for event in &recorded.events() {
        if let Some((_, seq)) = numbered(event) {
            assert_eq!(seq, next, "a hole that was not told before");
            next += 1;
        } else if let CollectionEvent::Loss(loss) = event {
            let gap = loss.gap.as_ref().unwrap();
            assert_eq!((gap.first_seq, gap.last_seq + 1 - gap.first_seq), (next, loss.count));
            next = gap.last_seq + 1;
            told += loss.count;
        }
    }
    assert_eq!(told, lost);
    assert!(lost > 0);
}

#[tokio::test]
async fn an_event_that_one_of_two_sinks_took_is_delivered() {
    let mut collector = collector(config());
    collector.register(Box::new(TestSource::sends("a", 20))).unwrap();
    let (broken, _) = TestSink::new("broken", Behaviour::Fails { from: 0, until: usize::MAX });
    let (good, mut recorded) = TestSink::taking();
    collector.add_sink(broken);
    collector.add_sink(good);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(21).await;
    handle.shutdown();
    let report = running.await.unwrap();
    assert_eq!((report.sources[0].delivered, report.sources[0].dropped.len()), (20, 0));
    assert_eq!(report.sinks[0].failed_batches, recorded.batches().len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_blocked_sink_cannot_hold_the_run_past_the_shutdown_timeout() {
    let mut collector = collector(config().with_shutdown_timeout(Duration::from_secs(4)));
    collector.register(Box::new(flood())).unwrap();
    let (sink, mut recorded) = TestSink::new("blocked", Behaviour::BlocksAt(2));
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_offered(3).await;
    let asked = tokio::time::Instant::now();
    handle.shutdown();
    let report = running.await.unwrap();
    assert!(asked.elapsed() <= Duration::from_millis(4_010), "{:?}", asked.elapsed());
    assert_eq!(report.sinks[0].state, SinkState::Blocked);
    assert!(!report.summary_told);
    assert!(report.sources[0].dropped.contains_key("sink_blocked"), "{:?}", report.sources[0].dropped);
    assert_eq!(report.imbalances, []);
}

#[tokio::test]
async fn without_a_sink_every_event_is_counted_as_dropped() {
    let mut collector = collector(config());
    let source = TestSource::sends("a", 30).at_stop(|feed| async move {
        feed.send(1).await;
        Ok(())
    });
    collector.register(Box::new(source)).unwrap();
    collector.shutdown_handle().shutdown();
    let report = run(collector).await;
    let all = &report.sources[0];
    assert_eq!(all.dropped.keys().collect::<Vec<_>>(), ["no_sink"]);
    assert_eq!(report.imbalances, []);
}

#[tokio::test]
async fn a_sink_that_panics_ends_the_run_with_an_error() {
    struct Panics;
    #[async_trait]
    impl EventSink for Panics {
        fn name(&self) -> &str {
            "panics"
        }
        async fn write(&mut self, _: &[CollectionEvent]) -> Result<(), SinkError> {
            panic!("a bug in a sink")
        }
        async fn flush(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
    }
    let source = TestSource::sends("a", 1);
    let ledger = source.ledger();
    let mut collector = collector(config());
    collector.register(Box::new(source)).unwrap();
    collector.add_sink(Box::new(Panics));
    let error = tokio::time::timeout(DEADLINE, collector.run()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("a sink panicked"), "{error:#}");
    assert_eq!(
        ledger.stops.load(std::sync::atomic::Ordering::SeqCst),
        1,
        "its sources are stopped all the same"
    );
}

/// Counts events, and tells of them when it is flushed.
struct Buffered {
    written: usize,
    flushed: watch::Sender<usize>,
}

#[async_trait]
impl EventSink for Buffered {
    fn name(&self) -> &str {
        "buffered"
    }

    async fn write(&mut self, batch: &[CollectionEvent]) -> Result<(), SinkError> {
        self.written += batch.len();
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        self.flushed.send_replace(self.written);
        Ok(())
    }
}

#[tokio::test]
async fn what_was_written_is_flushed_when_the_stream_pauses() {
    let source = TestSource::new("pauses", |feed| async move {
        feed.send(3).await;
        feed.stopped().await;
        Ok(())
    });
    let mut collector = collector(config());
    collector.register(Box::new(source)).unwrap();
    let (flushed, mut until) = watch::channel(0);
    collector.add_sink(Box::new(Buffered { written: 0, flushed }));
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    // The coverage stands first.
    let all = until.wait_for(|flushed| *flushed == 4);
    tokio::time::timeout(DEADLINE, all).await.expect("it is flushed while the run goes on").unwrap();
    handle.shutdown();
    assert_eq!(running.await.unwrap().sources[0].delivered, 3);
}
