//! Where the exit of `connect` puts its record together: with the socket address that the caller gave, it is too large
//! for a stack beside what the compiler keeps there.

use super::number::Number;
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use collector_common::{ConnectRecord, SOCKADDR_BYTES_MAX};
use core::ptr::{read_volatile, write_volatile};

/// One per CPU: the program runs in tasks alone and is not entered twice on one CPU.
#[map]
static CONNECT_SCRATCH: PerCpuArray<AddressScratch> = PerCpuArray::with_max_entries(1, 0);

/// That of 32-bit calls, whose programs can be preempted, but by none of their own.
#[map]
static COMPAT_CONNECT_SCRATCH: PerCpuArray<AddressScratch> = PerCpuArray::with_max_entries(1, 0);

/// A record and, behind it, a socket address.
#[repr(C)]
pub(crate) struct AddressScratch {
    pub(crate) record: ConnectRecord,
    address: [u8; SOCKADDR_BYTES_MAX as usize],
    /// Where an address becomes a number.
    number: u64,
    /// Bytes of the address. It lives here, not in a register, so that the verifier need not follow it.
    len: u32,
}

impl AddressScratch {
    #[inline(always)]
    pub(crate) fn get(compat: bool) -> Option<&'static mut Self> {
        let scratch = if compat { &COMPAT_CONNECT_SCRATCH } else { &CONNECT_SCRATCH };
        // SAFETY: any bytes are a scratch, and this is the only reference to it.
        scratch.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
    }

    /// A kernel address as a number, which it is only when it comes back from memory.
    #[inline(always)]
    pub(crate) fn number_of(&mut self, address: u64) -> u64 {
        // SAFETY: a mutable reference is writable.
        unsafe { write_volatile(&raw mut self.number, address) };
        // SAFETY: a reference is readable.
        unsafe { read_volatile(&raw const self.number) }
    }

    /// Copies a socket address from the caller's memory: whether it could be read. The family at its begin is 0 if not.
    #[inline(always)]
    pub(crate) fn read_user(&mut self, from: u64, len: u32) -> bool {
        let len = if len > SOCKADDR_BYTES_MAX { SOCKADDR_BYTES_MAX } else { len };
        self.set_text_len(len);
        // Checked where the verifier sees it, whatever the compiler has made of the number's way to here.
        let len = self.text_len();
        if len > SOCKADDR_BYTES_MAX {
            return false;
        }
        let to = &raw mut self.address;
        // SAFETY: the address has room for 8 bytes.
        unsafe { write_volatile(to.cast::<u64>(), 0) };
        // SAFETY: the room was checked; the helper survives any address.
        let failed = unsafe { helper::bpf_probe_read_user(to.cast(), len, from as *const _) } != 0;
        if failed {
            self.set_text_len(0);
        }
        !failed
    }

    /// Bytes of the address.
    #[inline(always)]
    pub(crate) fn text_len(&self) -> u32 {
        // SAFETY: a reference is readable.
        unsafe { read_volatile(&raw const self.len) }
    }

    /// Says how many bytes of the address are told.
    #[inline(always)]
    pub(crate) fn set_text_len(&mut self, len: u32) {
        // SAFETY: a mutable reference is writable.
        unsafe { write_volatile(&raw mut self.len, len) };
    }

    /// The address's family.
    #[inline(always)]
    pub(crate) fn family(&self) -> u16 {
        // SAFETY: two bytes are there.
        unsafe { read_volatile((&raw const self.address).cast::<u16>()) }
    }

    /// Writes `len` bytes, record and address, into the CPU's ring.
    #[inline(always)]
    pub(crate) fn output(&self, number: Number, len: u32) {
        number.output((&raw const self.record).cast(), len);
    }
}
