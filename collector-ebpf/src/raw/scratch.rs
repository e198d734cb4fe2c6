//! Where a record and its text are put together: a per-CPU map value, too large for a stack. Each kind of record has one
//! of its own, since what fills it must not be interrupted by what fills another.

use super::constant;
use super::dentry::NameOffsets;
use super::exits::{CallExecFailed, CompatExecFailed};
use super::iteration::Iteration;
use super::number::Number;
use super::opens::{CallOpen, CompatOpen, RingOpen};
use super::reader::{Direct, Fields, Portable, Reader, Room};
use crate::path;
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray};
use collector_common::{
    DropReason, ExecRecord, NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_STEPS_MAX, RecordHeader, RecordKind,
    RunningRecord, Spans,
};
use core::ptr::{read_volatile, write_volatile};

/// Largest fixed part of a record that is put together here.
const FIXED_BYTES_MAX: u32 = 512;
/// Bytes of the text buffer: what a per-CPU map value (32 KiB at most) leaves.
const TEXT_BYTES: u32 = 32768 - 64 - FIXED_BYTES_MAX - Spans::OWN_WORDS as u32 * 8;

/// Bytes of all paths of a record, rounded up to a power of two.
const PATHS_BYTES_MAX: u32 = 16384;
const _: () =
    assert!(3 * PATH_BYTES_MAX <= PATHS_BYTES_MAX && PATHS_BYTES_MAX + NAME_BYTES_MAX + 1 < TEXT_BYTES);

/// Where a path under construction ends. Both are numbers of which the verifier knows nothing, from the first step on.
pub(crate) struct PathEnd {
    /// Position in the text.
    at: u64,
    /// Bytes of the path, kept or not.
    total: u64,
}

/// A record that is put together in a scratch.
pub(crate) trait Kept: Sized + 'static {
    /// The scratch of its kind.
    fn scratch() -> Option<&'static mut Scratch<Self>>;
}

/// One that goes into a ring.
pub(crate) trait Emitted: Kept {
    /// What it tells.
    const KIND: RecordKind;
    /// Its header.
    fn header(&mut self) -> &mut RecordHeader;
}

/// A record that has paths.
pub(crate) trait Pathed: Kept {
    /// Steps of one call of `walk_steps`.
    const STEPS: u32;
    /// Walks the path that was started in its scratch, if it ends within `STEPS`; the path's flags. See [`walks`].
    fn walk_short<R: Reader>() -> u64;
    /// The same for a path of any length.
    fn walk_long<R: Reader>() -> u64;
    /// As many steps as the verifier is willing to look at at once, with `names` appending them.
    fn walk_steps<R: Reader>(names: bool) -> u64;
}

/// The scratch map of one kind of record.
macro_rules! kept {
    ($record:ident, $kind:ident, $map:ident) => {
        /// Where records of this kind are put together.
        #[map]
        static $map: PerCpuArray<Scratch<$record>> = PerCpuArray::with_max_entries(1, 0);

        const _: () = assert!(size_of::<$record>() <= FIXED_BYTES_MAX as usize);

        impl Emitted for $record {
            const KIND: RecordKind = RecordKind::$kind;

            #[inline(always)]
            fn header(&mut self) -> &mut RecordHeader {
                &mut self.header
            }
        }

        impl Kept for $record {
            #[inline(always)]
            fn scratch() -> Option<&'static mut Scratch<Self>> {
                // SAFETY: the value is this CPU's and that of programs that do not interrupt each other; the kernel does
                // not enter a program twice on one CPU, so this is the only reference. Any bytes are a valid `Scratch`.
                $map.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
            }
        }
    };
}

/// The path walks of one kind of record and one family of readers. They are global functions: the verifier walks each
/// once, and not again at each of its calls. Their pointers lie in the scratch, for to such a function a kernel pointer
/// is no number.
macro_rules! walks {
    ($record:ident, $reader:ident, $short:ident, $long:ident, $steps:ident) => {
        // SAFETY: no other symbol of the object has this name.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $short() -> u64 {
            u64::from(path::short::<$reader, $record>())
        }

        // SAFETY: no other symbol of the object has this name.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $long() -> u64 {
            u64::from(path::long::<$reader, $record>())
        }

        // SAFETY: no other symbol of the object has this name.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $steps(names: u64) -> u64 {
            u64::from(path::steps::<$reader, $record>(names != 0))
        }
    };
}

/// The path walks of one kind of record.
macro_rules! pathed {
    ($record:ident, $steps:expr, direct $short_direct:ident $long_direct:ident $steps_direct:ident,
        portable $short_portable:ident $long_portable:ident $steps_portable:ident) => {
        walks!($record, Direct, $short_direct, $long_direct, $steps_direct);
        walks!($record, Portable, $short_portable, $long_portable, $steps_portable);

        impl Pathed for $record {
            const STEPS: u32 = $steps;

            #[inline(always)]
            fn walk_short<R: Reader>() -> u64 {
                if R::DIRECT { $short_direct() } else { $short_portable() }
            }

            #[inline(always)]
            fn walk_long<R: Reader>() -> u64 {
                if R::DIRECT { $long_direct() } else { $long_portable() }
            }

            #[inline(always)]
            fn walk_steps<R: Reader>(names: bool) -> u64 {
                let names = u64::from(names);
                if R::DIRECT { $steps_direct(names) } else { $steps_portable(names) }
            }
        }
    };
}

kept!(ExecRecord, Exec, EXEC_SCRATCH);
kept!(CallOpen, Open, OPEN_SCRATCH);
kept!(CompatOpen, Open, COMPAT_OPEN_SCRATCH);
kept!(RingOpen, Open, RING_OPEN_SCRATCH);
kept!(CallExecFailed, ExecFailed, EXEC_FAILED_SCRATCH);
kept!(CompatExecFailed, ExecFailed, COMPAT_EXEC_FAILED_SCRATCH);
/// Steps of one call, where a program is loaded for a few milliseconds' use: at 128, its verification takes 20.
const FEW_STEPS: u32 = 16;

pathed!(
    ExecRecord, PATH_STEPS_MAX,
    direct walk_exec_path_direct long_exec_path_direct step_exec_path_direct,
    portable walk_exec_path_portable long_exec_path_portable step_exec_path_portable
);
pathed!(
    CallOpen, PATH_STEPS_MAX,
    direct walk_open_path_direct long_open_path_direct step_open_path_direct,
    portable walk_open_path_portable long_open_path_portable step_open_path_portable
);
pathed!(
    CompatOpen, PATH_STEPS_MAX,
    direct walk_compat_open_path_direct long_compat_open_path_direct step_compat_open_path_direct,
    portable walk_compat_open_path_portable long_compat_open_path_portable step_compat_open_path_portable
);
pathed!(
    RingOpen, PATH_STEPS_MAX,
    direct walk_ring_open_path_direct long_ring_open_path_direct step_ring_open_path_direct,
    portable walk_ring_open_path_portable long_ring_open_path_portable step_ring_open_path_portable
);
pathed!(
    RunningRecord, FEW_STEPS,
    direct walk_running_path_direct long_running_path_direct step_running_path_direct,
    portable walk_running_path_portable long_running_path_portable step_running_path_portable
);

/// Where the task iterator puts its records together.
#[map]
static RUNNING_SCRATCH: Array<Scratch<RunningRecord>> = Array::with_max_entries(1, 0);

impl Kept for RunningRecord {
    #[inline(always)]
    fn scratch() -> Option<&'static mut Scratch<Self>> {
        // SAFETY: userspace reads one descriptor of the iterator at a time, and the kernel serves its reads one after the
        // other, so this is the only reference. Any bytes are a valid `Scratch`.
        RUNNING_SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
    }
}

/// A record under construction and its text.
#[repr(C)]
pub(crate) struct Scratch<K> {
    /// Text bytes written. Positions live here, not in registers: a verifier that tracked them through a loop would see
    /// a new state at every step.
    text_len: u64,
    /// Bytes of the path under construction, kept or not.
    path_total: u64,
    /// An address found by a search. The same reason.
    found: u64,
    /// Addresses of the mount and the name at which the path under construction begins.
    path_from: [u64; 2],
    /// Those at which its walk goes on.
    path_at: [u64; 2],
    /// What that walk has seen, in one number.
    path_trace: u64,
    pub(crate) record: K,
    text: [u8; TEXT_BYTES as usize],
    /// Room for what is read of an object at once. Last, as few use it.
    pub(crate) room: Room<{ Spans::OWN_WORDS }>,
}

/// Copies the 8 bytes of a name's word. One store instruction: by bytes, a path walk takes nearly twice as long.
#[inline(always)]
fn copy_word(to: *mut u8, name: *const u64, word: usize) {
    // SAFETY: the caller has a name of 40 bytes. Read from the kernel's own, a fault gives 0.
    let value = unsafe { read_volatile(name.wrapping_add(word)) };
    // SAFETY: the caller has 40 bytes there. The address need not be aligned: a BPF store has no such rule where the
    // kernel's verifier allows it (x86-64, arm64), and volatile keeps the compiler from assuming anything else.
    unsafe { write_volatile(to.wrapping_add(word * 8).cast::<u64>(), value) };
}

impl<K: Kept> Scratch<K> {
    #[inline(always)]
    pub(crate) fn text_len(&self) -> u32 {
        // SAFETY: a reference is readable; volatile only keeps the value out of registers. The lower half stands first,
        // and a verifier knows the bounds of what was read as 4 bytes.
        unsafe { read_volatile((&raw const self.text_len).cast()) }
    }

    #[inline(always)]
    fn set_text_len(&mut self, len: u32) {
        // SAFETY: a mutable reference is writable.
        unsafe { write_volatile(&raw mut self.text_len, u64::from(len)) };
    }

    #[inline(always)]
    pub(crate) fn path_total(&self) -> u32 {
        // SAFETY: as in `text_len`.
        unsafe { read_volatile((&raw const self.path_total).cast()) }
    }

    /// Where the path under construction ends.
    #[inline(always)]
    pub(crate) fn path_end(&self) -> PathEnd {
        // SAFETY: a reference is readable.
        unsafe {
            PathEnd {
                at: read_volatile(&raw const self.text_len),
                total: read_volatile(&raw const self.path_total),
            }
        }
    }

    #[inline(always)]
    pub(crate) fn set_path_end(&mut self, end: PathEnd) {
        // SAFETY: a mutable reference is writable.
        unsafe {
            write_volatile(&raw mut self.text_len, end.at);
            write_volatile(&raw mut self.path_total, end.total);
        }
    }

    #[inline(always)]
    pub(crate) fn found(&self) -> u64 {
        // SAFETY: a reference is readable.
        unsafe { read_volatile(&raw const self.found) }
    }

    #[inline(always)]
    pub(crate) fn set_found(&mut self, address: u64) {
        // SAFETY: a mutable reference is writable.
        unsafe { write_volatile(&raw mut self.found, address) };
    }

    /// Empties the text.
    #[inline(always)]
    pub(crate) fn clear_text(&mut self) {
        self.set_text_len(0);
    }

    /// Starts a path at a position of the text, and drops what stands there. Paths stand first in the text, so that
    /// their positions stay below `PATHS_BYTES_MAX`.
    #[inline(always)]
    pub(crate) fn start_path(&mut self, text_len: u32) {
        self.set_path_end(PathEnd { at: u64::from(text_len), total: 0 });
    }

    /// What the walk has seen, in one number.
    #[inline(always)]
    pub(crate) fn path_trace(&self) -> u64 {
        // SAFETY: a reference is readable.
        unsafe { read_volatile(&raw const self.path_trace) }
    }

    #[inline(always)]
    pub(crate) fn set_path_trace(&mut self, trace: u64) {
        // SAFETY: a mutable reference is writable.
        unsafe { write_volatile(&raw mut self.path_trace, trace) };
    }

    /// An address as a number, which it is only when it comes back from memory.
    #[inline(always)]
    pub(crate) fn number_of(&mut self, address: u64) -> u64 {
        self.set_path_trace(address);
        self.path_trace()
    }

    /// Where the path under construction begins.
    #[inline(always)]
    pub(crate) fn set_path_from(&mut self, vfsmount: u64, dentry: u64) {
        // SAFETY: a mutable reference is writable; volatile, so that the called function finds it there.
        unsafe { write_volatile(&raw mut self.path_from, [vfsmount, dentry]) };
    }

    /// Where the path under construction begins: addresses of the mount and of the name.
    #[inline(always)]
    pub(crate) fn path_from(&self) -> (u64, u64) {
        // SAFETY: a reference is readable.
        let [vfsmount, dentry] = unsafe { read_volatile(&raw const self.path_from) };
        (vfsmount, dentry)
    }

    /// Where the path under construction goes on.
    #[inline(always)]
    pub(crate) fn set_path_at(&mut self, vfsmount: u64, dentry: u64) {
        // SAFETY: a mutable reference is writable; volatile, so that the called function finds it there.
        unsafe { write_volatile(&raw mut self.path_at, [vfsmount, dentry]) };
    }

    /// Where the path under construction goes on: addresses of the mount and of the name.
    #[inline(always)]
    pub(crate) fn path_at(&self) -> (u64, u64) {
        // SAFETY: a reference is readable.
        let [vfsmount, dentry] = unsafe { read_volatile(&raw const self.path_at) };
        (vfsmount, dentry)
    }

    /// A byte of the text; some byte of it, if there are not so many.
    #[inline(always)]
    pub(crate) fn text_byte(&self, at: u32) -> u8 {
        let at = (at & (PATHS_BYTES_MAX - 1)) as usize;
        // SAFETY: masked, the position lies within the text.
        unsafe { read_volatile((&raw const self.text).cast::<u8>().add(at)) }
    }

    /// Four bytes of the text; some of it, if there are not so many.
    #[inline(always)]
    pub(crate) fn text_word(&self, at: u32) -> u32 {
        let at = (at & (PATHS_BYTES_MAX - 1)) as usize;
        // SAFETY: masked, the position and three bytes behind it lie within the text. A BPF load need not be aligned where
        // the kernel's verifier allows it (x86-64, arm64), and volatile keeps the compiler from assuming anything else.
        unsafe { read_volatile((&raw const self.text).cast::<u8>().add(at).cast::<u32>()) }
    }

    /// Where the text goes on, if `room` bytes are left there.
    #[inline(always)]
    fn end(&mut self, room: u32) -> Option<*mut u8> {
        let at = self.text_len();
        if at > TEXT_BYTES - room {
            return None;
        }
        // SAFETY: `at` lies within the text, as was just checked.
        Some(unsafe { (&raw mut self.text).cast::<u8>().add(at as usize) })
    }

    /// Appends a dentry's name and a NUL to the path under construction, as long as the path has room. Branches are
    /// few on purpose: the verifier walks each of them at every step of every path.
    #[inline(always)]
    pub(crate) fn push_name<R: Reader>(
        &mut self,
        dentry: &impl Fields<R::Ptr>,
        names: &NameOffsets,
        end: &mut PathEnd,
    ) {
        let len = u64::from(dentry.u32(names.len) & NAME_BYTES_MAX);
        let at = end.at;
        end.total = end.total.wrapping_add(len + 1);
        // All ones if the path is full: then the position stays, and what is written behind it does not count.
        let full = (i64::from(PATH_BYTES_MAX).wrapping_sub(end.total as i64) >> 63) as u64;
        end.at = at.wrapping_add((len + 1) & !full);
        // Cannot change the value (three paths of 4096 bytes); the verifier does not know.
        let at = at & u64::from(PATHS_BYTES_MAX - 1);
        // SAFETY: masked, the position and 256 bytes behind it lie within the text.
        let to = unsafe { (&raw mut self.text).cast::<u8>().add(at as usize) };
        // Read anew, so that the compiler makes no second loop for the other answer.
        let inline_words = u64::from(constant!(inline_name_words));
        // The kernel ends every name with a NUL of its own.
        if let Some(name) = dentry.held(names.inline, inline_words as u32 * 8)
            && len < inline_words * 8
        {
            for word in 0..4 {
                copy_word(to, name, word);
            }
            if inline_words > 4 {
                copy_word(to, name, 4);
            }
        } else {
            let name = dentry.u64(names.external);
            // SAFETY: `len` is at most 255, and 256 bytes are there.
            unsafe { helper::bpf_probe_read_kernel(to.cast(), len as u32 + 1, name as *const _) };
        }
    }

    /// Appends a kernel string and its NUL: the bytes appended, 0 if it could not be read.
    #[inline(always)]
    pub(crate) fn push_kernel_str(&mut self, address: u64) -> u32 {
        let Some(to) = self.end(PATH_BYTES_MAX) else { return 0 };
        // SAFETY: the room was checked; the helper survives any address.
        let len =
            unsafe { helper::bpf_probe_read_kernel_str(to.cast(), PATH_BYTES_MAX, address as *const _) };
        if len <= 0 || len > i64::from(PATH_BYTES_MAX) {
            return 0;
        }
        self.set_text_len(self.text_len() + len as u32);
        len as u32
    }

    /// Appends a user string and its NUL, cut to `MAX` bytes with it: the bytes appended, 0 if it could not be read.
    #[inline(always)]
    pub(crate) fn push_user_str<const MAX: u32>(&mut self, address: u64) -> u32 {
        let Some(to) = self.end(MAX) else { return 0 };
        // SAFETY: the room was checked; the helper survives any address.
        let len = unsafe { helper::bpf_probe_read_user_str(to.cast(), MAX, address as *const _) };
        if len < 0 || len > i64::from(MAX) {
            return 0;
        }
        // Kernels before 6.13 do not count the NUL of an empty string.
        let len = len.max(1);
        self.set_text_len(self.text_len() + len as u32);
        len as u32
    }

    /// Appends up to `ARGV_BYTES_MAX` bytes of user memory: whether they could be read.
    #[inline(always)]
    pub(crate) fn push_user<const MAX: u32>(&mut self, address: u64, len: u32) -> bool {
        let Some(to) = self.end(MAX) else { return false };
        if len == 0 || len > MAX {
            return len == 0;
        }
        // SAFETY: room and length were checked; the helper survives any address.
        let failed = unsafe { helper::bpf_probe_read_user(to.cast(), len, address as *const _) } != 0;
        if !failed {
            self.set_text_len(self.text_len() + len);
        }
        !failed
    }

    /// Writes record and text for whoever reads the iterator.
    #[inline(always)]
    pub(crate) fn write(&self, iteration: Iteration) {
        let len = self.text_len();
        if len <= TEXT_BYTES {
            iteration.write((&raw const self.record).cast(), size_of::<K>() as u32 + len);
        }
    }
}

impl<K: Emitted> Scratch<K> {
    /// Writes record and text into the CPU's ring.
    #[inline(always)]
    pub(crate) fn emit(&mut self, number: Number) {
        let len = self.text_len();
        if len > TEXT_BYTES {
            return number.drop(DropReason::Oversize);
        }
        let len = size_of::<K>() as u32 + len;
        number.fill(self.record.header(), K::KIND, len);
        number.output((&raw const self.record).cast(), len);
    }
}
