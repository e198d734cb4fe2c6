//! The registers with which a task entered the kernel, as they lie on its kernel stack: the arguments and the number of
//! its system call. They keep what was asked for until the call returns.

use super::reader::{Direct, Fields as _, Reader, Room};
use super::{constant, probe_u64, span};
use crate::task::types_current;
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::programs::TracePointContext;
use collector_common::Offsets;

/// Bytes of a kernel stack where the kernel has no helper that finds the registers (before 5.15).
const STACK_BYTES: u64 = 16384;

/// Registers of a task in a system call.
#[derive(Clone, Copy)]
pub(crate) struct Registers<R: Reader> {
    at: R::Ptr,
    /// Whether arguments are those of a 32-bit call.
    compat: bool,
}

impl<R: Reader> Registers<R> {
    /// Those of the call whose tracepoint (category `syscalls`) this program runs at. Kernels without the helper of
    /// `of_current` hand their address to such a program in the context's first word, which only a probe read can see;
    /// newer ones have other registers there.
    #[inline(always)]
    pub(crate) fn of_syscall(ctx: &TracePointContext) -> Self {
        if R::DIRECT || constant!(task_regs_helper) != 0 {
            return Self::of_current();
        }
        Self::native(R::at(probe_u64(ctx.as_ptr() as u64)))
    }

    /// Those of the current task, in any program that runs in its context. Before 5.15, and with a kernel stack of
    /// another size than 16 KiB, what they give is not true: a caller that can, takes `of_syscall`.
    #[inline(always)]
    pub(crate) fn of_current() -> Self {
        if R::DIRECT || constant!(task_regs_helper) != 0 {
            let task = Direct::current();
            // SAFETY: the helper takes the current task, and gives a pointer that the verifier has typed.
            return Self::native(R::typed(unsafe { helper::bpf_task_pt_regs(task as *mut _) }));
        }
        let stack = R::u64(R::current(), constant!(offsets.task_stack));
        Self::native(R::at(stack + STACK_BYTES - u64::from(constant!(regs_bytes))))
    }

    /// Those of the 32-bit call that the current task is in. Its wrapper has them as its argument, but BTF does not always
    /// say of what type that is (5.10: `open_by_handle_at`).
    #[inline(always)]
    pub(super) fn of_compat() -> Self {
        Self { compat: true, ..Self::of_current() }
    }

    #[inline(always)]
    fn native(at: R::Ptr) -> Self {
        Self { at, compat: false }
    }

    /// The arguments.
    #[inline(always)]
    pub(crate) fn arguments<const WORDS: usize>(self, room: &mut Room<WORDS>) -> Arguments<'_, R, WORDS> {
        if !types_current::<R>() {
            if self.compat {
                R::take(self.at, span!(compat_arguments), room);
            } else {
                R::take(self.at, span!(arguments), room);
            }
        }
        Arguments { registers: self, room }
    }

    /// The system call's number, with the ABI's own bits in it (x32).
    #[inline(always)]
    pub(crate) fn number(self) -> u32 {
        let offset = constant!(offsets.regs_number);
        if types_current::<R>() { Direct::u32(self.typed(), offset) } else { R::u32(self.at, offset) }
    }

    /// For typed readers, where the kernel's helper gave the address.
    #[inline(always)]
    fn typed(self) -> *const u8 {
        Direct::typed(R::address(self.at) as i64)
    }
}

/// Arguments of a system call.
pub(crate) struct Arguments<'a, R: Reader, const WORDS: usize> {
    registers: Registers<R>,
    room: &'a Room<WORDS>,
}

impl<R: Reader, const WORDS: usize> Arguments<'_, R, WORDS> {
    /// An argument, by its place in a native and in a 32-bit call.
    #[inline(always)]
    fn argument(&self, native: u32, compat: u32) -> u64 {
        let Registers { at, compat: is_compat } = self.registers;
        match is_compat {
            true if types_current::<R>() => u64::from(Direct::u32(self.registers.typed(), compat)),
            true => u64::from(R::taken(at, span!(compat_arguments), self.room).u32(compat)),
            false if types_current::<R>() => Direct::u64(self.registers.typed(), native),
            false => R::taken(at, span!(arguments), self.room).u64(native),
        }
    }

    /// The first argument.
    #[inline(always)]
    pub(crate) fn arg0(&self) -> u64 {
        self.argument(constant!(offsets.regs_arg0), constant!(offsets.regs_compat0))
    }

    /// The second argument.
    #[inline(always)]
    pub(crate) fn arg1(&self) -> u64 {
        self.argument(constant!(offsets.regs_arg1), constant!(offsets.regs_compat1))
    }

    /// The third argument.
    #[inline(always)]
    pub(crate) fn arg2(&self) -> u64 {
        self.argument(constant!(offsets.regs_arg2), constant!(offsets.regs_arg2))
    }

    /// The fourth argument.
    #[inline(always)]
    pub(crate) fn arg3(&self) -> u64 {
        self.argument(constant!(offsets.regs_arg3), constant!(offsets.regs_arg1))
    }
}

/// Whether the task is in a system call of the 32-bit ABI (ia32, aarch32). Such a call fires no tracepoint of the category
/// `syscalls`.
#[inline(always)]
pub(crate) fn is_compat<R: Reader>(task: R::Ptr) -> bool {
    let offset = constant!(offsets.task_compat);
    offset != Offsets::ABSENT && R::u32(task, offset) & constant!(compat_mask) != 0
}
