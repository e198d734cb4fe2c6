//! Sources and sinks that do what a test tells them, and books of what they did.

mod sink;
mod source;

pub(crate) use sink::{Behaviour, TestSink};
#[allow(unused_imports, reason = "only the chaos tests name it")]
pub(crate) use source::Ledger;
pub(crate) use source::TestSource;

use collector_core::event::{EventClass, Exit, KernelBody, Namespaces, Origin, ProcessContext};
use collector_core::{CollectionEvent, Collector, CollectorConfig, KernelEvent, RunReport};
use std::sync::Arc;
use std::time::Duration;

/// Longer than anything a test waits for; reaching it is a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// No batch waits for time, so that tests see events as soon as they can be seen.
pub(crate) fn config() -> CollectorConfig {
    CollectorConfig::new().with_batch_timeout(Duration::ZERO)
}

pub(crate) fn collector(config: CollectorConfig) -> Collector {
    Collector::new(config).without_signal_handling()
}

/// Runs to the end, which has to come before the deadline.
pub(crate) async fn run(collector: Collector) -> RunReport {
    tokio::time::timeout(DEADLINE, collector.run_to_report()).await.expect("the run ends").unwrap()
}

/// The numbered event `seq` of a source.
pub(crate) fn kernel_event(source: &str, class: EventClass, seq: u64) -> CollectionEvent {
    let origin = Origin {
        class,
        stream: "stream".to_owned(),
        source: source.to_owned(),
        via: "raw_tp:sched_process_exit".to_owned(),
        boot_id: "boot".to_owned(),
    };
    let process = ProcessContext {
        pid: 100,
        tid: 100,
        ppid: 1,
        ns_pid: 100,
        start_ns: 1,
        name: "task".into(),
        ruid: 0,
        euid: 0,
        rgid: 0,
        egid: 0,
        loginuid: None,
        session: None,
        cap_effective: 0,
        ns: Namespaces::default(),
        cgroup_id: 0,
        exe: None,
    };
    CollectionEvent::Kernel(Box::new(KernelEvent {
        origin: Arc::new(origin),
        ktime_ns: seq,
        wall_ns: seq,
        cpu: 0,
        seq,
        abi: None,
        internal: false,
        process,
        identity: None,
        body: KernelBody::Exit(Exit { status: 0, duration_ns: 1 }),
        missing: Vec::new(),
        truncated: Vec::new(),
    }))
}

/// The source and number of a kernel event.
pub(crate) fn numbered(event: &CollectionEvent) -> Option<(&str, u64)> {
    match event {
        CollectionEvent::Kernel(event) => Some((&event.origin.source, event.seq)),
        _ => None,
    }
}
