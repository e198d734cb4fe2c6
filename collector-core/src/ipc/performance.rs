//! What the collector measures of itself, as clients are told of it.

use super::recent::RecentEvents;
use super::time::Clocks;
use crate::event::PerformanceEvent;

/// The collector's own measurements at this moment; reads /proc and so blocks its thread. `began_ns` is when the
/// server began, `CLOCK_BOOTTIME`.
pub(super) fn own_metrics(component: &str, recent: &RecentEvents, began_ns: u64) -> Vec<PerformanceEvent> {
    let clocks = Clocks::now();
    let events = recent.count() as f64;
    let seconds = clocks.boottime_ns.saturating_sub(began_ns) as f64 / 1e9;
    let rate = (seconds > 0.0).then(|| events / seconds);
    let (cpu_seconds, rss_bytes) = own_usage().unzip();
    let measured = [
        ("cpu_time", cpu_seconds, "seconds"),
        ("memory_rss", rss_bytes, "bytes"),
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

/// CPU time in seconds and resident memory in bytes of this process; `None` without /proc.
fn own_usage() -> Option<(f64, f64)> {
    let stat = procfs::process::Process::myself().ok()?.stat().ok()?;
    let cpu_seconds = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second().max(1) as f64;
    Some((cpu_seconds, (stat.rss * procfs::page_size()) as f64))
}
