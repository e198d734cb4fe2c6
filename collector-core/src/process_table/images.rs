//! What a process runs, and what it ran before its last exec. Events come from several sources, so an open can be read
//! after the exec that followed it.

use super::{Entry, HostLookup};
use crate::event::{Ancestor, ProcessContext, ProcessIdentity, Text};
use std::collections::VecDeque;
use std::sync::Arc;

/// Earlier images of one process that are kept at most.
const IMAGES_MAX: usize = 4;

/// (time, pid, entry) of processes that run something else since, in the order in which that was read.
pub(super) type Replaced = VecDeque<(u64, u32, u64)>;

/// A program that a process runs, and whom and what its identity names.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) identity: Arc<ProcessIdentity>,
    /// The path is that of a snapshot of /proc or inherited from it: its device number may be another view of the same
    /// one.
    pub(super) from_snapshot: bool,
    pub(super) ppid: u32,
    /// Real and effective user.
    pub(super) named_users: Option<(u32, u32)>,
    /// Id of the cgroup.
    pub(super) named_cgroup: u64,
}

impl Image {
    /// A program of which no user and no cgroup is named yet.
    pub(super) fn new(ppid: u32, identity: ProcessIdentity) -> Self {
        Self { identity: Arc::new(identity), from_snapshot: false, ppid, named_users: None, named_cgroup: 0 }
    }

    /// Whether the known path can be that of this file.
    pub(super) fn runs(&self, file: (u32, u64)) -> bool {
        self.identity.exe_file.is_none() || self.names(file)
    }

    /// Whether the path is that of this file, as far as it is known.
    fn names(&self, file: (u32, u64)) -> bool {
        self.identity.exe_file.is_some_and(|known| {
            // stat and the kernel's superblock can give different devices for one file (btrfs, overlayfs).
            if self.from_snapshot { known.1 == file.1 } else { known == file }
        })
    }

    /// The same process runs this file, of which no path is known.
    fn running(&self, file: Option<(u32, u64)>) -> Self {
        let identity = ProcessIdentity { exe: None, exe_file: file, ..(*self.identity).clone() };
        Self { identity: Arc::new(identity), ..self.clone() }
    }

    /// The process has this parent: the name of another would stand beside its pid.
    pub(super) fn taken_over(&mut self, ppid: u32, parent_name: Option<Text>, ancestors: Vec<Arc<Ancestor>>) {
        self.ppid = ppid;
        let identity = Arc::make_mut(&mut self.identity);
        identity.parent_name = parent_name;
        identity.ancestors = ancestors;
    }

    /// What is told to an event whose hook saw the process so.
    pub(super) fn identity_now(
        &mut self,
        process: &ProcessContext,
        host: Option<&mut (dyn HostLookup + 'static)>,
    ) -> Arc<ProcessIdentity> {
        if let Some(host) = host {
            self.look_up(process, host);
        }
        Arc::clone(&self.identity)
    }
}

impl Entry {
    /// What the process ran for an event that saw it run this file, then; `None` where it does not say which. A path is
    /// told only if it is that file's.
    pub(super) fn image_at(&self, file: Option<(u32, u64)>, at_ns: u64) -> Image {
        let Some(file) = file else {
            let then = self.earlier.iter().find(|(until_ns, _)| at_ns < *until_ns);
            return match then {
                Some((_, image)) => image.clone(),
                None if at_ns < self.since_ns => self.image.running(None),
                None => self.image.clone(),
            };
        };
        if self.image.runs(file) {
            return self.image.clone();
        }
        match self.earlier.iter().rev().find(|(_, image)| image.names(file)) {
            Some((_, image)) => image.clone(),
            None => self.image.running(Some(file)),
        }
    }

    /// Keeps what it runs, if a path is known of it and it gives way to another file at that time.
    pub(super) fn keep_image(
        &mut self,
        pid: u32,
        until_ns: u64,
        file: Option<(u32, u64)>,
        replaced: &mut Replaced,
    ) {
        let identity = &self.image.identity;
        if identity.exe.is_none() || identity.exe_file == file {
            return;
        }
        if self.earlier.len() == IMAGES_MAX {
            self.earlier.remove(0);
        }
        self.earlier.push((until_ns, self.image.clone()));
        replaced.push_back((until_ns, pid, self.id));
    }

    /// Forgets what it ran before that time.
    pub(super) fn forget_images(&mut self, oldest_kept_ns: u64) {
        self.earlier.retain(|(until_ns, _)| *until_ns >= oldest_kept_ns);
        if self.earlier.is_empty() {
            self.earlier = Vec::new();
        }
    }
}
