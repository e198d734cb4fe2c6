//! How a run is, read while it runs.

use crate::support::{Behaviour, TestSink, TestSource, collector, config};
use collector_core::{CollectorHandle, HealthState, RestartPolicy, RuntimeStats, SourceCaps};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

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

/// CPU that was burnt between two measurements is in the second one.
#[tokio::test]
async fn cpu_time_that_was_used_is_measured() {
    use collector_core::ProcessUsage;
    let before = ProcessUsage::read().unwrap();
    let deadline = std::time::Instant::now() + crate::support::DEADLINE;
    let mut spun = 0_u64;
    while ProcessUsage::read().unwrap().cpu_seconds < before.cpu_seconds + 0.05 {
        assert!(std::time::Instant::now() < deadline, "no CPU time is counted");
        spun = std::hint::black_box(spun + 1);
    }
}
