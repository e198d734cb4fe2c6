//! What can be asked of a collector while it runs.

use crate::health::{Health, HealthReason};
use crate::metrics::RunMetrics;
use crate::runtime::{Live, ShutdownHandle};
use crate::stats::RuntimeStats;
use crate::subscription::{Subscribers, Subscription, SubscriptionOptions};
use crate::telemetry::Telemetry;
use prometheus_client::registry::Registry;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;
use tokio::sync::watch;

/// Asks a collector how it is. Clones ask the same one, also after its run has ended.
#[derive(Debug, Clone)]
pub struct CollectorHandle {
    live: Arc<OnceLock<Arc<Live>>>,
    telemetry: watch::Sender<Option<Arc<Telemetry>>>,
    shutdown: ShutdownHandle,
    subscribers: Subscribers,
    made: SystemTime,
}

impl CollectorHandle {
    pub(crate) fn new(shutdown: ShutdownHandle, subscribers: Subscribers) -> Self {
        Self {
            live: Arc::default(),
            telemetry: watch::Sender::new(None),
            shutdown,
            subscribers,
            made: SystemTime::now(),
        }
    }

    pub(crate) fn telemetry_sender(&self) -> watch::Sender<Option<Arc<Telemetry>>> {
        self.telemetry.clone()
    }

    pub(crate) fn begins(&self, live: Arc<Live>) {
        // A collector runs once: it is consumed by its run.
        let _ = self.live.set(live);
    }

    /// The run in numbers; all 0 before it has begun.
    pub fn stats(&self) -> RuntimeStats {
        self.live.get().map_or_else(RuntimeStats::default, |live| live.stats())
    }

    /// How the sources, the sinks and the whole are.
    pub fn health(&self) -> Health {
        match self.live.get() {
            Some(live) => live.health(),
            None => {
                let reason = HealthReason { text: "the run has not begun".to_owned(), since: self.made };
                Health::of(Vec::new(), Vec::new(), Some(reason), self.made)
            }
        }
    }

    /// The last measurement, and the ones to come; `None` until the first one, and always without telemetry.
    pub fn telemetry(&self) -> watch::Receiver<Option<Arc<Telemetry>>> {
        self.telemetry.subscribe()
    }

    /// Bytes of events that the sources' queues hold at most, all together; 0 before the run has begun.
    pub fn queue_bytes_max(&self) -> usize {
        self.live.get().map_or(0, |live| live.queue_bytes_max)
    }

    /// A further consumer of the stream, from now on. It ends with the run.
    pub fn subscribe(&self, options: SubscriptionOptions) -> Subscription {
        self.subscribers.subscribe(options)
    }

    /// Stops the run.
    pub fn shutdown(&self) {
        self.shutdown.shutdown();
    }

    /// Registers the run's metrics, all with the prefix `collector_`. They are read when they are scraped.
    pub fn register_metrics(&self, registry: &mut Registry) {
        registry
            .register_collector(Box::new(RunMetrics::new(Arc::clone(&self.live), self.subscribers.clone())));
    }

    /// The run's metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// If the encoder fails, which it does not do on a string.
    pub fn encode_metrics(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::default();
        self.register_metrics(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}
