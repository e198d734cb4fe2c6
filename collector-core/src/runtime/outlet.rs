//! The sinks, and what becomes of a batch that is handed to them.

use super::live::Live;
use super::report::{SinkReport, SinkState};
use super::stop::{Phase, sinks_deadline};
use crate::event::CollectionEvent;
use crate::health::Condition;
use crate::sink::{EventSink, SinkError};
use std::sync::Arc;
use tokio::sync::watch;
use tracing::{error, info};

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// At least one sink took it.
    Yes,
    /// No sink took it, and at least one failed.
    Failed,
    /// No sink took it: those that are left are given up.
    Blocked,
    /// No sink took it: every one has lost its reader.
    Closed,
    /// There never was a sink.
    NoSink,
}

struct Outgoing {
    sink: Box<dyn EventSink>,
    index: usize,
    live: Arc<Live>,
    state: SinkState,
    failed_batches: u64,
    /// The failure was logged and told; it is again after a success.
    failing: bool,
}

/// All sinks of a run.
pub(super) struct Outlet {
    sinks: Vec<Outgoing>,
    /// The first one whose reader went away.
    closed: Option<String>,
    phase: watch::Receiver<Phase>,
}

impl Outlet {
    pub(super) fn new(
        sinks: Vec<Box<dyn EventSink>>,
        phase: watch::Receiver<Phase>,
        live: Arc<Live>,
    ) -> Self {
        let outgoing = |(index, sink)| Outgoing {
            sink,
            index,
            live: Arc::clone(&live),
            state: SinkState::Open,
            failed_batches: 0,
            failing: false,
        };
        Self { sinks: sinks.into_iter().enumerate().map(outgoing).collect(), closed: None, phase }
    }

    /// Whether nobody can be told anything any more.
    pub(super) fn is_silent(&self) -> bool {
        self.sinks.iter().all(|outgoing| outgoing.state != SinkState::Open)
    }

    /// The first sink that lost its reader.
    pub(super) fn closed(&self) -> Option<&str> {
        self.closed.as_deref()
    }

    /// Hands a batch to every open sink, one after the other.
    pub(super) async fn write(&mut self, batch: &[CollectionEvent]) -> Taken {
        let (mut taken, mut failed) = (false, false);
        for outgoing in self.sinks.iter_mut().filter(|outgoing| outgoing.state == SinkState::Open) {
            let result = tokio::select! {
                // A sink that is ready is served also after the deadline.
                biased;
                result = outgoing.sink.write(batch) => Some(result),
                () = sinks_deadline(&mut self.phase) => None,
            };
            match result {
                Some(Ok(())) => {
                    taken = true;
                    outgoing.recovered();
                }
                other => {
                    outgoing.failed_batches += 1;
                    outgoing.live.sinks[outgoing.index].count_failed_batch();
                    failed |= outgoing.failed(other.and_then(Result::err), &mut self.closed);
                }
            }
        }
        match (taken, failed) {
            (true, _) => Taken::Yes,
            (false, true) => Taken::Failed,
            _ if self.sinks.is_empty() => Taken::NoSink,
            _ if self.sinks.iter().all(|outgoing| outgoing.state == SinkState::Closed) => Taken::Closed,
            _ => Taken::Blocked,
        }
    }

    /// Lets every open sink write out what it has buffered.
    pub(super) async fn flush(&mut self) {
        for outgoing in self.sinks.iter_mut().filter(|outgoing| outgoing.state == SinkState::Open) {
            let result = tokio::select! {
                biased;
                result = outgoing.sink.flush() => Some(result),
                () = sinks_deadline(&mut self.phase) => None,
            };
            match result {
                Some(Ok(())) => {}
                other => {
                    outgoing.failed(other.and_then(Result::err), &mut self.closed);
                }
            }
        }
    }

    pub(super) fn reports(&self) -> Vec<SinkReport> {
        let report = |outgoing: &Outgoing| SinkReport {
            name: outgoing.sink.name().to_owned(),
            state: outgoing.state,
            failed_batches: outgoing.failed_batches,
        };
        self.sinks.iter().map(report).collect()
    }
}

impl Outgoing {
    fn recovered(&mut self) {
        if self.failing {
            info!(sink = self.sink.name(), "sink takes events again");
            self.failing = false;
            self.live.sinks[self.index].clear(Condition::Writing);
        }
    }

    /// Notes a failure; no error stands for a missed deadline. Returns whether the sink stays open.
    fn failed(&mut self, failure: Option<SinkError>, closed: &mut Option<String>) -> bool {
        match failure {
            None => {
                error!(
                    sink = self.sink.name(),
                    "sink did not take its events before the shutdown's end, given up"
                );
                self.state = SinkState::Blocked;
                self.gone("it took no events before the shutdown's end");
                false
            }
            Some(SinkError::Closed { sink }) => {
                info!(sink, "the sink's reader is gone");
                self.state = SinkState::Closed;
                self.gone("its reader is gone");
                closed.get_or_insert(sink);
                false
            }
            Some(failure) => {
                if !self.failing {
                    let cause = std::error::Error::source(&failure).map(ToString::to_string);
                    error!(sink = self.sink.name(), %failure, cause = cause.as_deref(), "events lost at a sink");
                    self.failing = true;
                    let text = cause.map_or(failure.to_string(), |cause| format!("{failure}: {cause}"));
                    self.live.sinks[self.index].set(Condition::Writing, text);
                }
                true
            }
        }
    }

    fn gone(&self, why: &str) {
        self.live.sinks[self.index].set(Condition::Failed, why.to_owned());
    }
}
