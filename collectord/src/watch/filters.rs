//! Filters that are paths: parsed, checked, and put into the form in which the kernel programs compare them.

use crate::host;
use collector_common::{CgroupFilter, PREFIX_BYTES_MAX, PathPrefix};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
    let mut first = [0; 8];
    let mut first_mask = [0; 8];
    for (at, byte) in names[0].bytes().chain([0]).take(8).enumerate() {
        (first[at], first_mask[at]) = (byte, u8::MAX);
    }
    Ok(Some(PathPrefix {
        walked: words(&walked),
        written: words(path.as_bytes()),
        first: words(&first),
        first_mask: words(&first_mask),
        len: u32::try_from(path.len()).expect("at most PREFIX_BYTES_MAX"),
    }))
}

/// By 4 bytes, with zeros behind them.
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    std::array::from_fn(|at| {
        let mut word = [0; 4];
        for (byte, from) in word.iter_mut().zip(bytes.iter().skip(at * 4)) {
            *byte = *from;
        }
        u32::from_ne_bytes(word)
    })
}

/// A cgroup by its path (below the mount of the unified hierarchy, or in the file system) or by its id.
///
/// # Errors
/// If there is none.
pub(super) fn parse_cgroup(text: &str) -> Result<CgroupFilter, String> {
    let mount = host::root_cgroup().ok_or("no cgroup2 filesystem is mounted")?;
    let found = match text.parse::<u64>() {
        Ok(id) => by_id(id).ok_or_else(|| format!("no cgroup below {} has this id", mount.display())),
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
    // The level is counted in the path's names, so it has to have no `..` and no symlink.
    let unusable = |error| format!("no cgroup {}: {error}", path.display());
    let path = path.canonicalize().map_err(unusable)?;
    let metadata = fs::metadata(&path).map_err(unusable)?;
    let below = path
        .strip_prefix(mount)
        .map_err(|_| format!("{} is not below {}", path.display(), mount.display()))?;
    let level = below.components().count();
    Ok((metadata.ino(), u32::try_from(level).unwrap_or(u32::MAX)))
}

/// The level is that of the path: each name of it is one further from the root.
fn by_id(id: u64) -> Option<(u64, u32)> {
    let path = host::cgroup_path(id)?;
    let names = path.as_bytes().split(|&byte| byte == b'/').filter(|name| !name.is_empty());
    Some((id, u32::try_from(names.count()).unwrap_or(u32::MAX)))
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
        assert_eq!(prefix.first.as_bytes(), b"etc\0\0\0\0\0");
        assert_eq!(prefix.first_mask.as_bytes(), [255, 255, 255, 255, 0, 0, 0, 0]);
        assert_eq!(parse_prefix("/"), Ok(None));
    }

    #[test]
    fn of_a_long_first_name_the_begin_is_kept() {
        let first = |text: &str| parse_prefix(text).unwrap().unwrap();
        assert_eq!(first("/seven77/x").first.as_bytes(), b"seven77\0");
        assert_eq!(first("/eight888/x").first.as_bytes(), b"eight888");
        assert_eq!(first("/longer-than-eight").first.as_bytes(), b"longer-t");
        assert_eq!(first("/longer-than-eight").first_mask.as_bytes(), [255; 8]);
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
        assert!(parse_cgroup("/..").is_err(), "it is above the root of the hierarchy");
    }
}
