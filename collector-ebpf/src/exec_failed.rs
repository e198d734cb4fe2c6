//! `syscalls:sys_exit_execve` and `sys_exit_execveat`, and the returns of the 32-bit calls' wrappers: the call came back,
//! so it failed, and the caller still has the memory in which it named the program and its arguments.

use crate::raw::{CallExit, Emitted, Kept, Number, Reader, Scratch, now_ns, user_u32, user_u64};
use crate::{filter, log, open, task};
use collector_common::{
    ARGV_BYTES_MAX, DropReason, ExecFailedRecord, FAILED_ARG_BYTES_MAX, FAILED_ARGS_MAX, FAILED_ARGV_CUT,
    Hook, PATH_BYTES_MAX, missing,
};
use core::ops::DerefMut;

#[inline(always)]
pub(crate) fn record<R: Reader, E: CallExit>(ctx: &E, hook: Hook) -> u32 {
    let result = ctx.result();
    // Broken off where another thread executes a program at the same time: the call is made again, or never returns.
    if result >= 0 || open::BROKEN_OFF.contains(&result) || !filter::wanted::<R>() {
        return 0;
    }
    let Some(number) = Number::take(hook) else { return 0 };
    let Some(scratch) = E::ExecFailed::scratch() else {
        number.drop(DropReason::NoScratch);
        return 0;
    };
    let registers = ctx.registers::<R>().arguments(&mut scratch.room);
    let (name, argv) = match hook {
        Hook::Execveat | Hook::Ia32Execveat => (registers.arg1(), registers.arg2()),
        _ => (registers.arg0(), registers.arg1()),
    };
    scratch.clear_text();
    scratch.record.header.ktime_ns = now_ns();
    scratch.record.header.missing = 0;
    scratch.record.errno = result.wrapping_neg() as u32;
    scratch.record.flags = 0;
    task::fill::<R, _>(&mut scratch.record.task, &mut scratch.room);
    task::fill_exe::<R>(&mut scratch.record.task);
    scratch.record.filename_len = scratch.push_user_str::<PATH_BYTES_MAX>(name);
    if scratch.record.filename_len == 0 {
        scratch.record.header.missing |= missing::EXEC_FAILED_FILENAME;
    }
    fill_argv(scratch, argv, E::COMPAT);
    scratch.emit(number);
    log::emitted!(ctx, "exec_failed", scratch.record.header.seq);
    0
}

/// The arguments that the caller's list names, to their end or to a bound.
#[inline(always)]
fn fill_argv<K>(scratch: &mut Scratch<K>, argv: u64, compat: bool)
where
    K: Emitted + DerefMut<Target = ExecFailedRecord>,
{
    let pointer_bytes = if compat { 4 } else { 8 };
    let start = scratch.text_len();
    scratch.set_found(argv);
    scratch.record.flags = FAILED_ARGV_CUT;
    for index in 0..=u64::from(FAILED_ARGS_MAX) {
        // The place in the list lives in the scratch: see `Scratch`.
        let at = scratch.found();
        // No list is an empty one.
        let argument = match at {
            0 => Some(0),
            _ if compat => user_u32(at).map(u64::from),
            _ => user_u64(at),
        };
        scratch.set_found(at.wrapping_add(pointer_bytes));
        match argument {
            Some(0) => {
                scratch.record.flags = 0;
                break;
            }
            Some(address) => {
                let room = start + ARGV_BYTES_MAX - FAILED_ARG_BYTES_MAX;
                if index == u64::from(FAILED_ARGS_MAX) || scratch.text_len() > room {
                    break;
                }
                let len = scratch.push_user_str::<FAILED_ARG_BYTES_MAX>(address);
                if len == 0 {
                    scratch.record.header.missing |= missing::EXEC_FAILED_ARGV;
                    break;
                }
                if len == FAILED_ARG_BYTES_MAX {
                    break;
                }
            }
            None => {
                scratch.record.header.missing |= missing::EXEC_FAILED_ARGV;
                break;
            }
        }
    }
    scratch.record.argv_len = scratch.text_len() - start;
}
