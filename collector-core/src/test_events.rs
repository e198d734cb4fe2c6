//! Events for unit tests.

use crate::config::CollectorConfig;
use crate::event::{
    Cgroup, EventClass, Exit, KernelBody, KernelEvent, Namespaces, Origin, ProcessContext, Text,
};
use crate::process_table::HostLookup;
use crate::runtime::Live;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// An exit with this number, of the same process each time.
pub(crate) fn kernel_event(seq: u64) -> KernelEvent {
    KernelEvent {
        origin: Arc::new(Origin {
            class: EventClass::Process,
            stream: "process".to_owned(),
            source: "test".to_owned(),
            via: "raw_tp:sched_process_exit".to_owned(),
            boot_id: "boot".to_owned(),
        }),
        ktime_ns: 1_000_000 + seq,
        wall_ns: 1_700_000_000_000_000_000 + seq,
        cpu: 0,
        seq,
        abi: None,
        internal: false,
        process: process(100, 1_000),
        identity: None,
        body: KernelBody::Exit(Exit { status: 0, duration_ns: 5 }),
        missing: Vec::new(),
        truncated: Vec::new(),
    }
}

/// A process with this pid and start.
pub(crate) fn process(pid: u32, start_ns: u64) -> ProcessContext {
    ProcessContext {
        pid,
        tid: pid,
        ppid: 1,
        ns_pid: pid,
        start_ns,
        name: Text::from("task"),
        ruid: 1,
        euid: 2,
        rgid: 3,
        egid: 4,
        loginuid: None,
        session: None,
        cap_effective: 0,
        ns: Namespaces::default(),
        cgroup_id: 0,
        exe: None,
    }
}

/// A run without sources and sinks.
pub(crate) fn live() -> Arc<Live> {
    let (config, none) = (CollectorConfig::new(), watch::Sender::new(None));
    Arc::new(Live::new(&config, std::iter::empty(), std::iter::empty(), 1024, none))
}

/// A host on which these have ended, and how often it was asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ended(pub(crate) Arc<Mutex<(Vec<u32>, usize)>>);

impl HostLookup for Ended {
    fn user_name(&mut self, _: u32) -> Option<Text> {
        None
    }

    fn cgroup(&mut self, _: u64) -> Option<Arc<Cgroup>> {
        None
    }

    fn has_ended(&mut self, pid: u32) -> bool {
        let (ended, asked) = &mut *self.0.lock().unwrap();
        *asked += 1;
        ended.contains(&pid)
    }
}
