//! What the collector measures of itself.

use crate::event::PerformanceEvent;
use procfs::process::Process;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// The process's CPU time and memory, as the kernel counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// CPU time of all threads, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
}

impl ProcessUsage {
    /// Reads it from /proc/self/stat.
    ///
    /// # Errors
    /// If /proc is not there or cannot be read.
    pub fn read() -> Result<Self, procfs::ProcError> {
        let stat = Process::myself()?.stat()?;
        Ok(Self {
            cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
            resident_bytes: stat.rss * procfs::page_size(),
        })
    }
}

/// One measurement, made each `telemetry_interval`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Telemetry {
    /// The component that measured.
    pub component: String,
    /// When.
    pub timestamp: SystemTime,
    /// The time since the measurement before, or since the run began; rates are means over it.
    pub period: Duration,
    /// The whole process; `None` where /proc does not tell.
    pub usage: Option<ProcessUsage>,
    /// CPU time over the period, in percent of one core; `None` as above.
    pub cpu_percent: Option<f64>,
    /// Events that came to their end, per second.
    pub events_per_second: f64,
    /// Events lost or refused, per second.
    pub dropped_per_second: f64,
    /// Each source, in the order of registration.
    pub sources: Vec<SourceTelemetry>,
}

/// One source's part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceTelemetry {
    /// Its name.
    pub name: String,
    /// Events read from its queue, per second.
    pub received_per_second: f64,
    /// Events waiting in its queue.
    pub queued_events: usize,
    /// Bytes of them that were measured: those in the source's channel were not yet.
    pub queued_bytes: usize,
}

impl Telemetry {
    /// The measurement as events: metric names as in the metrics, base units, this process's pid.
    pub fn as_events(&self) -> Vec<PerformanceEvent> {
        let event = |name: &str, value: f64, unit: &str, component: String| PerformanceEvent {
            metric_name: format!("collector_{name}"),
            value,
            unit: unit.to_owned(),
            pid: Some(std::process::id()),
            component,
            timestamp: self.timestamp,
        };
        let whole = |name, value, unit| event(name, value, unit, self.component.clone());
        let mut events = Vec::with_capacity(5 + 3 * self.sources.len());
        if let Some(usage) = self.usage {
            events.push(whole("cpu_seconds_total", usage.cpu_seconds, "seconds"));
            events.push(whole("resident_memory_bytes", usage.resident_bytes as f64, "bytes"));
        }
        if let Some(percent) = self.cpu_percent {
            events.push(whole("cpu_ratio", percent / 100.0, "ratio"));
        }
        events.push(whole("events_per_second", self.events_per_second, "events per second"));
        events.push(whole("dropped_per_second", self.dropped_per_second, "events per second"));
        for source in &self.sources {
            let of =
                |name, value, unit| event(name, value, unit, format!("{}/{}", self.component, source.name));
            events.push(of("received_per_second", source.received_per_second, "events per second"));
            events.push(of("queue_events", source.queued_events as f64, "events"));
            events.push(of("queue_bytes", source.queued_bytes as f64, "bytes"));
        }
        events
    }
}
