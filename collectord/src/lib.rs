//! The daemon as a library: the kernel object's loader, the event sources that read its rings, and `watch`.
//!
//! Invariants:
//! 1. Unsafe code stands in two small modules: `kernel::mapped` (shared arrays) and `heap` (one call).
//! 2. A source claims what was proved: its hooks are loaded and attached before it exists.
//! 3. The drain loop does no I/O and takes no lock that a consumer can hold.
//! 4. Every record read ends in a counter of the source's books.
//!
//! What it does not do: it writes no file and listens on nothing.
#![deny(unsafe_code)]

mod children;
pub mod cli;
mod color;
pub mod doctor;
pub mod failure;
pub mod generate;
mod heap;
pub mod host;
pub mod kernel;
pub mod memlock;
mod priority;
mod privileges;
pub mod programs;
mod raw_calls;
pub mod snapshot;
pub mod source;
mod terminal;
pub mod watch;
