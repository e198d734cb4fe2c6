//! Which system call brought the current task to a hook, and through which ABI. What differs between architectures comes
//! from userspace (`Arch`).

use crate::raw::{Reader, Registers, constant, is_compat};
use collector_common::ABI_NONE;

/// `PF_KTHREAD`
const KERNEL_THREAD: u32 = 0x0020_0000;
/// With `PF_IO_WORKER`, tasks that are in no system call, whatever their registers hold.
const OF_THE_KERNEL: u32 = KERNEL_THREAD | 0x10;

/// Which call brought the current task here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// `connect` in the native ABI.
    Connect,
    /// `connect` or `socketcall` in the compat ABI.
    CompatConnect,
    /// Another, or none.
    Other,
}

/// The call and the name of its ABI.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) call: Call,
    pub(crate) abi: u16,
}

/// Whether the task is a thread of the kernel's own. One that works for a process, as io_uring's do, is none.
#[inline(always)]
pub(crate) fn is_kernel_thread<R: Reader>(task: R::Ptr) -> bool {
    R::u32(task, constant!(offsets.task_flags)) & KERNEL_THREAD != 0
}

#[inline(always)]
pub(crate) fn caller<R: Reader>(task: R::Ptr) -> Caller {
    if R::u32(task, constant!(offsets.task_flags)) & OF_THE_KERNEL != 0 {
        return Caller { call: Call::Other, abi: ABI_NONE };
    }
    let number = Registers::<R>::of_current().number();
    if is_compat::<R>(task) {
        let connects =
            number == constant!(arch.compat_connect) || number == constant!(arch.compat_socketcall);
        let call = if connects { Call::CompatConnect } else { Call::Other };
        return Caller { call, abi: constant!(arch.compat_abi) as u16 };
    }
    let call = if number == constant!(arch.connect) { Call::Connect } else { Call::Other };
    Caller { call, abi: constant!(arch.native_abi) as u16 }
}
