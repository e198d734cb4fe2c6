//! The runtime: sources, queues, one batcher, sinks, and the order in which they begin and end.
//!
//! ```text
//! source task -> [channel, stage] \
//! source task -> [channel, stage] -> batcher task: judge, batch -> sinks, subscriptions
//! ```
//!
//! This file holds the run's life; each step's decisions are in the file named after it.

mod admit;
mod audit;
mod batch;
mod batcher;
mod books;
mod finish;
mod intake;
mod life;
mod live;
mod measure;
mod missed;
mod outlet;
mod report;
mod rest;
#[cfg(test)]
mod simulation;
mod stage;
mod stop;
mod supervise;
mod tasks;
mod untold;

pub(crate) use life::Registered;
pub(crate) use live::{Live, LiveSource};
pub(crate) use measure::Meter;
pub use report::{RunReport, SinkReport, SinkState, SourceOutcome, SourceReport};
pub use stop::{EndReason, ShutdownHandle};

use crate::backpressure::BackpressurePolicies;
use crate::config::CollectorConfig;
use crate::event::CoverageEvent;
use crate::handle::CollectorHandle;
use crate::ipc::{IpcReport, IpcTap, ReadyServer, RunningServer};
use crate::process_table::ProcessTable;
use crate::restart::RestartPolicy;
use crate::sink::EventSink;
use crate::source::SourceCaps;
use crate::subscription::Subscribers;
use admit::Admission;
use anyhow::Context;
use audit::Audit;
use batch::Batch;
use batcher::Batcher;
use books::SourceBooks;
use intake::Intake;
use missed::Missed;
use outlet::Outlet;
use stage::StageLimits;
use std::sync::Arc;
use std::time::Duration;
use stop::{Deadlines, Phase, Signals};
use supervise::{HEALTH_CHECK_MAX, Supervisor, Terms};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout_at};
use tracing::{error, info, warn};
use untold::Untold;

/// A sink that blocks its whole thread cannot be left by the task it blocks. After the deadline, this long is waited
/// for that task before the run ends without it.
const BATCHER_OVERTIME: Duration = Duration::from_millis(250);

/// Everything a run is made of.
pub(crate) struct Parts {
    pub(crate) config: CollectorConfig,
    pub(crate) sources: Vec<Registered>,
    pub(crate) sinks: Vec<Box<dyn EventSink>>,
    pub(crate) processes: ProcessTable,
    pub(crate) shutdown: ShutdownHandle,
    pub(crate) handle_signals: bool,
    pub(crate) stop_after: Option<u64>,
    pub(crate) restarts: RestartPolicy,
    pub(crate) policies: BackpressurePolicies,
    pub(crate) queue_bytes: usize,
    pub(crate) handle: CollectorHandle,
    pub(crate) subscribers: Subscribers,
    pub(crate) ipc: Option<ReadyServer>,
}

pub(crate) async fn run(parts: Parts) -> anyhow::Result<RunReport> {
    let Parts { config, sources, sinks, processes, shutdown, handle_signals, stop_after, ipc, .. } = parts;
    // Whatever way this ends, nobody waits for more.
    let _end = EndsSubscriptions(parts.subscribers.clone());
    let mut signals = match handle_signals {
        true => Some(Signals::install().context("failed to handle SIGINT, SIGTERM and SIGHUP")?),
        false => None,
    };
    if sinks.is_empty() && !parts.subscribers.are_there() {
        warn!("there is no sink: every event will be counted as dropped");
    }
    let coverage = merged_coverage(&sources);
    let live = Arc::new(Live::new(
        &config,
        sources.iter().map(|registered| registered.name),
        sinks.iter().map(|sink| sink.name().to_owned()),
        parts.queue_bytes,
        parts.handle.telemetry_sender(),
    ));
    for (registered, live) in sources.iter().zip(&live.sources) {
        live.set_keeper(&registered.source);
    }
    parts.handle.begins(Arc::clone(&live));
    let _ends = EndsLive(Arc::clone(&live));
    info!(
        component = config.component_name,
        sources = sources.len(),
        sinks = sinks.len(),
        queue_bytes_max = live.queue_bytes_max,
        "starting"
    );
    let (phase, phase_rx) = watch::channel(Phase::Running);
    let (end, mut end_rx) = oneshot::channel();
    let claims = sources.iter().map(|registered| (registered.name, registered.caps));
    let admission = Admission::new(claims, processes, stop_after, Arc::clone(&live));
    let has_ipc = ipc.is_some();
    let (server, tap) = ipc.and_then(|ipc| start_server(ipc, &sources, &live)).unzip();
    let books = vec![SourceBooks::default(); sources.len()];
    let terms = Terms {
        startup_timeout: config.startup_timeout,
        check_timeout: config.health_check_interval.min(HEALTH_CHECK_MAX),
        restarts: parts.restarts,
    };
    let (channel_events, stage_events) = intake::divide(config.event_buffer_size);
    let limits = StageLimits {
        events_max: stage_events,
        bytes_max: parts.queue_bytes,
        threshold: config.followed_threshold(),
        wait_max: config.max_backpressure_wait,
        policies: parts.policies,
    };
    let audit = Audit::new(&sources, Instant::now());
    let batch = Batch::new(sources.len(), config.max_batch_size, config.batch_timeout);
    let caps: Vec<_> = sources.iter().map(|registered| registered.caps).collect();
    let (mut supervisor, receivers) = Supervisor::start(sources, channel_events, terms, &live);
    let batcher = Batcher {
        intake: Intake::new(receivers, caps.into_iter(), limits, Arc::clone(&live)),
        refused: Vec::new(),
        batch,
        admission,
        books,
        untold: Untold::default(),
        unwritten: Untold::default(),
        missed: Missed::new(live.begun()),
        outlet: Outlet::new(sinks, phase_rx.clone(), Arc::clone(&live)),
        unflushed: false,
        ipc: tap,
        phase: phase_rx,
        live: Arc::clone(&live),
        audit,
        log_batches: config.enable_debug_logging,
        subscribers: parts.subscribers.clone(),
        end: Some(end),
    };
    // A set of one: dropping this future must not leave the task behind.
    let mut batcher_task = JoinSet::new();
    batcher_task.spawn(batcher.run(coverage));

    let mut checks = ticks(config.health_check_interval);
    let mut meter = config.enable_telemetry.then(|| Meter::new(&live, Instant::now()));
    let mut measurements = ticks(config.telemetry_interval);
    let ended = loop {
        if stop_after == Some(0) {
            break EndReason::StopAfter;
        }
        tokio::select! {
            () = shutdown.triggered() => break EndReason::Handle,
            signal = Signals::received(&mut signals) => break EndReason::Signal(signal.to_owned()),
            // An error means that the batcher is gone; what it has to say is read below.
            reason = &mut end_rx => break reason.unwrap_or(EndReason::Handle),
            () = supervisor.watch() => break EndReason::AllSourcesFailed,
            _ = checks.tick() => supervisor.check_health(),
            now = measurements.tick(), if meter.is_some() => {
                if let Some(meter) = &mut meter {
                    meter.tell(&live, now);
                }
            }
        }
    };
    info!(?ended, "stopping");
    let deadlines = Deadlines::new(Instant::now(), config.shutdown_timeout);
    live.stops();
    phase.send_replace(Phase::Stopping(deadlines));
    if let Some(server) = &server {
        server.stop();
    }
    supervisor.stop(deadlines.sources).await;
    phase.send_replace(Phase::Draining(deadlines));
    let batcher = timeout_at(deadlines.sinks + BATCHER_OVERTIME, batcher_task.join_next())
        .await
        .context("a sink blocked its thread beyond the shutdown timeout; its events are lost")?
        .expect("the set has one task")
        .context("a sink panicked; the events it held are lost")?;
    let mut report = finish::finish(ended, supervisor, batcher).await;
    report.ipc = match server {
        Some(server) => Some(server.ended().await),
        None => has_ipc.then(IpcReport::of_failed),
    };
    info!(ended = ?report.ended, summary_told = report.summary_told, "stopped");
    Ok(report)
}

/// The first tick comes after one interval.
fn ticks(interval: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Ends all subscriptions when it is dropped.
struct EndsSubscriptions(Subscribers);

impl Drop for EndsSubscriptions {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Notes the run's end when it is dropped.
struct EndsLive(Arc<Live>);

impl Drop for EndsLive {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A server that cannot begin is reported, and the collector goes on without it.
fn start_server(
    ipc: ReadyServer,
    sources: &[Registered],
    live: &Arc<Live>,
) -> Option<(RunningServer, IpcTap)> {
    let caps = sources.iter().fold(SourceCaps::empty(), |all, registered| all | registered.caps);
    ipc.start(caps, Arc::clone(live))
        .inspect_err(|failure| error!(%failure, "the IPC server cannot begin"))
        .ok()
}

/// What all sources together cover; `None` if none can say.
fn merged_coverage(sources: &[Registered]) -> Option<CoverageEvent> {
    sources.iter().filter_map(Registered::coverage).reduce(|mut all, one| {
        if all.kernel.is_empty() {
            all.kernel = one.kernel;
        }
        all.timestamp = all.timestamp.max(one.timestamp);
        for (class, coverage) in one.classes {
            let merged = all.classes.entry(class).or_default();
            merged.hooks.extend(coverage.hooks);
            for blind in coverage.blind {
                if !merged.blind.contains(&blind) {
                    merged.blind.push(blind);
                }
            }
        }
        all
    })
}
