//! The last events of each domain that a client can ask for, bounded in number and in bytes.

use crate::event::{
    CollectionEvent, Connect, ConnectResult, Endpoint, FilesystemEvent, KernelBody, KernelEvent,
    NetworkEvent, Open, PerformanceEvent, ProcessContext, ProcessEvent, Text,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Events kept of each domain.
pub const IPC_RECENT_EVENTS_MAX: usize = 4096;
/// Bytes of text kept of each domain. The newest event is kept whatever its size.
pub const IPC_RECENT_BYTES_MAX: usize = 4 << 20;
/// Processes kept of those that sources without a process table tell.
pub const IPC_TOLD_PROCESSES_MAX: usize = 16_384;

/// An event with its number among those of its domain, from 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kept<E> {
    pub(super) number: u64,
    pub(super) event: E,
}

/// An event as it came. What a client is told is made of it when it asks.
#[derive(Debug)]
enum Came<E> {
    Told(E),
    Kernel(Box<KernelEvent>),
}

#[derive(Debug)]
struct Stored<E> {
    number: u64,
    event: Came<E>,
    bytes: usize,
}

#[derive(Debug)]
struct Ring<E> {
    events: VecDeque<Arc<Stored<E>>>,
    bytes: usize,
    count: u64,
}

#[derive(Debug)]
struct ToldProcess {
    number: u64,
    event: Arc<ProcessEvent>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Inner {
    network: Ring<NetworkEvent>,
    filesystem: Ring<FilesystemEvent>,
    performance: Ring<PerformanceEvent>,
    /// By pid, the last that was told of it.
    processes: BTreeMap<u32, ToldProcess>,
    /// Numbers and pids in the order they came, also of words that a later one replaced.
    process_order: VecDeque<(u64, u32)>,
    process_bytes: usize,
    events: u64,
}

/// Filled by the batcher, read by the server. The lock is taken once a batch; who reads copies pointers under it.
#[derive(Debug, Default)]
pub(crate) struct RecentEvents(Mutex<Inner>);

impl RecentEvents {
    pub(crate) fn take<'e>(&self, events: impl Iterator<Item = &'e CollectionEvent>) {
        let mut inner = self.inner();
        for event in events {
            inner.take(event);
        }
    }

    pub(super) fn network(&self) -> Vec<Kept<NetworkEvent>> {
        self.told(|inner| &inner.network, KernelEvent::as_network)
    }

    pub(super) fn filesystem(&self) -> Vec<Kept<FilesystemEvent>> {
        self.told(|inner| &inner.filesystem, KernelEvent::as_filesystem)
    }

    pub(super) fn performance(&self) -> Vec<Kept<PerformanceEvent>> {
        self.told(|inner| &inner.performance, |_| None)
    }

    /// By pid.
    pub(super) fn processes(&self) -> Vec<ProcessEvent> {
        let kept: Vec<_> = self.inner().processes.values().map(|kept| Arc::clone(&kept.event)).collect();
        kept.into_iter().map(Arc::unwrap_or_clone).collect()
    }

    fn told<E: Clone>(
        &self,
        ring: fn(&Inner) -> &Ring<E>,
        of_kernel: fn(&KernelEvent) -> Option<E>,
    ) -> Vec<Kept<E>> {
        let stored: Vec<_> = ring(&self.inner()).events.iter().map(Arc::clone).collect();
        let told = |stored: Arc<Stored<E>>| {
            let event = match &stored.event {
                Came::Told(event) => event.clone(),
                Came::Kernel(event) => of_kernel(event)?,
            };
            Some(Kept { number: stored.number, event })
        };
        stored.into_iter().filter_map(told).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // What a panic left behind is still a bounded set of whole events.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of a kernel event what a client can be told, in buffers of its own: the event's share theirs with many others.
fn kept(event: &KernelEvent, body: KernelBody) -> Box<KernelEvent> {
    Box::new(KernelEvent {
        origin: Arc::clone(&event.origin),
        process: ProcessContext { name: Text::default(), ..event.process.clone() },
        identity: None,
        body,
        missing: Vec::new(),
        truncated: Vec::new(),
        ..*event
    })
}

fn detached(endpoint: &Option<Endpoint>) -> Option<Endpoint> {
    Some(match endpoint.as_ref()? {
        Endpoint::Path(text) => Endpoint::Path(text.detached()),
        Endpoint::Abstract(text) => Endpoint::Abstract(text.detached()),
        Endpoint::Raw(text) => Endpoint::Raw(text.detached()),
        endpoint @ (Endpoint::Ip { .. } | Endpoint::Numbered { .. }) => endpoint.clone(),
    })
}

impl Inner {
    fn take(&mut self, event: &CollectionEvent) {
        self.events += 1;
        match event {
            CollectionEvent::Process(event) => self.take_process(event),
            CollectionEvent::Network(event) => {
                self.network.push(Came::Told(event.clone()), network_bytes(event));
            }
            CollectionEvent::Filesystem(event) => {
                self.filesystem.push(Came::Told(event.clone()), filesystem_bytes(event));
            }
            CollectionEvent::Kernel(event) => self.take_kernel(event),
            CollectionEvent::Performance(event) => {
                let bytes = event.metric_name.len() + event.unit.len() + event.component.len();
                self.performance.push(Came::Told(event.clone()), bytes);
            }
            // Losses, coverage and summary are no domain's events.
            _ => {}
        }
    }

    fn take_kernel(&mut self, event: &KernelEvent) {
        let text = |endpoint: &Option<Endpoint>| endpoint.as_ref().map_or(0, Endpoint::text_len);
        match &event.body {
            KernelBody::Connect(body) => {
                let (local, remote) = (detached(&body.local), detached(&body.remote));
                let bytes = text(&local) + text(&remote);
                let body = KernelBody::Connect(Connect { local, remote, ..*body });
                self.network.push(Came::Kernel(kept(event, body)), bytes);
            }
            KernelBody::ConnectResult(body) => {
                let (local, remote) = (detached(&body.local), detached(&body.remote));
                let bytes = text(&local) + text(&remote);
                let body = KernelBody::ConnectResult(ConnectResult { local, remote, ..*body });
                self.network.push(Came::Kernel(kept(event, body)), bytes);
            }
            KernelBody::Open(body) => {
                let path = body.path.as_ref().or(body.requested.as_ref()).map(Text::detached);
                let bytes = path.as_ref().map_or(0, |path| path.as_bytes().len());
                let body = KernelBody::Open(Open { path, requested: None, ..*body });
                self.filesystem.push(Came::Kernel(kept(event, body)), bytes);
            }
            // Processes of the kernel are in the process table.
            KernelBody::Exec(_)
            | KernelBody::Fork(_)
            | KernelBody::Exit(_)
            | KernelBody::ExecFailed(_)
            | KernelBody::CgroupMade(_) => {}
        }
    }

    fn take_process(&mut self, event: &ProcessEvent) {
        let (number, bytes) = (self.events, process_bytes(event));
        self.process_bytes += bytes;
        let told = ToldProcess { number, event: Arc::new(event.clone()), bytes };
        if let Some(before) = self.processes.insert(event.pid, told) {
            self.process_bytes -= before.bytes;
        }
        self.process_order.push_back((number, event.pid));
        while self.processes.len() > IPC_TOLD_PROCESSES_MAX
            || (self.process_bytes > IPC_RECENT_BYTES_MAX && self.processes.len() > 1)
        {
            // The one that was told of longest ago is the likeliest to have ended.
            let (number, pid) =
                self.process_order.pop_front().expect("every process has its place in the order");
            if self.processes.get(&pid).is_some_and(|kept| kept.number == number) {
                let gone = self.processes.remove(&pid).expect("it was found");
                self.process_bytes -= gone.bytes;
            }
        }
        if self.process_order.len() > 4 * IPC_TOLD_PROCESSES_MAX {
            // Places of processes that were told of again since; once in so many events, so this costs each next to nothing.
            self.process_order
                .retain(|(number, pid)| self.processes.get(pid).is_some_and(|kept| kept.number == *number));
        }
    }
}

impl<E> Default for Ring<E> {
    fn default() -> Self {
        Self { events: VecDeque::new(), bytes: 0, count: 0 }
    }
}

impl<E> Ring<E> {
    fn push(&mut self, event: Came<E>, bytes: usize) {
        self.count += 1;
        self.bytes += bytes;
        self.events.push_back(Arc::new(Stored { number: self.count, event, bytes }));
        while self.events.len() > IPC_RECENT_EVENTS_MAX
            || (self.bytes > IPC_RECENT_BYTES_MAX && self.events.len() > 1)
        {
            let gone = self.events.pop_front().expect("it holds more than one");
            self.bytes -= gone.bytes;
        }
    }
}

fn network_bytes(event: &NetworkEvent) -> usize {
    [&event.connection_id, &event.source_addr, &event.dest_addr, &event.protocol, &event.state]
        .into_iter()
        .map(String::len)
        .sum()
}

fn filesystem_bytes(event: &FilesystemEvent) -> usize {
    let optional = [&event.permissions, &event.file_hash].into_iter().flatten().map(String::len);
    event.path.len() + event.operation.len() + optional.sum::<usize>()
}

fn process_bytes(event: &ProcessEvent) -> usize {
    let optional = [&event.executable_path, &event.executable_hash, &event.user_id].into_iter().flatten();
    let texts = optional.chain(&event.command_line).chain([&event.name]);
    texts.map(|text| text.len() + size_of::<String>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn file(path: String) -> CollectionEvent {
        CollectionEvent::Filesystem(FilesystemEvent { path, ..FilesystemEvent::default() })
    }

    #[test]
    fn the_newest_events_are_kept_up_to_the_bound_in_number() {
        let recent = RecentEvents::default();
        let events: Vec<_> = (0..IPC_RECENT_EVENTS_MAX + 10).map(|n| file(n.to_string())).collect();
        recent.take(events.iter());
        let kept = recent.filesystem();
        assert_eq!(kept.len(), IPC_RECENT_EVENTS_MAX);
        assert_eq!((kept[0].number, kept[0].event.path.as_str()), (11, "10"));
    }

    #[test]
    fn the_newest_events_are_kept_up_to_the_bound_in_bytes() {
        let recent = RecentEvents::default();
        let quarter = "x".repeat(IPC_RECENT_BYTES_MAX / 4);
        let events: Vec<_> = (0..6).map(|_| file(quarter.clone())).collect();
        recent.take(events.iter());
        assert_eq!(recent.filesystem().iter().map(|kept| kept.number).collect::<Vec<_>>(), [3, 4, 5, 6]);
        recent.take([file("x".repeat(IPC_RECENT_BYTES_MAX + 1))].iter());
        assert_eq!(recent.filesystem().iter().map(|kept| kept.number).collect::<Vec<_>>(), [7]);
    }

    /// The buffers that kernel events share are large, and one slice keeps a whole one alive.
    #[test]
    fn kernel_events_are_told_as_they_convert_and_hold_no_buffer_of_others() {
        let shared = Text::new(bytes::Bytes::from(vec![b'x'; 4096]));
        let mut open = crate::test_events::kernel_event(1);
        open.body =
            KernelBody::Open(Open { path: Some(shared.clone()), mode: Some(0o644), ..Open::default() });
        let mut failed = open.clone();
        let requested = Some(Text::from("/asked"));
        failed.body =
            KernelBody::Open(Open { requested, errno: Some(crate::event::Errno(2)), ..Open::default() });
        let mut connect = open.clone();
        let remote = Some(Endpoint::Path(shared.clone()));
        connect.body = KernelBody::Connect(Connect { remote, ..Connect::default() });
        let events = [&open, &failed, &connect].map(|event| CollectionEvent::Kernel(Box::new(event.clone())));
        let recent = RecentEvents::default();
        recent.take(events.iter());
        let files: Vec<_> = recent.filesystem().into_iter().map(|kept| kept.event).collect();
        assert_eq!(files, [&open, &failed].map(|event| event.as_filesystem().unwrap()));
        let connections: Vec<_> = recent.network().into_iter().map(|kept| kept.event).collect();
        assert_eq!(connections, [connect.as_network().unwrap()]);
        drop((events, open, failed, connect));
        assert!(shared.is_unshared(), "a kept event holds the buffer");
    }

    #[test]
    fn of_each_process_the_last_word_is_kept_and_the_oldest_go_first() {
        let recent = RecentEvents::default();
        let told = |pid: u32, second: u64| {
            let timestamp = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            CollectionEvent::Process(ProcessEvent { pid, timestamp, ..ProcessEvent::default() })
        };
        let bound = u32::try_from(IPC_TOLD_PROCESSES_MAX).unwrap();
        let events: Vec<_> = (0..bound).map(|pid| told(pid, u64::from(pid) + 10)).collect();
        recent.take(events.iter());
        recent.take([told(0, 1), told(bound, 2)].iter());
        let kept: BTreeMap<_, _> = recent.processes().into_iter().map(|event| (event.pid, event)).collect();
        assert_eq!(kept.len(), IPC_TOLD_PROCESSES_MAX);
        assert!(kept.contains_key(&0) && !kept.contains_key(&1) && kept.contains_key(&bound));
        assert_eq!(kept[&0].timestamp, SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        for round in 0..10 {
            recent.take((2..bound).map(|pid| told(pid, round)).collect::<Vec<_>>().iter());
        }
        let inner = recent.inner();
        assert!(inner.process_order.len() <= 4 * IPC_TOLD_PROCESSES_MAX, "{}", inner.process_order.len());
        assert_eq!(inner.process_bytes, inner.processes.values().map(|kept| kept.bytes).sum::<usize>());
    }
}
