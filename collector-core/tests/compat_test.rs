//! What existing users of the framework rely on: names, fields, defaults, serialised forms, messages.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

use async_trait::async_trait;
use collector_core::{
    CollectionEvent, Collector, CollectorConfig, EventSource, FilesystemEvent, NetworkEvent,
    PerformanceEvent, ProcessEvent, SourceCaps,
};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

fn at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 5)
}

/// Each struct as a literal with every field: one more, one less or another type does not compile.
fn events() -> [CollectionEvent; 4] {
    [
        CollectionEvent::Process(ProcessEvent {
            pid: 1234_u32,
            ppid: Some(1_u32),
            name: "example".to_string(),
            executable_path: Some("/usr/bin/example".to_string()),
            command_line: vec!["example".to_string(), String::new()],
            start_time: Some(at()),
            cpu_usage: Some(1.5_f64),
            memory_usage: Some(4096_u64),
            executable_hash: Some("ab".to_string()),
            user_id: Some("1000".to_string()),
            accessible: true,
            file_exists: false,
            timestamp: at(),
        }),
        CollectionEvent::Network(NetworkEvent {
            connection_id: "conn_123".to_string(),
            source_addr: "127.0.0.1:1".to_string(),
            dest_addr: "127.0.0.1:2".to_string(),
            protocol: "TCP".to_string(),
            state: "ESTABLISHED".to_string(),
            pid: Some(7_u32),
            bytes_sent: 1_u64,
            bytes_received: 2_u64,
            timestamp: at(),
        }),
        CollectionEvent::Filesystem(FilesystemEvent {
            path: "/tmp/x".to_string(),
            operation: "open".to_string(),
            pid: Some(8_u32),
            size: Some(3_u64),
            permissions: Some("0644".to_string()),
            file_hash: Some("cd".to_string()),
            timestamp: at(),
        }),
        CollectionEvent::Performance(PerformanceEvent {
            metric_name: "cpu".to_string(),
            value: 0.5_f64,
            unit: "percent".to_string(),
            pid: Some(9_u32),
            component: "procmond".to_string(),
            timestamp: at(),
        }),
    ]
}

#[test]
fn an_event_is_serialised_under_its_variants_name_with_every_field() {
    let time = json!({"secs_since_epoch": 1_700_000_000, "nanos_since_epoch": 5});
    let expected = [
        json!({"Process": {
            "pid": 1234, "ppid": 1, "name": "example", "executable_path": "/usr/bin/example",
            "command_line": ["example", ""], "start_time": time, "cpu_usage": 1.5, "memory_usage": 4096,
            "executable_hash": "ab", "user_id": "1000", "accessible": true, "file_exists": false, "timestamp": time,
        }}),
        json!({"Network": {
            "connection_id": "conn_123", "source_addr": "127.0.0.1:1", "dest_addr": "127.0.0.1:2",
            "protocol": "TCP", "state": "ESTABLISHED", "pid": 7, "bytes_sent": 1, "bytes_received": 2,
            "timestamp": time,
        }}),
        json!({"Filesystem": {
            "path": "/tmp/x", "operation": "open", "pid": 8, "size": 3, "permissions": "0644", "file_hash": "cd",
            "timestamp": time,
        }}),
        json!({"Performance": {
            "metric_name": "cpu", "value": 0.5, "unit": "percent", "pid": 9, "component": "procmond",
            "timestamp": time,
        }}),
    ];
    for (event, expected) in events().into_iter().zip(expected) {
        assert_eq!(serde_json::to_value(&event).unwrap(), expected);
        assert_eq!(serde_json::from_value::<CollectionEvent>(expected).unwrap(), event);
    }
}

#[test]
fn an_event_tells_its_type_its_pid_and_its_time() {
    let told: Vec<_> =
        events().iter().map(|event| (event.event_type(), event.pid(), event.timestamp())).collect();
    assert_eq!(
        told,
        [
            ("process", Some(1234), at()),
            ("network", Some(7), at()),
            ("filesystem", Some(8), at()),
            ("performance", Some(9), at()),
        ]
    );
    assert_eq!(CollectionEvent::Network(NetworkEvent::default()).pid(), None);
}

#[test]
fn a_default_event_says_nothing_that_is_not_so() {
    let event = ProcessEvent::default();
    assert_eq!((event.pid, event.name.as_str(), event.accessible, event.file_exists), (0, "", false, false));
    assert_eq!(
        (event.ppid, event.executable_path, event.start_time, event.user_id),
        (None, None, None, None)
    );
    assert_eq!(event.timestamp, SystemTime::UNIX_EPOCH);
    let (network, file) = (NetworkEvent::default(), FilesystemEvent::default());
    assert_eq!((network.pid, network.bytes_sent, network.bytes_received), (None, 0, 0));
    assert_eq!((file.pid, file.size, file.permissions, file.file_hash), (None, None, None, None));
    assert_eq!(PerformanceEvent::default().value, 0.0);
}

#[test]
fn the_configurations_fields_and_defaults_are_these() {
    let expected = CollectorConfig {
        max_event_sources: 16,
        event_buffer_size: 1000,
        shutdown_timeout: Duration::from_secs(30),
        health_check_interval: Duration::from_secs(60),
        startup_timeout: Duration::from_secs(10),
        enable_debug_logging: false,
        max_batch_size: 100,
        batch_timeout: Duration::from_millis(100),
        backpressure_threshold: 800,
        max_backpressure_wait: Duration::from_millis(500),
        enable_telemetry: true,
        telemetry_interval: Duration::from_secs(30),
        component_name: "collector-core".to_string(),
    };
    assert_eq!(CollectorConfig::default(), expected);
    assert_eq!(CollectorConfig::new(), expected);
}

#[test]
fn each_builder_sets_its_field_and_no_other() {
    let second = Duration::from_secs(1);
    let built = CollectorConfig::new()
        .with_max_event_sources(1)
        .with_event_buffer_size(2000)
        .with_shutdown_timeout(second * 3)
        .with_health_check_interval(second * 4)
        .with_debug_logging(true)
        .with_component_name("procmond")
        .with_backpressure_threshold(6)
        .with_max_backpressure_wait(second * 7)
        .with_max_batch_size(8)
        .with_batch_timeout(second * 9)
        .with_telemetry(false)
        .with_telemetry_interval(second * 10);
    let expected = CollectorConfig {
        max_event_sources: 1,
        event_buffer_size: 2000,
        shutdown_timeout: second * 3,
        health_check_interval: second * 4,
        startup_timeout: second * 10,
        enable_debug_logging: true,
        max_batch_size: 8,
        batch_timeout: second * 9,
        backpressure_threshold: 6,
        max_backpressure_wait: second * 7,
        enable_telemetry: false,
        telemetry_interval: second * 10,
        component_name: "procmond".to_string(),
    };
    assert_eq!(built, expected);
}

#[test]
fn a_configuration_is_serialised_with_plain_values_and_times_as_serde_gives_them() {
    let value = serde_json::to_value(CollectorConfig::default()).unwrap();
    assert_eq!(value["event_buffer_size"], 1000);
    assert_eq!(value["batch_timeout"], json!({"secs": 0, "nanos": 100_000_000}));
    assert_eq!(value.as_object().unwrap().len(), 13);
    assert_eq!(serde_json::from_value::<CollectorConfig>(value).unwrap(), CollectorConfig::default());
}

#[test]
fn the_capabilities_have_these_bits_and_this_serialised_form() {
    let bits = [
        (SourceCaps::PROCESS, 1_u32, "PROCESS"),
        (SourceCaps::NETWORK, 2, "NETWORK"),
        (SourceCaps::FILESYSTEM, 4, "FILESYSTEM"),
        (SourceCaps::PERFORMANCE, 8, "PERFORMANCE"),
        (SourceCaps::REALTIME, 16, "REALTIME"),
        (SourceCaps::KERNEL_LEVEL, 32, "KERNEL_LEVEL"),
        (SourceCaps::SYSTEM_WIDE, 64, "SYSTEM_WIDE"),
    ];
    for (caps, bit, name) in bits {
        assert_eq!(caps.bits(), bit);
        assert_eq!(serde_json::to_value(caps).unwrap(), json!(name));
    }
    assert_eq!(SourceCaps::all().bits(), 127);
    let both = SourceCaps::PROCESS | SourceCaps::REALTIME;
    assert_eq!(serde_json::to_value(both).unwrap(), json!("PROCESS | REALTIME"));
    assert_eq!(serde_json::from_value::<SourceCaps>(json!("PROCESS | REALTIME")).unwrap(), both);
}

struct Named(&'static str, SourceCaps);

#[async_trait]
impl EventSource for Named {
    fn name(&self) -> &'static str {
        self.0
    }

    fn capabilities(&self) -> SourceCaps {
        self.1
    }

    async fn start(&self, _tx: mpsc::Sender<CollectionEvent>) -> anyhow::Result<()> {
        Ok(())
    }

    async fn stop(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

#[test]
fn register_refuses_with_these_words_and_leaves_what_was_there() {
    let mut collector = Collector::new(CollectorConfig::new().with_max_event_sources(2));
    assert_eq!((collector.source_count(), collector.capabilities()), (0, SourceCaps::empty()));
    collector.register(Box::new(Named("a", SourceCaps::PROCESS))).unwrap();
    let taken = collector.register(Box::new(Named("a", SourceCaps::NETWORK))).unwrap_err();
    assert_eq!(taken.to_string(), "Event source with name 'a' is already registered");
    collector.register(Box::new(Named("b", SourceCaps::FILESYSTEM | SourceCaps::REALTIME))).unwrap();
    let full = collector.register(Box::new(Named("c", SourceCaps::NETWORK))).unwrap_err();
    assert_eq!(full.to_string(), "Cannot register more than 2 event sources");
    let all = SourceCaps::PROCESS | SourceCaps::FILESYSTEM | SourceCaps::REALTIME;
    assert_eq!((collector.source_count(), collector.capabilities()), (2, all));
}

#[tokio::test]
async fn a_source_is_an_object_and_healthy_unless_it_says_otherwise() {
    let source: Arc<dyn EventSource> = Arc::new(Named("a", SourceCaps::PROCESS));
    source.health_check().await.unwrap();
}
