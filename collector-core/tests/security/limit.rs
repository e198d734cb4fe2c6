//! `stop_after` delivers exactly so many, and the books still balance.

use crate::support::{Behaviour, TestSink, TestSource, collector, config, numbered, run};
use collector_core::event::EventClass;
use collector_core::{CollectionEvent, EndReason, ProcessEvent, RunReport};
use std::sync::atomic::Ordering::SeqCst;

/// A flood of numbered events, and some others that do not count.
fn flood(name: &'static str) -> TestSource {
    TestSource::new(name, |feed| async move {
        while !feed.is_stopped() {
            feed.other(CollectionEvent::Process(ProcessEvent::default())).await;
            feed.next().await;
        }
        Ok(())
    })
}

async fn limited(
    limit: u64,
    batch_size: usize,
    behaviour: Behaviour,
) -> (RunReport, Vec<CollectionEvent>, u64) {
    let mut collector = collector(config().with_max_batch_size(batch_size));
    let sources = [flood("a"), flood("b")];
    let ledgers = sources.each_ref().map(TestSource::ledger);
    for source in sources {
        collector.register(Box::new(source)).unwrap();
    }
    collector.stop_after(limit);
    let (sink, recorded) = TestSink::new("sink", behaviour);
    collector.add_sink(sink);
    let report = run(collector).await;
    let decoded = ledgers.iter().map(|ledger| ledger.decoded.load(SeqCst)).sum();
    (report, recorded.events(), decoded)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_so_many_are_delivered_and_the_rest_is_pending() {
    for (limit, batch_size) in [(1, 100), (99, 10), (100, 10), (101, 10), (1000, 1), (5, 3)] {
        let (report, events, decoded) = limited(limit, batch_size, Behaviour::Takes).await;
        assert_eq!(report.ended, EndReason::StopAfter);
        assert_eq!(events.iter().filter_map(numbered).count() as u64, limit, "batches of {batch_size}");
        let account = &report.summary.classes[&EventClass::Process];
        assert_eq!((account.delivered, account.pending), (limit, decoded - limit));
        assert_eq!(report.imbalances, []);
        assert!(matches!(events.last(), Some(CollectionEvent::Summary(_))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sink_failed_to_take_does_not_count_towards_the_limit() {
    let (report, events, decoded) = limited(50, 10, Behaviour::Fails { from: 2, until: 5 }).await;
    assert_eq!(events.iter().filter_map(numbered).count(), 50);
    let account = &report.summary.classes[&EventClass::Process];
    let dropped: u64 = account.dropped().values().sum();
    assert!(dropped > 0);
    assert_eq!(account.delivered + account.pending + dropped, decoded);
    assert_eq!(report.imbalances, []);
}

#[tokio::test]
async fn a_limit_of_nothing_delivers_nothing() {
    let (report, events, _) = limited(0, 10, Behaviour::Takes).await;
    assert_eq!((report.ended, events.iter().filter_map(numbered).count()), (EndReason::StopAfter, 0));
}
