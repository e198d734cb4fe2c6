//! 32-bit system calls on x86 (`int 0x80` and the like), for which no tracepoint of the category `syscalls` fires: the
//! programs at the returns of their wrappers. No native call enters these functions. Why not kretprobes: the kernel keeps a
//! place for each call that is under way, ten by default and on some kernels one for each CPU; whoever lets that many calls
//! wait would hide all others, and before 6.7 nobody would count them.

use crate::raw::{Direct, Portable, alone};
use crate::{connect, exec_failed, open};
use aya_ebpf::macros::fexit;
use aya_ebpf::programs::FExitContext;
use collector_common::Hook;

/// The gates of the three classes.
const OPENS: Hook = Hook::Ia32Open;
const EXECS: Hook = Hook::Ia32Execve;
const CONNECTS: Hook = Hook::Ia32Connect;

#[fexit]
pub fn ia32_open_direct(ctx: FExitContext) -> i32 {
    alone(OPENS, Hook::Ia32Open, || open::record::<Direct, _>(&ctx, Hook::Ia32Open))
}

#[fexit]
pub fn ia32_open_portable(ctx: FExitContext) -> i32 {
    alone(OPENS, Hook::Ia32Open, || open::record::<Portable, _>(&ctx, Hook::Ia32Open))
}

#[fexit]
pub fn ia32_openat_direct(ctx: FExitContext) -> i32 {
    alone(OPENS, Hook::Ia32Openat, || open::record::<Direct, _>(&ctx, Hook::Ia32Openat))
}

#[fexit]
pub fn ia32_openat_portable(ctx: FExitContext) -> i32 {
    alone(OPENS, Hook::Ia32Openat, || open::record::<Portable, _>(&ctx, Hook::Ia32Openat))
}

#[fexit]
pub fn ia32_openat2_direct(ctx: FExitContext) -> i32 {
    alone(OPENS, Hook::Ia32Openat2, || open::record::<Direct, _>(&ctx, Hook::Ia32Openat2))
}

#[fexit]
pub fn ia32_openat2_portable(ctx: FExitContext) -> i32 {
    alone(OPENS, Hook::Ia32Openat2, || open::record::<Portable, _>(&ctx, Hook::Ia32Openat2))
}

#[fexit]
pub fn ia32_creat_direct(ctx: FExitContext) -> i32 {
    alone(OPENS, Hook::Ia32Creat, || open::record::<Direct, _>(&ctx, Hook::Ia32Creat))
}

#[fexit]
pub fn ia32_creat_portable(ctx: FExitContext) -> i32 {
    alone(OPENS, Hook::Ia32Creat, || open::record::<Portable, _>(&ctx, Hook::Ia32Creat))
}

#[fexit]
pub fn ia32_open_by_handle_at_direct(ctx: FExitContext) -> i32 {
    alone(OPENS, Hook::Ia32OpenByHandle, || open::record::<Direct, _>(&ctx, Hook::Ia32OpenByHandle))
}

#[fexit]
pub fn ia32_open_by_handle_at_portable(ctx: FExitContext) -> i32 {
    alone(OPENS, Hook::Ia32OpenByHandle, || open::record::<Portable, _>(&ctx, Hook::Ia32OpenByHandle))
}

#[fexit]
pub fn ia32_execve_direct(ctx: FExitContext) -> i32 {
    alone(EXECS, Hook::Ia32Execve, || exec_failed::record::<Direct, _>(&ctx, Hook::Ia32Execve))
}

#[fexit]
pub fn ia32_execve_portable(ctx: FExitContext) -> i32 {
    alone(EXECS, Hook::Ia32Execve, || exec_failed::record::<Portable, _>(&ctx, Hook::Ia32Execve))
}

#[fexit]
pub fn ia32_execveat_direct(ctx: FExitContext) -> i32 {
    alone(EXECS, Hook::Ia32Execveat, || exec_failed::record::<Direct, _>(&ctx, Hook::Ia32Execveat))
}

#[fexit]
pub fn ia32_execveat_portable(ctx: FExitContext) -> i32 {
    alone(EXECS, Hook::Ia32Execveat, || exec_failed::record::<Portable, _>(&ctx, Hook::Ia32Execveat))
}

#[fexit]
pub fn ia32_connect_direct(ctx: FExitContext) -> i32 {
    alone(CONNECTS, Hook::Ia32Connect, || connect::exit::<Direct, _>(&ctx, Hook::Ia32Connect))
}

#[fexit]
pub fn ia32_connect_portable(ctx: FExitContext) -> i32 {
    alone(CONNECTS, Hook::Ia32Connect, || connect::exit::<Portable, _>(&ctx, Hook::Ia32Connect))
}

#[fexit]
pub fn ia32_socketcall_direct(ctx: FExitContext) -> i32 {
    alone(CONNECTS, Hook::Ia32Socketcall, || connect::socketcall::<Direct, _>(&ctx))
}

#[fexit]
pub fn ia32_socketcall_portable(ctx: FExitContext) -> i32 {
    alone(CONNECTS, Hook::Ia32Socketcall, || connect::socketcall::<Portable, _>(&ctx))
}
