//! The run's metrics, read at scrape time. Label sets are closed: sources, sinks and subscriptions by the names that
//! the program gave them, classes and reasons by the framework's and the sources', never what an event holds.

use crate::accounting::{ClassAccount, Reasons};
use crate::event::EventClass;
use crate::health::HealthState;
use crate::runtime::{Live, LiveSource};
use crate::subscription::Subscribers;
use crate::telemetry::ProcessUsage;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

/// Reads a run when it is scraped; tells nothing before the run has begun.
#[derive(Debug)]
pub(crate) struct RunMetrics {
    live: Arc<OnceLock<Arc<Live>>>,
    subscribers: Subscribers,
}

/// Reasons of one class that are told by name; a source that makes up more has the rest told together.
const REASONS_MAX: usize = 16;

/// Label names and values of one series.
type Labels<'a> = Vec<(&'a str, &'a str)>;

impl RunMetrics {
    pub(crate) fn new(live: Arc<OnceLock<Arc<Live>>>, subscribers: Subscribers) -> Self {
        Self { live, subscribers }
    }
}

impl Collector for RunMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Some(live) = self.live.get() else { return Ok(()) };
        of_events(live, &mut encoder)?;
        of_sources(live, &mut encoder)?;
        of_books(live, &mut encoder)?;
        of_consumers(live, &self.subscribers, &mut encoder)?;
        of_the_whole(live, &mut encoder)
    }
}

fn of_events(live: &Live, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
    let ended = live.sources.iter().flat_map(|source| {
        let fates = [
            ("delivered", source.delivered()),
            ("internal", source.internal()),
            ("pending", source.pending()),
            ("dropped", source.dropped_sum()),
        ];
        fates.map(|(fate, count)| (vec![("source", source.name), ("fate", fate)], count))
    });
    counters(encoder, "events", "Events by how they ended", ended)?;
    let dropped = live.sources.iter().flat_map(|source| {
        let by_reason = source.dropped();
        by_reason.map(|(reason, count)| (vec![("source", source.name), ("reason", reason)], count))
    });
    counters(encoder, "dropped_events", "Events lost or refused, by reason", dropped)
}

fn of_sources(live: &Live, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
    type Read<T> = fn(&LiveSource) -> T;
    let counts: [(&str, &str, Read<u64>); 4] = [
        ("received_events", "Events read from the source's queue", LiveSource::received),
        ("source_failures", "Starts that failed, panicked or were not ready in time", LiveSource::failures),
        ("source_restarts", "Times the source was started again", LiveSource::restarts),
        ("health_check_failures", "Health checks that failed", LiveSource::health_failures),
    ];
    for (name, help, read) in counts {
        let rows = live.sources.iter().map(|source| (vec![("source", source.name)], read(source)));
        counters(encoder, name, help, rows)?;
    }
    let depths: [(&str, &str, Option<Unit>, Read<usize>); 3] = [
        ("queue_events", "Events waiting in the source's queue", None, LiveSource::queued_events),
        (
            "queue",
            "Measured bytes waiting in the source's queue",
            Some(Unit::Bytes),
            LiveSource::queued_bytes,
        ),
        (
            "queue_peak",
            "Most measured bytes that waited in the source's queue",
            Some(Unit::Bytes),
            LiveSource::queued_bytes_peak,
        ),
    ];
    for (name, help, unit, read) in depths {
        let rows = live.sources.iter().map(|source| (vec![("source", source.name)], read(source) as f64));
        gauges(encoder, name, help, unit, rows)?;
    }
    let states = live.sources.iter().flat_map(|source| in_states("source", source.name, source.state()));
    gauges(encoder, "source_health", "1 for the state that the source is in", None, states)
}

/// What the sources count themselves, before their queues: for a kernel source, what happened in the kernel.
fn of_books(live: &Live, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
    type Read = fn(&ClassAccount) -> u64;
    let books: Vec<_> =
        live.sources.iter().filter_map(|source| Some((source.name, source.account()?))).collect();
    let pages = || {
        books.iter().flat_map(|(name, books)| books.iter().map(move |(class, page)| (*name, *class, page)))
    };
    let of_class = |source, class: EventClass| vec![("source", source), ("class", class.name())];
    let counts: [(&str, &str, Read); 7] = [
        ("generated_events", "Numbers given by the kernel programs", |page| page.generated),
        ("read_records", "Records read from the rings", |page| page.read),
        ("malformed_records", "Records that did not decode", |page| page.malformed),
        ("decoded_events", "Records that became events", |page| page.decoded),
        ("filtered_events", "Events that a filter in the source removed", |page| page.filtered),
        ("merged_events", "Events that two hooks saw and one tells", |page| page.merged),
        ("missed_runs", "Program runs that the kernel skipped", |page| page.missed),
    ];
    for (name, help, read) in counts {
        let rows = pages().map(|(source, class, page)| (of_class(source, class), read(page)));
        counters(encoder, name, help, rows)?;
    }
    let in_ring = pages().map(|(source, class, page)| (of_class(source, class), page.in_ring as f64));
    gauges(encoder, "ring_records", "Records in the rings that were not read yet", None, in_ring)?;
    let dropped: Vec<_> =
        pages().map(|(source, class, page)| (source, class, bounded(&page.dropped_kernel))).collect();
    let rows = dropped.iter().flat_map(|(source, class, reasons)| {
        reasons.iter().map(|(&reason, &count)| {
            (vec![("source", *source), ("class", class.name()), ("reason", reason)], count)
        })
    });
    counters(encoder, "kernel_dropped_events", "Events lost in the kernel, by reason", rows)
}

/// The reasons, not more than a scrape can bear, whatever a source makes up.
fn bounded(reasons: &Reasons) -> BTreeMap<&str, u64> {
    let mut told = BTreeMap::new();
    for (reason, count) in reasons {
        let reason = if told.len() < REASONS_MAX { reason.as_str() } else { "other" };
        *told.entry(reason).or_default() += count;
    }
    told
}

fn of_consumers(
    live: &Live,
    subscribers: &Subscribers,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), Error> {
    let failed = live.sinks.iter().map(|sink| (vec![("sink", sink.name.as_str())], sink.failed_batches()));
    counters(encoder, "sink_failed_batches", "Batches that the sink did not take", failed)?;
    let states = live.sinks.iter().flat_map(|sink| in_states("sink", &sink.name, sink.state()));
    gauges(encoder, "sink_health", "1 for the state that the sink is in", None, states)?;
    let depths = subscribers.depths();
    let queued =
        depths.iter().map(|(name, depth)| (vec![("subscription", name.as_str())], depth.queued as f64));
    gauges(encoder, "subscription_queue_events", "Events waiting for the consumer", None, queued)?;
    let lost = depths.iter().map(|(name, depth)| (vec![("subscription", name.as_str())], depth.lost));
    counters(encoder, "subscription_lost_events", "Events for which there was no room", lost)
}

fn of_the_whole(live: &Live, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
    let stats = live.stats();
    let info = std::iter::once((vec![("component", live.component.as_str())], 1.0));
    gauges(encoder, "info", "Which component this is; always 1", None, info)?;
    let one = |value: u64| std::iter::once((Labels::new(), value));
    counters(encoder, "batches", "Batches handed on", one(live.batches.load(Relaxed)))?;
    let errors = stats.errors_total as u64;
    counters(encoder, "errors", "Losses, failed starts and failed health checks", one(errors))?;
    let told = live.errors_told().map(|(code, count)| (vec![("code", code)], count));
    counters(encoder, "error_events", "Faults of the collection itself, by code", told)?;
    let permits = "Events until the fullest queue reaches the backpressure threshold";
    let whole = [
        ("active_sources", "Sources that are ready and have not failed", None, stats.active_components),
        ("backpressure_permits", permits, None, stats.backpressure_permits_available),
        (
            "queues_bound",
            "Bytes that the sources' queues hold at most",
            Some(Unit::Bytes),
            live.queue_bytes_max,
        ),
    ];
    for (name, help, unit, value) in whole {
        gauges(encoder, name, help, unit, std::iter::once((Labels::new(), value as f64)))?;
    }
    // Read at the scrape, whatever the telemetry's interval is. Left out where /proc does not tell.
    if let Ok(usage) = ProcessUsage::read() {
        let name = prefixed("cpu");
        let help = "CPU time of the whole process, user and system";
        let cpu = encoder.encode_descriptor(&name, help, Some(&Unit::Seconds), MetricType::Counter)?;
        ConstCounter::new(usage.cpu_seconds).encode(cpu)?;
        let memory = std::iter::once((Labels::new(), usage.resident_bytes as f64));
        let help = "Resident memory of the whole process";
        gauges(encoder, "resident_memory", help, Some(Unit::Bytes), memory)?;
    }
    Ok(())
}

fn in_states<'a>(
    label: &'a str,
    name: &'a str,
    is: HealthState,
) -> impl Iterator<Item = (Labels<'a>, f64)> + 'a {
    let row = move |state: HealthState| {
        (vec![(label, name), ("state", state.name())], f64::from(u8::from(state == is)))
    };
    HealthState::ALL.into_iter().map(row)
}

fn counters<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = (Labels<'a>, u64)>,
) -> Result<(), Error> {
    let name = prefixed(name);
    let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
    for (labels, value) in rows {
        if labels.is_empty() {
            // The only series there is.
            return ConstCounter::new(value).encode(metric);
        }
        ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauges<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<Unit>,
    rows: impl Iterator<Item = (Labels<'a>, f64)>,
) -> Result<(), Error> {
    let name = prefixed(name);
    let mut metric = encoder.encode_descriptor(&name, help, unit.as_ref(), MetricType::Gauge)?;
    for (labels, value) in rows {
        if labels.is_empty() {
            // The only series there is.
            return ConstGauge::new(value).encode(metric);
        }
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn prefixed(name: &str) -> String {
    format!("collector_{name}")
}
