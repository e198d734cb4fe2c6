//! How the program fails: a message and an exit code.

use crate::kernel::{LayoutError, LoadError};
use std::fmt;

/// Exit codes of the program (those above 63 are sysexits.h's).
pub mod exit_code {
    /// Something broke while it ran.
    pub const RUNTIME: u8 = 1;
    /// Wrong usage.
    pub const USAGE: u8 = 2;
    /// This kernel cannot do what was asked for.
    pub const UNAVAILABLE: u8 = 69;
    /// Privileges are missing.
    pub const NO_PERMISSION: u8 = 77;
}

/// Why the program ends early.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    error: anyhow::Error,
}

impl Failure {
    /// Wrong usage.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { code: exit_code::USAGE, error: error.into() }
    }

    /// Privileges are missing.
    pub fn no_permission(error: impl Into<anyhow::Error>) -> Self {
        Self { code: exit_code::NO_PERMISSION, error: error.into() }
    }

    /// Something broke.
    pub fn runtime(error: impl Into<anyhow::Error>) -> Self {
        Self { code: exit_code::RUNTIME, error: error.into() }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let code = match &error {
            LoadError::Permission { .. } => exit_code::NO_PERMISSION,
            // The file was named on the command line.
            LoadError::Layout(LayoutError::Read { .. } | LayoutError::Parse { .. }) | LoadError::Rings(_) => {
                exit_code::USAGE
            }
            _ => exit_code::UNAVAILABLE,
        };
        Self { code, error: error.into() }
    }
}

/// The message and its causes, each once.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = String::new();
        for cause in self.error.chain() {
            let text = cause.to_string();
            if told.contains(&text) {
                continue;
            }
            if !told.is_empty() {
                told.push_str(": ");
            }
            told.push_str(&text);
        }
        f.write_str(&told)
    }
}
