//! What a socket says of itself.

use crate::open;
use crate::raw::{Reader, constant, current_cpu};
use collector_common::{
    CONNECT_LOCAL, CONNECT_NONBLOCKING, CONNECT_REMOTE, COOKIE_OWN, ConnectRecord, Offsets,
};

pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;
pub(crate) const SOCK_DGRAM: u16 = 2;
const AF_UNIX: u16 = 1;
const SOCK_STREAM: u16 = 1;
const SOCK_RAW: u16 = 3;
const SOCK_SEQPACKET: u16 = 5;
/// The state of any connected socket.
pub(crate) const TCP_ESTABLISHED: u32 = 1;
/// `O_NONBLOCK`, the same on x86 and arm64.
const NONBLOCK: u32 = 0x800;
const FILE_KIND: u16 = 0xf000;
const SOCKET_KIND: u16 = 0xc000;

/// Family, protocol, type.
#[inline(always)]
pub(crate) fn fill_kind<R: Reader>(record: &mut ConnectRecord, sk: R::Ptr) {
    record.family = R::u16(sk, constant!(offsets.sock_family));
    record.protocol = R::u16(sk, constant!(offsets.sock_protocol));
    record.socket_type = R::u16(sk, constant!(offsets.sock_type));
}

/// Whether the socket is as a `connect` that comes out well leaves it. Not every kind of socket says that: the others are
/// believed.
#[inline(always)]
pub(crate) fn is_connected<R: Reader>(record: &ConnectRecord, sk: R::Ptr) -> bool {
    let says = match record.family {
        AF_INET | AF_INET6 => record.socket_type == SOCK_DGRAM || record.socket_type == SOCK_RAW,
        AF_UNIX => record.socket_type == SOCK_STREAM || record.socket_type == SOCK_SEQPACKET,
        _ => false,
    };
    !says || u32::from(R::u8(sk, constant!(offsets.sock_state))) == TCP_ESTABLISHED
}

/// The local address of an IP socket, where it has one.
#[inline(always)]
pub(crate) fn fill_local<R: Reader>(record: &mut ConnectRecord, sk: R::Ptr) {
    let inet = R::object(R::address(sk), constant!(types.inet_sock));
    record.local_port = u16::from_be(R::u16(inet, constant!(offsets.inet_sport)));
    let v6 = constant!(offsets.sock_v6_rcv_saddr);
    record.local = [0; 2];
    if record.family == AF_INET {
        record.local[0] = u64::from(R::u32(sk, constant!(offsets.sock_rcv_saddr)));
    } else if v6 != Offsets::ABSENT {
        record.local = [R::u64(sk, v6), R::u64(sk, v6 + 8)];
    }
    if record.local_port != 0 || record.local[0] | record.local[1] != 0 {
        record.flags |= CONNECT_LOCAL;
    }
}

/// The remote address of an IP socket that has one.
#[inline(always)]
pub(crate) fn fill_remote<R: Reader>(record: &mut ConnectRecord, sk: R::Ptr) {
    record.remote_port = u16::from_be(R::u16(sk, constant!(offsets.sock_dport)));
    let v6 = constant!(offsets.sock_v6_daddr);
    record.remote = [0; 2];
    if record.family == AF_INET {
        record.remote[0] = u64::from(R::u32(sk, constant!(offsets.sock_daddr)));
    } else if v6 != Offsets::ABSENT {
        record.remote = [R::u64(sk, v6), R::u64(sk, v6 + 8)];
    }
    record.flags |= CONNECT_REMOTE;
}

/// The kernel's cookie of a socket; 0 if it has made none yet.
#[inline(always)]
pub(crate) fn cookie<R: Reader>(sk: R::Ptr) -> u64 {
    R::u64(sk, constant!(offsets.sock_cookie))
}

/// A cookie for a socket that has none of the kernel's: the time, and the CPU, since two can read the same time.
#[inline(always)]
pub(crate) fn own_cookie(ktime_ns: u64) -> u64 {
    ktime_ns << 8 | u64::from(current_cpu() & 0xff) | COOKIE_OWN
}

/// [`CONNECT_NONBLOCKING`] if the socket's file is set so. A socket of the kernel's own has no file.
#[inline(always)]
pub(crate) fn nonblocking<R: Reader>(sk: R::Ptr) -> u32 {
    let socket = R::ptr(sk, constant!(offsets.sock_socket));
    nonblocking_file::<R>(R::ptr(socket, constant!(offsets.socket_file)))
}

/// Which of all sockets that have lain at its address it is, where a program can be skipped and has to know: the inode of
/// its file. 0 where none is skipped, and for a socket without a file.
#[inline(always)]
pub(crate) fn instance<R: Reader>(sk: R::Ptr) -> u64 {
    if constant!(preempts_tracepoints) == 0 {
        return 0;
    }
    let file = R::ptr(R::ptr(sk, constant!(offsets.sock_socket)), constant!(offsets.socket_file));
    R::u64(R::ptr(file, constant!(offsets.file_inode)), constant!(offsets.inode_ino))
}

#[inline(always)]
pub(crate) fn nonblocking_file<R: Reader>(file: R::Ptr) -> u32 {
    let flags = R::u32(file, constant!(offsets.file_flags));
    if flags & NONBLOCK != 0 { CONNECT_NONBLOCKING } else { 0 }
}

/// The file of one of the current task's descriptors, if it is a socket's, and the socket.
#[inline(always)]
pub(crate) fn of_descriptor<R: Reader>(task: R::Ptr, descriptor: u32) -> Option<(R::Ptr, R::Ptr)> {
    let table = R::ptr(R::ptr(task, constant!(offsets.task_files)), constant!(offsets.files_fdt));
    if descriptor >= R::u32(table, constant!(offsets.fdt_max)) {
        return None;
    }
    let file = open::file_of::<R>(descriptor);
    let inode = R::ptr(file, constant!(offsets.file_inode));
    if R::u16(inode, constant!(offsets.inode_mode)) & FILE_KIND != SOCKET_KIND {
        return None;
    }
    let socket = R::u64(file, constant!(offsets.file_private));
    let socket = R::object(socket, constant!(types.socket));
    Some((file, R::ptr(socket, constant!(offsets.socket_sk))))
}
