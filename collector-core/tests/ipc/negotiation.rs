//! What client and server tell each other about what they can do.

use crate::rig::{ALL, Rig, Setting};
use crate::wire::Message;
use collector_core::SourceCaps;

const TASKS: [(u64, &str); 7] = [
    (0, "Process"),
    (1, "Process"),
    (2, "Process"),
    (3, "Process"),
    (4, "Network"),
    (5, "Filesystem"),
    (6, "Performance"),
];

fn with(caps: SourceCaps) -> Setting {
    Setting { caps, ..Setting::default() }
}

#[tokio::test]
async fn a_client_negotiates_with_a_collector_of_any_domain() {
    for caps in [SourceCaps::PROCESS, SourceCaps::NETWORK, SourceCaps::empty()] {
        let rig = Rig::new(with(caps)).await;
        let mut client = rig.client().await;
        let id = "capability-negotiation-5f1c";
        let task = Message::new().text(1, id).varint(2, 0).text(5, "capability_negotiation");
        let answer = client.ask(task).await;
        assert_eq!((answer.text(1).as_str(), answer.is(2), answer.has(3)), (id, true, false));
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_task_of_a_domain_that_no_source_claims_is_refused_in_the_known_words() {
    let rig = Rig::new(with(SourceCaps::REALTIME)).await;
    let mut client = rig.client().await;
    for (task, domain) in TASKS {
        let answer = client.task(task, Message::new()).await;
        assert_eq!(answer.refusal(), format!("{domain} monitoring not supported"));
    }
    rig.stop().await;
    let rig = Rig::new(with(SourceCaps::NETWORK)).await;
    let mut client = rig.client().await;
    assert!(client.task(4, Message::new()).await.succeeded());
    assert_eq!(client.task(0, Message::new()).await.refusal(), "Process monitoring not supported");
    rig.stop().await;
}

#[tokio::test]
async fn an_unknown_task_type_is_named() {
    let rig = Rig::new(Setting::default()).await;
    let mut client = rig.client().await;
    for unknown in [7, 99, i32::MAX as u64] {
        assert_eq!(
            client.task(unknown, Message::new()).await.refusal(),
            format!("Unknown task type: {unknown}")
        );
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_capability_request_is_answered_with_what_the_sources_claim() {
    let caps =
        SourceCaps::PROCESS | SourceCaps::FILESYSTEM | SourceCaps::KERNEL_LEVEL | SourceCaps::SYSTEM_WIDE;
    let rig = Rig::new(with(caps)).await;
    let mut client = rig.client().await;
    let request = |domains: &[u8]| Message::new().text(1, "client").bytes(2, domains).text(3, "1.0");
    let answer = client.ask(request(&[0, 2])).await;
    assert!(answer.is(1) && !answer.has(3));
    let told = answer.message(2);
    assert_eq!(told.numbers(1), [0, 2]);
    let advanced = told.message(2);
    assert_eq!([1, 2, 3].map(|field| advanced.is(field)), [true, false, true]);
    assert_eq!(answer.text(4), env!("CARGO_PKG_VERSION"));

    let answer = client.ask(request(&[0, 1])).await;
    assert_eq!((answer.is(1), answer.text(3).as_str()), (false, "Network monitoring not supported"));
    assert_eq!(answer.message(2).numbers(1), [0, 2], "what there is, is told all the same");
    let answer = client.ask(request(&[9])).await;
    assert_eq!((answer.is(1), answer.text(3).as_str()), (false, "Unknown monitoring domain: 9"));
    rig.stop().await;

    let rig = Rig::new(with(ALL)).await;
    let answer = rig.client().await.ask(request(&[0, 1, 2, 3])).await;
    assert!(answer.is(1));
    assert_eq!(answer.message(2).numbers(1), [0, 1, 2, 3]);
    rig.stop().await;
}

#[tokio::test]
async fn one_connection_serves_many_tasks_also_sent_at_once() {
    let rig = Rig::new(Setting::default()).await;
    let mut client = rig.client().await;
    let mut all = Vec::new();
    for n in 0..50 {
        let task = Message::new().text(1, &format!("id-{n}")).varint(2, 4);
        all.extend(crate::wire::frame(&task.0));
    }
    client.send(&all).await;
    for n in 0..50 {
        let answer = crate::wire::Fields::parse(&client.receive().await.unwrap());
        assert_eq!((answer.text(1), answer.is(2)), (format!("id-{n}"), true));
    }
    let report = rig.stop().await.ipc.unwrap();
    assert_eq!((report.served, report.tasks, report.closed, report.failed), (1, 50, 0, false));
}

#[tokio::test]
async fn an_id_too_long_to_echo_is_refused() {
    let rig = Rig::new(Setting::default()).await;
    let mut client = rig.client().await;
    let at_bound = "x".repeat(4096);
    assert_eq!(client.ask(Message::new().text(1, &at_bound).varint(2, 4)).await.text(1), at_bound);
    let answer = client.ask(Message::new().text(1, &"x".repeat(4097)).varint(2, 4)).await;
    assert_eq!(
        (answer.is(2), answer.text(3).as_str()),
        (false, "task_id has 4097 bytes, at most 4096 are echoed")
    );
    rig.stop().await;
}
