//! What a source says of its class: which hooks serve it, and what they do not see.

use super::event_class;
use crate::kernel::{KernelObject, blind_without, via};
use collector_common::{Class, Hook, Rung};
use collector_core::event::{ClassCoverage, CoverageEvent, HookCoverage};
use std::time::SystemTime;

/// What no hook of a class sees, on any kernel.
fn always_blind(class: Class) -> &'static [&'static str] {
    match class {
        // Through which system call ABI a program was started: the kernel has set the new program's by then.
        Class::Process => &["exec-abi"],
        Class::Network => &[],
        // A descriptor that another thread closes, or puts another file in, before the call is back; a call that a signal
        // broke off and that fails with EINTR.
        Class::File => &["open-fd-race", "open-interrupted"],
    }
}

/// What no hook of a class sees of io_uring, where the kernel has it.
fn uring_blind(class: Class) -> Option<&'static str> {
    match class {
        Class::Process => None,
        // What is connected without TCP and UDP, and TCP that fails before its handshake.
        Class::Network => Some("io-uring-connect"),
        // Opens whose completion nobody is told of: it was asked not to be, or the ring was full.
        Class::File => Some("io-uring-open-unposted"),
    }
}

/// What is not seen of calls of other ABIs, for which the tracepoints of system calls do not fire.
fn abi_blind(class: Class, object: &KernelObject) -> Vec<&'static str> {
    let attached = |hook: &Hook| object.attached().iter().any(|attached| attached.hook == *hook);
    if class == Class::Process && !attached(&Hook::Execve) {
        return vec!["exec-failed"];
    }
    let wrappers = &object.layout().wrappers;
    let of_class = Hook::ALL.iter().filter(|hook| hook.class() == class && hook.rung() == Rung::Fexit);
    let unseen = of_class.filter(|hook| object.layout().has(**hook) && !attached(hook));
    let mut blind: Vec<_> = unseen.filter_map(|hook| blind_without(*hook)).collect();
    let [x32, aarch32] = match class {
        Class::Process => ["x32-exec-failed", "aarch32-exec-failed"],
        Class::Network => ["x32-connect", "aarch32-connect"],
        Class::File => ["x32-open", "aarch32-open"],
    };
    blind.extend(wrappers.x32.then_some(x32));
    blind.extend((wrappers.compat && cfg!(target_arch = "aarch64")).then_some(aarch32));
    blind
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
        .chain(uring_blind(class).filter(|_| object.layout().has(Hook::UringOpen)))
        .chain(abi_blind(class, object))
        // What happens on a CPU while a task waits there that was preempted in the hook's program.
        .chain(object.layout().preempts_tracepoints.then_some("preempted-hook"))
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
