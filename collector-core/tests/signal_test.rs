//! Signals end a run. Alone in its process, since a signal reaches every run in it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

#[allow(dead_code, unused_imports, reason = "the integration test uses all of it")]
mod support;

use collector_core::{Collector, EndReason};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{TestSink, TestSource, config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_stops_the_run_within_500_ms() {
    for signal in ["SIGTERM", "SIGINT"] {
        let source = TestSource::new("loops", |feed| async move {
            feed.send(10).await;
            feed.stopped().await;
            Ok(())
        });
        let mut collector = Collector::new(config());
        collector.register(Box::new(source)).unwrap();
        let (sink, mut recorded) = TestSink::taking();
        collector.add_sink(sink);
        let running = tokio::spawn(support::run(collector));
        recorded.until_events(11).await;
        let kill = format!("kill -{} {}", &signal[3..], std::process::id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let sent = Instant::now();
        let report = running.await.unwrap();
        assert_eq!(report.ended, EndReason::Signal(signal.to_owned()));
        assert!(sent.elapsed() < Duration::from_millis(500), "{:?}", sent.elapsed());
        assert_eq!(report.sources[0].delivered, 10);
    }
}
