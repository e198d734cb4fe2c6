//! The `newc` cpio format, as the kernel unpacks an initramfs (Documentation/driver-api/early-userspace/
//! buffer-format.rst): a header of 8-digit hex fields, name, content, each padded to 4 bytes.

use anyhow::{Context, Result};
use std::collections::BTreeSet;

const DIRECTORY: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// An archive in memory. Paths are absolute; parent folders are added by themselves.
pub(crate) struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    inode: u32,
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), folders: BTreeSet::new(), inode: 0 }
    }

    pub(crate) fn folder(&mut self, path: &str) -> Result<()> {
        if path.is_empty() || !self.folders.insert(path.to_owned()) {
            return Ok(());
        }
        self.parents(path)?;
        self.entry(path, DIRECTORY | 0o755, &[], (0, 0))
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.entry(path, REGULAR | mode, content, (0, 0))
    }

    pub(crate) fn symlink(&mut self, path: &str, to: &str) -> Result<()> {
        self.parents(path)?;
        self.entry(path, SYMLINK | 0o777, to.as_bytes(), (0, 0))
    }

    pub(crate) fn character_device(&mut self, path: &str, device: (u32, u32)) -> Result<()> {
        self.parents(path)?;
        self.entry(path, CHARACTER_DEVICE | 0o600, &[], device)
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("/TRAILER!!!", 0, &[], (0, 0))?;
        Ok(self.bytes)
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        match path.rsplit_once('/') {
            Some((parent, _)) => self.folder(parent),
            None => Ok(()),
        }
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8], device: (u32, u32)) -> Result<()> {
        let name = path.trim_start_matches('/');
        let length = u32::try_from(content.len()).with_context(|| format!("{path} is over 4 GiB"))?;
        let name_length = u32::try_from(name.len() + 1).with_context(|| format!("name too long: {path}"))?;
        self.inode += 1;
        // inode, mode, uid, gid, links, mtime, length, device, rdevice, name length, checksum
        let fields = [self.inode, mode, 0, 0, 1, 0, length, 0, 0, device.0, device.1, name_length, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_110_byte_header_a_padded_name_and_padded_content() {
        let mut archive = Archive::new();
        archive.file("/ab", 0o644, b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        let header = "070701000000010000".to_owned() + "81a4";
        assert!(bytes.starts_with(header.as_bytes()), "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(&bytes[110..113], b"ab\0");
        assert_eq!(&bytes[116..121], b"hello");
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn parent_folders_come_before_their_files_and_once() {
        let mut archive = Archive::new();
        archive.file("/a/b/c", 0o644, b"").unwrap();
        archive.file("/a/b/d", 0o644, b"").unwrap();
        let bytes = archive.finish().unwrap();
        let names: Vec<_> = String::from_utf8_lossy(&bytes)
            .split("070701")
            .skip(1)
            .map(|entry| entry[104..].split('\0').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/b/d", "TRAILER!!!"]);
    }
}
