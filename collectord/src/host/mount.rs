//! Where the unified cgroup hierarchy is mounted: at /sys/fs/cgroup, on hybrid hosts at /sys/fs/cgroup/unified, or
//! anywhere else.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A mount of the hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where it is.
    pub(super) point: PathBuf,
    /// Which cgroup is mounted there, in the collector's own cgroup namespace: `/` but in containers.
    pub(super) root: Vec<u8>,
    /// Device number, as `stat` gives it.
    pub(super) dev: u64,
    /// The hierarchy's own root is mounted there, whatever the collector's cgroup namespace calls it.
    pub(super) is_whole: bool,
}

/// The id of the hierarchy's root, and so its directory's inode number.
const ROOT_ID: u64 = 1;

/// The mount that shows most of the hierarchy.
pub(super) fn unified() -> Option<Mount> {
    let mounts = std::fs::read("/proc/self/mountinfo").ok()?;
    let mut found: Vec<Mount> = mounts
        .split(|&byte| byte == b'\n')
        .filter_map(parsed)
        // Another file system may have been mounted over it.
        .filter_map(|mount| {
            let point = std::fs::metadata(&mount.point).ok()?;
            (point.dev() == mount.dev).then(|| Mount { is_whole: point.ino() == ROOT_ID, ..mount })
        })
        .collect();
    found.sort_by_key(|mount| mount.root.len());
    found.into_iter().next()
}

/// A line of mountinfo (proc(5)), if it is about the unified hierarchy:
/// `31 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw`.
fn parsed(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let dev = nix::sys::stat::makedev(major.parse().ok()?, minor.parse().ok()?);
    let (root, point) = (fields.next()?, fields.next()?);
    fields.find(|field| *field == b"-")?;
    (fields.next()? == b"cgroup2").then(|| Mount {
        point: PathBuf::from(OsString::from_vec(unescaped(point))),
        root: unescaped(root),
        dev,
        is_whole: false,
    })
}

/// The kernel writes space, tab, newline and backslash as `\ooo`.
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    while let Some((&first, rest)) = text.split_first() {
        let digits = if first == b'\\' { rest.split_at_checked(3) } else { None };
        let byte = digits.and_then(|(digits, after)| {
            Some((u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?, after))
        });
        let (byte, after) = byte.unwrap_or((first, rest));
        out.push(byte);
        text = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<(String, String)> {
        let mount = parsed(line.as_bytes())?;
        Some((mount.point.display().to_string(), String::from_utf8(mount.root).unwrap()))
    }

    fn found(point: &str, root: &str) -> Option<(String, String)> {
        Some((point.to_owned(), root.to_owned()))
    }

    #[test]
    fn unified_and_hybrid_hosts_and_containers_are_understood() {
        let plain = "31 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(of(plain), found("/sys/fs/cgroup", "/"));
        let hybrid = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        assert_eq!(of(hybrid), found("/sys/fs/cgroup/unified", "/"));
        let bound = "900 899 0:26 /system.slice/docker-aa.scope /sys/fs/cgroup ro shared:4 master:9 - cgroup2 cgroup rw";
        assert_eq!(of(bound), found("/sys/fs/cgroup", "/system.slice/docker-aa.scope"));
        let spaces = r"41 31 0:38 / /mnt/with\040space\134 rw - cgroup2 none rw";
        assert_eq!(of(spaces), found(r"/mnt/with space\", "/"));
    }

    #[test]
    fn other_file_systems_are_not_taken_for_it() {
        assert_eq!(of("40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd"), None);
        assert_eq!(of("31 23 0:28 / /cgroup2 rw - tmpfs cgroup2 rw"), None);
        assert_eq!(of(""), None);
        assert_eq!(of("31 23 0:28"), None);
    }
}
