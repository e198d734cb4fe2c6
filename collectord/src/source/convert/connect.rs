//! Connections from records.

use super::Converter;
use collector_common::{
    CONNECT_LATENCY, CONNECT_LOCAL, CONNECT_NONBLOCKING, CONNECT_REMOTE, ConnectRecord, RESULT_FAILED,
    RESULT_OK, RESULT_PENDING, missing,
};
use collector_core::event::{
    AddressFamily, Connect, ConnectOutcome, ConnectResult, Endpoint, Errno, Missing, MissingReason,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::IntoBytes;

impl Converter {
    pub(super) fn connect(
        &mut self,
        record: &ConnectRecord,
        text: &[u8],
        unseen: &mut Vec<Missing>,
    ) -> Connect {
        let local = local(record);
        let result = outcome(record);
        let absent = [
            ("connect.result", result.is_none()),
            ("connect.local.port", matches!(local, Some(Endpoint::Ip { port: None, .. }))),
        ];
        let absent = absent.iter().filter(|(_, absent)| *absent);
        unseen.extend(
            absent.map(|(field, _)| Missing { field: (*field).into(), reason: MissingReason::Unseen }),
        );
        Connect {
            family: AddressFamily(record.family),
            protocol: record.protocol,
            socket_type: record.socket_type,
            local,
            remote: self.remote(record, text),
            result,
            errno: errno(record),
            latency_ns: latency(record),
            socket_cookie: (record.cookie != 0).then_some(record.cookie),
            nonblocking: record.flags & CONNECT_NONBLOCKING != 0,
        }
    }

    pub(super) fn connect_result(
        &mut self,
        record: &ConnectRecord,
        text: &[u8],
        unseen: &mut Vec<Missing>,
    ) -> ConnectResult {
        let result = outcome(record);
        if result.is_none() {
            unseen.push(Missing { field: "connect_result.result".into(), reason: MissingReason::Unseen });
        }
        ConnectResult {
            socket_cookie: record.cookie,
            local: local(record),
            remote: self.remote(record, text),
            result,
            errno: errno(record),
            latency_ns: latency(record),
        }
    }

    fn remote(&mut self, record: &ConnectRecord, text: &[u8]) -> Option<Endpoint> {
        if record.header.missing & missing::CONNECT_REMOTE != 0 {
            return None;
        }
        if record.flags & CONNECT_REMOTE == 0 {
            return Some(self.sockaddr(text));
        }
        Some(Endpoint::ip(ip(record.family, &record.remote), Some(record.remote_port)))
    }

    /// A socket address as the caller gave it. One too short for its family is told as it is.
    fn sockaddr(&mut self, bytes: &[u8]) -> Endpoint {
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let port = || Some(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?));
        let (family, rest) = match bytes.split_first_chunk() {
            Some((family, rest)) => (AddressFamily(u16::from_ne_bytes(*family)), rest),
            None => return Endpoint::Raw(self.text(bytes)),
        };
        let read = match family {
            AddressFamily::INET => bytes.get(4..8).and_then(|addr| {
                let addr: [u8; 4] = addr.try_into().ok()?;
                Some(Endpoint::ip(Ipv4Addr::from(addr).into(), port()))
            }),
            AddressFamily::INET6 => bytes.get(8..24).and_then(|addr| {
                let addr: [u8; 16] = addr.try_into().ok()?;
                Some(Endpoint::ip(Ipv6Addr::from(addr).into(), port()))
            }),
            AddressFamily::UNIX => Some(match rest.split_first() {
                Some((0, name)) => Endpoint::Abstract(self.text(name)),
                _ => Endpoint::Path(self.text(rest.split(|&byte| byte == 0).next().unwrap_or_default())),
            }),
            AddressFamily::NETLINK => word(4).map(|addr| Endpoint::Numbered { addr, port: None }),
            AddressFamily::VSOCK => word(8).map(|addr| Endpoint::Numbered { addr, port: word(4) }),
            _ => None,
        };
        read.unwrap_or_else(|| Endpoint::Raw(self.text(rest)))
    }
}

fn local(record: &ConnectRecord) -> Option<Endpoint> {
    (record.flags & CONNECT_LOCAL != 0).then(|| {
        let port = Some(record.local_port).filter(|&port| port != 0);
        Endpoint::ip(ip(record.family, &record.local), port)
    })
}

fn ip(family: u16, address: &[u64; 2]) -> IpAddr {
    let bytes = address.as_bytes();
    if AddressFamily(family) == AddressFamily::INET {
        let [a, b, c, d] = [bytes[0], bytes[1], bytes[2], bytes[3]];
        return Ipv4Addr::new(a, b, c, d).into();
    }
    let bytes: [u8; 16] = bytes.try_into().expect("two words are 16 bytes");
    Ipv6Addr::from(bytes).into()
}

fn outcome(record: &ConnectRecord) -> Option<ConnectOutcome> {
    match record.result {
        RESULT_OK => Some(ConnectOutcome::Ok),
        RESULT_PENDING => Some(ConnectOutcome::Pending),
        RESULT_FAILED => Some(ConnectOutcome::of_errno(i32::try_from(record.error).unwrap_or(0))),
        _ => None,
    }
}

fn errno(record: &ConnectRecord) -> Option<Errno> {
    i32::try_from(record.error).ok().filter(|&error| error != 0).map(Errno)
}

fn latency(record: &ConnectRecord) -> Option<u64> {
    (record.flags & CONNECT_LATENCY != 0).then_some(record.latency_ns)
}
