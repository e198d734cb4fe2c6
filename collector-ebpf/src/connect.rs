//! TCP attempts from `inet_sock_set_state(sk, oldstate, newstate)`, and all others from the exit of `connect`.
//!
//! Who tells an attempt, once and whatever runs side by side:
//!
//! - `begin` sees each TCP attempt in its caller's context and keeps it. It tells none but those of a compat call on a
//!   socket that does not wait: those have no exit that is seen.
//! - `end` sees how it is decided, in any context. If the attempt was told as pending it tells the result, else all.
//! - `destroyed` sees the socket go. What is kept of it then had an end that was not seen, because that run of `end` was
//!   skipped; it tells so, as how the attempt came out can no longer be known.
//! - `exit` sees native calls return. It tells the attempts that `begin` never sees (other protocols, no route) and, with
//!   `EINPROGRESS`, those that go on. Where the exits of 32-bit calls are hooked it tells those that `begin` never sees,
//!   of other protocols than TCP and UDP and without a route; the others are told without it.
//!
//! An attempt of a native call that goes on belongs to `exit`; if it is decided before the call has returned (on
//! loopback it always is), to `end`, which tells it as pending and then decided. Claims see to it that one of them does.

use crate::raw::{
    AddressScratch, Arguments, Attempt, CALL_OVER, CallExit, Guard, Number, Reader, Room, attempts, constant,
    current_ids, now_ns, user_u32,
};
use crate::sock::{self, AF_INET, AF_INET6, SOCK_DGRAM, TCP_ESTABLISHED};
use crate::syscall::{self, Call};
use crate::{filter, log, task};
use aya_ebpf::programs::RawTracePointContext;
use collector_common::{
    CONNECT_LATENCY, CONNECT_NATIVE, CONNECT_NONBLOCKING, CONNECT_TOLD, COOKIE_OWN, ConnectRecord,
    DropReason, Hook, RESULT_FAILED, RESULT_OK, RESULT_PENDING, RESULT_UNSEEN, RecordKind,
    SOCKADDR_BYTES_MAX, Spans, missing,
};

const TCP_SYN_SENT: u32 = 2;
const TCP_SYN_RECV: u32 = 3;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_MPTCP: u16 = 262;
const AF_UNSPEC: u16 = 0;

const EINTR: u32 = 4;
const EBADF: u32 = 9;
const EFAULT: u32 = 14;
const ENOTSOCK: u32 = 88;
/// An attempt that was told has failed, and somebody else has taken its errno: this call ends it.
const ECONNABORTED: u32 = 103;
const EISCONN: u32 = 106;
const EALREADY: u32 = 114;
const EINPROGRESS: u32 = 115;
/// `ERESTARTSYS` to `ERESTART_RESTARTBLOCK`: the call is made again, or ends with `EINTR`.
const RESTARTS: core::ops::RangeInclusive<u32> = 512..=516;

const RECORD_BYTES: u32 = size_of::<ConnectRecord>() as u32;

#[inline(always)]
pub(crate) fn begin<R: Reader>(ctx: &RawTracePointContext) -> i32 {
    if ctx.arg::<u32>(2) != TCP_SYN_SENT {
        return 0;
    }
    let address = ctx.arg::<u64>(0);
    let sk = R::object(address, constant!(types.sock));
    if R::u16(sk, constant!(offsets.sock_protocol)) != IPPROTO_TCP || !filter::wanted::<R>() {
        return 0;
    }
    let task = R::current();
    let caller = syscall::caller::<R>(task);
    let Some(attempt) = attempts::place::<R>(address) else {
        if let Some(number) = Number::take(Hook::TcpBegin) {
            number.drop(DropReason::NoScratch);
        }
        return 0;
    };
    let record = &mut *attempt.record;
    record.header.ktime_ns = now_ns();
    record.header.missing = 0;
    // Until it is decided, when the latency is known.
    record.latency_ns = sock::instance::<R>(sk);
    record.text_len = 0;
    task::fill::<R, _>(&mut record.task, &mut Room::<{ Spans::CRED_WORDS }>::new());
    task::fill_exe::<R>(&mut record.task);
    sock::fill_kind::<R>(record, sk);
    record.abi = caller.abi;
    record.cookie = sock::cookie::<R>(sk);
    if record.cookie == 0 {
        record.cookie = sock::own_cookie(record.header.ktime_ns);
    }
    record.flags = sock::nonblocking::<R>(sk);
    // A call that fails clears it.
    sock::fill_remote::<R>(record, sk);
    let native = caller.call == Call::Connect;
    if native {
        record.flags |= CONNECT_NATIVE;
    }
    let pending = caller.call == Call::CompatConnect && record.flags & CONNECT_NONBLOCKING != 0;
    if pending {
        record.flags |= CONNECT_TOLD;
    }
    if attempts::begin(address, &attempt, native) && pending {
        let record = attempt.record;
        sock::fill_local::<R>(record, sk);
        record.result = RESULT_PENDING;
        record.error = EINPROGRESS;
        tell(ctx, record, Hook::TcpBegin, RecordKind::Connect);
    }
    0
}

#[inline(always)]
pub(crate) fn end<R: Reader>(ctx: &RawTracePointContext) -> i32 {
    let (from, to) = (ctx.arg::<u32>(1), ctx.arg::<u32>(2));
    // Two sockets that connect to each other pass through SYN_RECV.
    if from != TCP_SYN_RECV && (from != TCP_SYN_SENT || to == TCP_SYN_RECV) {
        return 0;
    }
    let Some(_guard) = Guard::enter(Hook::TcpEnd) else { return 0 };
    let address = ctx.arg::<u64>(0);
    let sk = R::object(address, constant!(types.sock));
    if !attempts::is_of::<R>(address, sock::instance::<R>(sk)) {
        // Its end was skipped, and so was the begin of what is decided now.
        attempts::forget::<R>(address);
        return 0;
    }
    if let Some(mut attempt) = attempts::under_way::<R>(address) {
        if let Some(returned) = decide::<R>(ctx, &mut attempt, address, to == TCP_ESTABLISHED) {
            attempts::end(address, &attempt, returned);
        }
    }
    0
}

/// Tells an attempt that is decided. Gives the errno that is told and that the call under way will return; `None` if it is
/// that call's to tell. It stays kept then: where the call's exit does not find the socket, `destroyed` tells it.
#[inline(always)]
fn decide<R: Reader>(
    ctx: &RawTracePointContext,
    attempt: &mut Attempt,
    address: u64,
    ok: bool,
) -> Option<u32> {
    let record = &mut *attempt.record;
    let mut returned = 0;
    let sk = R::object(address, constant!(types.sock));
    let now = now_ns();
    let begun = record.header.ktime_ns;
    let error = if ok { 0 } else { R::u32(sk, constant!(offsets.sock_err)) };
    let mut kind = RecordKind::Connect;
    let mut pending_first = false;
    if record.flags & CONNECT_TOLD != 0 {
        kind = RecordKind::ConnectResult;
    } else if record.flags & CONNECT_NATIVE != 0 {
        // Failed within the call, and the socket does not say with what: the call's exit will.
        if !ok && error == 0 && attempts::awaits_exit::<R>(address) && is_within_call::<R>(record) {
            return None;
        }
        let mut in_call = false;
        match attempts::claim::<R>(address) {
            None => kind = RecordKind::ConnectResult,
            Some(claim) if claim.flags & CALL_OVER == 0 => {
                pending_first = record.flags & CONNECT_NONBLOCKING != 0;
                in_call = !pending_first;
            }
            Some(_) => {}
        }
        // Another thread has given it up, and with what the call will fail is still to be seen.
        let given_up = !ok && error == 0 && in_call;
        let returns = if given_up { attempts::ANY_ERROR } else { error };
        if returns != 0 && attempts::remember_failure(address, attempt, returns, in_call) {
            returned = returns;
        }
    } else if error != 0 && record.flags & CONNECT_NONBLOCKING != 0 {
        // What began it (Fast Open, io_uring) has come back, and a native call can end it.
        attempts::remember_failure(address, attempt, error, false);
    }
    let record = &*attempt.record;
    if !ok && u32::from(record.abi) == constant!(arch.compat_abi) {
        attempts::remember_compat_failure(address, record.cookie, error);
    }
    let record = &mut *attempt.record;
    record.header.ktime_ns = now;
    sock::fill_local::<R>(record, sk);
    if pending_first {
        record.result = RESULT_PENDING;
        record.error = EINPROGRESS;
        tell(ctx, record, Hook::TcpEnd, RecordKind::Connect);
        kind = RecordKind::ConnectResult;
    }
    record.result = if ok { RESULT_OK } else { RESULT_FAILED };
    record.error = error;
    record.latency_ns = now.saturating_sub(begun);
    record.flags |= CONNECT_LATENCY;
    tell(ctx, record, Hook::TcpEnd, kind);
    Some(returned)
}

#[inline(always)]
pub(crate) fn destroyed<R: Reader>(ctx: &RawTracePointContext) -> i32 {
    let address = ctx.arg::<u64>(0);
    if !attempts::is_kept::<R>(address) {
        return 0;
    }
    let Some(_guard) = Guard::enter(Hook::TcpDestroy) else { return 0 };
    if let Some(attempt) = attempts::under_way::<R>(address) {
        end_unseen::<R>(ctx, attempt, address);
    }
    attempts::forget::<R>(address);
    0
}

/// Tells an attempt whose end was not seen.
#[inline(always)]
fn end_unseen<R: Reader>(ctx: &RawTracePointContext, attempt: Attempt, address: u64) {
    let record = attempt.record;
    let sk = R::object(address, constant!(types.sock));
    let cookie = sock::cookie::<R>(sk);
    // Where the destruction of the attempt's own socket was skipped as well, this is another one.
    if cookie != record.cookie && cookie != 0 && record.cookie & COOKIE_OWN == 0 {
        return;
    }
    let told = record.flags & CONNECT_TOLD != 0
        || (record.flags & CONNECT_NATIVE != 0 && attempts::claim::<R>(address).is_none());
    record.header.ktime_ns = now_ns();
    sock::fill_local::<R>(record, sk);
    record.result = RESULT_UNSEEN;
    record.error = 0;
    let kind = if told { RecordKind::ConnectResult } else { RecordKind::Connect };
    tell(ctx, record, Hook::TcpDestroy, kind);
}

/// Whether the current task is the attempt's caller and in a native `connect`.
#[inline(always)]
fn is_within_call<R: Reader>(record: &ConnectRecord) -> bool {
    record.task.tid == current_ids().1 && syscall::caller::<R>(R::current()).call == Call::Connect
}

#[inline(always)]
fn tell(_ctx: &RawTracePointContext, record: &mut ConnectRecord, hook: Hook, kind: RecordKind) {
    if record.result != RESULT_FAILED && !filter::successes_wanted() {
        return;
    }
    let Some(number) = Number::take(hook) else { return };
    number.fill(&mut record.header, kind, RECORD_BYTES);
    number.emit(record);
    log::emitted!(_ctx, "tcp", record.header.seq);
}

/// What `connect` was asked: the descriptor, the address and its length.
type Asked = (u32, u64, u32);

#[inline(always)]
pub(crate) fn exit<R: Reader, E: CallExit>(ctx: &E, hook: Hook) -> u32 {
    returned::<R, E>(ctx, hook, |call| Some((call.arg0() as u32, call.arg1(), call.arg2() as u32)))
}

/// `socketcall`, whose first argument says which call it is, and whose second where the arguments of that one lie.
#[inline(always)]
pub(crate) fn socketcall<R: Reader, E: CallExit>(ctx: &E) -> u32 {
    const SYS_CONNECT: u64 = 3;
    returned::<R, E>(ctx, Hook::Ia32Socketcall, |call| {
        if call.arg0() != SYS_CONNECT {
            return None;
        }
        let argument = |at: u64| user_u32(call.arg1().wrapping_add(at * 4));
        Some((argument(0)?, u64::from(argument(1)?), argument(2)?))
    })
}

/// Whether a TCP socket refuses to begin an attempt because it has one, or is connected.
#[inline(always)]
fn no_attempt(error: u32) -> bool {
    error == EALREADY || error == EISCONN
}

#[inline(always)]
fn returned<R: Reader, E: CallExit>(
    ctx: &E,
    hook: Hook,
    asked: impl FnOnce(Arguments<'_, R, { Spans::ARGUMENT_WORDS }>) -> Option<Asked>,
) -> u32 {
    let returned = ctx.result();
    let error = if returned < 0 { returned.wrapping_neg() as u32 } else { 0 };
    // No attempts.
    if error == EBADF || error == ENOTSOCK || error == EFAULT || !filter::wanted::<R>() {
        return 0;
    }
    let task = R::current();
    let Some((descriptor, address, address_len)) =
        asked(ctx.registers().arguments(&mut Room::<{ Spans::ARGUMENT_WORDS }>::new()))
    else {
        return 0;
    };
    let Some((file, sk)) = sock::of_descriptor::<R>(task, descriptor) else { return 0 };
    let Some(scratch) = AddressScratch::get(E::COMPAT) else { return 0 };
    sock::fill_kind::<R>(&mut scratch.record, sk);
    let inet = scratch.record.family == AF_INET || scratch.record.family == AF_INET6;
    // Its subflows are TCP sockets of the kernel's own.
    if inet && scratch.record.protocol == IPPROTO_MPTCP {
        return 0;
    }
    let interrupted = RESTARTS.contains(&error);
    let mut cookie = sock::cookie::<R>(sk);
    // Those of another ABI are told before they are done, see `datagram`.
    if E::COMPAT && inet && scratch.record.socket_type == SOCK_DGRAM {
        return 0;
    }
    if inet && scratch.record.protocol == IPPROTO_TCP {
        let instance = sock::instance::<R>(sk);
        let sk = scratch.number_of(R::address(sk));
        if E::COMPAT {
            // What comes as far as a handshake is told by `begin` and `end`.
            let handshake = error == 0 || error == EINTR || interrupted || error == EINPROGRESS;
            let over = no_attempt(error) || attempts::failure_was_told::<R>(sk, cookie, error);
            if handshake || over || error == ECONNABORTED {
                return 0;
            }
        } else if error == EINPROGRESS {
            if !attempts::is_of::<R>(sk, instance) {
                return 0;
            }
            let Some(claim) = attempts::claim::<R>(sk) else { return 0 };
            cookie = claim.cookie;
        } else if error == 0 || error == EINTR || interrupted {
            attempts::call_is_over::<R>(sk);
            return 0;
        } else if no_attempt(error)
            || attempts::failure_was_told::<R>(sk, cookie, error)
            || error == ECONNABORTED
        {
            return 0;
        } else {
            attempts::forget_of_call::<R>(sk, current_ids().1);
        }
    } else if interrupted {
        return 0;
    }
    if (error == 0 || error == EINPROGRESS) && !filter::successes_wanted() {
        return 0;
    }
    let ktime_ns = now_ns();
    // Somebody else can have given the answer: a seccomp filter, or a tracer.
    let connects = error == EINPROGRESS || (error == 0 && sock::is_connected::<R>(&scratch.record, sk));
    // A socket that has a remote port says itself what it is connected to.
    let says = inet && connects && R::u16(sk, constant!(offsets.sock_dport)) != 0;
    let readable = says || scratch.read_user(address, address_len);
    // This takes a connection away.
    if (inet || error == 0) && !says && readable && scratch.family() == AF_UNSPEC {
        return 0;
    }
    let Some(number) = Number::take(hook) else { return 0 };
    let record = &mut scratch.record;
    record.header.ktime_ns = ktime_ns;
    record.header.missing = 0;
    task::fill::<R, _>(&mut record.task, &mut Room::<{ Spans::CRED_WORDS }>::new());
    task::fill_exe::<R>(&mut record.task);
    record.abi = if E::COMPAT { constant!(arch.compat_abi) } else { constant!(arch.native_abi) } as u16;
    record.cookie = cookie;
    record.latency_ns = 0;
    record.local = [0; 2];
    record.remote = [0; 2];
    record.local_port = 0;
    record.remote_port = 0;
    record.error = error;
    record.flags = sock::nonblocking_file::<R>(file);
    record.result = match error {
        0 if connects => RESULT_OK,
        0 => RESULT_UNSEEN,
        EINPROGRESS => RESULT_PENDING,
        _ => RESULT_FAILED,
    };
    if inet {
        sock::fill_local::<R>(&mut scratch.record, sk);
        if connects {
            sock::fill_remote::<R>(&mut scratch.record, sk);
            scratch.set_text_len(0);
        }
    }
    if !readable && scratch.record.flags & collector_common::CONNECT_REMOTE == 0 {
        scratch.record.header.missing |= missing::CONNECT_REMOTE;
    }
    let text_len = scratch.text_len();
    if text_len > SOCKADDR_BYTES_MAX {
        number.drop(DropReason::Oversize);
        return 0;
    }
    scratch.record.text_len = text_len as u16;
    let len = RECORD_BYTES + text_len;
    number.fill(&mut scratch.record.header, RecordKind::Connect, len);
    scratch.output(number, len);
    0
}
