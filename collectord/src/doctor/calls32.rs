//! The helper's system calls of 32 bits, whose pointers have as many. Each is made so that it fails and changes nothing;
//! that it came back is what the hooks see. A kernel without them ends the process.
#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use std::arch::asm;
use std::ffi::{CStr, c_void};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixDatagram;
use std::ptr::NonNull;

/// A file that is nowhere.
const NO_FILE: &CStr = c"/proc/self/no-such-file";
/// Bytes of the page that the calls' pointers point into.
const PAGE_BYTES: usize = 4096;
/// `AT_FDCWD`
const HERE: u32 = (-100i32).cast_unsigned();
/// Family, NUL and a name that nobody has: of unix sockets, abstract.
const NOBODY: &[u8] = b"\x01\x00\x00collectord-doctor-nobody";
/// `SYS_CONNECT` of `socketcall`.
const CONNECT: u32 = 3;

/// A page below 4 GiB, until the process ends.
#[derive(Clone, Copy)]
pub(super) struct Low(NonNull<c_void>);

impl Low {
    pub(super) fn new() -> io::Result<Self> {
        let bytes = NonZeroUsize::new(PAGE_BYTES).expect("a page has bytes");
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_32BIT;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
        Ok(Self(unsafe { mmap_anonymous(None, bytes, protection, flags) }?))
    }

    /// Puts bytes at the page's begin, with zeros behind them; their address.
    fn put(self, bytes: &[u8]) -> u32 {
        assert!(bytes.len() < PAGE_BYTES, "{} bytes for a page", bytes.len());
        let page = self.0.cast::<u8>().as_ptr();
        // SAFETY: the page is mapped for good, and nothing else of this process refers to it.
        unsafe { page.write_bytes(0, PAGE_BYTES) };
        // SAFETY: as above; the length was checked.
        unsafe { page.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        u32::try_from(page.addr()).expect("the mapping lies below 4 GiB")
    }
}

/// # Safety
/// What the call does to memory is nothing, or what the caller answers for.
unsafe fn call(number: u32, args: [u32; 5]) -> Result<u32, Errno> {
    let returned: u32;
    // SAFETY: the kernel keeps all registers but these; the compiler keeps `rbx` for itself, and finds it as it was.
    unsafe {
        asm!(
            "xchg rbx, {first}", "int 0x80", "xchg rbx, {first}",
            first = inout(reg) u64::from(args[0]) => _,
            inout("eax") number => returned, in("ecx") args[1], in("edx") args[2], in("esi") args[3],
            in("edi") args[4],
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    match returned.cast_signed() {
        error @ -4095..0 => Err(Errno::from_raw(-error)),
        _ => Ok(returned),
    }
}

fn fails(outcome: Result<u32, Errno>) -> io::Result<()> {
    match outcome {
        // The kernel has not got it, and no hook either.
        Err(_) => Ok(()),
        Ok(_) => Err(io::Error::other("a 32-bit call that should fail did not")),
    }
}

pub(super) fn opens(low: Low) -> io::Result<()> {
    let name = low.put(NO_FILE.to_bytes_with_nul());
    // Behind the name: `struct open_how`, and a handle of no bytes.
    let zeros = name + 1024;
    // open, creat, openat, openat2, open_by_handle_at.
    let calls = [
        (5, [name, 0, 0, 0, 0]),
        (8, [name, 0o600, 0, 0, 0]),
        (295, [HERE, name, 0, 0, 0]),
        (437, [HERE, name, zeros, 24, 0]),
        (342, [u32::MAX, zeros, 0, 0, 0]),
    ];
    // SAFETY: these calls read what lies in the page, and write nothing.
    calls.into_iter().try_for_each(|(number, args)| fails(unsafe { call(number, args) }))
}

pub(super) fn execs(low: Low) -> io::Result<()> {
    let name = low.put(NO_FILE.to_bytes_with_nul());
    // execve, execveat; without arguments.
    let calls = [(11, [name, 0, 0, 0, 0]), (358, [HERE, name, 0, 0, 0])];
    // SAFETY: as above: there is no such program.
    calls.into_iter().try_for_each(|(number, args)| fails(unsafe { call(number, args) }))
}

/// To nobody, by `connect` and through `socketcall`.
pub(super) fn connects(low: Low) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    let fd = fd_of(&socket)?;
    let len = u32::try_from(NOBODY.len()).expect("a short name");
    let address = low.put(NOBODY);
    // SAFETY: the call reads the address, which lies in the page.
    fails(unsafe { call(362, [fd, address, len, 0, 0]) })?;
    let mut page = NOBODY.to_vec();
    page.resize(64, 0);
    page.extend([fd, address, len].into_iter().flat_map(u32::to_ne_bytes));
    let address = low.put(&page);
    // SAFETY: the call reads three words and the address, which lie in the page.
    fails(unsafe { call(102, [CONNECT, address + 64, 0, 0, 0]) })
}

/// Connects a datagram socket to a socket address.
pub(super) fn connect_datagram(low: Low, socket: impl AsFd, to: &[u8]) -> io::Result<()> {
    let len = u32::try_from(to.len()).expect("a socket address is short");
    // SAFETY: the call reads the address, which lies in the page.
    unsafe { call(362, [fd_of(socket)?, low.put(to), len, 0, 0]) }.map(drop).map_err(Into::into)
}

fn fd_of(socket: impl AsFd) -> io::Result<u32> {
    u32::try_from(socket.as_fd().as_raw_fd()).map_err(io::Error::other)
}
