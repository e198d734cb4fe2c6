//! Datagrams' destinations, from hooks of the root cgroup, in the caller's context and before anything goes out: the
//! address that one datagram is sent with (`sendmsg4`, `sendmsg6`), and the address that a socket is connected to
//! (`connect4`, `connect6`) where no system call's exit tells that.

use crate::raw::{Datagram, Guard, Number, Reader, Room, is_new_flow, now_ns};
use crate::sock::SOCK_DGRAM;
use crate::syscall::{Call, Caller};
use crate::{filter, syscall, task};
use aya_ebpf::programs::SockAddrContext;
use collector_common::{
    CONNECT_LOCAL, CONNECT_REMOTE, ConnectRecord, Hook, RESULT_UNSEEN, RecordKind, Spans,
};

/// What the hook returns so that the call goes on.
const ALLOW: i32 = 1;

/// One event for each socket and destination, as long as the map of flows remembers them.
#[inline(always)]
pub(crate) fn sent<R: Reader, const V6: bool>(ctx: &SockAddrContext) -> i32 {
    let datagram = Datagram::<V6>::of(ctx);
    if is_wanted::<R>() && is_new_flow(datagram.cookie(), datagram.remote(), datagram.remote_port()) {
        let task = R::current();
        let hook = if V6 { Hook::SendMsg6 } else { Hook::SendMsg4 };
        tell::<R, V6>(&datagram, hook, task, syscall::caller::<R>(task));
    }
    ALLOW
}

/// One event for each call or request. TCP is told by its handshake, and a native call by its exit, which knows the
/// outcome: what is left is io_uring's and that of another ABI.
#[inline(always)]
pub(crate) fn connected<R: Reader, const V6: bool>(ctx: &SockAddrContext) -> i32 {
    let datagram = Datagram::<V6>::of(ctx);
    if datagram.socket_type() == SOCK_DGRAM {
        let task = R::current();
        let caller = syscall::caller::<R>(task);
        if caller.call != Call::Connect && is_wanted::<R>() {
            let hook = if V6 { Hook::Connect6 } else { Hook::Connect4 };
            tell::<R, V6>(&datagram, hook, task, caller);
        }
    }
    ALLOW
}

/// How it ends is not seen here, so it is none of those that failed.
#[inline(always)]
fn is_wanted<R: Reader>() -> bool {
    filter::wanted::<R>() && filter::successes_wanted()
}

#[inline(always)]
fn tell<R: Reader, const V6: bool>(datagram: &Datagram<'_, V6>, hook: Hook, task: R::Ptr, caller: Caller) {
    let mut record = ConnectRecord::default();
    record.cookie = datagram.cookie();
    record.remote = datagram.remote();
    record.remote_port = datagram.remote_port();
    task::fill_anywhere::<R, _>(&mut record.task, task, &mut Room::<{ Spans::CRED_WORDS }>::new());
    task::fill_exe_of_any::<R>(&mut record.task, task);
    record.abi = caller.abi;
    datagram.fill_local(&mut record);
    record.flags = CONNECT_REMOTE;
    if record.local_port != 0 {
        record.flags |= CONNECT_LOCAL;
    }
    record.result = RESULT_UNSEEN;
    // These programs can be preempted, and the next number must not come into the ring before this one.
    let Some(_guard) = Guard::enter_preempted(hook, hook) else { return };
    let Some(number) = Number::take(hook) else { return };
    record.header.ktime_ns = now_ns();
    number.fill(&mut record.header, RecordKind::Connect, size_of::<ConnectRecord>() as u32);
    number.emit(&record);
}
