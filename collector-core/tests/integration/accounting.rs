//! Books that do not balance are never hidden, and losses a source tells arrive.

use crate::support::{Behaviour, TestSink, TestSource, collector, config, run};
use collector_core::CollectionEvent;
use collector_core::event::{ErrorCode, ErrorEvent, EventClass, LossEvent, LossGap};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, SystemTime};

#[tokio::test]
async fn an_event_that_a_clean_source_swallowed_is_an_imbalance() {
    let source = TestSource::new("swallows", |feed| async move {
        feed.send(5).await;
        feed.ledger.decoded.fetch_add(1, SeqCst);
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
    let [(EventClass::Process, imbalance)] = &report.imbalances[..] else {
        panic!("{:?}", report.imbalances)
    };
    assert_eq!((imbalance.equation, imbalance.left, imbalance.right), ("4", 6, 5));
}

/// As a heartbeat finds it, and once more with the books' end.
#[tokio::test(start_paused = true)]
async fn an_imbalance_is_told_while_the_run_goes_on_and_before_the_summary() {
    let source = TestSource::new("swallows", |feed| async move {
        feed.send(5).await;
        feed.ledger.decoded.fetch_add(1, SeqCst);
        feed.stopped().await;
        Ok(())
    });
    let mut collector = collector(config());
    collector.register(Box::new(source)).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.handle();
    let running = tokio::spawn(run(collector));
    // Behind the coverage and five events.
    recorded.until_events(7).await;
    // Nothing waits here: the time is paused. Ten heartbeats more tell it no second time.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let metrics = handle.encode_metrics().unwrap();
    let counted = r#"collector_error_events_total{code="accounting"} 1"#;
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    let health = handle.health();
    assert!(format!("{health:?}").contains("accounting equation 4"), "{health:?}");
    handle.shutdown();
    running.await.unwrap();
    let [_, _, _, _, _, _, told @ .., CollectionEvent::Summary(_)] = &recorded.events()[..] else {
        panic!("{:?}", recorded.events())
    };
    assert_eq!(told.len(), 2, "{told:?}");
    for event in told {
        let CollectionEvent::Error(error) = event else { panic!("{event:?}") };
        let ErrorEvent { class, code, message, .. } = error.as_ref();
        assert_eq!((*class, *code), (EventClass::Process, ErrorCode::Accounting));
        assert!(message.contains("decoded 6"), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_waits_in_a_batch_for_many_heartbeats_is_no_imbalance() {
    let source = TestSource::new("rare", |feed| async move {
        feed.send(1).await;
        feed.stopped().await;
        Ok(())
    });
    let mut collector = collector(config().with_batch_timeout(Duration::from_secs(15)));
    collector.register(Box::new(source)).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(2).await;
    handle.shutdown();
    running.await.unwrap();
    let events = recorded.events();
    assert!(!events.iter().any(|event| matches!(event, CollectionEvent::Error(_))), "{events:?}");
}

#[tokio::test]
async fn skipped_runs_are_told_before_the_summary_and_stand_outside_the_books() {
    let source = TestSource::new("skipped", |feed| async move {
        feed.ledger.missed.store(3, SeqCst);
        feed.send(1).await;
        feed.stopped().await;
        Ok(())
    });
    let mut collector = collector(config());
    collector.register(Box::new(source)).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(1).await;
    handle.shutdown();
    let report = running.await.unwrap();
    assert_eq!(report.imbalances, []);
    let events = recorded.events();
    let [.., CollectionEvent::Loss(loss), CollectionEvent::Summary(summary)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((loss.count, &loss.gap), (3, &None));
    assert_eq!(loss.reasons, [("missed".to_owned(), 3)].into());
    assert_eq!(summary.classes[&EventClass::Process].missed, 3);
}

/// Also where no event comes that could be told with them.
#[tokio::test(start_paused = true)]
async fn skipped_runs_are_told_while_they_become_more_and_each_once() {
    let source = TestSource::new("skips", |feed| async move {
        feed.ledger.missed.store(3, SeqCst);
        feed.stopped().await;
        feed.ledger.missed.store(9, SeqCst);
        Ok(())
    });
    let ledger = source.ledger();
    let mut collector = collector(config());
    collector.register(Box::new(source)).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    // The coverage stands first.
    recorded.until_events(2).await;
    ledger.missed.store(5, SeqCst);
    recorded.until_events(3).await;
    // Ten heartbeats, of a clock that stands still while anything is left to do.
    tokio::time::sleep(Duration::from_secs(10)).await;
    handle.shutdown();
    assert_eq!(running.await.unwrap().imbalances, []);
    let events = recorded.events();
    let told = events.iter().filter_map(|event| match event {
        CollectionEvent::Loss(loss) => Some((loss.count, loss.reasons.clone())),
        _ => None,
    });
    let missed = |count| (count, [("missed".to_owned(), count)].into());
    assert_eq!(told.collect::<Vec<_>>(), [missed(3), missed(2), missed(4)]);
    let Some(CollectionEvent::Summary(summary)) = events.last() else { panic!("{events:?}") };
    assert_eq!(summary.classes[&EventClass::Process].missed, 9);
}

fn loss(count: u64) -> CollectionEvent {
    CollectionEvent::Loss(Box::new(LossEvent {
        class: EventClass::Process,
        gap: Some(LossGap { stream: "ring".to_owned(), cpu: 1, first_seq: 0, last_seq: count - 1 }),
        count,
        t_first: SystemTime::UNIX_EPOCH,
        t_last: SystemTime::UNIX_EPOCH,
        reasons: [("ring_full".to_owned(), count)].into(),
    }))
}

#[tokio::test]
async fn a_sources_own_loss_is_told_again_when_its_batch_was_not_taken() {
    let source = TestSource::new("lossy", |feed| async move {
        feed.send(1).await;
        feed.other(loss(9)).await;
        feed.stopped().await;
        Ok(())
    });
    let mut collector = collector(config());
    collector.register(Box::new(source)).unwrap();
    let (sink, mut recorded) = TestSink::new("flaky", Behaviour::Fails { from: 1, until: 2 });
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_offered(2).await;
    handle.shutdown();
    running.await.unwrap();
    let events = recorded.events();
    let told: Vec<_> = events.iter().filter(|event| matches!(event, CollectionEvent::Loss(_))).collect();
    assert!(told.contains(&&loss(9)), "{told:?}");
    assert_eq!(told.len(), 2, "the source's loss and that of the event in the failed batch");
}

#[tokio::test]
async fn losses_are_told_also_after_the_limit() {
    let source = TestSource::new("lossy", |feed| async move {
        feed.send(20).await;
        feed.other(loss(9)).await;
        Ok(())
    });
    let mut collector = collector(config());
    collector.register(Box::new(source)).unwrap();
    collector.stop_after(10);
    let (sink, recorded) = TestSink::taking();
    collector.add_sink(sink);
    let report = run(collector).await;
    assert_eq!((report.sources[0].delivered, report.sources[0].pending), (10, 10));
    assert!(recorded.events().contains(&loss(9)));
}
