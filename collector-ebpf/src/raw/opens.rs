//! Where opens are put together: those of native system calls, of 32-bit ones and through io_uring have a scratch each, as
//! their programs can come in between each other on one CPU.

use super::scratch::{Kept, Pathed};
use crate::prefix;
use collector_common::OpenRecord;
use core::ops::{Deref, DerefMut};

/// An open under construction.
pub(crate) trait Opened: Pathed + DerefMut<Target = OpenRecord> {
    /// Whether the path of the open in its scratch is wanted.
    fn path_is_wanted(failed: bool) -> bool;
}

/// A kind of open, and the comparison of its path with the wanted prefixes. That is a global function: the verifier walks
/// it once, and not again behind each way through a path walk. `failed` is 0 if the open came out well.
macro_rules! opened {
    ($(#[$doc:meta])* $name:ident, $wanted:ident) => {
        $(#[$doc])*
        #[repr(transparent)]
        pub(crate) struct $name(OpenRecord);

        impl Deref for $name {
            type Target = OpenRecord;

            #[inline(always)]
            fn deref(&self) -> &OpenRecord {
                &self.0
            }
        }

        impl DerefMut for $name {
            #[inline(always)]
            fn deref_mut(&mut self) -> &mut OpenRecord {
                &mut self.0
            }
        }

        // SAFETY: no other symbol of the object has this name.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $wanted(failed: u64) -> u64 {
            let Some(scratch) = $name::scratch() else { return 0 };
            u64::from(prefix::is_wanted(scratch, failed != 0))
        }

        impl Opened for $name {
            #[inline(always)]
            fn path_is_wanted(failed: bool) -> bool {
                $wanted(u64::from(failed)) != 0
            }
        }
    };
}

opened! {
    /// One by a system call.
    CallOpen, open_path_is_wanted
}
opened! {
    /// One by a 32-bit system call, whose program can be preempted.
    CompatOpen, compat_open_path_is_wanted
}
opened! {
    /// One through io_uring.
    RingOpen, ring_open_path_is_wanted
}
