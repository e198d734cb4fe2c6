//! The records as they lie in a ring: fixed part first, then the text parts in the order that each record states.
//!
//! All integers are little-endian as the machine has them (kernel and reader are one machine); 8-byte fields stand
//! first in each struct, so that no padding is needed.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most argument bytes an exec record carries.
pub const ARGV_BYTES_MAX: u32 = 8192;
/// Most bytes of one path; the kernel's own `PATH_MAX`.
pub const PATH_BYTES_MAX: u32 = 4096;
/// Most steps of one call of the path walk: names and mount crossings.
pub const PATH_STEPS_MAX: u32 = 32;
/// Most such calls for one path. Together they reach beyond the 2,048 names that a path of 4,096 bytes can have.
pub const PATH_WALKS_MAX: u32 = 68;
/// Most times that a path is walked before it is given up because it is renamed each time.
pub const PATH_TRIES_MAX: u32 = 4;
/// Most bytes of the path of a new cgroup, its NUL included: what the kernel gives its tracepoint.
pub const CGROUP_PATH_BYTES_MAX: u32 = 1024;
/// Longest name of one path component (`NAME_MAX`).
pub const NAME_BYTES_MAX: u32 = 255;

/// Path flag: the path goes on towards the root beyond what was kept.
pub const PATH_TRUNCATED: u32 = 1;
/// What one call of the path walk says if the path goes on. Never in a record.
pub const PATH_UNFINISHED: u32 = 4;
/// Path flag: the walk ended at a root that is no mount's root (a detached mount).
pub const PATH_UNREACHABLE: u32 = 2;
/// Path flag: names or directories of the path were renamed in each try, so that it is not told.
pub const PATH_RACED: u32 = 8;
/// Open flag: the call made the file.
pub const OPEN_CREATED: u32 = 1;
/// Open flag: the descriptor is a slot of a ring's own table.
pub const OPEN_DIRECT: u32 = 2;
/// Most arguments that a record of a failed exec carries.
pub const FAILED_ARGS_MAX: u32 = 64;
/// Most bytes of one of them, its NUL included.
pub const FAILED_ARG_BYTES_MAX: u32 = 1024;
/// Flag of a failed exec: there is more of the arguments than was kept.
pub const FAILED_ARGV_CUT: u32 = 1;
/// Fork flag: the child is a thread of the parent's process.
pub const FORK_THREAD: u32 = 1;

/// Most bytes of a socket address (`sockaddr_storage`).
pub const SOCKADDR_BYTES_MAX: u32 = 128;
/// Bytes of an IP address in a record: IPv4 in the first four.
pub const IP_BYTES: usize = 16;

/// Connect flag: the socket was set not to wait.
pub const CONNECT_NONBLOCKING: u32 = 1;
/// Connect flag: the local address is known.
pub const CONNECT_LOCAL: u32 = 1 << 1;
/// Connect flag: the remote address stands in the record, not in the text.
pub const CONNECT_REMOTE: u32 = 1 << 2;
/// Connect flag: the latency is known.
pub const CONNECT_LATENCY: u32 = 1 << 3;
/// Connect flag, for the programs alone: a native `connect` call began it.
pub const CONNECT_NATIVE: u32 = 1 << 30;
/// Connect flag, for the programs alone: it was told when it began.
pub const CONNECT_TOLD: u32 = 1 << 31;

/// A bit in cookies of the collector's own making, for sockets whose cookie the kernel has not made.
pub const COOKIE_OWN: u64 = 1 << 63;

/// Came out well.
pub const RESULT_OK: u16 = 1;
/// Not decided yet.
pub const RESULT_PENDING: u16 = 2;
/// Failed; the record's `error` says with what, 0 if nobody said.
pub const RESULT_FAILED: u16 = 3;
/// How it ended was not seen: the hook cannot see it, or was skipped when it did.
pub const RESULT_UNSEEN: u16 = 4;

/// No system call's ABI, or not known.
pub const ABI_NONE: u16 = 0;
/// 64-bit x86.
pub const ABI_X86_64: u16 = 1;
/// 32-bit x86.
pub const ABI_IA32: u16 = 2;
/// 64-bit ARM.
pub const ABI_AARCH64: u16 = 3;
/// 32-bit ARM.
pub const ABI_AARCH32: u16 = 4;

/// Stands first in every record. 32 bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct RecordHeader {
    /// Number within (cpu, hook), from 0, given after the filters and before the ring is asked for room.
    pub seq: u64,
    /// `CLOCK_BOOTTIME` at the hook, ns.
    pub ktime_ns: u64,
    /// Bytes of the whole record, text included.
    pub len: u32,
    /// A [`crate::RecordKind`].
    pub kind: u16,
    /// A [`crate::Hook`], which is also the numbering stream.
    pub hook: u16,
    /// The CPU the program ran on.
    pub cpu: u32,
    /// Bits of [`missing`]: what could not be read; and [`RECORD_OWN`].
    pub missing: u32,
}

/// The bit of [`RecordHeader::missing`] that says whose the event is: a process's that the collector's canary started.
pub const RECORD_OWN: u32 = 1 << 31;

/// The process and thread at the hook. 112 bytes. Pids are those of the initial pid namespace.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct TaskRecord {
    /// The process's (thread group leader's) `start_boottime`, ns.
    pub start_ns: u64,
    /// Id of the cgroup in the unified hierarchy.
    pub cgroup_id: u64,
    /// The effective capability set.
    pub cap_effective: u64,
    /// Inode of the running file; 0 where the task has none (a kernel thread, an ending process).
    pub exe_ino: u64,
    /// The task's comm: 16 bytes, NUL-padded.
    pub comm: [u64; 2],
    /// The kernel's tgid.
    pub pid: u32,
    /// The kernel's pid.
    pub tid: u32,
    /// The real parent's tgid.
    pub ppid: u32,
    /// The process's pid in its own pid namespace.
    pub ns_pid: u32,
    /// Real user id.
    pub ruid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Real group id.
    pub rgid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Audit login uid; 4294967295 where none is set.
    pub loginuid: u32,
    /// Audit session id; 4294967295 where none is set.
    pub session: u32,
    /// Inode number of the pid namespace.
    pub ns_pid_inum: u32,
    /// Inode number of the mount namespace.
    pub ns_mnt_inum: u32,
    /// Inode number of the network namespace.
    pub ns_net_inum: u32,
    /// Inode number of the user namespace.
    pub ns_user_inum: u32,
    /// Device of the running file (major << 20 | minor).
    pub exe_dev: u32,
    /// How deep the pid namespace is nested; 0 is the initial one.
    pub pid_ns_level: u32,
}

/// A path in the record's text: its names leaf first, each ended by NUL. 12 bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct PathLen {
    /// Bytes in the text.
    pub len: u32,
    /// Bytes the walk saw, kept or not.
    pub total: u32,
    /// [`PATH_TRUNCATED`], [`PATH_UNREACHABLE`], [`PATH_RACED`].
    pub flags: u32,
}

/// A process that runs, as the task iterator writes it for whoever reads its descriptor; in no ring. Text: the path of
/// the running file, nothing if it could not be read or changed meanwhile. 128 bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct RunningRecord {
    /// The process. Filled is what the process table keeps: which it is, whose child, its name and its running file.
    pub task: TaskRecord,
    /// Path of the running file.
    pub path: PathLen,
    /// 0.
    pub reserved: u32,
}

/// A program was started. Text: path, cwd, script path, filename, interp, argv.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct ExecRecord {
    /// Common to all records.
    pub header: RecordHeader,
    /// The process after the exec. Its `exe_dev` and `exe_ino` are the file that runs.
    pub task: TaskRecord,
    /// Inode of the script; 0 without one.
    pub script_ino: u64,
    /// Device of the script.
    pub script_dev: u32,
    /// Links of the file that runs; 0 means that no directory names it.
    pub nlink: u32,
    /// Id of the thread that called.
    pub old_tid: u32,
    /// 1 if an interpreter runs a script (or a binfmt_misc file).
    pub script: u32,
    /// Text bytes of the requested filename, its NUL included.
    pub filename_len: u32,
    /// Path of the file that runs.
    pub path: PathLen,
    /// Working directory.
    pub cwd: PathLen,
    /// Text bytes of the interpreter's name as requested, its NUL included.
    pub interp_len: u32,
    /// Path of the script.
    pub script_path: PathLen,
    /// Text bytes of the arguments.
    pub argv_len: u32,
    /// Bytes of the arguments in the process.
    pub argv_total: u32,
    /// Always 0.
    pub reserved: u32,
}

/// A task was created; `task` is the creator. Of a quiet hook, of which nobody is told, `task` holds pid, tid, ppid, start
/// and comm, and zeros elsewhere.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct ForkRecord {
    /// Common to all records.
    pub header: RecordHeader,
    /// The creator.
    pub task: TaskRecord,
    /// The new process's `start_boottime`, ns.
    pub child_start_ns: u64,
    /// The new task's tgid.
    pub child_pid: u32,
    /// The new task's pid.
    pub child_tid: u32,
    /// [`FORK_THREAD`].
    pub flags: u32,
    /// Always 0.
    pub reserved: u32,
}

/// A process ended: its last thread is gone.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct ExitRecord {
    /// Common to all records.
    pub header: RecordHeader,
    /// The process that ends.
    pub task: TaskRecord,
    /// The wait status.
    pub status: u32,
    /// Always 0.
    pub reserved: u32,
}

/// A connection was asked for, or an earlier one is decided. Text: the socket address as the caller gave it, where
/// `CONNECT_REMOTE` is not set.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct ConnectRecord {
    /// Common to all records.
    pub header: RecordHeader,
    /// The caller.
    pub task: TaskRecord,
    /// The socket's cookie.
    pub cookie: u64,
    /// From the begin to the decision, ns.
    pub latency_ns: u64,
    /// Local address in network byte order.
    pub local: [u64; 2],
    /// Remote address in network byte order.
    pub remote: [u64; 2],
    /// Errno, positive.
    pub error: u32,
    /// `CONNECT_NONBLOCKING` and the others.
    pub flags: u32,
    /// Address family of the socket.
    pub family: u16,
    /// The socket's protocol.
    pub protocol: u16,
    /// The socket's type (`SOCK_STREAM` and others).
    pub socket_type: u16,
    /// Local port.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// `RESULT_OK` and the others.
    pub result: u16,
    /// `ABI_X86_64` and the others.
    pub abi: u16,
    /// Text bytes.
    pub text_len: u16,
}

/// A file was opened, or was not. Text: path, requested name with its NUL.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct OpenRecord {
    /// Common to all records.
    pub header: RecordHeader,
    /// The caller.
    pub task: TaskRecord,
    /// Inode of the opened file.
    pub ino: u64,
    /// Flags as requested.
    pub flags: u64,
    /// The descriptor, or the negative error number.
    pub result: i32,
    /// Mode as requested, where the flags ask for one.
    pub mode: u32,
    /// Device of the opened file's filesystem.
    pub dev: u32,
    /// [`OPEN_CREATED`] and [`OPEN_DIRECT`].
    pub state: u32,
    /// Path of the opened file.
    pub path: PathLen,
    /// Text bytes of the name as the caller gave it, its NUL included.
    pub requested_len: u32,
}

/// A call of exec failed. Text: filename with its NUL, arguments, each with its NUL.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct ExecFailedRecord {
    /// Common to all records.
    pub header: RecordHeader,
    /// The caller.
    pub task: TaskRecord,
    /// The error number, positive.
    pub errno: u32,
    /// Text bytes of the filename.
    pub filename_len: u32,
    /// Text bytes of the arguments.
    pub argv_len: u32,
    /// [`FAILED_ARGV_CUT`].
    pub flags: u32,
}

/// A cgroup was made. Text: its path with its NUL.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct CgroupRecord {
    /// Common to all records.
    pub header: RecordHeader,
    /// Who made it: pids, start and comm alone.
    pub task: TaskRecord,
    /// Its id.
    pub id: u64,
    /// Text bytes of the path, from the root of the hierarchy; 0: it could not be read.
    pub path_len: u32,
    /// 0.
    pub reserved: u32,
}

/// A bit of [`RecordHeader::missing`] and the field it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingField {
    /// The bit's value.
    pub bit: u32,
    /// Dotted path in the native format.
    pub field: &'static str,
}

/// What a kernel program can fail to read.
pub mod missing {
    use super::MissingField;

    /// The arguments.
    pub const EXEC_ARGV: u32 = 1;
    /// The requested filename.
    pub const EXEC_FILENAME: u32 = 1 << 1;
    /// The path of the file that runs, with its device and inode.
    pub const EXEC_PATH: u32 = 1 << 2;
    /// The working directory.
    pub const EXEC_CWD: u32 = 1 << 3;
    /// The interpreter's requested name.
    pub const EXEC_INTERP: u32 = 1 << 4;
    /// The script's file.
    pub const EXEC_SCRIPT: u32 = 1 << 5;
    /// The address that the caller gave.
    pub const CONNECT_REMOTE: u32 = 1 << 6;

    /// The opened file: its path, device and inode.
    pub const OPEN_PATH: u32 = 1 << 8;
    /// The name as the caller gave it.
    pub const OPEN_REQUESTED: u32 = 1 << 9;
    /// Flags and mode as requested.
    pub const OPEN_FLAGS: u32 = 1 << 10;
    /// The filename of a failed exec.
    pub const EXEC_FAILED_FILENAME: u32 = 1 << 11;
    /// The arguments of a failed exec.
    pub const EXEC_FAILED_ARGV: u32 = 1 << 12;

    /// Every bit, with its field.
    pub const FIELDS: [MissingField; 12] = [
        MissingField { bit: EXEC_ARGV, field: "exec.argv" },
        MissingField { bit: EXEC_FILENAME, field: "exec.filename" },
        MissingField { bit: EXEC_PATH, field: "exec.path" },
        MissingField { bit: EXEC_CWD, field: "exec.cwd" },
        MissingField { bit: EXEC_INTERP, field: "exec.interp" },
        MissingField { bit: EXEC_SCRIPT, field: "exec.script" },
        MissingField { bit: CONNECT_REMOTE, field: "connect.remote" },
        MissingField { bit: OPEN_PATH, field: "open.path" },
        MissingField { bit: OPEN_REQUESTED, field: "open.requested" },
        MissingField { bit: OPEN_FLAGS, field: "open.flags" },
        MissingField { bit: EXEC_FAILED_FILENAME, field: "exec_failed.filename" },
        MissingField { bit: EXEC_FAILED_ARGV, field: "exec_failed.argv" },
    ];
}
