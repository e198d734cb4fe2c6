//! What this machine's files say of users and cgroups: names for the process table.

mod cgroups;
mod mount;
mod users;

use crate::kernel::in_initial_pid_namespace;
use cgroups::Cgroups;
use collector_core::event::{Cgroup, Text};
use collector_core::process_table::HostLookup;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use users::Users;

/// Names from `/etc/passwd` and from the unified cgroup hierarchy, as they are in the collector's own namespaces.
#[derive(Debug)]
pub struct Host {
    users: Users,
    cgroups: Cgroups,
    /// Whether pids mean here what they mean in events.
    pids_are_those_of_events: bool,
}

impl Host {
    /// This machine. No file of users is no failure, and neither is a hierarchy that is mounted nowhere: there are no
    /// names then.
    pub fn new() -> Self {
        let mount = mount::unified();
        if mount.is_none() {
            tracing::info!("no unified cgroup hierarchy is mounted: cgroups have no paths");
        }
        Self {
            users: Users::new(PathBuf::from("/etc/passwd")),
            cgroups: Cgroups::new(mount),
            pids_are_those_of_events: in_initial_pid_namespace(),
        }
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

    fn has_ended(&mut self, pid: u32) -> bool {
        // Signal 0 is none. Pid 0 would be this program's group.
        let pid = i32::try_from(pid).ok().filter(|&pid| pid > 0 && self.pids_are_those_of_events);
        pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH))
    }

    fn cgroup_made(&mut self, id: u64, path: &Text) {
        self.cgroups.made(id, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::children;
    use std::process::Command;

    #[test]
    fn a_process_has_ended_when_it_is_reaped_and_nobodys_pid_never() {
        let mut host = Host::new();
        let mut child = children::start(&mut Command::new("true")).unwrap();
        assert!(!host.has_ended(child.id()), "not before somebody has waited for it");
        child.wait().unwrap();
        assert_eq!(host.has_ended(child.id()), in_initial_pid_namespace());
        assert!(!host.has_ended(std::process::id()));
        for nobody in [0, u32::MAX] {
            assert!(!host.has_ended(nobody));
        }
    }
}
