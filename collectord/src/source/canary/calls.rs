//! The canary's calls and its program. None changes anything, none can succeed with an effect, and none waits long.

use crate::{children, raw_calls};
use collector_common::Hook;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, openat, openat2};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, getsockname, setsockopt, socket, sockopt,
};
use nix::sys::stat::Mode;
use nix::sys::time::TimeVal;
use nix::unistd::{execve, execveat};
use std::ffi::CString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest wait for an attempt that nobody answers, because a firewall has swallowed it.
const ATTEMPT_MS_MAX: i64 = 100;

/// Makes them.
#[derive(Debug)]
pub(super) struct Calls {
    /// A folder that is not there, below which all its names are. It is relative: where path prefixes filter, such a name
    /// passes if it is not there.
    nowhere: PathBuf,
    /// One that does nothing.
    program: Option<&'static str>,
}

impl Calls {
    pub(super) fn new(now_ns: u64) -> Self {
        Self {
            nowhere: PathBuf::from(format!(".collectord-canary-{}-{now_ns:x}", std::process::id())),
            program: ["/usr/bin/true", "/bin/true"].into_iter().find(|program| Path::new(program).is_file()),
        }
    }

    /// Makes the call that comes through this hook. Returns whether its event is due: a machine can be without a loopback
    /// device, or without IPv6.
    pub(super) fn make(&self, hook: Hook, number: u64) -> bool {
        // Not there, as its folder: what comes of it is ENOENT.
        let path = self.nowhere.join(number.to_string());
        match hook {
            // Meant to write, as `--writes` tells it.
            Hook::Openat => openat(AT_FDCWD, &path, OFlag::O_WRONLY, Mode::empty()).is_err(),
            #[cfg(target_arch = "x86_64")]
            Hook::Open => raw_calls::open(&name(path), OFlag::O_WRONLY).is_err(),
            #[cfg(target_arch = "x86_64")]
            Hook::Creat => raw_calls::creat(&name(path)).is_err(),
            Hook::OpenByHandle => raw_calls::open_by_handle(OFlag::O_WRONLY).is_err(),
            Hook::Openat2 => openat2(AT_FDCWD, &path, OpenHow::new().flags(OFlag::O_WRONLY)).is_err(),
            // Without a name, which no program has: nobody can put one there.
            Hook::Execve => execve(c"", &self.argument(), &[] as &[CString]).is_err(),
            Hook::Execveat => {
                execveat(AT_FDCWD, c"", &self.argument(), &[] as &[CString], AtFlags::empty()).is_err()
            }
            Hook::ConnectExit => UnixStream::connect(path).is_err(),
            Hook::TcpEnd => matches!(refused(), Err(Errno::ECONNREFUSED)),
            Hook::SendMsg4 => datagram_to_itself(Ipv4Addr::LOCALHOST.into()).is_ok(),
            Hook::SendMsg6 => datagram_to_itself(Ipv6Addr::LOCALHOST.into()).is_ok(),
            _ => false,
        }
    }

    /// Starts a program that does nothing, and waits for its end; false where there is none. It comes through the hooks of
    /// forks, execs and exits. Its input and output are this process's: others would have to be opened.
    pub(super) fn run_program(&self) -> bool {
        let Some(program) = self.program else { return false };
        let started = children::start(Command::new(program).env_clear());
        started.and_then(|mut child| child.wait()).is_ok()
    }

    fn argument(&self) -> [CString; 1] {
        [name(self.nowhere.clone())]
    }
}

fn name(path: PathBuf) -> CString {
    CString::new(path.into_os_string().into_vec()).unwrap_or_default()
}

/// Connects to a port that is taken and at which nobody listens.
fn refused() -> Result<(), Errno> {
    let tcp = || socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    let taken = tcp()?;
    bind(taken.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0))?;
    let place: SockaddrIn = getsockname(taken.as_raw_fd())?;
    let attempt = tcp()?;
    setsockopt(&attempt, sockopt::SendTimeout, &TimeVal::new(0, ATTEMPT_MS_MAX * 1000))?;
    connect(attempt.as_raw_fd(), &place)
}

/// Sends an empty datagram to the socket that sends it.
fn datagram_to_itself(loopback: IpAddr) -> io::Result<usize> {
    let socket = UdpSocket::bind((loopback, 0))?;
    socket.send_to(&[], socket.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_comes_out_as_it_should() {
        let calls = Calls::new(7);
        let is_a_call = |hook: &Hook| match hook {
            Hook::Fork | Hook::Exec | Hook::Exit => false,
            Hook::Open | Hook::Creat => cfg!(target_arch = "x86_64"),
            _ => true,
        };
        let hooks: Vec<_> = super::super::HOOKS.into_iter().filter(is_a_call).collect();
        // IPv6 may be switched off here.
        let due = hooks.iter().copied().filter(|hook| *hook == Hook::SendMsg6 || calls.make(*hook, 1));
        assert_eq!(due.collect::<Vec<_>>(), hooks);
        assert!(calls.run_program());
    }
}
