//! What the collector measures of itself, as clients are told of it: the names and units of [`Telemetry`].

use crate::event::PerformanceEvent;
use crate::runtime::{Live, Meter};
use crate::telemetry::Telemetry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Clients that ask within this time are told the same: rates over less mean nothing.
const PERIOD_MIN: Duration = Duration::from_secs(1);

/// Measures for clients, apart from the run's telemetry, which has its own interval and can be switched off.
#[derive(Debug)]
pub(super) struct OwnMetrics {
    live: Arc<Live>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    meter: Meter,
    last: Option<(Instant, Telemetry)>,
}

impl OwnMetrics {
    pub(super) fn new(live: Arc<Live>) -> Self {
        let meter = Meter::new(&live, Instant::now());
        Self { live, state: Mutex::new(State { meter, last: None }) }
    }

    /// The measurements; rates are means since the time before, or since the server began. Reads /proc and so blocks its
    /// thread.
    pub(super) fn measured(&self) -> Vec<PerformanceEvent> {
        let now = Instant::now();
        // Plain numbers: a panic cannot have left them in a state that matters.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { meter, last } = &mut *state;
        if let Some((at, telemetry)) = last
            && now.saturating_duration_since(*at) < PERIOD_MIN
        {
            return telemetry.as_events();
        }
        let telemetry = meter.measure(&self.live, now);
        let events = telemetry.as_events();
        *last = Some((now, telemetry));
        events
    }
}
