//! The attached programs: one row each. A hook is also a numbering stream: a program is not entered twice on one CPU, so
//! numbers and scratch of one hook need no atomics, whatever can interrupt it. Since 6.1 the kernel sees to that (a raw
//! tracepoint's program that is active on the CPU is skipped, and the skip counted); before, these tracepoints ran with
//! preemption off, and all of them are hit by tasks only, but for `TcpEnd` and `TcpDestroy`, which
//! guard themselves, and for the hooks of cgroups: these can be preempted, and number atomically where the kernel can.
//!
//! The programs behind functions ([`Rung::Fexit`]) can be preempted too, but not leave their CPU, and one program is not
//! entered twice there: since 5.12 the kernel skips and counts such a run (`__bpf_prog_enter`, `prog->active`), and 5.10
//! runs them with preemption off (`migrate_disable` is `preempt_disable` before 5.11). Those of one class share a scratch,
//! so that each passes a gate of its own first (`alone` in `collector-ebpf`): whoever finds it taken is counted as missed.
//! Since 7.0 the programs of tracepoints can be preempted as well: those of native opens, and of failed execs, share a
//! scratch and pass a gate there, too (`alone_where_preempted`).

/// The class of an event: each has rings of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Starts, ends and forks of processes.
    Process,
    /// Connections.
    Network,
    /// Opened files.
    File,
}

impl Class {
    /// Every class, in the order of its number.
    pub const ALL: [Self; 3] = [Self::Process, Self::Network, Self::File];

    /// The class's name in the native format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Network => "network",
            Self::File => "file",
        }
    }
}

/// How a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// A raw tracepoint (4.17 and newer).
    RawTracepoint,
    /// A tracepoint of the category `syscalls`, attached through perf. It fires for the native system call ABI only.
    Tracepoint,
    /// A hook of the root cgroup on socket addresses, attached through a link (5.7 and newer).
    CgroupSockAddr,
    /// The return of a kernel function, through a BPF trampoline (5.5 and newer): here of the wrappers of 32-bit system
    /// calls on x86, `__ia32_compat_sys_NAME` where the call has one, else `__ia32_sys_NAME`, which no native call enters.
    Fexit,
}

impl Rung {
    /// The rung's name in `via`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RawTracepoint => "raw_tp",
            Self::Tracepoint => "tp",
            Self::CgroupSockAddr => "cgroup",
            Self::Fexit => "fexit",
        }
    }
}

macro_rules! hooks {
    ($( $(#[$doc:meta])* $hook:ident = $number:literal: $class:ident, $rung:ident, $target:literal, $stream:literal
        $(, program $program:literal)?; )*) => {
        /// A program and the place it is attached to.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Hook { $( $(#[$doc])* $hook = $number, )* }

        impl Hook {
            /// Every hook, in the order of its number.
            pub const ALL: &'static [Self] = &[ $( Self::$hook, )* ];

            /// The hook of a record's number.
            pub const fn from_u16(number: u16) -> Option<Self> {
                match number { $( $number => Some(Self::$hook), )* _ => None }
            }

            /// The class whose rings it fills.
            pub const fn class(self) -> Class {
                match self { $( Self::$hook => Class::$class, )* }
            }

            /// How it is attached.
            pub const fn rung(self) -> Rung {
                match self { $( Self::$hook => Rung::$rung, )* }
            }

            /// Where it is attached.
            pub const fn target(self) -> &'static str {
                match self { $( Self::$hook => $target, )* }
            }

            /// Its programs are named `NAME_direct` and `NAME_portable`; the name is the target, where a row says no
            /// other.
            pub const fn program(self) -> &'static str {
                match self { $( Self::$hook => hooks!(@program $target $(, $program)?), )* }
            }

            /// Name of its numbering stream.
            pub const fn stream(self) -> &'static str {
                match self { $( Self::$hook => $stream, )* }
            }
        }
    };
    (@program $target:literal) => { $target };
    (@program $target:literal, $program:literal) => { $program };
}

hooks! {
    /// A program was started.
    Exec = 0: Process, RawTracepoint, "sched_process_exec", "exec";
    /// A task was created.
    Fork = 1: Process, RawTracepoint, "sched_process_fork", "fork";
    /// A task ended.
    Exit = 2: Process, RawTracepoint, "sched_process_exit", "exit";
    /// A TCP socket begins to connect: always in the caller's context.
    TcpBegin = 3: Network, RawTracepoint, "inet_sock_set_state", "tcp_begin", program "tcp_begin";
    /// A TCP attempt is decided: in any context.
    TcpEnd = 4: Network, RawTracepoint, "inet_sock_set_state", "tcp_end", program "tcp_end";
    /// A native `connect` call returns.
    ConnectExit = 5: Network, Tracepoint, "sys_exit_connect", "connect_exit";
    /// `execve` came back: it failed.
    Execve = 6: Process, Tracepoint, "sys_exit_execve", "execve";
    /// `execveat` came back: it failed.
    Execveat = 7: Process, Tracepoint, "sys_exit_execveat", "execveat";
    /// `open` came back. Not every architecture has it.
    Open = 8: File, Tracepoint, "sys_exit_open", "open";
    /// `openat` came back.
    Openat = 9: File, Tracepoint, "sys_exit_openat", "openat";
    /// `openat2` came back (5.6 and newer).
    Openat2 = 10: File, Tracepoint, "sys_exit_openat2", "openat2";
    /// `creat` came back. Not every architecture has it.
    Creat = 11: File, Tracepoint, "sys_exit_creat", "creat";
    /// `open_by_handle_at` came back.
    OpenByHandle = 12: File, Tracepoint, "sys_exit_open_by_handle_at", "open_by_handle_at";
    /// A datagram is sent to an IPv4 address.
    SendMsg4 = 13: Network, CgroupSockAddr, "sendmsg4", "sendmsg4";
    /// A datagram is sent to an IPv6 address.
    SendMsg6 = 14: Network, CgroupSockAddr, "sendmsg6", "sendmsg6";
    /// A request of io_uring is done: an open is told.
    UringOpen = 15: File, RawTracepoint, "io_uring_complete", "uring_open", program "uring_open";
    /// A request of io_uring is made: an open's name is kept. It tells nothing.
    UringSubmit = 16: File, RawTracepoint, "io_uring_submit_req", "uring_submit", program "uring_submit";
    /// The same before 6.3.
    UringSubmitSqe = 17: File, RawTracepoint, "io_uring_submit_sqe", "uring_submit_sqe", program "uring_submit_sqe";
    /// A socket is about to be connected to an IPv4 address.
    Connect4 = 18: Network, CgroupSockAddr, "connect4", "connect4";
    /// A socket is about to be connected to an IPv6 address.
    Connect6 = 19: Network, CgroupSockAddr, "connect6", "connect6";
    /// A cgroup was made.
    CgroupMade = 20: Process, RawTracepoint, "cgroup_mkdir", "cgroup";
    /// A 32-bit `open` came back.
    Ia32Open = 21: File, Fexit, "ia32_open", "ia32_open";
    /// A 32-bit `openat` came back.
    Ia32Openat = 22: File, Fexit, "ia32_openat", "ia32_openat";
    /// A 32-bit `openat2` came back.
    Ia32Openat2 = 23: File, Fexit, "ia32_openat2", "ia32_openat2";
    /// A 32-bit `creat` came back.
    Ia32Creat = 24: File, Fexit, "ia32_creat", "ia32_creat";
    /// A 32-bit `open_by_handle_at` came back.
    Ia32OpenByHandle = 25: File, Fexit, "ia32_open_by_handle_at", "ia32_open_by_handle_at";
    /// A 32-bit `execve` came back.
    Ia32Execve = 26: Process, Fexit, "ia32_execve", "ia32_execve";
    /// A 32-bit `execveat` came back.
    Ia32Execveat = 27: Process, Fexit, "ia32_execveat", "ia32_execveat";
    /// A 32-bit `connect` came back.
    Ia32Connect = 28: Network, Fexit, "ia32_connect", "ia32_connect";
    /// A 32-bit `socketcall` came back, through which older programs connect.
    Ia32Socketcall = 29: Network, Fexit, "ia32_socketcall", "ia32_socketcall";
    /// A TCP socket is destroyed: in any context. An attempt that is still kept was not seen to end.
    TcpDestroy = 30: Network, RawTracepoint, "tcp_destroy_sock", "tcp_destroy", program "tcp_destroy";
}
