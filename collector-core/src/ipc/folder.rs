//! The folder that holds the socket: the collector's own, in which nobody else can change anything.
//!
//! It and the folder above it are made if they are missing (after a boot, /run is empty), each relative to the opened
//! folder above it and without following a symbolic link. What was there before is looked at and left as it is.

use super::IpcError;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, fchown, geteuid};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;
/// Of a folder above that was made: others may look through it, as through /run.
const ABOVE_MODE: u32 = 0o755;

/// Opens the folder; refuses one in which others can change anything.
pub(super) fn open(path: &Path, group: Option<Gid>) -> Result<File, IpcError> {
    let failed = |what| move |source| IpcError::System { what, path: path.to_owned(), source };
    let (folder, is_new) = match (path.parent(), path.file_name()) {
        (Some(above), Some(name)) => {
            let above = open_above(above)?;
            // With 0700 nobody gets in before the rest is set; the umask can only take bits away.
            let is_new = make(&above, name, 0o700).map_err(failed("make folder"))?;
            let opened = open_in(&above, name);
            (opened.map_err(failed("open folder (a symbolic link is not followed)"))?, is_new)
        }
        _ => (open_followed(path).map_err(failed("open folder"))?, false),
    };
    let refuse = |reason| Err(IpcError::Folder { path: path.to_owned(), reason });
    let stat = fstat(&folder).map_err(|error| failed("look at folder")(error.into()))?;
    if let Some(reason) = not_ours(&stat) {
        return refuse(reason);
    }
    if is_new {
        let mode = if group.is_some() { 0o750 } else { 0o700 };
        fchown(&folder, None, group)
            .and_then(|()| fchmod(&folder, Mode::from_bits_truncate(mode)))
            .map_err(|error| failed("set the permissions of folder")(error.into()))?;
    } else if let Some(group) = group {
        let for_group = stat.st_gid == group.as_raw() && stat.st_mode & 0o010 != 0;
        if !for_group && stat.st_mode & 0o001 == 0 {
            return refuse(format!("group {group} cannot reach what is in it"));
        }
    }
    Ok(folder)
}

/// Opens the folder above, whoever's it is, and makes it if it is missing.
fn open_above(path: &Path) -> Result<File, IpcError> {
    let failed = |what| move |source| IpcError::System { what, path: path.to_owned(), source };
    match open_followed(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        result => return result.map_err(failed("open folder")),
    }
    let (Some(root), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed("make folder")(ErrorKind::NotFound.into()));
    };
    let root_path: PathBuf = root.to_owned();
    let root = open_followed(root).map_err(failed("make folder"))?;
    let stat = fstat(&root).map_err(|error| failed("make folder")(error.into()))?;
    // Where others can rename what is in it, what was made could be another's by the time it is used.
    let is_safe = [0, geteuid().as_raw()].contains(&stat.st_uid)
        && (stat.st_mode & WRITABLE_BY_OTHERS == 0 || stat.st_mode & STICKY != 0);
    if !is_safe {
        let reason = "others can write to it, so no folder is made in it".to_owned();
        return Err(IpcError::Folder { path: root_path, reason });
    }
    let is_new = make(&root, name, ABOVE_MODE).map_err(failed("make folder"))?;
    let folder = open_in(&root, name).map_err(failed("open folder (a symbolic link is not followed)"))?;
    let stat = fstat(&folder).map_err(|error| failed("look at folder")(error.into()))?;
    if let Some(reason) = not_ours(&stat) {
        return Err(IpcError::Folder { path: path.to_owned(), reason });
    }
    if is_new {
        // What the umask took.
        fchmod(&folder, Mode::from_bits_truncate(ABOVE_MODE))
            .map_err(|error| failed("set the permissions of folder")(error.into()))?;
    }
    Ok(folder)
}

/// Why it cannot be trusted as a folder of our own.
fn not_ours(stat: &FileStat) -> Option<String> {
    let own = geteuid();
    if stat.st_uid != own.as_raw() {
        return Some(format!("it belongs to uid {}, not to uid {own}", stat.st_uid));
    }
    let mode = stat.st_mode & 0o7777;
    (mode & WRITABLE_BY_OTHERS != 0).then(|| format!("its mode is {mode:04o}: others can write to it"))
}

/// Makes a folder; false if something has the name.
fn make(above: &File, name: &OsStr, mode: u32) -> io::Result<bool> {
    match mkdirat(above, name, Mode::from_bits_truncate(mode)) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn open_in(above: &File, name: &OsStr) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(above, name, flags, Mode::empty())?.into())
}

fn open_followed(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(path)
}
