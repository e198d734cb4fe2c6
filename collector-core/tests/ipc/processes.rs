//! Tasks about processes.

use crate::rig::{Client, Rig, Setting};
use crate::support::kernel_event;
use crate::wire::{Fields, Message};
use collector_core::event::EventClass;
use collector_core::process_table::SnapshotEntry;
use collector_core::{CollectionEvent, ProcessEvent};
use std::time::{Duration, SystemTime};

/// Above every pid that Linux gives.
const NOT_RUNNING: u32 = 5_000_000;

fn entry(pid: u32, ppid: u32, name: &str, exe: &str) -> SnapshotEntry {
    let exe = (!exe.is_empty()).then(|| exe.into());
    SnapshotEntry {
        pid: NOT_RUNNING + pid,
        ppid: NOT_RUNNING + ppid,
        name: name.into(),
        exe,
        ..Default::default()
    }
}

/// init -> (shell -> (python, python3), server -> worker).
fn family() -> Setting {
    Setting {
        processes: vec![
            entry(1, 0, "init", "/sbin/init"),
            entry(2, 1, "shell", "/usr/bin/shell"),
            entry(3, 1, "server", "/opt/server/bin/server"),
            entry(4, 3, "worker", "/opt/server/bin/worker"),
            entry(5, 2, "python", "/usr/bin/python"),
            entry(6, 2, "python3", ""),
        ],
        ..Setting::default()
    }
}

/// This process, as the table would know it.
fn own() -> SnapshotEntry {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let start_ticks: u64 = after_name.split(' ').nth(19).unwrap().parse().unwrap();
    SnapshotEntry {
        pid: std::process::id(),
        start_ns: start_ticks * 10_000_000,
        ppid: 1,
        name: "own".into(),
        exe: Some(std::env::current_exe().unwrap().to_str().unwrap().into()),
        exe_file: None,
        exact: false,
    }
}

fn pids(records: &[Fields]) -> Vec<u64> {
    records.iter().map(|record| record.number(1) % u64::from(NOT_RUNNING)).collect()
}

async fn told(client: &mut Client, task: u64, filter: Message) -> Vec<u64> {
    pids(&client.task(task, Message::new().message(3, filter)).await.records(4))
}

#[tokio::test]
async fn processes_are_enumerated_as_the_table_has_them() {
    let rig = Rig::new(family()).await;
    let mut client = rig.client().await;
    let records = client.task(0, Message::new()).await.records(4);
    assert_eq!(pids(&records), [1, 2, 3, 4, 5, 6]);
    let server = &records[2];
    assert_eq!(server.number(2), u64::from(NOT_RUNNING) + 1);
    assert_eq!((server.text(3), server.text(4)), ("server".to_owned(), "/opt/server/bin/server".to_owned()));
    assert!(!server.is(12) && !server.is(13), "no such process runs: nothing of it is accessible");
    assert!(!records[5].has(4), "an unknown path is absent, not empty");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    assert!((now - 60_000..=now).contains(&server.number(14)), "{}", server.number(14));
    rig.stop().await;
}

#[tokio::test]
async fn each_filter_of_processes_is_applied_and_they_combine() {
    let rig = Rig::new(family()).await;
    let client = &mut rig.client().await;
    let new = Message::new;
    let pid = |pid: u32| u64::from(NOT_RUNNING + pid);
    assert_eq!(told(client, 0, new().texts(1, &["python", "worker"])).await, [4, 5]);
    assert_eq!(told(client, 0, new().varint(2, pid(2)).varint(2, pid(6))).await, [2, 6]);
    // The same list, packed.
    let packed = new().varint(0, pid(2)).0[1..].to_vec();
    assert_eq!(told(client, 0, new().bytes(2, &packed)).await, [2]);
    assert_eq!(told(client, 0, new().text(3, "/usr/bin/*")).await, [2, 5]);
    assert_eq!(told(client, 0, new().text(3, "/opt/**/work*")).await, [4]);
    assert_eq!(told(client, 0, new().text(3, "s*")).await, [2, 3]);
    assert_eq!(told(client, 0, new().text(3, "/usr/bin/*").text(1, "shell")).await, [2]);
    assert_eq!(told(client, 0, new().text(3, "/usr/bin/*").text(1, "worker")).await, []);
    let wrong = client.task(0, new().message(3, new().text(3, "[a"))).await.refusal();
    assert!(wrong.starts_with("\"[a\" is no glob"), "{wrong}");
    rig.stop().await;
}

#[tokio::test]
async fn a_tree_is_the_filtered_processes_and_all_below_them() {
    let rig = Rig::new(family()).await;
    let client = &mut rig.client().await;
    assert_eq!(told(client, 2, Message::new()).await, [1, 2, 5, 6, 3, 4]);
    assert_eq!(told(client, 2, Message::new().text(1, "server")).await, [3, 4]);
    assert_eq!(told(client, 2, Message::new().varint(2, u64::from(NOT_RUNNING) + 2)).await, [2, 5, 6]);
    assert_eq!(told(client, 2, Message::new().text(3, "/sbin/*")).await, [1, 2, 5, 6, 3, 4]);
    rig.stop().await;
}

#[tokio::test]
async fn a_process_that_runs_is_told_with_its_details() {
    let rig = Rig::new(Setting { processes: vec![own()], ..Setting::default() }).await;
    let records = rig.client().await.task(0, Message::new()).await.records(4);
    let record = &records[0];
    assert_eq!(record.number(1), u64::from(std::process::id()));
    assert_eq!(record.texts(5), std::env::args().collect::<Vec<_>>());
    assert!(record.number(8) > 1 << 20, "{} bytes of memory", record.number(8));
    assert!(record.has(7) && record.has(11) && record.is(12) && record.is(13) && !record.has(9));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!((now - 3600..=now).contains(&record.number(6)), "started at {}", record.number(6));
    rig.stop().await;
}

#[tokio::test]
async fn processes_are_told_while_a_sink_takes_nothing() {
    let events = vec![kernel_event("source", EventClass::Process, 0)];
    let rig = Rig::new(Setting { events, stalled: true, ..family() }).await;
    let client = &mut rig.client().await;
    for _ in 0..3 {
        assert_eq!(told(client, 0, Message::new().text(1, "server")).await, [3]);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_process_that_ended_is_not_told_any_more() {
    let mut ended = kernel_event("source", EventClass::Process, 0);
    let CollectionEvent::Kernel(event) = &mut ended else { panic!("it is one") };
    (event.process.pid, event.process.start_ns) = (NOT_RUNNING + 4, 0);
    let rig = Rig::new(Setting { events: vec![ended], ..family() }).await;
    let client = &mut rig.client().await;
    assert_eq!(told(client, 0, Message::new()).await, [1, 2, 3, 5, 6]);
    rig.stop().await;
}

#[tokio::test]
async fn processes_that_sources_tell_stand_beside_those_of_the_table() {
    let timestamp = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let process = |pid: u32, name: &str| ProcessEvent {
        pid: NOT_RUNNING + pid,
        ppid: Some(NOT_RUNNING + 1),
        name: name.to_owned(),
        executable_path: Some("/opt/told".to_owned()),
        command_line: vec!["told".to_owned(), String::new()],
        start_time: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000)),
        cpu_usage: Some(1.5),
        memory_usage: Some(4096),
        executable_hash: Some("ab".to_owned()),
        user_id: Some("1000".to_owned()),
        accessible: true,
        file_exists: true,
        timestamp,
    };
    let events = [process(2, "of the table"), process(9, "before"), process(9, "told")];
    let rig = Rig::new(Setting { events: events.map(CollectionEvent::Process).to_vec(), ..family() }).await;
    let client = &mut rig.client().await;
    assert_eq!(told(client, 2, Message::new()).await, [1, 2, 5, 6, 3, 4, 9]);
    let records = client.task(0, Message::new().message(3, Message::new().text(1, "told"))).await.records(4);
    let record = &records[0];
    assert_eq!((record.texts(5), record.number(6)), (vec!["told".to_owned(), String::new()], 1_600_000_000));
    assert_eq!((record.double(7), record.number(8)), (1.5, 4096));
    assert_eq!([9, 10, 11].map(|field| record.text(field)), ["ab", "sha256", "1000"]);
    assert_eq!((record.is(12), record.is(13), record.number(14)), (true, true, 1_700_000_000_123));
    rig.stop().await;
}

#[tokio::test]
async fn a_list_that_does_not_fit_is_cut_to_what_does_and_says_so() {
    let exe = format!("/opt/{}", "x".repeat(100));
    let processes: Vec<_> = (1..=20_000).map(|pid| entry(pid, 0, "process", &exe)).collect();
    let rig = Rig::new(Setting { processes, ..Setting::default() }).await;
    let client = &mut rig.client().await;
    client.send(&crate::wire::frame(&Message::new().text(1, "all").0)).await;
    let payload = client.receive().await.unwrap();
    assert!(payload.len() > 1_000_000, "{} bytes: more would have fit", payload.len());
    let answer = Fields::parse(&payload);
    let told = answer.messages(4).len();
    assert!(answer.is(2));
    assert_eq!(
        answer.text(3),
        format!("truncated: {told} of 20000 records fit into a frame of 1048576 bytes")
    );
    assert_eq!(pids(&answer.messages(4)), (1..=told as u64).collect::<Vec<_>>());
    rig.stop().await;
}
