//! Sources that fail are started again, up to a limit; readiness has a deadline, life has none.

use crate::support::{TestSink, TestSource, collector, config, run};
use collector_core::{EndReason, RestartPolicy, SourceOutcome};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Fails the first `failures` starts, each after two events, and works after that.
fn flaky(failures: usize) -> (TestSource, Arc<Mutex<Vec<Instant>>>) {
    let starts = Arc::<Mutex<Vec<Instant>>>::default();
    let noted = Arc::clone(&starts);
    let source = TestSource::new("flaky", move |feed| {
        let starts = Arc::clone(&noted);
        async move {
            starts.lock().unwrap().push(Instant::now());
            let number = starts.lock().unwrap().len();
            feed.send(2).await;
            match number {
                1 if failures >= 1 => panic!("start {number} panics"),
                _ if number <= failures => anyhow::bail!("start {number} fails"),
                _ => feed.stopped().await,
            }
            Ok(())
        }
    });
    (source, starts)
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_started_again_after_growing_waits() {
    let (source, starts) = flaky(3);
    let ledger = source.ledger();
    let mut collector = collector(config());
    collector.register(Box::new(source)).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(9).await;
    handle.shutdown();
    let report = running.await.unwrap();
    let starts = starts.lock().unwrap();
    let waits: Vec<_> = starts.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64().round()).collect();
    assert_eq!(waits, [1.0, 2.0, 4.0]);
    let flaky = &report.sources[0];
    assert_eq!((flaky.failures, flaky.restarts, flaky.delivered), (3, 3, 8));
    assert_eq!((&flaky.outcome, report.imbalances), (&SourceOutcome::Stopped, vec![]));
    assert_eq!(ledger.stops.load(SeqCst), 1, "a start that failed is not stopped, the last one is");
}

#[tokio::test(start_paused = true)]
async fn restarts_end_at_the_limit_and_with_them_the_run() {
    let (source, starts) = flaky(usize::MAX);
    let mut collector = collector(config()).with_restart_policy(RestartPolicy {
        restarts_max: 3,
        delay_max: Duration::from_secs(2),
        ..RestartPolicy::default()
    });
    collector.register(Box::new(source)).unwrap();
    let (sink, _) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.handle();
    let report = run(collector).await;
    assert_eq!(report.ended, EndReason::AllSourcesFailed);
    assert_eq!(starts.lock().unwrap().len(), 4);
    assert_eq!(report.sources[0].outcome, SourceOutcome::Failed("start 4 fails".to_owned()));
    assert_eq!(handle.stats().errors_total, 4);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_be_started_twice_ends_with_its_first_failure() {
    let source = TestSource::new("once", |feed| async move {
        anyhow::ensure!(feed.ledger.starts.load(SeqCst) == 1, "it was started before");
        anyhow::bail!("its ring is gone")
    });
    let mut collector = collector(config());
    collector.register(Box::new(source.not_restartable())).unwrap();
    let report = run(collector).await;
    let once = &report.sources[0];
    assert_eq!(once.outcome, SourceOutcome::Failed("its ring is gone".to_owned()));
    assert_eq!((once.failures, once.restarts), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_worked_for_long_gets_its_restarts_anew() {
    let source = TestSource::new("daily", |_| async {
        tokio::time::sleep(Duration::from_secs(400)).await;
        anyhow::bail!("its daily failure")
    });
    let ledger = source.ledger();
    let policy = RestartPolicy { restarts_max: 1, ..RestartPolicy::default() };
    let mut collector = collector(config()).with_restart_policy(policy);
    collector.register(Box::new(source)).unwrap();
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(collector.run_to_report());
    tokio::time::sleep(Duration::from_secs(2_100)).await;
    handle.shutdown();
    let report = running.await.unwrap().unwrap();
    assert_eq!((ledger.starts.load(SeqCst), report.sources[0].restarts), (6, 5));
}

/// A source in a `start` that never ends and tells whether it is ready by this.
fn says_ready(ready: &Arc<AtomicBool>) -> TestSource {
    let ready = Arc::clone(ready);
    TestSource::new("looping", |feed| async move {
        feed.stopped().await;
        Ok(())
    })
    .on_check(move |_| {
        let ready = ready.load(SeqCst);
        async move {
            anyhow::ensure!(ready, "not connected yet");
            Ok(())
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_not_ready_in_time_is_aborted_and_named() {
    let source = says_ready(&Arc::default());
    let ledger = source.ledger();
    let mut collector = collector(config()).with_restart_policy(RestartPolicy::never());
    collector.register(Box::new(source)).unwrap();
    let begun = Instant::now();
    let report = run(collector).await;
    assert_eq!(report.ended, EndReason::AllSourcesFailed);
    let looping = &report.sources[0];
    assert_eq!(
        (looping.name, &looping.outcome),
        ("looping", &SourceOutcome::NotReady(Duration::from_secs(10)))
    );
    assert_eq!(begun.elapsed().as_secs_f64().round().to_string(), "10");
    assert_eq!((looping.health_failures, ledger.stops.load(SeqCst)), (0, 0), "it never was ready");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_becomes_ready_in_time_may_stay_in_start_for_ever() {
    let ready = Arc::<AtomicBool>::default();
    let mut collector = collector(config());
    collector.register(Box::new(says_ready(&ready))).unwrap();
    let shutdown = collector.shutdown_handle();
    let handle = collector.handle();
    let running = tokio::spawn(collector.run_to_report());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(handle.stats().active_components, 0);
    ready.store(true, SeqCst);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(handle.stats().active_components, 1);
    shutdown.shutdown();
    let report = running.await.unwrap().unwrap();
    assert_eq!((&report.sources[0].outcome, report.sources[0].failures), (&SourceOutcome::Stopped, 0));
}

#[tokio::test(start_paused = true)]
async fn the_first_event_is_readiness_whatever_the_check_says() {
    let source = TestSource::new("sends", |feed| async move {
        feed.send(1).await;
        feed.stopped().await;
        Ok(())
    });
    let source = source.on_check(|_| async { anyhow::bail!("degraded from the first moment") });
    let mut collector = collector(config());
    collector.register(Box::new(source)).unwrap();
    let shutdown = collector.shutdown_handle();
    let running = tokio::spawn(collector.run_to_report());
    tokio::time::sleep(Duration::from_secs(100)).await;
    shutdown.shutdown();
    let report = running.await.unwrap().unwrap();
    assert_eq!((report.sources[0].failures, report.sources[0].health_failures), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_a_restart() {
    let (source, starts) = flaky(usize::MAX);
    let mut collector = collector(config());
    collector.register(Box::new(source)).unwrap();
    collector.register(Box::new(TestSource::sends("good", 1))).unwrap();
    let shutdown = collector.shutdown_handle();
    let running = tokio::spawn(collector.run_to_report());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked = Instant::now();
    shutdown.shutdown();
    let report = running.await.unwrap().unwrap();
    assert!(asked.elapsed() < Duration::from_millis(10), "{:?}", asked.elapsed());
    assert_eq!(report.sources[0].outcome, SourceOutcome::Panicked("start 1 panics".to_owned()));
    assert_eq!(starts.lock().unwrap().len(), 1);
}
