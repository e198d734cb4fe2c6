//! What is logged, and that it is never per event.

use crate::support::{TestSink, TestSource, collector, config, run};
use std::io::Write;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The lines of a run of 1,000 events in batches of 100, everything on the test's own thread.
async fn logged(debug: bool) -> Vec<String> {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut collector = collector(config().with_debug_logging(debug).with_component_name("logs-this"));
    collector.register(Box::new(TestSource::sends("a", 1_000))).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(1_001).await;
    handle.shutdown();
    running.await.unwrap();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    text.lines().filter(|line| line.contains("collector_core")).map(str::to_owned).collect()
}

#[tokio::test]
async fn debug_logging_is_a_line_a_batch_and_off_by_default() {
    let quiet = logged(false).await;
    let batches = |lines: &[String]| lines.iter().filter(|line| line.contains("batch handed on")).count();
    assert_eq!(batches(&quiet), 0);
    assert!(quiet.len() < 20, "nothing is logged per event: {quiet:#?}");
    assert!(quiet.iter().any(|line| line.contains("logs-this")), "the component's name is in the log");
    let debug = logged(true).await;
    assert!((10..200).contains(&batches(&debug)), "{}", batches(&debug));
}
