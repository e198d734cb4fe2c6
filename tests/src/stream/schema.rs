//! The keys of every event, as tables: each key's type, and whether it must be there.

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// An unsigned 64-bit integer.
    Number,
    Bool,
    /// Text of the collector's own making: always UTF-8, not empty.
    Name,
    /// Text that came from outside: it may have an exact twin, `NAME_b64`.
    Text,
    /// A list of such texts with a list as its twin.
    TextList,
    /// RFC 3339 in UTC with nanoseconds.
    Time,
    /// "major:minor".
    Device,
    /// A number in hexadecimal digits.
    Hex,
    /// One of these.
    OneOf(&'static [&'static str]),
    NameList,
    /// Any keys, each with a number.
    Counts,
    Object(&'static [Field]),
    /// A list of such objects, not empty.
    Objects(&'static [Field]),
}

/// When a key must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Always,
    /// Or its path is named in `missing`.
    OrMissing,
    /// Only where the value exists.
    IfAny,
}

/// One key of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) need: Need,
}

/// One kind of kernel event.
pub(super) struct Event {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    pub(super) body: &'static [Field],
}

use Kind::{Bool, Counts, Device, Hex, Name, NameList, Number, Object, Objects, OneOf, Text, TextList, Time};

const fn always(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, need: Need::Always }
}

const fn or_missing(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, need: Need::OrMissing }
}

const fn if_any(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, need: Need::IfAny }
}

pub(super) const CLASSES: &[&str] = &["process", "network", "file"];
const ABIS: &[&str] = &["x86_64", "ia32", "x32", "aarch64", "aarch32"];
const RESULTS: &[&str] = &["ok", "refused", "timeout", "unreachable", "reset", "pending", "error"];

/// What every kernel event has beside its body.
pub(super) const COMMON: &[Field] = &[
    always("event", Name),
    always("time", Time),
    always("ktime_ns", Number),
    always("boot_id", Name),
    always("cpu", Number),
    always("class", OneOf(CLASSES)),
    always("stream", Name),
    always("seq", Number),
    always("source", Name),
    always("via", Name),
    if_any("abi", OneOf(ABIS)),
    always("process", Object(PROCESS)),
    // `missing` and `truncated` are checked against the rest of the event, not here.
    if_any("derived", NameList),
];

const PROCESS: &[Field] = &[
    always("pid", Number),
    always("tid", Number),
    or_missing("ppid", Number),
    or_missing("start_ns", Number),
    or_missing("key", Name),
    or_missing("name", Text),
    if_any("parent_name", Text),
    if_any("exe", Text),
    if_any("exe_dev", Device),
    if_any("exe_ino", Number),
    or_missing("user", Object(USER)),
    if_any("loginuid", Number),
    if_any("session", Number),
    or_missing("cap_effective", Hex),
    if_any("ns", Object(NAMESPACES)),
    if_any("ns_pid", Number),
    if_any("cgroup_id", Number),
    if_any("cgroup", Text),
    if_any("container_id", Text),
    if_any("container_runtime", OneOf(RUNTIMES)),
    if_any("ancestors", Objects(ANCESTOR)),
];

const RUNTIMES: &[&str] = &["docker", "podman", "containerd", "cri-o", "kubernetes", "systemd-nspawn"];

const ANCESTOR: &[Field] =
    &[always("pid", Number), if_any("start_ns", Number), always("name", Text), if_any("exe", Text)];

const USER: &[Field] = &[
    or_missing("ruid", Number),
    or_missing("euid", Number),
    or_missing("rgid", Number),
    or_missing("egid", Number),
    if_any("ruid_name", Text),
    if_any("euid_name", Text),
];

// Any of them may be gone by the time a process ends.
const NAMESPACES: &[Field] =
    &[if_any("pid", Number), if_any("mnt", Number), if_any("net", Number), if_any("user", Number)];

const ADDRESS: &[Field] = &[
    if_any("addr", Text),
    if_any("port", Number),
    if_any("path", Text),
    if_any("abstract", Text),
    if_any("raw", Text),
];

/// Every kind of kernel event.
pub(super) const EVENTS: &[Event] = &[
    Event {
        name: "exec",
        class: "process",
        body: &[
            or_missing("filename", Text),
            or_missing("path", Text),
            or_missing("dev", Device),
            or_missing("ino", Number),
            if_any(
                "script",
                Object(&[or_missing("path", Text), or_missing("dev", Device), or_missing("ino", Number)]),
            ),
            if_any("interp", Text),
            or_missing("argv", TextList),
            or_missing("cwd", Text),
            or_missing("fileless", Bool),
            if_any("old_tid", Number),
        ],
    },
    Event {
        name: "exec_failed",
        class: "process",
        body: &[or_missing("filename", Text), or_missing("argv", TextList), always("errno", Name)],
    },
    Event {
        name: "fork",
        class: "process",
        body: &[
            always("child_pid", Number),
            always("child_tid", Number),
            if_any("child_start_ns", Number),
            always("thread", Bool),
        ],
    },
    Event {
        name: "exit",
        class: "process",
        body: &[
            if_any("code", Number),
            if_any("signal", Number),
            if_any("core_dumped", Bool),
            or_missing("duration_ns", Number),
        ],
    },
    Event {
        name: "connect",
        class: "network",
        body: &[
            always("family", Name),
            always("protocol", Name),
            if_any("local", Object(ADDRESS)),
            or_missing("remote", Object(ADDRESS)),
            or_missing("result", OneOf(RESULTS)),
            if_any("errno", Name),
            if_any("latency_ns", Number),
            if_any("socket_cookie", Number),
            if_any("nonblocking", Bool),
        ],
    },
    Event {
        name: "connect_result",
        class: "network",
        body: &[
            always("socket_cookie", Number),
            or_missing("local", Object(ADDRESS)),
            or_missing("remote", Object(ADDRESS)),
            or_missing("result", OneOf(RESULTS)),
            if_any("errno", Name),
            if_any("latency_ns", Number),
        ],
    },
    Event {
        name: "open",
        class: "file",
        body: &[
            if_any("path", Text),
            if_any("requested", Text),
            or_missing("flags", NameList),
            if_any("mode", Name),
            if_any("dev", Device),
            if_any("ino", Number),
            if_any("fd", Number),
            if_any("errno", Name),
            if_any("created", Bool),
            if_any("direct", Bool),
        ],
    },
];

/// The first line; its classes are checked with [`CLASS_COVERAGE`].
pub(super) const COVERAGE: &[Field] = &[always("event", Name), always("kernel", Name), if_any("time", Time)];
pub(super) const CLASS_COVERAGE: &[Field] = &[always("blind", NameList)];
pub(super) const HOOK: &[Field] = &[always("via", Name), always("rung", Name), if_any("readers", Name)];

/// Losses; [`NUMBERING`] stands whole or not at all.
pub(super) const LOSS: &[Field] = &[
    always("event", Name),
    if_any("time", Time),
    always("class", OneOf(CLASSES)),
    always("count", Number),
    if_any("stream", Name),
    if_any("cpu", Number),
    if_any("first_seq", Number),
    if_any("last_seq", Number),
    always("t_first", Time),
    always("t_last", Time),
    if_any("reason", Name),
    if_any("reasons", Counts),
];
/// Where in the numbers a loss lies.
pub(super) const NUMBERING: &[&str] = &["stream", "cpu", "first_seq", "last_seq"];
/// Skipped runs, which never have numbers.
pub(super) const MISSED: &[Field] = &[
    always("event", Name),
    if_any("time", Time),
    always("class", OneOf(CLASSES)),
    always("count", Number),
    always("t_first", Time),
    always("t_last", Time),
    always("reason", Name),
];

/// A fault of the collection itself.
pub(super) const ERROR: &[Field] = &[
    always("event", Name),
    always("time", Time),
    always("class", OneOf(CLASSES)),
    always("code", OneOf(&["accounting", "canary"])),
    always("message", Name),
];

/// The last line; its classes are checked with [`BOOKS`].
pub(super) const SUMMARY: &[Field] = &[always("event", Name), if_any("time", Time)];
pub(super) const BOOKS: &[Field] = &[
    always("generated", Number),
    always("delivered", Number),
    always("filtered", Number),
    always("internal", Number),
    always("merged", Number),
    always("pending", Number),
    always("missed", Number),
    always("dropped", Counts),
];
