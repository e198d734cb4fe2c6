//! Where a system call comes back: what it gave, what it was asked, and what its record is put together in.

use super::constant;
use super::number::{Guard, PreemptedGuard};
use super::opens::{CallOpen, CompatOpen, Opened};
use super::reader::Reader;
use super::regs::Registers;
use super::scratch::Emitted;
use aya_ebpf::EbpfContext;
use aya_ebpf::programs::{FExitContext, TracePointContext};
use collector_common::{ExecFailedRecord, Hook};
use core::ops::{Deref, DerefMut};
use core::ptr::read_volatile;

/// The exit of a system call, as a program's context.
pub(crate) trait CallExit: EbpfContext {
    /// Whether the call is one of the 32-bit ABI.
    const COMPAT: bool;
    /// What an open is put together in.
    type Open: Opened + Emitted;
    /// What a failed exec is put together in.
    type ExecFailed: Emitted + DerefMut<Target = ExecFailedRecord>;
    /// What the call gave back.
    fn result(&self) -> i64;
    /// What it was asked.
    fn registers<R: Reader>(&self) -> Registers<R>;
}

/// The exit tracepoint (category `syscalls`) of a native call.
impl CallExit for TracePointContext {
    const COMPAT: bool = false;
    type Open = CallOpen;
    type ExecFailed = CallExecFailed;

    /// The word's place is the kernel's ABI for programs (`struct syscall_tp_t` in kernel/trace/trace_syscalls.c).
    #[inline(always)]
    fn result(&self) -> i64 {
        // SAFETY: the context of such a tracepoint has three words, and the verifier checks the place.
        unsafe { read_volatile(self.as_ptr().cast::<i64>().wrapping_add(2)) }
    }

    #[inline(always)]
    fn registers<R: Reader>(&self) -> Registers<R> {
        Registers::of_syscall(self)
    }
}

/// The return of a 32-bit call's wrapper, `long __ia32_sys_NAME(const struct pt_regs *)`.
impl CallExit for FExitContext {
    const COMPAT: bool = true;
    type Open = CompatOpen;
    type ExecFailed = CompatExecFailed;

    #[inline(always)]
    fn result(&self) -> i64 {
        self.arg(1)
    }

    #[inline(always)]
    fn registers<R: Reader>(&self) -> Registers<R> {
        Registers::of_compat()
    }
}

macro_rules! exec_failed {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[repr(transparent)]
        pub(crate) struct $name(ExecFailedRecord);

        impl Deref for $name {
            type Target = ExecFailedRecord;

            #[inline(always)]
            fn deref(&self) -> &ExecFailedRecord {
                &self.0
            }
        }

        impl DerefMut for $name {
            #[inline(always)]
            fn deref_mut(&mut self) -> &mut ExecFailedRecord {
                &mut self.0
            }
        }
    };
}

exec_failed! {
    /// A failed exec by a native call.
    CallExecFailed
}
exec_failed! {
    /// One by a 32-bit call, whose program can be preempted.
    CompatExecFailed
}

/// Runs a program that can be preempted by others of its class, if none of these is under way on this CPU; a run that is
/// skipped is counted as the hook's. `gate` is one hook for the whole class.
#[inline(always)]
pub(crate) fn alone(gate: Hook, hook: Hook, program: impl FnOnce() -> u32) -> i32 {
    if let Some(_guard) = Guard::enter_preempted(gate, hook) {
        program();
    }
    0
}

/// The same for the exit of a native call, whose program can be preempted since 7.0 alone.
#[inline(always)]
pub(crate) fn alone_where_preempted(gate: Hook, hook: Hook, program: impl FnOnce() -> u32) -> u32 {
    let _guard = if constant!(preempts_tracepoints) == 0 {
        PreemptedGuard::none()
    } else if let Some(guard) = Guard::enter_preempted(gate, hook) {
        guard
    } else {
        return 0;
    };
    program()
}
