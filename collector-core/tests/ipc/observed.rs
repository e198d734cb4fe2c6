//! Tasks that answer from events: connections, files, measurements.

use crate::rig::{Client, Rig, Setting};
use crate::wire::{Fields, Message};
use collector_core::{CollectionEvent, FilesystemEvent, NetworkEvent, PerformanceEvent};
use std::time::{Duration, SystemTime};

fn at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123)
}

fn connection(id: &str, protocol: &str, from: &str, to: &str, state: &str) -> CollectionEvent {
    CollectionEvent::Network(NetworkEvent {
        connection_id: id.to_owned(),
        source_addr: from.to_owned(),
        dest_addr: to.to_owned(),
        protocol: protocol.to_owned(),
        state: state.to_owned(),
        pid: Some(77),
        bytes_sent: 5,
        bytes_received: 6,
        timestamp: at(),
    })
}

fn file(path: &str, operation: &str) -> CollectionEvent {
    CollectionEvent::Filesystem(FilesystemEvent {
        path: path.to_owned(),
        operation: operation.to_owned(),
        pid: Some(78),
        size: Some(9),
        permissions: Some("0644".to_owned()),
        file_hash: Some("cd".to_owned()),
        timestamp: at(),
    })
}

fn metric(name: &str, value: f64, component: &str) -> CollectionEvent {
    CollectionEvent::Performance(PerformanceEvent {
        metric_name: name.to_owned(),
        value,
        unit: "percent".to_owned(),
        pid: Some(79),
        component: component.to_owned(),
        timestamp: at(),
    })
}

async fn told(client: &mut Client, task: u64, filter_field: u64, filter: Message, list: u64) -> Vec<Fields> {
    client.task(task, Message::new().message(filter_field, filter)).await.records(list)
}

fn texts(records: &[Fields], field: u64) -> Vec<String> {
    records.iter().map(|record| record.text(field)).collect()
}

#[tokio::test]
async fn connections_are_told_with_every_value_and_each_filter_is_applied() {
    let events = vec![
        connection("a", "TCP", "10.0.0.1:4000", "10.0.0.2:443", "ESTABLISHED"),
        connection("b", "UDP", "10.0.0.1:53", "10.0.0.3:53", "NONE"),
        connection("c", "TCP", "[2001:db8::1]:22", "10.0.0.2:22", "CLOSED"),
        file("/not/a/connection", "open"),
    ];
    let rig = Rig::new(Setting { events, ..Setting::default() }).await;
    let client = &mut rig.client().await;
    let records = told(client, 4, 6, Message::new(), 6).await;
    assert_eq!(texts(&records, 1), ["a", "b", "c"]);
    let first = &records[0];
    let expected = ["10.0.0.1:4000", "10.0.0.2:443", "TCP", "ESTABLISHED"];
    assert_eq!([2, 3, 4, 5].map(|field| first.text(field)), expected);
    assert_eq!([6, 7, 8, 9].map(|field| first.number(field)), [77, 5, 6, 1_700_000_000_123]);
    let cases: [(Message, &[&str]); 7] = [
        (Message::new().text(1, "tcp"), &["a", "c"]),
        (Message::new().texts(1, &["tcp", "udp"]), &["a", "b", "c"]),
        (Message::new().text(2, "10.0.0.1"), &["a", "b"]),
        (Message::new().text(2, "2001:db8::1"), &["c"]),
        (Message::new().text(3, "10.0.0.2:443"), &["a"]),
        (Message::new().texts(4, &["closed", "none"]), &["b", "c"]),
        (Message::new().text(1, "tcp").text(2, "10.0.0.1").text(4, "closed"), &[]),
    ];
    for (filter, ids) in cases {
        assert_eq!(texts(&told(client, 4, 6, filter, 6).await, 1), ids);
    }
    rig.stop().await;
}

#[tokio::test]
async fn file_operations_are_told_with_every_value_and_each_filter_is_applied() {
    let events = vec![
        file("/etc/passwd", "open"),
        file("/tmp/x/lib.so", "create"),
        file("/tmp/y.so", "unlink"),
        connection("no file", "TCP", "", "", ""),
    ];
    let rig = Rig::new(Setting { events, ..Setting::default() }).await;
    let client = &mut rig.client().await;
    let records = told(client, 5, 7, Message::new(), 7).await;
    assert_eq!(texts(&records, 2), ["/etc/passwd", "/tmp/x/lib.so", "/tmp/y.so"]);
    let first = &records[0];
    assert_eq!([3, 6, 7].map(|field| first.text(field)), ["open", "0644", "cd"]);
    assert_eq!([4, 5, 8].map(|field| first.number(field)), [78, 9, 1_700_000_000_123]);
    let mut ids = texts(&records, 1);
    ids.dedup();
    assert_eq!(ids.len(), 3, "each operation has an id of its own");
    let cases: [(Message, &[&str]); 6] = [
        (Message::new().text(1, "/etc/*"), &["/etc/passwd"]),
        (Message::new().text(1, "/tmp/*"), &["/tmp/y.so"]),
        (Message::new().texts(1, &["/tmp/**", "passwd"]), &["/etc/passwd", "/tmp/x/lib.so", "/tmp/y.so"]),
        (Message::new().texts(2, &["OPEN", "unlink"]), &["/etc/passwd", "/tmp/y.so"]),
        (Message::new().text(3, ".so"), &["/tmp/x/lib.so", "/tmp/y.so"]),
        (Message::new().text(1, "/tmp/**").text(2, "create").text(3, "so"), &["/tmp/x/lib.so"]),
    ];
    for (filter, paths) in cases {
        assert_eq!(texts(&told(client, 5, 7, filter, 7).await, 2), paths);
    }
    rig.stop().await;
}

#[tokio::test]
async fn measurements_are_told_with_the_collectors_own_and_each_filter_is_applied() {
    let events =
        vec![metric("cpu", 1.0, "procmond"), metric("cpu", 3.0, "netmond"), metric("disk", 9.0, "netmond")];
    let rig = Rig::new(Setting { events, ..Setting::default() }).await;
    let client = &mut rig.client().await;
    let own = told(client, 6, 8, Message::new().text(2, "rig"), 8).await;
    let names = [
        "cpu_seconds_total",
        "resident_memory_bytes",
        "cpu_ratio",
        "events_per_second",
        "dropped_per_second",
    ];
    assert_eq!(texts(&own, 2), names.map(|name| format!("collector_{name}")));
    assert_eq!(texts(&own, 4)[..3], ["seconds", "bytes", "ratio"]);
    assert!(own.iter().all(|record| record.number(5) == u64::from(std::process::id())));
    assert!(own[0].double(3) > 0.0 && own[1].double(3) > 1e6, "{own:?}");
    assert!(own[3].double(3) > 0.0, "three events came: {own:?}");
    let of_source = told(client, 6, 8, Message::new().text(2, "rig/source"), 8).await;
    let names = ["received_per_second", "queue_events", "queue_bytes"];
    assert_eq!(texts(&of_source, 2), names.map(|name| format!("collector_{name}")));

    let all = told(client, 6, 8, Message::new(), 8).await;
    assert_eq!(texts(&all, 2)[..3], ["cpu", "cpu", "disk"]);
    assert_eq!(all.len(), 3 + 5 + 3);
    let first = &all[0];
    assert_eq!([4, 6].map(|field| first.text(field)), ["percent", "procmond"]);
    assert_eq!((first.double(3), first.number(5), first.number(7)), (1.0, 79, 1_700_000_000_123));
    let values = |records: Vec<Fields>| records.iter().map(|record| record.double(3)).collect::<Vec<_>>();
    let cases: [(Message, &[f64]); 5] = [
        (Message::new().text(1, "cpu"), &[1.0, 3.0]),
        (Message::new().text(2, "netmond"), &[3.0, 9.0]),
        (Message::new().texts(1, &["cpu", "disk"]).entry(3, "cpu", 2.0), &[3.0, 9.0]),
        (Message::new().texts(1, &["cpu", "disk"]).entry(4, "cpu", 2.0).entry(4, "disk", 9.0), &[1.0, 9.0]),
        (Message::new().text(1, "cpu").entry(3, "cpu", 1.0).entry(4, "cpu", 1.0), &[1.0]),
    ];
    for (filter, expected) in cases {
        assert_eq!(values(told(client, 6, 8, filter, 8).await), expected);
    }
    rig.stop().await;
}

#[tokio::test]
async fn of_more_file_operations_than_fit_the_newest_are_told() {
    let events: Vec<_> = (0..4000).map(|n| file(&format!("/{n}/{}", "x".repeat(600)), "open")).collect();
    let rig = Rig::new(Setting { events, ..Setting::default() }).await;
    let answer = rig.client().await.task(5, Message::new()).await;
    assert!(answer.succeeded());
    let records = answer.0.messages(7);
    let message = format!("truncated: {} of 4000 records fit into a frame of 1048576 bytes", records.len());
    assert_eq!(answer.message(), message);
    assert!(records.last().unwrap().text(2).starts_with("/3999/"));
    assert!(records.len() > 1500, "{}", records.len());
    rig.stop().await;
}
