//! What one source does wrong stays its own.

use crate::support::{TestSink, TestSource, collector, config, kernel_event, numbered, run};
use collector_core::event::{CoverageEvent, EventClass};
use collector_core::{CollectionEvent, EndReason, NetworkEvent, RestartPolicy, SourceCaps, SourceOutcome};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, SystemTime};

/// Runs a bad source beside a good one that sends 1000 events, until those are delivered.
async fn beside_a_good_one(bad: TestSource) -> collector_core::RunReport {
    let good = TestSource::new("good", |feed| async move {
        feed.send(1000).await;
        feed.stopped().await;
        Ok(())
    });
    let mut collector = collector(config());
    collector.register(Box::new(bad)).unwrap();
    collector.register(Box::new(good)).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    while recorded.events().iter().filter_map(numbered).filter(|(source, _)| *source == "good").count() < 1000
    {
        let taken = recorded.events().len();
        recorded.until_events(taken + 1).await;
    }
    handle.shutdown();
    let report = running.await.unwrap();
    let of_good = recorded.events();
    let of_good = of_good.iter().filter_map(numbered).filter(|(source, _)| *source == "good");
    assert!(of_good.map(|(_, seq)| seq).eq(0..1000), "the good source lost events");
    assert_eq!(report.sources[1].outcome, SourceOutcome::Stopped);
    assert_eq!(report.imbalances, []);
    report
}

#[tokio::test]
async fn a_source_that_fails_is_named_and_the_others_go_on() {
    let bad = TestSource::new("bad", |feed| async move {
        feed.send(10).await;
        Err(anyhow::anyhow!("the hook is gone").context("failed to read"))
    });
    let ledger = bad.ledger();
    let report = beside_a_good_one(bad).await;
    let bad = &report.sources[0];
    assert_eq!(bad.outcome, SourceOutcome::Failed("failed to read: the hook is gone".to_owned()));
    assert_eq!(bad.delivered, 10, "what it had sent is delivered");
    assert_eq!(ledger.stops.load(SeqCst), 0, "it was not running any more");
}

#[tokio::test]
async fn a_source_that_panics_is_named_and_what_it_kept_is_counted_as_lost() {
    let bad = TestSource::new("bad", |feed| async move {
        feed.send(10).await;
        feed.ledger.decoded.fetch_add(3, SeqCst);
        panic!("a bug with {} events in hand", 3)
    });
    let report = beside_a_good_one(bad).await;
    let bad = &report.sources[0];
    assert_eq!(bad.outcome, SourceOutcome::Panicked("a bug with 3 events in hand".to_owned()));
    assert_eq!((bad.delivered, &bad.dropped), (10, &[("source_failed".to_owned(), 3)].into()));
}

#[tokio::test]
async fn a_domain_that_is_not_claimed_is_refused_and_counted() {
    let bad = TestSource::new("bad", |feed| async move {
        feed.send(4).await;
        feed.other(CollectionEvent::Network(NetworkEvent::default())).await;
        feed.other(kernel_event("bad", EventClass::File, 0)).await;
        Ok(())
    });
    let report = beside_a_good_one(bad).await;
    let bad = &report.sources[0];
    assert_eq!((bad.delivered, &bad.dropped), (4, &[("capability_violation".to_owned(), 2)].into()));
}

#[tokio::test]
async fn a_refused_numbered_event_is_told_as_a_loss_with_its_number() {
    let source = TestSource::new("bad", |feed| async move {
        feed.send(3).await;
        Ok(())
    });
    let mut collector = collector(config());
    collector.register(Box::new(source.caps(SourceCaps::NETWORK))).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(1).await;
    handle.shutdown();
    let report = running.await.unwrap();
    let events = recorded.events();
    let [CollectionEvent::Coverage(_), CollectionEvent::Loss(loss), CollectionEvent::Summary(_)] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    let gap = loss.gap.as_ref().unwrap();
    assert_eq!((gap.first_seq, gap.last_seq, loss.count), (0, 2, 3));
    assert_eq!(loss.reasons, report.summary.classes[&EventClass::Process].dropped());
}

#[tokio::test]
async fn a_source_cannot_tell_coverage_in_the_stream() {
    let bad = TestSource::new("bad", |feed| async move {
        let classes = [].into();
        let forged =
            CoverageEvent { kernel: "forged".to_owned(), classes, timestamp: SystemTime::UNIX_EPOCH };
        feed.other(CollectionEvent::Coverage(Box::new(forged))).await;
        Ok(())
    });
    let report = beside_a_good_one(bad).await;
    assert_eq!(report.sources[0].dropped, [("capability_violation".to_owned(), 1)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_does_not_take_the_share_of_another() {
    let flood = TestSource::new("flood", |feed| async move {
        while !feed.is_stopped() && feed.next().await {}
        Ok(())
    });
    beside_a_good_one(flood).await;
}

#[tokio::test]
async fn a_run_whose_sources_all_failed_ends_and_says_what_each_said() {
    let failing = || TestSource::new("bad", |_| async { anyhow::bail!("no permission") });
    let mut first = collector(config()).with_restart_policy(RestartPolicy::never());
    first.register(Box::new(failing())).unwrap();
    let report = run(first).await;
    assert_eq!(report.ended, EndReason::AllSourcesFailed);
    let mut second = collector(config()).with_restart_policy(RestartPolicy::never());
    second.register(Box::new(failing())).unwrap();
    let error = second.run().await.unwrap_err();
    assert_eq!(error.to_string(), "every event source failed: bad: no permission");
}

#[tokio::test(start_paused = true)]
async fn health_is_asked_at_each_interval_and_failures_are_reported() {
    let sick = TestSource::sends("sick", 0).on_check(|_| async { Err(anyhow::anyhow!("the ring is gone")) });
    let silent = TestSource::sends("silent", 0).on_check(|_| std::future::pending());
    let (sick_ledger, silent_ledger) = (sick.ledger(), silent.ledger());
    let mut collector = collector(config().with_health_check_interval(Duration::from_secs(60)));
    collector.register(Box::new(sick)).unwrap();
    collector.register(Box::new(silent)).unwrap();
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(collector.run_to_report());
    tokio::time::sleep(Duration::from_secs(181)).await;
    handle.shutdown();
    let report = running.await.unwrap().unwrap();
    assert_eq!(sick_ledger.checks.load(SeqCst), 3);
    assert_eq!(report.sources[0].health_failures, 3);
    assert_eq!(report.sources[0].last_health_failure.as_deref(), Some("the ring is gone"));
    assert_eq!(silent_ledger.checks.load(SeqCst), 3, "each check has a deadline of its own");
    assert_eq!(report.sources[1].health_failures, 2, "the third may still answer");
    assert_eq!(
        report.sources[1].last_health_failure.as_deref(),
        Some("no answer to a health check within 5s")
    );
    assert!(report.sources.iter().all(|source| source.outcome.is_clean()));
}
