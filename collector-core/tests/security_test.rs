//! What a client, somebody in the way of the socket, or a source that breaks the rules can try, and that it gets nowhere.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::cast_possible_truncation, reason = "the client's numbers are small")]

#[path = "security/abuse.rs"]
mod abuse;
#[path = "security/isolation.rs"]
mod isolation;
#[path = "security/limit.rs"]
mod limit;
#[allow(dead_code, reason = "the IPC test uses all of it")]
#[path = "ipc/rig.rs"]
mod rig;
#[path = "security/socket.rs"]
mod socket;
#[allow(dead_code, unused_imports, reason = "the integration test uses all of it")]
mod support;
#[allow(dead_code, reason = "the IPC test uses all of it")]
#[path = "ipc/wire.rs"]
mod wire;
