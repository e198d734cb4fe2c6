//! The absolute path of a dentry across mounts, as the mount namespace names it: names leaf first, each ended by NUL.
//!
//! Names and directories can be renamed while a path is walked, and what is put together then need never have been a
//! path. The kernel counts such changes in each dentry. So a path is walked twice: to take its names, each after its
//! counter, and to look at the counters once more. If they are the same, nothing on the way changed between the two
//! looks, and so the path was as it is told when the first walk ended. What that walk read last, the mount of all, needs
//! no second look.

use crate::raw::{Fields as _, NameOffsets, Pathed, Reader, Room, Scratch, constant, span};
use collector_common::{
    PATH_BYTES_MAX, PATH_RACED, PATH_STEPS_MAX, PATH_TRIES_MAX, PATH_TRUNCATED, PATH_UNFINISHED,
    PATH_UNREACHABLE, PATH_WALKS_MAX, PathLen, Spans,
};

/// What a walk's trace is multiplied with at each step: odd, and without a pattern.
const TRACE_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// Room for a dentry from its counter to behind the name that it holds itself.
type DentryRoom = Room<{ Spans::NAME_WORDS }>;
/// Room for one from its counter to the directory above.
type LookRoom = Room<{ Spans::LOOK_WORDS }>;
/// Room for a mount from the one it is mounted on to its root.
type MountRoom = Room<{ Spans::MOUNT_WORDS }>;

/// Appends a path to the scratch's text.
#[inline(always)]
pub(crate) fn append<R: Reader, K: Pathed>(
    scratch: &mut Scratch<K>,
    vfsmount: R::Ptr,
    dentry: R::Ptr,
) -> PathLen {
    scratch.set_path_from(R::address(vfsmount), R::address(dentry));
    append_named::<R, K>(scratch)
}

/// Appends the path whose begin the scratch names.
#[inline(always)]
pub(crate) fn append_named<R: Reader, K: Pathed>(scratch: &mut Scratch<K>) -> PathLen {
    let start = scratch.text_len();
    for _ in 0..u64::from(PATH_TRIES_MAX) {
        scratch.start_path(start);
        let mut flags = K::walk_short::<R>() as u32;
        if flags == PATH_UNFINISHED {
            scratch.start_path(start);
            flags = K::walk_long::<R>() as u32;
        }
        if flags != PATH_RACED {
            let total = scratch.path_total();
            let truncated = if total > PATH_BYTES_MAX { PATH_TRUNCATED } else { 0 };
            return PathLen { len: scratch.text_len() - start, total, flags: flags | truncated };
        }
    }
    scratch.start_path(start);
    PathLen { len: 0, total: 0, flags: PATH_RACED }
}

/// The body of `Pathed::walk_short`: both walks of a path that ends within the steps of one call, as most do.
#[inline(always)]
pub(crate) fn short<R: Reader, K: Pathed>() -> u32 {
    let Some(scratch) = K::scratch() else { return PATH_TRUNCATED };
    let from = scratch.path_from();
    let mut walk = Walk::<R>::at(from, 0);
    let flags = walk.names(scratch);
    if flags == PATH_UNFINISHED {
        return flags;
    }
    let trace = walk.trace;
    let mut again = Walk::<R>::at(from, 0);
    again.end = Some((walk.mount, if flags == 0 { walk.dentry } else { R::at(0) }));
    again.counters(scratch);
    if again.trace == trace { flags } else { PATH_RACED }
}

/// The first 8 bytes of the name with which the path begins that the scratch names; whether they are `unwanted`, and no
/// name and no directory changed while they were looked for. False also where the path does not end within the steps of
/// one call, or its begin is a long name.
#[inline(always)]
pub(crate) fn begins<R: Reader, K: Pathed>(
    scratch: &mut Scratch<K>,
    unwanted: impl FnOnce(u64) -> bool,
) -> bool {
    let from = scratch.path_from();
    let mut walk = Walk::<R>::at(from, 0);
    if !walk.first_bytes(scratch).is_some_and(unwanted) {
        return false;
    }
    let mut again = Walk::<R>::at(from, 0);
    again.end = Some((walk.mount, walk.dentry));
    again.counters(scratch);
    again.trace == walk.trace
}

/// The body of `Pathed::walk_long`.
#[inline(always)]
pub(crate) fn long<R: Reader, K: Pathed>() -> u32 {
    let Some(scratch) = K::scratch() else { return PATH_TRUNCATED };
    let flags = calls::<R, K>(scratch, true);
    let trace = scratch.path_trace();
    calls::<R, K>(scratch, false);
    if scratch.path_trace() == trace { flags } else { PATH_RACED }
}

#[inline(always)]
fn calls<R: Reader, K: Pathed>(scratch: &mut Scratch<K>, names: bool) -> u32 {
    let (vfsmount, dentry) = scratch.path_from();
    scratch.set_path_at(vfsmount, dentry);
    scratch.set_path_trace(0);
    for _ in 0..u64::from(PATH_WALKS_MAX * PATH_STEPS_MAX / K::STEPS) {
        let flags = K::walk_steps::<R>(names) as u32;
        if flags != PATH_UNFINISHED {
            return flags;
        }
    }
    PATH_TRUNCATED
}

/// The body of `Pathed::walk_steps`.
#[inline(always)]
pub(crate) fn steps<R: Reader, K: Pathed>(names: bool) -> u32 {
    let Some(scratch) = K::scratch() else { return PATH_TRUNCATED };
    let mut walk = Walk::<R>::at(scratch.path_at(), scratch.path_trace());
    let flags = if names { walk.names(scratch) } else { walk.counters(scratch) };
    scratch.set_path_trace(walk.trace);
    scratch.set_path_at(
        R::address(walk.mount).wrapping_add(u64::from(constant!(offsets.mount_mnt))),
        R::address(walk.dentry),
    );
    flags
}

/// A walk, and where it has come to. As the verifier sees it, the step count is the only thing that changes from step to
/// step: positions and the trace are numbers of which it knows nothing from the begin on.
struct Walk<R: Reader> {
    mount: R::Ptr,
    /// Root of the mount.
    root: R::Ptr,
    /// The mount it is mounted on, and where: for probe reads, which take all three at once.
    mounted: (R::Ptr, R::Ptr),
    dentry: R::Ptr,
    /// The mount at whose root an earlier walk ended, and that root: probe reads leave out what it read last.
    end: Option<(R::Ptr, R::Ptr)>,
    /// What it has seen, in one number.
    trace: u64,
    dentries: DentryOffsets,
    mounts: MountOffsets,
}

/// What each step needs. Typed readers keep it, and probe reads, whose registers are few, have it anew each time.
#[derive(Clone, Copy)]
struct DentryOffsets {
    parent: u32,
    seq: u32,
}

impl DentryOffsets {
    #[inline(always)]
    fn load() -> Self {
        Self { parent: constant!(offsets.dentry_parent), seq: constant!(offsets.dentry_seq) }
    }
}

/// The same, where a mount's root is reached.
#[derive(Clone, Copy)]
struct MountOffsets {
    root: u32,
    parent: u32,
    mountpoint: u32,
}

impl MountOffsets {
    #[inline(always)]
    fn load() -> Self {
        Self {
            root: constant!(offsets.mount_mnt) + constant!(offsets.vfsmount_root),
            parent: constant!(offsets.mount_parent),
            mountpoint: constant!(offsets.mount_mountpoint),
        }
    }
}

impl<R: Reader> Walk<R> {
    #[inline(always)]
    fn at((vfsmount, dentry): (u64, u64), trace: u64) -> Self {
        let mount = vfsmount.wrapping_sub(u64::from(constant!(offsets.mount_mnt)));
        let mount = R::object(mount, constant!(types.mount));
        let mut walk = Self {
            mount,
            root: mount,
            mounted: (mount, mount),
            dentry: R::object(dentry, constant!(types.dentry)),
            end: None,
            trace,
            dentries: DentryOffsets::load(),
            mounts: MountOffsets::load(),
        };
        walk.enter(mount);
        walk
    }

    #[inline(always)]
    fn dentries(&self) -> DentryOffsets {
        if R::DIRECT { self.dentries } else { DentryOffsets::load() }
    }

    #[inline(always)]
    fn mounts(&self) -> MountOffsets {
        if R::DIRECT { self.mounts } else { MountOffsets::load() }
    }

    #[inline(always)]
    fn enter(&mut self, mount: R::Ptr) {
        let mut room = MountRoom::new();
        let fields = R::span(mount, span!(mount), &mut room);
        let offsets = self.mounts();
        self.mount = mount;
        self.root = fields.ptr(offsets.root);
        if !R::DIRECT {
            self.mounted = (fields.ptr(offsets.parent), fields.ptr(offsets.mountpoint));
        }
    }

    /// Takes names and counters.
    #[inline(always)]
    fn names<K: Pathed>(&mut self, scratch: &mut Scratch<K>) -> u32 {
        let names = NameOffsets::load();
        let mut end = scratch.path_end();
        let mut flags = PATH_UNFINISHED;
        for _ in 0..u64::from(K::STEPS) {
            if R::same(self.dentry, self.root) {
                if self.cross(scratch) {
                    continue;
                }
                flags = 0;
                break;
            }
            // The counter before what it counts, and in the second walk behind it or with it.
            let mut room = DentryRoom::new();
            let dentry = R::span(self.dentry, span!(name), &mut room);
            let offsets = self.dentries();
            // Odd while it changes; the second walk cannot find it as it was before.
            self.saw(u64::from(dentry.u32(offsets.seq) & !1));
            let parent = dentry.ptr(offsets.parent);
            scratch.push_name::<R>(&dentry, &names.at_hand::<R>(), &mut end);
            if self.is_above(parent) {
                flags = PATH_UNREACHABLE;
                break;
            }
        }
        scratch.set_path_end(end);
        flags
    }

    /// Takes counters, and of the names the begin of the last.
    #[inline(always)]
    fn first_bytes<K: Pathed>(&mut self, scratch: &mut Scratch<K>) -> Option<u64> {
        let names = NameOffsets::load();
        let mut last = self.dentry;
        for _ in 0..u64::from(K::STEPS) {
            if R::same(self.dentry, self.root) {
                if self.cross(scratch) {
                    continue;
                }
                return names.short::<R>(last);
            }
            // In the order of `names`.
            let mut room = LookRoom::new();
            let dentry = R::span(self.dentry, span!(look), &mut room);
            let offsets = self.dentries();
            self.saw(u64::from(dentry.u32(offsets.seq) & !1));
            last = self.dentry;
            if self.is_above(dentry.ptr(offsets.parent)) {
                return None;
            }
        }
        None
    }

    /// Looks at the counters once more.
    #[inline(always)]
    fn counters<K: Pathed>(&mut self, scratch: &mut Scratch<K>) -> u32 {
        for _ in 0..u64::from(K::STEPS) {
            if R::same(self.dentry, self.root) {
                if self.cross(scratch) {
                    continue;
                }
                return 0;
            }
            let mut room = LookRoom::new();
            let dentry = R::span(self.dentry, span!(look), &mut room);
            let offsets = self.dentries();
            let parent = dentry.ptr(offsets.parent);
            self.saw(u64::from(dentry.u32(offsets.seq)));
            if self.is_above(parent) {
                return PATH_UNREACHABLE;
            }
        }
        PATH_UNFINISHED
    }

    /// From a mount's root to where it is mounted; false at the root of all.
    #[inline(always)]
    fn cross<K: Pathed>(&mut self, scratch: &mut Scratch<K>) -> bool {
        let (parent, mountpoint) = self.mounted;
        let parent = if R::DIRECT { R::ptr(self.mount, self.mounts.parent) } else { parent };
        if R::same(parent, self.mount) {
            return false;
        }
        self.dentry = if R::DIRECT { R::ptr(self.mount, self.mounts.mountpoint) } else { mountpoint };
        // Mounts count nothing.
        self.saw(scratch.number_of(R::address(self.dentry)));
        if !R::DIRECT && self.end.is_some_and(|end| R::same(end.0, parent) && R::same(end.1, self.dentry)) {
            return false;
        }
        self.enter(parent);
        true
    }

    /// Goes on at the directory above. True for a dentry that is its own parent and no mount's root: a memfd, or what a
    /// detached mount has left.
    #[inline(always)]
    fn is_above(&mut self, parent: R::Ptr) -> bool {
        if !R::DIRECT {
            // A probe read takes the counter first, in the second walk too: only the same directory counts there.
            self.saw(R::address(parent));
        }
        let ends = R::same(parent, self.dentry);
        self.dentry = parent;
        ends
    }

    #[inline(always)]
    fn saw(&mut self, number: u64) {
        self.trace = self.trace.wrapping_mul(TRACE_FACTOR).wrapping_add(number);
    }
}
