//! The absolute path of a dentry across mounts, as the mount namespace names it: names leaf first, each ended by NUL.

use crate::raw::{ExecScratch, Reader, config, constant};
use collector_common::{PATH_COMPONENTS_MAX, PATH_TRUNCATED, PATH_UNREACHABLE, PathLen};

/// Appends the path to the scratch's text.
#[inline(always)]
pub(crate) fn append<R: Reader>(scratch: &mut ExecScratch, vfsmount: R::Ptr, dentry: R::Ptr) -> PathLen {
    let start = scratch.text_len();
    scratch.start_path();
    let flags = walk::<R>(scratch, vfsmount, dentry);
    PathLen { len: scratch.text_len() - start, total: scratch.path_total(), flags }
}

#[inline(always)]
fn walk<R: Reader>(scratch: &mut ExecScratch, vfsmount: R::Ptr, mut dentry: R::Ptr) -> u32 {
    let offsets = &config().offsets;
    let mount_mnt = constant(&offsets.mount_mnt);
    let mut mount = R::object(R::address(vfsmount).wrapping_sub(u64::from(mount_mnt)), constant(&config().types.mount));
    let mut root = R::ptr(vfsmount, constant(&offsets.vfsmount_root));
    let mut truncated = 0;
    for _ in 0..PATH_COMPONENTS_MAX {
        if R::same(dentry, root) {
            let parent = R::ptr(mount, constant(&offsets.mount_parent));
            if R::same(parent, mount) {
                return truncated;
            }
            dentry = R::ptr(mount, constant(&offsets.mount_mountpoint));
            mount = parent;
            root = R::ptr(parent, mount_mnt + constant(&offsets.vfsmount_root));
            continue;
        }
        let parent = R::ptr(dentry, constant(&offsets.dentry_parent));
        if R::same(parent, dentry) {
            return truncated | PATH_UNREACHABLE;
        }
        if !scratch.push_name::<R>(dentry) {
            truncated = PATH_TRUNCATED;
        }
        dentry = parent;
    }
    PATH_TRUNCATED
}
