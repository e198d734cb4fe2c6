//! Single cases that chance finds too seldom.

use crate::support::{Behaviour, TestSink, TestSource, collector, config, run};
use collector_core::event::EventClass;
use collector_core::{EndReason, SourceCaps, SourceOutcome};
use std::time::Duration;

/// A panic, a hang, a flood and a liar at once, beside one that behaves.
#[tokio::test(start_paused = true)]
async fn four_bad_sources_at_once_cost_a_good_one_nothing() {
    let good = TestSource::new("good", |feed| async move {
        for _ in 0..100 {
            feed.send(1).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        feed.stopped().await;
        Ok(())
    });
    let flood = TestSource::new("flood", |feed| async move {
        while !feed.is_stopped() && feed.next().await {}
        Ok(())
    });
    let mut collector = collector(config().with_shutdown_timeout(Duration::from_secs(4)));
    collector.register(Box::new(TestSource::new("panics", |_| async { panic!("a bug") }))).unwrap();
    collector.register(Box::new(TestSource::new("hangs", |_| std::future::pending()))).unwrap();
    collector.register(Box::new(flood)).unwrap();
    collector.register(Box::new(TestSource::sends("lies", 50).caps(SourceCaps::NETWORK))).unwrap();
    collector.register(Box::new(good)).unwrap();
    let (sink, mut recorded) = TestSink::new("slow", Behaviour::Slow(Duration::from_millis(1)));
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_offered(2_000).await;
    handle.shutdown();
    let report = running.await.unwrap();
    let by_name = |name| report.sources.iter().find(|source| source.name == name).unwrap();
    assert_eq!((by_name("good").delivered, by_name("good").dropped.len()), (100, 0));
    assert_eq!(by_name("panics").outcome, SourceOutcome::Panicked("a bug".to_owned()));
    assert_eq!(by_name("hangs").outcome, SourceOutcome::Aborted);
    assert_eq!(by_name("lies").dropped, [("capability_violation".to_owned(), 50)].into());
    assert_eq!(report.imbalances, []);
}

/// The request comes after each single event there is, from the first to the last.
#[tokio::test]
async fn a_shutdown_after_any_number_of_events_delivers_all_that_were_sent() {
    for count in 0..150 {
        let mut collector = collector(config().with_event_buffer_size(8).with_max_batch_size(4));
        let source = TestSource::new("a", move |feed| async move {
            feed.send(count).await;
            feed.ledger.missed.store(0, std::sync::atomic::Ordering::SeqCst);
            feed.stopped().await;
            feed.send(3).await;
            Ok(())
        });
        let ledger = source.ledger();
        collector.register(Box::new(source)).unwrap();
        let (sink, recorded) = TestSink::taking();
        collector.add_sink(sink);
        let handle = collector.shutdown_handle();
        let running = tokio::spawn(run(collector));
        while ledger.decoded.load(std::sync::atomic::Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
        handle.shutdown();
        let report = running.await.unwrap();
        assert_eq!(report.ended, EndReason::Handle);
        let account = &report.summary.classes[&EventClass::Process];
        assert_eq!((account.delivered, recorded.numbered() as u64), (count + 3, count + 3));
        assert_eq!(report.imbalances, []);
    }
}
