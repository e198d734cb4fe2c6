//! Programs that this process starts. Until such a child executes, it holds a copy of each of this process's descriptors,
//! and a hook whose descriptor is closed meanwhile goes on: what it numbers then nobody reads.

use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held while a child has such copies.
static STARTING: Mutex<()> = Mutex::new(());

/// Starts a program; it executes when this returns.
pub(crate) fn start(command: &mut Command) -> io::Result<Child> {
    let _starting = none_starts();
    command.spawn()
}

/// Until this is dropped, none of this crate's children holds a copy of a descriptor, and none is started.
pub(crate) fn none_starts() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}
