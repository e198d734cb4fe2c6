//! The IPC server as an existing client meets it: through the socket, with a client made from the description of the
//! wire alone.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::cast_possible_truncation, reason = "the client's numbers are small")]

#[path = "ipc/files.rs"]
mod files;
#[path = "ipc/negotiation.rs"]
mod negotiation;
#[path = "ipc/observed.rs"]
mod observed;
#[path = "ipc/processes.rs"]
mod processes;
#[allow(dead_code, reason = "the security test uses all of it")]
#[path = "ipc/rig.rs"]
mod rig;
#[allow(dead_code, unused_imports, reason = "the integration test uses all of it")]
mod support;
#[path = "ipc/wire.rs"]
mod wire;
