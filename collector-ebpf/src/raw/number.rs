//! Numbers, and where they end: in a ring, or in a counter of losses.

use super::constant;
use aya_ebpf::btf_maps::{ArrayOfMaps, RingBuf};
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, LruHashMap};
use collector_common::{Class, DropReason, Hook, RecordHeader, RecordKind, StreamSlot};
use core::arch::asm;
use core::ffi::c_void;
use core::ptr::{null_mut, read_volatile, write_volatile};

/// `BPF_F_MMAPABLE`: userspace maps the array and reads it without a system call.
const MMAPABLE: u32 = 1 << 10;
/// `BPF_NOEXIST`
const NOEXIST: u64 = 1;
/// `BPF_RB_NO_WAKEUP`
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`
const FORCE_WAKEUP: u64 = 2;

/// The rings of one class, one per CPU (or one for several, if there are many CPUs). The loader sets both sizes: what
/// stands here is the form.
type Rings = ArrayOfMaps<RingBuf<u8, 4096>, 1>;

/// Rings of the process class.
#[btf_map]
static PROCESS_RINGS: ArrayOfMaps<RingBuf<u8, 4096>, 1> = ArrayOfMaps::new();

/// Rings of the network class.
#[btf_map]
static NETWORK_RINGS: ArrayOfMaps<RingBuf<u8, 4096>, 1> = ArrayOfMaps::new();

/// Rings of the file class.
#[btf_map]
static FILE_RINGS: ArrayOfMaps<RingBuf<u8, 4096>, 1> = ArrayOfMaps::new();

/// Numbers and losses, slot `cpu * hooks + hook`; the loader sets the size.
#[map]
static COUNTERS: Array<StreamSlot> = Array::with_max_entries(1, MMAPABLE);

/// Per class, 1 while its reader sleeps and wants to be woken.
#[map]
static SLEEPING: Array<u64> = Array::with_max_entries(Class::ALL.len() as u32, MMAPABLE);

/// Processes whose exit was told, by (pid, start), on kernels whose tracepoint does not say which thread was the last.
/// It need remember a process only for as long as its last threads take to end side by side.
#[map]
static EXIT_TOLD: LruHashMap<[u64; 2], u8> = LruHashMap::with_max_entries(4096, 0);

/// A number that was given and not yet used: it ends in `output` or in `drop`.
pub(crate) struct Number {
    slot: *mut StreamSlot,
    seq: u64,
    cpu: u32,
    hook: Hook,
}

/// A record under construction in the CPU's ring. The verifier sees to it that it ends in `submit`.
pub(crate) struct Reserved<T: 'static> {
    pub(crate) record: &'static mut T,
    pub(crate) number: Number,
}

impl<T> Reserved<T> {
    /// Gives the finished record to the reader.
    #[inline(always)]
    pub(crate) fn submit(self) {
        // SAFETY: this is what `reserve` was given, and it is not used any more.
        unsafe { helper::bpf_ringbuf_submit((&raw mut *self.record).cast(), wakeup(self.number.hook)) };
    }
}

/// Kept while a program runs that can be interrupted by itself: a softirq on the same CPU. The kernel itself sees to
/// that since 6.1, and before it nobody does.
pub(crate) struct Guard {
    slot: *mut StreamSlot,
}

impl Guard {
    /// `None` if the program is active on this CPU already; that run is counted.
    #[inline(always)]
    pub(crate) fn enter(hook: Hook) -> Option<Self> {
        let slot = slot(hook)?.1;
        // SAFETY: the slot belongs to this CPU and this program; an interruption leaves the word as it found it.
        if unsafe { read_volatile(&raw const (*slot).active) } != 0 {
            // SAFETY: as above; what it interrupts does not write this word.
            unsafe { write_volatile(&raw mut (*slot).missed, read_volatile(&raw const (*slot).missed) + 1) };
            return None;
        }
        // SAFETY: as above.
        unsafe { write_volatile(&raw mut (*slot).active, 1) };
        Some(Self { slot })
    }

    /// The same where another task's run of a program behind this gate can come in between, on the same CPU. Whoever finds
    /// another one there goes, and both may: then both are counted. The additions give nothing back, as 5.10 has no others.
    #[inline(always)]
    pub(crate) fn enter_preempted(gate: Hook, hook: Hook) -> Option<PreemptedGuard> {
        let (gate, counted) = (slot(gate)?.1, slot(hook)?.1);
        let guard = PreemptedGuard { slot: gate };
        // SAFETY: the slot is a map's value, and this word is written by such additions alone.
        unsafe { add(&raw mut (*gate).active, 1) };
        // SAFETY: as above.
        if unsafe { read_volatile(&raw const (*gate).active) } == 1 {
            return Some(guard);
        }
        // SAFETY: as above.
        unsafe { add(&raw mut (*counted).missed, 1) };
        None
    }
}

/// Kept while a program runs that others behind its gate can preempt.
pub(crate) struct PreemptedGuard {
    /// The gate, or null where none is needed.
    slot: *mut StreamSlot,
}

impl PreemptedGuard {
    /// That of a program that nothing can come in between.
    #[inline(always)]
    pub(super) fn none() -> Self {
        Self { slot: null_mut() }
    }
}

impl Drop for PreemptedGuard {
    #[inline(always)]
    fn drop(&mut self) {
        if self.slot.is_null() {
            return;
        }
        // SAFETY: as in `enter_preempted`. The task has not left its CPU.
        unsafe { add(&raw mut (*self.slot).active, u64::MAX) };
    }
}

impl Drop for Guard {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: as in `enter`.
        unsafe { write_volatile(&raw mut (*self.slot).active, 0) };
    }
}

/// This CPU, and its slot for a hook.
#[inline(always)]
fn slot(hook: Hook) -> Option<(u32, *mut StreamSlot)> {
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { helper::bpf_get_smp_processor_id() };
    Some((cpu, COUNTERS.get_ptr_mut(cpu * Hook::ALL.len() as u32 + hook as u32)?))
}

impl Number {
    /// Takes the next number of this CPU and hook.
    #[inline(always)]
    pub(crate) fn take(hook: Hook) -> Option<Self> {
        let (cpu, slot) = slot(hook)?;
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

    /// This CPU's ring of the hook's class.
    #[inline(always)]
    fn ring(&self) -> Option<*mut c_void> {
        rings(self.hook.class()).get(self.cpu).map(|ring| (&raw const *ring).cast_mut().cast())
    }

    /// Takes room in the CPU's ring for a record of fixed size, which is put together there: zeros at first.
    #[inline(always)]
    pub(crate) fn reserve<T: Default>(self) -> Option<Reserved<T>> {
        let Some(ring) = self.ring() else {
            self.drop(DropReason::NoRing);
            return None;
        };
        // SAFETY: the helper has no preconditions.
        let room = unsafe { helper::bpf_ringbuf_reserve(ring, size_of::<T>() as u64, 0) }.cast::<T>();
        if room.is_null() {
            self.drop(DropReason::RingFull);
            return None;
        }
        // SAFETY: the ring gave so many bytes, aligned to 8, and they are this program's until they are submitted.
        let record = unsafe {
            room.write(T::default());
            &mut *room
        };
        Some(Reserved { record, number: self })
    }

    /// Puts a finished fixed-size record into the CPU's ring.
    #[inline(always)]
    pub(crate) fn emit<T>(self, record: &T) {
        self.output((&raw const *record).cast(), size_of::<T>() as u32);
    }

    #[inline(always)]
    pub(super) fn output(self, record: *const u8, len: u32) {
        let Some(ring) = self.ring() else { return self.drop(DropReason::NoRing) };
        // SAFETY: callers pass a record of `len` readable bytes; the verifier checks it again.
        let failed = unsafe {
            helper::bpf_ringbuf_output(ring, record.cast_mut().cast(), u64::from(len), wakeup(self.hook))
        };
        if failed != 0 {
            self.drop(DropReason::RingFull);
        }
    }
}

/// Adds atomically and gives nothing back, which each kernel can. The compiler knows no atomics for this target.
///
/// # Safety
/// The word is writable and aligned.
#[inline(always)]
unsafe fn add(word: *mut u64, value: u64) {
    // SAFETY: one instruction that touches the word alone.
    unsafe {
        asm!("lock *(u64 *)({word} + 0) += {value}", value = in(reg) value, word = in(reg) word);
    }
}

#[inline(always)]
fn rings(class: Class) -> &'static Rings {
    match class {
        Class::Process => &PROCESS_RINGS,
        Class::Network => &NETWORK_RINGS,
        Class::File => &FILE_RINGS,
    }
}

/// Whether the hook's events are for the collector itself, and nobody waits for them.
#[inline(always)]
pub(crate) fn is_quiet(hook: Hook) -> bool {
    constant!(quiet_hooks) & (1 << hook as u32) != 0
}

/// One forced wakeup when the reader has said that it sleeps, none otherwise: a wakeup costs 7 us.
#[inline(always)]
fn wakeup(hook: Hook) -> u64 {
    if is_quiet(hook) {
        return NO_WAKEUP;
    }
    let Some(sleeping) = SLEEPING.get_ptr_mut(hook.class() as u32) else { return FORCE_WAKEUP };
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
