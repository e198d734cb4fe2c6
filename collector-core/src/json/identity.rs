//! What the process table adds to an event, and the list that says so.

use super::kernel::list;
use super::text::text_member;
use super::{key, number, object, string};
use crate::event::{Ancestor, ContainerRuntime, KernelEvent};

/// Which members did not come from the hook.
#[derive(Debug, Default)]
pub(super) struct Derived {
    pub(super) exe: bool,
    pub(super) exe_file: bool,
    pub(super) parent_name: bool,
    ruid_name: bool,
    euid_name: bool,
    cgroup: bool,
    container_id: bool,
    container_runtime: bool,
    ancestors: bool,
}

impl Derived {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let named = [
            (self.exe, "process.exe"),
            (self.exe_file, "process.exe_dev"),
            (self.exe_file, "process.exe_ino"),
            (self.parent_name, "process.parent_name"),
            (self.ruid_name, "process.user.ruid_name"),
            (self.euid_name, "process.user.euid_name"),
            (self.cgroup, "process.cgroup"),
            (self.container_id, "process.container_id"),
            (self.container_runtime, "process.container_runtime"),
            (self.ancestors, "process.ancestors"),
        ];
        if named.iter().all(|(derived, _)| !derived) {
            return;
        }
        key!(out, "derived");
        list(out, named.iter().filter(|(derived, _)| *derived), |out, (_, name)| string(out, name));
    }
}

/// The last members of `process.user`.
pub(super) fn user_names(event: &KernelEvent, derived: &mut Derived, out: &mut Vec<u8>) {
    let Some(identity) = &event.identity else { return };
    if let Some(name) = &identity.ruid_name {
        text_member!(out, "ruid_name", name.as_bytes());
        derived.ruid_name = true;
    }
    if let Some(name) = &identity.euid_name {
        text_member!(out, "euid_name", name.as_bytes());
        derived.euid_name = true;
    }
}

/// The last members of `process`.
pub(super) fn cgroup_and_ancestors(event: &KernelEvent, derived: &mut Derived, out: &mut Vec<u8>) {
    let Some(identity) = &event.identity else { return };
    if let Some(cgroup) = &identity.cgroup {
        text_member!(out, "cgroup", cgroup.path.as_bytes());
        derived.cgroup = true;
        if let Some(container) = &cgroup.container {
            text_member!(out, "container_id", container.id.as_bytes());
            derived.container_id = true;
            if let Some(runtime) = container.runtime.map(ContainerRuntime::name) {
                key!(out, "container_runtime");
                string(out, runtime);
                derived.container_runtime = true;
            }
        }
    }
    if !identity.ancestors.is_empty() {
        key!(out, "ancestors");
        list(out, identity.ancestors.iter(), |out, above| object(out, |out| ancestor(above, out)));
        derived.ancestors = true;
    }
}

fn ancestor(ancestor: &Ancestor, out: &mut Vec<u8>) {
    key!(out, "pid");
    number(out, ancestor.pid);
    if let Some(start_ns) = ancestor.start_ns {
        key!(out, "start_ns");
        number(out, start_ns);
    }
    text_member!(out, "name", ancestor.name.as_bytes());
    if let Some(exe) = &ancestor.exe {
        text_member!(out, "exe", exe.as_bytes());
    }
}
