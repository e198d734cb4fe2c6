//! Names that only the machine's own files know: of users and of cgroups.

use super::images::Image;
use crate::event::{Cgroup, ProcessContext, Text};
use std::fmt;
use std::sync::Arc;

/// Answers what users and cgroups are called.
///
/// It is asked behind the queue, once for each process and again when the process's users or cgroup change, or it
/// executes a program; never by a source's reader. It may read files, and bounds for itself how often and how long.
pub trait HostLookup: fmt::Debug + Send {
    /// The user's name; `None` where there is none.
    fn user_name(&mut self, uid: u32) -> Option<Text>;

    /// The cgroup with this id in the unified hierarchy; `None` where it cannot be found. It is asked again with the
    /// next event of that cgroup, so a `None` should be quick.
    fn cgroup(&mut self, id: u64) -> Option<Arc<Cgroup>>;

    /// Whether no process and no thread has this pid any more. Asked for every process that is held as alive where exits
    /// were lost or the table is full, each 10 s at most, so it should cost no more than a system call. Whoever cannot
    /// know says no.
    fn has_ended(&mut self, pid: u32) -> bool {
        let _ = pid;
        false
    }

    /// A cgroup was made, with this path from the root of the unified hierarchy. Told before anything runs in it.
    fn cgroup_made(&mut self, id: u64, path: &Text) {
        let _ = (id, path);
    }
}

impl Image {
    /// Brings the names in the identity up to what the hook saw of the process.
    pub(super) fn look_up(&mut self, process: &ProcessContext, host: &mut dyn HostLookup) {
        self.name_users(process, host);
        self.name_cgroup(process, host);
    }

    fn name_users(&mut self, process: &ProcessContext, host: &mut dyn HostLookup) {
        let users = (process.ruid, process.euid);
        if self.named_users == Some(users) {
            return;
        }
        self.named_users = Some(users);
        let ruid_name = host.user_name(process.ruid);
        let euid_name =
            if process.euid == process.ruid { ruid_name.clone() } else { host.user_name(process.euid) };
        let identity = &mut self.identity;
        if identity.ruid_name != ruid_name || identity.euid_name != euid_name {
            let identity = Arc::make_mut(identity);
            identity.ruid_name = ruid_name;
            identity.euid_name = euid_name;
        }
    }

    fn name_cgroup(&mut self, process: &ProcessContext, host: &mut dyn HostLookup) {
        let id = process.cgroup_id;
        if self.named_cgroup == id && (id == 0 || self.identity.cgroup.is_some()) {
            return;
        }
        self.named_cgroup = id;
        let cgroup = if id == 0 { None } else { host.cgroup(id) };
        if self.identity.cgroup != cgroup {
            Arc::make_mut(&mut self.identity).cgroup = cgroup;
        }
    }
}
