//! How the sources and the whole are, as it can be asked during a run.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It works.
    Healthy,
    /// It works with a fault, or is on its way to work.
    Degraded,
    /// It does not work and will not again in this run.
    Failed,
}

impl HealthState {
    /// Every state, the best first.
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Degraded, Self::Failed];

    /// The state's name in metrics and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

/// A reason why something is not healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReason {
    /// What is wrong.
    pub text: String,
    /// Since when it is, without a break.
    pub since: SystemTime,
}

/// How one source or one sink is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PartHealth {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: HealthState,
    /// Since when it is in this state.
    pub since: SystemTime,
    /// Why it is not healthy; empty if it is.
    pub reasons: Vec<HealthReason>,
}

/// How a run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// Healthy if every part is; failed if every source or every sink failed, or the run has not begun or has ended;
    /// degraded otherwise.
    pub state: HealthState,
    /// Since when the worst part is as it is.
    pub since: SystemTime,
    /// Why the run as a whole is not healthy, in the parts' words.
    pub reasons: Vec<HealthReason>,
    /// Each source, in the order of registration.
    pub sources: Vec<PartHealth>,
    /// Each sink, in the order in which they were added.
    pub sinks: Vec<PartHealth>,
}

/// What can be wrong with a part. The order is that in which reasons are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Condition {
    Failed,
    Restarting,
    Starting,
    LetGo,
    CheckFailed,
    Imbalance,
    Violation,
    Backpressure,
    Shedding,
    Writing,
}

/// What is wrong with a part right now.
#[derive(Debug)]
pub(crate) struct Conditions {
    holding: BTreeMap<Condition, HealthReason>,
    state: HealthState,
    since: SystemTime,
}

impl Conditions {
    pub(crate) fn healthy(now: SystemTime) -> Self {
        Self { holding: BTreeMap::new(), state: HealthState::Healthy, since: now }
    }

    /// Notes that a condition holds; its time stays that of its beginning.
    pub(crate) fn set(&mut self, condition: Condition, text: String, now: SystemTime) {
        let since = self.holding.get(&condition).map_or(now, |reason| reason.since);
        self.holding.insert(condition, HealthReason { text, since });
        self.judge(now);
    }

    pub(crate) fn clear(&mut self, condition: Condition, now: SystemTime) {
        if self.holding.remove(&condition).is_some() {
            self.judge(now);
        }
    }

    pub(crate) fn state(&self) -> HealthState {
        self.state
    }

    fn judge(&mut self, now: SystemTime) {
        let state = match self.holding.keys().next() {
            None => HealthState::Healthy,
            Some(Condition::Failed) => HealthState::Failed,
            Some(_) => HealthState::Degraded,
        };
        if state != self.state {
            self.state = state;
            self.since = now;
        }
    }

    pub(crate) fn told(&self, name: &str) -> PartHealth {
        PartHealth {
            name: name.to_owned(),
            state: self.state,
            since: self.since,
            reasons: self.holding.values().cloned().collect(),
        }
    }
}

impl Health {
    /// The whole, from its parts. `outside` is what holds for the run and not for a part: it has not begun, or ended.
    pub(crate) fn of(
        sources: Vec<PartHealth>,
        sinks: Vec<PartHealth>,
        outside: Option<HealthReason>,
        begun: SystemTime,
    ) -> Self {
        let all_failed = |parts: &[PartHealth]| {
            !parts.is_empty() && parts.iter().all(|part| part.state == HealthState::Failed)
        };
        let parts = || sources.iter().chain(&sinks);
        let state = if outside.is_some() || all_failed(&sources) || all_failed(&sinks) {
            HealthState::Failed
        } else if parts().all(|part| part.state == HealthState::Healthy) {
            HealthState::Healthy
        } else {
            HealthState::Degraded
        };
        let mut reasons: Vec<_> = outside.into_iter().collect();
        for part in parts() {
            reasons.extend(part.reasons.iter().map(|reason| HealthReason {
                text: format!("{}: {}", part.name, reason.text),
                since: reason.since,
            }));
        }
        let since = match state {
            // The last one to recover made it so.
            HealthState::Healthy => parts().map(|part| part.since).max().unwrap_or(begun),
            HealthState::Degraded => reasons.iter().map(|reason| reason.since).min().unwrap_or(begun),
            HealthState::Failed => reasons.iter().map(|reason| reason.since).max().unwrap_or(begun),
        };
        Self { state, since, reasons, sources, sinks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_condition_keeps_its_beginning_and_a_state_its_own() {
        let mut part = Conditions::healthy(at(0));
        part.set(Condition::CheckFailed, "first".to_owned(), at(5));
        part.set(Condition::CheckFailed, "second".to_owned(), at(6));
        part.set(Condition::Backpressure, "full".to_owned(), at(7));
        let told = part.told("a");
        assert_eq!((told.state, told.since), (HealthState::Degraded, at(5)));
        assert_eq!(told.reasons[0], HealthReason { text: "second".to_owned(), since: at(5) });
        part.set(Condition::Failed, "gone".to_owned(), at(8));
        assert_eq!((part.told("a").state, part.told("a").since), (HealthState::Failed, at(8)));
        for condition in [Condition::Failed, Condition::CheckFailed, Condition::Backpressure] {
            part.clear(condition, at(9));
        }
        assert_eq!((part.told("a").state, part.told("a").since), (HealthState::Healthy, at(9)));
    }

    #[test]
    fn one_failed_source_degrades_the_whole_and_all_of_them_fail_it() {
        let well = Conditions::healthy(at(0)).told("well");
        let mut failed = Conditions::healthy(at(0));
        failed.set(Condition::Failed, "gone".to_owned(), at(3));
        let failed = failed.told("bad");
        let whole = Health::of(vec![well, failed.clone()], Vec::new(), None, at(0));
        assert_eq!((whole.state, whole.since), (HealthState::Degraded, at(3)));
        assert_eq!(whole.reasons[0].text, "bad: gone");
        assert_eq!(Health::of(vec![failed], Vec::new(), None, at(0)).state, HealthState::Failed);
    }
}
