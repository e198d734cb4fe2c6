//! `collectord watch`: kernel events on stdout, through the same runtime as any embedder's.

pub mod args;
pub mod compact;
mod cpus;
mod filters;
mod output;

pub use args::WatchArgs;

use crate::color;
use crate::failure::Failure;
use crate::host::Host;
use crate::source::{KernelSource, KernelSourceOptions};
use crate::terminal;
use anyhow::Context;
use args::Format;
use collector_core::{Collector, CollectorConfig, EndReason, JsonEncoder, RunReport};
use compact::CompactLines;
use nix::sys::signal::Signal;
use output::{Lines, Output};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Events that may wait between the reader and the output.
const QUEUE_EVENTS: usize = 2048;
/// Events written at once at most.
const BATCH_EVENTS_MAX: usize = 512;
/// A stop must be over in this time, also if the output is blocked.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

/// Watches until a signal, `--duration`, `--count` or a closed stdout ends it.
///
/// # Errors
/// What could not be loaded, or what broke while it ran.
pub fn run(args: &WatchArgs, whole_verifier_log: bool) -> Result<(), Failure> {
    let load = args.load_options(whole_verifier_log).map_err(Failure::usage)?;
    crate::memlock::raise();
    crate::heap::stay_small();
    // Before the first thread is started.
    crate::priority::set(args.nice)?;
    let sources =
        KernelSource::open(&KernelSourceOptions { load, told: args.told(), canary: args.canary.0 })?;
    if let Some(cpus) = &args.reader_cpus {
        let set =
            cpus.set().context("failed to make a set of the readers' CPUs").map_err(Failure::runtime)?;
        sources.iter().for_each(|source| source.pin_reader(set));
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::runtime)?;
    let report = runtime.block_on(collect(sources, args));
    // A write to a blocked stdout cannot be called back; it must not hold the exit either.
    runtime.shutdown_background();
    judge(report.map_err(Failure::runtime)?)
}

async fn collect(sources: Vec<KernelSource>, args: &WatchArgs) -> anyhow::Result<RunReport> {
    let config = CollectorConfig::new()
        .with_component_name("collectord")
        .with_event_buffer_size(QUEUE_EVENTS)
        .with_max_batch_size(BATCH_EVENTS_MAX)
        // What is there is written at once: a person is waiting for it.
        .with_batch_timeout(Duration::ZERO)
        .with_shutdown_timeout(SHUTDOWN_MAX);
    let snapshot = sources.first().map(|source| source.snapshot().processes);
    let mut collector = Collector::new(config)
        .with_process_snapshot(snapshot.unwrap_or_default())
        .with_host_lookup(Box::new(Host::new()))
        .with_ancestry(args.ancestry.unwrap_or(0).into());
    // What the snapshot took is gone.
    crate::heap::trim();
    for source in sources {
        collector.register(Box::new(source))?;
    }
    // Handled by nobody, it ends the process where a file may not become longer; so the write fails, as on a full disk.
    let _file_too_long = signal(SignalKind::from_raw(Signal::SIGXFSZ as i32))?;
    let output = Output::stdout(lines(args)).context("failed to open the standard output")?;
    collector.add_sink(Box::new(output));
    if let Some(count) = args.count {
        collector.stop_after(count);
    }
    if let Some(duration) = args.duration {
        let shutdown = collector.shutdown_handle();
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            shutdown.shutdown();
        });
    }
    collector.run_to_report().await
}

fn lines(args: &WatchArgs) -> Lines {
    match args.format() {
        Format::Json => Lines::Json(JsonEncoder::new()),
        Format::Compact => {
            let width = if args.wide { || None } else { terminal::columns };
            Lines::Compact(CompactLines::new(!args.no_color && color::is_wanted(&std::io::stdout()), width))
        }
    }
}

/// A run that ended as it was asked to is a success, losses or not: they were told.
fn judge(report: RunReport) -> Result<(), Failure> {
    for (class, imbalance) in &report.imbalances {
        tracing::error!(class = class.name(), %imbalance, "the books do not balance");
    }
    if report.ended == EndReason::AllSourcesFailed {
        let outcomes: Vec<_> =
            report.sources.iter().map(|source| format!("{}: {:?}", source.name, source.outcome)).collect();
        return Err(Failure::runtime(anyhow::anyhow!("every event source failed: {}", outcomes.join("; "))));
    }
    for source in report.sources.iter().filter(|source| !source.outcome.is_clean()) {
        tracing::error!(source = source.name, outcome = ?source.outcome, "source did not end cleanly");
    }
    Ok(())
}
