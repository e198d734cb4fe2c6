//! The four structs that consumers of the framework build as literals. Their fields are a public contract: none is
//! added, renamed or hidden.

use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// A process as seen at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessEvent {
    /// Process id.
    pub pid: u32,
    /// The parent's process id.
    pub ppid: Option<u32>,
    /// The process's name (comm).
    pub name: String,
    /// Path of the file that runs.
    pub executable_path: Option<String>,
    /// The arguments, argv\[0\] first.
    pub command_line: Vec<String>,
    /// When the process started.
    pub start_time: Option<SystemTime>,
    /// CPU use in percent of one core.
    pub cpu_usage: Option<f64>,
    /// Resident memory in bytes.
    pub memory_usage: Option<u64>,
    /// Hash of the executable, lower-case hex.
    pub executable_hash: Option<String>,
    /// The user, as a number or a name.
    pub user_id: Option<String>,
    /// Whether the process's details could be read.
    pub accessible: bool,
    /// Whether the executable still exists under its path.
    pub file_exists: bool,
    /// When this was seen.
    pub timestamp: SystemTime,
}

/// A connection as seen at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkEvent {
    /// An id of the connection, unique within its source.
    pub connection_id: String,
    /// Local address and port.
    pub source_addr: String,
    /// Remote address and port.
    pub dest_addr: String,
    /// Protocol name.
    pub protocol: String,
    /// State of the connection.
    pub state: String,
    /// The process that owns it.
    pub pid: Option<u32>,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// When this was seen.
    pub timestamp: SystemTime,
}

/// A file operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FilesystemEvent {
    /// Path of the file.
    pub path: String,
    /// What was done.
    pub operation: String,
    /// The process that did it.
    pub pid: Option<u32>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Permissions, octal.
    pub permissions: Option<String>,
    /// Hash of the file, lower-case hex.
    pub file_hash: Option<String>,
    /// When this was seen.
    pub timestamp: SystemTime,
}

/// A measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerformanceEvent {
    /// Name of the metric.
    pub metric_name: String,
    /// Its value.
    pub value: f64,
    /// The value's unit.
    pub unit: String,
    /// The process it is about.
    pub pid: Option<u32>,
    /// The component that measured.
    pub component: String,
    /// When it was measured.
    pub timestamp: SystemTime,
}

// `SystemTime` has no default of its own; the epoch says "not given" without pretending a time.
impl Default for ProcessEvent {
    fn default() -> Self {
        Self {
            pid: 0,
            ppid: None,
            name: String::new(),
            executable_path: None,
            command_line: Vec::new(),
            start_time: None,
            cpu_usage: None,
            memory_usage: None,
            executable_hash: None,
            user_id: None,
            accessible: false,
            file_exists: false,
            timestamp: SystemTime::UNIX_EPOCH,
        }
    }
}

impl Default for NetworkEvent {
    fn default() -> Self {
        Self {
            connection_id: String::new(),
            source_addr: String::new(),
            dest_addr: String::new(),
            protocol: String::new(),
            state: String::new(),
            pid: None,
            bytes_sent: 0,
            bytes_received: 0,
            timestamp: SystemTime::UNIX_EPOCH,
        }
    }
}

impl Default for FilesystemEvent {
    fn default() -> Self {
        Self {
            path: String::new(),
            operation: String::new(),
            pid: None,
            size: None,
            permissions: None,
            file_hash: None,
            timestamp: SystemTime::UNIX_EPOCH,
        }
    }
}

impl Default for PerformanceEvent {
    fn default() -> Self {
        Self {
            metric_name: String::new(),
            value: 0.0,
            unit: String::new(),
            pid: None,
            component: String::new(),
            timestamp: SystemTime::UNIX_EPOCH,
        }
    }
}
