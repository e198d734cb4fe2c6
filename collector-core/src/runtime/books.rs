//! The runtime's part of the books: where each event ended after its source handed it over.

use crate::accounting::{ClassAccount, Reasons, SourceAccount};
use crate::event::{CollectionEvent, EventClass};

/// Why the runtime lost or refused an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DropReason {
    /// Every sink failed to take its batch.
    SinkFailed,
    /// No sink took its batch before the shutdown's end.
    SinkBlocked,
    /// There is no sink.
    NoSink,
    /// Its source does not claim its domain.
    CapabilityViolation,
    /// Its source was aborted before it handed the event over.
    Stopped,
    /// Its source failed or panicked before it handed the event over.
    SourceFailed,
    /// Its source's queue was full, and its class may be dropped then.
    Backpressure,
    /// It is larger than the whole queue.
    Oversize,
}

const REASONS: usize = 8;

impl DropReason {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SinkFailed => "sink_failed",
            Self::SinkBlocked => "sink_blocked",
            Self::NoSink => "no_sink",
            Self::CapabilityViolation => "capability_violation",
            Self::Stopped => "stopped",
            Self::SourceFailed => "source_failed",
            Self::Backpressure => "backpressure",
            Self::Oversize => "too_large",
        }
    }

    pub(super) const ALL: [Self; REASONS] = [
        Self::SinkFailed,
        Self::SinkBlocked,
        Self::NoSink,
        Self::CapabilityViolation,
        Self::Stopped,
        Self::SourceFailed,
        Self::Backpressure,
        Self::Oversize,
    ];
}

/// Where an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    Internal,
    Pending,
    Dropped(DropReason),
}

/// Counts by fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) delivered: u64,
    pub(super) internal: u64,
    pub(super) pending: u64,
    dropped: [u64; REASONS],
}

impl Tally {
    pub(super) fn count(&mut self, fate: Fate, events: u64) {
        let counter = match fate {
            Fate::Delivered => &mut self.delivered,
            Fate::Internal => &mut self.internal,
            Fate::Pending => &mut self.pending,
            Fate::Dropped(reason) => &mut self.dropped[reason as usize],
        };
        *counter += events;
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.internal += other.internal;
        self.pending += other.pending;
        for (mine, theirs) in self.dropped.iter_mut().zip(other.dropped) {
            *mine += theirs;
        }
    }

    pub(super) fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    pub(super) fn dropped(&self) -> Reasons {
        let named = DropReason::ALL.into_iter().map(|reason| (reason, self.dropped[reason as usize]));
        named
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| (reason.name().to_owned(), count))
            .collect()
    }

    /// Everything that was handed over.
    pub(super) fn total(&self) -> u64 {
        self.delivered + self.internal + self.pending + self.dropped.iter().sum::<u64>()
    }
}

/// A page for each class of numbered events, and one for all others.
pub(super) const PAGES: usize = EventClass::ALL.len() + 1;
pub(super) const UNNUMBERED: usize = EventClass::ALL.len();

/// The page on which an event is booked. What is told about losses and faults is no event of its own and is on none.
pub(super) fn page(event: &CollectionEvent) -> Option<usize> {
    match event {
        CollectionEvent::Kernel(event) => Some(event.origin.class as usize),
        CollectionEvent::Loss(_) | CollectionEvent::Error(_) => None,
        _ => Some(UNNUMBERED),
    }
}

/// One source's events after its queue.
#[derive(Debug, Clone, Default)]
pub(super) struct SourceBooks {
    /// Those of the classes stand in the law's equations.
    pages: [Tally; PAGES],
}

impl SourceBooks {
    /// Counts an event.
    pub(super) fn count(&mut self, event: &CollectionEvent, fate: Fate) {
        if let Some(page) = page(event) {
            self.pages[page].count(fate, 1);
        }
    }

    /// Counts events by page, all with the same fate.
    pub(super) fn count_pages(&mut self, events: &[u64; PAGES], fate: Fate) {
        for (tally, &events) in self.pages.iter_mut().zip(events) {
            tally.count(fate, events);
        }
    }

    pub(super) fn class(&self, class: EventClass) -> &Tally {
        &self.pages[class as usize]
    }

    fn class_mut(&mut self, class: EventClass) -> &mut Tally {
        &mut self.pages[class as usize]
    }

    /// All events, numbered or not.
    pub(super) fn all(&self) -> Tally {
        let mut all = Tally::default();
        for page in &self.pages {
            all.add(page);
        }
        all
    }

    /// Counts what the source decoded and never handed over, by its own account; returns it per class.
    pub(super) fn close(&mut self, account: &SourceAccount, reason: DropReason) -> Vec<(EventClass, u64)> {
        let mut lost = Vec::new();
        for (&class, account) in account {
            let ended_in_source = account.filtered
                + account.internal
                + account.merged
                + account.pending
                + account.dropped_user.values().sum::<u64>();
            let handed_over = self.class(class).total();
            let left = account.decoded.saturating_sub(ended_in_source + handed_over);
            if left > 0 {
                self.class_mut(class).count(Fate::Dropped(reason), left);
                lost.push((class, left));
            }
        }
        lost
    }

    /// The source's account with the runtime's part added. Classes of which the source keeps no books are left out:
    /// nothing could balance them.
    pub(super) fn complete(&self, mut account: SourceAccount) -> SourceAccount {
        for (&class, account) in &mut account {
            let tally = self.class(class);
            account.add(&ClassAccount {
                delivered: tally.delivered,
                internal: tally.internal,
                pending: tally.pending,
                dropped_user: tally.dropped(),
                ..ClassAccount::default()
            });
        }
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each event has one end: what ended in the source, or was handed over, was not in its hands when it was aborted.
    #[test]
    fn leftovers_are_what_neither_ended_in_the_source_nor_was_handed_over() {
        let account = ClassAccount {
            decoded: 1000,
            filtered: 1,
            internal: 2,
            merged: 4,
            pending: 8,
            dropped_user: [("full".to_owned(), 16)].into(),
            ..ClassAccount::default()
        };
        let account: SourceAccount = [(EventClass::Network, account)].into();
        let mut books = SourceBooks::default();
        let tally = books.class_mut(EventClass::Network);
        tally.count(Fate::Delivered, 32);
        tally.count(Fate::Internal, 64);
        tally.count(Fate::Pending, 128);
        tally.count(Fate::Dropped(DropReason::SinkFailed), 256);
        let left = 1000 - 511;
        assert_eq!(books.close(&account, DropReason::Stopped), [(EventClass::Network, left)]);
        assert_eq!(books.class(EventClass::Network).dropped_for(DropReason::Stopped), left);
        assert_eq!(books.close(&account, DropReason::Stopped), [], "nothing is left over twice");
    }
}
