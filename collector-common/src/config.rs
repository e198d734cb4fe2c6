//! What userspace puts into the object before the load: single values into the instructions, tables of filters into
//! frozen data. The verifier knows the values, so an unused filter costs nothing.

use crate::offsets::Offsets;
use crate::spans::Spans;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most values of one filter.
pub const FILTER_LEN_MAX: usize = 8;
/// Most path prefixes.
pub const PREFIXES_MAX: usize = 4;
/// Most bytes of a path prefix.
pub const PREFIX_BYTES_MAX: usize = 128;
/// Processes that can be followed at once.
pub const FOLLOWED_MAX: u32 = 32_768;
/// Bytes of a comm, its NUL included (`TASK_COMM_LEN`).
pub const COMM_BYTES: usize = 16;

/// What stands in the object in place of a single value: an instruction `rN = CONSTANT_OPERAND + offset in [`Config`]`, a
/// 64-bit move of an immediate. Userspace makes each a 32-bit move of the value that stands there.
pub const CONSTANT_OPERAND: u32 = 0x5ee0_0000;

/// Comm of the one thread of the collector whose events pass the filters: its opens show that hooks are there.
pub const CANARY_COMM: [u8; COMM_BYTES] = *b"canary\0\0\0\0\0\0\0\0\0\0";

/// BTF type ids of the running kernel, for typed pointers (`bpf_rdonly_cast`).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct TypeIds {
    /// `struct task_struct`
    pub task: u32,
    /// `struct linux_binprm`
    pub bprm: u32,
    /// `struct file`
    pub file: u32,
    /// `struct mount`
    pub mount: u32,
    /// `struct callback_head`
    pub callback: u32,
    /// `struct dentry`
    pub dentry: u32,
    /// `struct sock`
    pub sock: u32,
    /// `struct inet_sock`
    pub inet_sock: u32,
    /// `struct socket`
    pub socket: u32,
    /// `struct io_kiocb`
    pub request: u32,
    /// `struct io_open`
    pub io_open: u32,
}

/// What differs between architectures: numbers that no BTF tells.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Arch {
    /// Number of `connect` in the native ABI.
    pub connect: u32,
    /// Number of `connect` in the compat ABI; `u32::MAX` if it does not have it.
    pub compat_connect: u32,
    /// Number of `socketcall` in the compat ABI; `u32::MAX` if it does not have it.
    pub compat_socketcall: u32,
    /// Name of the native ABI ([`crate::ABI_X86_64`] and others).
    pub native_abi: u32,
    /// Name of the compat ABI.
    pub compat_abi: u32,
}

/// A directory or file: its opens and those of everything below it are wanted. By 4 bytes, as in [`Filters`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct PathPrefix {
    /// As a path is walked: the last name first, each name ended by NUL.
    pub walked: [u32; PREFIX_BYTES_MAX / 4],
    /// As it is written: from the first slash, without one at the end.
    pub written: [u32; PREFIX_BYTES_MAX / 4],
    /// The first 8 bytes of its first name, the NUL that ends it included.
    pub first: [u32; 2],
    /// All ones in the bytes of `first` that count.
    pub first_mask: [u32; 2],
    /// Bytes of either; the walked form has no leading slash and a NUL at the end instead.
    pub len: u32,
}

/// A cgroup and how deep it lies below the root.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct CgroupFilter {
    /// Lower and upper half of the id.
    pub id: [u32; 2],
    /// 0 is the root.
    pub level: u32,
}

/// Which events are wanted: values of one filter are alternatives, filters combine with AND.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Filters {
    /// Comms, each 16 bytes, NUL-padded. By 4 bytes, so that no part of [`Config`] needs padding.
    pub comms: [[u32; 4]; FILTER_LEN_MAX],
    /// Process ids.
    pub pids: [u32; FILTER_LEN_MAX],
    /// Real user ids.
    pub uids: [u32; FILTER_LEN_MAX],
    /// How many comms are set; 0 lets all through.
    pub comms_len: u32,
    /// How many pids are set; 0 lets all through.
    pub pids_len: u32,
    /// How many uids are set; 0 lets all through.
    pub uids_len: u32,
    /// How many cgroups are set; 0 lets all through.
    pub cgroups_len: u32,
    /// Cgroups, each with everything below it.
    pub cgroups: [CgroupFilter; FILTER_LEN_MAX],
    /// Path prefixes of opens.
    pub prefixes: [PathPrefix; PREFIXES_MAX],
    /// How many path prefixes are set; 0 lets all through.
    pub prefixes_len: u32,
    /// 1 if only opens are wanted that may change, make or empty a file.
    pub only_writes: u32,
    /// 1 if only calls are wanted that failed, of opens and connections.
    pub only_failures: u32,
    /// 1 if descendants of the wanted processes are wanted too.
    pub follow: u32,
}

/// The object's constants: words of 4 bytes, each put into the instructions that need it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Config {
    /// Which events are wanted.
    pub filters: Filters,
    /// Where the kernel keeps things.
    pub offsets: Offsets,
    /// What of it is read at once.
    pub spans: Spans,
    /// What the kernel's types are called.
    pub types: TypeIds,
    /// The collector's own process, never reported.
    pub self_pid: u32,
    /// Bit per hook: its records wake no sleeping reader, since nobody waits for them.
    pub quiet_hooks: u32,
    /// 1 if new threads are told, not only new processes.
    pub fork_threads: u32,
    /// 1 if `sched_process_exit` says itself whether the process ends (6.16 and newer).
    pub exit_tells_group_dead: u32,
    /// Bytes of `struct upid`.
    pub upid_bytes: u32,
    /// 8-byte words of a name that a dentry holds itself: 4 before 6.11, 5 since.
    pub inline_name_words: u32,
    /// 1 if the kernel has the helper `bpf_task_pt_regs` (5.15 and newer).
    pub task_regs_helper: u32,
    /// Bytes of `struct pt_regs`.
    pub regs_bytes: u32,
    /// The bit at `task_compat`: `TS_COMPAT` on x86, `TIF_32BIT` on arm64.
    pub compat_mask: u32,
    /// 1 if a task can be preempted in a tracepoint's program, which is then skipped for others on that CPU.
    pub preempts_tracepoints: u32,
    /// What differs between architectures.
    pub arch: Arch,
}

impl Filters {
    /// All events are wanted.
    pub const NONE: Self = Self {
        comms: [[0; 4]; FILTER_LEN_MAX],
        pids: [0; FILTER_LEN_MAX],
        uids: [0; FILTER_LEN_MAX],
        comms_len: 0,
        pids_len: 0,
        uids_len: 0,
        cgroups_len: 0,
        cgroups: [CgroupFilter { id: [0; 2], level: 0 }; FILTER_LEN_MAX],
        prefixes: [PathPrefix {
            walked: [0; PREFIX_BYTES_MAX / 4],
            written: [0; PREFIX_BYTES_MAX / 4],
            first: [0; 2],
            first_mask: [0; 2],
            len: 0,
        }; PREFIXES_MAX],
        prefixes_len: 0,
        only_writes: 0,
        only_failures: 0,
        follow: 0,
    };
}

impl Config {
    /// A configuration that lets nothing be read.
    pub const NONE: Self = Self {
        filters: Filters::NONE,
        offsets: Offsets::NONE,
        spans: Spans::NONE,
        types: TypeIds {
            task: 0,
            bprm: 0,
            file: 0,
            mount: 0,
            callback: 0,
            dentry: 0,
            sock: 0,
            inet_sock: 0,
            socket: 0,
            request: 0,
            io_open: 0,
        },
        self_pid: 0,
        quiet_hooks: 0,
        fork_threads: 0,
        exit_tells_group_dead: 0,
        upid_bytes: 0,
        inline_name_words: 0,
        task_regs_helper: 0,
        regs_bytes: 0,
        compat_mask: 0,
        preempts_tracepoints: 0,
        arch: Arch { connect: 0, compat_connect: 0, compat_socketcall: 0, native_abi: 0, compat_abi: 0 },
    };
}
