//! What helps where something is refused.

use super::prove::{NoProof, hooks_of};
use super::report::{HookReport, Status, Unserved};
use crate::failure::{Failure, exit_code};
use crate::kernel::{LoadError, Refusal, TRACEFS, blind_without};
use crate::privileges;
use collector_common::{Class, Hook, Rung};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

const SAY_MORE: &str = "run it again with -vv, which says how far it comes";

/// Why a class is not served, and what would help.
pub(super) fn unserved(class: Class, error: NoProof, hooks: &[HookReport]) -> Unserved {
    let error = match error {
        NoProof::Broken(why) => return Unserved { why, cure: SAY_MORE.to_owned(), missing: Vec::new() },
        NoProof::Load(error) => error,
    };
    // Only what the class cannot do without; the process class's hooks serve every class.
    let needed = |hook: Hook| {
        blind_without(hook).is_none() && (hook.class() == class || hook.class() == Class::Process)
    };
    let missing =
        privileges::missing(hooks_of(Class::Process).chain(hooks_of(class)).filter(|hook| needed(*hook)));
    let in_the_way = hooks.iter().find(|report| needed(report.hook) && report.status() == Status::Fail);
    let cure = match (&error, in_the_way.and_then(|report| report.cure.clone())) {
        (LoadError::Layout(_), _) => "see the check BTF above".to_owned(),
        _ if !missing.is_empty() => privileges::cure(&missing),
        (_, Some(cure)) => cure,
        (LoadError::Refused { refusal, .. }, None) => general(refusal),
        _ => SAY_MORE.to_owned(),
    };
    let failure = Failure::from(error);
    // Bad BTF stands in the way of everyone, whatever else is missing.
    let missing = if failure.code == exit_code::USAGE { Vec::new() } else { missing };
    Unserved { why: failure.to_string(), cure, missing }
}

/// What helps a hook that the kernel refused.
pub(super) fn of_hook(hook: Hook, refusal: &Refusal) -> String {
    let missing = privileges::missing([hook]);
    if !missing.is_empty() {
        return privileges::cure(&missing);
    }
    match hook.rung() {
        Rung::Tracepoint if refusal.errno.is_none() || refusal.reason.contains("tracefs") => {
            format!("`mount -t tracefs nodev {}`; the kernel needs CONFIG_FTRACE_SYSCALLS=y", TRACEFS[0])
        }
        Rung::Fexit => {
            "it needs BPF trampolines (CONFIG_FUNCTION_TRACER=y, CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y; 5.12, or 5.10 \
             with the fix of trampolines), and nothing that forbids them, such as lockdown; without it 32-bit programs \
             are seen less, and no others"
                .to_owned()
        }
        Rung::CgroupSockAddr if refusal.errno.is_none() => "see the check cgroup2 above".to_owned(),
        _ => general(refusal),
    }
}

/// Where all capabilities are there and the kernel refuses even so.
fn general(refusal: &Refusal) -> String {
    if !refusal.is_permission() {
        return "this kernel does not take it; `collectord programs -vv` has the verifier's log".to_owned();
    }
    let limited = getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(soft, _)| soft != RLIM_INFINITY);
    let memlock = if limited {
        "lift the limit on locked memory, which kernels before 5.11 charge maps to (`ulimit -l unlimited`, \
         LimitMEMLOCK=infinity, or CAP_SYS_RESOURCE); if that is not it, "
    } else {
        ""
    };
    format!(
        "{memlock}something stronger than capabilities forbids it: kernel lockdown (boot without \
         lockdown=confidentiality), a seccomp filter (allow bpf and perf_event_open), or an LSM's policy"
    )
}
