//! The SHA-256 of a file, as it was while it was read.
//!
//! The path has to be absolute and its last part no symbolic link (the links before it are followed). The file is found
//! without being opened for reading (`O_PATH`), so that no device is touched; only a regular file is then read, and
//! not one of the kernel's own file systems, where reading can have effects. Device, inode, size, modification and
//! change time are compared before and after, and the path must still name the same file: what changed under the
//! reader is told and never hashed into one value. Limit: a page that a process has mapped for writing and had
//! changed before can be changed again without a new time.

use super::peer::Access;
use nix::fcntl::OFlag;
use nix::sys::statfs::{FsType, fstatfs};
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use tokio_util::sync::CancellationToken;

/// Bytes read at once; the limits are looked at in between.
const CHUNK_BYTES: usize = 256 * 1024;
/// A path longer than the kernel takes.
const PATH_BYTES_MAX: usize = 4096;
/// The kernel's file times advance in steps; two changes within one look like one. A file that was changed so lately is
/// read only after the step is over.
const TIME_STEP: Duration = Duration::from_millis(20);
/// procfs, sysfs, debugfs, tracefs, securityfs, cgroup, cgroup2, bpf.
const KERNEL_FILE_SYSTEMS: [i64; 8] =
    [0x9fa0, 0x6265_6572, 0x6462_6720, 0x7472_6163, 0x7363_6673, 0x0027_e0eb, 0x6367_7270, 0xcafe_4a11];

/// How much of a file may be read, until when, and for whom.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) bytes_max: u64,
    /// The end of the task's time for hashing, however many files it is about.
    pub(super) until: Instant,
    /// That time, for who is told that it is over.
    pub(super) timeout: Duration,
    pub(super) access: Access,
    /// Nobody waits for the answer any more.
    pub(super) stop: CancellationToken,
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), HashError> {
        if self.stop.is_cancelled() {
            return Err(HashError::Stopping);
        }
        if Instant::now() > self.until {
            return Err(HashError::TimedOut(self.timeout));
        }
        Ok(())
    }
}

/// Why there is no hash.
#[derive(Debug, thiserror::Error)]
pub(super) enum HashError {
    #[error("executable_path is not absolute")]
    Relative,
    #[error("executable_path has {0} bytes, at most {PATH_BYTES_MAX} are allowed")]
    LongPath(usize),
    #[error("failed to read the file: {0}")]
    Io(#[from] io::Error),
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    #[error("it is the kernel's, not a file of a disk")]
    KernelFile,
    #[error("not permitted: members of the group are told about executables that everybody can read")]
    NotPermitted,
    #[error("it has {size} bytes, at most {max} are hashed")]
    TooLarge { size: u64, max: u64 },
    #[error("hashing it took longer than {0:?}")]
    TimedOut(Duration),
    #[error("{0}; no hash is told")]
    Changed(&'static str),
    #[error("the collector is stopping, or the client has gone")]
    Stopping,
}

/// The hash in lower-case hex. Blocks its thread. `after_chunk` is called after each read.
pub(super) fn hash_path(path: &str, limits: &Limits, after_chunk: impl FnMut()) -> Result<String, HashError> {
    if path.len() > PATH_BYTES_MAX {
        return Err(HashError::LongPath(path.len()));
    }
    if !path.starts_with('/') {
        return Err(HashError::Relative);
    }
    let found =
        OpenOptions::new().read(true).custom_flags((OFlag::O_PATH | OFlag::O_NOFOLLOW).bits()).open(path)?;
    let is = found.metadata()?;
    check_kind(&is, limits.access)?;
    // The same file, whatever the path names by now. O_NONBLOCK: a lease that somebody holds is an error, not a wait.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
    let hash = hash_file(&file, limits, after_chunk)?;
    match std::fs::symlink_metadata(Path::new(path)) {
        Ok(now) if (now.dev(), now.ino()) == (is.dev(), is.ino()) => Ok(hash),
        Ok(_) => Err(HashError::Changed("another file has taken its place while it was read")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(HashError::Changed("it was removed while it was read"))
        }
        Err(error) => Err(error.into()),
    }
}

/// The hash of an open regular file.
pub(super) fn hash_file(
    file: &File,
    limits: &Limits,
    mut after_chunk: impl FnMut(),
) -> Result<String, HashError> {
    limits.check()?;
    if is_of_kernel(fstatfs(file).map_err(io::Error::from)?.filesystem_type()) {
        return Err(HashError::KernelFile);
    }
    check_kind(&file.metadata()?, limits.access)?;
    wait_out_time_step(&file.metadata()?);
    let before = file.metadata()?;
    if before.size() > limits.bytes_max {
        return Err(HashError::TooLarge { size: before.size(), max: limits.bytes_max });
    }
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = before.size();
    // Never beyond the size it had: a file that grows as fast as it is read would have no end.
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let read = match (&mut &*file).read(&mut chunk[..wanted]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        };
        if read == 0 {
            return Err(HashError::Changed("it became shorter while it was read"));
        }
        hasher.update(&chunk[..read]);
        left -= read as u64;
        after_chunk();
        limits.check()?;
    }
    if state(&before) != state(&file.metadata()?) {
        return Err(HashError::Changed("it was changed while it was read"));
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn check_kind(is: &Metadata, access: Access) -> Result<(), HashError> {
    let kind = is.file_type();
    let other = [
        (kind.is_symlink(), "a symbolic link"),
        (kind.is_dir(), "a folder"),
        (kind.is_fifo(), "a pipe"),
        (kind.is_socket(), "a socket"),
        (kind.is_char_device() || kind.is_block_device(), "a device"),
    ];
    if let Some((_, name)) = other.into_iter().find(|(is_it, _)| *is_it) {
        return Err(HashError::NotRegular(name));
    }
    let (for_all, executable) = (is.mode() & 0o004 != 0, is.mode() & 0o111 != 0);
    match access {
        Access::Group if !(for_all && executable) => Err(HashError::NotPermitted),
        _ => Ok(()),
    }
}

/// What a change of the file changes too.
fn state(is: &Metadata) -> [i128; 7] {
    [
        is.dev().into(),
        is.ino().into(),
        is.size().into(),
        is.mtime().into(),
        is.mtime_nsec().into(),
        is.ctime().into(),
        is.ctime_nsec().into(),
    ]
}

fn wait_out_time_step(is: &Metadata) {
    let nanos = u32::try_from(is.ctime_nsec()).unwrap_or(0);
    let changed = u64::try_from(is.ctime()).map(|seconds| Duration::new(seconds, nanos)).unwrap_or_default();
    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + changed);
    if let Ok(age) = age
        && age < TIME_STEP
    {
        std::thread::sleep(TIME_STEP - age);
    }
}

fn is_of_kernel(kind: FsType) -> bool {
    #[allow(clippy::useless_conversion, reason = "the type differs between platforms")]
    let kind = i64::from(kind.0);
    KERNEL_FILE_SYSTEMS.contains(&kind)
}

#[cfg(test)]
mod tests;
