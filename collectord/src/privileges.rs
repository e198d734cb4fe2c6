//! Which capabilities the hooks need, and which of them this process has.

use crate::kernel::{Refusal, TRACEFS};
use caps::{CapSet, Capability};
use collector_common::{Hook, Rung};
use std::path::Path;

/// A capability, for what, and which wider ones stand for it.
struct Need {
    capability: Capability,
    name: &'static str,
    /// The rung that needs it; `None`: every one.
    rung: Option<Rung>,
    what_for: &'static str,
    wider: &'static [Capability],
}

const NEEDS: [Need; 4] = [
    Need {
        capability: Capability::CAP_BPF,
        name: "CAP_BPF",
        rung: None,
        what_for: "to load programs and make maps",
        wider: &[Capability::CAP_SYS_ADMIN],
    },
    Need {
        capability: Capability::CAP_PERFMON,
        name: "CAP_PERFMON",
        rung: None,
        what_for: "to read kernel memory and attach to tracepoints",
        wider: &[Capability::CAP_SYS_ADMIN],
    },
    Need {
        capability: Capability::CAP_NET_ADMIN,
        name: "CAP_NET_ADMIN",
        rung: Some(Rung::CgroupSockAddr),
        what_for: "to attach to the root cgroup",
        wider: &[Capability::CAP_SYS_ADMIN],
    },
    Need {
        capability: Capability::CAP_DAC_READ_SEARCH,
        name: "CAP_DAC_READ_SEARCH",
        rung: Some(Rung::Tracepoint),
        what_for: "to read tracefs",
        wider: &[Capability::CAP_DAC_OVERRIDE],
    },
];

/// A capability that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MissingCapability {
    pub(crate) name: &'static str,
    pub(crate) what_for: &'static str,
}

impl Need {
    /// Whether one of these hooks needs it; what every hook needs, loading needs already.
    fn is_of(&self, hooks: &[Hook]) -> bool {
        self.rung.is_none_or(|rung| hooks.iter().any(|hook| rung == hook.rung()))
    }
}

/// The capabilities that some hook of the object needs, whether they are there or not.
pub(crate) fn needed() -> Vec<&'static str> {
    NEEDS.iter().filter(|need| need.is_of(Hook::ALL)).map(|need| need.name).collect()
}

/// What loading and these hooks need and this process lacks.
pub(crate) fn missing(hooks: impl IntoIterator<Item = Hook>) -> Vec<MissingCapability> {
    let hooks: Vec<Hook> = hooks.into_iter().collect();
    NEEDS
        .iter()
        .filter(|need| need.is_of(&hooks) && !is_met(need))
        .map(|need| MissingCapability { name: need.name, what_for: need.what_for })
        .collect()
}

/// The capabilities for lack of which the kernel refused something of this hook's, or what all hooks need; none where
/// something else stands in the way.
pub(crate) fn missing_where_refused(refusal: &Refusal, hook: Option<Hook>) -> Vec<&'static str> {
    // A tracefs that may not be read looks like none.
    if refusal.is_permission() || hook.is_some_and(|hook| hook.rung() == Rung::Tracepoint) {
        return missing(hook).iter().map(|missing| missing.name).collect();
    }
    Vec::new()
}

fn is_met(need: &Need) -> bool {
    // The owner of a file needs no capability to read it, and who may read it has tried.
    if need.capability == Capability::CAP_DAC_READ_SEARCH && TRACEFS.iter().any(|path| is_readable(path)) {
        return true;
    }
    let has = |capability: &Capability| caps::has_cap(None, CapSet::Effective, *capability).unwrap_or(false);
    has(&need.capability) || need.wider.iter().any(has)
}

fn is_readable(folder: &str) -> bool {
    Path::new(folder).read_dir().is_ok_and(|mut entries| entries.next().is_some())
}

/// How these capabilities are given to the daemon.
pub(crate) fn cure(missing: &[MissingCapability]) -> String {
    let names: Vec<&str> = missing.iter().map(|missing| missing.name).collect();
    let all = needed();
    let program =
        std::env::current_exe().map_or("collectord".into(), |path| path.to_string_lossy().into_owned());
    format!(
        "run it as root, or give it {}: `setcap {}+ep {program}`; in a systemd unit `AmbientCapabilities={}`",
        names.join(" and "),
        all.join(",").to_lowercase(),
        all.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_is_needed_by_the_hooks_of_its_rung() {
        let needs = |hooks: &[Hook]| -> Vec<_> {
            NEEDS.iter().filter(|need| need.is_of(hooks)).map(|need| need.name).collect()
        };
        assert_eq!(needs(&[]), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(needs(&[Hook::Exec, Hook::TcpEnd]), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(needs(&[Hook::Openat]), ["CAP_BPF", "CAP_PERFMON", "CAP_DAC_READ_SEARCH"]);
        assert_eq!(needs(&[Hook::SendMsg6]), ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]);
    }

    #[test]
    fn what_every_hook_needs_is_named_first() {
        assert!(needed().starts_with(&["CAP_BPF", "CAP_PERFMON"]));
    }

    #[test]
    fn the_cure_names_what_is_missing_and_gives_all_at_once() {
        let text = cure(&[MissingCapability { name: "CAP_PERFMON", what_for: "" }]);
        assert!(text.contains("give it CAP_PERFMON:"), "{text}");
        assert!(text.contains("setcap cap_bpf,cap_perfmon"), "{text}");
        assert!(text.contains("AmbientCapabilities=CAP_BPF CAP_PERFMON"), "{text}");
    }
}
