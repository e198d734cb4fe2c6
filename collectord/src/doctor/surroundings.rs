//! What stands around the kernel programs: the kernel's BTF, this process's privileges, the filesystems that hooks are
//! attached through. Only what fails here and is needed by a hook counts; the rest is context.

use super::report::{Check, Status};
use crate::host;
use crate::kernel::TRACEFS;
use crate::kernel::{BTF_PATH, Layout, LayoutError};
use crate::privileges;
use collector_common::{Hook, Offsets, Rung};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use std::io;
use std::path::Path;

/// Every check, in the order in which a start needs them.
pub(super) fn all(btf_file: Option<&Path>) -> Vec<Check> {
    vec![
        btf(btf_file),
        capabilities(),
        tracefs(),
        cgroup(),
        memlock(),
        lockdown(),
        unprivileged_bpf(),
        seccomp(),
    ]
}

fn btf(file: Option<&Path>) -> Check {
    let path = file.unwrap_or(Path::new(BTF_PATH));
    match Layout::read(file) {
        Ok(_) => {
            Check::ok("BTF", format!("{}: all {} fields resolve", path.display(), Offsets::FIELDS.len()))
        }
        Err(error) => {
            let cure = match &error {
                LayoutError::Absent { .. } => {
                    "run a kernel built with CONFIG_DEBUG_INFO_BTF=y, or give the running kernel's BTF with --btf FILE"
                }
                LayoutError::Read { .. } => "give --btf a file that this user can read",
                LayoutError::Parse { .. } => {
                    "give --btf raw BTF of the running kernel, as /sys/kernel/btf/vmlinux has it, or leave the flag out"
                }
                LayoutError::Field { .. } => {
                    "give --btf the BTF of this very kernel; if it is, the kernel is one that collectord does not know"
                }
            };
            Check::new(Status::Fail, "BTF", chain(&error), Some(cure.to_owned()))
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn capabilities() -> Check {
    let missing = privileges::missing(Hook::ALL.iter().copied());
    if missing.is_empty() {
        return Check::ok(
            "capabilities",
            format!("{} or wider ones are effective", privileges::needed().join(", ")),
        );
    }
    let lacks: Vec<String> =
        missing.iter().map(|missing| format!("{} ({})", missing.name, missing.what_for)).collect();
    // Without these two nothing loads; others are for some hooks only.
    let nothing = missing.iter().any(|missing| matches!(missing.name, "CAP_BPF" | "CAP_PERFMON"));
    let status = if nothing { Status::Fail } else { Status::Warn };
    Check::new(
        status,
        "capabilities",
        format!("missing: {}", lacks.join(", ")),
        Some(privileges::cure(&missing)),
    )
}

/// A lack that matters if a hook is attached by this rung, and is context otherwise.
fn lack(rung: Rung) -> Status {
    if Hook::ALL.iter().any(|hook| hook.rung() == rung) { Status::Warn } else { Status::Info }
}

fn tracefs() -> Check {
    let mut refused = None;
    for mount in TRACEFS {
        match Path::new(mount).join("events").read_dir() {
            Ok(_) => return Check::ok("tracefs", format!("{mount} is readable")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => refused = refused.or(Some(format!("{mount}: {error}"))),
        }
    }
    let (found, cure) = match refused {
        Some(why) => {
            (why, "give it CAP_DAC_READ_SEARCH, or run it as root: tracefs is root's alone".to_owned())
        }
        None => ("is not mounted".to_owned(), format!("`mount -t tracefs nodev {}`", TRACEFS[0])),
    };
    Check::new(lack(Rung::Tracepoint), "tracefs", found, Some(cure))
}

fn cgroup() -> Check {
    match host::root_cgroup() {
        Some(point) => Check::ok("cgroup2", format!("{} is the root", point.display())),
        None => Check::new(
            lack(Rung::CgroupSockAddr),
            "cgroup2",
            "the root of the unified hierarchy is mounted nowhere".to_owned(),
            Some(
                "`mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified`; in a container, \
                 run with the host's cgroup namespace"
                    .to_owned(),
            ),
        ),
    }
}

/// After [`crate::memlock::raise`]: what is left is what this process may have.
fn memlock() -> Check {
    match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((RLIM_INFINITY, _)) => Check::ok("memlock", "unlimited".to_owned()),
        Ok((soft, _)) => Check::new(
            Status::Info,
            "memlock",
            format!("{} KiB; counts on kernels that charge maps to it", soft / 1024),
            None,
        ),
        Err(error) => Check::new(Status::Info, "memlock", format!("unknown: {error}"), None),
    }
}

fn lockdown() -> Check {
    let text = std::fs::read_to_string("/sys/kernel/security/lockdown");
    // `none [integrity] confidentiality`
    let mode = text.as_deref().ok().and_then(|text| text.split_once('[')?.1.split_once(']'));
    let found = mode.map_or("unknown: securityfs does not tell".to_owned(), |(mode, _)| mode.to_owned());
    Check::new(Status::Info, "lockdown", found, None)
}

fn unprivileged_bpf() -> Check {
    let value = std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
    let found = value.map_or("unknown".to_owned(), |value| value.trim().to_owned());
    Check::new(Status::Info, "unprivileged_bpf_disabled", found, None)
}

/// A filter that forbids `bpf(2)` looks like a missing privilege.
fn seccomp() -> Check {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(str::trim);
    let found = match mode {
        Some("0") => "no filter".to_owned(),
        Some(_) => "this process runs under a filter; it may forbid bpf(2)".to_owned(),
        None => "unknown".to_owned(),
    };
    Check::new(Status::Info, "seccomp", found, None)
}
