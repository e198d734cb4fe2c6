//! Where a dentry keeps its name.

use super::constant;
use super::reader::Reader;

/// Offsets of what a name is read from.
#[derive(Clone, Copy)]
pub(crate) struct NameOffsets {
    pub(super) len: u32,
    pub(super) inline: u32,
    pub(super) external: u32,
}

impl NameOffsets {
    #[inline(always)]
    pub(crate) fn load() -> Self {
        Self {
            len: constant!(offsets.dentry_name_len),
            inline: constant!(offsets.dentry_inline),
            external: constant!(offsets.dentry_name),
        }
    }

    /// The same, kept by typed readers and had anew by probe reads, whose registers are few.
    #[inline(always)]
    pub(crate) fn at_hand<R: Reader>(self) -> Self {
        if R::DIRECT { self } else { Self::load() }
    }

    /// The first 8 bytes of a name that the dentry holds itself.
    #[inline(always)]
    pub(crate) fn short<R: Reader>(&self, dentry: R::Ptr) -> Option<u64> {
        let room = constant!(inline_name_words) * 8;
        (R::u32(dentry, self.len) < room).then(|| R::u64(dentry, self.inline))
    }
}
