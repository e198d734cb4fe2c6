//! The kernel programs.
//!
//! Invariants:
//! 1. Filters first, then the number, then the work: what is filtered costs next to nothing and is never a loss.
//! 2. Every number that was given ends in a record or in a drop counter.
//! 3. Values are what the kernel committed to, never a user pointer read at entry.
//! 4. One module, `raw`, holds all unsafe code; bodies are written once over a family of readers.
//!
//! What they do not do: no hook fires on every system call; nothing is decided, joined or resolved here.
//!
//! Each hook stands twice: `NAME_direct` reads kernel objects through typed pointers (kfunc `bpf_rdonly_cast`, 6.2 and
//! newer), `NAME_portable` by probe reads (5.10 and newer). The loader tries the first and falls back to the second.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod cgroup;
mod connect;
mod datagram;
mod exec;
mod exec_failed;
mod exit;
mod filter;
mod fork;
mod ia32;
mod log;
mod open;
mod path;
mod prefix;
mod raw;
mod running;
mod sock;
mod syscall;
mod task;
mod uring;

use aya_ebpf::macros::{cgroup_sock_addr, raw_tracepoint, tracepoint};
use aya_ebpf::programs::{RawTracePointContext, SockAddrContext, TracePointContext};
use collector_common::Hook;
use raw::{Direct, Portable, alone_where_preempted};

/// The gates of those that share a scratch.
const OPENS: Hook = Hook::Open;
const EXECS: Hook = Hook::Execve;

#[raw_tracepoint]
pub fn sched_process_exec_direct(ctx: RawTracePointContext) -> i32 {
    exec::record::<Direct>(&ctx)
}

#[raw_tracepoint]
pub fn sched_process_exec_portable(ctx: RawTracePointContext) -> i32 {
    exec::record::<Portable>(&ctx)
}

#[raw_tracepoint]
pub fn sched_process_fork_direct(ctx: RawTracePointContext) -> i32 {
    fork::record::<Direct>(&ctx)
}

#[raw_tracepoint]
pub fn sched_process_fork_portable(ctx: RawTracePointContext) -> i32 {
    fork::record::<Portable>(&ctx)
}

#[raw_tracepoint]
pub fn sched_process_exit_direct(ctx: RawTracePointContext) -> i32 {
    exit::record::<Direct>(&ctx)
}

#[raw_tracepoint]
pub fn sched_process_exit_portable(ctx: RawTracePointContext) -> i32 {
    exit::record::<Portable>(&ctx)
}

#[raw_tracepoint]
pub fn tcp_begin_direct(ctx: RawTracePointContext) -> i32 {
    connect::begin::<Direct>(&ctx)
}

#[raw_tracepoint]
pub fn tcp_begin_portable(ctx: RawTracePointContext) -> i32 {
    connect::begin::<Portable>(&ctx)
}

#[raw_tracepoint]
pub fn tcp_end_direct(ctx: RawTracePointContext) -> i32 {
    connect::end::<Direct>(&ctx)
}

#[raw_tracepoint]
pub fn tcp_end_portable(ctx: RawTracePointContext) -> i32 {
    connect::end::<Portable>(&ctx)
}

#[raw_tracepoint]
pub fn tcp_destroy_direct(ctx: RawTracePointContext) -> i32 {
    connect::destroyed::<Direct>(&ctx)
}

#[raw_tracepoint]
pub fn tcp_destroy_portable(ctx: RawTracePointContext) -> i32 {
    connect::destroyed::<Portable>(&ctx)
}

#[tracepoint]
pub fn sys_exit_connect_direct(ctx: TracePointContext) -> u32 {
    connect::exit::<Direct, _>(&ctx, Hook::ConnectExit)
}

#[tracepoint]
pub fn sys_exit_connect_portable(ctx: TracePointContext) -> u32 {
    connect::exit::<Portable, _>(&ctx, Hook::ConnectExit)
}

#[tracepoint]
pub fn sys_exit_execve_direct(ctx: TracePointContext) -> u32 {
    alone_where_preempted(EXECS, Hook::Execve, || exec_failed::record::<Direct, _>(&ctx, Hook::Execve))
}

#[tracepoint]
pub fn sys_exit_execve_portable(ctx: TracePointContext) -> u32 {
    alone_where_preempted(EXECS, Hook::Execve, || exec_failed::record::<Portable, _>(&ctx, Hook::Execve))
}

#[tracepoint]
pub fn sys_exit_execveat_direct(ctx: TracePointContext) -> u32 {
    alone_where_preempted(EXECS, Hook::Execveat, || exec_failed::record::<Direct, _>(&ctx, Hook::Execveat))
}

#[tracepoint]
pub fn sys_exit_execveat_portable(ctx: TracePointContext) -> u32 {
    alone_where_preempted(EXECS, Hook::Execveat, || exec_failed::record::<Portable, _>(&ctx, Hook::Execveat))
}

#[tracepoint]
pub fn sys_exit_open_direct(ctx: TracePointContext) -> u32 {
    alone_where_preempted(OPENS, Hook::Open, || open::record::<Direct, _>(&ctx, Hook::Open))
}

#[tracepoint]
pub fn sys_exit_open_portable(ctx: TracePointContext) -> u32 {
    alone_where_preempted(OPENS, Hook::Open, || open::record::<Portable, _>(&ctx, Hook::Open))
}

#[tracepoint]
pub fn sys_exit_openat_direct(ctx: TracePointContext) -> u32 {
    alone_where_preempted(OPENS, Hook::Openat, || open::record::<Direct, _>(&ctx, Hook::Openat))
}

#[tracepoint]
pub fn sys_exit_openat_portable(ctx: TracePointContext) -> u32 {
    alone_where_preempted(OPENS, Hook::Openat, || open::record::<Portable, _>(&ctx, Hook::Openat))
}

#[tracepoint]
pub fn sys_exit_openat2_direct(ctx: TracePointContext) -> u32 {
    alone_where_preempted(OPENS, Hook::Openat2, || open::record::<Direct, _>(&ctx, Hook::Openat2))
}

#[tracepoint]
pub fn sys_exit_openat2_portable(ctx: TracePointContext) -> u32 {
    alone_where_preempted(OPENS, Hook::Openat2, || open::record::<Portable, _>(&ctx, Hook::Openat2))
}

#[tracepoint]
pub fn sys_exit_creat_direct(ctx: TracePointContext) -> u32 {
    alone_where_preempted(OPENS, Hook::Creat, || open::record::<Direct, _>(&ctx, Hook::Creat))
}

#[tracepoint]
pub fn sys_exit_creat_portable(ctx: TracePointContext) -> u32 {
    alone_where_preempted(OPENS, Hook::Creat, || open::record::<Portable, _>(&ctx, Hook::Creat))
}

#[tracepoint]
pub fn sys_exit_open_by_handle_at_direct(ctx: TracePointContext) -> u32 {
    alone_where_preempted(OPENS, Hook::OpenByHandle, || open::record::<Direct, _>(&ctx, Hook::OpenByHandle))
}

#[tracepoint]
pub fn sys_exit_open_by_handle_at_portable(ctx: TracePointContext) -> u32 {
    alone_where_preempted(OPENS, Hook::OpenByHandle, || open::record::<Portable, _>(&ctx, Hook::OpenByHandle))
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4_direct(ctx: SockAddrContext) -> i32 {
    datagram::sent::<Direct, false>(&ctx)
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4_portable(ctx: SockAddrContext) -> i32 {
    datagram::sent::<Portable, false>(&ctx)
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6_direct(ctx: SockAddrContext) -> i32 {
    datagram::sent::<Direct, true>(&ctx)
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6_portable(ctx: SockAddrContext) -> i32 {
    datagram::sent::<Portable, true>(&ctx)
}

#[raw_tracepoint]
pub fn uring_open_direct(ctx: RawTracePointContext) -> i32 {
    uring::completed::<Direct>(&ctx)
}

#[raw_tracepoint]
pub fn uring_open_portable(ctx: RawTracePointContext) -> i32 {
    uring::completed::<Portable>(&ctx)
}

#[raw_tracepoint]
pub fn uring_submit_direct(ctx: RawTracePointContext) -> i32 {
    uring::submitted::<Direct>(&ctx)
}

#[raw_tracepoint]
pub fn uring_submit_portable(ctx: RawTracePointContext) -> i32 {
    uring::submitted::<Portable>(&ctx)
}

#[raw_tracepoint]
pub fn uring_submit_sqe_direct(ctx: RawTracePointContext) -> i32 {
    uring::submitted::<Direct>(&ctx)
}

#[raw_tracepoint]
pub fn uring_submit_sqe_portable(ctx: RawTracePointContext) -> i32 {
    uring::submitted::<Portable>(&ctx)
}

#[cgroup_sock_addr(connect4)]
pub fn connect4_direct(ctx: SockAddrContext) -> i32 {
    datagram::connected::<Direct, false>(&ctx)
}

#[cgroup_sock_addr(connect4)]
pub fn connect4_portable(ctx: SockAddrContext) -> i32 {
    datagram::connected::<Portable, false>(&ctx)
}

#[cgroup_sock_addr(connect6)]
pub fn connect6_direct(ctx: SockAddrContext) -> i32 {
    datagram::connected::<Direct, true>(&ctx)
}

#[cgroup_sock_addr(connect6)]
pub fn connect6_portable(ctx: SockAddrContext) -> i32 {
    datagram::connected::<Portable, true>(&ctx)
}

#[raw_tracepoint]
pub fn cgroup_mkdir_direct(ctx: RawTracePointContext) -> i32 {
    cgroup::record(&ctx)
}

#[raw_tracepoint]
pub fn cgroup_mkdir_portable(ctx: RawTracePointContext) -> i32 {
    cgroup::record(&ctx)
}
