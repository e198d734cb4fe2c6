//! The sources' lives: each started in a task of its own, watched, started again, and stopped once.

use super::life::{Doing, Due, Life, Registered};
use super::live::Live;
use super::tasks::Tasks;
use crate::event::CollectionEvent;
use crate::restart::RestartPolicy;
use crate::source::EventSource;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::info;

/// A health check has no longer than this to answer, nor longer than the interval of the checks.
pub(super) const HEALTH_CHECK_MAX: Duration = Duration::from_secs(5);

/// What the supervisor goes by.
pub(super) struct Terms {
    pub(super) startup_timeout: Duration,
    /// How long a health check may take.
    pub(super) check_timeout: Duration,
    pub(super) restarts: RestartPolicy,
}

/// All sources of a run.
pub(super) struct Supervisor {
    pub(super) lives: Vec<Life>,
    starts: Tasks,
    checks: Tasks,
    terms: Terms,
}

impl Supervisor {
    /// Starts every source, each with a queue of its own; gives the queues' other ends.
    pub(super) fn start(
        sources: Vec<Registered>,
        queue_len: usize,
        terms: Terms,
        live: &Arc<Live>,
    ) -> (Self, Vec<mpsc::Receiver<CollectionEvent>>) {
        let mut receivers = Vec::with_capacity(sources.len());
        let mut supervisor = Self {
            lives: Vec::with_capacity(sources.len()),
            starts: Tasks::default(),
            checks: Tasks::default(),
            terms,
        };
        for (index, registered) in sources.into_iter().enumerate() {
            let (tx, rx) = mpsc::channel(queue_len);
            receivers.push(rx);
            let restartable = registered.is_restartable();
            supervisor.lives.push(Life {
                registered,
                index,
                live: Arc::clone(live),
                tx: Some(tx.clone()),
                restartable,
                doing: Doing::Ended,
                in_start: false,
                begun: None,
                has_begun: Arc::default(),
                in_stop: false,
                checking: false,
                outcome: None,
                failures: 0,
                restarts: 0,
                health_failures: 0,
                last_health_failure: None,
                policy: supervisor.terms.restarts,
                waits: supervisor.terms.restarts.waits(),
            });
            supervisor.spawn_start(index, tx, Instant::now());
        }
        (supervisor, receivers)
    }

    fn spawn_start(&mut self, index: usize, tx: mpsc::Sender<CollectionEvent>, now: Instant) {
        let life = &mut self.lives[index];
        let source = Arc::clone(&life.registered.source);
        let (tell_begun, begun) = oneshot::channel();
        life.begun = Some(begun);
        life.has_begun = Arc::default();
        let has_begun = Begun { told: tell_begun, seen: Arc::clone(&life.has_begun) };
        life.begins(now, self.terms.startup_timeout);
        self.starts.spawn(index, start(source, tx, has_begun));
    }

    /// Watches over the sources; returns when every one has failed for good. May be dropped and called again.
    pub(super) async fn watch(&mut self) {
        while self.lives.iter().any(|life| life.outcome.is_none()) {
            let due_at = self.lives.iter().filter_map(Life::due_at).min();
            tokio::select! {
                (index, result) = self.starts.ended() => {
                    self.lives[index].start_ended(result, Instant::now(), self.terms.startup_timeout, true);
                    // What a check of a start that has failed says is about nothing.
                    if !self.lives[index].is_working() {
                        self.checks.abort(index);
                    }
                }
                (index, result) = self.checks.ended() => self.lives[index].check_ended(result, Instant::now()),
                () = async { sleep_until(due_at.expect("polled only if set")).await }, if due_at.is_some() => {
                    self.act(Instant::now());
                }
            }
        }
    }

    /// Does what is due.
    fn act(&mut self, now: Instant) {
        for index in 0..self.lives.len() {
            match self.lives[index].due(now, self.terms.startup_timeout) {
                Due::Nothing => {}
                Due::Probe => self.spawn_check(index),
                Due::Abort => self.starts.abort(index),
                Due::Restart => {
                    let life = &mut self.lives[index];
                    life.restarts += 1;
                    life.live.source(index).count_restart();
                    if let Some(tx) = life.tx.clone() {
                        self.spawn_start(index, tx, now);
                    }
                }
            }
        }
    }

    /// Asks every source that is ready how it is.
    pub(super) fn check_health(&mut self) {
        for index in 0..self.lives.len() {
            let life = &mut self.lives[index];
            match (life.is_working(), life.checking) {
                (false, _) => {}
                // It does not even let itself be aborted.
                (true, true) => life.unhealthy("no answer to the last health check".to_owned()),
                (true, false) => self.spawn_check(index),
            }
        }
    }

    fn spawn_check(&mut self, index: usize) {
        let life = &mut self.lives[index];
        life.checking = true;
        let source = Arc::clone(&life.registered.source);
        let allowed = self.terms.check_timeout;
        self.checks.spawn(index, async move {
            timeout(allowed, source.health_check())
                .await
                .unwrap_or_else(|_| anyhow::bail!("no answer to a health check within {allowed:?}"))
        });
    }

    /// Stops every source that has not failed, all at once, and waits for the end of `stop` and `start` of each. Those
    /// that have not ended at the deadline are aborted.
    pub(super) async fn stop(&mut self, deadline: Instant) {
        self.checks.abort_all();
        let startup_timeout = self.terms.startup_timeout;
        // A start that ended before the stop was asked for is judged by how it ended.
        while let Some((index, result)) = self.starts.ended_already() {
            self.lives[index].start_ended(result, Instant::now(), startup_timeout, false);
        }
        let mut stops = Tasks::default();
        for (index, life) in self.lives.iter_mut().enumerate() {
            if matches!(life.doing, Doing::Starting { .. } | Doing::Working { .. })
                && let Some(begun) = life.begun.take()
            {
                life.in_stop = true;
                stops.spawn(index, stop(Arc::clone(&life.registered.source), begun));
            }
        }
        let ended = timeout_at(deadline, async {
            while self.lives.iter().any(Life::is_stopping) {
                tokio::select! {
                    (index, result) = stops.ended() => self.lives[index].stop_ended(result),
                    (index, result) = self.starts.ended() => {
                        self.lives[index].start_ended(result, Instant::now(), startup_timeout, false);
                    }
                }
            }
        });
        if ended.await.is_err() {
            stops.abort_all();
            self.starts.abort_all();
        }
        for life in &mut self.lives {
            life.close(startup_timeout);
        }
        info!("every source has ended");
    }
}

/// What is told when a start has run up to its first wait.
struct Begun {
    told: oneshot::Sender<()>,
    seen: Arc<AtomicBool>,
}

/// Runs the source's `start` and tells when it has run up to its first wait.
async fn start(
    source: Arc<dyn EventSource>,
    tx: mpsc::Sender<CollectionEvent>,
    has_begun: Begun,
) -> anyhow::Result<()> {
    let mut start = source.start(tx);
    let first = poll_fn(|cx| Poll::Ready(start.as_mut().poll(cx))).await;
    has_begun.seen.store(true, Ordering::Release);
    // Nobody listens if the run is over by now.
    let _ = has_begun.told.send(());
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
