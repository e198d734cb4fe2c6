//! Kernel events as JSON.

use super::connect::{connect, connect_result};
use super::identity::{self, Derived};
use super::kept::Kept;
use super::text::{base64_string, boolean, bytes_lossy, device, hex_16, name, octal, text_member};
use super::{JsonEncoder, key, number, object, string};
use crate::event::{
    Abi, Exec, ExecFailed, Exit, Fork, KernelBody, KernelEvent, Open, OpenFlags, ProcessContext, Script,
};

impl JsonEncoder {
    pub(super) fn kernel(&mut self, event: &KernelEvent, out: &mut Vec<u8>) {
        key!(out, "time");
        self.times.write_ns(out, event.wall_ns);
        key!(out, "ktime_ns");
        number(out, event.ktime_ns);
        self.origin(&event.origin, out);
        number(out, event.cpu);
        key!(out, "seq");
        number(out, event.seq);
        if let Some(abi) = event.abi {
            key!(out, "abi");
            name(out, abi_name(abi));
        }
        let Self { processes, derived, open_flags, open_devices, .. } = self;
        let derived = processes.write(event, derived, out);
        match &event.body {
            KernelBody::Exec(body) => {
                key!(out, "exec");
                object(out, |out| exec(body, out));
            }
            KernelBody::Fork(body) => {
                key!(out, "fork");
                object(out, |out| fork(body, out));
            }
            KernelBody::Exit(body) => {
                key!(out, "exit");
                object(out, |out| exit(body, out));
            }
            KernelBody::Connect(body) => {
                key!(out, "connect");
                object(out, |out| connect(body, out));
            }
            KernelBody::ConnectResult(body) => {
                key!(out, "connect_result");
                object(out, |out| connect_result(body, out));
            }
            KernelBody::Open(body) => {
                key!(out, "open");
                object(out, |out| open(body, event.abi, open_flags, open_devices, out));
            }
            KernelBody::ExecFailed(body) => {
                key!(out, "exec_failed");
                object(out, |out| exec_failed(body, out));
            }
            KernelBody::CgroupMade(body) => {
                key!(out, "cgroup");
                object(out, |out| {
                    key!(out, "id");
                    number(out, body.id);
                    text_member!(out, "path", body.path.as_bytes());
                });
            }
        }
        out.extend_from_slice(derived);
        if !event.missing.is_empty() {
            key!(out, "missing");
            map(out, event.missing.iter(), |out, missing| {
                string(out, &missing.field);
                out.push(b':');
                name(out, missing.reason.name());
            });
        }
        if !event.truncated.is_empty() {
            key!(out, "truncated");
            map(out, event.truncated.iter(), |out, truncated| {
                string(out, &truncated.field);
                out.push(b':');
                number(out, truncated.original_len);
            });
        }
    }
}

/// The members of `process`. They depend on nothing but the event's process, identity and boot id, on whether it is an
/// exec, and on what is missing; `rendered.rs` relies on it.
pub(super) fn process(event: &KernelEvent, derived: &mut Derived, out: &mut Vec<u8>) {
    let process = &event.process;
    let read = |field: &str| event.missing.is_empty() || event.missing.iter().all(|m| m.field != field);
    key!(out, "pid");
    number(out, process.pid);
    key!(out, "tid");
    number(out, process.tid);
    if read("process.ppid") {
        key!(out, "ppid");
        number(out, process.ppid);
    }
    key!(out, "start_ns");
    number(out, process.start_ns);
    key!(out, "key");
    process_key(event, out);
    if read("process.name") {
        text_member!(out, "name", process.name.as_bytes());
    }
    exe(event, derived, out);
    if let Some(name) = event.identity.as_ref().and_then(|identity| identity.parent_name.as_ref()) {
        text_member!(out, "parent_name", name.as_bytes());
        derived.parent_name = true;
    }
    if read("process.user") {
        key!(out, "user");
        object(out, |out| {
            user(process, out);
            identity::user_names(event, derived, out);
        });
    }
    if let Some(loginuid) = process.loginuid {
        key!(out, "loginuid");
        number(out, loginuid);
    }
    if let Some(session) = process.session {
        key!(out, "session");
        number(out, session);
    }
    if read("process.cap_effective") {
        key!(out, "cap_effective");
        hex_16(out, process.cap_effective);
    }
    namespaces(process, out);
    // Neither a pid nor a cgroup is ever numbered 0: it stands for one that the process did not have.
    if process.ns_pid != 0 {
        key!(out, "ns_pid");
        number(out, process.ns_pid);
    }
    if process.cgroup_id != 0 {
        key!(out, "cgroup_id");
        number(out, process.cgroup_id);
    }
    identity::cgroup_and_ancestors(event, derived, out);
}

/// [`KernelEvent::process_key`] without a string in between.
fn process_key(event: &KernelEvent, out: &mut Vec<u8>) {
    string(out, &event.origin.boot_id);
    // Opens the string again: the rest is digits and colons.
    out.pop();
    out.push(b':');
    number(out, event.process.pid);
    out.push(b':');
    number(out, event.process.start_ns);
    out.push(b'"');
}

/// The running file: an exec's own body says it, otherwise the hook's pair and what the process table knows.
fn exe(event: &KernelEvent, derived: &mut Derived, out: &mut Vec<u8>) {
    let identity = event.identity.as_ref();
    let (path, file) = match &event.body {
        KernelBody::Exec(exec) => (exec.path.as_ref(), exec.dev.zip(exec.ino).or(event.process.exe)),
        _ => {
            let path = identity.and_then(|identity| identity.exe.as_ref());
            derived.exe = path.is_some();
            let file = event.process.exe.or_else(|| {
                let known = identity.and_then(|identity| identity.exe_file);
                derived.exe_file = known.is_some();
                known
            });
            (path, file)
        }
    };
    if let Some(path) = path {
        text_member!(out, "exe", path.as_bytes());
    }
    if let Some((dev, ino)) = file {
        key!(out, "exe_dev");
        device(out, dev);
        key!(out, "exe_ino");
        number(out, ino);
    }
}

fn user(process: &ProcessContext, out: &mut Vec<u8>) {
    key!(out, "ruid");
    number(out, process.ruid);
    key!(out, "euid");
    number(out, process.euid);
    key!(out, "rgid");
    number(out, process.rgid);
    key!(out, "egid");
    number(out, process.egid);
}

fn namespaces(process: &ProcessContext, out: &mut Vec<u8>) {
    let ns = process.ns;
    if ns.pid | ns.mnt | ns.net | ns.user == 0 {
        return;
    }
    key!(out, "ns");
    object(out, |out| {
        if ns.pid != 0 {
            key!(out, "pid");
            number(out, ns.pid);
        }
        if ns.mnt != 0 {
            key!(out, "mnt");
            number(out, ns.mnt);
        }
        if ns.net != 0 {
            key!(out, "net");
            number(out, ns.net);
        }
        if ns.user != 0 {
            key!(out, "user");
            number(out, ns.user);
        }
    });
}

fn exec(body: &Exec, out: &mut Vec<u8>) {
    if let Some(filename) = &body.filename {
        text_member!(out, "filename", filename.as_bytes());
    }
    if let Some(path) = &body.path {
        text_member!(out, "path", path.as_bytes());
    }
    file(out, body.dev, body.ino);
    if let Some(script) = &body.script {
        key!(out, "script");
        object(out, |out| self::script(script, out));
    }
    if let Some(interp) = &body.interp {
        text_member!(out, "interp", interp.as_bytes());
    }
    if body.argv.is_some() {
        argv(|| body.args(), out);
    }
    if let Some(cwd) = &body.cwd {
        text_member!(out, "cwd", cwd.as_bytes());
    }
    if let Some(fileless) = body.fileless {
        key!(out, "fileless");
        boolean(out, fileless);
    }
    if let Some(old_tid) = body.old_tid {
        key!(out, "old_tid");
        number(out, old_tid);
    }
}

fn script(script: &Script, out: &mut Vec<u8>) {
    if let Some(path) = &script.path {
        text_member!(out, "path", path.as_bytes());
    }
    file(out, script.dev, script.ino);
}

fn file(out: &mut Vec<u8>, dev: Option<u32>, ino: Option<u64>) {
    if let Some(dev) = dev {
        key!(out, "dev");
        device(out, dev);
    }
    inode(out, ino);
}

fn inode(out: &mut Vec<u8>, ino: Option<u64>) {
    if let Some(ino) = ino {
        key!(out, "ino");
        number(out, ino);
    }
}

fn argv<'a, A: Iterator<Item = &'a [u8]>>(args: impl Fn() -> A, out: &mut Vec<u8>) {
    key!(out, "argv");
    let mut exact = true;
    list(out, args(), |out, arg| exact &= bytes_lossy(out, arg));
    if !exact {
        key!(out, "argv_b64");
        list(out, args(), base64_string);
    }
}

fn exec_failed(body: &ExecFailed, out: &mut Vec<u8>) {
    if let Some(filename) = &body.filename {
        text_member!(out, "filename", filename.as_bytes());
    }
    if body.argv.is_some() {
        argv(|| body.args(), out);
    }
    key!(out, "errno");
    name(out, &body.errno.name());
}

fn open(
    body: &Open,
    abi: Option<Abi>,
    kept_flags: &mut Kept<(OpenFlags, Option<Abi>)>,
    kept_devices: &mut Kept<u32>,
    out: &mut Vec<u8>,
) {
    if let Some(path) = &body.path {
        text_member!(out, "path", path.as_bytes());
    }
    if let Some(requested) = &body.requested {
        text_member!(out, "requested", requested.as_bytes());
    }
    if let Some(flags) = body.flags {
        let same = |known: &(OpenFlags, Option<Abi>)| *known == (flags, abi);
        kept_flags.write(out, same, |out| {
            key!(out, "flags");
            list(out, flags.names(abi), |out, flag| name(out, &flag));
            (flags, abi)
        });
    }
    if let Some(mode) = body.mode {
        key!(out, "mode");
        octal(out, mode);
    }
    if let Some(dev) = body.dev {
        let same = |&known: &u32| known == dev;
        kept_devices.write(out, same, |out| {
            key!(out, "dev");
            device(out, dev);
            dev
        });
    }
    inode(out, body.ino);
    if let Some(fd) = body.fd {
        key!(out, "fd");
        number(out, fd);
    }
    if let Some(errno) = body.errno {
        key!(out, "errno");
        name(out, &errno.name());
    }
    if let Some(created) = body.created {
        key!(out, "created");
        boolean(out, created);
    }
    if body.direct {
        key!(out, "direct");
        boolean(out, true);
    }
}

fn fork(body: &Fork, out: &mut Vec<u8>) {
    key!(out, "child_pid");
    number(out, body.child_pid);
    key!(out, "child_tid");
    number(out, body.child_tid);
    key!(out, "child_start_ns");
    number(out, body.child_start_ns);
    key!(out, "thread");
    boolean(out, body.thread);
}

fn exit(body: &Exit, out: &mut Vec<u8>) {
    match body.signal() {
        Some(signal) => {
            key!(out, "signal");
            number(out, signal);
            key!(out, "core_dumped");
            boolean(out, body.core_dumped());
        }
        None => {
            key!(out, "code");
            number(out, body.code().unwrap_or_default());
        }
    }
    key!(out, "duration_ns");
    number(out, body.duration_ns);
}

fn abi_name(abi: Abi) -> &'static str {
    match abi {
        Abi::X86_64 => "x86_64",
        Abi::Ia32 => "ia32",
        Abi::X32 => "x32",
        Abi::Aarch64 => "aarch64",
        Abi::Aarch32 => "aarch32",
    }
}

pub(super) fn list<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, write: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    separated(out, items, write);
    out.push(b']');
}

pub(super) fn map<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, write: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'{');
    separated(out, items, write);
    out.push(b'}');
}

fn separated<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}
