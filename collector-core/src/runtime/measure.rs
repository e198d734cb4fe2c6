//! Measurements of the run, from one to the next.

use super::live::{Live, LiveSource};
use crate::telemetry::{ProcessUsage, SourceTelemetry, Telemetry};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::time::Instant;
use tracing::{debug, warn};

/// What the last measurement found.
#[derive(Debug)]
pub(crate) struct Meter {
    at: Instant,
    usage: Option<ProcessUsage>,
    processed: u64,
    dropped: u64,
    received: Vec<u64>,
}

impl Meter {
    pub(crate) fn new(live: &Live, now: Instant) -> Self {
        let usage = ProcessUsage::read();
        if let Err(error) = &usage {
            warn!(%error, "the collector cannot measure its own CPU time and memory");
        }
        Self { at: now, usage: usage.ok(), processed: 0, dropped: 0, received: vec![0; live.sources.len()] }
    }

    /// Measures, and tells whoever listens.
    pub(super) fn tell(&mut self, live: &Live, now: Instant) {
        let telemetry = self.measure(live, now);
        debug!(
            component = telemetry.component,
            cpu_percent = telemetry.cpu_percent,
            resident_bytes = telemetry.usage.map(|usage| usage.resident_bytes),
            events_per_second = telemetry.events_per_second,
            dropped_per_second = telemetry.dropped_per_second,
            "measured"
        );
        live.telemetry.send_replace(Some(Arc::new(telemetry)));
    }

    /// Measures since the last time; reads /proc.
    pub(crate) fn measure(&mut self, live: &Live, now: Instant) -> Telemetry {
        let period = now.duration_since(self.at);
        let seconds = period.as_secs_f64();
        let rate = |before: u64, after: u64| {
            if seconds > 0.0 { after.saturating_sub(before) as f64 / seconds } else { 0.0 }
        };
        let usage = ProcessUsage::read().ok();
        let cpu_percent = self
            .usage
            .zip(usage)
            .filter(|_| seconds > 0.0)
            .map(|(before, after)| (after.cpu_seconds - before.cpu_seconds).max(0.0) / seconds * 100.0);
        let dropped: u64 = live.sources.iter().map(LiveSource::dropped_sum).sum();
        let ended =
            live.sources.iter().map(|source| source.delivered() + source.internal() + source.pending());
        let processed = ended.sum::<u64>() + dropped;
        let sources = live.sources.iter().zip(&mut self.received).map(|(source, before)| {
            let received = source.received();
            let received_per_second = rate(std::mem::replace(before, received), received);
            SourceTelemetry {
                name: source.name.to_owned(),
                received_per_second,
                queued_events: source.queued_events(),
                queued_bytes: source.queued_bytes(),
            }
        });
        let telemetry = Telemetry {
            component: live.component.clone(),
            timestamp: SystemTime::now(),
            period,
            usage,
            cpu_percent,
            events_per_second: rate(self.processed, processed),
            dropped_per_second: rate(self.dropped, dropped),
            sources: sources.collect(),
        };
        (self.at, self.usage, self.processed, self.dropped) = (now, usage, processed, dropped);
        telemetry
    }
}
