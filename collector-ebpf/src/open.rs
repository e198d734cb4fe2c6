//! `syscalls:sys_exit_open*`, and the returns of 32-bit calls' wrappers: the call came back. What was opened is read from
//! the descriptor's file, what was asked for from the registers with which the task entered, which hold it until the call
//! returns.

use crate::raw::{
    CallExit, Direct, Fields as _, Kept, Number, Opened, Reader, Registers, Room, Scratch, constant, now_ns,
    own_file, span, user_u64,
};
use crate::{filter, log, path, task};
use collector_common::{DropReason, Hook, OPEN_CREATED, PATH_BYTES_MAX, PathLen, Spans, missing};

/// The kernel's own mark on a file that the call made (`FMODE_CREATED`).
const FMODE_CREATED: u32 = 0x10_0000;
/// What `creat` means: `O_CREAT | O_WRONLY | O_TRUNC`, the same numbers everywhere.
const CREAT_FLAGS: u64 = 0o1101;
/// What a call that a signal broke off gives until the signal is dealt with: from ERESTARTSYS to ERESTART_RESTARTBLOCK.
/// It is made again, or fails with EINTR, which this hook does not see.
pub(crate) const BROKEN_OFF: core::ops::RangeInclusive<i64> = -516..=-512;

#[inline(always)]
pub(crate) fn record<R: Reader, E: CallExit>(ctx: &E, hook: Hook) -> u32 {
    let result = ctx.result();
    if BROKEN_OFF.contains(&result) || !filter::wanted::<R>() {
        return 0;
    }
    let Some(scratch) = E::Open::scratch() else {
        if let Some(number) = Number::take(hook) {
            number.drop(DropReason::NoScratch);
        }
        return 0;
    };
    let registers = ctx.registers::<R>();
    scratch.clear_text();
    scratch.record.header.missing = 0;
    scratch.record.result = result as i32;
    let name = fill_request(scratch, registers, hook);
    if !filter::open_wanted(scratch.record.flags, result) {
        return 0;
    }
    // In the order of the text, the path first.
    if result >= 0 {
        let fd = result as u32;
        let told = match own_file_of::<R>(fd) {
            Some(file) => fill_wanted::<Direct, R, _>(scratch, file),
            None => fill_wanted::<R, R, _>(scratch, file_of::<R>(fd)),
        };
        if !told {
            return 0;
        }
        fill_path::<R, _>(scratch);
    } else {
        scratch.record.header.ktime_ns = now_ns();
        fill_no_file(scratch);
    }
    scratch.record.requested_len = 0;
    if !matches!(hook, Hook::OpenByHandle | Hook::Ia32OpenByHandle) {
        scratch.record.requested_len = scratch.push_user_str::<PATH_BYTES_MAX>(name);
        if scratch.record.requested_len == 0 {
            scratch.record.header.missing |= missing::OPEN_REQUESTED;
        }
    }
    if constant!(filters.prefixes_len) != 0 && !E::Open::path_is_wanted(result < 0) {
        return 0;
    }
    let Some(number) = Number::take(hook) else { return 0 };
    task::fill::<R, _>(&mut scratch.record.task, &mut scratch.room);
    task::fill_exe::<R>(&mut scratch.record.task);
    scratch.emit(number);
    log::emitted!(ctx, "open", scratch.record.header.seq);
    0
}

/// Flags and mode as requested; the address of the name.
#[inline(always)]
fn fill_request<R: Reader, K: Opened>(scratch: &mut Scratch<K>, registers: Registers<R>, hook: Hook) -> u64 {
    let registers = registers.arguments(&mut scratch.room);
    let (name, flags, mode) = match hook {
        Hook::Open | Hook::Ia32Open => (registers.arg0(), registers.arg1(), registers.arg2()),
        Hook::Creat | Hook::Ia32Creat => (registers.arg0(), CREAT_FLAGS, registers.arg1()),
        Hook::OpenByHandle | Hook::Ia32OpenByHandle => (0, registers.arg2(), 0),
        Hook::Openat2 | Hook::Ia32Openat2 => {
            let how = registers.arg2();
            let (flags, mode) = (user_u64(how), user_u64(how.wrapping_add(8)));
            if flags.is_none() || mode.is_none() {
                scratch.record.header.missing |= missing::OPEN_FLAGS;
            }
            scratch.record.flags = flags.unwrap_or(0);
            scratch.record.mode = mode.unwrap_or(0) as u32;
            return registers.arg1();
        }
        _ => (registers.arg1(), registers.arg2(), registers.arg3()),
    };
    // An int and an unsigned short, to the kernel.
    scratch.record.flags = flags & 0xffff_ffff;
    scratch.record.mode = mode as u32 & 0xffff;
    name
}

/// What a descriptor of the current task stands for.
#[inline(always)]
pub(crate) fn file_of<R: Reader>(fd: u32) -> R::Ptr {
    let files = if task::types_current::<R>() { files::<Direct>() } else { files::<R>() };
    let slot = files.wrapping_add(u64::from(fd) * 8);
    // The slot holds the address of a file. Typed readers see it as a struct that has such a pointer.
    let bprm_file = constant!(offsets.bprm_file);
    let slot = R::object(slot.wrapping_sub(u64::from(bprm_file)), constant!(types.bprm));
    R::ptr(slot, bprm_file)
}

/// The same for typed readers where the kernel has no cast, as far as the verifier follows the descriptor.
#[inline(always)]
fn own_file_of<R: Reader>(fd: u32) -> Option<*const u8> {
    if !task::types_current::<R>() {
        return None;
    }
    own_file(Direct::ptr(Direct::current(), constant!(offsets.task_files)), fd)
}

/// Address of the current task's open files.
#[inline(always)]
fn files<R: Reader>() -> u64 {
    let fdt = R::ptr(R::ptr(R::current(), constant!(offsets.task_files)), constant!(offsets.files_fdt));
    R::u64(fdt, constant!(offsets.fdt_files))
}

/// When it was, and the opened file but for its path; false if none of the wanted paths begins like that.
#[inline(always)]
fn fill_wanted<F: Reader, R: Reader, K: Opened>(scratch: &mut Scratch<K>, file: F::Ptr) -> bool {
    if !may_be_wanted::<F, R, _>(scratch, file) {
        return false;
    }
    scratch.record.header.ktime_ns = now_ns();
    fill_file::<F, _>(scratch, file);
    true
}

/// The first look at the opened file's path: false if none of the wanted ones begins like it. `F` reads the file, `R`
/// what is above it.
#[inline(always)]
pub(crate) fn may_be_wanted<F: Reader, R: Reader, K: Opened>(scratch: &mut Scratch<K>, file: F::Ptr) -> bool {
    if constant!(filters.prefixes_len) == 0 {
        return true;
    }
    let dentry = F::ptr(file, constant!(offsets.file_dentry));
    if F::address(dentry) == 0 {
        return true;
    }
    scratch.set_path_from(F::address(F::ptr(file, constant!(offsets.file_mnt))), F::address(dentry));
    K::path_may_be_wanted::<R>()
}

/// The opened file but for its path, whose begin is named in the scratch.
#[inline(always)]
pub(crate) fn fill_file<R: Reader, K: Opened>(scratch: &mut Scratch<K>, file: R::Ptr) {
    let fields = R::span(file, span!(file), &mut scratch.room);
    let inode = fields.ptr(constant!(offsets.file_inode));
    let created = fields.u32(constant!(offsets.file_mode)) & FMODE_CREATED != 0;
    scratch.record.state = if created { OPEN_CREATED } else { 0 };
    let mut room = Room::<{ Spans::INODE_WORDS }>::new();
    let inode = R::span(inode, span!(inode), &mut room);
    scratch.record.ino = inode.u64(constant!(offsets.inode_ino));
    scratch.record.dev = R::u32(inode.ptr(constant!(offsets.inode_sb)), constant!(offsets.sb_dev));
    let (mnt, dentry) = (fields.ptr(constant!(offsets.file_mnt)), fields.ptr(constant!(offsets.file_dentry)));
    scratch.set_path_from(R::address(mnt), R::address(dentry));
}

/// The path of the file that was filled.
#[inline(always)]
pub(crate) fn fill_path<R: Reader, K: Opened>(scratch: &mut Scratch<K>) {
    if scratch.path_from().1 == 0 {
        // Another thread has closed the descriptor already.
        scratch.record.header.missing |= missing::OPEN_PATH;
        scratch.record.path = NO_PATH;
        return;
    }
    scratch.record.path = path::append_named::<R, _>(scratch);
}

const NO_PATH: PathLen = PathLen { len: 0, total: 0, flags: 0 };

#[inline(always)]
pub(crate) fn fill_no_file<K: Opened>(scratch: &mut Scratch<K>) {
    scratch.record.state = 0;
    scratch.record.ino = 0;
    scratch.record.dev = 0;
    scratch.record.path = NO_PATH;
}
