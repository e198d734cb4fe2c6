//! The absolute path of a dentry across mounts, as the mount namespace names it: names leaf first, each ended by NUL.
//!
//! Names and directories can be renamed while a path is walked, and what is put together then need never have been a
//! path. The kernel counts such changes in each dentry. So a path is walked twice: to take its names, each after its
//! counter, and to look at the counters once more. If they are the same, nothing on the way changed between the two
//! looks, and so the path was as it is told when the first walk ended.

use crate::raw::{NameOffsets, Pathed, Reader, Scratch, config, constant};
use collector_common::{
    PATH_BYTES_MAX, PATH_RACED, PATH_STEPS_MAX, PATH_TRIES_MAX, PATH_TRUNCATED, PATH_UNFINISHED,
    PATH_UNREACHABLE, PATH_WALKS_MAX, PathLen,
};

/// What a walk's trace is multiplied with at each step: odd, and without a pattern.
const TRACE_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Appends the path to the scratch's text.
#[inline(always)]
pub(crate) fn append<R: Reader, K: Pathed>(
    scratch: &mut Scratch<K>,
    vfsmount: R::Ptr,
    dentry: R::Ptr,
) -> PathLen {
    let start = scratch.text_len();
    for _ in 0..u64::from(PATH_TRIES_MAX) {
        scratch.start_path(start);
        scratch.set_path_at(R::address(vfsmount), R::address(dentry));
        let flags = K::walk_path::<R>(true) as u32;
        let (total, trace) = (scratch.path_total(), scratch.path_trace());
        scratch.set_path_at(R::address(vfsmount), R::address(dentry));
        K::walk_path::<R>(false);
        if scratch.path_trace() == trace {
            let truncated = if total > PATH_BYTES_MAX { PATH_TRUNCATED } else { 0 };
            return PathLen { len: scratch.text_len() - start, total, flags: flags | truncated };
        }
    }
    scratch.start_path(start);
    PathLen { len: 0, total: 0, flags: PATH_RACED }
}

/// The body of `Pathed::walk_path`.
#[inline(always)]
pub(crate) fn walk<R: Reader, K: Pathed>(names: bool) -> u32 {
    let Some(scratch) = K::scratch() else { return PATH_TRUNCATED };
    scratch.set_path_trace(0);
    for _ in 0..u64::from(PATH_WALKS_MAX * PATH_STEPS_MAX / K::STEPS) {
        let flags = K::walk_steps::<R>(names) as u32;
        if flags != PATH_UNFINISHED {
            return flags;
        }
    }
    PATH_TRUNCATED
}

/// The body of `Pathed::walk_steps`. The step count is the only thing that changes from step to step as the verifier
/// sees it: positions live in the scratch, offsets are read once.
#[inline(always)]
pub(crate) fn steps<R: Reader, K: Pathed, const NAMES: bool>() -> u32 {
    let Some(scratch) = K::scratch() else { return PATH_TRUNCATED };
    let (vfsmount, dentry) = scratch.path_at();
    let offsets = &config().offsets;
    let types = &config().types;
    let names = NameOffsets::load();
    let dentry_parent = constant(&offsets.dentry_parent);
    let dentry_seq = constant(&offsets.dentry_seq);
    let mount_mnt = constant(&offsets.mount_mnt);
    let mount_parent = constant(&offsets.mount_parent);
    let mount_mountpoint = constant(&offsets.mount_mountpoint);
    let vfsmount_root = constant(&offsets.vfsmount_root);
    let mut dentry = R::object(dentry, constant(&types.dentry));
    let mut mount = R::object(vfsmount.wrapping_sub(u64::from(mount_mnt)), constant(&types.mount));
    let mut root = R::ptr(mount, mount_mnt + vfsmount_root);
    for _ in 0..u64::from(K::STEPS) {
        if R::same(dentry, root) {
            let parent = R::ptr(mount, mount_parent);
            if R::same(parent, mount) {
                return 0;
            }
            dentry = R::ptr(mount, mount_mountpoint);
            // Mounts count nothing.
            scratch.trace_address(R::address(dentry));
            mount = parent;
            root = R::ptr(parent, mount_mnt + vfsmount_root);
            continue;
        }
        // The counter before what it counts, and in the second walk behind it.
        let parent = if NAMES {
            let head = R::head(dentry);
            // Odd while it changes; the second walk cannot find it as it was before.
            scratch.trace(R::head_u32(&head, dentry_seq) & !1);
            let parent = R::head_ptr(&head, dentry_parent);
            scratch.push_name::<R>(dentry, &head, &names);
            parent
        } else {
            let parent = R::ptr(dentry, dentry_parent);
            scratch.trace(R::u32(dentry, dentry_seq));
            parent
        };
        // A dentry that is its own parent and no mount's root: a memfd, or what a detached mount has left.
        if R::same(parent, dentry) {
            return PATH_UNREACHABLE;
        }
        dentry = parent;
    }
    scratch.set_path_at(R::address(mount).wrapping_add(u64::from(mount_mnt)), R::address(dentry));
    PATH_UNFINISHED
}

/// A walk's trace behind a further step.
#[inline(always)]
pub(crate) fn traced(trace: u64, step: u64) -> u64 {
    trace.wrapping_mul(TRACE_FACTOR).wrapping_add(step)
}
