//! Datagrams that are sent with an address, from the root cgroup's hooks `sendmsg4` and `sendmsg6`: in the caller's
//! context, before the datagram goes out. One event for each socket and destination, as long as the map of flows
//! remembers them.

use crate::raw::{Datagram, Number, Reader, is_new_flow, now_ns};
use crate::{filter, syscall, task};
use aya_ebpf::programs::SockAddrContext;
use collector_common::{CONNECT_LOCAL, CONNECT_REMOTE, ConnectRecord, Hook, RESULT_UNSEEN, RecordKind};

/// What the hook returns so that the datagram goes out.
const ALLOW: i32 = 1;

#[inline(always)]
pub(crate) fn record<R: Reader, const V6: bool>(ctx: &SockAddrContext) -> i32 {
    if !filter::wanted() {
        return ALLOW;
    }
    let datagram = Datagram::<V6>::of(ctx);
    let mut record = ConnectRecord::default();
    record.cookie = datagram.cookie();
    record.remote = datagram.remote();
    record.remote_port = datagram.remote_port();
    if !is_new_flow(record.cookie, record.remote, record.remote_port) {
        return ALLOW;
    }
    let hook = if V6 { Hook::SendMsg6 } else { Hook::SendMsg4 };
    let Some(number) = Number::take_preempted::<R>(hook) else { return ALLOW };
    let task = R::current();
    record.header.ktime_ns = now_ns();
    task::fill::<R>(&mut record.task, task);
    task::fill_exe::<R>(&mut record.task, task);
    record.abi = syscall::caller::<R>(task).abi;
    datagram.fill_local(&mut record);
    record.flags = CONNECT_REMOTE;
    if record.local_port != 0 {
        record.flags |= CONNECT_LOCAL;
    }
    record.result = RESULT_UNSEEN;
    number.fill(&mut record.header, RecordKind::Connect, size_of::<ConnectRecord>() as u32);
    number.emit(&record);
    ALLOW
}
