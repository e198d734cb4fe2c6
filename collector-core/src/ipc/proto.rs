//! The messages, as `build.rs` makes them from `proto/collection.proto`.
#![allow(unreachable_pub, clippy::all, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/_.rs"));
