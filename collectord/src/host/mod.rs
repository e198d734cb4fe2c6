//! What this machine's files say of users and cgroups: names for the process table.

mod cgroups;
mod mount;
mod users;

use cgroups::Cgroups;
use collector_core::event::{Cgroup, Text};
use collector_core::process_table::HostLookup;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use users::Users;

/// Names from `/etc/passwd` and from the unified cgroup hierarchy, as they are in the collector's own namespaces.
#[derive(Debug)]
pub struct Host {
    users: Users,
    cgroups: Cgroups,
}

impl Host {
    /// This machine. No file of users is no failure, and neither is a hierarchy that is mounted nowhere: there are no
    /// names then.
    pub fn new() -> Self {
        let mount = mount::unified();
        if mount.is_none() {
            tracing::info!("no unified cgroup hierarchy is mounted: cgroups have no paths");
        }
        Self { users: Users::new(PathBuf::from("/etc/passwd")), cgroups: Cgroups::new(mount) }
    }
}

/// Where the root of the unified hierarchy is mounted: what stands there stands over the whole machine.
pub(crate) fn root_cgroup() -> Option<PathBuf> {
    mount::unified().filter(|mount| mount.root == b"/").map(|mount| mount.point)
}

/// A cgroup's path by its id, from the root of the hierarchy.
pub(crate) fn cgroup_path(id: u64) -> Option<Text> {
    Cgroups::new(mount::unified()).find(id).map(|cgroup| cgroup.path.clone())
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl HostLookup for Host {
    fn user_name(&mut self, uid: u32) -> Option<Text> {
        self.users.name(uid, Instant::now())
    }

    fn cgroup(&mut self, id: u64) -> Option<Arc<Cgroup>> {
        self.cgroups.find(id)
    }

    fn cgroup_made(&mut self, id: u64, path: &Text) {
        self.cgroups.made(id, path);
    }
}
