//! What an embedder can set for the IPC server, and the bounds of it.

use crate::config::{ByteSize, ConfigError, DURATION_MAX, duration};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Clients at one time, whatever the options say.
pub const IPC_CLIENTS_MAX: usize = 1024;
/// The largest file that is hashed, whatever the options say.
pub const IPC_HASH_BYTES_MAX: ByteSize = ByteSize(1 << 40);
/// A task that takes longer is given up and refused, whatever the options say: clients wait 30 s for an answer.
pub const IPC_TASK_TIME_MAX: Duration = Duration::from_secs(25);

/// How the collector serves clients on a Unix socket.
///
/// ```
/// use collector_core::IpcOptions;
///
/// let options = IpcOptions::new("/run/collectord/ipc/collector.sock").with_group("operators").with_max_clients(4);
/// assert!(options.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IpcOptions {
    /// The socket's path, absolute. Its folder is made if it is missing, and has to be the collector's own. So is the
    /// folder above it, with 0755, where nobody else can replace it: the default's are both missing after a boot.
    /// Default `/run/collectord/ipc/collector.sock`.
    pub socket: PathBuf,
    /// The group whose members may connect too, besides root and the collector's own user. Default none.
    pub group: Option<String>,
    /// Clients at one time. Default 16.
    pub max_clients: usize,
    /// How long a frame may take from its first byte to its last, in either direction. Default 10 s.
    #[serde(deserialize_with = "duration")]
    pub frame_timeout: Duration,
    /// How long a connection may be silent between frames. Default 10 min.
    #[serde(deserialize_with = "duration")]
    pub idle_timeout: Duration,
    /// The largest file that is hashed. Default 256 MiB.
    pub hash_bytes_max: ByteSize,
    /// How long a task may hash, all its files together and its wait for a turn included. Default 20 s; clients wait
    /// 30 s for an answer.
    #[serde(deserialize_with = "duration")]
    pub hash_timeout: Duration,
}

impl Default for IpcOptions {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/collectord/ipc/collector.sock"),
            group: None,
            max_clients: 16,
            frame_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(600),
            hash_bytes_max: ByteSize::mib(256),
            hash_timeout: Duration::from_secs(20),
        }
    }
}

impl IpcOptions {
    /// The defaults, with this socket.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), ..Self::default() }
    }

    /// Lets members of this group connect.
    #[must_use]
    pub fn with_group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Sets how many clients may be connected at one time.
    #[must_use]
    pub fn with_max_clients(mut self, clients: usize) -> Self {
        self.max_clients = clients;
        self
    }

    /// Sets how long a frame may take from its first byte to its last.
    #[must_use]
    pub fn with_frame_timeout(mut self, timeout: Duration) -> Self {
        self.frame_timeout = timeout;
        self
    }

    /// Sets how long a connection may be silent between frames.
    #[must_use]
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets the largest file that is hashed.
    #[must_use]
    pub fn with_hash_bytes_max(mut self, size: ByteSize) -> Self {
        self.hash_bytes_max = size;
        self
    }

    /// Sets how long a task may hash.
    #[must_use]
    pub fn with_hash_timeout(mut self, timeout: Duration) -> Self {
        self.hash_timeout = timeout;
        self
    }

    /// Whether every value is within its bound.
    ///
    /// # Errors
    /// The first field that is not, with its value and its bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |field, value: String, bound: String| Err(ConfigError { field, value, bound });
        if !self.socket.is_absolute() || self.socket.file_name().is_none() {
            return refuse("socket", format!("{:?}", self.socket), "an absolute path of a file".to_owned());
        }
        if self.max_clients == 0 || self.max_clients > IPC_CLIENTS_MAX {
            let bound = format!("between 1 and {IPC_CLIENTS_MAX}");
            return refuse("max_clients", self.max_clients.to_string(), bound);
        }
        if self.hash_bytes_max.0 == 0 || self.hash_bytes_max > IPC_HASH_BYTES_MAX {
            let bound = format!("between 1B and {IPC_HASH_BYTES_MAX}");
            return refuse("hash_bytes_max", self.hash_bytes_max.to_string(), bound);
        }
        let times = [
            ("frame_timeout", self.frame_timeout, DURATION_MAX),
            ("idle_timeout", self.idle_timeout, DURATION_MAX),
            ("hash_timeout", self.hash_timeout, IPC_TASK_TIME_MAX),
        ];
        for (field, time, max) in times {
            if time.is_zero() || time > max {
                return refuse(field, format!("{time:?}"), format!("more than 0 and at most {max:?}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_is_kept_and_named() {
        IpcOptions::default().validate().unwrap();
        type Change = fn(IpcOptions) -> IpcOptions;
        let bad: [(&str, Change); 10] = [
            ("socket", |options| IpcOptions { socket: "relative.sock".into(), ..options }),
            ("socket", |options| IpcOptions { socket: "/".into(), ..options }),
            ("max_clients", |options| options.with_max_clients(0)),
            ("max_clients", |options| options.with_max_clients(IPC_CLIENTS_MAX + 1)),
            ("hash_bytes_max", |options| options.with_hash_bytes_max(ByteSize(0))),
            ("hash_bytes_max", |options| options.with_hash_bytes_max(ByteSize(IPC_HASH_BYTES_MAX.0 + 1))),
            ("frame_timeout", |options| options.with_frame_timeout(Duration::ZERO)),
            ("idle_timeout", |options| options.with_idle_timeout(DURATION_MAX * 2)),
            ("hash_timeout", |options| options.with_hash_timeout(Duration::ZERO)),
            ("hash_timeout", |options| options.with_hash_timeout(IPC_TASK_TIME_MAX * 2)),
        ];
        for (field, change) in bad {
            assert_eq!(change(IpcOptions::default()).validate().unwrap_err().field, field);
        }
    }

    #[test]
    fn options_are_read_with_units_and_unknown_ones_refused() {
        let read: IpcOptions = toml::from_str("hash_bytes_max = '8MiB'\nframe_timeout = '5s'").unwrap();
        let expected = IpcOptions::default()
            .with_hash_bytes_max(ByteSize::mib(8))
            .with_frame_timeout(Duration::from_secs(5));
        assert_eq!(read, expected);
        assert!(
            toml::from_str::<IpcOptions>("sockt = '/x'")
                .unwrap_err()
                .to_string()
                .contains("1 | sockt = '/x'")
        );
    }
}
