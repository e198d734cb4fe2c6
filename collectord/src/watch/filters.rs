//! Filters that are paths: parsed, checked, and put into the form in which the kernel programs compare them.

use collector_common::{CgroupFilter, PREFIX_BYTES_MAX, PathPrefix};
use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Directories that are looked at for a cgroup's id.
const CGROUPS_MAX: usize = 65_536;

/// A path prefix. `None` is the root, which every path lies below.
///
/// # Errors
/// If it is not absolute, not in its plain form, or too long.
pub(super) fn parse_prefix(text: &str) -> Result<Option<PathPrefix>, String> {
    let path = text.strip_suffix('/').unwrap_or(text);
    if !text.starts_with('/') {
        return Err("a path prefix is absolute: it begins with a slash".to_owned());
    }
    if path.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = path[1..].split('/').collect();
    if names.iter().any(|name| name.is_empty() || *name == "." || *name == "..") {
        return Err("a path prefix has no empty name, no . and no ..".to_owned());
    }
    if path.len() > PREFIX_BYTES_MAX {
        return Err(format!("a path prefix has at most {PREFIX_BYTES_MAX} bytes, this has {}", path.len()));
    }
    let walked: Vec<u8> = names.iter().rev().flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect();
    Ok(Some(PathPrefix {
        walked: words(&walked),
        written: words(path.as_bytes()),
        len: u32::try_from(path.len()).expect("at most PREFIX_BYTES_MAX"),
    }))
}

fn words(bytes: &[u8]) -> [u32; PREFIX_BYTES_MAX / 4] {
    let mut padded = [0; PREFIX_BYTES_MAX];
    padded[..bytes.len()].copy_from_slice(bytes);
    let (words, _) = padded.as_chunks();
    std::array::from_fn(|at| u32::from_ne_bytes(words[at]))
}

/// A cgroup by its path (below the mount of the unified hierarchy, or in the file system) or by its id.
///
/// # Errors
/// If there is none.
pub(super) fn parse_cgroup(text: &str) -> Result<CgroupFilter, String> {
    let mount = crate::kernel::cgroup_mount().ok_or("no cgroup2 filesystem is mounted")?;
    let found = match text.parse::<u64>() {
        Ok(id) => by_id(&mount, id).ok_or_else(|| format!("no cgroup below {} has this id", mount.display())),
        Err(_) => by_path(&mount, text),
    };
    let (id, level) = found?;
    let [low, high] =
        [id & u64::from(u32::MAX), id >> 32].map(|half| u32::try_from(half).unwrap_or(u32::MAX));
    Ok(CgroupFilter { id: [low, high], level })
}

fn by_path(mount: &Path, text: &str) -> Result<(u64, u32), String> {
    let given = Path::new(text);
    let path =
        if given.starts_with(mount) { given.to_owned() } else { mount.join(text.trim_start_matches('/')) };
    let metadata = fs::metadata(&path).map_err(|error| format!("no cgroup {}: {error}", path.display()))?;
    let below = path
        .strip_prefix(mount)
        .map_err(|_| format!("{} is not below {}", path.display(), mount.display()))?;
    let level = below.components().count();
    Ok((metadata.ino(), u32::try_from(level).unwrap_or(u32::MAX)))
}

fn by_id(mount: &Path, id: u64) -> Option<(u64, u32)> {
    let mut left: VecDeque<(PathBuf, u32)> = [(mount.to_owned(), 0)].into();
    let mut looked_at = 0;
    while let Some((path, level)) = left.pop_front()
        && looked_at < CGROUPS_MAX
    {
        looked_at += 1;
        if fs::metadata(&path).is_ok_and(|metadata| metadata.ino() == id) {
            return Some((id, level));
        }
        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        left.extend(folders.map(|entry| (entry.path(), level + 1)));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn a_prefix_is_kept_as_walked_and_as_written() {
        let prefix = parse_prefix("/etc/ssl/").unwrap().unwrap();
        assert_eq!(prefix.len, 8);
        assert_eq!(&prefix.walked.as_bytes()[..9], b"ssl\0etc\0\0");
        assert_eq!(&prefix.written.as_bytes()[..9], b"/etc/ssl\0");
        assert_eq!(parse_prefix("/"), Ok(None));
    }

    #[test]
    fn a_prefix_names_what_is_wrong_with_it() {
        assert!(parse_prefix("etc").unwrap_err().contains("absolute"));
        assert!(parse_prefix("/etc/../x").unwrap_err().contains(".."));
        assert!(parse_prefix("/etc//x").unwrap_err().contains("empty"));
        assert!(parse_prefix(&"/x".repeat(65)).unwrap_err().contains("128"));
        assert!(parse_prefix(&"/x".repeat(64)).is_ok());
    }

    #[test]
    fn a_cgroup_that_is_not_there_is_named() {
        assert!(parse_cgroup("/no/such/cgroup").is_err());
        assert!(parse_cgroup("18446744073709551615").is_err());
    }
}
