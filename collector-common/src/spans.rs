//! What probe reads take of a kernel object at once: fields that lie near each other. Resolved by userspace before the
//! load, as [`Offsets`] are.

use crate::offsets::Offsets;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Whole words of an object, from the first of some fields to the last. None lies behind the object's end, where there
/// need not be memory.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Span {
    /// Offset of the first word.
    pub start: u32,
    /// Bytes of all words.
    pub bytes: u32,
}

impl Span {
    /// Nothing.
    pub const NONE: Self = Self { start: 0, bytes: 0 };

    /// Of fields of at most 8 bytes; those that the kernel does not have are left out.
    pub fn over(fields: &[u32]) -> Self {
        let present = || fields.iter().copied().filter(|&field| field != Offsets::ABSENT);
        let (Some(first), Some(last)) = (present().min(), present().max()) else { return Self::NONE };
        let start = first & !7;
        Self { start, bytes: (last & !7) + 8 - start }
    }
}

/// The spans that are read. A program has room for those of usual kernels; what is left out where one is larger (where
/// locks are checked, say) is read field by field.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Spans {
    /// `struct task_struct`: whose child it is, and its pid.
    pub family: Span,
    /// `struct task_struct`: from its credentials to its audit session.
    pub own: Span,
    /// `struct cred`
    pub cred: Span,
    /// `struct nsproxy`
    pub nsproxy: Span,
    /// `struct file`
    pub file: Span,
    /// `struct inode`
    pub inode: Span,
    /// `struct mount`
    pub mount: Span,
    /// `struct dentry` with its name.
    pub name: Span,
    /// `struct dentry` without it.
    pub look: Span,
    /// `struct pt_regs`: the arguments of a native call.
    pub arguments: Span,
    /// `struct pt_regs`: those of a 32-bit call.
    pub compat_arguments: Span,
}

impl Spans {
    /// Words of room for [`Spans::family`].
    pub const FAMILY_WORDS: usize = 12;
    /// For all that is read of a task and what belongs to it. What has less room has [`Spans::CRED_WORDS`].
    pub const OWN_WORDS: usize = 28;
    /// For [`Spans::cred`].
    pub const CRED_WORDS: usize = 18;
    /// For [`Spans::inode`].
    pub const INODE_WORDS: usize = 4;
    /// For [`Spans::mount`].
    pub const MOUNT_WORDS: usize = 3;
    /// For [`Spans::name`].
    pub const NAME_WORDS: usize = 12;
    /// For [`Spans::look`].
    pub const LOOK_WORDS: usize = 4;
    /// For arguments (x86).
    pub const ARGUMENT_WORDS: usize = 10;

    /// Nothing.
    pub const NONE: Self = Self {
        family: Span::NONE,
        own: Span::NONE,
        cred: Span::NONE,
        nsproxy: Span::NONE,
        file: Span::NONE,
        inode: Span::NONE,
        mount: Span::NONE,
        name: Span::NONE,
        look: Span::NONE,
        arguments: Span::NONE,
        compat_arguments: Span::NONE,
    };

    /// Those of a kernel, whose dentries hold names of so many words.
    pub fn of(at: &Offsets, inline_name_words: u32) -> Self {
        let inline_end = at.dentry_inline.saturating_add((inline_name_words * 8).saturating_sub(8));
        Self {
            family: Span::over(&[at.task_real_parent, at.task_group_leader, at.task_thread_pid]),
            own: Span::over(&[at.task_cred, at.task_nsproxy, at.task_loginuid, at.task_sessionid]),
            cred: Span::over(&[
                at.cred_uid,
                at.cred_gid,
                at.cred_euid,
                at.cred_egid,
                at.cred_cap_effective,
                at.cred_user_ns,
            ]),
            nsproxy: Span::over(&[at.nsproxy_mnt_ns, at.nsproxy_net_ns]),
            file: Span::over(&[at.file_mode, at.file_mnt, at.file_dentry, at.file_inode]),
            inode: Span::over(&[at.inode_ino, at.inode_sb]),
            mount: Span::over(&[
                at.mount_parent,
                at.mount_mountpoint,
                at.mount_mnt.saturating_add(at.vfsmount_root),
            ]),
            name: Span::over(&[
                at.dentry_seq,
                at.dentry_parent,
                at.dentry_name_len,
                at.dentry_name,
                at.dentry_inline,
                inline_end,
            ]),
            look: Span::over(&[at.dentry_seq, at.dentry_parent]),
            arguments: Span::over(&[at.regs_arg0, at.regs_arg1, at.regs_arg2, at.regs_arg3]),
            compat_arguments: Span::over(&[at.regs_compat0, at.regs_compat1, at.regs_arg1, at.regs_arg2]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_holds_every_field_that_there_is_and_whole_words_alone() {
        assert_eq!(Span::over(&[20, 4]), Span { start: 0, bytes: 24 });
        assert_eq!(Span::over(&[16, Offsets::ABSENT, 40]), Span { start: 16, bytes: 32 });
        assert_eq!(Span::over(&[8]), Span { start: 8, bytes: 8 });
        assert_eq!(Span::over(&[Offsets::ABSENT]), Span::NONE);
    }
}
