//! What an embedder builds and runs.

use crate::backpressure::{BackpressurePolicies, QUEUE_BYTES_DEFAULT, QUEUE_BYTES_MIN};
use crate::config::CollectorConfig;
use crate::handle::CollectorHandle;
use crate::ipc::{BoundSocket, IpcError, IpcOptions, ReadyServer};
use crate::process_table::{HostLookup, PROCESS_TABLE_CAPACITY, ProcessTable, SnapshotEntry};
use crate::restart::RestartPolicy;
use crate::runtime::{EndReason, Parts, Registered, RunReport, ShutdownHandle, run};
use crate::sink::EventSink;
use crate::source::{EventSource, SourceCaps};
use crate::subscription::{Subscribers, Subscription, SubscriptionOptions};
use std::fmt;
use std::sync::Arc;

/// Carries events from sources to sinks until it is told to stop.
///
/// ```
/// use async_trait::async_trait;
/// use collector_core::{
///     CollectionEvent, Collector, CollectorConfig, EventSource, JsonLinesSink, ProcessEvent, SourceCaps,
/// };
/// use tokio::sync::mpsc;
///
/// struct MyEventSource;
///
/// #[async_trait]
/// impl EventSource for MyEventSource {
///     fn name(&self) -> &'static str {
///         "my-source"
///     }
///
///     fn capabilities(&self) -> SourceCaps {
///         SourceCaps::PROCESS | SourceCaps::REALTIME
///     }
///
///     async fn start(&self, tx: mpsc::Sender<CollectionEvent>) -> anyhow::Result<()> {
///         let event = ProcessEvent { pid: 1, name: "init".to_string(), ..Default::default() };
///         tx.send(CollectionEvent::Process(event)).await?;
///         Ok(())
///     }
///
///     async fn stop(&self) -> anyhow::Result<()> {
///         Ok(())
///     }
/// }
///
/// #[tokio::main]
/// async fn main() -> anyhow::Result<()> {
///     let config = CollectorConfig::default();
///     let mut collector = Collector::new(config);
///
///     collector.register(Box::new(MyEventSource))?;
///     collector.add_sink(Box::new(JsonLinesSink::new("stdout", tokio::io::stdout())));
///     # collector.shutdown_handle().shutdown();
///     collector.run().await
/// }
/// ```
pub struct Collector {
    config: CollectorConfig,
    sources: Vec<Registered>,
    sinks: Vec<Box<dyn EventSink>>,
    shutdown: ShutdownHandle,
    handle_signals: bool,
    stop_after: Option<u64>,
    snapshot: Vec<SnapshotEntry>,
    process_table_capacity: usize,
    host: Option<Box<dyn HostLookup>>,
    ancestry: usize,
    restarts: RestartPolicy,
    policies: BackpressurePolicies,
    queue_bytes: usize,
    handle: CollectorHandle,
    subscribers: Subscribers,
    ipc: Option<ReadyServer>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources: Vec<_> = self.sources.iter().map(|source| source.name).collect();
        let sinks: Vec<_> = self.sinks.iter().map(|sink| sink.name()).collect();
        f.debug_struct("Collector")
            .field("config", &self.config)
            .field("sources", &sources)
            .field("sinks", &sinks)
            .finish_non_exhaustive()
    }
}

impl Collector {
    /// A collector without sources and sinks.
    pub fn new(config: CollectorConfig) -> Self {
        let shutdown = ShutdownHandle::default();
        let subscribers = Subscribers::default();
        Self {
            config,
            sources: Vec::new(),
            sinks: Vec::new(),
            handle: CollectorHandle::new(shutdown.clone(), subscribers.clone()),
            shutdown,
            handle_signals: true,
            stop_after: None,
            snapshot: Vec::new(),
            process_table_capacity: PROCESS_TABLE_CAPACITY,
            host: None,
            ancestry: 0,
            restarts: RestartPolicy::default(),
            policies: BackpressurePolicies::default(),
            queue_bytes: QUEUE_BYTES_DEFAULT,
            subscribers,
            ipc: None,
        }
    }

    /// Registers a source. Its name and capabilities are read here, once.
    ///
    /// # Errors
    /// If there are as many sources as the configuration allows, or the name is taken.
    pub fn register(&mut self, source: Box<dyn EventSource>) -> anyhow::Result<()> {
        let max = self.config.max_event_sources;
        anyhow::ensure!(self.sources.len() < max, "Cannot register more than {max} event sources");
        let name = source.name();
        let taken = self.sources.iter().any(|registered| registered.name == name);
        anyhow::ensure!(!taken, "Event source with name '{name}' is already registered");
        let caps = source.capabilities();
        self.sources.push(Registered { source: Arc::from(source), name, caps });
        Ok(())
    }

    /// What all registered sources together can see.
    pub fn capabilities(&self) -> SourceCaps {
        self.sources.iter().fold(SourceCaps::empty(), |all, registered| all | registered.caps)
    }

    /// How many sources are registered.
    pub fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// Adds a sink. Every sink gets every batch; one that is slow makes the others and the sources wait. A consumer that
    /// must not do that is a subscription.
    pub fn add_sink(&mut self, sink: Box<dyn EventSink>) {
        self.sinks.push(sink);
    }

    /// A further consumer of the stream, from its beginning. It ends with the run.
    pub fn subscribe(&self, options: SubscriptionOptions) -> Subscription {
        self.subscribers.subscribe(options)
    }

    /// A handle that tells how the run is, what it measures, and takes further subscriptions.
    pub fn handle(&self) -> CollectorHandle {
        self.handle.clone()
    }

    /// A handle that stops the run.
    pub fn shutdown_handle(&self) -> ShutdownHandle {
        self.shutdown.clone()
    }

    /// Leaves SIGINT, SIGTERM and SIGHUP to the embedder; otherwise a run stops at each, at SIGHUP if it is not ignored.
    #[must_use]
    pub fn without_signal_handling(mut self) -> Self {
        self.handle_signals = false;
        self
    }

    /// Stops the run after exactly this many kernel events were delivered, not counting those that are internal. What
    /// is read after them is counted as pending and not delivered.
    pub fn stop_after(&mut self, events: u64) {
        self.stop_after = Some(events);
    }

    /// Gives the processes that already run, so that their events can say what they run.
    #[must_use]
    pub fn with_process_snapshot(mut self, snapshot: Vec<SnapshotEntry>) -> Self {
        self.snapshot = snapshot;
        self
    }

    /// Sets how many processes the process table holds; [`PROCESS_TABLE_CAPACITY`] if this is not called.
    #[must_use]
    pub fn with_process_table_capacity(mut self, processes: usize) -> Self {
        self.process_table_capacity = processes;
        self
    }

    /// Gives what names users and cgroups, so that kernel events can say them. Without it they have numbers only.
    #[must_use]
    pub fn with_host_lookup(mut self, host: Box<dyn HostLookup>) -> Self {
        self.host = Some(host);
        self
    }

    /// Lets kernel events name this many ancestors of their process,
    /// [`ANCESTRY_MAX`](crate::process_table::ANCESTRY_MAX) at most; none if this is not called.
    #[must_use]
    pub fn with_ancestry(mut self, levels: usize) -> Self {
        self.ancestry = levels;
        self
    }

    /// Sets how often and how soon a failed source is started again.
    #[must_use]
    pub fn with_restart_policy(mut self, policy: RestartPolicy) -> Self {
        self.restarts = policy;
        self
    }

    /// Sets what becomes of events that find their source's queue full.
    #[must_use]
    pub fn with_backpressure_policies(mut self, policies: BackpressurePolicies) -> Self {
        self.policies = policies;
        self
    }

    /// Sets how many bytes of events each source's queue holds; [`QUEUE_BYTES_DEFAULT`] if this is not called. All
    /// queues together hold as many times that as there are sources. Events that are still in a source's channel, at
    /// most 256, are not measured yet and come on top.
    #[must_use]
    pub fn with_queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// Serves clients on a Unix socket while the collector runs. The socket is there when this returns, and clients that
    /// connect before the run wait for it. What breaks the server later is told in [`crate::RunReport::ipc`] and leaves
    /// the collector alone.
    ///
    /// # Errors
    /// An option out of its bound, a folder or socket that is not the collector's own, or another server at the same
    /// path. The collector can run without the server.
    pub fn serve_ipc(&mut self, options: IpcOptions) -> Result<(), IpcError> {
        if self.ipc.is_some() {
            return Err(IpcError::Twice);
        }
        let socket = BoundSocket::bind(&options)?;
        self.ipc = Some(ReadyServer { socket, options });
        Ok(())
    }

    /// Runs until a shutdown handle, a signal (SIGINT, SIGTERM, SIGHUP) or the limit of [`Self::stop_after`] stops it, or a
    /// sink's reader goes away.
    ///
    /// # Errors
    /// As [`Self::run_to_report`]; and if every source failed, with what each said.
    pub async fn run(self) -> anyhow::Result<()> {
        let report = self.run_to_report().await?;
        if report.ended != EndReason::AllSourcesFailed {
            return Ok(());
        }
        let failures = report.sources.iter().map(|source| format!("{}: {}", source.name, source.outcome));
        anyhow::bail!("every event source failed: {}", failures.collect::<Vec<_>>().join("; "))
    }

    /// As [`Self::run`], and tells how the run went. The whole shutdown takes at most the configured timeout: a source
    /// that hangs is aborted, a sink that does not take its events is given up, and both are named.
    ///
    /// # Errors
    /// If the configuration is not valid, no source is registered, the signals cannot be handled, a sink panicked, or a
    /// sink blocked its thread beyond the shutdown timeout.
    pub async fn run_to_report(self) -> anyhow::Result<RunReport> {
        self.config.validate()?;
        anyhow::ensure!(!self.sources.is_empty(), "No event sources registered");
        anyhow::ensure!(
            self.queue_bytes >= QUEUE_BYTES_MIN,
            "the bound on a queue's bytes is {}, but must be at least {QUEUE_BYTES_MIN}",
            self.queue_bytes
        );
        let mut processes = ProcessTable::new(self.process_table_capacity).with_ancestry(self.ancestry);
        if let Some(host) = self.host {
            processes = processes.with_host(host);
        }
        processes.seed(self.snapshot);
        run(Parts {
            config: self.config,
            sources: self.sources,
            sinks: self.sinks,
            processes,
            shutdown: self.shutdown,
            handle_signals: self.handle_signals,
            stop_after: self.stop_after,
            restarts: self.restarts,
            policies: self.policies,
            queue_bytes: self.queue_bytes,
            handle: self.handle,
            subscribers: self.subscribers,
            ipc: self.ipc,
        })
        .await
    }
}
