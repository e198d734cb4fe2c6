//! Which container a cgroup belongs to, from its path alone.
//!
//! The innermost container counts: a path names the outer ones first. Helpers that run beside a container and not in
//! it (podman's and CRI-O's conmon, systemd-nspawn's supervisor) have cgroups of their own and belong to what is
//! around them. A name that only looks like one of these is taken for none: no id is better than a wrong one.

use super::identity::{Cgroup, Container, ContainerRuntime};
use super::text::Text;

/// Hex digits of a container's id.
const ID_LEN: usize = 64;

/// What stands before an id, `PREFIX-ID` or `PREFIX-ID.scope`, and whose it is.
const PREFIXES: [(&[u8], ContainerRuntime); 8] = [
    (b"docker", ContainerRuntime::Docker),
    (b"libpod", ContainerRuntime::Podman),
    // `podman run --cgroups=split`, as units made by Quadlet use it.
    (b"libpod-payload", ContainerRuntime::Podman),
    (b"cri-containerd", ContainerRuntime::Containerd),
    (b"nerdctl", ContainerRuntime::Containerd),
    (b"containerd", ContainerRuntime::Containerd),
    (b"crio", ContainerRuntime::CriO),
    (b"cri-o", ContainerRuntime::CriO),
];

impl Cgroup {
    /// The cgroup with this path, and its container.
    pub fn new(path: Text) -> Self {
        let container = container_of(path.as_bytes());
        Self { path, container }
    }
}

fn container_of(path: &[u8]) -> Option<Container> {
    let names: Vec<&[u8]> = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).collect();
    (0..names.len()).rev().find_map(|at| {
        let (outer, inner) = names.split_at(at);
        prefixed(inner[0]).or_else(|| bare(outer, inner[0])).or_else(|| machine(outer, inner))
    })
}

/// `docker-ID.scope`, `libpod-ID`, and `SLICE:cri-containerd:ID`, which containerd makes where it is told to use
/// plain cgroups below a kubelet that names systemd's.
fn prefixed(name: &[u8]) -> Option<Container> {
    let name = name.strip_suffix(b".scope").unwrap_or(name);
    let (before, id) = name.split_at_checked(name.len().checked_sub(ID_LEN)?)?;
    let (&separator, prefix) = before.split_last()?;
    let prefix = match separator {
        b'-' => prefix,
        b':' => prefix.rsplit(|&byte| byte == b':').next()?,
        _ => return None,
    };
    let (_, runtime) = PREFIXES.iter().find(|(known, _)| *known == prefix)?;
    is_id(id).then(|| Container { id: id.into(), runtime: Some(*runtime) })
}

/// The id alone: `/docker/ID`, `/kubepods/burstable/podUID/ID`, `/ecs/TASK/ID`.
fn bare(outer: &[&[u8]], name: &[u8]) -> Option<Container> {
    let parent: &[u8] = outer.last().copied().unwrap_or_default();
    let runtime = if parent == b"docker" {
        Some(ContainerRuntime::Docker)
    } else if is_pod(parent) && outer.iter().any(|name| is_kubepods(name)) {
        Some(ContainerRuntime::Kubernetes)
    } else {
        None
    };
    is_id(name).then(|| Container { id: name.into(), runtime })
}

/// A pod's cgroup: `podUID`, or as a slice `kubepods-burstable-podUID.slice`.
fn is_pod(name: &[u8]) -> bool {
    name.starts_with(b"pod") || (is_kubepods(name) && name.windows(4).any(|part| part == b"-pod"))
}

/// Also below a kubelet with a root of its own: `kubelet-kubepods-burstable.slice`.
fn is_kubepods(name: &[u8]) -> bool {
    let stem = name.strip_suffix(b".slice").unwrap_or(name);
    stem.split(|&byte| byte == b'-').any(|part| part == b"kubepods")
}

/// A machine that systemd-nspawn runs, as a unit or from a command line. Its own helpers are in `supervisor`.
fn machine(outer: &[&[u8]], inner: &[&[u8]]) -> Option<Container> {
    let unit = inner[0].strip_prefix(b"systemd-nspawn@").and_then(|name| name.strip_suffix(b".service"));
    let scope = || {
        let name = inner[0].strip_prefix(b"machine-")?.strip_suffix(b".scope")?;
        (outer.last() == Some(&&b"machine.slice"[..])).then_some(name)
    };
    let name = unescaped(unit.or_else(scope)?);
    // libvirt's virtual machines and containers are in the same slice.
    let others = name.starts_with(b"qemu-") || name.starts_with(b"lxc-");
    let supervised = inner.get(1) == Some(&&b"supervisor"[..]);
    (!name.is_empty() && !others && !supervised)
        .then(|| Container { id: name.as_slice().into(), runtime: Some(ContainerRuntime::SystemdNspawn) })
}

fn is_id(name: &[u8]) -> bool {
    name.len() == ID_LEN && name.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// systemd writes bytes that a unit's name cannot have, and `-` in names of scopes, as `\xNN`.
fn unescaped(mut name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    while let Some((&first, rest)) = name.split_first() {
        let escaped =
            rest.strip_prefix(b"x").and_then(|rest| rest.split_at_checked(2)).and_then(|(hex, rest)| {
                let value = u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?;
                Some((value, rest))
            });
        match escaped {
            Some((value, rest)) if first == b'\\' => {
                out.push(value);
                name = rest;
            }
            _ => {
                out.push(first);
                name = rest;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3f4a1c0d9be27856aa00112233445566778899aabbccddeeff00112233445566";
    const B: &str = "b0c1d2e3f405162738495a6b7c8d9eafb0c1d2e3f405162738495a6b7c8d9eaf";

    /// The id and runtime of a path in which `{A}` and `{B}` stand for ids.
    fn told(path: &str) -> Option<(String, Option<&'static str>)> {
        let path = path.replace("{A}", A).replace("{B}", B);
        let container = Cgroup::new(Text::from(path.as_str())).container?;
        let id = container.id.to_string_lossy().into_owned();
        let id = match id.as_str() {
            A => "A".to_owned(),
            B => "B".to_owned(),
            _ => id,
        };
        Some((id, container.runtime.map(ContainerRuntime::name)))
    }

    #[track_caller]
    fn check(runtime: &'static str, paths: &[(&str, &str)]) {
        let runtime = Some(runtime).filter(|runtime| !runtime.is_empty());
        for (path, id) in paths {
            assert_eq!(told(path), Some(((*id).to_owned(), runtime)), "{path}");
        }
    }

    #[test]
    fn docker_with_either_driver_and_nested() {
        check(
            "docker",
            &[
                ("/system.slice/docker-{A}.scope", "A"),
                ("/system.slice/docker-{A}.scope/init.scope", "A"),
                ("/system.slice/docker-{A}.scope/system.slice/cron.service", "A"),
                ("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope", "A"),
                ("/docker/{A}", "A"),
                ("/docker/{A}/docker/{B}", "B"),
                ("/docker/{A}/system.slice/docker-{B}.scope", "B"),
            ],
        );
    }

    #[test]
    fn podman_rootful_rootless_in_pods_and_split() {
        check(
            "podman",
            &[
                ("/machine.slice/libpod-{A}.scope", "A"),
                ("/machine.slice/libpod-{A}.scope/container", "A"),
                ("/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope/container", "A"),
                ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container", "A"),
                (
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_{B}.slice/libpod-{A}.scope",
                    "A",
                ),
                ("/libpod_parent/libpod-{A}", "A"),
                ("/system.slice/web.service/libpod-payload-{A}", "A"),
            ],
        );
    }

    #[test]
    fn kubernetes_with_systemds_driver_names_the_runtime() {
        let slice = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1b2c3d4e_0a1b_4c2d_8e9f_001122334455.slice";
        let guaranteed = "/kubepods.slice/kubepods-pod1b2c3d4e_0a1b_4c2d_8e9f_001122334455.slice";
        check(
            "containerd",
            &[
                (&format!("{slice}/cri-containerd-{{A}}.scope"), "A"),
                (&format!("{guaranteed}/cri-containerd-{{A}}.scope"), "A"),
                (
                    "/system.slice/containerd.service/kubepods-besteffort-pod1b2c3d4e_0a1b_4c2d_8e9f_001122334455.slice:cri-containerd:{A}",
                    "A",
                ),
            ],
        );
        check(
            "cri-o",
            &[
                (&format!("{slice}/crio-{{A}}.scope"), "A"),
                (&format!("{slice}/crio-{{A}}.scope/container"), "A"),
            ],
        );
        check("docker", &[(&format!("{slice}/docker-{{A}}.scope"), "A")]);
    }

    #[test]
    fn kubernetes_with_plain_cgroups_and_nested() {
        check(
            "kubernetes",
            &[
                ("/kubepods/burstable/pod1b2c3d4e-0a1b-4c2d-8e9f-001122334455/{A}", "A"),
                ("/kubepods/pod1b2c3d4e-0a1b-4c2d-8e9f-001122334455/{A}", "A"),
                ("/kubepods/besteffort/pod1b2c3d4e-0a1b-4c2d-8e9f-001122334455/{A}/sub", "A"),
                // kind: a node that is a container itself.
                ("/docker/{B}/kubelet/kubepods/burstable/pod1b2c3d4e-0a1b-4c2d-8e9f-001122334455/{A}", "A"),
            ],
        );
        check("cri-o", &[("/kubepods/besteffort/pod1b2c3d4e-0a1b-4c2d-8e9f-001122334455/crio-{A}", "A")]);
        check(
            "containerd",
            &[(
                "/system.slice/docker-{B}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod1b2c3d4e_0a1b_4c2d_8e9f_001122334455.slice/cri-containerd-{A}.scope",
                "A",
            )],
        );
    }

    #[test]
    fn containerd_without_kubernetes() {
        check(
            "containerd",
            &[
                ("/system.slice/nerdctl-{A}.scope", "A"),
                ("/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-{A}.scope", "A"),
            ],
        );
        // The path does not say whose it is.
        check(
            "",
            &[("/default/{A}", "A"), ("/{A}", "A"), ("/ecs/0123456789abcdef0123456789abcdef/{A}", "A")],
        );
    }

    #[test]
    fn a_machine_of_systemd_nspawn_is_named() {
        check(
            "systemd-nspawn",
            &[
                ("/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service", "web"),
                ("/machine.slice/systemd-nspawn@deb\\x2d12.service/payload", "deb-12"),
                ("/machine.slice/systemd-nspawn@deb-12.service", "deb-12"),
                ("/machine.slice/machine-deb\\x2d12.scope/payload/init.scope", "deb-12"),
                ("/machine.slice/machine-web.scope", "web"),
            ],
        );
        check("docker", &[("/machine.slice/machine-web.scope/payload/docker/{A}", "A")]);
    }

    #[test]
    fn what_runs_beside_a_container_is_not_in_it() {
        for path in [
            "/machine.slice/libpod-conmon-{A}.scope",
            "/kubepods.slice/crio-conmon-{A}.scope",
            "/machine.slice/systemd-nspawn@web.service/supervisor",
            "/machine.slice/machine-web.scope/supervisor",
            "/system.slice/{A}.service",
            "/libpod_parent/conmon",
        ] {
            assert_eq!(told(path), None, "{path}");
        }
        // It is still in the container around it.
        check("docker", &[("/docker/{B}/machine.slice/libpod-conmon-{A}.scope", "B")]);
    }

    #[test]
    fn what_only_looks_like_a_container_is_none() {
        for path in [
            "/",
            "",
            "/user.slice/user-1000.slice/session-2.scope",
            "/system.slice/docker.service",
            "/system.slice/containerd.service",
            "/kubepods/burstable/pod1b2c3d4e-0a1b-4c2d-8e9f-001122334455",
            "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator",
            "/machine.slice/machine-lxc\\x2d77\\x2dbox.scope",
            "/system.slice/machine-web.scope",
            "/machine.slice/machine-libpod_pod_{A}.slice",
            "/system.slice/backup-{A}.scope",
            "/system.slice/docker-{A}0.scope",
            "/system.slice/docker-3f4a.scope",
        ] {
            assert_eq!(told(path), None, "{path}");
        }
        let upper = A.to_uppercase();
        assert_eq!(told(&format!("/docker/{upper}")), None);
    }
}
