//! An event that a kernel hook told.
//!
//! Compact on purpose: plain numbers, one shared [`Origin`] per hook, one shared [`ProcessIdentity`] per process, and
//! text as slices of a buffer that many events share.

use super::connect::{Connect, ConnectResult, Endpoint};
use super::identity::ProcessIdentity;
use super::open::{ExecFailed, Open};
use super::seed::{FilesystemEvent, NetworkEvent, ProcessEvent};
use super::text::Text;
use crate::source::SourceCaps;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The class of an event. Each class has rings, numbering and books of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventClass {
    /// Starts, ends and forks of processes.
    Process,
    /// Connections.
    Network,
    /// Opened files.
    File,
}

impl EventClass {
    /// Every class, in the order in which they are served.
    pub const ALL: [Self; 3] = [Self::Process, Self::Network, Self::File];

    /// The class's name in the native format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Network => "network",
            Self::File => "file",
        }
    }

    /// The domain a source must claim to emit events of this class.
    pub fn domain(self) -> SourceCaps {
        match self {
            Self::Process => SourceCaps::PROCESS,
            Self::Network => SourceCaps::NETWORK,
            Self::File => SourceCaps::FILESYSTEM,
        }
    }
}

/// What is the same for every event of one hook in one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The event class.
    pub class: EventClass,
    /// Name of the numbering stream inside the class.
    pub stream: String,
    /// Name of the source.
    pub source: String,
    /// Rung and hook, such as `raw_tp:sched_process_exec`.
    pub via: String,
    /// The kernel's boot id: numbers and keys are unique within it.
    pub boot_id: String,
}

/// The system call ABI through which the event was caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Abi {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 32-bit x86.
    Ia32,
    /// 32-bit pointers on 64-bit x86.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM.
    Aarch32,
}

/// One event that a kernel hook told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelEvent {
    /// Where it comes from.
    pub origin: Arc<Origin>,
    /// `CLOCK_BOOTTIME` at the hook, in ns.
    pub ktime_ns: u64,
    /// The same moment as wall-clock time, in ns since the Unix epoch.
    pub wall_ns: u64,
    /// The CPU the hook ran on.
    pub cpu: u32,
    /// Number within (cpu, stream), from 0, without holes other than told losses.
    pub seq: u64,
    /// The system call ABI, where a system call caused the event.
    pub abi: Option<Abi>,
    /// Read for the collector itself: it feeds the process table and is not written to sinks.
    pub internal: bool,
    /// The process, as it was at the hook.
    pub process: ProcessContext,
    /// The process's unchanging part, derived behind the queue; `None` where it is not known.
    pub identity: Option<Arc<ProcessIdentity>>,
    /// What happened.
    pub body: KernelBody,
    /// Values that should be here and could not be read.
    pub missing: Vec<Missing>,
    /// Values that were shortened.
    pub truncated: Vec<Truncated>,
}

/// A value that should exist but could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Dotted path of the field in the native format, such as `exec.cwd`.
    pub field: std::borrow::Cow<'static, str>,
    /// Why.
    pub reason: MissingReason,
}

/// Why a value is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MissingReason {
    /// The kernel could not read the memory.
    Fault,
    /// This kernel has no such value.
    Unsupported,
    /// The hook that saw the event does not see this.
    Unseen,
    /// It changed each time it was read.
    Raced,
}

impl MissingReason {
    /// The reason's name in the native format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Unsupported => "unsupported",
            Self::Unseen => "unseen",
            Self::Raced => "raced",
        }
    }
}

/// A value that was shortened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truncated {
    /// Dotted path of the field in the native format, such as `exec.argv`.
    pub field: std::borrow::Cow<'static, str>,
    /// The original length in bytes; for a path whose end was not reached, the length known to exist.
    pub original_len: u64,
}

/// The process as it was at the hook. Pids are those of the initial pid namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessContext {
    /// Process id (the kernel's tgid).
    pub pid: u32,
    /// Thread id (the kernel's pid).
    pub tid: u32,
    /// The parent's process id.
    pub ppid: u32,
    /// The pid that the process has in its own pid namespace.
    pub ns_pid: u32,
    /// When the process started: `CLOCK_BOOTTIME`, ns.
    pub start_ns: u64,
    /// The task's comm, without trailing NULs.
    pub name: Text,
    /// Real user id.
    pub ruid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Real group id.
    pub rgid: u32,
    /// Effective group id.
    pub egid: u32,
    /// The audit login uid; `None` where none is set (4294967295 in the kernel).
    pub loginuid: Option<u32>,
    /// The audit session id; `None` where none is set.
    pub session: Option<u32>,
    /// The effective capability set.
    pub cap_effective: u64,
    /// Inode numbers of the namespaces.
    pub ns: Namespaces,
    /// Id of the cgroup in the unified hierarchy.
    pub cgroup_id: u64,
    /// Device (kernel encoding, major << 20 | minor) and inode of the running file, where the hook could read them.
    pub exe: Option<(u32, u64)>,
}

/// Inode numbers of a process's namespaces; 0 where the process had none any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Pid namespace.
    pub pid: u32,
    /// Mount namespace.
    pub mnt: u32,
    /// Network namespace.
    pub net: u32,
    /// User namespace.
    pub user: u32,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KernelBody {
    /// A program was started.
    Exec(Exec),
    /// A process or thread was created.
    Fork(Fork),
    /// A process ended.
    Exit(Exit),
    /// A connection was asked for.
    Connect(Connect),
    /// A connection that was told as pending is decided.
    ConnectResult(ConnectResult),
    /// A file was opened, or was not.
    Open(Open),
    /// A call of exec failed.
    ExecFailed(ExecFailed),
    /// A cgroup was made.
    CgroupMade(CgroupMade),
}

impl KernelBody {
    /// The event's name in the native format, which is also the key of its body.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Fork(_) => "fork",
            Self::Exit(_) => "exit",
            Self::Connect(_) => "connect",
            Self::ConnectResult(_) => "connect_result",
            Self::Open(_) => "open",
            Self::ExecFailed(_) => "exec_failed",
            Self::CgroupMade(_) => "cgroup",
        }
    }
}

/// A program was started: what the kernel runs, and what it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The path as the kernel was asked.
    pub filename: Option<Text>,
    /// Path of the file that runs; for a script that is its interpreter.
    pub path: Option<Text>,
    /// Device of that file (kernel encoding, major << 20 | minor).
    pub dev: Option<u32>,
    /// Inode of that file.
    pub ino: Option<u64>,
    /// For a script: the file that named the interpreter.
    pub script: Option<Script>,
    /// For a script: the interpreter's path as the script names it.
    pub interp: Option<Text>,
    /// The arguments as bytes, each ended by NUL; the last one may be cut. See [`Exec::args`].
    pub argv: Option<Text>,
    /// The working directory.
    pub cwd: Option<Text>,
    /// The file has no name in any directory: a memfd or an unlinked file.
    pub fileless: Option<bool>,
    /// The calling thread's id, if another thread than the leader called.
    pub old_tid: Option<u32>,
}

impl Exec {
    /// Each argument's bytes: empty ones and argv\[0\] are kept.
    pub fn args(&self) -> impl Iterator<Item = &[u8]> {
        split_args(self.argv.as_ref())
    }
}

/// The arguments in a text that ends each with NUL.
pub(super) fn split_args(argv: Option<&Text>) -> impl Iterator<Item = &[u8]> {
    let bytes = argv.map_or(&[][..], Text::as_bytes);
    let whole = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    let none = bytes.is_empty();
    let ends = memchr::memchr_iter(0, whole).chain(std::iter::once(whole.len()));
    let mut from = 0;
    let args = ends.map(move |end| &whole[std::mem::replace(&mut from, end + 1)..end]);
    args.filter(move |_| !none)
}

/// A script that was executed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Path of the script.
    pub path: Option<Text>,
    /// Its device (kernel encoding).
    pub dev: Option<u32>,
    /// Its inode.
    pub ino: Option<u64>,
}

/// A cgroup was made in the unified hierarchy; the event's process has made it. For the process table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupMade {
    /// Its id.
    pub id: u64,
    /// Its path from the root of the hierarchy.
    pub path: Text,
}

/// A process or thread was created; the event's process is the creator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The new task's process id.
    pub child_pid: u32,
    /// The new task's thread id.
    pub child_tid: u32,
    /// When the new process started: `CLOCK_BOOTTIME`, ns.
    pub child_start_ns: u64,
    /// Whether the new task is a thread of its creator's process.
    pub thread: bool,
}

/// A process ended: its last thread is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The wait status, as `waitpid` gives it to the parent.
    pub status: u32,
    /// How long the process lived, ns.
    pub duration_ns: u64,
}

impl Exit {
    /// The exit code, if the process was not ended by a signal.
    pub fn code(&self) -> Option<u32> {
        (self.status & 0x7f == 0).then_some((self.status >> 8) & 0xff)
    }

    /// The signal that ended the process.
    pub fn signal(&self) -> Option<u32> {
        Some(self.status & 0x7f).filter(|&signal| signal != 0)
    }

    /// Whether the signal left a core dump.
    pub fn core_dumped(&self) -> bool {
        self.signal().is_some() && self.status & 0x80 != 0
    }
}

impl KernelEvent {
    /// The wall-clock time of the hook.
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.wall_ns)
    }

    /// A key that no other process of this or another boot has: boot id, pid and start time.
    pub fn process_key(&self) -> String {
        format!("{}:{}:{}", self.origin.boot_id, self.process.pid, self.process.start_ns)
    }

    /// The event as the struct that seed-style consumers know, if it is about a file: operation `open`, `create`, or
    /// `open_failed`, where the path is what was asked for.
    pub fn as_filesystem(&self) -> Option<FilesystemEvent> {
        let KernelBody::Open(open) = &self.body else { return None };
        let path = open.path.as_ref().or(open.requested.as_ref());
        let operation = match (open.errno, open.created) {
            (Some(_), _) => "open_failed",
            (None, Some(true)) => "create",
            (None, _) => "open",
        };
        Some(FilesystemEvent {
            path: path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
            operation: operation.to_owned(),
            pid: Some(self.process.pid),
            permissions: open.mode.map(|mode| format!("{mode:04o}")),
            timestamp: self.time(),
            ..FilesystemEvent::default()
        })
    }

    /// The event as the struct that seed-style consumers know, if it is about a process.
    pub fn as_process(&self) -> Option<ProcessEvent> {
        let exec = match &self.body {
            KernelBody::Exec(exec) => Some(exec),
            KernelBody::Fork(_) | KernelBody::Exit(_) | KernelBody::ExecFailed(_) => None,
            KernelBody::Connect(_)
            | KernelBody::ConnectResult(_)
            | KernelBody::Open(_)
            | KernelBody::CgroupMade(_) => return None,
        };
        let exe = exec
            .and_then(|exec| exec.path.as_ref())
            .or_else(|| self.identity.as_ref().and_then(|identity| identity.exe.as_ref()));
        let boot_ns = self.wall_ns.saturating_sub(self.ktime_ns);
        Some(ProcessEvent {
            pid: self.process.pid,
            ppid: Some(self.process.ppid),
            name: self.process.name.to_string_lossy().into_owned(),
            executable_path: exe.map(|path| path.to_string_lossy().into_owned()),
            command_line: exec
                .map(|exec| exec.args().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect())
                .unwrap_or_default(),
            start_time: Some(
                SystemTime::UNIX_EPOCH + Duration::from_nanos(boot_ns.saturating_add(self.process.start_ns)),
            ),
            user_id: Some(self.process.ruid.to_string()),
            accessible: true,
            file_exists: exec.is_some_and(|exec| exec.fileless == Some(false)),
            timestamp: self.time(),
            ..ProcessEvent::default()
        })
    }

    /// The event as the struct that seed-style consumers know, if it is about a connection.
    pub fn as_network(&self) -> Option<NetworkEvent> {
        let (cookie, protocol, local, remote, result) = match &self.body {
            KernelBody::Connect(body) => {
                (body.socket_cookie, body.protocol_name(), &body.local, &body.remote, body.result)
            }
            // Only TCP is told as pending and then decided.
            KernelBody::ConnectResult(body) => {
                (Some(body.socket_cookie), "tcp".into(), &body.local, &body.remote, body.result)
            }
            _ => return None,
        };
        let address = |endpoint: &Option<Endpoint>| endpoint.as_ref().map(|end| end.to_text().into_owned());
        Some(NetworkEvent {
            connection_id: cookie.map_or_else(
                || format!("{}:{}:{}", self.origin.stream, self.cpu, self.seq),
                |cookie| cookie.to_string(),
            ),
            source_addr: address(local).unwrap_or_default(),
            dest_addr: address(remote).unwrap_or_default(),
            protocol: protocol.into_owned(),
            state: result.map_or("unknown", |result| result.name()).to_owned(),
            pid: Some(self.process.pid),
            timestamp: self.time(),
            ..NetworkEvent::default()
        })
    }
}
