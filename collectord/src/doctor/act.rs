//! Events of the doctor's own making: what a child process does so that each class has something to tell. The child
//! does it, since the collector never reports itself.

use crate::children;
use crate::{host, raw_calls};
use collector_common::Class;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, openat2};
use nix::unistd::execveat;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The hidden flag under which this program is its own helper.
pub(super) const FLAG: &str = "--self-made-event";
/// A file that is nowhere.
#[cfg(target_arch = "x86_64")]
const NO_FILE: &CStr = c"/proc/self/no-such-file";
/// A program that is nowhere, for an exec that fails.
const NO_PROGRAM: &str = "/proc/self/no-such-program";
const NO_WORDS: &[&CStr] = &[];
/// A loopback that drops packets must not hold the helper.
const PACKET_MAX: Duration = Duration::from_secs(2);

/// What makes an event of each class. A way that this machine has not (such as IPv6) is left out; at least one must
/// work. 32-bit calls come last: where the kernel has them and was started without (`ia32_emulation=0`), they end the
/// helper, and the doctor says so.
fn ways(class: Class) -> &'static [(&'static str, Way)] {
    match class {
        // The helper's own start and end are an exec and an exit.
        Class::Process => &[
            ("a failing exec", failing_exec),
            ("a failing exec below a folder", failing_execat),
            ("a child", child),
            ("a cgroup", cgroup),
            #[cfg(target_arch = "x86_64")]
            ("failing execs by 32-bit calls", bits32::execs),
        ],
        Class::Network => &[
            ("a TCP connection over 127.0.0.1", tcp4),
            ("a TCP connection over ::1", tcp6),
            ("datagrams over 127.0.0.1", udp4),
            ("datagrams over ::1", udp6),
            #[cfg(target_arch = "x86_64")]
            ("32-bit calls", bits32::connects),
            #[cfg(target_arch = "x86_64")]
            ("a 32-bit call over 127.0.0.1", bits32::udp4),
            #[cfg(target_arch = "x86_64")]
            ("a 32-bit call over ::1", bits32::udp6),
        ],
        Class::File => &[
            ("opening a file", open),
            ("opening a file that is not there", open_missing),
            ("opening a file by openat2", openat2_root),
            ("opening a file by its handle", open_by_handle),
            #[cfg(target_arch = "x86_64")]
            ("opening a file by open", open_itself),
            #[cfg(target_arch = "x86_64")]
            ("making a file by creat", creat),
            #[cfg(target_arch = "x86_64")]
            ("opening files by 32-bit calls", bits32::opens),
        ],
    }
}

type Way = fn() -> io::Result<()>;

/// Starts the helper for a class.
pub(super) fn start(class: Class) -> io::Result<Child> {
    let mut helper = this_program();
    helper
        .args(["doctor", FLAG, class.name()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    children::start(&mut helper)
}

/// The helper's whole life.
pub(super) fn make_events(class: Class) -> Result<(), String> {
    let mut failed = Vec::new();
    for (name, way) in ways(class) {
        if let Err(error) = way() {
            failed.push(format!("{name}: {error}"));
        }
    }
    if failed.len() == ways(class).len() { Err(failed.join("; ")) } else { Ok(()) }
}

/// This very file, also if another one lies in its place by now.
fn this_program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("collectord");
    command
}

fn failing_exec() -> io::Result<()> {
    // It returns only where it fails.
    let error = Command::new(NO_PROGRAM).exec();
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn failing_execat() -> io::Result<()> {
    let Err(errno) =
        execveat(File::open("/")?, c"no-such-program", &[c"no-such-program"], NO_WORDS, AtFlags::empty());
    if errno == Errno::ENOENT { Ok(()) } else { Err(errno.into()) }
}

fn child() -> io::Result<()> {
    let status = this_program().arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("the child ended with {status}"))) }
}

fn tcp4() -> io::Result<()> {
    tcp(Ipv4Addr::LOCALHOST.into())
}

fn tcp6() -> io::Result<()> {
    tcp(Ipv6Addr::LOCALHOST.into())
}

/// A blocking connect to a listener of its own: the kernel completes it without an accept.
fn tcp(address: IpAddr) -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::new(address, 0))?;
    TcpStream::connect(listener.local_addr()?).map(drop)
}

fn udp4() -> io::Result<()> {
    udp(Ipv4Addr::LOCALHOST.into())
}

fn udp6() -> io::Result<()> {
    udp(Ipv6Addr::LOCALHOST.into())
}

/// One connected, one addressed datagram.
fn udp(address: IpAddr) -> io::Result<()> {
    let any = SocketAddr::new(address, 0);
    let (listener, speaker, other) = (UdpSocket::bind(any)?, UdpSocket::bind(any)?, UdpSocket::bind(any)?);
    speaker.set_write_timeout(Some(PACKET_MAX))?;
    other.set_write_timeout(Some(PACKET_MAX))?;
    speaker.connect(listener.local_addr()?)?;
    speaker.send(b"doctor")?;
    other.send_to(b"doctor", listener.local_addr()?).map(drop)
}

fn open() -> io::Result<()> {
    let path = std::env::temp_dir().join(format!("collectord-doctor-{}", std::process::id()));
    // Not somebody else's file, nor one that a link points to.
    let mut file = File::create_new(&path)?;
    let written =
        file.write_all(b"written by collectord doctor\n").and_then(|()| File::open(&path).map(drop));
    std::fs::remove_file(&path)?;
    written
}

fn open_missing() -> io::Result<()> {
    match File::open(NO_PROGRAM) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other(format!("{NO_PROGRAM} is there"))),
    }
}

fn openat2_root() -> io::Result<()> {
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
    openat2(AT_FDCWD, "/", how).map(drop).map_err(Into::into)
}

fn fails(outcome: Result<(), Errno>) -> io::Result<()> {
    match outcome {
        Err(_) => Ok(()),
        Ok(()) => Err(io::Error::other("a call that should fail did not")),
    }
}

fn open_by_handle() -> io::Result<()> {
    fails(raw_calls::open_by_handle(OFlag::O_RDONLY))
}

#[cfg(target_arch = "x86_64")]
fn open_itself() -> io::Result<()> {
    fails(raw_calls::open(NO_FILE, OFlag::O_RDONLY))
}

#[cfg(target_arch = "x86_64")]
fn creat() -> io::Result<()> {
    fails(raw_calls::creat(NO_FILE))
}

/// The name of a cgroup of a helper's, which its parent looks for in events.
pub(super) fn cgroup_name(helper: u32) -> String {
    format!("collectord-doctor-{helper}")
}

/// A cgroup below the helper's own, made and taken away.
fn cgroup() -> io::Result<()> {
    let own = std::fs::read_to_string("/proc/self/cgroup")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let (Some(own), Some(root)) = (own, host::root_cgroup()) else {
        return Err(io::Error::other("no unified hierarchy is mounted"));
    };
    let folder = root.join(own).join(cgroup_name(std::process::id()));
    std::fs::create_dir(&folder)?;
    std::fs::remove_dir(&folder)
}

#[cfg(target_arch = "x86_64")]
mod bits32 {
    use super::*;
    use crate::doctor::calls32::{self, Low};
    use crate::kernel::Layout;
    use std::os::fd::AsFd;

    /// For kernels that have such calls: others would end the process.
    fn low() -> io::Result<Low> {
        let layout = Layout::read(None).map_err(io::Error::other)?;
        if !layout.wrappers.compat {
            return Err(io::Error::other("this kernel has no 32-bit calls"));
        }
        Low::new()
    }

    pub(super) fn execs() -> io::Result<()> {
        calls32::execs(low()?)
    }

    pub(super) fn opens() -> io::Result<()> {
        calls32::opens(low()?)
    }

    pub(super) fn connects() -> io::Result<()> {
        calls32::connects(low()?)
    }

    pub(super) fn udp4() -> io::Result<()> {
        udp(Ipv4Addr::LOCALHOST.into())
    }

    pub(super) fn udp6() -> io::Result<()> {
        udp(Ipv6Addr::LOCALHOST.into())
    }

    fn udp(at: IpAddr) -> io::Result<()> {
        let any = SocketAddr::new(at, 0);
        let (listener, speaker) = (UdpSocket::bind(any)?, UdpSocket::bind(any)?);
        let port = listener.local_addr()?.port().to_be_bytes();
        // `struct sockaddr_in` and `struct sockaddr_in6`.
        let to = match at {
            IpAddr::V4(at) => [&2u16.to_ne_bytes()[..], &port, &at.octets(), &[0; 8]].concat(),
            IpAddr::V6(at) => [&10u16.to_ne_bytes()[..], &port, &[0; 4], &at.octets(), &[0; 4]].concat(),
        };
        calls32::connect_datagram(low()?, speaker.as_fd(), &to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_a_way_that_works_here() {
        for class in [Class::Network, Class::File] {
            make_events(class).unwrap();
        }
        failing_exec().unwrap();
    }
}
