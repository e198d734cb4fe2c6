//! Records in memory, one per kind, as a kernel program would have written them.

use collector_common::{
    ABI_X86_64, CONNECT_LATENCY, CONNECT_LOCAL, CONNECT_REMOTE, ConnectRecord, ExecFailedRecord, ExecRecord,
    ExitRecord, ForkRecord, Hook, Offsets, OpenRecord, PathLen, RESULT_OK, Record, RecordHeader, RecordKind,
    TaskRecord,
};
use collector_core::event::{EventClass, Exec, KernelBody, KernelEvent, Origin};
use std::sync::Arc;
use zerocopy::IntoBytes;

use super::Converter;

pub(crate) const WALL_OFFSET_NS: u64 = 1_700_000_000_000_000_000;

/// A whole record at an address that is a multiple of 8, as in a ring.
#[derive(Debug, Clone)]
pub(crate) struct Bytes {
    words: Vec<u64>,
    len: usize,
}

impl Bytes {
    fn new(fixed: &[u8], text: &[u8]) -> Self {
        let len = fixed.len() + text.len();
        let mut words = vec![0; len.div_ceil(8)];
        words.as_mut_bytes()[..fixed.len()].copy_from_slice(fixed);
        words.as_mut_bytes()[fixed.len()..len].copy_from_slice(text);
        Self { words, len }
    }

    pub(crate) fn get(&self) -> &[u8] {
        &self.words.as_bytes()[..self.len]
    }

    pub(crate) fn get_mut(&mut self) -> &mut [u8] {
        &mut self.words.as_mut_bytes()[..self.len]
    }
}

pub(crate) fn task() -> TaskRecord {
    TaskRecord {
        start_ns: 5_000,
        cgroup_id: 77,
        cap_effective: 0x1ff,
        exe_ino: 1234,
        comm: comm(b"sleep"),
        pid: 4000,
        tid: 4000,
        ppid: 3999,
        ns_pid: 17,
        ruid: 4_294_967_294,
        euid: 1,
        rgid: 2,
        egid: 3,
        loginuid: 1000,
        session: 9,
        ns_pid_inum: 11,
        ns_mnt_inum: 12,
        ns_net_inum: 13,
        ns_user_inum: 14,
        exe_dev: 8 << 20 | 1,
        pid_ns_level: 1,
    }
}

pub(crate) fn comm(name: &[u8]) -> [u64; 2] {
    let mut comm = [0; 2];
    comm.as_mut_bytes()[..name.len()].copy_from_slice(name);
    comm
}

fn header(kind: RecordKind, hook: Hook, text: &[u8]) -> RecordHeader {
    RecordHeader {
        seq: 41,
        ktime_ns: 9_000,
        len: u32::try_from(kind.fixed_len() + text.len()).unwrap(),
        kind: kind as u16,
        hook: hook as u16,
        cpu: 1,
        missing: 0,
    }
}

/// A path as the kernel walks it: leaf first, each name ended by NUL.
pub(crate) fn leaf_first(names: &[&[u8]]) -> Vec<u8> {
    names.iter().rev().flat_map(|name| [name, &b"\0"[..]].concat()).collect()
}

/// The parts of an exec's text, in the record's order, and what else a test sets.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExecParts {
    pub(crate) path: Vec<u8>,
    pub(crate) cwd: Vec<u8>,
    pub(crate) script_path: Vec<u8>,
    pub(crate) filename: Vec<u8>,
    pub(crate) interp: Vec<u8>,
    pub(crate) argv: Vec<u8>,
}

impl ExecParts {
    /// `sleep 1`, started in /root.
    pub(crate) fn sleep() -> Self {
        Self {
            path: leaf_first(&[b"usr", b"bin", b"sleep"]),
            cwd: leaf_first(&[b"root"]),
            filename: b"/bin/sleep\0".to_vec(),
            interp: b"/bin/sleep\0".to_vec(),
            argv: b"sleep\x001\0".to_vec(),
            ..Self::default()
        }
    }

    pub(crate) fn record(&self, change: impl FnOnce(&mut ExecRecord)) -> Bytes {
        let text = [&self.path, &self.cwd, &self.script_path, &self.filename, &self.interp, &self.argv]
            .map(Vec::as_slice)
            .concat();
        let len = |part: &[u8]| u32::try_from(part.len()).unwrap();
        let path_len = |part: &[u8]| PathLen { len: len(part), total: len(part), flags: 0 };
        let mut record = ExecRecord {
            header: header(RecordKind::Exec, Hook::Exec, &text),
            task: task(),
            script_ino: 55,
            script_dev: 8 << 20 | 2,
            nlink: 1,
            old_tid: 4000,
            script: u32::from(!self.script_path.is_empty()),
            filename_len: len(&self.filename),
            path: path_len(&self.path),
            cwd: path_len(&self.cwd),
            interp_len: len(&self.interp),
            script_path: path_len(&self.script_path),
            argv_len: len(&self.argv),
            argv_total: len(&self.argv),
            reserved: 0,
        };
        change(&mut record);
        Bytes::new(record.as_bytes(), &text)
    }
}

pub(crate) fn fork(change: impl FnOnce(&mut ForkRecord)) -> Bytes {
    let mut record = ForkRecord {
        header: header(RecordKind::Fork, Hook::Fork, b""),
        task: task(),
        child_start_ns: 8_999,
        child_pid: 4001,
        child_tid: 4001,
        flags: 0,
        reserved: 0,
    };
    change(&mut record);
    Bytes::new(record.as_bytes(), b"")
}

pub(crate) fn exit(change: impl FnOnce(&mut ExitRecord)) -> Bytes {
    let mut record = ExitRecord {
        header: header(RecordKind::Exit, Hook::Exit, b""),
        task: task(),
        status: 0,
        reserved: 0,
    };
    change(&mut record);
    Bytes::new(record.as_bytes(), b"")
}

/// A connection with this text; by default one over TCP from 10.0.0.1:50000 to 10.0.0.2:443 that came out well.
pub(crate) fn connect(kind: RecordKind, text: &[u8], change: impl FnOnce(&mut ConnectRecord)) -> Bytes {
    let mut record = ConnectRecord {
        header: header(kind, Hook::TcpEnd, text),
        task: task(),
        cookie: 4_711,
        latency_ns: 1_500,
        local: [u64::from(u32::from_ne_bytes([10, 0, 0, 1])), 0],
        remote: [u64::from(u32::from_ne_bytes([10, 0, 0, 2])), 0],
        error: 0,
        flags: CONNECT_LOCAL | CONNECT_REMOTE | CONNECT_LATENCY,
        family: 2,
        protocol: 6,
        socket_type: 1,
        local_port: 50_000,
        remote_port: 443,
        result: RESULT_OK,
        abi: ABI_X86_64,
        text_len: u16::try_from(text.len()).unwrap(),
    };
    change(&mut record);
    Bytes::new(record.as_bytes(), text)
}

/// An open of `names`, asked for as `requested`, as descriptor 3.
pub(crate) fn open(path: &[u8], requested: &[u8], change: impl FnOnce(&mut OpenRecord)) -> Bytes {
    let text = [path, requested].concat();
    let len = |part: &[u8]| u32::try_from(part.len()).unwrap();
    let mut record = OpenRecord {
        header: header(RecordKind::Open, Hook::Openat, &text),
        task: task(),
        ino: 77,
        flags: 0o2_000_000,
        result: 3,
        mode: 0,
        dev: 8 << 20 | 1,
        state: 0,
        path: PathLen { len: len(path), total: len(path), flags: 0 },
        requested_len: len(requested),
    };
    change(&mut record);
    Bytes::new(record.as_bytes(), &text)
}

/// A failed exec.
pub(crate) fn exec_failed(filename: &[u8], argv: &[u8], change: impl FnOnce(&mut ExecFailedRecord)) -> Bytes {
    let text = [filename, argv].concat();
    let len = |part: &[u8]| u32::try_from(part.len()).unwrap();
    let mut record = ExecFailedRecord {
        header: header(RecordKind::ExecFailed, Hook::Execve, &text),
        task: task(),
        errno: 2,
        filename_len: len(filename),
        argv_len: len(argv),
        flags: 0,
    };
    change(&mut record);
    Bytes::new(record.as_bytes(), &text)
}

/// A converter of a kernel that has every field; forks are read for the process table.
pub(crate) fn converter() -> Converter {
    with_offsets(&offsets())
}

pub(crate) fn offsets() -> Offsets {
    Offsets { task_loginuid: 8, task_sessionid: 12, ..Offsets::NONE }
}

pub(crate) fn with_offsets(offsets: &Offsets) -> Converter {
    let origin = |hook: &Hook| {
        Some(Arc::new(Origin {
            class: EventClass::Process,
            stream: hook.stream().to_owned(),
            source: "process".to_owned(),
            via: format!("{}:{}", hook.rung().name(), hook.target()),
            boot_id: "b0".to_owned(),
        }))
    };
    let internal = Hook::ALL.iter().map(|hook| *hook == Hook::Fork).collect();
    let mut converter = Converter::new(Hook::ALL.iter().map(origin).collect(), internal, offsets);
    converter.set_wall_offset(WALL_OFFSET_NS);
    converter
}

pub(crate) fn event(bytes: &Bytes) -> KernelEvent {
    converted(&mut converter(), bytes)
}

pub(crate) fn converted(converter: &mut Converter, bytes: &Bytes) -> KernelEvent {
    let (hook, record) = Record::parse(bytes.get()).expect("a fixture is a record");
    *converter.event(hook, &record).expect("every hook is this source's")
}

pub(crate) fn exec_of(event: &KernelEvent) -> &Exec {
    match &event.body {
        KernelBody::Exec(exec) => exec,
        other => panic!("{other:?}"),
    }
}
