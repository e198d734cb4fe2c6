//! Processes as they were rendered last. Of the members of `process`, about 25, none changes between most events of a
//! process, and rendering them is half of what a line costs.
//!
//! What is kept is used only for an event that says exactly the same: user, capabilities, comm, cgroup and namespaces
//! are always those of its hook.

use super::identity::Derived;
use super::kernel::process;
use super::{key, object};
use crate::event::{KernelBody, KernelEvent, Origin, ProcessContext, ProcessIdentity};
use std::sync::Arc;

/// Threads that are remembered; a power of two. Threads whose ids differ by a multiple of it take each other's place.
const THREADS_KEPT: u32 = 256;

/// Members that are left out where the event says that they could not be read.
const LEFT_OUT: [&str; 4] = ["process.ppid", "process.name", "process.user", "process.cap_effective"];

/// One thread's process.
#[derive(Debug)]
struct Rendered {
    process: ProcessContext,
    /// Held, so that its address is not another one's.
    identity: Option<Arc<ProcessIdentity>>,
    origin: Arc<Origin>,
    /// The member `process`.
    members: Vec<u8>,
    /// The member `derived`.
    derived: Vec<u8>,
}

/// What was rendered of each thread's process, by thread id.
#[derive(Debug, Default)]
pub(super) struct RenderedProcesses(Vec<Option<Rendered>>);

impl RenderedProcesses {
    /// Writes the member `process`; gives back what to write as `derived`.
    pub(super) fn write<'a>(
        &'a mut self,
        event: &KernelEvent,
        fresh: &'a mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> &'a [u8] {
        if !is_plain(event) {
            let mut derived = Derived::default();
            member(event, &mut derived, out);
            fresh.clear();
            derived.write(fresh);
            return fresh;
        }
        if self.0.is_empty() {
            self.0.resize_with(THREADS_KEPT as usize, || None);
        }
        let slot = &mut self.0[(event.process.tid % THREADS_KEPT) as usize];
        match slot {
            Some(kept) if kept.is_of(event) => out.extend_from_slice(&kept.members),
            _ => {
                let at = out.len();
                let mut derived = Derived::default();
                member(event, &mut derived, out);
                let (mut members, mut list) =
                    slot.take().map(|old| (old.members, old.derived)).unwrap_or_default();
                members.clear();
                members.extend_from_slice(&out[at..]);
                list.clear();
                derived.write(&mut list);
                *slot = Some(Rendered {
                    // A slice of the text's shared buffer would keep all of it.
                    process: ProcessContext { name: event.process.name.detached(), ..event.process.clone() },
                    identity: event.identity.clone(),
                    origin: Arc::clone(&event.origin),
                    members,
                    derived: list,
                });
            }
        }
        slot.as_ref().map_or(&[], |kept| &kept.derived)
    }
}

impl Rendered {
    fn is_of(&self, event: &KernelEvent) -> bool {
        let same_identity = match (&self.identity, &event.identity) {
            (Some(kept), Some(known)) => Arc::ptr_eq(kept, known),
            (None, None) => true,
            _ => false,
        };
        same_identity
            && self.process == event.process
            // The boot id is part of the key.
            && (Arc::ptr_eq(&self.origin, &event.origin) || self.origin.boot_id == event.origin.boot_id)
    }
}

/// Whether what is rendered of the process depends on the process and its identity alone.
fn is_plain(event: &KernelEvent) -> bool {
    let left_out = || event.missing.iter().any(|missing| LEFT_OUT.contains(&missing.field.as_ref()));
    !matches!(event.body, KernelBody::Exec(_)) && (event.missing.is_empty() || !left_out())
}

fn member(event: &KernelEvent, derived: &mut Derived, out: &mut Vec<u8>) {
    key!(out, "process");
    object(out, |out| process(event, derived, out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{CollectionEvent, Exit, Missing, MissingReason, Namespaces};
    use crate::json::JsonEncoder;
    use crate::test_events::kernel_event;

    /// An event of a known process; the same but for what `change` does.
    fn event(change: impl FnOnce(&mut KernelEvent)) -> CollectionEvent {
        let body = KernelBody::Exit(Exit { status: 0, duration_ns: 1 });
        let mut event = KernelEvent { body, ..kernel_event(7) };
        event.process.tid = 40;
        event.process.ns = Namespaces { pid: 1, mnt: 2, net: 3, user: 4 };
        change(&mut event);
        CollectionEvent::Kernel(Box::new(event))
    }

    fn line(encoder: &mut JsonEncoder, event: &CollectionEvent) -> String {
        let mut out = Vec::new();
        encoder.encode(event, &mut out);
        String::from_utf8(out).unwrap()
    }

    type Change = Box<dyn Fn(&mut KernelEvent)>;

    #[test]
    fn whatever_changes_in_a_process_is_in_the_next_line() {
        let known = |parent: &str| {
            let identity = ProcessIdentity { parent_name: Some(parent.into()), ..ProcessIdentity::default() };
            Some(Arc::new(identity))
        };
        let unread =
            |field: &'static str| vec![Missing { field: field.into(), reason: MissingReason::Fault }];
        let changes: Vec<Change> = vec![
            Box::new(|event| event.process.pid += 1),
            Box::new(|event| event.process.tid += THREADS_KEPT),
            Box::new(|event| event.process.ppid += 1),
            Box::new(|event| event.process.ns_pid += 1),
            Box::new(|event| event.process.start_ns += 1),
            Box::new(|event| event.process.name = "other".into()),
            Box::new(|event| event.process.ruid += 1),
            Box::new(|event| event.process.euid += 1),
            Box::new(|event| event.process.rgid += 1),
            Box::new(|event| event.process.egid += 1),
            Box::new(|event| event.process.loginuid = Some(77)),
            Box::new(|event| event.process.session = Some(78)),
            Box::new(|event| event.process.cap_effective ^= 1),
            Box::new(|event| event.process.ns.pid += 1),
            Box::new(|event| event.process.ns.mnt += 1),
            Box::new(|event| event.process.ns.net += 1),
            Box::new(|event| event.process.ns.user += 1),
            Box::new(|event| event.process.cgroup_id += 1),
            Box::new(|event| event.process.exe = Some((9, 99))),
            Box::new(move |event| event.identity = known("sh")),
            Box::new(|event| {
                let origin = Origin { boot_id: "another".to_owned(), ..(*event.origin).clone() };
                event.origin = Arc::new(origin);
            }),
            Box::new(move |event| event.missing = unread("process.name")),
            Box::new(move |event| event.missing = unread("process.ppid")),
            Box::new(move |event| event.missing = unread("process.user")),
            Box::new(move |event| event.missing = unread("process.cap_effective")),
        ];
        let mut encoder = JsonEncoder::new();
        for change in &changes {
            for event in [event(|_| {}), event(|event| change(event)), event(|_| {})] {
                let alone = line(&mut JsonEncoder::new(), &event);
                assert_eq!(line(&mut encoder, &event), alone);
                assert_eq!(line(&mut encoder, &event), alone, "once more, from what was kept");
            }
        }
        let alone: Vec<_> =
            changes.iter().map(|change| line(&mut encoder, &event(|event| change(event)))).collect();
        let plain = line(&mut encoder, &event(|_| {}));
        assert!(alone.iter().all(|line| *line != plain), "each of the changes shows");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut encoder = JsonEncoder::new();
        for tid in 0..10 * THREADS_KEPT {
            line(&mut encoder, &event(|event| event.process.tid = tid));
        }
        assert_eq!(encoder.processes.0.len(), THREADS_KEPT as usize);
    }
}
