//! What a source says of its class: which hooks serve it, and what they do not see.

use super::event_class;
use crate::kernel::{KernelObject, blind_without, via};
use collector_common::{Class, Hook};
use collector_core::event::{ClassCoverage, CoverageEvent, HookCoverage};
use std::time::SystemTime;

/// What no hook of a class sees, on any kernel.
fn always_blind(class: Class) -> &'static [&'static str] {
    match class {
        // Through which system call ABI a program was started: the kernel has set the new program's by then.
        Class::Process => &["exec-abi"],
        // What io_uring and calls of another ABI connect without TCP and UDP, and TCP of theirs that fails before its
        // handshake.
        Class::Network => &["connect-other-abi"],
        // Opens through io_uring whose completion nobody is told of: it was asked not to be, or the ring was full; a
        // descriptor that another thread closes, or puts another file in, before the call is back; a call that a signal
        // broke off and that fails with EINTR.
        Class::File => &["io-uring-open-unposted", "open-fd-race", "open-interrupted"],
    }
}

/// What the tracepoints of a class do not see of the 32-bit ABI, for which they do not fire.
fn compat_blind(class: Class, object: &KernelObject) -> Option<&'static str> {
    let failed_execs = object.attached().iter().any(|attached| matches!(attached.hook, Hook::Execve));
    let ia32 = cfg!(target_arch = "x86_64");
    match class {
        Class::Process if !failed_execs => Some("exec-failed"),
        Class::Process if ia32 => Some("ia32-exec-failed"),
        Class::Process => Some("aarch32-exec-failed"),
        Class::File if ia32 => Some("ia32-open"),
        Class::File => Some("aarch32-open"),
        Class::Network => None,
    }
}

pub(super) fn of_class(class: Class, object: &KernelObject) -> CoverageEvent {
    let hooks = object.attached().iter().filter(|attached| attached.hook.class() == class);
    let hooks = hooks.map(|attached| HookCoverage {
        via: via(attached.hook),
        rung: attached.hook.rung().name().to_owned(),
        readers: attached.readers.name().to_owned(),
    });
    let absent = object.absent().iter().filter(|absent| absent.hook.class() == class);
    let absent = absent.map(|absent| blind_without(absent.hook).unwrap_or(absent.hook.stream()));
    let mut blind: Vec<String> = always_blind(class)
        .iter()
        .copied()
        .chain(absent)
        .chain(compat_blind(class, object))
        .map(str::to_owned)
        .collect();
    // Several hooks may be needed to see one thing.
    blind.sort();
    blind.dedup();
    let class_coverage = ClassCoverage { hooks: hooks.collect(), blind };
    CoverageEvent {
        kernel: nix::sys::utsname::uname()
            .map(|name| name.release().to_string_lossy().into_owned())
            .unwrap_or_default(),
        classes: [(event_class(class), class_coverage)].into(),
        timestamp: SystemTime::now(),
    }
}
