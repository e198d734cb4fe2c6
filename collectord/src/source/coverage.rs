//! What a source says of its class: which hooks serve it, and what they do not see.

use super::event_class;
use crate::kernel::{KernelObject, blind_without, via};
use collector_common::Class;
use collector_core::event::{ClassCoverage, CoverageEvent, HookCoverage};
use std::time::SystemTime;

/// What no hook of a class sees, on any kernel.
fn always_blind(class: Class) -> &'static [&'static str] {
    match class {
        // Calls of exec that failed, and through which system call ABI a program was started: the kernel has set the
        // new program's by then.
        Class::Process => &["exec-failed", "exec-abi"],
        // Datagrams that are sent with an address, and what io_uring and calls of another ABI connect without TCP.
        Class::Network => &["udp-sendmsg", "connect-other-abi"],
        Class::File => &[],
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
    let absent = absent.filter_map(|absent| blind_without(absent.hook));
    let mut blind: Vec<String> =
        always_blind(class).iter().copied().chain(absent).map(str::to_owned).collect();
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
