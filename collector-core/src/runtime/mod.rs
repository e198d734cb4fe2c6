//! The runtime: sources, queues, one batcher, sinks, and the order in which they begin and end.
//!
//! ```text
//! source task -> [bounded queue] \
//! source task -> [bounded queue] -> batcher task: judge, batch -> sinks
//! ```
//!
//! This file holds the run's life; each step's decisions are in the file named after it.

mod admit;
mod batch;
mod batcher;
mod books;
mod finish;
mod outlet;
mod queues;
mod report;
mod stop;
mod supervise;
mod untold;

pub use report::{RunReport, SinkReport, SinkState, SourceOutcome, SourceReport};
pub use stop::{EndReason, ShutdownHandle};
pub(crate) use supervise::Registered;

use crate::config::CollectorConfig;
use crate::event::CoverageEvent;
use crate::process_table::ProcessTable;
use crate::sink::EventSink;
use admit::Admission;
use anyhow::Context;
use batch::Batch;
use batcher::Batcher;
use books::SourceBooks;
use outlet::Outlet;
use queues::Queues;
use std::time::Duration;
use stop::{Deadlines, Phase, Signals};
use supervise::Supervisor;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout_at};
use tracing::{info, warn};
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
}

pub(crate) async fn run(parts: Parts) -> anyhow::Result<RunReport> {
    let Parts { config, sources, sinks, processes, shutdown, handle_signals, stop_after } = parts;
    let mut signals = match handle_signals {
        true => Some(Signals::install().context("failed to handle SIGINT and SIGTERM")?),
        false => None,
    };
    if sinks.is_empty() {
        warn!("there is no sink: every event will be counted as dropped");
    }
    let coverage = merged_coverage(&sources);
    let (phase, phase_rx) = watch::channel(Phase::Running);
    let (end, mut end_rx) = oneshot::channel();
    let claims = sources.iter().map(|registered| (registered.name, registered.caps));
    let admission = Admission::new(claims, processes, stop_after);
    let books = vec![SourceBooks::default(); sources.len()];
    let (mut supervisor, receivers) = Supervisor::start(sources, config.event_buffer_size);
    let batcher = Batcher {
        queues: Queues::new(receivers, config.max_batch_size),
        inbox: Vec::new(),
        batch: Batch::new(config.max_batch_size, config.batch_timeout),
        admission,
        books,
        untold: Untold::default(),
        outlet: Outlet::new(sinks, phase_rx.clone()),
        unflushed: false,
        phase: phase_rx,
        end: Some(end),
    };
    // A set of one: dropping this future must not leave the task behind.
    let mut batcher_task = JoinSet::new();
    batcher_task.spawn(batcher.run(coverage));

    let first_check = Instant::now() + config.health_check_interval;
    let mut checks = interval_at(first_check, config.health_check_interval);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = loop {
        if stop_after == Some(0) {
            break EndReason::StopAfter;
        }
        tokio::select! {
            () = shutdown.triggered() => break EndReason::Handle,
            signal = Signals::received(&mut signals) => break EndReason::Signal(signal.to_owned()),
            // An error means that the batcher is gone; what it has to say is read below.
            reason = &mut end_rx => break reason.unwrap_or(EndReason::Handle),
            () = supervisor.all_failed() => break EndReason::AllSourcesFailed,
            _ = checks.tick() => supervisor.check_health(),
        }
    };
    info!(?ended, "stopping");
    let deadlines = Deadlines::new(Instant::now(), config.shutdown_timeout);
    phase.send_replace(Phase::Stopping(deadlines));
    supervisor.stop(deadlines.sources).await;
    phase.send_replace(Phase::Draining(deadlines));
    let batcher = timeout_at(deadlines.sinks + BATCHER_OVERTIME, batcher_task.join_next())
        .await
        .context("a sink blocked its thread beyond the shutdown timeout; its events are lost")?
        .expect("the set has one task")
        .context("a sink panicked; the events it held are lost")?;
    let report = finish::finish(ended, supervisor, batcher).await;
    info!(ended = ?report.ended, summary_told = report.summary_told, "stopped");
    Ok(report)
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
