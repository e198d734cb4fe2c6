//! The contract between the kernel programs and userspace.
//!
//! Invariants:
//! 1. **One row owns a thing.** A record kind is a row of [`records`](crate::RecordKind), an attached program a row of
//!    [`Hook`], a kernel field a row of [`Offsets`]; names, numbers, parsers and slots derive from the rows.
//! 2. **Kernel bytes are untrusted.** [`Record::parse`] checks every length and every number; nothing is transmuted.
//! 3. **Records have no padding** (`IntoBytes` proves it), so no kernel stack byte leaves by accident.
//!
//! What it does not do: it holds no program, no map and no userspace type.
#![no_std]
#![forbid(unsafe_code)]

mod config;
mod hook;
mod offsets;
mod record;
mod slots;
mod spans;
mod table;

pub use config::{
    Arch, CANARY_COMM, COMM_BYTES, CONSTANT_OPERAND, CgroupFilter, Config, FILTER_LEN_MAX, FOLLOWED_MAX,
    Filters, PREFIX_BYTES_MAX, PREFIXES_MAX, PathPrefix, TypeIds,
};
pub use hook::{Class, Hook, Rung};
pub use offsets::{Field, Offsets};
pub use record::{
    ABI_AARCH32, ABI_AARCH64, ABI_IA32, ABI_NONE, ABI_X86_64, ARGV_BYTES_MAX, CGROUP_PATH_BYTES_MAX,
    CONNECT_LATENCY, CONNECT_LOCAL, CONNECT_NATIVE, CONNECT_NONBLOCKING, CONNECT_REMOTE, CONNECT_TOLD,
    COOKIE_OWN, CgroupRecord, ConnectRecord, ExecFailedRecord, ExecRecord, ExitRecord, FAILED_ARG_BYTES_MAX,
    FAILED_ARGS_MAX, FAILED_ARGV_CUT, FORK_THREAD, ForkRecord, IP_BYTES, MissingField, NAME_BYTES_MAX,
    OPEN_CREATED, OPEN_DIRECT, OpenRecord, PATH_BYTES_MAX, PATH_RACED, PATH_STEPS_MAX, PATH_TRIES_MAX,
    PATH_TRUNCATED, PATH_UNFINISHED, PATH_UNREACHABLE, PATH_WALKS_MAX, PathLen, RECORD_OWN, RESULT_FAILED,
    RESULT_OK, RESULT_PENDING, RESULT_UNSEEN, RecordHeader, RunningRecord, SOCKADDR_BYTES_MAX, TaskRecord,
    missing,
};
pub use slots::{DROP_REASONS, DropReason, StreamSlot};
pub use spans::{Span, Spans};
pub use table::{DecodeError, Record, RecordKind};
