//! The sources' lives: each started in a task of its own, watched, and stopped once.

use super::report::SourceOutcome;
use crate::accounting::SourceAccount;
use crate::event::{CollectionEvent, CoverageEvent};
use crate::source::{EventSource, SourceCaps};
use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error, info, warn};

/// A source as it was registered.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) source: Arc<dyn EventSource>,
    pub(crate) name: &'static str,
    /// As they were at registration: what a source may emit does not change under way.
    pub(crate) caps: SourceCaps,
}

/// What is known of a source while it runs.
pub(super) struct Life {
    pub(super) registered: Registered,
    /// `start` is still running.
    starting: bool,
    /// Told when `start` has run up to its first wait.
    begun: Option<oneshot::Receiver<()>>,
    /// `stop` was called and has not returned.
    stopping: bool,
    pub(super) outcome: Option<SourceOutcome>,
    pub(super) health_failures: u64,
    pub(super) last_health_failure: Option<String>,
    /// The last check has not answered.
    checking: bool,
}

type TaskResult = Result<(Id, anyhow::Result<()>), JoinError>;

/// All sources of a run.
pub(super) struct Supervisor {
    pub(super) lives: Vec<Life>,
    starts: Tasks,
    checks: Tasks,
}

impl Supervisor {
    /// Starts every source, each with a queue of its own; gives the queues' other ends.
    pub(super) fn start(
        sources: Vec<Registered>,
        queue_len: usize,
    ) -> (Self, Vec<mpsc::Receiver<CollectionEvent>>) {
        let mut starts = Tasks::default();
        let mut receivers = Vec::with_capacity(sources.len());
        let mut lives = Vec::with_capacity(sources.len());
        for (index, registered) in sources.into_iter().enumerate() {
            let (tx, rx) = mpsc::channel(queue_len);
            receivers.push(rx);
            let source = Arc::clone(&registered.source);
            let (has_begun, begun) = oneshot::channel();
            starts.spawn(index, start(source, tx, has_begun));
            info!(source = registered.name, caps = ?registered.caps, "source starting");
            lives.push(Life {
                registered,
                starting: true,
                begun: Some(begun),
                stopping: false,
                outcome: None,
                health_failures: 0,
                last_health_failure: None,
                checking: false,
            });
        }
        (Self { lives, starts, checks: Tasks::default() }, receivers)
    }

    /// Waits until every source has failed; notes failures, ends of `start` and answers to health checks meanwhile.
    pub(super) async fn all_failed(&mut self) {
        while self.lives.iter().any(|life| life.outcome.is_none()) {
            tokio::select! {
                (index, result) = self.starts.ended() => self.lives[index].start_ended(result),
                (index, result) = self.checks.ended() => self.lives[index].check_ended(result),
            }
        }
    }

    /// Asks every source that has not failed how it is.
    pub(super) fn check_health(&mut self) {
        for (index, life) in self.lives.iter_mut().enumerate() {
            if life.outcome.is_some() {
                continue;
            }
            if life.checking {
                life.unhealthy("no answer to the last health check".to_owned());
                continue;
            }
            life.checking = true;
            let source = Arc::clone(&life.registered.source);
            self.checks.spawn(index, async move { source.health_check().await });
        }
    }

    /// Stops every source that has not failed, all at once, and waits for the end of `stop` and `start` of each. Those
    /// that have not ended at the deadline are aborted.
    pub(super) async fn stop(&mut self, deadline: Instant) {
        self.checks.tasks.abort_all();
        // A start that ended before the stop was asked for is judged by how it ended.
        while let Some((index, result)) = self.starts.ended_already() {
            self.lives[index].start_ended(result);
        }
        let mut stops = Tasks::default();
        for (index, life) in self.lives.iter_mut().enumerate() {
            if life.outcome.is_none()
                && let Some(begun) = life.begun.take()
            {
                life.stopping = true;
                stops.spawn(index, stop(Arc::clone(&life.registered.source), begun));
            }
        }
        let ended = timeout_at(deadline, async {
            while self.lives.iter().any(Life::is_stopping) {
                tokio::select! {
                    (index, result) = stops.ended() => self.lives[index].stop_ended(result),
                    (index, result) = self.starts.ended() => self.lives[index].start_ended(result),
                }
            }
        });
        if ended.await.is_err() {
            stops.tasks.abort_all();
            self.starts.tasks.abort_all();
        }
        for life in &mut self.lives {
            life.close();
        }
    }
}

/// Runs the source's `start` and tells when it has run up to its first wait.
async fn start(
    source: Arc<dyn EventSource>,
    tx: mpsc::Sender<CollectionEvent>,
    has_begun: oneshot::Sender<()>,
) -> anyhow::Result<()> {
    let mut start = source.start(tx);
    let first = poll_fn(|cx| Poll::Ready(start.as_mut().poll(cx))).await;
    // Nobody listens if the run is over by now.
    let _ = has_begun.send(());
    match first {
        Poll::Ready(result) => result,
        Poll::Pending => start.await,
    }
}

/// A stop that came before the start had set anything up would be forgotten by it.
async fn stop(source: Arc<dyn EventSource>, begun: oneshot::Receiver<()>) -> anyhow::Result<()> {
    match begun.await {
        Ok(()) => source.stop().await,
        // It panicked before it had begun.
        Err(_) => Ok(()),
    }
}

impl Life {
    /// What the source counted; `None` if it keeps no books or panicked over them.
    pub(super) fn account(&self) -> Option<SourceAccount> {
        self.registered.account()
    }

    fn is_stopping(&self) -> bool {
        self.stopping || self.starting
    }

    fn start_ended(&mut self, result: Result<anyhow::Result<()>, JoinError>) {
        self.starting = false;
        let source = self.registered.name;
        match result {
            Ok(Ok(())) => debug!(source, "start returned"),
            Ok(Err(failure)) => {
                error!(source, failure = format!("{failure:#}"), "source failed");
                self.outcome = Some(SourceOutcome::Failed(format!("{failure:#}")));
            }
            Err(join) => {
                let message = panic_message(join);
                error!(source, message, "source panicked");
                self.outcome = Some(SourceOutcome::Panicked(message));
            }
        }
    }

    fn stop_ended(&mut self, result: Result<anyhow::Result<()>, JoinError>) {
        self.stopping = false;
        let failure = match result {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => format!("{failure:#}"),
            Err(join) => panic_message(join),
        };
        error!(source = self.registered.name, failure, "source failed to stop");
        self.outcome.get_or_insert(SourceOutcome::StopFailed(failure));
    }

    fn check_ended(&mut self, result: Result<anyhow::Result<()>, JoinError>) {
        self.checking = false;
        match result {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => self.unhealthy(format!("{failure:#}")),
            Err(join) => self.unhealthy(panic_message(join)),
        }
    }

    fn unhealthy(&mut self, reason: String) {
        warn!(source = self.registered.name, reason, "source is not healthy");
        self.health_failures += 1;
        self.last_health_failure = Some(reason);
    }

    /// The last word on a source whose time is over.
    fn close(&mut self) {
        if self.is_stopping() {
            let (in_stop, in_start) = (self.stopping, self.starting);
            error!(source = self.registered.name, in_stop, in_start, "source did not stop in time, aborted");
            self.outcome = Some(SourceOutcome::Aborted);
        }
        self.outcome.get_or_insert(SourceOutcome::Stopped);
    }
}

impl Registered {
    pub(super) fn coverage(&self) -> Option<CoverageEvent> {
        self.isolated("coverage", || self.source.coverage())
    }

    fn account(&self) -> Option<SourceAccount> {
        self.isolated("account", || self.source.account())
    }

    /// A panic of one source must not end the others.
    fn isolated<T>(&self, what: &str, ask: impl FnOnce() -> Option<T>) -> Option<T> {
        // The source is only asked again for other things; what it broke inside stays its own.
        catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| {
            error!(source = self.name, what, "source panicked when asked");
            None
        })
    }
}

/// Tasks, each for a source.
#[derive(Default)]
struct Tasks {
    tasks: JoinSet<anyhow::Result<()>>,
    sources: HashMap<Id, usize>,
}

impl Tasks {
    fn spawn(&mut self, source: usize, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.sources.insert(id, source);
    }

    /// The next one that ended; waits for ever when there is none.
    async fn ended(&mut self) -> (usize, Result<anyhow::Result<()>, JoinError>) {
        match self.tasks.join_next_with_id().await {
            Some(result) => self.of_source(result),
            None => std::future::pending().await,
        }
    }

    fn ended_already(&mut self) -> Option<(usize, Result<anyhow::Result<()>, JoinError>)> {
        let result = self.tasks.try_join_next_with_id()?;
        Some(self.of_source(result))
    }

    fn of_source(&mut self, result: TaskResult) -> (usize, Result<anyhow::Result<()>, JoinError>) {
        let (id, result) = match result {
            Ok((id, result)) => (id, Ok(result)),
            Err(join) => (join.id(), Err(join)),
        };
        let source = self.sources.remove(&id).expect("every task was entered when it was spawned");
        (source, result)
    }
}

fn panic_message(join: JoinError) -> String {
    let Ok(payload) = join.try_into_panic() else { return "aborted".to_owned() };
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => {
            payload.downcast::<&str>().map_or("panic without a message".to_owned(), |m| (*m).to_owned())
        }
    }
}
