//! Who a process is: what does not come from the hook of the event, and is shared by the events of one process.

use super::text::Text;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What rarely changes while a process runs one program; shared by its events until it does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Path of the running file.
    pub exe: Option<Text>,
    /// Device (kernel encoding) and inode of the running file.
    pub exe_file: Option<(u32, u64)>,
    /// The parent's comm, as it was when this process was first seen under that parent or last executed a program.
    pub parent_name: Option<Text>,
    /// Name of the real user.
    pub ruid_name: Option<Text>,
    /// Name of the effective user.
    pub euid_name: Option<Text>,
    /// The cgroup, shared by all processes in it.
    pub cgroup: Option<Arc<Cgroup>>,
    /// The parent, its parent, and so on: nearest first, as they were when this process was first seen under that
    /// parent or last executed a program. Empty unless ancestors were asked for.
    pub ancestors: Vec<Arc<Ancestor>>,
}

/// A process above another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// Process id.
    pub pid: u32,
    /// When it started, `CLOCK_BOOTTIME` in ns; `None` where it is known to the clock tick only.
    pub start_ns: Option<u64>,
    /// Its comm.
    pub name: Text,
    /// Path of the file it runs.
    pub exe: Option<Text>,
}

/// A cgroup of the unified hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Its path from the root of the hierarchy, such as `/system.slice/cron.service`.
    pub path: Text,
    /// The container whose processes it holds, if the path names one.
    pub container: Option<Container>,
}

/// A container, as the path of its cgroup names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its id; for systemd-nspawn the machine's name.
    pub id: Text,
    /// Who made it; `None` where the path has a container's id and does not say whose.
    pub runtime: Option<ContainerRuntime>,
}

/// Who makes containers, as far as cgroup paths tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ContainerRuntime {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// containerd, by nerdctl or by Kubernetes.
    Containerd,
    /// CRI-O.
    CriO,
    /// Kubernetes, with a driver whose paths do not say which runtime serves it.
    Kubernetes,
    /// systemd-nspawn.
    SystemdNspawn,
}

impl ContainerRuntime {
    /// The runtime's name in the native format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Kubernetes => "kubernetes",
            Self::SystemdNspawn => "systemd-nspawn",
        }
    }
}
