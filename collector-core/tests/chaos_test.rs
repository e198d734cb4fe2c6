//! Sources and sinks that do their worst, in random order and at random moments; the law has to hold all the same.
//!
//! Time is paused: it passes when nothing else can happen, so hours of trouble take moments. Every case has a seed,
//! which is printed when the case fails; `COLLECTOR_CHAOS_SEED=n` runs that one alone.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod chaos;
#[allow(dead_code, unused_imports, reason = "the integration test uses all of it")]
mod support;
