//! The real runtime between scripted sources and sinks.
//!
//! Nothing here sleeps to wait for something: tests wait on a condition with a deadline, or run in paused time, where
//! a timeout passes when nothing else can happen.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod integration;
mod support;
