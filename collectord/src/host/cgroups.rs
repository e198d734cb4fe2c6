//! Paths of cgroups by their ids. In the unified hierarchy an id is the inode number of the cgroup's directory
//! (kernfs, since 5.5 on 64-bit machines), is never given twice in one boot, and a cgroup is never renamed there: what
//! was found once stays true.
//!
//! An id that is not known makes the whole hierarchy be walked. Walks take a tenth of the time at most. An id that a
//! whole walk did not find is not there any more, or is out of the mount's sight, and is not looked for again.
//!
//! Where there is no room for one more, the oldest are looked at: those that are gone make room.

use super::mount::Mount;
use collector_core::event::{Cgroup, Text};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Cgroups that are remembered at most, and directories that a walk visits.
const CGROUPS_MAX: usize = 65_536;
/// Bytes of their paths that are remembered at most.
const PATHS_BYTES_MAX: usize = 16 << 20;
/// Remembered cgroups that are looked at for one that finds no room.
const LOOKS_MAX: usize = 8;
/// What the kernel's tracepoint has room for (`TRACE_CGROUP_PATH_LEN`, without the NUL). A path of this length may have
/// been longer.
const TOLD_PATH_BYTES_MAX: usize = 1023;
/// After a walk there is none for this many times as long as it took.
const REST_PER_WALK: u32 = 9;

#[derive(Debug)]
pub(super) struct Cgroups {
    mount: Option<Mount>,
    max: usize,
    known: HashMap<u64, Arc<Cgroup>>,
    /// Their ids, those that were learned or looked at longest ago first.
    by_age: VecDeque<u64>,
    /// Bytes of their paths.
    bytes: usize,
    absent: HashSet<u64>,
    walks: u64,
    next_walk: Option<Instant>,
}

impl Cgroups {
    pub(super) fn new(mount: Option<Mount>) -> Self {
        Self {
            mount,
            max: CGROUPS_MAX,
            known: HashMap::new(),
            by_age: VecDeque::new(),
            bytes: 0,
            absent: HashSet::new(),
            walks: 0,
            next_walk: None,
        }
    }

    /// The cgroup with this id.
    pub(super) fn find(&mut self, id: u64) -> Option<Arc<Cgroup>> {
        if let Some(cgroup) = self.known.get(&id) {
            return Some(Arc::clone(cgroup));
        }
        let mount = self.mount.clone()?;
        let started = Instant::now();
        if self.absent.contains(&id) || self.next_walk.is_some_and(|at| started < at) {
            return None;
        }
        let whole = self.walk(&mount);
        let ended = Instant::now();
        self.next_walk = Some(ended + (ended - started) * REST_PER_WALK);
        tracing::debug!(id, known = self.known.len(), took = ?(ended - started), "cgroups walked");
        let found = self.known.get(&id).map(Arc::clone);
        if found.is_none() && whole {
            if self.absent.len() >= self.max {
                self.absent.clear();
            }
            self.absent.insert(id);
        }
        found
    }

    /// Learns a new cgroup. The kernel names it from the root of the whole hierarchy: in a cgroup namespace of its own, the
    /// collector sees other names and finds it by a walk. So it finds one whose path the kernel may have cut.
    pub(super) fn made(&mut self, id: u64, path: &Text) {
        let Some(mount) = self.mount.clone().filter(|mount| mount.is_whole) else { return };
        let is_one = id != 0 && path.as_bytes().first() == Some(&b'/');
        if is_one && path.as_bytes().len() < TOLD_PATH_BYTES_MAX {
            self.absent.remove(&id);
            self.keep(id, path.detached(), &mount);
        }
    }

    /// Learns all cgroups; returns whether none can have been passed by.
    fn walk(&mut self, mount: &Mount) -> bool {
        self.walks += 1;
        let mut whole = true;
        let mut visited = 0;
        // Paths below the mount point, without a slash before them.
        let mut waiting = vec![Vec::new()];
        while let Some(below) = waiting.pop() {
            if visited == self.max {
                return false;
            }
            visited += 1;
            let folder = mount.point.join(OsStr::from_bytes(&below));
            match subfolders(&folder, mount.dev) {
                Ok(Some((id, names))) => {
                    whole &= self.learn(id, mount, &below);
                    let room = self.max - waiting.len();
                    whole &= names.len() <= room;
                    waiting.extend(names.into_iter().take(room).map(|name| joined(&below, &name)));
                }
                // Something else is mounted there.
                Ok(None) => {}
                // It was removed meanwhile, and nothing was in it then.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(_) => whole = false,
            }
        }
        whole
    }

    /// Whether it is known now.
    fn learn(&mut self, id: u64, mount: &Mount, below: &[u8]) -> bool {
        self.known.contains_key(&id)
            || self.keep(id, Text::from(whole_path(&mount.root, below).as_slice()), mount)
    }

    /// Whether there was room.
    fn keep(&mut self, id: u64, path: Text, mount: &Mount) -> bool {
        if !self.has_room() {
            self.forget_gone(mount);
        }
        if !self.has_room() {
            return false;
        }
        self.bytes += path.as_bytes().len();
        match self.known.insert(id, Arc::new(Cgroup::new(path))) {
            Some(before) => self.bytes -= before.path.as_bytes().len(),
            None => self.by_age.push_back(id),
        }
        true
    }

    fn has_room(&self) -> bool {
        self.known.len() < self.max && self.bytes < PATHS_BYTES_MAX
    }

    /// Looks at some of the oldest, and forgets those whose directory is gone: their last events were read long ago.
    fn forget_gone(&mut self, mount: &Mount) {
        for _ in 0..LOOKS_MAX {
            let Some(id) = self.by_age.pop_front() else { return };
            let is_there = self.known.get(&id).is_some_and(|cgroup| {
                let folder = mount.point.join(OsStr::from_bytes(below(&mount.root, cgroup.path.as_bytes())));
                std::fs::metadata(folder).is_ok_and(|folder| folder.ino() == id && folder.dev() == mount.dev)
            });
            if is_there {
                self.by_age.push_back(id);
            } else if let Some(gone) = self.known.remove(&id) {
                self.bytes -= gone.path.as_bytes().len();
            }
        }
    }
}

type Folder = (u64, Vec<Vec<u8>>);

/// A directory's inode number and its subdirectories; `None` if it lies on another device.
fn subfolders(folder: &Path, dev: u64) -> std::io::Result<Option<Folder>> {
    let stat = std::fs::metadata(folder)?;
    if stat.dev() != dev {
        return Ok(None);
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().as_bytes().to_vec());
        }
    }
    Ok(Some((stat.ino(), names)))
}

fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

fn whole_path(root: &[u8], below: &[u8]) -> Vec<u8> {
    match (root, below) {
        (root, b"") => root.to_vec(),
        (b"/", below) => [b"/", below].concat(),
        (root, below) => [root, b"/", below].concat(),
    }
}

/// What of a cgroup's whole path lies below the mount's point.
fn below<'a>(root: &[u8], whole: &'a [u8]) -> &'a [u8] {
    let below = whole.strip_prefix(root).unwrap_or(whole);
    below.strip_prefix(b"/").unwrap_or(below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, remove_dir};
    use tempfile::TempDir;

    /// Any file system stands for the hierarchy: an id is a directory's inode number.
    fn rig(root: &str) -> (TempDir, Cgroups) {
        let folder = tempfile::tempdir().unwrap();
        let dev = std::fs::metadata(folder.path()).unwrap().dev();
        let mount =
            Mount { point: folder.path().to_owned(), root: root.as_bytes().to_vec(), dev, is_whole: true };
        (folder, Cgroups::new(Some(mount)))
    }

    fn make(folder: &TempDir, path: &str) -> u64 {
        let path = folder.path().join(path);
        create_dir_all(&path).unwrap();
        std::fs::metadata(path).unwrap().ino()
    }

    fn path(cgroups: &mut Cgroups, id: u64) -> Option<String> {
        cgroups.find(id).map(|cgroup| cgroup.path.to_string_lossy().into_owned())
    }

    #[test]
    fn ids_are_inodes_and_paths_are_those_below_the_mount() {
        let (folder, mut cgroups) = rig("/");
        let (top, deep) = (make(&folder, ""), make(&folder, "system.slice/cron.service"));
        assert_eq!(path(&mut cgroups, deep).as_deref(), Some("/system.slice/cron.service"));
        assert_eq!(path(&mut cgroups, top).as_deref(), Some("/"));
        assert_eq!(cgroups.walks, 1);
    }

    #[test]
    fn a_mount_of_a_part_tells_whole_paths() {
        let (folder, mut cgroups) = rig("/docker/a");
        let (top, deep) = (make(&folder, ""), make(&folder, "b"));
        assert_eq!(path(&mut cgroups, deep).as_deref(), Some("/docker/a/b"));
        assert_eq!(path(&mut cgroups, top).as_deref(), Some("/docker/a"));
    }

    #[test]
    fn a_new_cgroup_is_found_and_a_removed_one_stays_known() {
        let (folder, mut cgroups) = rig("/");
        let old = make(&folder, "old");
        assert!(cgroups.find(old).is_some());
        remove_dir(folder.path().join("old")).unwrap();
        let new = make(&folder, "new");
        cgroups.next_walk = None;
        // A directory's inode number can come again at once here, unlike in the hierarchy.
        if new != old {
            assert_eq!(path(&mut cgroups, new).as_deref(), Some("/new"));
        }
        assert_eq!(path(&mut cgroups, old).as_deref(), Some("/old"));
    }

    #[test]
    fn an_id_that_a_whole_walk_did_not_find_is_not_looked_for_again() {
        let (_folder, mut cgroups) = rig("/");
        for _ in 0..3 {
            assert_eq!(path(&mut cgroups, u64::MAX), None);
            cgroups.next_walk = None;
        }
        assert_eq!(cgroups.walks, 1);
    }

    #[test]
    fn between_walks_there_is_a_rest() {
        let (folder, mut cgroups) = rig("/");
        assert_eq!(path(&mut cgroups, u64::MAX), None);
        let rest = Instant::now() + std::time::Duration::from_secs(60);
        cgroups.next_walk = Some(rest);
        let new = make(&folder, "new");
        assert_eq!(path(&mut cgroups, new), None);
        assert_eq!(cgroups.walks, 1);
        cgroups.next_walk = None;
        assert_eq!(path(&mut cgroups, new).as_deref(), Some("/new"), "it was not taken for gone");
    }

    #[test]
    fn a_walk_is_bounded_and_one_that_was_cut_decides_nothing() {
        let (folder, mut cgroups) = rig("/");
        let ids: Vec<u64> = (0..20).map(|n| make(&folder, &format!("n{n}"))).collect();
        cgroups.max = 10;
        let found = ids.iter().filter(|&&id| cgroups.find(id).is_some()).count();
        assert!(found <= 10, "{found}");
        assert!(cgroups.known.len() <= 10);
        assert!(cgroups.absent.is_empty());
    }

    #[test]
    fn those_that_are_gone_make_room() {
        let (folder, mut cgroups) = rig("/");
        cgroups.max = 4;
        let living = make(&folder, "living");
        assert!(cgroups.find(living).is_some());
        for n in 0..50 {
            // The kernel gives no id twice, unlike this file system.
            cgroups.made(u64::MAX - n, &Text::from(format!("/gone{n}").as_str()));
            assert!(cgroups.known.len() <= 4 && cgroups.by_age.len() == cgroups.known.len());
        }
        assert!(cgroups.known.contains_key(&living), "one that is there was put out");
        let last = make(&folder, "last");
        cgroups.made(last, &Text::from("/last"));
        assert_eq!(path(&mut cgroups, last).as_deref(), Some("/last"));
        assert_eq!(cgroups.walks, 1);
        let bytes: usize = cgroups.known.values().map(|cgroup| cgroup.path.as_bytes().len()).sum();
        assert_eq!(cgroups.bytes, bytes);
    }

    #[test]
    fn one_that_a_walk_has_no_room_for_is_not_taken_for_gone() {
        let (folder, mut cgroups) = rig("/");
        cgroups.max = 3;
        let ids: Vec<u64> = (0..5).map(|n| make(&folder, &format!("n{n}"))).collect();
        for id in &ids {
            cgroups.max = cgroups.known.len().max(3);
            cgroups.find(*id);
            cgroups.next_walk = None;
        }
        assert!(cgroups.absent.is_empty());
        cgroups.max = 10;
        assert!(ids.iter().all(|id| {
            cgroups.next_walk = None;
            cgroups.find(*id).is_some()
        }));
    }

    #[test]
    fn bytes_of_paths_are_bounded() {
        let (_folder, mut cgroups) = rig("/");
        let name = "x".repeat(1000);
        for n in 0..20_000 {
            cgroups.made(u64::MAX - n, &Text::from(format!("/{name}{n}").as_str()));
        }
        assert!(cgroups.bytes < PATHS_BYTES_MAX + TOLD_PATH_BYTES_MAX);
        assert!(cgroups.known.contains_key(&(u64::MAX - 19_999)), "the last one has found no room");
    }

    #[test]
    fn a_path_that_the_kernel_may_have_cut_is_looked_for() {
        let (folder, mut cgroups) = rig("/");
        let names = vec!["y".repeat(200); 6].join("/");
        let deep = make(&folder, &names);
        let whole = format!("/{names}");
        cgroups.made(deep, &Text::from(&whole.as_bytes()[..TOLD_PATH_BYTES_MAX]));
        assert_eq!(path(&mut cgroups, deep), Some(whole));
    }

    #[test]
    fn one_that_the_kernel_told_needs_no_walk_and_may_be_gone() {
        let (_folder, mut cgroups) = rig("/");
        assert_eq!(path(&mut cgroups, u64::MAX), None);
        cgroups.made(u64::MAX, &Text::from(&b"/docker-a.scope"[..]));
        assert_eq!(path(&mut cgroups, u64::MAX).as_deref(), Some("/docker-a.scope"));
        assert_eq!(cgroups.walks, 1);
    }

    #[test]
    fn in_a_namespace_of_its_own_the_kernels_name_is_another_one() {
        let (_folder, mut cgroups) = rig("/");
        cgroups.mount.as_mut().unwrap().is_whole = false;
        cgroups.made(u64::MAX, &Text::from(&b"/docker-a.scope"[..]));
        assert_eq!(path(&mut cgroups, u64::MAX), None);
    }

    #[test]
    fn without_a_mount_nothing_is_named() {
        assert!(Cgroups::new(None).find(1).is_none());
    }
}
