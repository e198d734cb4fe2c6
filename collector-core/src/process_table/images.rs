//! What a process ran before its last exec. Events come from several sources, so an open can be read after the exec that
//! followed it.

use super::Entry;
use crate::event::ProcessIdentity;
use std::sync::Arc;

/// Earlier images of one process that are kept at most.
const IMAGES_MAX: usize = 4;

/// A program that a process ran until it executed another one.
#[derive(Debug)]
pub(super) struct Image {
    until_ns: u64,
    identity: Arc<ProcessIdentity>,
    from_snapshot: bool,
}

impl Entry {
    /// What is told of it to an event that saw the process as it was then, running this file; `None` where it does not
    /// say which. A path is told only if it is that file's.
    pub(super) fn identity_before(&self, file: Option<(u32, u64)>, at_ns: u64) -> Arc<ProcessIdentity> {
        let Some(file) = file else {
            let then = self.earlier.iter().find(|image| at_ns < image.until_ns);
            return match then {
                Some(image) => Arc::clone(&image.identity),
                None if at_ns < self.since_ns => Arc::new(self.running(None)),
                None => Arc::clone(&self.identity),
            };
        };
        if self.runs(file) {
            return Arc::clone(&self.identity);
        }
        let ran = |image: &&Image| names(&image.identity, image.from_snapshot, file);
        match self.earlier.iter().rev().find(ran) {
            Some(image) => Arc::clone(&image.identity),
            None => Arc::new(self.running(Some(file))),
        }
    }

    /// Whether the known path can be that of this file.
    pub(super) fn runs(&self, file: (u32, u64)) -> bool {
        self.identity.exe_file.is_none() || names(&self.identity, self.exe_from_snapshot, file)
    }

    /// Keeps what it runs, which gives way to this file at that time. False if there is nothing to keep.
    pub(super) fn keep_image(&mut self, until_ns: u64, file: Option<(u32, u64)>) -> bool {
        if self.identity.exe.is_none() || self.identity.exe_file == file {
            return false;
        }
        if self.earlier.len() == IMAGES_MAX {
            self.earlier.remove(0);
        }
        let identity = Arc::clone(&self.identity);
        self.earlier.push(Image { until_ns, identity, from_snapshot: self.exe_from_snapshot });
        true
    }

    /// Forgets what it ran before that time.
    pub(super) fn forget_images(&mut self, oldest_kept_ns: u64) {
        self.earlier.retain(|image| image.until_ns >= oldest_kept_ns);
        if self.earlier.is_empty() {
            self.earlier = Vec::new();
        }
    }

    /// What is known of it, but for the program: another file, of which no path is known.
    fn running(&self, file: Option<(u32, u64)>) -> ProcessIdentity {
        ProcessIdentity { exe: None, exe_file: file, ..(*self.identity).clone() }
    }
}

/// Whether the path is that of this file, as far as it is known.
fn names(identity: &ProcessIdentity, from_snapshot: bool, file: (u32, u64)) -> bool {
    identity.exe_file.is_some_and(|known| {
        // stat and the kernel's superblock can give different devices for one file (btrfs, overlayfs).
        if from_snapshot { known.1 == file.1 } else { known == file }
    })
}
