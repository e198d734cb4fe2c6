//! The last events of each domain that a client can ask for, bounded in number and in bytes.

use crate::event::{CollectionEvent, FilesystemEvent, NetworkEvent, PerformanceEvent, ProcessEvent};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    bytes: usize,
}

#[derive(Debug)]
struct Ring<E> {
    events: VecDeque<Kept<E>>,
    bytes: usize,
    count: u64,
}

#[derive(Debug, Default)]
struct Inner {
    network: Ring<NetworkEvent>,
    filesystem: Ring<FilesystemEvent>,
    performance: Ring<PerformanceEvent>,
    /// By pid, the last that was told of it.
    processes: BTreeMap<u32, Kept<ProcessEvent>>,
    /// Numbers and pids in the order they came, also of words that a later one replaced.
    process_order: VecDeque<(u64, u32)>,
    process_bytes: usize,
    events: u64,
}

/// Filled by the batcher, read by the server. The lock is taken once a batch.
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
        self.inner().network.events.iter().cloned().collect()
    }

    pub(super) fn filesystem(&self) -> Vec<Kept<FilesystemEvent>> {
        self.inner().filesystem.events.iter().cloned().collect()
    }

    pub(super) fn performance(&self) -> Vec<Kept<PerformanceEvent>> {
        self.inner().performance.events.iter().cloned().collect()
    }

    /// By pid.
    pub(super) fn processes(&self) -> Vec<ProcessEvent> {
        self.inner().processes.values().map(|kept| kept.event.clone()).collect()
    }

    /// Events that came by, of any kind.
    pub(super) fn count(&self) -> u64 {
        self.inner().events
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // What a panic left behind is still a bounded set of whole events.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take(&mut self, event: &CollectionEvent) {
        self.events += 1;
        match event {
            CollectionEvent::Process(event) => self.take_process(event),
            CollectionEvent::Network(event) => self.network(event.clone()),
            CollectionEvent::Filesystem(event) => self.filesystem(event.clone()),
            CollectionEvent::Kernel(event) => {
                if let Some(event) = event.as_network() {
                    self.network(event);
                } else if let Some(event) = event.as_filesystem() {
                    self.filesystem(event);
                }
            }
            CollectionEvent::Performance(event) => {
                let bytes = event.metric_name.len() + event.unit.len() + event.component.len();
                self.performance.push(event.clone(), bytes);
            }
            // Processes of the kernel are in the process table; losses, coverage and summary are no domain's events.
            _ => {}
        }
    }

    fn network(&mut self, event: NetworkEvent) {
        let bytes = network_bytes(&event);
        self.network.push(event, bytes);
    }

    fn filesystem(&mut self, event: FilesystemEvent) {
        let bytes = filesystem_bytes(&event);
        self.filesystem.push(event, bytes);
    }

    fn take_process(&mut self, event: &ProcessEvent) {
        let (number, bytes) = (self.events, process_bytes(event));
        self.process_bytes += bytes;
        if let Some(before) = self.processes.insert(event.pid, Kept { number, event: event.clone(), bytes }) {
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
    fn push(&mut self, event: E, bytes: usize) {
        self.count += 1;
        self.bytes += bytes;
        self.events.push_back(Kept { number: self.count, event, bytes });
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
        assert_eq!(recent.count(), events.len() as u64);
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
