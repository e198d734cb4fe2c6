//! Where opens are put together: those of native system calls, of 32-bit ones and through io_uring have a scratch each, as
//! their programs can come in between each other on one CPU.

use super::reader::{Direct, Portable, Reader};
use super::scratch::{Kept, Pathed};
use crate::prefix;
use collector_common::OpenRecord;
use core::ops::{Deref, DerefMut};

/// An open under construction.
pub(crate) trait Opened: Pathed + DerefMut<Target = OpenRecord> {
    /// Whether the path whose begin its scratch names can be wanted.
    fn path_may_be_wanted<R: Reader>() -> bool;
    /// Whether the path of the open in its scratch is wanted.
    fn path_is_wanted(failed: bool) -> bool;
}

/// A kind of open, and both looks at whether its path is wanted. They are global functions: the verifier walks each once,
/// and not again behind each way through a path walk. `failed` is 0 if the open came out well.
macro_rules! opened {
    ($(#[$doc:meta])* $name:ident, $wanted:ident, $may_direct:ident, $may_portable:ident) => {
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

        // SAFETY: no other symbol of the object has this name.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $may_direct() -> u64 {
            $name::scratch().map_or(0, |scratch| u64::from(prefix::may_begin::<Direct, _>(scratch)))
        }

        // SAFETY: no other symbol of the object has this name.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $may_portable() -> u64 {
            $name::scratch().map_or(0, |scratch| u64::from(prefix::may_begin::<Portable, _>(scratch)))
        }

        impl Opened for $name {
            #[inline(always)]
            fn path_may_be_wanted<R: Reader>() -> bool {
                let may = if R::DIRECT { $may_direct() } else { $may_portable() };
                may != 0
            }

            #[inline(always)]
            fn path_is_wanted(failed: bool) -> bool {
                $wanted(u64::from(failed)) != 0
            }
        }
    };
}

opened! {
    /// One by a system call.
    CallOpen, open_path_is_wanted, open_may_begin_direct, open_may_begin_portable
}
opened! {
    /// One by a 32-bit system call, whose program can be preempted.
    CompatOpen, compat_open_path_is_wanted, compat_open_may_begin_direct, compat_open_may_begin_portable
}
opened! {
    /// One through io_uring.
    RingOpen, ring_open_path_is_wanted, ring_open_may_begin_direct, ring_open_may_begin_portable
}
