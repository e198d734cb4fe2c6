//! Connections: what was asked for, and how it came out.

use super::errno::Errno;
use super::text::Text;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

/// `ECONNRESET`
const RESET: i32 = 104;
/// `ETIMEDOUT`
const TIMED_OUT: i32 = 110;
/// `ECONNREFUSED`
const REFUSED: i32 = 111;
/// `ENETDOWN`, `ENETUNREACH`, `EHOSTDOWN`, `EHOSTUNREACH`
const UNREACHABLE: [i32; 4] = [100, 101, 112, 113];

/// A connection was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    /// Address family of the socket.
    pub family: AddressFamily,
    /// The socket's protocol, as the kernel numbers those of its family.
    pub protocol: u16,
    /// The socket's type (`SOCK_STREAM` and others).
    pub socket_type: u16,
    /// The local address, where the socket has one.
    pub local: Option<Endpoint>,
    /// The address that was asked for.
    pub remote: Option<Endpoint>,
    /// How it came out; `None` where the hook does not see it.
    pub result: Option<ConnectOutcome>,
    /// What the call failed with, or would have if it had waited.
    pub errno: Option<Errno>,
    /// From the begin of the handshake to its end, ns.
    pub latency_ns: Option<u64>,
    /// The socket's cookie, which no other socket of this boot has.
    pub socket_cookie: Option<u64>,
    /// Whether the socket was set not to wait.
    pub nonblocking: bool,
}

/// A connection that was told as pending is decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectResult {
    /// The cookie of the socket, as its `Connect` has it.
    pub socket_cookie: u64,
    /// The local address.
    pub local: Option<Endpoint>,
    /// The remote address.
    pub remote: Option<Endpoint>,
    /// How it came out; `None` if that was not seen, see `missing`.
    pub result: Option<ConnectOutcome>,
    /// What it failed with.
    pub errno: Option<Errno>,
    /// From the begin of the handshake to its end, ns.
    pub latency_ns: Option<u64>,
}

/// How a connection came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConnectOutcome {
    /// Connected.
    Ok,
    /// Nobody listens there.
    Refused,
    /// Nobody answered in time.
    Timeout,
    /// There is no way there.
    Unreachable,
    /// The other side broke it off.
    Reset,
    /// Not decided yet: a `ConnectResult` follows.
    Pending,
    /// Failed in another way, or was given up.
    Error,
}

impl ConnectOutcome {
    /// The outcome of a failure; 0 stands for one that has no number.
    pub fn of_errno(errno: i32) -> Self {
        match errno {
            REFUSED => Self::Refused,
            TIMED_OUT => Self::Timeout,
            RESET => Self::Reset,
            errno if UNREACHABLE.contains(&errno) => Self::Unreachable,
            _ => Self::Error,
        }
    }

    /// The outcome's name in the native format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::Pending => "pending",
            Self::Error => "error",
        }
    }
}

/// An address family as Linux numbers it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AddressFamily(pub u16);

impl AddressFamily {
    /// Unix sockets.
    pub const UNIX: Self = Self(1);
    /// IPv4.
    pub const INET: Self = Self(2);
    /// IPv6.
    pub const INET6: Self = Self(10);
    /// Netlink.
    pub const NETLINK: Self = Self(16);
    /// Sockets between a virtual machine and its host.
    pub const VSOCK: Self = Self(40);

    /// The family's name in the native format; a family without one is its number.
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self.0 {
            0 => "unspec",
            1 => "unix",
            2 => "inet",
            3 => "ax25",
            4 => "ipx",
            10 => "inet6",
            16 => "netlink",
            17 => "packet",
            29 => "can",
            30 => "tipc",
            31 => "bluetooth",
            38 => "alg",
            39 => "nfc",
            40 => "vsock",
            43 => "smc",
            44 => "xdp",
            number => return Cow::Owned(number.to_string()),
        })
    }

    fn is_ip(self) -> bool {
        self == Self::INET || self == Self::INET6
    }
}

impl Connect {
    /// The protocol's name in the native format: of IP sockets that of their protocol, of others that of their type. One
    /// without a name is its number.
    pub fn protocol_name(&self) -> Cow<'static, str> {
        let (name, number) = if self.family.is_ip() {
            let name = match self.protocol {
                1 => "icmp",
                6 => "tcp",
                17 => "udp",
                33 => "dccp",
                58 => "icmpv6",
                132 => "sctp",
                136 => "udplite",
                255 => "raw",
                262 => "mptcp",
                _ => "",
            };
            (name, self.protocol)
        } else {
            let name = match self.socket_type {
                1 => "stream",
                2 => "dgram",
                3 => "raw",
                5 => "seqpacket",
                _ => "",
            };
            (name, self.socket_type)
        };
        if name.is_empty() { Cow::Owned(number.to_string()) } else { Cow::Borrowed(name) }
    }
}

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Endpoint {
    /// An IP address; one that was mapped into IPv6 stands as IPv4 here.
    Ip {
        /// The address.
        addr: IpAddr,
        /// The port; `None` where it is not chosen yet.
        port: Option<u16>,
        /// The IPv6 address that the IPv4 one was mapped into.
        raw: Option<Ipv6Addr>,
    },
    /// The path of a unix socket, as the caller named it.
    Path(Text),
    /// The abstract name of a unix socket, without the NUL at its begin.
    Abstract(Text),
    /// A number and a port: netlink (without one), vsock.
    Numbered {
        /// The netlink port id, or the vsock context id.
        addr: u32,
        /// The vsock port.
        port: Option<u32>,
    },
    /// An address of a family that is not read, as bytes behind its family.
    Raw(Text),
}

impl Endpoint {
    /// An IP address and port, a mapped one as what it stands for.
    pub fn ip(addr: IpAddr, port: Option<u16>) -> Self {
        let mapped = match addr {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map(|v4| (v4, v6)),
            IpAddr::V4(_) => None,
        };
        match mapped {
            Some((v4, v6)) => Self::Ip { addr: v4.into(), port, raw: Some(v6) },
            None => Self::Ip { addr, port, raw: None },
        }
    }

    /// Bytes of its text.
    pub(crate) fn text_len(&self) -> usize {
        match self {
            Self::Path(text) | Self::Abstract(text) | Self::Raw(text) => text.as_bytes().len(),
            Self::Ip { .. } | Self::Numbered { .. } => 0,
        }
    }

    /// One text for people and for consumers that have no more room: `127.0.0.1:80`, `[::1]:80`, a path, `@name`.
    pub fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Ip { addr, port, .. } => Cow::Owned(match (addr, port) {
                (IpAddr::V4(addr), Some(port)) => format!("{addr}:{port}"),
                (IpAddr::V6(addr), Some(port)) => format!("[{addr}]:{port}"),
                (addr, None) => addr.to_string(),
            }),
            Self::Path(path) => path.to_string_lossy(),
            Self::Abstract(name) => Cow::Owned(format!("@{}", name.to_string_lossy())),
            Self::Numbered { addr, port: Some(port) } => Cow::Owned(format!("{addr}:{port}")),
            Self::Numbered { addr, port: None } => Cow::Owned(addr.to_string()),
            Self::Raw(bytes) => Cow::Owned(hex(bytes.as_bytes())),
        }
    }
}

/// Bytes as hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_what_it_stands_for_and_keeps_what_it_was() {
        let mapped: Ipv6Addr = "::ffff:10.0.0.1".parse().unwrap();
        let expected = Endpoint::Ip { addr: "10.0.0.1".parse().unwrap(), port: Some(80), raw: Some(mapped) };
        assert_eq!(Endpoint::ip(mapped.into(), Some(80)), expected);
        let plain: IpAddr = "::1".parse().unwrap();
        assert_eq!(Endpoint::ip(plain, None), Endpoint::Ip { addr: plain, port: None, raw: None });
    }

    #[test]
    fn an_outcome_is_what_the_errno_means() {
        for (errno, name) in [(111, "refused"), (110, "timeout"), (104, "reset"), (113, "unreachable")] {
            assert_eq!(ConnectOutcome::of_errno(errno).name(), name);
        }
        for other in [0, 1, 98, 115, 512] {
            assert_eq!(ConnectOutcome::of_errno(other), ConnectOutcome::Error);
        }
    }

    #[test]
    fn what_has_no_name_is_its_number() {
        let other = Connect { family: AddressFamily(99), socket_type: 77, ..Connect::default() };
        assert_eq!((other.family.name().as_ref(), other.protocol_name().as_ref()), ("99", "77"));
        let tcp = Connect { family: AddressFamily::INET6, protocol: 6, ..Connect::default() };
        assert_eq!((tcp.family.name().as_ref(), tcp.protocol_name().as_ref()), ("inet6", "tcp"));
    }
}
