//! The IPC server: existing clients ask over a Unix socket, the collector answers.
//!
//! ```text
//! client -> socket -> peer: who is it? -> connection: frame -> request -> answer -> frame -> client
//!                                                                            |
//!                                          process table (by the batcher), recent events, /proc, files
//! ```
//!
//! What a client can make the collector do is bounded everywhere: clients, bytes and time of a frame, filters, files
//! and their size, records of an answer. A server that fails takes nothing with it.

mod answer;
mod connection;
mod error;
mod filter;
mod fit;
mod folder;
mod frame;
mod hash;
mod log_interval;
mod options;
mod peer;
mod performance;
mod processes;
mod proto;
mod recent;
mod report;
mod request;
mod server;
mod socket;
mod time;
mod view;

pub use error::IpcError;
pub use frame::FRAME_BYTES_MAX as IPC_FRAME_BYTES_MAX;
pub use options::{IPC_CLIENTS_MAX, IPC_HASH_BYTES_MAX, IPC_TASK_TIME_MAX, IpcOptions};
pub use recent::{IPC_RECENT_BYTES_MAX, IPC_RECENT_EVENTS_MAX, IPC_TOLD_PROCESSES_MAX};
pub use report::IpcReport;
pub(crate) use server::{IpcTap, ReadyServer, RunningServer};
pub(crate) use socket::BoundSocket;
