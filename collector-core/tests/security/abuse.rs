//! Clients that break the rules of the wire, are slow, or too many.

use crate::rig::{Client, Rig, Setting};
use crate::support::DEADLINE;
use crate::wire::{Fields, Message, crc32c, frame};
use collector_core::event::Text;
use collector_core::process_table::SnapshotEntry;
use collector_core::{IpcOptions, IpcReport};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

fn header(length: u32, crc: u32) -> Vec<u8> {
    [length.to_le_bytes(), crc.to_le_bytes()].concat()
}

fn with(options: fn(IpcOptions) -> IpcOptions) -> Setting {
    Setting { options, ..Setting::default() }
}

/// A client that was there all along is still served; how the run ended.
async fn still_serves(rig: Rig, mut bystander: Client) -> IpcReport {
    assert!(bystander.task(4, Message::new()).await.succeeded());
    let report = rig.stop().await.ipc.unwrap();
    assert!(!report.failed);
    report
}

#[tokio::test]
async fn a_broken_frame_closes_its_connection_and_no_other() {
    let good = Message::new().text(1, "a").varint(2, 4).0;
    let mut wrong_crc = frame(&good);
    wrong_crc[4] ^= 1;
    let cases = [
        ("bad checksum", wrong_crc),
        ("length 0", header(0, crc32c(b""))),
        ("over 1 MiB", header((1 << 20) + 1, 0)),
        ("largest length", header(u32::MAX, 0)),
    ];
    for (case, bytes) in cases {
        let rig = Rig::new(Setting::default()).await;
        let bystander = rig.client().await;
        let mut client = rig.client().await;
        client.send(&bytes).await;
        assert!(client.is_closed().await, "{case}: it was answered");
        let report = still_serves(rig, bystander).await;
        assert_eq!((report.closed, report.tasks), (1, 1), "{case}");
    }
}

#[tokio::test]
async fn a_frame_of_exactly_1_mib_is_taken() {
    let rig = Rig::new(Setting::default()).await;
    let mut client = rig.client().await;
    let envelope = Message::new().text(1, "a").varint(2, 4).text(5, &"x".repeat((1 << 20) - 100)).0.len();
    let filling = "x".repeat((1 << 20) - 100 + (1 << 20) - envelope);
    let task = Message::new().text(1, "a").varint(2, 4).text(5, &filling).0;
    assert_eq!(task.len(), 1 << 20);
    client.send(&frame(&task)).await;
    let answer = Fields::parse(&client.receive().await.unwrap());
    assert!(answer.is(2));
    rig.stop().await;
}

#[tokio::test]
async fn a_malformed_request_is_answered_with_an_error_and_closed() {
    let rig = Rig::new(Setting::default()).await;
    let bystander = rig.client().await;
    let mut client = rig.client().await;
    // A text that says it is longer than the message.
    client.send(&frame(&[0x0a, 50, b'x'])).await;
    let answer = Fields::parse(&client.receive().await.unwrap());
    assert!(!answer.is(2) && answer.text(3).starts_with("Malformed request: "), "{}", answer.text(3));
    assert!(client.is_closed().await);
    assert_eq!(still_serves(rig, bystander).await.closed, 1);
}

#[tokio::test]
async fn any_bytes_end_in_an_answer_or_a_closed_connection() {
    let rig = Rig::new(with(|options| options.with_max_clients(1024))).await;
    let mut payloads = Vec::new();
    let mut runner = TestRunner::new(Config { cases: 200, ..Config::default() });
    let recorded = std::cell::RefCell::new(&mut payloads);
    runner
        .run(&proptest::collection::vec(any::<u8>(), 1..200), |bytes| {
            recorded.borrow_mut().push(bytes);
            Ok(())
        })
        .unwrap();
    for payload in payloads {
        let mut client = rig.client().await;
        client.send(&frame(&payload)).await;
        assert!(client.receive().await.is_some(), "no answer to {payload:?}");
        let mut client = rig.client().await;
        client.send(&payload).await;
        client.0.shutdown().await.unwrap();
        assert!(client.is_closed().await, "bytes without a checksum were answered: {payload:?}");
    }
    let bystander = rig.client().await;
    still_serves(rig, bystander).await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_frame_is_closed() {
    let rig = Rig::new(with(|options| options.with_frame_timeout(Duration::from_millis(200)))).await;
    let bystander = rig.client().await;
    for part in [3, 8, 20] {
        let mut client = rig.client().await;
        let whole = frame(&Message::new().text(1, &"x".repeat(100)).0);
        client.send(&whole[..part]).await;
        assert!(client.is_closed().await, "{part} bytes");
    }
    assert_eq!(still_serves(rig, bystander).await.closed, 3);
}

#[tokio::test]
async fn a_client_that_trickles_its_frame_is_closed_however_regular_it_is() {
    let rig = Rig::new(with(|options| options.with_frame_timeout(Duration::from_millis(200)))).await;
    let bystander = rig.client().await;
    let client = rig.client().await;
    let (mut reads, mut writes) = client.0.into_split();
    writes.write_all(&header(1 << 20, 0)).await.unwrap();
    let trickling = tokio::spawn(async move {
        let mut beat = tokio::time::interval(Duration::from_millis(5));
        loop {
            beat.tick().await;
            if writes.write_all(&[1]).await.is_err() {
                return;
            }
        }
    });
    let begun = Instant::now();
    let mut answer = Vec::new();
    let closed = tokio::io::AsyncReadExt::read_to_end(&mut reads, &mut answer);
    let closed = tokio::time::timeout(DEADLINE, closed).await.expect("it is closed in time");
    assert!(closed.is_err() || answer.is_empty());
    assert!(begun.elapsed() >= Duration::from_millis(190), "closed too early: {:?}", begun.elapsed());
    trickling.await.unwrap();
    assert_eq!(still_serves(rig, bystander).await.closed, 1);
}

#[tokio::test]
async fn a_client_that_is_silent_for_too_long_is_closed() {
    let rig = Rig::new(with(|options| options.with_idle_timeout(Duration::from_millis(100)))).await;
    let mut client = rig.client().await;
    assert!(client.is_closed().await);
    assert_eq!(rig.stop().await.ipc.unwrap().closed, 1);
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_closed() {
    let process = |pid: u32| SnapshotEntry {
        pid: 5_000_000 + pid,
        exe: Some(Text::from("x".repeat(500).as_str())),
        ..SnapshotEntry::default()
    };
    let rig = Rig::new(Setting {
        processes: (0..4000).map(process).collect(),
        options: |options| options.with_frame_timeout(Duration::from_millis(200)),
        ..Setting::default()
    })
    .await;
    let bystander = rig.client().await;
    let mut client = rig.client().await;
    // The answer is larger than what a socket holds; the server hangs on it until it gives up. Only then does the client's own
    // side break, which is what is waited for.
    client.send(&frame(&Message::new().text(1, "a").0)).await;
    let question = frame(&Message::new().text(1, "b").varint(2, 4).0);
    let until_closed = async { while client.0.write_all(&question).await.is_ok() {} };
    tokio::time::timeout(DEADLINE, until_closed).await.expect("it is closed in time");
    assert_eq!(still_serves(rig, bystander).await.closed, 1);
}

#[tokio::test]
async fn clients_over_the_limit_are_turned_away_until_one_leaves() {
    let rig = Rig::new(with(|options| options.with_max_clients(2))).await;
    let (mut first, mut second) = (rig.client().await, rig.client().await);
    assert!(first.task(4, Message::new()).await.succeeded());
    assert!(second.task(4, Message::new()).await.succeeded());
    assert!(rig.client().await.is_closed().await, "a third was served");
    drop(first);
    let served = async {
        loop {
            let mut next = rig.client().await;
            let sent = next.0.write_all(&frame(&Message::new().text(1, "a").varint(2, 4).0)).await;
            if sent.is_ok() && next.receive().await.is_some() {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, served).await.expect("a place is free again");
    assert!(second.task(4, Message::new()).await.succeeded());
    let report = rig.stop().await.ipc.unwrap();
    assert_eq!(report.served, 3);
    assert!(report.over_limit >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_does_not_wait_for_clients() {
    let rig = Rig::new(Setting::default()).await;
    let mut idle = rig.client().await;
    assert!(idle.task(4, Message::new()).await.succeeded());
    let mut half = rig.client().await;
    half.send(&[9, 0, 0]).await;
    let socket = rig.socket.clone();
    let asked = Instant::now();
    let report = rig.stop().await;
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    assert!(report.sources[0].outcome.is_clean());
    assert!(idle.is_closed().await && half.is_closed().await);
    assert!(!socket.exists(), "the socket is left behind");
}
