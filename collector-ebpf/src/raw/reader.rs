//! How kernel objects are read: by typed pointers, or by probe reads.

use super::{
    constant, current_cgroup_id, current_comm, current_ids, probe_u8, probe_u16, probe_u32, probe_u64,
};
use aya_ebpf::helpers::generated as helper;
use collector_common::Offsets;
use core::mem::MaybeUninit;
use core::ptr::read_volatile;

/// Bytes at an object's begin that probe reads take at once: those of a dentry up to behind its name, also where locks
/// are checked and so are larger.
const HEAD_BYTES: u32 = 112;

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
    /// The begin of an object, of which several fields are read.
    type Head;
    /// Reads it: what stands first is not read later than what follows.
    fn head(object: Self::Ptr) -> Self::Head;
    /// A 4-byte field of it.
    fn head_u32(head: &Self::Head, offset: u32) -> u32;
    /// An 8-byte field of it.
    fn head_u64(head: &Self::Head, offset: u32) -> u64;
    /// A field of it that points to another object.
    fn head_ptr(head: &Self::Head, offset: u32) -> Self::Ptr;
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
        // SAFETY: the helper has no preconditions.
        unsafe { helper::bpf_get_current_task_btf() as usize as *const u8 }
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

    type Head = Self::Ptr;

    #[inline(always)]
    fn head(object: Self::Ptr) -> Self::Head {
        object
    }

    #[inline(always)]
    fn head_u32(head: &Self::Head, offset: u32) -> u32 {
        Self::u32(*head, offset)
    }

    #[inline(always)]
    fn head_u64(head: &Self::Head, offset: u32) -> u64 {
        Self::u64(*head, offset)
    }

    #[inline(always)]
    fn head_ptr(head: &Self::Head, offset: u32) -> Self::Ptr {
        Self::ptr(*head, offset)
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
        // SAFETY: the helper has no preconditions.
        unsafe { helper::bpf_get_current_task() }
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

    type Head = MaybeUninit<[u64; HEAD_BYTES as usize / 8]>;

    #[inline(always)]
    fn head(object: Self::Ptr) -> Self::Head {
        let mut head = Self::Head::uninit();
        // SAFETY: `head` has that many bytes, and the helper writes each, zeros where it cannot read; it survives any
        // address.
        unsafe { helper::bpf_probe_read_kernel(head.as_mut_ptr().cast(), HEAD_BYTES, object as *const _) };
        head
    }

    #[inline(always)]
    fn head_u32(head: &Self::Head, offset: u32) -> u32 {
        // SAFETY: the helper wrote each byte, and the verifier holds the constant offset against the stack's bounds.
        unsafe { read_volatile(head.as_ptr().cast::<u8>().wrapping_add(offset as usize).cast()) }
    }

    #[inline(always)]
    fn head_u64(head: &Self::Head, offset: u32) -> u64 {
        // SAFETY: as for `head_u32`.
        unsafe { read_volatile(head.as_ptr().cast::<u8>().wrapping_add(offset as usize).cast()) }
    }

    #[inline(always)]
    fn head_ptr(head: &Self::Head, offset: u32) -> Self::Ptr {
        Self::head_u64(head, offset)
    }
}
