//! The absolute path of a dentry across mounts, as the mount namespace names it: names leaf first, each ended by NUL.

use crate::raw::{NameOffsets, Pathed, Reader, Scratch, config, constant};
use collector_common::{
    PATH_BYTES_MAX, PATH_STEPS_MAX, PATH_TRUNCATED, PATH_UNFINISHED, PATH_UNREACHABLE, PATH_WALKS_MAX,
    PathLen,
};

/// Appends the path to the scratch's text.
#[inline(always)]
pub(crate) fn append<R: Reader, K: Pathed>(
    scratch: &mut Scratch<K>,
    vfsmount: R::Ptr,
    dentry: R::Ptr,
) -> PathLen {
    let start = scratch.text_len();
    scratch.start_path(R::address(vfsmount), R::address(dentry));
    let mut flags = PATH_UNFINISHED;
    for _ in 0..u64::from(PATH_WALKS_MAX * PATH_STEPS_MAX / K::STEPS) {
        flags = K::walk_path::<R>() as u32;
        if flags != PATH_UNFINISHED {
            break;
        }
    }
    if flags == PATH_UNFINISHED {
        flags = PATH_TRUNCATED;
    }
    let total = scratch.path_total();
    let truncated = if total > PATH_BYTES_MAX { PATH_TRUNCATED } else { 0 };
    PathLen { len: scratch.text_len() - start, total, flags: flags | truncated }
}

/// The body of `Pathed::walk_path`. The step count is the only thing that changes from step to step as the verifier
/// sees it: positions live in the scratch, offsets are read once.
#[inline(always)]
pub(crate) fn walk<R: Reader, K: Pathed>() -> u32 {
    let Some(scratch) = K::scratch() else { return PATH_TRUNCATED };
    let (vfsmount, dentry) = scratch.path_at();
    let offsets = &config().offsets;
    let types = &config().types;
    let names = NameOffsets::load();
    let dentry_parent = constant(&offsets.dentry_parent);
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
            mount = parent;
            root = R::ptr(parent, mount_mnt + vfsmount_root);
            continue;
        }
        let parent = R::ptr(dentry, dentry_parent);
        scratch.push_name::<R>(dentry, &names);
        // A dentry that is its own parent and no mount's root: a memfd, or what a detached mount has left.
        if R::same(parent, dentry) {
            return PATH_UNREACHABLE;
        }
        dentry = parent;
    }
    scratch.set_path_at(R::address(mount).wrapping_add(u64::from(mount_mnt)), R::address(dentry));
    PATH_UNFINISHED
}
