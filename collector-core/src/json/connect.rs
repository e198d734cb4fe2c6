//! Connections as JSON.

use super::text::{boolean, bytes_lossy, text_member};
use super::{key, number, object, string};
use crate::event::{Connect, ConnectResult, Endpoint, Errno};
use std::fmt::Display;
use std::io::Write;

pub(super) fn connect(body: &Connect, out: &mut Vec<u8>) {
    key!(out, "family");
    string(out, &body.family.name());
    key!(out, "protocol");
    string(out, &body.protocol_name());
    ends(body.local.as_ref(), body.remote.as_ref(), out);
    if let Some(result) = body.result {
        key!(out, "result");
        string(out, result.name());
    }
    errno(body.errno, out);
    latency(body.latency_ns, out);
    if let Some(cookie) = body.socket_cookie {
        key!(out, "socket_cookie");
        number(out, cookie);
    }
    key!(out, "nonblocking");
    boolean(out, body.nonblocking);
}

pub(super) fn connect_result(body: &ConnectResult, out: &mut Vec<u8>) {
    key!(out, "socket_cookie");
    number(out, body.socket_cookie);
    ends(body.local.as_ref(), body.remote.as_ref(), out);
    if let Some(result) = body.result {
        key!(out, "result");
        string(out, result.name());
    }
    errno(body.errno, out);
    latency(body.latency_ns, out);
}

fn errno(errno: Option<Errno>, out: &mut Vec<u8>) {
    if let Some(errno) = errno {
        key!(out, "errno");
        string(out, &errno.name());
    }
}

fn latency(ns: Option<u64>, out: &mut Vec<u8>) {
    if let Some(ns) = ns {
        key!(out, "latency_ns");
        number(out, ns);
    }
}

fn ends(local: Option<&Endpoint>, remote: Option<&Endpoint>, out: &mut Vec<u8>) {
    if let Some(local) = local {
        key!(out, "local");
        object(out, |out| endpoint(local, out));
    }
    if let Some(remote) = remote {
        key!(out, "remote");
        object(out, |out| endpoint(remote, out));
    }
}

fn endpoint(endpoint: &Endpoint, out: &mut Vec<u8>) {
    match endpoint {
        Endpoint::Ip { addr, port, raw } => {
            key!(out, "addr");
            shown(addr, out);
            if let Some(port) = *port {
                key!(out, "port");
                number(out, port);
            }
            if let Some(raw) = raw {
                key!(out, "raw");
                shown(raw, out);
            }
        }
        Endpoint::Path(path) => text_member!(out, "path", path.as_bytes()),
        Endpoint::Abstract(name) => text_member!(out, "abstract", name.as_bytes()),
        Endpoint::Numbered { addr, port } => {
            key!(out, "addr");
            shown(addr, out);
            if let Some(port) = *port {
                key!(out, "port");
                number(out, port);
            }
        }
        Endpoint::Raw(bytes) => {
            key!(out, "raw");
            bytes_lossy(out, crate::event::hex(bytes.as_bytes()).as_bytes());
        }
    }
}

/// A value whose text needs no escape, as a string.
fn shown(value: &impl Display, out: &mut Vec<u8>) {
    write!(out, "\"{value}\"").expect("a buffer takes every write");
}
