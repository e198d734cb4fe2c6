//! How a run is, read while it runs.

use crate::support::{Behaviour, DEADLINE, TestSink, TestSource, collector, config, run};
use collector_core::{
    CollectionEvent, CollectorHandle, EventSource, HealthState, ProcessEvent, RestartPolicy, RuntimeStats,
    SourceCaps, Telemetry,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// The reasons of the part with this index among the sources.
fn reasons(handle: &CollectorHandle, source: usize) -> Vec<String> {
    handle.health().sources[source].reasons.iter().map(|reason| reason.text.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_failed_check_degrades_and_a_good_one_heals() {
    let sick = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&sick);
    let source = TestSource::sends("a", 1).on_check(move |_| {
        let sick = told.load(SeqCst);
        async move {
            anyhow::ensure!(!sick, "its ring is gone");
            Ok(())
        }
    });
    let mut collector = collector(config().with_health_check_interval(Duration::from_secs(1)));
    collector.register(Box::new(source)).unwrap();
    collector.register(Box::new(TestSource::sends("b", 1))).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let (handle, shutdown) = (collector.handle(), collector.shutdown_handle());
    assert_eq!(handle.health().state, HealthState::Failed, "nothing runs");
    assert_eq!(handle.stats(), RuntimeStats::default());
    let begun = SystemTime::now();
    let running = tokio::spawn(collector.run_to_report());
    recorded.until_events(3).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(handle.health().state, HealthState::Healthy, "{:?}", handle.health());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let health = handle.health();
    assert_eq!((health.state, health.sources[0].state), (HealthState::Degraded, HealthState::Degraded));
    assert_eq!(health.reasons[0].text, "a: its ring is gone");
    assert_eq!(health.sources[1].state, HealthState::Healthy);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let since = handle.health().sources[0].reasons[0].since;
    assert!(since >= begun && since <= health.sources[0].since, "the time is that of the first failure");
    assert_eq!(handle.stats().errors_total, 6);
    sick.store(false, SeqCst);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((handle.health().state, reasons(&handle, 0)), (HealthState::Healthy, vec![]));
    shutdown.shutdown();
    running.await.unwrap().unwrap();
    let after = handle.health();
    assert_eq!((after.state, after.reasons[0].text.as_str()), (HealthState::Failed, "the run has ended"));
}

#[tokio::test(start_paused = true)]
async fn failures_and_violations_are_visible_and_one_source_does_not_fail_the_whole() {
    let failing = TestSource::new("failing", |_| async { anyhow::bail!("no such device") });
    let policy = RestartPolicy { restarts_max: 1, ..RestartPolicy::default() };
    let mut collector = collector(config()).with_restart_policy(policy);
    collector.register(Box::new(failing)).unwrap();
    collector.register(Box::new(TestSource::sends("liar", 3).caps(SourceCaps::NETWORK))).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let (handle, shutdown) = (collector.handle(), collector.shutdown_handle());
    let running = tokio::spawn(collector.run_to_report());
    recorded.until_events(1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(reasons(&handle, 0), ["no such device; started again after 1s"]);
    assert_eq!(handle.health().sources[0].state, HealthState::Degraded);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(reasons(&handle, 0), ["no such device"]);
    assert_eq!(handle.health().sources[0].state, HealthState::Failed);
    assert_eq!(reasons(&handle, 1), ["events of a domain that it does not claim were refused"]);
    assert_eq!(handle.health().state, HealthState::Degraded);
    let stats = handle.stats();
    assert_eq!((stats.registered_sources, stats.active_components), (2, 1));
    assert_eq!((stats.events_processed, stats.errors_total), (3, 3 + 2));
    assert!((stats.error_rate() - 500.0 / 3.0).abs() < 1e-9, "three refused, two starts failed");
    shutdown.shutdown();
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_fails_is_degraded_until_it_takes_events_again() {
    let source = TestSource::new("ticks", |feed| async move {
        while !feed.is_stopped() {
            feed.send(1).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    });
    let mut collector = collector(config());
    collector.register(Box::new(source)).unwrap();
    let (sink, mut recorded) = TestSink::new("flaky", Behaviour::Fails { from: 2, until: 4 });
    collector.add_sink(sink);
    let (handle, shutdown) = (collector.handle(), collector.shutdown_handle());
    let running = tokio::spawn(collector.run_to_report());
    recorded.until_offered(4).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let health = handle.health();
    assert_eq!((health.state, health.sinks[0].state), (HealthState::Degraded, HealthState::Degraded));
    assert_eq!(health.reasons[0].text, "flaky: sink flaky failed to write: told to fail");
    recorded.until_offered(6).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(handle.health().state, HealthState::Healthy, "{:?}", handle.health());
    shutdown.shutdown();
    running.await.unwrap().unwrap();
}

/// The CPU time and the memory are held against what the kernel says at the same moment.
#[tokio::test(start_paused = true)]
async fn telemetry_comes_at_each_interval_with_true_values() {
    let source = TestSource::new("ticks", |feed| async move {
        while !feed.is_stopped() {
            feed.send(50).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    });
    let mut collector = collector(config().with_telemetry_interval(Duration::from_secs(10)));
    collector.register(Box::new(source)).unwrap();
    let (sink, _recorded) = TestSink::taking();
    collector.add_sink(sink);
    let (handle, shutdown) = (collector.handle(), collector.shutdown_handle());
    let mut telemetry = handle.telemetry();
    let running = tokio::spawn(collector.run_to_report());
    let begun = tokio::time::Instant::now();
    for _ in 0..3 {
        telemetry.changed().await.unwrap();
    }
    assert_eq!(begun.elapsed().as_secs_f64().round().to_string(), "30");
    let measured = telemetry.borrow().clone().unwrap();
    assert_eq!((measured.component.as_str(), measured.period), ("collector-core", Duration::from_secs(10)));
    assert!((measured.events_per_second - 50.0).abs() <= 5.0, "{measured:?}");
    assert!((measured.sources[0].received_per_second - 50.0).abs() <= 5.0, "{measured:?}");
    let stat = std::fs::read_to_string("/proc/self/statm").unwrap();
    let resident: f64 = stat.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0;
    let usage = measured.usage.unwrap();
    let ratio = usage.resident_bytes as f64 / resident;
    assert!((0.5..2.0).contains(&ratio), "{usage:?} against {resident}");
    assert!(usage.cpu_seconds >= 0.0 && measured.cpu_percent.unwrap() >= 0.0);
    let events = measured.as_events();
    assert!(events.iter().any(|event| event.metric_name == "collector_resident_memory_bytes"
        && event.unit == "bytes"
        && event.pid == Some(std::process::id())));
    assert!(events.iter().any(|event| event.component == "collector-core/ticks"));
    shutdown.shutdown();
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_telemetry_nothing_is_measured() {
    let mut collector =
        collector(config().with_telemetry(false).with_telemetry_interval(Duration::from_secs(1)));
    collector.register(Box::new(TestSource::sends("a", 1))).unwrap();
    let (handle, shutdown) = (collector.handle(), collector.shutdown_handle());
    let running = tokio::spawn(collector.run_to_report());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(handle.telemetry().borrow().is_none());
    shutdown.shutdown();
    running.await.unwrap().unwrap();
}

/// A source that burns CPU is seen in the run's own measurement, and its share is not more than it can be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cpu_time_that_was_used_is_measured() {
    let source = TestSource::new("burns", |feed| async move {
        while !feed.is_stopped() {
            tokio::task::yield_now().await;
        }
        Ok(())
    });
    let mut collector = collector(config().with_telemetry_interval(Duration::from_millis(100)));
    collector.register(Box::new(source)).unwrap();
    let (sink, _recorded) = TestSink::taking();
    collector.add_sink(sink);
    let (handle, shutdown) = (collector.handle(), collector.shutdown_handle());
    let mut telemetry = handle.telemetry();
    let running = tokio::spawn(run(collector));
    let is_used = |measured: &Option<Arc<Telemetry>>| {
        measured.as_ref().is_some_and(|measured| measured.cpu_percent.is_some_and(|percent| percent > 0.0))
    };
    let measured = tokio::time::timeout(DEADLINE, telemetry.wait_for(is_used)).await.expect("it is measured");
    let measured = measured.unwrap().clone().unwrap();
    let cores = std::thread::available_parallelism().unwrap().get() as f64;
    // The kernel counts in ticks of 10 ms, of which each thread may have begun one before.
    assert!(measured.cpu_percent.unwrap() <= 100.0 * cores * 2.0, "{measured:?}");
    assert!(measured.usage.unwrap().cpu_seconds > 0.0);
    shutdown.shutdown();
    running.await.unwrap();
}

/// A source with a task of its own that ends, though it should go on: nothing but its queue tells it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_whose_own_task_dies_is_degraded_and_one_that_sleeps_is_not() {
    struct OwnTask(&'static str, bool);
    #[async_trait::async_trait]
    impl EventSource for OwnTask {
        fn name(&self) -> &'static str {
            self.0
        }
        fn capabilities(&self) -> SourceCaps {
            SourceCaps::PROCESS
        }
        async fn start(&self, tx: mpsc::Sender<CollectionEvent>) -> anyhow::Result<()> {
            let dies = self.1;
            tokio::spawn(async move {
                let event = CollectionEvent::Process(ProcessEvent::default());
                tx.send(event).await.unwrap();
                if !dies {
                    tx.closed().await;
                }
            });
            Ok(())
        }
        async fn stop(&self) -> anyhow::Result<()> {
            Ok(())
        }
    }
    let mut collector = collector(config());
    collector.register(Box::new(OwnTask("dies", true))).unwrap();
    collector.register(Box::new(OwnTask("sleeps", false))).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let (handle, shutdown) = (collector.handle(), collector.shutdown_handle());
    let running = tokio::spawn(run(collector));
    recorded.until_events(2).await;
    let degraded = async {
        while handle.health().sources[0].state != HealthState::Degraded {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, degraded).await.expect("it is noticed");
    assert_eq!(reasons(&handle, 0), ["it has let go of its queue: no more events can come from it"]);
    let ready = async {
        while handle.health().sources[1].state != HealthState::Healthy {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, ready).await.expect("the other is ready");
    assert_eq!(handle.stats().active_components, 1);
    shutdown.shutdown();
    running.await.unwrap();
    assert!(reasons(&handle, 1).is_empty(), "to be stopped is no fault: {:?}", reasons(&handle, 1));
}
