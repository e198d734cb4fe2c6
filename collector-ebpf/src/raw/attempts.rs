//! TCP attempts under way, by the address of their socket: who asked, who is to tell, and which failures were told.
//!
//! An attempt has a slot of its own, if no other has it and the kernel has the instruction that takes one (which those
//! with direct readers have): it is found by an index, and neither copied nor hashed. All others are kept in hash maps.

use super::constant;
use super::number::Number;
use super::reader::Reader;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use collector_common::{ConnectRecord, DropReason, Hook};
use core::arch::asm;
use core::ptr::{null_mut, read_volatile, write_volatile};

/// Failures remembered until the call that returns them has ended.
const TOLD_MAX: u32 = 4096;
/// Bit of [`Claim::flags`]: the call that began the attempt is over.
pub(crate) const CALL_OVER: u64 = 1;

/// Stands for each errno.
pub(crate) const ANY_ERROR: u32 = u32::MAX;

/// Bits of a slot's index.
const SLOT_BITS: u32 = 10;

#[map]
static SLOTS: Array<Slot> = Array::with_max_entries(1 << SLOT_BITS, 0);

/// Where an attempt that has no slot is put together. `TcpBegin` runs in tasks alone and is not entered twice on one CPU.
#[map]
static BEGIN_SCRATCH: PerCpuArray<ConnectRecord> = PerCpuArray::with_max_entries(1, 0);

/// One attempt. Whoever reads or writes it has found its own socket's address in it. That socket is locked by each
/// program but the exit of `connect`, and the exit of a call that waits comes behind them all.
#[repr(C)]
struct Slot {
    /// The socket's address; 0 if the slot is free.
    sk: u64,
    /// The attempt's cookie as long as it is to be claimed, else 0.
    claim: u64,
    /// The attempt's cookie when the call that began it is over.
    over: u64,
    /// The errno that was told, until the call that returns it has ended. It may never: then until the socket is
    /// destroyed, or has its next attempt.
    told: u64,
    /// Not 0 once an attempt has found the slot another's, and was put into the maps: a socket of this slot can be there.
    shared: u64,
    /// As in [`ATTEMPTS`].
    record: ConnectRecord,
}

/// Attempts that are not decided: what their record says so far. Its time is that of the begin, and in place of the
/// latency stands which socket it is (`sock::instance`). The loader sets the size of this map and of the next.
#[map]
static ATTEMPTS: HashMap<u64, ConnectRecord> = HashMap::with_max_entries(1, 0);

/// Attempts of native calls that are not told yet. Two programs can find that one is theirs to tell, on two CPUs at
/// once; deleting the entry decides.
#[map]
static CLAIMS: HashMap<u64, Claim> = HashMap::with_max_entries(1, 0);

/// Failures told when they happened: the cookie of the socket and the errno. The call that returns the errno finds it
/// here.
#[map]
static TOLD: LruHashMap<u64, [u64; 2]> = LruHashMap::with_max_entries(TOLD_MAX, 0);

/// 1 if the exits of 32-bit calls are hooked: failures of theirs are remembered for nobody else.
#[map]
static COMPAT_EXITS: Array<u32> = Array::with_max_entries(1, 0);

/// The right to tell an attempt.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    /// The socket's cookie as the attempt has it.
    pub(crate) cookie: u64,
    /// [`CALL_OVER`]
    pub(crate) flags: u64,
}

/// The slot that a socket's attempt has or may have.
#[inline(always)]
fn slot<R: Reader>(sk: u64) -> Option<*mut Slot> {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    if !R::DIRECT {
        return None;
    }
    SLOTS.get_ptr_mut((sk.wrapping_mul(FACTOR) >> (64 - SLOT_BITS)) as u32)
}

/// The slot that a socket's attempt has.
#[inline(always)]
fn slot_had<R: Reader>(sk: u64) -> Option<*mut Slot> {
    // SAFETY: the slot is a map's value.
    slot::<R>(sk).filter(|slot| unsafe { read_volatile(&raw const (**slot).sk) } == sk)
}

/// Puts `new` where `old` is, atomically: whether it was there. The compiler knows no atomics for this target.
///
/// # Safety
/// The word is writable and aligned.
#[inline(always)]
unsafe fn exchange(word: *mut u64, old: u64, new: u64) -> bool {
    let seen: u64;
    // SAFETY: one instruction (5.12 and newer) that touches the word alone.
    unsafe {
        asm!("r0 = cmpxchg_64({word} + 0, r0, {new})", inout("r0") old => seen, word = in(reg) word, new = in(reg) new);
    }
    seen == old
}

/// An attempt's record, and its slot or null.
pub(crate) struct Attempt {
    pub(crate) record: &'static mut ConnectRecord,
    slot: *mut Slot,
}

/// Gives the place where an attempt is put together.
#[inline(always)]
pub(crate) fn place<R: Reader>(sk: u64) -> Option<Attempt> {
    if let Some(slot) = slot::<R>(sk) {
        // SAFETY: the slot is a map's value.
        let holder = unsafe { read_volatile(&raw const (*slot).sk) };
        // What is left there of this socket's is over: a socket has one attempt at a time.
        // SAFETY: as above.
        if holder == sk || (holder == 0 && unsafe { exchange(&raw mut (*slot).sk, 0, sk) }) {
            // SAFETY: any bytes are a record; the slot is this attempt's until it is given up.
            return Some(Attempt { record: unsafe { &mut (*slot).record }, slot });
        }
        // SAFETY: as above; nobody writes anything else there.
        unsafe { write_volatile(&raw mut (*slot).shared, 1) };
    }
    // SAFETY: any bytes are a record, and this is the only reference to it.
    BEGIN_SCRATCH.get_ptr_mut(0).map(|record| Attempt { record: unsafe { &mut *record }, slot: null_mut() })
}

/// Keeps an attempt until it is decided. If there is no room it takes a number, and counts it as lost.
#[inline(always)]
pub(crate) fn begin(sk: u64, attempt: &Attempt, claimed: bool) -> bool {
    let cookie = attempt.record.cookie;
    if !attempt.slot.is_null() {
        // SAFETY: the slot is this attempt's.
        unsafe {
            write_volatile(&raw mut (*attempt.slot).claim, if claimed { cookie } else { 0 });
            write_volatile(&raw mut (*attempt.slot).over, 0);
            write_volatile(&raw mut (*attempt.slot).told, 0);
        }
        return true;
    }
    let claim = Claim { cookie, flags: 0 };
    if ATTEMPTS.insert(&sk, &*attempt.record, 0).is_ok() {
        if !claimed || CLAIMS.insert(&sk, &claim, 0).is_ok() {
            return true;
        }
        let _ = ATTEMPTS.remove(&sk);
    }
    if let Some(number) = Number::take(Hook::TcpBegin) {
        number.drop(DropReason::MapFull);
    }
    false
}

/// The attempt of a socket. It is used by one program at a time: the socket is locked while its state changes.
#[inline(always)]
pub(crate) fn under_way<R: Reader>(sk: u64) -> Option<Attempt> {
    if let Some(slot) = slot_had::<R>(sk) {
        // SAFETY: the slot is this socket's.
        if unsafe { read_volatile(&raw const (*slot).told) } != 0 {
            return None;
        }
        // SAFETY: any bytes are a record; the slot is this attempt's until `end`, which the caller calls last.
        return Some(Attempt { record: unsafe { &mut (*slot).record }, slot });
    }
    // SAFETY: any bytes are a record; the entry stays until `end`, which the caller calls last.
    ATTEMPTS.get_ptr_mut(&sk).map(|record| Attempt { record: unsafe { &mut *record }, slot: null_mut() })
}

/// Whether anything is kept of a socket. Most sockets that go have no attempt, and the maps are asked only if one of this
/// socket's slot was ever put there.
#[inline(always)]
pub(crate) fn is_kept<R: Reader>(sk: u64) -> bool {
    if let Some(slot) = slot::<R>(sk) {
        // SAFETY: the slot is a map's value.
        if unsafe { read_volatile(&raw const (*slot).sk) } == sk {
            return true;
        }
        // SAFETY: as above.
        if unsafe { read_volatile(&raw const (*slot).shared) } == 0 {
            return false;
        }
    }
    ATTEMPTS.get_ptr(&sk).is_some()
}

/// Forgets the attempt that was begun by the call that returns now, which tells that it has failed. It is still kept
/// only if its end was not seen.
#[inline(always)]
pub(crate) fn forget_of_call<R: Reader>(sk: u64, tid: u32) {
    let (record, goes_on) = if let Some(slot) = slot_had::<R>(sk) {
        // SAFETY: the slot is a map's value.
        let claim = unsafe { read_volatile(&raw const (*slot).claim) };
        // SAFETY: as above.
        let over = unsafe { read_volatile(&raw const (*slot).over) };
        // SAFETY: as above.
        (unsafe { &raw const (*slot).record }, claim == 0 || claim == over)
    } else {
        let Some(record) = ATTEMPTS.get_ptr(&sk) else { return };
        // SAFETY: the entry is read at once.
        (record, unsafe { CLAIMS.get(&sk) }.is_none_or(|claim| claim.flags & CALL_OVER != 0))
    };
    // SAFETY: the record is a map's value.
    if !goes_on && unsafe { read_volatile(&raw const (*record).task.tid) } == tid {
        forget::<R>(sk);
    }
}

/// Whether the attempt that is kept of a socket, if one is, was made by this very socket: `instance` is as it was at the
/// attempt's begin. Anything else lay at the same address and was not seen to end; what lies there now can be any socket,
/// also one that a listener has made. Asked only where programs are skipped.
#[inline(always)]
pub(crate) fn is_of<R: Reader>(sk: u64, instance: u64) -> bool {
    if constant!(preempts_tracepoints) == 0 {
        return true;
    }
    let kept = if let Some(slot) = slot_had::<R>(sk) {
        // SAFETY: the slot is a map's value.
        Some(unsafe { read_volatile(&raw const (*slot).record.latency_ns) })
    } else {
        // SAFETY: the entry is read at once.
        ATTEMPTS.get_ptr_mut(&sk).map(|record| unsafe { read_volatile(&raw const (*record).latency_ns) })
    };
    kept.is_none_or(|kept| kept == instance)
}

/// Forgets the attempt that is kept of a socket.
#[inline(always)]
pub(crate) fn forget<R: Reader>(sk: u64) {
    if let Some(slot) = slot_had::<R>(sk) {
        // SAFETY: the slot is a map's value.
        unsafe { write_volatile(&raw mut (*slot).sk, 0) };
    } else {
        let _ = CLAIMS.remove(&sk);
        let _ = ATTEMPTS.remove(&sk);
    }
}

/// Forgets an attempt, but not that the call that began it, and goes on, will return a failure that was told.
#[inline(always)]
pub(crate) fn end(sk: u64, attempt: &Attempt, returned: u32) {
    if attempt.slot.is_null() {
        let _ = ATTEMPTS.remove(&sk);
        return;
    }
    // SAFETY: the slot is this attempt's.
    unsafe {
        if returned == 0 {
            write_volatile(&raw mut (*attempt.slot).sk, 0);
        } else {
            write_volatile(&raw mut (*attempt.slot).told, u64::from(returned));
        }
    }
}

/// Whether an attempt is still to be told by the exit of its call.
#[inline(always)]
pub(crate) fn awaits_exit<R: Reader>(sk: u64) -> bool {
    if let Some(slot) = slot_had::<R>(sk) {
        // SAFETY: the slot is a map's value.
        let claim = unsafe { read_volatile(&raw const (*slot).claim) };
        // SAFETY: as above.
        return claim != 0 && unsafe { read_volatile(&raw const (*slot).over) } != claim;
    }
    // SAFETY: the entry is read at once.
    unsafe { CLAIMS.get(&sk) }.is_some_and(|claim| claim.flags & CALL_OVER == 0)
}

/// Takes the right to tell an attempt; `None` if it is told already, or was never to be claimed.
#[inline(always)]
pub(crate) fn claim<R: Reader>(sk: u64) -> Option<Claim> {
    if let Some(slot) = slot_had::<R>(sk) {
        // SAFETY: the slot is a map's value.
        let cookie = unsafe { read_volatile(&raw const (*slot).claim) };
        // SAFETY: as above.
        let over = unsafe { read_volatile(&raw const (*slot).over) };
        // SAFETY: as above.
        let claimed = cookie != 0 && unsafe { exchange(&raw mut (*slot).claim, cookie, 0) };
        return claimed.then_some(Claim { cookie, flags: if over == cookie { CALL_OVER } else { 0 } });
    }
    // SAFETY: the entry is copied at once.
    let claim = unsafe { CLAIMS.get(&sk) }.copied()?;
    CLAIMS.remove(&sk).ok().map(|()| claim)
}

/// Notes that the call that began an attempt is over, and has not told it.
#[inline(always)]
pub(crate) fn call_is_over<R: Reader>(sk: u64) {
    if let Some(slot) = slot_had::<R>(sk) {
        // SAFETY: the slot is a map's value; if it is another attempt's meanwhile, that one has another cookie.
        unsafe { write_volatile(&raw mut (*slot).over, read_volatile(&raw const (*slot).claim)) };
    } else if let Some(claim) = CLAIMS.get_ptr_mut(&sk) {
        // SAFETY: the entry is a map's value; if it was deleted meanwhile, nobody reads what is written.
        unsafe { (&raw mut (*claim).flags).write_volatile(CALL_OVER) };
    }
}

/// Remembers a failure that is told. Whether a slot is to do that: see [`end`].
#[inline(always)]
pub(crate) fn remember_failure(sk: u64, attempt: &Attempt, error: u32, returns_now: bool) -> bool {
    if returns_now && !attempt.slot.is_null() {
        return true;
    }
    let _ = TOLD.insert(&sk, &[attempt.record.cookie, u64::from(error)], 0);
    false
}

/// Remembers a told failure of a 32-bit call, whose exit finds it here. An errno of 0 is any: the socket has not said with
/// what the call will fail.
#[inline(always)]
pub(crate) fn remember_compat_failure(sk: u64, cookie: u64, error: u32) {
    let Some(hooked) = COMPAT_EXITS.get_ptr(0) else { return };
    // SAFETY: the entry is a map's value; userspace writes it before the exits are hooked.
    if unsafe { read_volatile(hooked) } == 0 {
        return;
    }
    let error = if error == 0 { ANY_ERROR } else { error };
    let _ = TOLD.insert(&sk, &[cookie, u64::from(error)], 0);
}

/// Whether this failure of this socket was told before; forgets it. `cookie` is 0 where the kernel has made none.
#[inline(always)]
pub(crate) fn failure_was_told<R: Reader>(sk: u64, cookie: u64, error: u32) -> bool {
    let mut told = [0; 2];
    if let Some(slot) = slot_had::<R>(sk) {
        // SAFETY: the slot is this socket's, whose call has returned.
        unsafe {
            told = [read_volatile(&raw const (*slot).record.cookie), read_volatile(&raw const (*slot).told)];
            if told[1] != 0 {
                write_volatile(&raw mut (*slot).sk, 0);
            }
        }
    }
    if told[1] == 0 {
        // SAFETY: the entry is copied at once.
        let Some(kept) = unsafe { TOLD.get(&sk) }.copied() else { return false };
        let _ = TOLD.remove(&sk);
        told = kept;
    }
    (told[1] == u64::from(error) || told[1] == u64::from(ANY_ERROR)) && (cookie == 0 || cookie == told[0])
}
