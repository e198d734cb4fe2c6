//! Metrics, as a scrape sees them.

use crate::support::{Behaviour, TestSink, TestSource, collector, config};
use collector_core::event::{ErrorCode, ErrorEvent, EventClass};
use collector_core::{CollectionEvent, SourceCaps, SubscriptionOptions};
use std::collections::BTreeSet;
use std::time::SystemTime;

/// The value of the one series that begins so.
fn value<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str, series: &str) -> T {
    let mut found =
        text.lines().filter(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    let line = found.next().unwrap_or_else(|| panic!("no {series} in\n{text}"));
    assert_eq!(found.next(), None, "a series twice makes a scrape invalid");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn counters_are_read_at_the_scrape_and_add_up() {
    let mut collector = collector(config());
    collector.register(Box::new(TestSource::sends("good", 70))).unwrap();
    collector.register(Box::new(TestSource::sends("liar", 5).caps(SourceCaps::NETWORK))).unwrap();
    let (sink, mut recorded) = TestSink::new("flaky", Behaviour::Fails { from: 1, until: 2 });
    collector.add_sink(sink);
    let handle = collector.handle();
    assert_eq!(handle.encode_metrics().unwrap(), "# EOF\n", "nothing runs");
    let _twice =
        [handle.subscribe(SubscriptionOptions::default()), handle.subscribe(SubscriptionOptions::default())];
    let running = tokio::spawn(collector.run_to_report());
    recorded.until_offered(2).await;
    handle.shutdown();
    let report = running.await.unwrap().unwrap();
    let text = handle.encode_metrics().unwrap();
    let delivered: u64 = value(&text, r#"collector_events_total{source="good",fate="delivered"}"#);
    let dropped: u64 = value(&text, r#"collector_events_total{source="good",fate="dropped"}"#);
    assert_eq!((delivered, delivered + dropped), (report.sources[0].delivered, 70));
    let refused = r#"collector_dropped_events_total{source="liar",reason="capability_violation"}"#;
    assert_eq!(value::<f64>(&text, refused).to_string(), "5");
    assert_eq!(value::<f64>(&text, r#"collector_received_events_total{source="good"}"#).to_string(), "70");
    assert_eq!(value::<f64>(&text, r#"collector_sink_failed_batches_total{sink="flaky"}"#).to_string(), "1");
    assert_eq!(value::<f64>(&text, r#"collector_queue_events{source="good"}"#).to_string(), "0");
    assert!(value::<f64>(&text, "collector_resident_memory_bytes") > 1e6);
    assert!(value::<f64>(&text, "collector_cpu_seconds_total") >= 0.0);
    assert!(value::<f64>(&text, "collector_batches_total") >= 2.0);
}

/// A source whose books say that the kernel lost some, under more reasons than a scrape bears.
#[tokio::test]
async fn what_the_kernel_counted_is_told_by_class_and_reason() {
    let source = TestSource::sends("a", 5).kernel_books(|page| {
        page.generated += 60;
        page.in_ring = 3;
        page.read += 2;
        page.malformed = 2;
        page.missed = 4;
        page.dropped_kernel = (0..55).map(|n| (format!("r{n:02}"), 1)).collect();
    });
    let mut collector = collector(config().with_component_name("monitor"));
    collector.register(Box::new(source)).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.handle();
    let running = tokio::spawn(collector.run_to_report());
    recorded.until_events(6).await;
    let during = handle.encode_metrics().unwrap();
    handle.shutdown();
    running.await.unwrap().unwrap();
    for text in [during, handle.encode_metrics().unwrap()] {
        let of = |name: &str| -> f64 { value(&text, &format!(r#"{name}{{source="a",class="process"}}"#)) };
        let names =
            ["generated_events", "read_records", "malformed_records", "decoded_events", "missed_runs"];
        let counts = names.map(|name| of(&format!("collector_{name}_total")));
        assert_eq!(format!("{counts:?}"), "[65.0, 7.0, 2.0, 5.0, 4.0]");
        assert_eq!(of("collector_ring_records").to_string(), "3");
        let dropped = |reason: &str| -> f64 {
            let labels = format!(r#"{{source="a",class="process",reason="{reason}"}}"#);
            value(&text, &format!("collector_kernel_dropped_events_total{labels}"))
        };
        assert_eq!(
            [dropped("r00"), dropped("r15"), dropped("other")].map(|count| count.to_string()),
            ["1", "1", "39"]
        );
        assert_eq!(value::<f64>(&text, r#"collector_info{component="monitor"}"#).to_string(), "1");
    }
}

#[tokio::test]
async fn a_fault_that_a_source_tells_is_counted() {
    let source = TestSource::new("finds", |feed| async move {
        let (class, code, timestamp) = (EventClass::File, ErrorCode::Canary, SystemTime::UNIX_EPOCH);
        let error = ErrorEvent { class, code, message: "gone".to_owned(), timestamp };
        feed.other(CollectionEvent::Error(Box::new(error))).await;
        Ok(())
    });
    let mut collector = collector(config());
    collector.register(Box::new(source.caps(SourceCaps::FILESYSTEM))).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.handle();
    let running = tokio::spawn(collector.run_to_report());
    recorded.until_events(2).await;
    let text = handle.encode_metrics().unwrap();
    assert_eq!(value::<u64>(&text, r#"collector_error_events_total{code="canary"}"#), 1);
    handle.shutdown();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn names_have_the_prefix_and_a_type_and_labels_are_closed() {
    let mut collector = collector(config());
    collector.register(Box::new(TestSource::sends("a", 1))).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.handle();
    let _subscription = handle.subscribe(SubscriptionOptions::default());
    let running = tokio::spawn(collector.run_to_report());
    recorded.until_events(2).await;
    let text = handle.encode_metrics().unwrap();
    handle.shutdown();
    running.await.unwrap().unwrap();
    let known = BTreeSet::from([
        "source",
        "sink",
        "subscription",
        "fate",
        "reason",
        "state",
        "code",
        "class",
        "component",
    ]);
    let mut series = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("collector_"), "{line}");
        assert!(series.insert(line.rsplit_once(' ').unwrap().0), "twice: {line}");
        let labels = line.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            assert!(known.contains(label.split_once('=').unwrap().0), "{line}");
        }
    }
    let types = text.lines().filter(|line| line.starts_with("# TYPE collector_")).count();
    assert!(series.len() > 30 && types >= 18, "{} series, {types} types", series.len());
    assert!(text.contains("# TYPE collector_events counter"), "the crate appends _total itself");
    assert!(text.ends_with("# EOF\n"));
}
