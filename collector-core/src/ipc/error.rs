//! Why the IPC server cannot begin.

use crate::config::ConfigError;
use std::path::PathBuf;

/// Why the IPC server cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IpcError {
    /// An option is out of its bound.
    #[error("wrong IPC options")]
    Options(#[from] ConfigError),
    /// The group is not known to this machine.
    #[error("there is no group {0:?}")]
    NoSuchGroup(String),
    /// The socket's folder is not the collector's own.
    #[error("folder {} cannot hold the socket: {reason}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Something stands in the socket's place that is not the collector's, and is left alone.
    #[error("{} is left as it is: {reason}", path.display())]
    Foreign {
        /// The socket's path.
        path: PathBuf,
        /// What stands there.
        reason: String,
    },
    /// Another server answers there.
    #[error("{} is in use by another server", path.display())]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// A server was set up already.
    #[error("the collector serves IPC already")]
    Twice,
    /// The operating system refused.
    #[error("failed to {what} {}", path.display())]
    System {
        /// What was attempted.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}
