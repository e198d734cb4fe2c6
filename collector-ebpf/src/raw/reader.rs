//! How kernel objects are read: by typed pointers, or by probe reads.

use super::{
    SpanAt, constant, current_cgroup_id, current_comm, current_ids, probe_u8, probe_u16, probe_u32, probe_u64,
};
use aya_ebpf::helpers::generated as helper;
use collector_common::Offsets;
use core::arch::asm;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::read_volatile;

/// How kernel objects are read. A field that cannot be read is 0 in both families.
pub(crate) trait Reader: Copy {
    /// Whether fields are read by direct loads.
    const DIRECT: bool;
    /// A kernel object.
    type Ptr: Copy;
    /// The current task.
    fn current() -> Self::Ptr;
    /// Process and thread id of the current task, of the initial pid namespace.
    fn current_ids() -> (u32, u32);
    /// The current task's comm; what follows its NUL is nothing.
    fn current_comm() -> [u64; 2];
    /// Id of the current task's cgroup in the unified hierarchy.
    fn current_cgroup_id() -> u64;
    /// The object at an address, of the type with this BTF id.
    fn object(address: u64, type_id: u32) -> Self::Ptr;
    /// The object at an address, where the family has no use for its type. Direct readers read nothing there.
    fn at(address: u64) -> Self::Ptr;
    /// What a helper gave: the verifier has typed it already.
    fn typed(pointer: i64) -> Self::Ptr;
    /// The object's address.
    fn address(object: Self::Ptr) -> u64;
    /// Whether two are the same object.
    fn same(a: Self::Ptr, b: Self::Ptr) -> bool;
    /// A place within an object, from which fields with constant offsets are read.
    fn within(object: Self::Ptr, offset: u32) -> Self::Ptr;
    /// A 1-byte field.
    fn u8(object: Self::Ptr, offset: u32) -> u8;
    /// A 2-byte field.
    fn u16(object: Self::Ptr, offset: u32) -> u16;
    /// A 4-byte field.
    fn u32(object: Self::Ptr, offset: u32) -> u32;
    /// An 8-byte field.
    fn u64(object: Self::Ptr, offset: u32) -> u64;
    /// A field that points to another object.
    fn ptr(object: Self::Ptr, offset: u32) -> Self::Ptr;
    /// Fields of an object, see `span`.
    type Span<'a, const AT: usize, const WORDS: usize>: Fields<Self::Ptr> + Copy;
    /// Fields of an object that lie near each other: probe reads take the span at once, as far as there is room, and in
    /// the order in which the fields lie.
    #[inline(always)]
    fn span<const AT: usize, const WORDS: usize>(
        object: Self::Ptr,
        span: SpanAt<AT>,
        room: &mut Room<WORDS>,
    ) -> Self::Span<'_, AT, WORDS> {
        Self::take(object, span, room);
        Self::taken(object, span, room)
    }
    /// Takes a span.
    fn take<const AT: usize, const WORDS: usize>(object: Self::Ptr, span: SpanAt<AT>, room: &mut Room<WORDS>);
    /// The fields of one that was taken.
    fn taken<const AT: usize, const WORDS: usize>(
        object: Self::Ptr,
        span: SpanAt<AT>,
        room: &Room<WORDS>,
    ) -> Self::Span<'_, AT, WORDS>;
}

/// Room for words of an object. Direct readers leave it empty.
pub(crate) struct Room<const WORDS: usize>([MaybeUninit<u64>; WORDS]);

impl<const WORDS: usize> Room<WORDS> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; WORDS])
    }
}

/// Fields that are read at once where that costs less. One that lies elsewhere on this kernel is read on its own.
pub(crate) trait Fields<P> {
    /// Where these bytes lie, if they are among those that were read.
    fn held(&self, offset: u32, bytes: u32) -> Option<*const u64>;
    /// A 4-byte field, by its offset in the object.
    fn u32(&self, offset: u32) -> u32;
    /// An 8-byte field.
    fn u64(&self, offset: u32) -> u64;
    /// An 8-byte field that need not be aligned to its size: the kernel had two of 4 bytes.
    fn pair(&self, offset: u32) -> u64;
    /// A field that points to another object.
    fn ptr(&self, offset: u32) -> P;
}

/// `bpf_get_current_task`
const CURRENT_TASK: u32 = 35;
/// `bpf_get_current_task_btf`
const CURRENT_TASK_TYPED: u32 = 158;

/// The current task. It is the same in all of a program's run: told so, the compiler calls once where it is asked for
/// often, and not at all where it is not used.
#[inline(always)]
fn current_task<const HELPER: u32>() -> u64 {
    let task;
    // SAFETY: neither helper has preconditions. They take no arguments, and change the registers of any call.
    unsafe {
        asm!(
            "call {helper}", helper = const HELPER, out("r0") task, out("r1") _, out("r2") _, out("r3") _, out("r4") _,
            out("r5") _, options(pure, nomem, nostack)
        );
    }
    task
}

/// Typed pointers and direct loads. The verifier knows each pointer's kernel type and lets a load that would fault
/// give 0.
#[derive(Clone, Copy)]
pub(crate) struct Direct;

impl Reader for Direct {
    const DIRECT: bool = true;
    type Ptr = *const u8;

    #[inline(always)]
    fn current() -> Self::Ptr {
        current_task::<CURRENT_TASK_TYPED>() as usize as *const u8
    }

    #[inline(always)]
    fn current_ids() -> (u32, u32) {
        let task = Self::current();
        (Self::u32(task, constant!(offsets.task_tgid)), Self::u32(task, constant!(offsets.task_pid)))
    }

    #[inline(always)]
    fn current_comm() -> [u64; 2] {
        let comm = Self::within(Self::current(), constant!(offsets.task_comm));
        [Self::u64(comm, 0), Self::u64(comm, 8)]
    }

    #[inline(always)]
    fn current_cgroup_id() -> u64 {
        let (node, id) = (constant!(offsets.cgroup_node), constant!(offsets.node_id));
        if node == Offsets::ABSENT || id == Offsets::ABSENT {
            return current_cgroup_id();
        }
        let css_set = Self::ptr(Self::current(), constant!(offsets.task_cgroups));
        let cgroup = Self::ptr(css_set, constant!(offsets.css_set_cgroup));
        Self::u64(Self::ptr(cgroup, node), id)
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
    fn at(address: u64) -> Self::Ptr {
        address as *const u8
    }

    #[inline(always)]
    fn typed(pointer: i64) -> Self::Ptr {
        pointer as usize as *const u8
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
    fn within(object: Self::Ptr, offset: u32) -> Self::Ptr {
        object.wrapping_add(offset as usize)
    }

    #[inline(always)]
    fn u8(object: Self::Ptr, offset: u32) -> u8 {
        // SAFETY: as for `u32`.
        unsafe { read_volatile(object.wrapping_add(offset as usize)) }
    }

    #[inline(always)]
    fn u16(object: Self::Ptr, offset: u32) -> u16 {
        // SAFETY: as for `u32`.
        unsafe { read_volatile(object.wrapping_add(offset as usize).cast()) }
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

    type Span<'a, const AT: usize, const WORDS: usize> = Self::Ptr;

    #[inline(always)]
    fn take<const AT: usize, const WORDS: usize>(
        _object: Self::Ptr,
        _span: SpanAt<AT>,
        _room: &mut Room<WORDS>,
    ) {
    }

    #[inline(always)]
    fn taken<const AT: usize, const WORDS: usize>(
        object: Self::Ptr,
        _span: SpanAt<AT>,
        _room: &Room<WORDS>,
    ) -> Self::Span<'_, AT, WORDS> {
        object
    }
}

/// There is nothing to gain.
impl Fields<*const u8> for *const u8 {
    #[inline(always)]
    fn held(&self, offset: u32, _bytes: u32) -> Option<*const u64> {
        Some(Direct::within(*self, offset).cast())
    }

    #[inline(always)]
    fn u32(&self, offset: u32) -> u32 {
        Direct::u32(*self, offset)
    }

    #[inline(always)]
    fn u64(&self, offset: u32) -> u64 {
        Direct::u64(*self, offset)
    }

    #[inline(always)]
    fn pair(&self, offset: u32) -> u64 {
        Direct::u64(*self, offset)
    }

    #[inline(always)]
    fn ptr(&self, offset: u32) -> *const u8 {
        Direct::ptr(*self, offset)
    }
}

/// Probe reads.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Reader for Portable {
    const DIRECT: bool = false;
    type Ptr = u64;

    #[inline(always)]
    fn current() -> Self::Ptr {
        current_task::<CURRENT_TASK>()
    }

    #[inline(always)]
    fn current_ids() -> (u32, u32) {
        current_ids()
    }

    #[inline(always)]
    fn current_comm() -> [u64; 2] {
        current_comm()
    }

    #[inline(always)]
    fn current_cgroup_id() -> u64 {
        current_cgroup_id()
    }

    #[inline(always)]
    fn object(address: u64, _type_id: u32) -> Self::Ptr {
        address
    }

    #[inline(always)]
    fn at(address: u64) -> Self::Ptr {
        address
    }

    #[inline(always)]
    fn typed(pointer: i64) -> Self::Ptr {
        pointer as u64
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
    fn within(object: Self::Ptr, offset: u32) -> Self::Ptr {
        object.wrapping_add(u64::from(offset))
    }

    #[inline(always)]
    fn u8(object: Self::Ptr, offset: u32) -> u8 {
        probe_u8(object.wrapping_add(u64::from(offset)))
    }

    #[inline(always)]
    fn u16(object: Self::Ptr, offset: u32) -> u16 {
        probe_u16(object.wrapping_add(u64::from(offset)))
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

    type Span<'a, const AT: usize, const WORDS: usize> = Copied<'a, AT, WORDS>;

    #[inline(always)]
    fn take<const AT: usize, const WORDS: usize>(
        object: Self::Ptr,
        span: SpanAt<AT>,
        room: &mut Room<WORDS>,
    ) {
        let mut len = span.bytes();
        if len > WORDS as u64 * 8 {
            len = WORDS as u64 * 8;
        }
        let from = object.wrapping_add(span.start());
        // SAFETY: there is room for so many bytes; the helper survives any address.
        unsafe { helper::bpf_probe_read_kernel(room.0.as_mut_ptr().cast(), len as u32, from as *const _) };
    }

    #[inline(always)]
    fn taken<const AT: usize, const WORDS: usize>(
        object: Self::Ptr,
        span: SpanAt<AT>,
        room: &Room<WORDS>,
    ) -> Self::Span<'_, AT, WORDS> {
        let words;
        // SAFETY: one move. The compiler must not know it, or it puts a place on the stack together anew for each field.
        unsafe { asm!("{0} = {1}", out(reg) words, in(reg) room.0.as_ptr(), options(nomem, nostack)) };
        Copied { object, span, words, room: PhantomData }
    }
}

/// Words of an object as they were read: a span's, as many as there is room for, zeros if they could not be read.
#[derive(Clone, Copy)]
pub(crate) struct Copied<'a, const AT: usize, const WORDS: usize> {
    object: u64,
    span: SpanAt<AT>,
    words: *const MaybeUninit<u64>,
    room: PhantomData<&'a Room<WORDS>>,
}

/// Reads a field that a span does not hold. A function, since this is needed at many places and on few kernels.
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn probe_alone(address: u64) -> u64 {
    probe_u64(address)
}

impl<const AT: usize, const WORDS: usize> Copied<'_, AT, WORDS> {
    /// Where a field stands in the words, if it does. A span holds all of its fields that the kernel has.
    #[inline(always)]
    fn find<T>(&self, offset: u32, bytes: u32) -> Option<*const T> {
        let mut place = u64::from(offset);
        // SAFETY: one subtraction. The compiler must not know it, or it makes a loop for each answer to whether a field
        // was read: the verifier knows the one that holds, and the other costs nothing.
        unsafe {
            asm!("{0} -= {1}", inout(reg) place, in(reg) self.span.start(), options(nomem, nostack));
        }
        let found = place <= (WORDS as u64 * 8).wrapping_sub(u64::from(bytes));
        found.then(|| self.words.cast::<u8>().wrapping_add(place as usize).cast())
    }
}

impl<const AT: usize, const WORDS: usize> Fields<u64> for Copied<'_, AT, WORDS> {
    #[inline(always)]
    fn held(&self, offset: u32, bytes: u32) -> Option<*const u64> {
        self.find(offset, bytes)
    }

    #[inline(always)]
    fn u32(&self, offset: u32) -> u32 {
        match self.find(offset, 4) {
            // SAFETY: the helper wrote each byte there.
            Some(field) => unsafe { read_volatile(field) },
            None => probe_alone(self.object.wrapping_add(u64::from(offset))) as u32,
        }
    }

    #[inline(always)]
    fn u64(&self, offset: u32) -> u64 {
        match self.find(offset, 8) {
            // SAFETY: as for `u32`.
            Some(field) => unsafe { read_volatile(field) },
            None => probe_alone(self.object.wrapping_add(u64::from(offset))),
        }
    }

    #[inline(always)]
    fn pair(&self, offset: u32) -> u64 {
        u64::from(self.u32(offset)) | u64::from(self.u32(offset + 4)) << 32
    }

    #[inline(always)]
    fn ptr(&self, offset: u32) -> u64 {
        self.u64(offset)
    }
}
