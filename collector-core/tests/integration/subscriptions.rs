//! Consumers beside the sinks: each has its own queue and its own losses.

use crate::support::{Behaviour, DEADLINE, TestSink, TestSource, collector, config, numbered, run};
use collector_core::{CollectionEvent, Received, Subscription, SubscriptionOptions};
use std::time::Duration;
use tokio::time::timeout;

fn options(name: &str, queue_events: usize) -> SubscriptionOptions {
    SubscriptionOptions { name: name.to_owned(), queue_events, ..SubscriptionOptions::default() }
}

/// Everything until the run ends: numbers and losses.
async fn all(mut subscription: Subscription) -> (Vec<u64>, u64, Vec<CollectionEvent>) {
    let (mut numbers, mut lost, mut events) = (Vec::new(), 0, Vec::new());
    while let Some(received) = timeout(DEADLINE, subscription.recv()).await.expect("the run ends") {
        match received {
            Received::Batch(batch) => {
                numbers.extend(batch.iter().filter_map(numbered).map(|(_, seq)| seq));
                events.extend(batch.iter().cloned());
            }
            Received::Lost(count) => lost += count,
        }
    }
    assert_eq!(lost, subscription.lost());
    (numbers, lost, events)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_never_reads_slows_nobody_and_loses_alone() {
    const EVENTS: u64 = 20_000;
    let mut collector = collector(config().with_max_batch_size(64));
    collector.register(Box::new(TestSource::sends("a", EVENTS))).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let asleep = collector.subscribe(options("asleep", 1_000));
    let awake = tokio::spawn(all(collector.subscribe(options("awake", usize::MAX))));
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(20_001).await;
    handle.shutdown();
    let report = running.await.unwrap();
    assert_eq!((report.sources[0].delivered, report.imbalances), (EVENTS, vec![]));
    let (numbers, lost, events) = awake.await.unwrap();
    assert!(numbers.into_iter().eq(0..EVENTS));
    assert_eq!((lost, events.len()), (0, recorded.events().len()), "coverage and summary too");
    assert!(asleep.queued() <= 1_000);
    let (numbers, lost, events) = all(asleep).await;
    assert!(numbers.starts_with(&[0, 1, 2, 3]) && numbers.is_sorted(), "{numbers:?}");
    assert_eq!(events.len() as u64 + lost, EVENTS + 2);
    assert!(lost > EVENTS - 1_100, "{lost}");
}

#[tokio::test]
async fn without_a_sink_a_subscription_is_who_events_are_delivered_to() {
    let mut collector = collector(config());
    collector.register(Box::new(TestSource::sends("a", 100))).unwrap();
    let handle = collector.handle();
    let mut subscription = collector.subscribe(SubscriptionOptions::default());
    let running = tokio::spawn(run(collector));
    let mut taken = 0;
    while taken < 101 {
        match timeout(DEADLINE, subscription.recv()).await.unwrap() {
            Some(Received::Batch(batch)) => taken += batch.len(),
            other => panic!("{other:?}"),
        }
    }
    handle.shutdown();
    let report = running.await.unwrap();
    assert_eq!((report.sources[0].delivered, report.summary_told), (100, true));
    assert_eq!(report.imbalances, []);
}

#[tokio::test(start_paused = true)]
async fn one_may_come_and_go_during_the_run() {
    let source = TestSource::new("ticks", |feed| async move {
        while !feed.is_stopped() {
            feed.send(1).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    });
    let mut collector = collector(config());
    collector.register(Box::new(source)).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.handle();
    let running = tokio::spawn(collector.run_to_report());
    recorded.until_events(10).await;
    let mut late = handle.subscribe(SubscriptionOptions::default());
    let Some(Received::Batch(first)) = late.recv().await else { panic!("it gets what comes now") };
    assert!(numbered(&first[0]).unwrap().1 >= 8, "not what was before");
    drop(late);
    let taken = recorded.events().len();
    recorded.until_events(taken + 10).await;
    handle.shutdown();
    running.await.unwrap().unwrap();
    assert_eq!(handle.subscribe(SubscriptionOptions::default()).recv().await, None, "the run is over");
}

#[tokio::test]
async fn what_a_subscription_got_is_not_told_to_it_as_lost_when_the_sink_fails() {
    let mut collector = collector(config().with_max_batch_size(4));
    collector.register(Box::new(TestSource::sends("a", 12))).unwrap();
    // Coverage is the batch with index 0.
    let (sink, mut recorded) = TestSink::new("sink", Behaviour::Fails { from: 1, until: 2 });
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let subscription = tokio::spawn(all(collector.subscribe(options("all", usize::MAX))));
    let running = tokio::spawn(run(collector));
    // Coverage, the loss and what is left.
    recorded.until_events(3).await;
    handle.shutdown();
    let report = running.await.unwrap();
    let lost = report.sources[0].dropped.get("sink_failed").copied().unwrap_or_default();
    assert!(lost > 0, "{report:?}");
    let is_loss = |event: &CollectionEvent| matches!(event, CollectionEvent::Loss(_));
    assert_eq!(recorded.events().iter().filter(|event| is_loss(event)).count(), 1, "the sink is told");
    let (numbers, _, events) = subscription.await.unwrap();
    assert!(numbers.into_iter().eq(0..12));
    assert!(!events.iter().any(is_loss), "the subscription lost nothing");
}

#[tokio::test]
async fn a_summary_that_no_sink_took_was_not_told_though_a_subscription_got_it() {
    let mut collector = collector(config());
    collector.register(Box::new(TestSource::sends("a", 1))).unwrap();
    let (sink, mut recorded) = TestSink::new("sink", Behaviour::Fails { from: 1, until: usize::MAX });
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let subscription = tokio::spawn(all(collector.subscribe(options("all", usize::MAX))));
    let running = tokio::spawn(run(collector));
    recorded.until_offered(2).await;
    handle.shutdown();
    assert!(!running.await.unwrap().summary_told);
    let (_, _, events) = subscription.await.unwrap();
    assert!(matches!(events.last(), Some(CollectionEvent::Summary(_))), "{events:?}");
}
