//! The context of the hooks `sendmsg4`, `sendmsg6`, `connect4` and `connect6`, and the flows that were told.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::SockAddrContext;
use collector_common::ConnectRecord;
use core::ptr::read_volatile;

/// Flows that are remembered; one that was forgotten is told again.
const FLOWS_MAX: u32 = 16_384;
/// `BPF_NOEXIST`
const NOEXIST: u64 = 1;
const EEXIST: i32 = -17;

/// Flows that were told: cookie, address, port.
#[map]
static FLOWS: LruHashMap<[u64; 4], u8> = LruHashMap::with_max_entries(FLOWS_MAX, 0);

/// Whether a flow is told for the first time. A map that cannot take the entry says yes: twice is better than never.
#[inline(always)]
pub(crate) fn is_new_flow(cookie: u64, remote: [u64; 2], port: u16) -> bool {
    FLOWS.insert(&[cookie, remote[0], remote[1], u64::from(port)], &1, NOEXIST) != Err(EEXIST)
}

/// A datagram about to be sent, or a socket about to be connected. Places in `struct bpf_sock_addr` and `struct bpf_sock` are the kernel's ABI for programs;
/// a hook of one family may not read the other's address.
pub(crate) struct Datagram<'a, const V6: bool>(&'a SockAddrContext);

impl<'a, const V6: bool> Datagram<'a, V6> {
    #[inline(always)]
    pub(crate) fn of(ctx: &'a SockAddrContext) -> Self {
        Self(ctx)
    }

    #[inline(always)]
    fn word(&self, offset: usize) -> u32 {
        // SAFETY: the context is readable at the offsets that callers name; the verifier checks each.
        unsafe { read_volatile(self.0.as_ptr().cast::<u8>().wrapping_add(offset).cast()) }
    }

    #[inline(always)]
    fn address(word: impl Fn(usize) -> u32, v4: usize, v6: usize) -> [u64; 2] {
        if !V6 {
            return [u64::from(word(v4)), 0];
        }
        let pair = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        [pair(v6), pair(v6 + 8)]
    }

    /// The socket's cookie; the helper makes one if there is none.
    #[inline(always)]
    pub(crate) fn cookie(&self) -> u64 {
        // SAFETY: the helper takes the hook's context.
        unsafe { helper::bpf_get_socket_cookie(self.0.as_ptr()) }
    }

    /// The address in network byte order.
    #[inline(always)]
    pub(crate) fn remote(&self) -> [u64; 2] {
        Self::address(|at| self.word(at), 4, 8)
    }

    #[inline(always)]
    pub(crate) fn remote_port(&self) -> u16 {
        u16::from_be(self.word(24) as u16)
    }

    #[inline(always)]
    pub(crate) fn socket_type(&self) -> u16 {
        self.word(32) as u16
    }

    /// Kind of socket, and what it is bound to.
    #[inline(always)]
    pub(crate) fn fill_local(&self, record: &mut ConnectRecord) {
        // The hook is named for the destination: an IPv6 socket sends to a mapped address through `sendmsg4`.
        record.family = if V6 { 10 } else { 2 };
        record.socket_type = self.socket_type();
        record.protocol = self.word(36) as u16;
        // SAFETY: the context holds the socket at this offset; the verifier checks it.
        let socket: *const u8 =
            unsafe { read_volatile(self.0.as_ptr().cast::<u8>().wrapping_add(64).cast()) };
        // SAFETY: the pointer is not null in these hooks; the verifier checks each offset.
        let word = |at: usize| unsafe { read_volatile(socket.wrapping_add(at).cast::<u32>()) };
        record.local = Self::address(word, 24, 28);
        record.local_port = word(44) as u16;
    }
}
