//! Any event and any bytes.

use collector_core::accounting::{ClassAccount, Reasons};
use collector_core::event::{
    Abi, AddressFamily, Ancestor, Cgroup, ClassCoverage, Connect, ConnectOutcome, ConnectResult,
    CoverageEvent, Endpoint, Errno, ErrorCode, ErrorEvent, EventClass, Exec, ExecFailed, Exit, Fork,
    HookCoverage, KernelBody, LossEvent, LossGap, Missing, MissingReason, Namespaces, Open, OpenFlags,
    Origin, ProcessContext, ProcessIdentity, Script, SummaryEvent, Text, Truncated,
};
use collector_core::{
    CollectionEvent, FilesystemEvent, KernelEvent, NetworkEvent, PerformanceEvent, ProcessEvent,
};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Bytes that are hard to write: plain ones, any characters, those that must be escaped, cut and broken UTF-8.
pub(crate) fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let hard = select(vec![
        "\n",
        "\x1b[31m",
        "\"",
        "\\",
        "\\x41",
        "\\u{41}",
        "\x7f",
        "\0",
        "\u{80}",
        "\u{9b}",
        "\u{9f}",
        "\u{61c}",
        "\u{200e}",
        "\u{200f}",
        "\u{2028}",
        "\u{2029}",
        "\u{202a}",
        "\u{202e}",
        "\u{2066}",
        "\u{2069}",
        "\u{fffd}",
        "\u{10ffff}",
        "plain",
    ]);
    let hard = hard.prop_map(|text| text.as_bytes().to_vec());
    let cut = select(vec![
        &b"\xe2\x80"[..],
        b"\xf0\x9f\x92",
        b"\xc3",
        b"\x80",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xc0\xaf",
    ]);
    let piece = prop_oneof![
        3 => vec(any::<u8>(), 0..6),
        3 => hard,
        2 => cut.prop_map(<[u8]>::to_vec),
        1 => any::<char>().prop_map(|character| character.to_string().into_bytes()),
    ];
    vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

/// A plain exit, to be changed by a test.
pub(crate) fn exit_event() -> KernelEvent {
    KernelEvent {
        origin: Arc::new(Origin {
            class: EventClass::Process,
            stream: "process".to_owned(),
            source: "source".to_owned(),
            via: "raw_tp:sched_process_exit".to_owned(),
            boot_id: "boot".to_owned(),
        }),
        ktime_ns: 1,
        wall_ns: 2,
        cpu: 3,
        seq: 4,
        abi: None,
        internal: false,
        process: ProcessContext {
            pid: 5,
            tid: 6,
            ppid: 7,
            ns_pid: 8,
            start_ns: 9,
            name: Text::default(),
            ruid: 10,
            euid: 11,
            rgid: 12,
            egid: 13,
            loginuid: None,
            session: None,
            cap_effective: 14,
            ns: Namespaces::default(),
            cgroup_id: 15,
            exe: None,
        },
        identity: None,
        body: KernelBody::Exit(Exit { status: 0, duration_ns: 16 }),
        missing: Vec::new(),
        truncated: Vec::new(),
    }
}

pub(crate) fn any_event() -> impl Strategy<Value = CollectionEvent> {
    prop_oneof![
        4 => any_kernel().prop_map(|event| CollectionEvent::Kernel(Box::new(event))).boxed(),
        1 => any_process().prop_map(CollectionEvent::Process),
        1 => any_network().prop_map(CollectionEvent::Network),
        1 => any_filesystem().prop_map(CollectionEvent::Filesystem),
        1 => any_performance().prop_map(CollectionEvent::Performance),
        1 => any_loss().prop_map(|event| CollectionEvent::Loss(Box::new(event))),
        1 => any_error().prop_map(|event| CollectionEvent::Error(Box::new(event))),
        1 => any_coverage().prop_map(|event| CollectionEvent::Coverage(Box::new(event))),
        1 => any_summary().prop_map(|event| CollectionEvent::Summary(Box::new(event))),
    ]
}

fn text() -> impl Strategy<Value = Text> {
    any_bytes().prop_map(|bytes| Text::from(&bytes[..]))
}

fn class() -> impl Strategy<Value = EventClass> {
    select(EventClass::ALL.to_vec())
}

fn time() -> impl Strategy<Value = SystemTime> {
    (0..u64::MAX / 4).prop_map(|ns| SystemTime::UNIX_EPOCH + Duration::from_nanos(ns))
}

/// Floats whose decimal form is exact, so that a parser's last digit does not matter here.
fn float() -> impl Strategy<Value = f64> {
    any::<i32>().prop_map(|eighths| f64::from(eighths) / 8.0)
}

fn file() -> impl Strategy<Value = Option<(u32, u64)>> {
    of((any::<u32>(), any::<u64>()))
}

fn any_kernel() -> impl Strategy<Value = KernelEvent> {
    let origin = (class(), any::<String>(), any::<String>()).prop_map(|(class, stream, boot_id)| {
        let (source, via) = ("source".to_owned(), "raw_tp:hook".to_owned());
        Arc::new(Origin { class, stream, source, via, boot_id })
    });
    let abi = of(select(vec![Abi::X86_64, Abi::Ia32, Abi::X32, Abi::Aarch64, Abi::Aarch32]));
    // Boxed: proptest's trees of values would overflow a test thread's stack together.
    let identity = of(any_identity().prop_map(Arc::new)).boxed();
    let reason = select(vec![
        MissingReason::Fault,
        MissingReason::Unsupported,
        MissingReason::Unseen,
        MissingReason::Raced,
    ]);
    let missing = vec((select(vec!["exec.cwd", "process.name"]), reason), 0..3).prop_map(|missing| {
        missing.into_iter().map(|(field, reason)| Missing { field: field.into(), reason }).collect::<Vec<_>>()
    });
    let truncated = vec(any::<u64>(), 0..2).prop_map(|lens| {
        let one = |original_len| Truncated { field: "exec.argv".into(), original_len };
        lens.into_iter().map(one).collect::<Vec<_>>()
    });
    let numbers = (any::<u64>(), 0..u64::MAX, any::<u32>(), any::<u64>(), any::<bool>());
    (origin, numbers, abi, any_context().boxed(), identity, any_body().boxed(), missing, truncated).prop_map(
        |(
            origin,
            (ktime_ns, wall_ns, cpu, seq, internal),
            abi,
            process,
            identity,
            body,
            missing,
            truncated,
        )| {
            KernelEvent {
                origin,
                ktime_ns,
                wall_ns,
                cpu,
                seq,
                abi,
                internal,
                process,
                identity,
                body,
                missing,
                truncated,
            }
        },
    )
}

fn any_identity() -> BoxedStrategy<ProcessIdentity> {
    let names = (of(text()), of(text()), of(text()), of(text()));
    let cgroup = of(text().prop_map(|path| Arc::new(Cgroup::new(path))));
    let ancestor = (any::<u32>(), of(any::<u64>()), text(), of(text()))
        .prop_map(|(pid, start_ns, name, exe)| Arc::new(Ancestor { pid, start_ns, name, exe }));
    (names, file(), cgroup, vec(ancestor, 0..3))
        .prop_map(|(names, exe_file, cgroup, ancestors)| {
            let (exe, parent_name, ruid_name, euid_name) = names;
            ProcessIdentity { exe, exe_file, parent_name, ruid_name, euid_name, cgroup, ancestors }
        })
        .boxed()
}

fn any_context() -> BoxedStrategy<ProcessContext> {
    let ids = any::<[u32; 8]>();
    let ns = any::<[u32; 4]>().prop_map(|[pid, mnt, net, user]| Namespaces { pid, mnt, net, user });
    let rest = (of(any::<u32>()), of(any::<u32>()), any::<[u64; 3]>(), file());
    (ids, text(), ns, rest)
        .prop_map(|(ids, name, ns, (loginuid, session, [start_ns, cap_effective, cgroup_id], exe))| {
            let [pid, tid, ppid, ns_pid, ruid, euid, rgid, egid] = ids;
            ProcessContext {
                pid,
                tid,
                ppid,
                ns_pid,
                start_ns,
                name,
                ruid,
                euid,
                rgid,
                egid,
                loginuid,
                session,
                cap_effective,
                ns,
                cgroup_id,
                exe,
            }
        })
        .boxed()
}

/// On the heap, as the others below: unboxed they do not fit a test thread's stack in a debug build.
fn any_body() -> BoxedStrategy<KernelBody> {
    let script = (of(text()), of(any::<u32>()), of(any::<u64>()));
    let script = of(script.prop_map(|(path, dev, ino)| Script { path, dev, ino }));
    let texts = (of(text()), of(text()), of(text()), of(text()), of(text()));
    let numbers = (of(any::<u32>()), of(any::<u64>()), of(any::<bool>()), of(any::<u32>()));
    let exec = (texts, numbers, script).prop_map(
        |((filename, path, interp, argv, cwd), (dev, ino, fileless, old_tid), script)| Exec {
            filename,
            path,
            dev,
            ino,
            script,
            interp,
            argv,
            cwd,
            fileless,
            old_tid,
        },
    );
    let fork = any::<(u32, u32, u64, bool)>().prop_map(|(child_pid, child_tid, child_start_ns, thread)| {
        Fork { child_pid, child_tid, child_start_ns, thread }
    });
    let exit = any::<(u32, u64)>().prop_map(|(status, duration_ns)| Exit { status, duration_ns });
    let failed = (of(text()), of(text()), any::<i32>());
    let failed = failed.prop_map(|(filename, argv, errno)| ExecFailed {
        filename,
        argv,
        errno: Errno(errno.saturating_abs()),
    });
    let numbers = (of(any::<u32>()), of(any::<u32>()), of(any::<u64>()), of(any::<u32>()), of(any::<bool>()));
    let open = (of(text()), of(text()), of(any::<u64>()), numbers, of(1..200), any::<bool>()).prop_map(
        |(path, requested, flags, (mode, dev, ino, fd, created), errno, direct)| Open {
            path,
            requested,
            flags: flags.map(OpenFlags),
            mode,
            dev,
            ino,
            fd,
            errno: errno.map(Errno),
            created,
            direct,
        },
    );
    prop_oneof![
        2 => open.prop_map(KernelBody::Open).boxed(),
        1 => failed.prop_map(KernelBody::ExecFailed).boxed(),
        2 => exec.prop_map(KernelBody::Exec).boxed(),
        1 => fork.prop_map(KernelBody::Fork),
        1 => exit.prop_map(KernelBody::Exit),
        1 => any_connect().prop_map(KernelBody::Connect).boxed(),
        1 => any_connect_result().prop_map(KernelBody::ConnectResult).boxed(),
    ]
    .boxed()
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    prop_oneof![
        2 => (any::<std::net::IpAddr>(), of(any::<u16>())).prop_map(|(addr, port)| Endpoint::ip(addr, port)),
        1 => (any::<std::net::Ipv4Addr>(), of(any::<u16>()))
            .prop_map(|(addr, port)| Endpoint::ip(addr.to_ipv6_mapped().into(), port)),
        1 => text().prop_map(Endpoint::Path),
        1 => text().prop_map(Endpoint::Abstract),
        1 => text().prop_map(Endpoint::Raw),
        1 => (any::<u32>(), of(any::<u32>())).prop_map(|(addr, port)| Endpoint::Numbered { addr, port }),
    ]
}

fn any_outcome() -> impl Strategy<Value = ConnectOutcome> {
    use ConnectOutcome as Is;
    select(vec![Is::Ok, Is::Refused, Is::Timeout, Is::Unreachable, Is::Reset, Is::Pending, Is::Error])
}

fn any_connect() -> impl Strategy<Value = Connect> {
    let ends = (of(any_endpoint()), of(any_endpoint()));
    let numbers = (any::<[u16; 3]>(), of(any::<u64>()), of(any::<u64>()), any::<bool>());
    (ends, of(any_outcome()), of(any::<i32>()), numbers).prop_map(
        |((local, remote), result, errno, (kinds, latency_ns, socket_cookie, nonblocking))| {
            let [family, protocol, socket_type] = kinds;
            let (family, errno) = (AddressFamily(family), errno.map(Errno));
            Connect {
                family,
                protocol,
                socket_type,
                local,
                remote,
                result,
                errno,
                latency_ns,
                socket_cookie,
                nonblocking,
            }
        },
    )
}

fn any_connect_result() -> impl Strategy<Value = ConnectResult> {
    let ends = (of(any_endpoint()), of(any_endpoint()));
    (any::<u64>(), ends, of(any_outcome()), of(any::<i32>()), of(any::<u64>())).prop_map(
        |(socket_cookie, (local, remote), result, errno, latency_ns)| ConnectResult {
            socket_cookie,
            local,
            remote,
            result,
            errno: errno.map(Errno),
            latency_ns,
        },
    )
}

fn any_process() -> impl Strategy<Value = ProcessEvent> {
    let texts = (any::<String>(), of(any::<String>()), vec(any::<String>(), 0..4), of(any::<String>()));
    let rest =
        (any::<(u32, bool, bool)>(), of(any::<u32>()), of(time()), of(float()), of(any::<u64>()), time());
    (texts, rest, of(any::<String>())).prop_map(
        |((name, executable_path, command_line, executable_hash), rest, user_id)| {
            let ((pid, accessible, file_exists), ppid, start_time, cpu_usage, memory_usage, timestamp) = rest;
            ProcessEvent {
                pid,
                ppid,
                name,
                executable_path,
                command_line,
                start_time,
                cpu_usage,
                memory_usage,
                executable_hash,
                user_id,
                accessible,
                file_exists,
                timestamp,
            }
        },
    )
}

fn any_network() -> impl Strategy<Value = NetworkEvent> {
    (any::<[String; 5]>(), of(any::<u32>()), any::<[u64; 2]>(), time()).prop_map(
        |(texts, pid, bytes, timestamp)| {
            let [connection_id, source_addr, dest_addr, protocol, state] = texts;
            let [bytes_sent, bytes_received] = bytes;
            NetworkEvent {
                connection_id,
                source_addr,
                dest_addr,
                protocol,
                state,
                pid,
                bytes_sent,
                bytes_received,
                timestamp,
            }
        },
    )
}

fn any_filesystem() -> impl Strategy<Value = FilesystemEvent> {
    let optional = (of(any::<String>()), of(any::<String>()));
    (any::<[String; 2]>(), of(any::<u32>()), of(any::<u64>()), optional, time()).prop_map(
        |([path, operation], pid, size, (permissions, file_hash), timestamp)| FilesystemEvent {
            path,
            operation,
            pid,
            size,
            permissions,
            file_hash,
            timestamp,
        },
    )
}

fn any_performance() -> impl Strategy<Value = PerformanceEvent> {
    (any::<[String; 3]>(), float(), of(any::<u32>()), time()).prop_map(
        |([metric_name, unit, component], value, pid, timestamp)| PerformanceEvent {
            metric_name,
            value,
            unit,
            pid,
            component,
            timestamp,
        },
    )
}

fn reasons() -> impl Strategy<Value = Reasons> {
    btree_map(any::<String>(), 0..u64::MAX / 16, 0..3)
}

fn any_loss() -> impl Strategy<Value = LossEvent> {
    let gap = of((any::<String>(), any::<(u32, u64, u64)>())
        .prop_map(|(stream, (cpu, first_seq, last_seq))| LossGap { stream, cpu, first_seq, last_seq }));
    (class(), gap, any::<u64>(), time(), time(), reasons()).prop_map(
        |(class, gap, count, t_first, t_last, reasons)| LossEvent {
            class,
            gap,
            count,
            t_first,
            t_last,
            reasons,
        },
    )
}

fn any_error() -> impl Strategy<Value = ErrorEvent> {
    (class(), select(ErrorCode::ALL.to_vec()), any::<String>(), time())
        .prop_map(|(class, code, message, timestamp)| ErrorEvent { class, code, message, timestamp })
}

fn any_coverage() -> impl Strategy<Value = CoverageEvent> {
    let hook = any::<[String; 3]>().prop_map(|[via, rung, readers]| HookCoverage { via, rung, readers });
    let coverage = (vec(hook, 0..3), vec(any::<String>(), 0..3));
    let coverage = coverage.prop_map(|(hooks, blind)| ClassCoverage { hooks, blind });
    (any::<String>(), btree_map(class(), coverage, 0..4), time())
        .prop_map(|(kernel, classes, timestamp)| CoverageEvent { kernel, classes, timestamp })
}

fn any_summary() -> impl Strategy<Value = SummaryEvent> {
    let counts = proptest::array::uniform10(0..u64::MAX / 4);
    let account = (counts, reasons(), reasons(), any::<u64>()).prop_map(
        |(counts, dropped_kernel, dropped_user, missed)| {
            let [
                generated,
                in_ring,
                read,
                malformed,
                decoded,
                delivered,
                filtered,
                internal,
                merged,
                pending,
            ] = counts;
            ClassAccount {
                generated,
                dropped_kernel,
                in_ring,
                read,
                malformed,
                decoded,
                delivered,
                filtered,
                internal,
                merged,
                dropped_user,
                pending,
                missed,
            }
        },
    );
    (btree_map(class(), account, 0..4), time())
        .prop_map(|(classes, timestamp)| SummaryEvent { classes, timestamp })
}
