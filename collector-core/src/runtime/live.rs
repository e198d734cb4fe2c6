//! What can be read of a run while it runs. The batcher writes numbers per batch, never per event; conditions change
//! rarely and are behind a lock of their own each.

use super::books::{DropReason, Tally};
use super::life::isolated;
use crate::accounting::SourceAccount;
use crate::config::CollectorConfig;
use crate::event::ErrorCode;
use crate::health::{Condition, Conditions, Health, HealthReason, HealthState};
use crate::source::EventSource;
use crate::stats::RuntimeStats;
use crate::telemetry::Telemetry;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::SystemTime;
use tokio::sync::watch;
use tracing::warn;

/// One run, as it can be read from outside.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) component: String,
    pub(crate) sources: Vec<LiveSource>,
    pub(crate) sinks: Vec<LiveSink>,
    pub(crate) batches: AtomicU64,
    /// Faults told, by code.
    errors: [AtomicU64; ErrorCode::ALL.len()],
    /// Queue length from which a source counts as under backpressure.
    pub(crate) threshold: usize,
    pub(crate) telemetry: watch::Sender<Option<Arc<Telemetry>>>,
    /// What the queues hold at most, bytes.
    pub(crate) queue_bytes_max: usize,
    begun: SystemTime,
    /// The sources are being stopped.
    stopping: AtomicBool,
    ended: OnceLock<SystemTime>,
}

/// One source, as it can be read from outside.
#[derive(Debug)]
pub(crate) struct LiveSource {
    pub(crate) name: &'static str,
    conditions: Mutex<Conditions>,
    active: AtomicBool,
    failures: AtomicU64,
    restarts: AtomicU64,
    health_failures: AtomicU64,
    received: AtomicU64,
    delivered: AtomicU64,
    internal: AtomicU64,
    pending: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    /// Its queue has no room.
    full: AtomicBool,
    queued_events: AtomicUsize,
    queued_bytes: AtomicUsize,
    queued_bytes_peak: AtomicUsize,
    /// Who keeps its books. Not kept alive: what can be asked of a run outlives it.
    keeper: OnceLock<Weak<dyn EventSource>>,
    /// Its books, once they are closed.
    closed_books: OnceLock<SourceAccount>,
}

/// One sink, as it can be read from outside.
#[derive(Debug)]
pub(crate) struct LiveSink {
    pub(crate) name: String,
    conditions: Mutex<Conditions>,
    failed_batches: AtomicU64,
}

impl Live {
    pub(crate) fn new(
        config: &CollectorConfig,
        sources: impl Iterator<Item = &'static str>,
        sinks: impl Iterator<Item = String>,
        queue_bytes_each: usize,
        telemetry: watch::Sender<Option<Arc<Telemetry>>>,
    ) -> Self {
        let now = SystemTime::now();
        let sources: Vec<_> = sources.map(|name| LiveSource::new(name, now)).collect();
        let sink = |name| LiveSink {
            name,
            conditions: Mutex::new(Conditions::healthy(now)),
            failed_batches: AtomicU64::new(0),
        };
        Self {
            component: config.component_name.clone(),
            queue_bytes_max: sources.len().saturating_mul(queue_bytes_each),
            sources,
            sinks: sinks.map(sink).collect(),
            batches: AtomicU64::new(0),
            errors: [const { AtomicU64::new(0) }; ErrorCode::ALL.len()],
            threshold: config.followed_threshold(),
            telemetry,
            begun: now,
            stopping: AtomicBool::new(false),
            ended: OnceLock::new(),
        }
    }

    pub(crate) fn source(&self, index: usize) -> &LiveSource {
        &self.sources[index]
    }

    /// Notes that a condition of a source holds.
    pub(super) fn set(&self, source: usize, condition: Condition, text: String) {
        locked(&self.sources[source].conditions).set(condition, text, SystemTime::now());
    }

    /// Notes that a source sent what it may not.
    pub(super) fn tell_violation(&self, source: usize) {
        let text = "events of a domain that it does not claim were refused".to_owned();
        self.set(source, Condition::Violation, text);
    }

    pub(super) fn clear(&self, source: usize, condition: Condition) {
        locked(&self.sources[source].conditions).clear(condition, SystemTime::now());
    }

    /// Counts a fault that is told.
    pub(super) fn count_error(&self, code: ErrorCode) {
        self.errors[code as usize].fetch_add(1, Relaxed);
    }

    /// Faults told, also where there were none.
    pub(crate) fn errors_told(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ErrorCode::ALL.iter().zip(&self.errors).map(|(code, count)| (code.name(), count.load(Relaxed)))
    }

    pub(super) fn begun(&self) -> SystemTime {
        self.begun
    }

    pub(super) fn stops(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Notes that nobody can send for a source any more. Of one that works and was not asked to stop, that is a fault,
    /// and there may be no other sign of it.
    pub(super) fn tell_closed(&self, source: usize) {
        if self.source(source).is_active() && !self.stopping.load(Relaxed) {
            let name = self.source(source).name;
            warn!(source = name, "source has let go of its queue, no more events can come from it");
            self.source(source).set_active(false);
            let text = "it has let go of its queue: no more events can come from it".to_owned();
            self.set(source, Condition::LetGo, text);
        }
    }

    pub(super) fn end(&self) {
        self.ended.get_or_init(SystemTime::now);
    }

    pub(crate) fn health(&self) -> Health {
        let sources = self.sources.iter().map(|source| locked(&source.conditions).told(source.name));
        let sinks = self.sinks.iter().map(|sink| locked(&sink.conditions).told(&sink.name));
        let outside =
            self.ended.get().map(|&since| HealthReason { text: "the run has ended".to_owned(), since });
        Health::of(sources.collect(), sinks.collect(), outside, self.begun)
    }

    pub(crate) fn stats(&self) -> RuntimeStats {
        let mut stats = RuntimeStats { registered_sources: self.sources.len(), ..RuntimeStats::default() };
        let mut fullest = 0;
        let (mut processed, mut errors) = (0, 0);
        for source in &self.sources {
            let dropped = source.dropped_sum();
            processed += source.delivered() + source.internal() + source.pending() + dropped;
            errors += dropped + source.failures() + source.health_failures();
            stats.active_components += usize::from(source.is_active());
            // Where events are being dropped, the channel before a full queue is empty.
            let depth = if source.full.load(Relaxed) { usize::MAX } else { source.queued_events() };
            fullest = fullest.max(depth);
        }
        stats.events_processed = usize::try_from(processed).unwrap_or(usize::MAX);
        stats.errors_total = usize::try_from(errors).unwrap_or(usize::MAX);
        stats.backpressure_permits_available = self.threshold.saturating_sub(fullest);
        stats
    }
}

macro_rules! readers {
    ($($field:ident: $type:ty),* $(,)?) => {
        $(pub(crate) fn $field(&self) -> $type {
            self.$field.load(Relaxed)
        })*
    };
}

impl LiveSource {
    fn new(name: &'static str, now: SystemTime) -> Self {
        Self {
            name,
            conditions: Mutex::new(Conditions::healthy(now)),
            active: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            health_failures: AtomicU64::new(0),
            received: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            internal: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            dropped: std::array::from_fn(|_| AtomicU64::new(0)),
            full: AtomicBool::new(false),
            queued_events: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            queued_bytes_peak: AtomicUsize::new(0),
            keeper: OnceLock::new(),
            closed_books: OnceLock::new(),
        }
    }

    readers! {
        failures: u64, restarts: u64, health_failures: u64, received: u64, delivered: u64, internal: u64,
        pending: u64, queued_events: usize, queued_bytes: usize, queued_bytes_peak: usize,
    }

    pub(super) fn set_keeper(&self, source: &Arc<dyn EventSource>) {
        self.keeper.get_or_init(|| Arc::downgrade(source));
    }

    pub(super) fn close_books(&self, books: &SourceAccount) {
        self.closed_books.get_or_init(|| books.clone());
    }

    /// What the source has counted up to now, or had in the end; `None` if it keeps no books.
    pub(crate) fn account(&self) -> Option<SourceAccount> {
        if let Some(books) = self.closed_books.get() {
            return Some(books.clone());
        }
        let keeper = self.keeper.get()?.upgrade()?;
        isolated(self.name, "account", || keeper.account())
    }

    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Relaxed)
    }

    pub(crate) fn state(&self) -> HealthState {
        locked(&self.conditions).state()
    }

    /// Events lost or refused by reason, also where there were none.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        DropReason::ALL.iter().zip(&self.dropped).map(|(reason, count)| (reason.name(), count.load(Relaxed)))
    }

    pub(crate) fn dropped_sum(&self) -> u64 {
        self.dropped.iter().map(|count| count.load(Relaxed)).sum()
    }

    pub(super) fn set_active(&self, active: bool) {
        self.active.store(active, Relaxed);
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    pub(super) fn count_restart(&self) {
        self.restarts.fetch_add(1, Relaxed);
    }

    pub(super) fn count_health_failure(&self) {
        self.health_failures.fetch_add(1, Relaxed);
    }

    /// The batcher's alone: it is the only writer, so nothing needs to be added atomically.
    pub(super) fn publish_received(&self, events: u64) {
        self.received.store(self.received() + events, Relaxed);
    }

    /// The batcher's alone.
    pub(super) fn publish_queue(&self, events: usize, bytes: usize, full: bool) {
        self.full.store(full, Relaxed);
        self.queued_events.store(events, Relaxed);
        self.queued_bytes.store(bytes, Relaxed);
        if bytes > self.queued_bytes_peak() {
            self.queued_bytes_peak.store(bytes, Relaxed);
        }
    }

    /// The batcher's alone.
    pub(super) fn publish_tally(&self, tally: &Tally) {
        self.delivered.store(tally.delivered, Relaxed);
        self.internal.store(tally.internal, Relaxed);
        self.pending.store(tally.pending, Relaxed);
        for (reason, counter) in DropReason::ALL.into_iter().zip(&self.dropped) {
            counter.store(tally.dropped_for(reason), Relaxed);
        }
    }
}

impl LiveSink {
    pub(crate) fn failed_batches(&self) -> u64 {
        self.failed_batches.load(Relaxed)
    }

    pub(crate) fn state(&self) -> HealthState {
        locked(&self.conditions).state()
    }

    pub(super) fn count_failed_batch(&self) {
        self.failed_batches.fetch_add(1, Relaxed);
    }

    pub(super) fn set(&self, condition: Condition, text: String) {
        locked(&self.conditions).set(condition, text, SystemTime::now());
    }

    pub(super) fn clear(&self, condition: Condition) {
        locked(&self.conditions).clear(condition, SystemTime::now());
    }
}

/// Conditions are plain values: a panic while they were held cannot have left them half changed.
fn locked(conditions: &Mutex<Conditions>) -> std::sync::MutexGuard<'_, Conditions> {
    conditions.lock().unwrap_or_else(PoisonError::into_inner)
}
