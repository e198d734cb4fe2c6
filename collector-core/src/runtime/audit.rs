//! The books while the run goes on. At every heartbeat no counter may be ahead of the one before it; once nothing has
//! moved for a while and nothing waits, every equation has to hold to the last event, as at the end.

use super::batcher::Batcher;
use super::books::SourceBooks;
use super::life::Registered;
use super::live::Live;
use crate::accounting::{ClassAccount, Imbalance, SourceAccount};
use crate::event::{CollectionEvent, ErrorCode, ErrorEvent, EventClass};
use crate::health::Condition;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tracing::error;

/// From one look at the books to the next.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(1);
/// Looks that must find the same before a source counts as idle. More than one: a busy machine may keep a source's
/// thread from its events for a while.
const STILL_LOOKS: u32 = 3;

/// Looks at the books of the sources that keep some.
pub(super) struct Audit {
    heartbeat: Interval,
    audited: Vec<Audited>,
}

struct Audited {
    index: usize,
    source: Registered,
    /// What the last look found.
    before: SourceAccount,
    still: u32,
    /// Found and told; each is told once.
    told: Vec<(EventClass, &'static str)>,
}

impl Audit {
    /// `None` if no source keeps books.
    pub(super) fn new(sources: &[Registered], now: Instant) -> Option<Self> {
        let audited = |(index, source): (usize, &Registered)| {
            let before = source.account()?;
            Some(Audited { index, source: source.clone(), before, still: 0, told: Vec::new() })
        };
        let audited: Vec<_> = sources.iter().enumerate().filter_map(audited).collect();
        let mut heartbeat = interval_at(now + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        (!audited.is_empty()).then_some(Self { heartbeat, audited })
    }

    /// Waits for the next heartbeat; for ever without an audit.
    pub(super) async fn is_due(audit: &mut Option<Self>) {
        match audit {
            Some(audit) => {
                audit.heartbeat.tick().await;
            }
            None => std::future::pending().await,
        }
    }

    /// By class, the program runs that the kernel had skipped when the books were looked at last.
    fn missed(&self) -> BTreeMap<EventClass, u64> {
        let mut sum = BTreeMap::new();
        for (&class, account) in self.audited.iter().flat_map(|audited| &audited.before) {
            *sum.entry(class).or_default() += account.missed;
        }
        sum
    }

    /// Looks at all books; gives the imbalances that were not found before, with the source they are of.
    /// `waits` says whether events of a source wait between its queue and the sinks.
    fn look(
        &mut self,
        books: &[SourceBooks],
        live: &Live,
        waits: impl Fn(usize) -> bool,
    ) -> Vec<(usize, EventClass, Imbalance)> {
        let mut found = Vec::new();
        for audited in &mut self.audited {
            let index = audited.index;
            // Read after the books, which are those of later stages.
            let Some(account) = audited.source.account() else { continue };
            let whole = books[index].complete(account);
            let moved = whole != audited.before || waits(index);
            audited.still = if moved { 0 } else { audited.still.saturating_add(1) };
            // What a source had in hand when it failed is booked at the end.
            let idle = audited.still >= STILL_LOOKS && live.source(index).failures() == 0;
            for (&class, account) in &whole {
                let result = if idle {
                    // What was still in a ring has been read by now: nothing comes any more.
                    ClassAccount { in_ring: 0, ..account.clone() }.check()
                } else {
                    account.check_running()
                };
                if let Err(imbalance) = result
                    && !audited.told.contains(&(class, imbalance.equation))
                {
                    audited.told.push((class, imbalance.equation));
                    found.push((index, class, imbalance));
                }
            }
            audited.before = whole;
        }
        found
    }
}

impl Batcher {
    /// Looks at the books, and tells what does not balance and which runs were skipped since the last look.
    pub(super) async fn audit(&mut self) {
        let Some(mut audit) = self.audit.take() else { return };
        let waits = |source| !self.intake.is_empty(source) || self.batch.has_of(source);
        for (source, class, imbalance) in audit.look(&self.books, &self.live, waits) {
            let name = self.live.source(source).name;
            error!(source = name, class = class.name(), %imbalance, "the books do not balance");
            self.live.set(source, Condition::Imbalance, imbalance.to_string());
            self.tell_imbalance(class, &imbalance).await;
        }
        let skipped = self.missed.grown(audit.missed(), SystemTime::now());
        self.audit = Some(audit);
        if !skipped.is_empty() {
            skipped.into_iter().for_each(|loss| self.untold.keep(loss));
            // Nothing else may come for a long time.
            self.hand_on().await;
        }
    }

    /// Tells that a class's books do not balance.
    pub(super) async fn tell_imbalance(&mut self, class: EventClass, imbalance: &Imbalance) {
        self.live.count_error(ErrorCode::Accounting);
        if !self.is_silent() {
            let error = ErrorEvent {
                class,
                code: ErrorCode::Accounting,
                message: imbalance.to_string(),
                timestamp: SystemTime::now(),
            };
            self.write_own(CollectionEvent::Error(Box::new(error))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CollectorConfig;
    use crate::runtime::books::Fate;
    use crate::source::{EventSource, SourceCaps};
    use crate::test_events::kernel_event;
    use async_trait::async_trait;
    use std::sync::{Arc, Mutex, PoisonError};
    use tokio::sync::{mpsc, watch};

    /// A source whose account a test writes.
    struct Written(Arc<Mutex<ClassAccount>>);

    #[async_trait]
    impl EventSource for Written {
        fn name(&self) -> &'static str {
            "written"
        }
        fn capabilities(&self) -> SourceCaps {
            SourceCaps::PROCESS
        }
        async fn start(&self, _: mpsc::Sender<CollectionEvent>) -> anyhow::Result<()> {
            Ok(())
        }
        async fn stop(&self) -> anyhow::Result<()> {
            Ok(())
        }
        fn account(&self) -> Option<SourceAccount> {
            let account = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Some([(EventClass::Process, account)].into())
        }
    }

    struct Bench {
        audit: Audit,
        account: Arc<Mutex<ClassAccount>>,
        books: Vec<SourceBooks>,
        live: Live,
        waits: bool,
    }

    impl Bench {
        fn new() -> Self {
            let account = Arc::default();
            let source = Arc::new(Written(Arc::clone(&account)));
            let sources = [Registered { source, name: "written", caps: SourceCaps::PROCESS }];
            let names = ["written"].into_iter();
            let config = CollectorConfig::default();
            let live = Live::new(&config, names, std::iter::empty(), 0, watch::Sender::new(None));
            let audit = Audit::new(&sources, Instant::now()).expect("the source keeps books");
            Self { audit, account, books: vec![SourceBooks::default()], live, waits: false }
        }

        /// The source has made this many events of its own accord, and handed them over.
        fn made(&self, events: u64) {
            let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
            (account.generated, account.read, account.decoded) = (events, events, events);
        }

        fn delivered(&mut self, events: u64) {
            for seq in 0..events {
                self.books[0].count(&CollectionEvent::Kernel(Box::new(kernel_event(seq))), Fate::Delivered);
            }
        }

        fn looks(&mut self, looks: u32) -> Vec<&'static str> {
            let mut found = Vec::new();
            for _ in 0..looks {
                let waits = self.waits;
                found.extend(self.audit.look(&self.books, &self.live, |_| waits));
            }
            found.iter().map(|(_, _, imbalance)| imbalance.equation).collect()
        }
    }

    #[tokio::test]
    async fn an_event_that_vanished_is_found_once_nothing_moves_and_told_once() {
        let mut bench = Bench::new();
        bench.made(10);
        bench.delivered(9);
        assert!(bench.looks(STILL_LOOKS).is_empty(), "it may be on its way");
        assert_eq!(bench.looks(STILL_LOOKS + 5), ["4"]);
    }

    #[tokio::test]
    async fn an_event_that_waits_is_not_lost() {
        let mut bench = Bench::new();
        bench.made(10);
        bench.delivered(9);
        bench.waits = true;
        assert!(bench.looks(20).is_empty());
        bench.waits = false;
        bench.delivered(1);
        assert!(bench.looks(20).is_empty());
    }

    #[tokio::test]
    async fn an_event_that_was_delivered_twice_is_found_at_once() {
        let mut bench = Bench::new();
        bench.made(10);
        bench.delivered(11);
        assert_eq!(bench.looks(1), ["4"]);
    }

    #[tokio::test]
    async fn a_number_without_a_record_is_found_once_nothing_moves() {
        let mut bench = Bench::new();
        bench.made(10);
        bench.delivered(10);
        {
            let mut account = bench.account.lock().unwrap_or_else(PoisonError::into_inner);
            (account.generated, account.in_ring) = (11, 1);
        }
        assert!(bench.looks(STILL_LOOKS).is_empty());
        assert_eq!(bench.looks(1), ["1+2"]);
    }

    #[tokio::test]
    async fn books_that_move_and_balance_are_left_alone() {
        let mut bench = Bench::new();
        for made in 1..50 {
            bench.made(made);
            assert!(bench.looks(1).is_empty());
            bench.delivered(1);
            assert!(bench.looks(1 + u32::try_from(made % 5).unwrap_or(0)).is_empty());
        }
    }
}
