//! TCP attempts under way, by the address of their socket: who asked, who is to tell, and which failures were told.

use super::number::Number;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, LruHashMap};
use collector_common::{ConnectRecord, DropReason, Hook};

/// Failures remembered until the call that returns them has ended.
const TOLD_MAX: u32 = 4096;
/// Bit of [`Claim::flags`]: the call that began the attempt is over.
pub(crate) const CALL_OVER: u64 = 1;

/// Attempts that are not decided: what their record says so far. Its time is that of the begin. The loader sets the
/// size of this map and of the next.
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

/// The right to tell an attempt.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    /// The socket's cookie as the attempt has it.
    pub(crate) cookie: u64,
    /// [`CALL_OVER`]
    pub(crate) flags: u64,
}

/// Keeps an attempt until it is decided. If there is no room it takes a number, and counts it as lost.
#[inline(always)]
pub(crate) fn begin(sk: u64, record: &ConnectRecord, claimed: bool) -> bool {
    let claim = Claim { cookie: record.cookie, flags: 0 };
    if ATTEMPTS.insert(&sk, record, 0).is_ok() {
        if !claimed || CLAIMS.insert(&sk, &claim, 0).is_ok() {
            return true;
        }
        end(sk);
    }
    if let Some(number) = Number::take(Hook::TcpBegin) {
        number.drop(DropReason::MapFull);
    }
    false
}

/// The attempt of a socket. Its entry is used by one program at a time: the socket is locked while its state changes.
#[inline(always)]
pub(crate) fn under_way(sk: u64) -> Option<&'static mut ConnectRecord> {
    // SAFETY: any bytes are a `ConnectRecord`; the entry stays until `end`, which the caller calls last.
    ATTEMPTS.get_ptr_mut(&sk).map(|record| unsafe { &mut *record })
}

/// Forgets an attempt.
#[inline(always)]
pub(crate) fn end(sk: u64) {
    let _ = ATTEMPTS.remove(&sk);
}

/// Takes the right to tell an attempt; `None` if it is told already, or was never to be claimed.
#[inline(always)]
pub(crate) fn claim(sk: u64) -> Option<Claim> {
    // SAFETY: the entry is copied at once.
    let claim = unsafe { CLAIMS.get(&sk) }.copied()?;
    CLAIMS.remove(&sk).ok().map(|()| claim)
}

/// Notes that the call that began an attempt is over, and has not told it.
#[inline(always)]
pub(crate) fn call_is_over(sk: u64) {
    if let Some(claim) = CLAIMS.get_ptr_mut(&sk) {
        // SAFETY: the entry is a map's value; if it was deleted meanwhile, nobody reads what is written.
        unsafe { (&raw mut (*claim).flags).write_volatile(CALL_OVER) };
    }
}

/// Remembers a failure that is told.
#[inline(always)]
pub(crate) fn remember_failure(sk: u64, cookie: u64, error: u32) {
    let _ = TOLD.insert(&sk, &[cookie, u64::from(error)], 0);
}

/// Whether this failure of this socket was told before; forgets it. `cookie` is 0 where the kernel has made none.
#[inline(always)]
pub(crate) fn failure_was_told(sk: u64, cookie: u64, error: u32) -> bool {
    // SAFETY: the entry is copied at once.
    let Some([told_cookie, told_error]) = unsafe { TOLD.get(&sk) }.copied() else { return false };
    let _ = TOLD.remove(&sk);
    told_error == u64::from(error) && (cookie == 0 || cookie == told_cookie)
}
