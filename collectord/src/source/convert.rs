//! From a record to an event. The record is borrowed from its ring; the event's text is copied once, into a buffer
//! that many events share.

use crate::kernel::abi_of as abi_of_calls;
use bytes::{Bytes, BytesMut};
use collector_common::{
    ABI_AARCH32, ABI_AARCH64, ABI_IA32, ABI_X86_64, ExecRecord, ExitRecord, ForkRecord, Hook, Offsets,
    PATH_RACED, PATH_TRUNCATED, PATH_UNREACHABLE, PathLen, Record, RecordHeader, TaskRecord, missing,
};
use collector_core::event::{
    Abi, CgroupMade, Exec, Exit, Fork, KernelBody, KernelEvent, Missing, MissingReason, Namespaces, Open,
    Origin, ProcessContext, Script, Text, Truncated,
};
use std::borrow::Cow;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Bytes of the shared text buffer.
const CHUNK_BYTES: usize = 64 * 1024;
/// What the kernel has for a login uid or session that is not set.
const NOT_SET: u32 = u32::MAX;

/// Converts records of one source.
#[derive(Debug)]
pub struct Converter {
    /// By number of the hook; `None` for hooks of other sources.
    origins: Vec<Option<Arc<Origin>>>,
    /// By number of the hook: read for the process table only.
    internal: Vec<bool>,
    /// `wall clock - CLOCK_BOOTTIME`, ns.
    wall_offset_ns: u64,
    /// Fields that this kernel does not have.
    unsupported: Vec<Missing>,
    chunk: BytesMut,
}

impl Converter {
    /// `origins` and `internal` by number of the hook: what its events have in common, none for hooks of other sources,
    /// and whether they are read for the process table only. `offsets` says which fields this kernel has.
    pub fn new(origins: Vec<Option<Arc<Origin>>>, internal: Vec<bool>, offsets: &Offsets) -> Self {
        let absent = |offset, field| {
            (offset == Offsets::ABSENT)
                .then_some(Missing { field: Cow::Borrowed(field), reason: MissingReason::Unsupported })
        };
        let unsupported = [
            absent(offsets.task_loginuid, "process.loginuid"),
            absent(offsets.task_sessionid, "process.session"),
        ];
        Self {
            origins,
            internal,
            wall_offset_ns: 0,
            unsupported: unsupported.into_iter().flatten().collect(),
            chunk: BytesMut::new(),
        }
    }

    /// Sets the difference between wall clock and `CLOCK_BOOTTIME`.
    pub fn set_wall_offset(&mut self, ns: u64) {
        self.wall_offset_ns = ns;
    }

    /// The wall-clock time of a `CLOCK_BOOTTIME`, ns since the Unix epoch.
    pub fn wall_ns(&self, ktime_ns: u64) -> u64 {
        ktime_ns.saturating_add(self.wall_offset_ns)
    }

    /// The event of a record; `None` if the hook is none of this source's. Boxed here: an event is large, and each hand
    /// that it goes through would copy it.
    pub fn event(&mut self, hook: Hook, record: &Record<'_>) -> Option<Box<KernelEvent>> {
        let origin = Arc::clone(self.origins.get(hook as usize)?.as_ref()?);
        let internal = self.internal.get(hook as usize).copied().unwrap_or(false);
        let (header, task) = (record.header(), task_of(record));
        // At first an open that tells nothing: opens are the most. They are filled in where they stay; what is put
        // together elsewhere is copied, and waits until all of it has been written.
        let place = Box::new_uninit();
        let frame = KernelEvent {
            origin,
            ktime_ns: header.ktime_ns,
            wall_ns: self.wall_ns(header.ktime_ns),
            cpu: header.cpu,
            seq: header.seq,
            abi: None,
            internal,
            process: process(task),
            identity: None,
            body: KernelBody::Open(Open::default()),
            missing: Vec::new(),
            truncated: Vec::new(),
        };
        let mut event = Box::write(place, frame);
        let KernelEvent { abi, process, body, missing, truncated, .. } = &mut *event;
        process.name = names::kept(task).unwrap_or_else(|| self.text(comm(&task.comm)));
        // An event for the collector itself holds no more than the process table needs.
        if !internal {
            self.missing(header, task, missing);
        }
        match record {
            Record::Exec(record, text) => {
                *body = KernelBody::Exec(self.exec(record, text, truncated, missing));
            }
            Record::Fork(record, _) => *body = KernelBody::Fork(fork(record)),
            Record::Exit(record, _) => *body = KernelBody::Exit(exit(record)),
            Record::Connect(record, text) => {
                *abi = abi_of(record.abi);
                *body = KernelBody::Connect(self.connect(record, text, missing));
            }
            Record::ConnectResult(record, text) => {
                *abi = abi_of(record.abi);
                *body = KernelBody::ConnectResult(self.connect_result(record, text, missing));
            }
            Record::Open(record, text) => {
                // A request of io_uring is made through no system call's ABI.
                *abi = abi_of(abi_of_calls(hook)).filter(|_| hook != Hook::UringOpen);
                if let KernelBody::Open(open) = body {
                    self.open(record, text, open, truncated, missing);
                }
            }
            Record::CgroupMade(record, text) => {
                let path = self.text(without_nul(text));
                *body = KernelBody::CgroupMade(CgroupMade { id: record.id, path });
            }
            Record::ExecFailed(record, text) => {
                *abi = abi_of(abi_of_calls(hook));
                *body = KernelBody::ExecFailed(self.exec_failed(record, text, truncated));
            }
        }
        Some(event)
    }

    fn missing(&self, header: &RecordHeader, task: &TaskRecord, all: &mut Vec<Missing>) {
        all.extend_from_slice(&self.unsupported);
        // The programs write 0 where the kernel's memory could not be read, and none of these can be 0.
        let read = [
            ("process.start_ns", task.start_ns != 0),
            ("process.cgroup_id", task.cgroup_id != 0),
            ("process.ns_pid", task.ns_pid != 0),
            ("process.ns.pid", task.ns_pid_inum != 0),
            ("process.ns.mnt", task.ns_mnt_inum != 0),
            ("process.ns.net", task.ns_net_inum != 0),
            ("process.ns.user", task.ns_user_inum != 0),
        ];
        all.extend(read.iter().filter(|(_, read)| !read).map(|(field, _)| fault(field)));
        if header.missing != 0 {
            let named = missing::FIELDS.iter().filter(|field| header.missing & field.bit != 0);
            all.extend(
                named
                    .map(|field| Missing { field: Cow::Borrowed(field.field), reason: MissingReason::Fault }),
            );
        }
    }

    /// The text's parts stand in the order that [`ExecRecord`] states; their sum was checked when it was parsed.
    fn exec(
        &mut self,
        record: &ExecRecord,
        text: &[u8],
        truncated: &mut Vec<Truncated>,
        unseen: &mut Vec<Missing>,
    ) -> Exec {
        let mut rest = text;
        let mut part = |len: u32| {
            let (part, behind) = rest.split_at((len as usize).min(rest.len()));
            rest = behind;
            part
        };
        let (path, cwd, script_path) =
            (part(record.path.len), part(record.cwd.len), part(record.script_path.len));
        let (filename, interp, argv) =
            (part(record.filename_len), part(record.interp_len), part(record.argv_len));
        let has = |bit| record.header.missing & bit == 0;
        let mut path_of = |this: &mut Self, names: &[u8], len: PathLen, field: &'static str| {
            if len.flags & PATH_RACED != 0 {
                unseen.push(Missing { field: Cow::Borrowed(field), reason: MissingReason::Raced });
                return None;
            }
            if !is_place(names, len) {
                unseen.push(Missing { field: Cow::Borrowed(field), reason: MissingReason::Unsupported });
                return None;
            }
            if len.flags & PATH_TRUNCATED != 0 {
                truncated.push(Truncated { field: Cow::Borrowed(field), original_len: u64::from(len.total) });
            }
            Some(this.path(names))
        };
        let script = (record.script != 0 && has(missing::EXEC_SCRIPT)).then(|| Script {
            path: path_of(self, script_path, record.script_path, "exec.script.path"),
            dev: Some(record.script_dev),
            ino: Some(record.script_ino),
        });
        let file = has(missing::EXEC_PATH);
        let event = Exec {
            filename: has(missing::EXEC_FILENAME).then(|| self.text(without_nul(filename))),
            path: file.then(|| path_of(self, path, record.path, "exec.path")).flatten(),
            dev: file.then_some(record.task.exe_dev),
            ino: file.then_some(record.task.exe_ino),
            script,
            interp: (record.script != 0 && has(missing::EXEC_INTERP)).then(|| self.text(without_nul(interp))),
            argv: has(missing::EXEC_ARGV).then(|| self.text(argv)),
            cwd: has(missing::EXEC_CWD).then(|| path_of(self, cwd, record.cwd, "exec.cwd")).flatten(),
            fileless: file.then_some(record.nlink == 0),
            old_tid: (record.old_tid != record.task.pid).then_some(record.old_tid),
        };
        if has(missing::EXEC_ARGV) && record.argv_total > record.argv_len {
            let original_len = u64::from(record.argv_total);
            truncated.push(Truncated { field: Cow::Borrowed("exec.argv"), original_len });
        }
        event
    }

    fn text(&mut self, bytes: &[u8]) -> Text {
        self.chunk(bytes.len()).extend_from_slice(bytes);
        self.finish()
    }

    fn path(&mut self, names: &[u8]) -> Text {
        write_path(names, self.chunk(names.len() + 1));
        self.finish()
    }

    fn chunk(&mut self, room: usize) -> &mut BytesMut {
        if self.chunk.capacity() < room {
            self.chunk = BytesMut::with_capacity(CHUNK_BYTES.max(room));
        }
        &mut self.chunk
    }

    fn finish(&mut self) -> Text {
        let bytes: Bytes = self.chunk.split().freeze();
        Text::new(bytes)
    }
}

/// Whether the names are those of a place in a mount namespace. They are not where the walk ended at a name that is its own
/// parent and no mount's root, unless that is a memfd's: an empty one is a pipe's, and "/" stands for what has no other
/// (a namespace, a file that was found by its handle), or for the root of a filesystem, which the mount does not reach.
pub(crate) fn is_place(names: &[u8], len: PathLen) -> bool {
    let names = names.strip_suffix(b"\0").unwrap_or(names);
    let top = names.rsplit(|&byte| byte == 0).next().unwrap_or_default();
    len.flags & PATH_UNREACHABLE == 0 || len.flags & PATH_TRUNCATED != 0 || !matches!(top, b"" | b"/")
}

/// Names leaf first, each ended by NUL, as an absolute path into an empty buffer. A detached root is named "/" and is left
/// out.
pub(crate) fn write_path(names: &[u8], path: &mut BytesMut) {
    let mut rest = names.strip_suffix(b"\0").unwrap_or(names);
    path.resize(rest.len() + 1, b'/');
    let mut end = 0;
    loop {
        let behind = rest.iter().rposition(|&byte| byte == 0);
        let name = &rest[behind.map_or(0, |at| at + 1)..];
        if !name.is_empty() && name != b"/" {
            let at = end + 1;
            end = at + name.len();
            path[at..end].copy_from_slice(name);
        }
        let Some(behind) = behind else { break };
        rest = &rest[..behind];
    }
    path.truncate(end.max(1));
}

/// The comm without its padding.
pub(crate) fn comm(comm: &[u64; 2]) -> &[u8] {
    comm.as_bytes().split(|&byte| byte == 0).next().unwrap_or_default()
}

fn task_of<'a>(record: &Record<'a>) -> &'a TaskRecord {
    match record {
        Record::Exec(record, _) => &record.task,
        Record::Fork(record, _) => &record.task,
        Record::Exit(record, _) => &record.task,
        Record::Connect(record, _) | Record::ConnectResult(record, _) => &record.task,
        Record::Open(record, _) => &record.task,
        Record::CgroupMade(record, _) => &record.task,
        Record::ExecFailed(record, _) => &record.task,
    }
}

/// The process, without its name.
fn process(task: &TaskRecord) -> ProcessContext {
    ProcessContext {
        pid: task.pid,
        tid: task.tid,
        ppid: task.ppid,
        ns_pid: task.ns_pid,
        start_ns: task.start_ns,
        name: Text::default(),
        ruid: task.ruid,
        euid: task.euid,
        rgid: task.rgid,
        egid: task.egid,
        loginuid: set(task.loginuid),
        session: set(task.session),
        cap_effective: task.cap_effective,
        ns: Namespaces {
            pid: task.ns_pid_inum,
            mnt: task.ns_mnt_inum,
            net: task.ns_net_inum,
            user: task.ns_user_inum,
        },
        cgroup_id: task.cgroup_id,
        exe: (task.exe_ino != 0).then_some((task.exe_dev, task.exe_ino)),
    }
}

fn fork(record: &ForkRecord) -> Fork {
    Fork {
        child_pid: record.child_pid,
        child_tid: record.child_tid,
        child_start_ns: record.child_start_ns,
        thread: record.flags & collector_common::FORK_THREAD != 0,
    }
}

fn exit(record: &ExitRecord) -> Exit {
    Exit { status: record.status, duration_ns: record.header.ktime_ns.saturating_sub(record.task.start_ns) }
}

fn abi_of(number: u16) -> Option<Abi> {
    match number {
        ABI_X86_64 => Some(Abi::X86_64),
        ABI_IA32 => Some(Abi::Ia32),
        ABI_AARCH64 => Some(Abi::Aarch64),
        ABI_AARCH32 => Some(Abi::Aarch32),
        _ => None,
    }
}

fn fault(field: &'static str) -> Missing {
    Missing { field: Cow::Borrowed(field), reason: MissingReason::Fault }
}

fn set(value: u32) -> Option<u32> {
    (value != NOT_SET).then_some(value)
}

fn without_nul(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\0").unwrap_or(bytes)
}

mod connect;
mod names;
mod open;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
