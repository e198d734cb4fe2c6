//! What the collector measures of itself, as clients are told of it.

use super::recent::RecentEvents;
use super::time::Clocks;
use crate::event::PerformanceEvent;
use crate::telemetry::ProcessUsage;

/// The collector's own measurements at this moment; reads /proc and so blocks its thread. `began_ns` is when the
/// server began, `CLOCK_BOOTTIME`.
pub(super) fn own_metrics(component: &str, recent: &RecentEvents, began_ns: u64) -> Vec<PerformanceEvent> {
    let clocks = Clocks::now();
    let events = recent.count() as f64;
    let seconds = clocks.boottime_ns.saturating_sub(began_ns) as f64 / 1e9;
    let rate = (seconds > 0.0).then(|| events / seconds);
    // None without /proc.
    let usage = ProcessUsage::read().ok();
    let measured = [
        ("cpu_time", usage.map(|usage| usage.cpu_seconds), "seconds"),
        ("memory_rss", usage.map(|usage| usage.resident_bytes as f64), "bytes"),
        ("events", Some(events), "events"),
        ("event_rate", rate, "events/second"),
        ("uptime", Some(seconds), "seconds"),
    ];
    let event = |(metric_name, value, unit): (&str, Option<f64>, &str)| {
        Some(PerformanceEvent {
            metric_name: metric_name.to_owned(),
            value: value?,
            unit: unit.to_owned(),
            pid: Some(std::process::id()),
            component: component.to_owned(),
            timestamp: clocks.wall,
        })
    };
    measured.into_iter().filter_map(event).collect()
}
