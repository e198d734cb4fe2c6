//! Which events may pass to the sinks. Decides only; the time is an argument.

use super::books::{DropReason, Fate};
use super::live::Live;
use crate::event::{CollectionEvent, EventClass};
use crate::process_table::ProcessTable;
use crate::source::SourceCaps;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::warn;

/// At most one line in this time says that a source violates its capabilities.
const VIOLATION_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What the runtime knows of a source to judge its events.
#[derive(Debug)]
struct Claim {
    name: &'static str,
    caps: SourceCaps,
    logged_at: Option<Instant>,
    unlogged: u64,
}

/// Judges each event once.
#[derive(Debug)]
pub(super) struct Admission {
    claims: Vec<Claim>,
    processes: ProcessTable,
    live: Arc<Live>,
    /// Numbered events that may still be delivered; `None` without a limit.
    remaining: Option<u64>,
}

impl Admission {
    pub(super) fn new(
        sources: impl Iterator<Item = (&'static str, SourceCaps)>,
        processes: ProcessTable,
        limit: Option<u64>,
        live: Arc<Live>,
    ) -> Self {
        let claims = sources.map(|(name, caps)| Claim { name, caps, logged_at: None, unlogged: 0 });
        Self { claims: claims.collect(), processes, live, remaining: limit }
    }

    pub(super) fn processes(&self) -> &ProcessTable {
        &self.processes
    }

    pub(super) fn processes_mut(&mut self) -> &mut ProcessTable {
        &mut self.processes
    }

    /// Judges an event: `None` lets it pass, and otherwise this is where it ends. An event that passes, or feeds the
    /// process table, has been told what is known of its process.
    pub(super) fn judge(&mut self, source: usize, event: &mut CollectionEvent, now: Instant) -> Option<Fate> {
        let claim = &mut self.claims[source];
        // Coverage and summary have no domain: they are the runtime's to tell, once.
        let claimed = event.domain().is_some_and(|domain| claim.caps.contains(domain));
        if !claimed {
            claim.violated(event, now);
            return Some(Fate::Dropped(DropReason::CapabilityViolation));
        }
        match event {
            CollectionEvent::Kernel(event) => {
                self.processes.apply(event);
                if event.internal {
                    return Some(Fate::Internal);
                }
            }
            CollectionEvent::Loss(loss) if loss.class == EventClass::Process => {
                self.processes.exits_were_lost();
            }
            CollectionEvent::Error(event) => self.live.count_error(event.code),
            _ => {}
        }
        // A loss is told also after the limit: the books that are written at the end contain it. So is a fault.
        let after_limit = self.remaining == Some(0)
            && !matches!(event, CollectionEvent::Loss(_) | CollectionEvent::Error(_));
        after_limit.then_some(Fate::Pending)
    }

    /// Whether `waiting` numbered events are all that may still be delivered.
    pub(super) fn is_reached_by(&self, waiting: u64) -> bool {
        self.remaining == Some(waiting)
    }

    /// How many events may be read beside `waiting` numbered ones without going past the limit.
    pub(super) fn allowance(&self, waiting: u64) -> usize {
        // Once the limit is reached, what comes is judged for the books alone.
        let open = self.remaining.filter(|&remaining| remaining > waiting);
        open.map_or(usize::MAX, |remaining| usize::try_from(remaining - waiting).unwrap_or(usize::MAX))
    }

    /// Counts numbered events that were delivered; returns whether that was the last that may be.
    pub(super) fn delivered(&mut self, events: u64) -> bool {
        let Some(remaining) = &mut self.remaining else { return false };
        let was_open = *remaining > 0;
        *remaining = remaining.saturating_sub(events);
        was_open && *remaining == 0
    }
}

impl Claim {
    fn violated(&mut self, event: &CollectionEvent, now: Instant) {
        self.unlogged += 1;
        let logged_lately = self.logged_at.is_some_and(|at| now.duration_since(at) < VIOLATION_LOG_INTERVAL);
        if !logged_lately {
            let (source, caps, events) = (self.name, self.caps, self.unlogged);
            let event_type = event.event_type();
            warn!(
                source,
                ?caps,
                event_type,
                events,
                "events of a domain that the source does not claim refused"
            );
            self.logged_at = Some(now);
            self.unlogged = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Exec, KernelBody, KernelEvent, LossEvent};
    use crate::test_events::{Ended, kernel_event, live, process};
    use std::time::SystemTime;

    #[test]
    fn what_waits_is_part_of_the_limit_and_only_its_last_event_ends_the_run() {
        let processes = ProcessTable::new(1);
        let mut admission = Admission::new(std::iter::empty(), processes, Some(10), live());
        assert_eq!([0, 4, 9].map(|waiting| admission.allowance(waiting)), [10, 6, 1]);
        assert_eq!(admission.allowance(10), usize::MAX, "what comes now is for the books alone");
        assert_eq!([9, 10, 11].map(|waiting| admission.is_reached_by(waiting)), [false, true, false]);
        assert!(!admission.delivered(4));
        assert_eq!((admission.allowance(2), admission.is_reached_by(6)), (4, true));
        assert!(admission.delivered(6));
        assert!(!admission.delivered(0), "it is the last once");
    }

    fn exec(pid: u32) -> CollectionEvent {
        let event = KernelEvent {
            process: process(pid, 1),
            body: KernelBody::Exec(Exec::default()),
            ..kernel_event(0)
        };
        CollectionEvent::Kernel(Box::new(event))
    }

    fn loss(class: EventClass) -> CollectionEvent {
        let (t_first, t_last) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH);
        let reasons = [("ring_full".to_owned(), 1)].into();
        CollectionEvent::Loss(Box::new(LossEvent { class, gap: None, count: 1, t_first, t_last, reasons }))
    }

    #[test]
    fn a_loss_of_the_process_class_alone_makes_it_look_who_is_gone() {
        for (class, live_after) in [(EventClass::File, 2), (EventClass::Process, 1)] {
            let ended = Ended::default();
            ended.0.lock().unwrap().0.push(100);
            let processes = ProcessTable::new(10).with_host(Box::new(ended));
            let mut admission =
                Admission::new([("kernel", SourceCaps::all())].into_iter(), processes, None, live());
            let now = Instant::now();
            assert_eq!(admission.judge(0, &mut exec(100), now), None);
            assert_eq!(admission.judge(0, &mut loss(class), now), None);
            assert_eq!(admission.processes().live().count(), 1, "not before the next event");
            assert_eq!(admission.judge(0, &mut exec(101), now), None);
            assert_eq!(admission.processes().live().count(), live_after);
        }
    }
}
