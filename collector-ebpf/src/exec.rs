//! `sched_process_exec(task, old_pid, bprm)`: the new program is in place, the old one gone. Everything is read from
//! what the kernel runs; nothing the caller can still change.

use crate::raw::{Kept, Number, Reader, Scratch, constant, now_ns};
use crate::{filter, log, open, path, task};
use aya_ebpf::programs::RawTracePointContext;
use collector_common::{ARGV_BYTES_MAX, DropReason, ExecRecord, Hook, PATH_RACED, PathLen, missing};

type ExecScratch = Scratch<ExecRecord>;

/// The kernel's own open flag for files that it opens to execute them (`__FMODE_EXEC`).
const FMODE_EXEC: u32 = 0x20;
/// Most files waiting to be closed that are looked at for the script.
const CLOSING_FILES_MAX: u32 = 64;

#[inline(always)]
pub(crate) fn record<R: Reader>(ctx: &RawTracePointContext) -> i32 {
    let Some(own) = filter::wanted_process::<R>() else { return 0 };
    let Some(number) = Number::take(Hook::Exec) else { return 0 };
    let Some(scratch) = ExecRecord::scratch() else {
        number.drop(DropReason::NoScratch);
        return 0;
    };
    let bprm = R::object(ctx.arg(2), constant!(types.bprm));
    let task = R::current();
    scratch.clear_text();
    scratch.record.header.ktime_ns = now_ns();
    scratch.record.header.missing = own;
    scratch.record.old_tid = ctx.arg(1);
    scratch.record.reserved = 0;
    task::fill::<R, _>(&mut scratch.record.task, &mut scratch.room);
    // In the order of the text, paths first.
    fill_file::<R>(scratch, bprm);
    fill_cwd::<R>(scratch, task);
    fill_script::<R>(scratch, bprm, task);
    fill_names::<R>(scratch, bprm);
    fill_argv::<R>(scratch, task);
    scratch.emit(number);
    log::emitted!(ctx, "exec", scratch.record.header.seq);
    0
}

/// Path and identity of the file that runs.
#[inline(always)]
fn fill_file<R: Reader>(scratch: &mut ExecScratch, bprm: R::Ptr) {
    let file = R::ptr(bprm, constant!(offsets.bprm_file));
    let inode = R::ptr(file, constant!(offsets.file_inode));
    scratch.record.task.exe_ino = R::u64(inode, constant!(offsets.inode_ino));
    scratch.record.task.exe_dev =
        R::u32(R::ptr(inode, constant!(offsets.inode_sb)), constant!(offsets.sb_dev));
    scratch.record.nlink = R::u32(inode, constant!(offsets.inode_nlink));
    let mnt = R::ptr(file, constant!(offsets.file_mnt));
    scratch.record.path = path::append::<R, _>(scratch, mnt, R::ptr(file, constant!(offsets.file_dentry)));
    if scratch.record.path.len == 0 && scratch.record.path.flags != PATH_RACED {
        scratch.record.header.missing |= missing::EXEC_PATH;
    }
}

#[inline(always)]
fn fill_cwd<R: Reader>(scratch: &mut ExecScratch, task: R::Ptr) {
    let fs = R::ptr(task, constant!(offsets.task_fs));
    let mnt = R::ptr(fs, constant!(offsets.fs_pwd_mnt));
    scratch.record.cwd = path::append::<R, _>(scratch, mnt, R::ptr(fs, constant!(offsets.fs_pwd_dentry)));
    if R::address(fs) == 0 {
        scratch.record.header.missing |= missing::EXEC_CWD;
    }
}

/// Whether an interpreter runs a script, and which script.
#[inline(always)]
fn fill_script<R: Reader>(scratch: &mut ExecScratch, bprm: R::Ptr, task: R::Ptr) {
    let interp = R::u64(bprm, constant!(offsets.bprm_interp));
    scratch.record.script = u32::from(interp != R::u64(bprm, constant!(offsets.bprm_filename)));
    scratch.record.script_ino = 0;
    scratch.record.script_dev = 0;
    scratch.record.script_path = PathLen { len: 0, total: 0, flags: 0 };
    if scratch.record.script == 0 {
        return;
    }
    find_script::<R>(scratch, bprm, task);
    let address = scratch.found();
    if address == 0 {
        scratch.record.header.missing |= missing::EXEC_SCRIPT;
        return;
    }
    let file = R::object(address, constant!(types.file));
    let inode = R::ptr(file, constant!(offsets.file_inode));
    scratch.record.script_ino = R::u64(inode, constant!(offsets.inode_ino));
    scratch.record.script_dev = R::u32(R::ptr(inode, constant!(offsets.inode_sb)), constant!(offsets.sb_dev));
    let mnt = R::ptr(file, constant!(offsets.file_mnt));
    scratch.record.script_path =
        path::append::<R, _>(scratch, mnt, R::ptr(file, constant!(offsets.file_dentry)));
}

/// The names as the kernel was asked: of the file, and by a script of its interpreter.
#[inline(always)]
fn fill_names<R: Reader>(scratch: &mut ExecScratch, bprm: R::Ptr) {
    scratch.record.filename_len = scratch.push_kernel_str(R::u64(bprm, constant!(offsets.bprm_filename)));
    if scratch.record.filename_len == 0 {
        scratch.record.header.missing |= missing::EXEC_FILENAME;
    }
    scratch.record.interp_len = 0;
    if scratch.record.script != 0 {
        scratch.record.interp_len = scratch.push_kernel_str(R::u64(bprm, constant!(offsets.bprm_interp)));
        if scratch.record.interp_len == 0 {
            scratch.record.header.missing |= missing::EXEC_INTERP;
        }
    }
}

/// The script's file. One that binfmt_misc hands to its interpreter is behind a descriptor. Others the kernel has let go of
/// by now, but it closes files only on the way back to user mode: the script waits in the task's work list, newest first.
/// The kernel opened it to execute it, before any other such file of this call (interpreters, the ELF loader), so it is the
/// last entry with that flag. What the old program ran waits there too, and alone where the script has been closed: it was
/// opened in an earlier call, and since then the task has had other credentials.
#[inline(always)]
fn find_script<R: Reader>(scratch: &mut ExecScratch, bprm: R::Ptr, task: R::Ptr) {
    scratch.set_found(0);
    // A descriptor of 0 is not told from none.
    let descriptor = R::u32(bprm, constant!(offsets.bprm_execfd));
    if descriptor != 0 {
        scratch.set_found(R::address(open::file_of::<R>(descriptor)));
        return;
    }
    let opener = R::u64(R::ptr(bprm, constant!(offsets.bprm_file)), constant!(offsets.file_cred));
    let mut work = R::u64(task, constant!(offsets.task_works));
    for _ in 0..u64::from(CLOSING_FILES_MAX) {
        if work == 0 {
            return;
        }
        let address = work.wrapping_sub(u64::from(constant!(offsets.file_task_work)));
        let file = R::object(address, constant!(types.file));
        if R::u32(file, constant!(offsets.file_flags)) & FMODE_EXEC != 0 {
            // Other callbacks wait in the same list. Only a file's inode is also its name's inode.
            let inode = R::u64(file, constant!(offsets.file_inode));
            let dentry = R::ptr(file, constant!(offsets.file_dentry));
            let own = opener == R::u64(file, constant!(offsets.file_cred));
            if own && inode != 0 && inode == R::u64(dentry, constant!(offsets.dentry_inode)) {
                scratch.set_found(address);
            }
        }
        work = R::u64(R::object(work, constant!(types.callback)), constant!(offsets.callback_next));
    }
    // The list goes on: the last one seen need not be the oldest.
    scratch.set_found(0);
}

/// The arguments, as they lie in the new program's memory.
#[inline(always)]
fn fill_argv<R: Reader>(scratch: &mut ExecScratch, task: R::Ptr) {
    let mm = R::ptr(task, constant!(offsets.task_mm));
    let start = R::u64(mm, constant!(offsets.mm_arg_start));
    let total = R::u64(mm, constant!(offsets.mm_arg_end)).wrapping_sub(start) as u32;
    let len = if total > ARGV_BYTES_MAX { ARGV_BYTES_MAX } else { total };
    scratch.record.argv_total = total;
    if scratch.push_user::<ARGV_BYTES_MAX>(start, len) {
        scratch.record.argv_len = len;
    } else {
        scratch.record.argv_len = 0;
        scratch.record.header.missing |= missing::EXEC_ARGV;
    }
}
