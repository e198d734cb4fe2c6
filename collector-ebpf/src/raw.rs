//! All unsafe code of the kernel programs: constants, helpers, the two families of readers, scratch, rings, counters.
//!
//! The verifier proves memory safety of the result on every load; what stands here keeps Rust's own rules beside it.
#![allow(unsafe_code)]

use crate::path;
use aya_ebpf::btf_maps::{ArrayOfMaps, RingBuf};
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, LruHashMap, PerCpuArray};
use collector_common::{
    Config, DropReason, ExecRecord, Hook, NAME_BYTES_MAX, PATH_BYTES_MAX, RecordHeader, RecordKind,
    StreamSlot,
};
use core::ptr::{read_volatile, write_volatile};

/// `BPF_F_MMAPABLE`: userspace maps the array and reads it without a system call.
const MMAPABLE: u32 = 1 << 10;
/// `BPF_NOEXIST`
const NOEXIST: u64 = 1;
/// `BPF_RB_NO_WAKEUP`
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`
const FORCE_WAKEUP: u64 = 2;

/// The object's constants; userspace writes them before the load and freezes them.
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static CONFIG: Config = Config::NONE;

/// The rings of the process class, one per CPU (or one for several, if there are many CPUs). The loader sets both
/// sizes: what stands here is the form.
#[btf_map]
static PROCESS_RINGS: ArrayOfMaps<RingBuf<u8, 4096>, 1> = ArrayOfMaps::new();

/// Numbers and losses, slot `cpu * hooks + hook`; the loader sets the size.
#[map]
static COUNTERS: Array<StreamSlot> = Array::with_max_entries(1, MMAPABLE);

/// Per class, 1 while its reader sleeps and wants to be woken.
#[map]
static SLEEPING: Array<u64> = Array::with_max_entries(1, MMAPABLE);

/// Where exec records are put together.
#[map]
static EXEC_SCRATCH: PerCpuArray<ExecScratch> = PerCpuArray::with_max_entries(1, 0);

/// Processes whose exit was told, by (pid, start), on kernels whose tracepoint does not say which thread was the last.
/// It need remember a process only for as long as its last threads take to end side by side.
#[map]
static EXIT_TOLD: LruHashMap<[u64; 2], u8> = LruHashMap::with_max_entries(4096, 0);

/// The constants.
pub(crate) fn config() -> &'static Config {
    &CONFIG
}

/// One constant. The compiler must not believe the value in the object file.
#[inline(always)]
pub(crate) fn constant(value: &'static u32) -> u32 {
    // SAFETY: a reference to a static u32 is readable and aligned.
    unsafe { read_volatile(value) }
}

/// Process and thread id of the current task, of the initial pid namespace.
#[inline(always)]
pub(crate) fn current_ids() -> (u32, u32) {
    // SAFETY: the helper has no preconditions.
    let both = unsafe { helper::bpf_get_current_pid_tgid() };
    ((both >> 32) as u32, both as u32)
}

/// Real user id of the current task.
#[inline(always)]
pub(crate) fn current_uid() -> u32 {
    // SAFETY: the helper has no preconditions.
    unsafe { helper::bpf_get_current_uid_gid() as u32 }
}

/// The current task's comm, NUL-padded.
#[inline(always)]
pub(crate) fn current_comm() -> [u64; 2] {
    let mut comm = [0u64; 2];
    // SAFETY: the buffer has the 16 bytes that are named.
    unsafe { helper::bpf_get_current_comm((&raw mut comm).cast(), 16) };
    comm
}

/// Id of the current task's cgroup in the unified hierarchy.
#[inline(always)]
pub(crate) fn current_cgroup_id() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { helper::bpf_get_current_cgroup_id() }
}

/// `CLOCK_BOOTTIME` in ns.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { helper::bpf_ktime_get_boot_ns() }
}

/// Reads 4 bytes of kernel memory; 0 if they cannot be read. For addresses that are computed at run time, which a
/// typed pointer cannot have.
#[inline(always)]
pub(crate) fn probe_u32(address: u64) -> u32 {
    let mut value = 0u32;
    // SAFETY: `value` has 4 bytes; the helper survives any address and fills with zeros on a fault.
    unsafe { helper::bpf_probe_read_kernel((&raw mut value).cast(), 4, address as *const _) };
    value
}

/// Reads 8 bytes of kernel memory; 0 if they cannot be read.
#[inline(always)]
pub(crate) fn probe_u64(address: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: as for `probe_u32`, with 8 bytes.
    unsafe { helper::bpf_probe_read_kernel((&raw mut value).cast(), 8, address as *const _) };
    value
}

/// How kernel objects are read. A field that cannot be read is 0 in both families.
pub(crate) trait Reader: Copy {
    /// Whether short names are read word by word from the dentry, rather than by one call from where they lie.
    const NAMES_BY_WORD: bool;
    /// A kernel object.
    type Ptr: Copy;
    /// The current task.
    fn current() -> Self::Ptr;
    /// The object at an address, of the type with this BTF id.
    fn object(address: u64, type_id: u32) -> Self::Ptr;
    /// The object's address.
    fn address(object: Self::Ptr) -> u64;
    /// Whether two are the same object.
    fn same(a: Self::Ptr, b: Self::Ptr) -> bool;
    /// A 4-byte field.
    fn u32(object: Self::Ptr, offset: u32) -> u32;
    /// An 8-byte field.
    fn u64(object: Self::Ptr, offset: u32) -> u64;
    /// A field that points to another object.
    fn ptr(object: Self::Ptr, offset: u32) -> Self::Ptr;
    /// Appends the names of the path that was started in the exec scratch; the path's flags.
    fn walk_path() -> u64;
}

/// Typed pointers and direct loads. The verifier knows each pointer's kernel type and lets a load that would fault
/// give 0.
#[derive(Clone, Copy)]
pub(crate) struct Direct;

impl Reader for Direct {
    const NAMES_BY_WORD: bool = true;
    type Ptr = *const u8;

    #[inline(always)]
    fn current() -> Self::Ptr {
        // SAFETY: the helper has no preconditions.
        unsafe { helper::bpf_get_current_task_btf() as usize as *const u8 }
    }

    /// A call of a helper number that no kernel has; the loader makes it a call of the kfunc `bpf_rdonly_cast`, whose
    /// number only the running kernel's BTF tells.
    #[inline(always)]
    fn object(address: u64, type_id: u32) -> Self::Ptr {
        // SAFETY: calls by number are how BPF calls; the loader refuses an object whose call it could not rewrite.
        let cast: unsafe extern "C" fn(*const u8, u32) -> *const u8 =
            unsafe { core::mem::transmute(0x7fff_0001_usize) };
        // SAFETY: the kfunc takes any address; the verifier types the result.
        unsafe { cast(address as *const u8, type_id) }
    }

    #[inline(always)]
    fn address(object: Self::Ptr) -> u64 {
        object as u64
    }

    #[inline(always)]
    fn same(a: Self::Ptr, b: Self::Ptr) -> bool {
        a == b
    }

    #[inline(always)]
    fn u32(object: Self::Ptr, offset: u32) -> u32 {
        // SAFETY: the verifier checks offset and size against the object's BTF type; a fault gives 0.
        unsafe { read_volatile(object.wrapping_add(offset as usize).cast()) }
    }

    #[inline(always)]
    fn u64(object: Self::Ptr, offset: u32) -> u64 {
        // SAFETY: as for `u32`.
        unsafe { read_volatile(object.wrapping_add(offset as usize).cast()) }
    }

    #[inline(always)]
    fn ptr(object: Self::Ptr, offset: u32) -> Self::Ptr {
        // SAFETY: as for `u32`; the verifier gives the loaded pointer the field's type.
        unsafe { read_volatile(object.wrapping_add(offset as usize).cast()) }
    }

    #[inline(always)]
    fn walk_path() -> u64 {
        walk_path_direct()
    }
}

/// A global function: the verifier walks it once, and not again at each of its calls. Its arguments lie in the scratch,
/// for to such a function a kernel pointer is no number.
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_path_direct() -> u64 {
    u64::from(path::walk::<Direct>())
}

/// Probe reads.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Reader for Portable {
    const NAMES_BY_WORD: bool = false;
    type Ptr = u64;

    #[inline(always)]
    fn current() -> Self::Ptr {
        // SAFETY: the helper has no preconditions.
        unsafe { helper::bpf_get_current_task() }
    }

    #[inline(always)]
    fn object(address: u64, _type_id: u32) -> Self::Ptr {
        address
    }

    #[inline(always)]
    fn address(object: Self::Ptr) -> u64 {
        object
    }

    #[inline(always)]
    fn same(a: Self::Ptr, b: Self::Ptr) -> bool {
        a == b
    }

    #[inline(always)]
    fn u32(object: Self::Ptr, offset: u32) -> u32 {
        probe_u32(object.wrapping_add(u64::from(offset)))
    }

    #[inline(always)]
    fn u64(object: Self::Ptr, offset: u32) -> u64 {
        probe_u64(object.wrapping_add(u64::from(offset)))
    }

    #[inline(always)]
    fn ptr(object: Self::Ptr, offset: u32) -> Self::Ptr {
        probe_u64(object.wrapping_add(u64::from(offset)))
    }

    #[inline(always)]
    fn walk_path() -> u64 {
        walk_path_portable()
    }
}

/// See [`walk_path_direct`].
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_path_portable() -> u64 {
    u64::from(path::walk::<Portable>())
}

/// Bytes of the text buffer: what a per-CPU map value (32 KiB at most) leaves.
const TEXT_BYTES: u32 = 32768 - 32 - size_of::<ExecRecord>() as u32;

/// Bytes of all paths of a record, rounded up to a power of two.
const PATHS_BYTES_MAX: u32 = 16384;
const _: () =
    assert!(3 * PATH_BYTES_MAX <= PATHS_BYTES_MAX && PATHS_BYTES_MAX + NAME_BYTES_MAX + 1 < TEXT_BYTES);

/// Where a dentry keeps its name.
pub(crate) struct NameOffsets {
    len: u32,
    inline: u32,
    external: u32,
}

impl NameOffsets {
    #[inline(always)]
    pub(crate) fn load() -> Self {
        let offsets = &config().offsets;
        Self {
            len: constant(&offsets.dentry_name_len),
            inline: constant(&offsets.dentry_inline),
            external: constant(&offsets.dentry_name),
        }
    }
}

/// A record under construction and its text.
#[repr(C)]
pub(crate) struct ExecScratch {
    /// Text bytes written. It lives here, not in a register: a verifier that tracked it through a path walk would
    /// see a new state at every step.
    text_len: u32,
    /// Bytes of the path under construction, kept or not. The same reason.
    path_total: u32,
    /// An address found by a search. The same reason.
    found: u64,
    /// Addresses of the mount and the name at which the path under construction starts.
    path_start: [u64; 2],
    pub(crate) record: ExecRecord,
    text: [u8; TEXT_BYTES as usize],
}

/// Stores the 8 bytes of a name's word. One store instruction: by bytes, a path walk takes nearly twice as long.
#[inline(always)]
fn store_word(to: *mut u8, word: u32, value: u64) {
    // SAFETY: the caller has 40 bytes there. The address need not be aligned: a BPF store has no such rule where the
    // kernel's verifier allows it (x86-64, arm64), and volatile keeps the compiler from assuming anything else.
    unsafe { write_volatile(to.wrapping_add(word as usize * 8).cast::<u64>(), value) };
}

/// The exec program's scratch.
#[inline(always)]
pub(crate) fn exec_scratch() -> Option<&'static mut ExecScratch> {
    // SAFETY: the value is this CPU's and this program's; the kernel does not enter a program twice on one CPU, so
    // this is the only reference. Any bytes are a valid `ExecScratch`.
    EXEC_SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

impl ExecScratch {
    #[inline(always)]
    pub(crate) fn text_len(&self) -> u32 {
        // SAFETY: a reference is readable; volatile only keeps the value out of registers.
        unsafe { read_volatile(&raw const self.text_len) }
    }

    #[inline(always)]
    fn set_text_len(&mut self, len: u32) {
        // SAFETY: a mutable reference is writable.
        unsafe { write_volatile(&raw mut self.text_len, len) };
    }

    #[inline(always)]
    pub(crate) fn path_total(&self) -> u32 {
        // SAFETY: a reference is readable.
        unsafe { read_volatile(&raw const self.path_total) }
    }

    #[inline(always)]
    fn set_path_total(&mut self, len: u32) {
        // SAFETY: a mutable reference is writable.
        unsafe { write_volatile(&raw mut self.path_total, len) };
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

    /// Starts a path at a name in a mount. Paths stand first in the text, so that their positions stay below
    /// `PATHS_BYTES_MAX`.
    #[inline(always)]
    pub(crate) fn start_path(&mut self, vfsmount: u64, dentry: u64) {
        self.set_path_total(0);
        // SAFETY: a mutable reference is writable; volatile, so that the called function finds it there.
        unsafe { write_volatile(&raw mut self.path_start, [vfsmount, dentry]) };
    }

    /// Where the path under construction starts: addresses of the mount and of the name.
    #[inline(always)]
    pub(crate) fn path_start(&self) -> (u64, u64) {
        // SAFETY: a reference is readable.
        let [vfsmount, dentry] = unsafe { read_volatile(&raw const self.path_start) };
        (vfsmount, dentry)
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
    pub(crate) fn push_name<R: Reader>(&mut self, dentry: R::Ptr, names: &NameOffsets) {
        let len = u64::from(R::u32(dentry, names.len) & NAME_BYTES_MAX);
        let total = u64::from(self.path_total()) + len + 1;
        self.set_path_total(total as u32);
        let at = u64::from(self.text_len());
        // All ones if the path is full: then the position stays, and what is written behind it does not count.
        let full = ((i64::from(PATH_BYTES_MAX) - total as i64) >> 63) as u64;
        self.set_text_len((at + ((len + 1) & !full)) as u32);
        // Cannot change the value (three paths of 4096 bytes); the verifier does not know.
        let at = at & u64::from(PATHS_BYTES_MAX - 1);
        // SAFETY: masked, the position and 256 bytes behind it lie within the text.
        let to = unsafe { (&raw mut self.text).cast::<u8>().add(at as usize) };
        // Read anew, so that the compiler makes no second loop for the other answer.
        let inline_words = u64::from(constant(&config().inline_name_words));
        // The kernel ends every name with a NUL of its own.
        if R::NAMES_BY_WORD && len < inline_words * 8 {
            for word in 0..4 {
                store_word(to, word, R::u64(dentry, names.inline + word * 8));
            }
            if inline_words > 4 {
                store_word(to, 4, R::u64(dentry, names.inline + 32));
            }
        } else {
            let name = R::u64(dentry, names.external);
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

    /// Writes record and text into the CPU's ring.
    #[inline(always)]
    pub(crate) fn emit(&mut self, number: Number) {
        let len = self.text_len();
        if len > TEXT_BYTES {
            return number.drop(DropReason::Oversize);
        }
        let len = size_of::<ExecRecord>() as u32 + len;
        number.fill(&mut self.record.header, RecordKind::Exec, len);
        number.output((&raw const self.record).cast(), len);
    }
}

/// A number that was given and not yet used: it ends in `output` or in `drop`.
pub(crate) struct Number {
    slot: *mut StreamSlot,
    seq: u64,
    cpu: u32,
    hook: Hook,
}

impl Number {
    /// Takes the next number of this CPU and hook.
    #[inline(always)]
    pub(crate) fn take(hook: Hook) -> Option<Self> {
        // SAFETY: the helper has no preconditions.
        let cpu = unsafe { helper::bpf_get_smp_processor_id() };
        let slot = COUNTERS.get_ptr_mut(cpu * Hook::ALL.len() as u32 + hook as u32)?;
        // SAFETY: the slot belongs to this CPU and this program, which is not entered twice; userspace only reads.
        let seq = unsafe { read_volatile(&raw const (*slot).generated) };
        // SAFETY: as above.
        unsafe { write_volatile(&raw mut (*slot).generated, seq + 1) };
        Some(Self { slot, seq, cpu, hook })
    }

    /// Counts the event as lost.
    #[inline(always)]
    pub(crate) fn drop(self, reason: DropReason) {
        // SAFETY: as in `take`; the index is a constant below the array's length.
        let counter = unsafe { (&raw mut (*self.slot).dropped).cast::<u64>().add(reason as usize) };
        // SAFETY: as in `take`.
        unsafe { write_volatile(counter, read_volatile(counter) + 1) };
    }

    /// Writes the header but for `missing`.
    #[inline(always)]
    pub(crate) fn fill(&self, header: &mut RecordHeader, kind: RecordKind, len: u32) {
        header.seq = self.seq;
        header.len = len;
        header.kind = kind as u16;
        header.hook = self.hook as u16;
        header.cpu = self.cpu;
    }

    /// Puts a finished fixed-size record into the CPU's ring.
    #[inline(always)]
    pub(crate) fn emit<T>(self, record: &T) {
        self.output((&raw const *record).cast(), size_of::<T>() as u32);
    }

    #[inline(always)]
    fn output(self, record: *const u8, len: u32) {
        let Some(ring) = PROCESS_RINGS.get(self.cpu) else { return self.drop(DropReason::NoRing) };
        let ring = (&raw const *ring).cast_mut().cast();
        // SAFETY: callers pass a record of `len` readable bytes; the verifier checks it again.
        let failed =
            unsafe { helper::bpf_ringbuf_output(ring, record.cast_mut().cast(), u64::from(len), wakeup()) };
        if failed != 0 {
            self.drop(DropReason::RingFull);
        }
    }
}

/// One forced wakeup when the reader has said that it sleeps, none otherwise: a wakeup costs 7 us.
#[inline(always)]
fn wakeup() -> u64 {
    let Some(sleeping) = SLEEPING.get_ptr_mut(0) else { return FORCE_WAKEUP };
    // SAFETY: the value is 8 bytes in a map; a lost race with another CPU costs one needless wakeup.
    if unsafe { read_volatile(sleeping) } == 0 {
        return NO_WAKEUP;
    }
    // SAFETY: as above.
    unsafe { write_volatile(sleeping, 0) };
    FORCE_WAKEUP
}

/// Whether this is the first time that a process's exit is told. A map that cannot take the entry says yes: twice is
/// better than never.
#[inline(always)]
pub(crate) fn first_exit(pid: u32, start_ns: u64) -> bool {
    const EEXIST: i32 = -17;
    EXIT_TOLD.insert(&[u64::from(pid), start_ns], &1, NOEXIST) != Err(EEXIST)
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program in which this can be reached.
    loop {}
}

/// Kernel helpers and kfuncs need a GPL-compatible licence.
// SAFETY: the loader reads this section and name.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
