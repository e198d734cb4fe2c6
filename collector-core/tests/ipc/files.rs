//! Tasks that hash files.

use crate::rig::{Client, Rig, Setting};
use crate::wire::{Fields, Message};
use collector_core::process_table::SnapshotEntry;
use collector_core::{ByteSize, IpcOptions};
use std::path::PathBuf;

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const OTHER: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn file(rig: &Rig, text: &str) -> PathBuf {
    let path = rig.folder.path().join("program");
    std::fs::write(&path, text).unwrap();
    path
}

fn check(expected: &str, algorithm: &str, path: &str) -> Message {
    let check = Message::new().text(1, expected).text(2, algorithm).text(3, path);
    Message::new().message(4, check)
}

/// The hash result of a task that was done, which may have found that the hashes differ.
async fn hashed(client: &mut Client, task: u64, check: Message) -> Fields {
    let answer = client.task(task, check).await;
    assert!(answer.succeeded(), "{}", answer.message());
    answer.0.message(5)
}

#[tokio::test]
async fn a_file_is_hashed_and_compared() {
    let rig = Rig::new(Setting::default()).await;
    let path = file(&rig, "abc");
    let path = path.to_str().unwrap();
    let client = &mut rig.client().await;
    for task in [1, 3] {
        for (expected, algorithm) in [(ABC, "sha256"), (&ABC.to_uppercase(), "SHA-256"), (ABC, "")] {
            let result = hashed(client, task, check(expected, algorithm, path)).await;
            assert_eq!((result.text(1).as_str(), result.text(2).as_str()), (ABC, "sha256"));
            assert_eq!((result.text(3).as_str(), result.is(4), result.has(5)), (path, true, false));
        }
        let result = hashed(client, task, check(OTHER, "sha256", path)).await;
        assert_eq!((result.text(1).as_str(), result.is(4)), (ABC, false));
        assert_eq!(result.text(5), format!("hash mismatch: expected {OTHER}, found {ABC}"));
    }
    let result = hashed(client, 1, check("", "sha256", path)).await;
    assert_eq!(
        (result.text(1).as_str(), result.is(4)),
        (ABC, true),
        "a check without an expected hash tells it"
    );
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_hashed_is_refused_with_the_reason() {
    let rig = Rig::new(Setting {
        options: |options: IpcOptions| options.with_hash_bytes_max(ByteSize(10)),
        ..Setting::default()
    })
    .await;
    let path = file(&rig, "more than ten");
    let path = path.to_str().unwrap();
    let client = &mut rig.client().await;
    let cases = [
        (3, check(ABC, "md5", path), "Unsupported hash algorithm: \"md5\" (supported: sha256)".to_owned()),
        (3, check("", "sha256", path), "expected_hash is no SHA-256: 64 hexadecimal digits".to_owned()),
        (1, check("abc", "sha256", path), "expected_hash is no SHA-256: 64 hexadecimal digits".to_owned()),
        (1, Message::new(), "CHECK_PROCESS_HASH needs a hash_check or a process_filter".to_owned()),
        (3, Message::new(), "VERIFY_EXECUTABLE needs a hash_check".to_owned()),
        (1, check("", "", path), format!("failed to hash {path:?}: it has 13 bytes, at most 10 are hashed")),
        (1, check("", "", "bin/sh"), "failed to hash \"bin/sh\": executable_path is not absolute".to_owned()),
        (
            3,
            check(ABC, "", "/dev/null"),
            "failed to hash \"/dev/null\": it is a device, not a regular file".to_owned(),
        ),
    ];
    for (task, message, refusal) in cases {
        assert_eq!(client.task(task, message).await.refusal(), refusal);
    }
    let missing = client.task(1, check("", "", "/no/such")).await;
    assert!(missing.refusal().starts_with("failed to hash \"/no/such\": failed to read the file"));
    let result = missing.0.message(5);
    assert_eq!((result.text(3).as_str(), result.is(4), result.has(5)), ("/no/such", false, true));
    rig.stop().await;
}

#[tokio::test]
async fn the_programs_of_filtered_processes_are_hashed() {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let start_ticks: u64 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap();
    let own = SnapshotEntry {
        pid: std::process::id(),
        start_ns: start_ticks * 10_000_000,
        name: "own".into(),
        ..SnapshotEntry::default()
    };
    let other = SnapshotEntry { pid: 5_000_001, name: "other".into(), ..SnapshotEntry::default() };
    let rig = Rig::new(Setting { processes: vec![own, other], ..Setting::default() }).await;
    let client = &mut rig.client().await;
    let records = client.task(1, Message::new().message(3, Message::new().text(1, "own"))).await.records(4);
    assert_eq!(records.len(), 1);
    let path = std::env::current_exe().unwrap();
    let result = hashed(client, 1, check("", "", path.to_str().unwrap())).await;
    assert_eq!((records[0].text(9), records[0].text(10)), (result.text(1), "sha256".to_owned()));
    rig.stop().await;
}
