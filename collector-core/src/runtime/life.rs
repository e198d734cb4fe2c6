//! One source's life: what it is doing, what its failures led to. Decides only; the time is an argument.

use super::live::Live;
use super::report::SourceOutcome;
use super::tasks::{Ended, panic_message};
use crate::accounting::SourceAccount;
use crate::event::{CollectionEvent, CoverageEvent};
use crate::health::Condition;
use crate::restart::RestartPolicy;
use crate::source::{EventSource, SourceCaps};
use backon::ExponentialBackoff;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

/// When a source that starts is first asked whether it is ready; each further question waits twice as long.
const FIRST_PROBE: Duration = Duration::from_millis(10);

/// A source as it was registered.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) source: Arc<dyn EventSource>,
    pub(crate) name: &'static str,
    /// As they were at registration: what a source may emit does not change under way.
    pub(crate) caps: SourceCaps,
}

/// What a source is doing.
#[derive(Debug)]
pub(super) enum Doing {
    /// It was started and is not ready yet.
    Starting {
        ready_by: Instant,
        probe_at: Instant,
        probe_wait: Duration,
        /// Events that had come before this start.
        received_before: u64,
    },
    Working {
        since: Instant,
    },
    /// It was not ready in time; its start was told to end.
    Aborting,
    /// It failed so and is started again at this time.
    Waiting {
        until: Instant,
        failure: SourceOutcome,
    },
    /// It failed and is not started again.
    Ended,
}

/// What the supervisor has to do for a source whose time has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Probe,
    Abort,
    Restart,
}

/// What is known of a source while it runs.
pub(super) struct Life {
    pub(super) registered: Registered,
    pub(super) index: usize,
    pub(super) live: Arc<Live>,
    /// Holds the queue open until `start` has returned well: up to then it can be started again. Afterwards the queue is
    /// open as long as the source itself holds it, so that its end can be noticed.
    pub(super) tx: Option<mpsc::Sender<CollectionEvent>>,
    pub(super) restartable: bool,
    pub(super) doing: Doing,
    /// `start` is still running.
    pub(super) in_start: bool,
    /// Told when `start` has run up to its first wait.
    pub(super) begun: Option<oneshot::Receiver<()>>,
    /// The same, for who only wants to look.
    pub(super) has_begun: Arc<AtomicBool>,
    /// `stop` was called and has not returned.
    pub(super) in_stop: bool,
    /// A check was asked and has not been answered.
    pub(super) checking: bool,
    pub(super) outcome: Option<SourceOutcome>,
    pub(super) failures: u64,
    pub(super) restarts: u64,
    pub(super) health_failures: u64,
    pub(super) last_health_failure: Option<String>,
    pub(super) policy: RestartPolicy,
    pub(super) waits: ExponentialBackoff,
}

impl Life {
    pub(super) fn begins(&mut self, now: Instant, startup_timeout: Duration) {
        self.in_start = true;
        self.doing = Doing::Starting {
            ready_by: now + startup_timeout,
            probe_at: now + FIRST_PROBE.min(startup_timeout),
            probe_wait: FIRST_PROBE,
            received_before: self.received(),
        };
        self.live.clear(self.index, Condition::Restarting);
        self.live.set(self.index, Condition::Starting, "not ready yet".to_owned());
        info!(source = self.registered.name, caps = ?self.registered.caps, "source starting");
    }

    /// When something has to be done for it.
    pub(super) fn due_at(&self) -> Option<Instant> {
        match &self.doing {
            Doing::Starting { ready_by, probe_at, .. } => Some(*ready_by.min(probe_at)),
            Doing::Waiting { until, .. } => Some(*until),
            Doing::Working { .. } | Doing::Aborting | Doing::Ended => None,
        }
    }

    pub(super) fn due(&mut self, now: Instant, startup_timeout: Duration) -> Due {
        let received = self.received();
        match &mut self.doing {
            Doing::Starting { received_before, .. } if received > *received_before => {
                self.is_ready(now);
                Due::Nothing
            }
            Doing::Starting { ready_by, .. } if *ready_by <= now => {
                error!(
                    source = self.registered.name,
                    ?startup_timeout,
                    "source was not ready in time, aborted"
                );
                self.doing = Doing::Aborting;
                Due::Abort
            }
            Doing::Starting { probe_at, probe_wait, .. } if *probe_at <= now => {
                *probe_wait *= 2;
                *probe_at = now + *probe_wait;
                // A start that has set up nothing yet, as it had no turn, cannot be asked.
                let may_ask = !self.checking && self.has_begun.load(Ordering::Acquire);
                if may_ask { Due::Probe } else { Due::Nothing }
            }
            Doing::Waiting { until, .. } if *until <= now => Due::Restart,
            _ => Due::Nothing,
        }
    }

    pub(super) fn is_ready(&mut self, now: Instant) {
        if matches!(self.doing, Doing::Starting { .. } | Doing::Aborting) {
            self.doing = Doing::Working { since: now };
            self.live.clear(self.index, Condition::Starting);
            self.live.source(self.index).set_active(true);
            info!(source = self.registered.name, "source ready");
        }
    }

    pub(super) fn is_working(&self) -> bool {
        matches!(self.doing, Doing::Working { .. })
    }

    /// Whether a shutdown has to wait for it.
    pub(super) fn is_stopping(&self) -> bool {
        // One that was aborted and does not react blocks its thread: nobody can wait for that.
        self.in_stop || (self.in_start && !matches!(self.doing, Doing::Aborting))
    }

    /// `may_restart`: the run is not being stopped.
    pub(super) fn start_ended(
        &mut self,
        result: Ended,
        now: Instant,
        startup_timeout: Duration,
        may_restart: bool,
    ) {
        self.in_start = false;
        match result {
            Ok(Ok(())) => {
                debug!(source = self.registered.name, "start returned");
                self.is_ready(now);
                self.tx = None;
            }
            Ok(Err(failure)) => {
                self.failed(SourceOutcome::Failed(format!("{failure:#}")), now, may_restart);
            }
            Err(join) if join.is_cancelled() && matches!(self.doing, Doing::Aborting) => {
                self.failed(SourceOutcome::NotReady(startup_timeout), now, may_restart);
            }
            Err(join) => self.failed(SourceOutcome::Panicked(panic_message(join)), now, may_restart),
        }
    }

    fn failed(&mut self, failure: SourceOutcome, now: Instant, may_restart: bool) {
        let source = self.registered.name;
        if let Doing::Working { since } = self.doing
            && now.duration_since(since) >= self.policy.steady_after
        {
            self.waits = self.policy.waits();
        }
        self.failures += 1;
        self.live.source(self.index).count_failure();
        self.live.source(self.index).set_active(false);
        for condition in [Condition::Starting, Condition::CheckFailed, Condition::LetGo] {
            self.live.clear(self.index, condition);
        }
        let wait = (may_restart && self.restartable).then(|| self.waits.next()).flatten();
        match wait {
            Some(wait) => {
                warn!(source, %failure, ?wait, "source failed and will be started again");
                self.live.set(
                    self.index,
                    Condition::Restarting,
                    format!("{failure}; started again after {wait:?}"),
                );
                self.doing = Doing::Waiting { until: now + wait, failure };
            }
            None => {
                let restarts = self.restarts;
                error!(source, %failure, restarts, "source failed and will not be started again");
                self.live.set(self.index, Condition::Failed, failure.to_string());
                self.doing = Doing::Ended;
                // What it left in its queue is still read; nobody else can send.
                self.tx = None;
                self.outcome = Some(failure);
            }
        }
    }

    pub(super) fn stop_ended(&mut self, result: Ended) {
        self.in_stop = false;
        let failure = match result {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => format!("{failure:#}"),
            Err(join) => panic_message(join),
        };
        error!(source = self.registered.name, failure, "source failed to stop");
        self.outcome.get_or_insert(SourceOutcome::StopFailed(failure));
    }

    pub(super) fn check_ended(&mut self, result: Ended, now: Instant) {
        self.checking = false;
        let answer = match result {
            Ok(answer) => answer.map_err(|failure| format!("{failure:#}")),
            // It was the check of a start that has ended.
            Err(join) if join.is_cancelled() => return,
            Err(join) => Err(panic_message(join)),
        };
        match (answer, self.is_working()) {
            (Ok(()), true) => self.live.clear(self.index, Condition::CheckFailed),
            (Ok(()), false) if matches!(self.doing, Doing::Starting { .. }) => self.is_ready(now),
            (Err(failure), true) => self.unhealthy(failure),
            // It is not ready yet, and that it says so is no failure.
            _ => {}
        }
    }

    pub(super) fn unhealthy(&mut self, reason: String) {
        warn!(source = self.registered.name, reason, "source is not healthy");
        self.health_failures += 1;
        self.live.source(self.index).count_health_failure();
        self.live.set(self.index, Condition::CheckFailed, reason.clone());
        self.last_health_failure = Some(reason);
    }

    /// The last word on a source whose time is over.
    pub(super) fn close(&mut self, startup_timeout: Duration) {
        if self.is_stopping() {
            let (in_stop, in_start) = (self.in_stop, self.in_start);
            error!(source = self.registered.name, in_stop, in_start, "source did not stop in time, aborted");
            self.outcome = Some(SourceOutcome::Aborted);
        }
        let outcome = match std::mem::replace(&mut self.doing, Doing::Ended) {
            Doing::Waiting { failure, .. } => failure,
            Doing::Aborting => SourceOutcome::NotReady(startup_timeout),
            _ => SourceOutcome::Stopped,
        };
        self.tx = None;
        self.outcome.get_or_insert(outcome);
        self.live.source(self.index).set_active(false);
        self.live.clear(self.index, Condition::Starting);
    }

    fn received(&self) -> u64 {
        self.live.source(self.index).received()
    }
}

impl Registered {
    pub(super) fn coverage(&self) -> Option<CoverageEvent> {
        self.isolated("coverage", || self.source.coverage())
    }

    pub(super) fn is_restartable(&self) -> bool {
        self.isolated("restartable", || Some(self.source.restartable())).unwrap_or(false)
    }

    /// What the source counted; `None` if it keeps no books or panicked over them.
    pub(super) fn account(&self) -> Option<SourceAccount> {
        self.isolated("account", || self.source.account())
    }

    fn isolated<T>(&self, what: &str, ask: impl FnOnce() -> Option<T>) -> Option<T> {
        isolated(self.name, what, ask)
    }
}

/// Asks a source. A panic of one must not end the others.
pub(super) fn isolated<T>(source: &str, what: &str, ask: impl FnOnce() -> Option<T>) -> Option<T> {
    // The source is only asked again for other things; what it broke inside stays its own.
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| {
        error!(source, what, "source panicked when asked");
        None
    })
}
