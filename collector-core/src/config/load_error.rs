//! What can be wrong with a configuration that comes from outside.

use super::{CONFIG_FILE_BYTES_MAX, ConfigError, Origin};
use std::path::PathBuf;

/// Why a configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigLoadError {
    /// A file or folder could not be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A file is longer than any configuration.
    #[error("{} is longer than {CONFIG_FILE_BYTES_MAX} bytes", path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// A file is no TOML, has an unknown key or a value of the wrong type. The text shows line and column with a caret.
    #[error("{}: {message}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong and where.
        message: String,
    },
    /// An environment variable or a flag has an unknown name or a value of the wrong type.
    #[error("{origin} is {value:?}: {message}")]
    Value {
        /// Where it came from.
        origin: Origin,
        /// What it was set to.
        value: String,
        /// What is wrong.
        message: String,
    },
    /// A value is outside its bound.
    #[error("{source} (set by {origin})")]
    Bound {
        /// Where it came from.
        origin: Origin,
        /// Field, value and bound.
        source: ConfigError,
    },
    /// Each layer is well-formed, but together they are not.
    #[error("the layers of the configuration do not fit together: {0}")]
    Merged(String),
}
