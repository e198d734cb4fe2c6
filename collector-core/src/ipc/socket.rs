//! The socket in the file system: who can reach it, and what it may replace.
//!
//! Everything happens relative to the opened folder, so that a path which changes meanwhile changes nothing. The socket
//! has its permissions before it has a name, gets another name first, listens, and is then renamed: from the moment
//! it can be found under its name it is finished. A lock file keeps two that begin at once apart. It is the owner's
//! alone, since whoever can open a file can lock it and keep others waiting: the folder is open to the group's members.

use super::{IpcError, IpcOptions, folder};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmod, fchmodat, fstat, fstatat};
use nix::unistd::{Gid, Group, UnlinkatFlags, fchownat, geteuid, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Connections that wait to be accepted. Those over the clients' bound are accepted and closed, so that few wait.
const BACKLOG: i32 = 64;
/// How long one waits for another that begins or ends in the same folder; that takes far less than a millisecond.
const LOCK_WAIT_MAX: Duration = Duration::from_millis(500);
const LOCK_POLL: Duration = Duration::from_millis(2);

/// A listening socket that is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    pub(super) listener: UnixListener,
    pub(super) group: Option<Gid>,
    place: Place,
    /// Device and inode: what stands under the name later may be somebody else's.
    id: (u64, u64),
}

/// A name in an opened folder.
#[derive(Debug)]
struct Place {
    folder: File,
    name: OsString,
    path: PathBuf,
}

impl BoundSocket {
    pub(crate) fn bind(options: &IpcOptions) -> Result<Self, IpcError> {
        options.validate()?;
        let group = options.group.as_deref().map(find_group).transpose()?;
        let place = Place::open(&options.socket, group)?;
        place
            .locked(|| {
                place.check_free()?;
                let fd = place.listen_under(&place.temporary_name(), group)?;
                let stat =
                    place.stat(&place.temporary_name()).map_err(|error| place.failed("look at", error))?;
                renameat(&place.folder, &*place.temporary_name(), &place.folder, &*place.name)
                    .map_err(|error| place.failed("rename", error))?;
                let id = stat.map(|stat| (stat.st_dev, stat.st_ino)).unwrap_or_default();
                info!(socket = %options.socket.display(), "IPC socket ready");
                Ok((UnixListener::from(fd), id))
            })
            .map(|(listener, id)| Self { listener, group, place, id })
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        let place = &self.place;
        let removed = place.locked(|| match place.stat(&place.name) {
            Ok(Some(stat)) if (stat.st_dev, stat.st_ino) == self.id => {
                unlinkat(&place.folder, &*place.name, UnlinkatFlags::NoRemoveDir)
                    .map_err(|error| place.failed("remove", error))
            }
            // Somebody else's by now, or gone.
            _ => Ok(()),
        });
        if let Err(error) = removed {
            warn!(%error, "the IPC socket stays behind");
        }
    }
}

impl Place {
    /// The name in its folder, which is made if it is missing.
    fn open(path: &Path, group: Option<Gid>) -> Result<Self, IpcError> {
        let name = path.file_name().unwrap_or_default().to_owned();
        let folder = folder::open(path.parent().unwrap_or(Path::new("/")), group)?;
        Ok(Self { folder, name, path: path.to_owned() })
    }

    fn temporary_name(&self) -> OsString {
        self.beside("new")
    }

    /// The name of a file of our own beside the socket.
    fn beside(&self, what: &str) -> OsString {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(".");
        name.push(what);
        name
    }

    /// One at a time of all that begin or end with this name.
    fn locked<T>(&self, act: impl FnOnce() -> Result<T, IpcError>) -> Result<T, IpcError> {
        let until = Instant::now() + LOCK_WAIT_MAX;
        let _lock = loop {
            if let Some(lock) = self.try_lock()? {
                break lock;
            }
            if Instant::now() >= until {
                return Err(self.failed("lock", Errno::EWOULDBLOCK));
            }
            sleep(LOCK_POLL);
        };
        let result = act();
        // Before it is unlocked: whoever gets the lock then sees that the file has no name any more and makes a new one.
        let _ = unlinkat(&self.folder, &*self.beside("lock"), UnlinkatFlags::NoRemoveDir);
        result
    }

    /// The lock, as long as the file is open; `None` while another has it.
    fn try_lock(&self) -> Result<Option<File>, IpcError> {
        let name = self.beside("lock");
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let failed = |error| self.failed("open the lock file of", error);
        let file = openat(&self.folder, &*name, flags, Mode::from_bits_truncate(0o600)).map_err(failed)?;
        let file = File::from(file);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => {
                return Err(IpcError::System { what: "lock", path: self.path.clone(), source });
            }
        }
        let opened = fstat(&file).map_err(failed)?;
        let named = self.stat(&name).map_err(failed)?;
        let is_named = named.is_some_and(|now| (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino));
        Ok(is_named.then_some(file))
    }

    /// Refuses whatever is no dead socket of our own. A dead one is replaced by the rename.
    fn check_free(&self) -> Result<(), IpcError> {
        self.check_ours(&self.name)?;
        if self.check_ours(&self.temporary_name())? {
            // Left by one that ended between its bind and its rename.
            unlinkat(&self.folder, &*self.temporary_name(), UnlinkatFlags::NoRemoveDir)
                .map_err(|error| self.failed("remove the leftover of", error))?;
        }
        match self.probe() {
            Ok(()) | Err(Errno::EAGAIN) => Err(IpcError::InUse { path: self.path.clone() }),
            Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(()),
            Err(error) => Err(self.failed("find out whether a server answers at", error)),
        }
    }

    /// Whether a socket of our own stands there; an error if it is anything else.
    fn check_ours(&self, name: &OsStr) -> Result<bool, IpcError> {
        let Some(stat) = self.stat(name).map_err(|error| self.failed("look at", error))? else {
            return Ok(false);
        };
        let refuse = |reason| Err(IpcError::Foreign { path: self.path.clone(), reason });
        match stat.st_mode & SFlag::S_IFMT.bits() {
            kind if kind == SFlag::S_IFLNK.bits() => refuse("it is a symbolic link".to_owned()),
            kind if kind != SFlag::S_IFSOCK.bits() => refuse("it is no socket".to_owned()),
            _ if stat.st_uid != geteuid().as_raw() => refuse(format!("it belongs to uid {}", stat.st_uid)),
            _ => Ok(true),
        }
    }

    fn stat(&self, name: &OsStr) -> Result<Option<FileStat>, Errno> {
        match fstatat(&self.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => Ok(None),
            result => result.map(Some),
        }
    }

    /// Tries to connect, without waiting.
    fn probe(&self) -> Result<(), Errno> {
        let probe = new_socket()?;
        connect(probe.as_raw_fd(), &self.address(&self.name)?)
    }

    fn listen_under(&self, name: &OsStr, group: Option<Gid>) -> Result<OwnedFd, IpcError> {
        let mode = Mode::from_bits_truncate(if group.is_some() { 0o660 } else { 0o600 });
        let listening = || {
            let fd = new_socket()?;
            // The file gets the mode that the socket has when it is bound, less the umask.
            fchmod(&fd, mode)?;
            bind(fd.as_raw_fd(), &self.address(name)?)?;
            if group.is_some() {
                fchownat(&self.folder, name, None, group, AtFlags::AT_SYMLINK_NOFOLLOW)?;
                // What the umask took. Nobody else can have put another file here.
                fchmodat(&self.folder, name, mode, FchmodatFlags::FollowSymlink)?;
            }
            listen(&fd, Backlog::new(BACKLOG)?)?;
            Ok(fd)
        };
        listening().map_err(|error| self.failed("listen at", error))
    }

    /// A name in the opened folder; also short enough for an address, however long the path is.
    fn address(&self, name: &OsStr) -> Result<UnixAddr, Errno> {
        let folder = format!("/proc/self/fd/{}", self.folder.as_raw_fd());
        UnixAddr::new(&Path::new(&folder).join(name))
    }

    fn failed(&self, what: &'static str, error: Errno) -> IpcError {
        IpcError::System { what, path: self.path.clone(), source: error.into() }
    }
}

fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Stream, flags, None)
}

fn find_group(name: &str) -> Result<Gid, IpcError> {
    let found = Group::from_name(name).ok().flatten();
    found.map(|group| group.gid).ok_or_else(|| IpcError::NoSuchGroup(name.to_owned()))
}
