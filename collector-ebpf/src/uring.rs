//! Opens through io_uring. A request is seen twice: when it is made, with the name that the kernel has copied from the
//! caller, and when it is done, with what came of it. Both in a task of the caller's process: the caller itself, a worker,
//! or the thread that polls its ring.

use crate::raw::{
    Kept, Number, Opened, Reader, RingOpen, constant, forget_name, keep_name, kept_name, now_ns, probe_u64,
};
use crate::{filter, log, open, syscall, task};
use aya_ebpf::programs::RawTracePointContext;
use collector_common::{DropReason, Hook, OPEN_DIRECT, Offsets, missing};

/// `IORING_OP_OPENAT` and `IORING_OP_OPENAT2`
const OPENS: [u8; 2] = [18, 28];
/// `IORING_FILE_INDEX_ALLOC`: the kernel chooses the slot, and the result says which.
const ANY_SLOT: u32 = u32::MAX;
/// What the kernel keeps in the low bits of a file's address in a ring's table.
const FILE_TAGS: u64 = 7;

/// `io_uring_submit_req(req)` (6.3 and newer) and `io_uring_submit_sqe(req, force_nonblock)` (6.0 to 6.2).
#[inline(always)]
pub(crate) fn submitted<R: Reader>(ctx: &RawTracePointContext) -> i32 {
    let request = Request::<R>::at(ctx.arg(0));
    if request.opens() && filter::wanted::<R>() {
        let filename = R::u64(request.command(), constant!(offsets.io_open_filename));
        let name = probe_u64(filename.wrapping_add(u64::from(constant!(offsets.filename_name))));
        keep_name(request.address(), name);
    }
    0
}

/// `io_uring_complete(ctx, req, ..)` (5.18 and newer). Every request comes here, and all but opens leave at once.
#[inline(always)]
pub(crate) fn completed<R: Reader>(ctx: &RawTracePointContext) -> i32 {
    let request = Request::<R>::at(ctx.arg(1));
    if !request.opens() || !filter::wanted::<R>() {
        return 0;
    }
    let task = R::current();
    // What is left of a ring that is taken down is completed by the kernel's own threads, which are no task of the caller's.
    if syscall::is_kernel_thread::<R>(task) {
        return 0;
    }
    let Some(scratch) = RingOpen::scratch() else {
        if let Some(number) = Number::take(Hook::UringOpen) {
            number.drop(DropReason::NoScratch);
        }
        return 0;
    };
    scratch.clear_text();
    scratch.record.header.ktime_ns = now_ns();
    scratch.record.header.missing = 0;
    let result = R::u32(request.0, constant!(offsets.request_result)) as i32;
    scratch.record.result = result;
    scratch.record.flags = 0;
    scratch.record.mode = 0;
    let name = kept_name(request.address());
    // A request that the kernel could not even make sense of holds what an earlier one has left there.
    let made = name.is_some() || result >= 0;
    if made {
        scratch.record.flags = R::u64(request.command(), constant!(offsets.io_open_flags));
        scratch.record.mode = R::u64(request.command(), constant!(offsets.io_open_mode)) as u32;
    } else {
        scratch.record.header.missing |= missing::OPEN_FLAGS;
    }
    if !filter::open_wanted(scratch.record.flags, i64::from(result)) {
        return forgotten(request);
    }
    // In the order of the text, the path first.
    if result >= 0 {
        let slot = R::u32(request.command(), constant!(offsets.io_open_slot));
        let file =
            if slot == 0 { open::file_of::<R>(result as u32) } else { request.direct_file(slot, result) };
        if !open::may_be_wanted::<R, R, _>(scratch, file) {
            return forgotten(request);
        }
        open::fill_file::<R, _>(scratch, file);
        open::fill_path::<R, _>(scratch);
        if slot != 0 {
            scratch.record.state |= OPEN_DIRECT;
            if slot != ANY_SLOT {
                scratch.record.result = slot.wrapping_sub(1) as i32;
            }
        }
    } else {
        open::fill_no_file(scratch);
    }
    scratch.record.requested_len = match name {
        Some(kept) => scratch.push_kernel_str(kept as u64),
        None => 0,
    };
    if scratch.record.requested_len == 0 {
        scratch.record.header.missing |= missing::OPEN_REQUESTED;
    }
    forget_name(request.address());
    if constant!(filters.prefixes_len) != 0 && !RingOpen::path_is_wanted(result < 0) {
        return 0;
    }
    let Some(number) = Number::take(Hook::UringOpen) else { return 0 };
    task::fill::<R, _>(&mut scratch.record.task, &mut scratch.room);
    task::fill_exe::<R>(&mut scratch.record.task);
    scratch.emit(number);
    log::emitted!(ctx, "uring_open", scratch.record.header.seq);
    0
}

/// A request (`struct io_kiocb`).
#[derive(Clone, Copy)]
struct Request<R: Reader>(R::Ptr);

impl<R: Reader> Request<R> {
    #[inline(always)]
    fn at(address: u64) -> Self {
        Self(R::object(address, constant!(types.request)))
    }

    #[inline(always)]
    fn address(self) -> u64 {
        R::address(self.0)
    }

    #[inline(always)]
    fn opens(self) -> bool {
        let opcode = R::u8(self.0, constant!(offsets.request_opcode));
        opcode == OPENS[0] || opcode == OPENS[1]
    }

    /// What it is to open (`struct io_open`).
    #[inline(always)]
    fn command(self) -> R::Ptr {
        let at = self.address().wrapping_add(u64::from(constant!(offsets.request_command)));
        R::object(at, constant!(types.io_open))
    }

    /// The file that was put into the ring's own table.
    #[inline(always)]
    fn direct_file(self, slot: u32, result: i32) -> R::Ptr {
        let index = if slot == ANY_SLOT { result as u32 } else { slot.wrapping_sub(1) };
        let ring = R::u64(self.0, constant!(offsets.request_ring));
        let files = probe_u64(ring.wrapping_add(u64::from(constant!(offsets.ring_files))));
        let mut file = probe_u64(files.wrapping_add(u64::from(index) * 8));
        let node_file = constant!(offsets.node_file);
        if node_file != Offsets::ABSENT {
            file = probe_u64(file.wrapping_add(u64::from(node_file)));
        }
        R::object(file & !FILE_TAGS, constant!(types.file))
    }
}

#[inline(always)]
fn forgotten<R: Reader>(request: Request<R>) -> i32 {
    forget_name(request.address());
    0
}
