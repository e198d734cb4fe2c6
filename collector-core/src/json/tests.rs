use super::*;
use crate::accounting::ClassAccount;
use crate::event::{
    Abi, Ancestor, Cgroup, ClassCoverage, CoverageEvent, ErrorCode, ErrorEvent, EventClass, Exec, Exit, Fork,
    HookCoverage, KernelBody, KernelEvent, LossEvent, LossGap, Missing, MissingReason, Namespaces, Open,
    OpenFlags, PerformanceEvent, ProcessEvent, ProcessIdentity, Script, SummaryEvent, Truncated,
};
use crate::test_events::kernel_event;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

fn line(event: &CollectionEvent) -> String {
    let mut out = Vec::new();
    JsonEncoder::new().encode(event, &mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.matches('\n').count(), 1);
    text
}

fn parsed(event: &CollectionEvent) -> Value {
    serde_json::from_str(&line(event)).unwrap()
}

fn kernel(body: KernelBody, change: impl FnOnce(&mut KernelEvent)) -> CollectionEvent {
    let mut event = KernelEvent { body, ..kernel_event(7) };
    change(&mut event);
    CollectionEvent::Kernel(Box::new(event))
}

fn whole_exec() -> Exec {
    Exec {
        filename: Some("./run.sh".into()),
        path: Some("/usr/bin/dash".into()),
        dev: Some(8 << 20 | 300),
        ino: Some(u64::MAX),
        script: Some(Script { path: Some("/home/u/run.sh".into()), dev: Some(8 << 20 | 1), ino: Some(12) }),
        interp: Some("/bin/sh".into()),
        argv: Some(b"/bin/sh\0\0-x\0"[..].into()),
        cwd: Some("/home/u".into()),
        fileless: Some(false),
        old_tid: Some(4321),
    }
}

#[test]
fn a_whole_exec_has_each_field_of_the_format() {
    let event = kernel(KernelBody::Exec(whole_exec()), |event| {
        event.cpu = 3;
        event.abi = Some(Abi::X86_64);
        event.process.name = "run.sh".into();
        event.process.loginuid = Some(1000);
        event.process.session = Some(2);
        event.process.cap_effective = 0x1ff;
        event.process.ns = Namespaces { pid: 41, mnt: 42, net: 0, user: 44 };
        event.process.cgroup_id = 77;
        event.identity = Some(Arc::new(ProcessIdentity {
            exe: Some("/not/this".into()),
            exe_file: None,
            parent_name: Some("bash".into()),
            ruid_name: Some("daemon".into()),
            euid_name: Some("bin".into()),
            cgroup: Some(Arc::new(Cgroup::new(format!("/docker/{}", "a1".repeat(32)).as_str().into()))),
            ancestors: vec![
                Arc::new(Ancestor {
                    pid: 1234,
                    start_ns: Some(900),
                    name: "bash".into(),
                    exe: Some("/usr/bin/bash".into()),
                }),
                Arc::new(Ancestor { pid: 1, start_ns: None, name: "init".into(), exe: None }),
            ],
        }));
        event.missing = vec![
            Missing { field: "exec.cwd".into(), reason: MissingReason::Fault },
            Missing { field: "process.ns.net".into(), reason: MissingReason::Unsupported },
        ];
        event.truncated = vec![Truncated { field: "exec.argv".into(), original_len: 40_960 }];
    });
    assert_eq!(
        parsed(&event),
        json!({
            "event": "exec", "time": "2023-11-14T22:13:20.000000007Z", "ktime_ns": 1_000_007, "boot_id": "boot",
            "class": "process", "stream": "process", "source": "test", "via": "raw_tp:sched_process_exit",
            "cpu": 3, "seq": 7, "abi": "x86_64",
            "process": {
                "pid": 100, "tid": 100, "ppid": 1, "start_ns": 1000, "key": "boot:100:1000", "name": "run.sh",
                "exe": "/usr/bin/dash", "exe_dev": "8:300", "exe_ino": u64::MAX, "parent_name": "bash",
                "user": {
                    "ruid": 1, "euid": 2, "rgid": 3, "egid": 4, "ruid_name": "daemon", "euid_name": "bin",
                },
                "loginuid": 1000, "session": 2,
                "cap_effective": "00000000000001ff", "ns": {"pid": 41, "mnt": 42, "user": 44}, "ns_pid": 100,
                "cgroup_id": 77, "cgroup": format!("/docker/{}", "a1".repeat(32)), "container_id": "a1".repeat(32),
                "container_runtime": "docker",
                "ancestors": [
                    {"pid": 1234, "start_ns": 900, "name": "bash", "exe": "/usr/bin/bash"},
                    {"pid": 1, "name": "init"},
                ],
            },
            "exec": {
                "filename": "./run.sh", "path": "/usr/bin/dash", "dev": "8:300", "ino": u64::MAX,
                "script": {"path": "/home/u/run.sh", "dev": "8:1", "ino": 12}, "interp": "/bin/sh",
                "argv": ["/bin/sh", "", "-x"], "cwd": "/home/u", "fileless": false, "old_tid": 4321,
            },
            "derived": [
                "process.parent_name", "process.user.ruid_name", "process.user.euid_name", "process.cgroup",
                "process.container_id", "process.container_runtime", "process.ancestors",
            ],
            "missing": {"exec.cwd": "fault", "process.ns.net": "unsupported"},
            "truncated": {"exec.argv": 40_960},
        })
    );
}

#[test]
fn what_does_not_exist_is_left_out() {
    let value = parsed(&kernel(KernelBody::Exec(Exec::default()), |event| event.process.ns_pid = 0));
    assert_eq!(value["exec"], json!({}));
    let keys: Vec<_> = value["process"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["cap_effective", "key", "name", "pid", "ppid", "start_ns", "tid", "user"]);
    for absent in ["derived", "missing", "truncated", "abi"] {
        assert_eq!(value.get(absent), None);
    }
}

#[test]
fn a_field_named_in_missing_is_not_written() {
    let event = kernel(KernelBody::Exit(Exit { status: 0, duration_ns: 1 }), |event| {
        event.missing = ["process.name", "process.user", "process.cap_effective", "process.ppid"]
            .map(|field| Missing { field: field.into(), reason: MissingReason::Fault })
            .into();
    });
    let value = parsed(&event);
    for field in ["name", "user", "cap_effective", "ppid"] {
        assert_eq!(value["process"].get(field), None, "{field}");
    }
}

#[test]
fn exe_of_another_event_than_exec_is_derived_unless_the_hook_read_it() {
    let identity = Arc::new(ProcessIdentity {
        exe: Some("/bin/cat".into()),
        exe_file: Some((1 << 20 | 2, 9)),
        ..ProcessIdentity::default()
    });
    let body = || KernelBody::Exit(Exit { status: 0, duration_ns: 1 });
    let known = parsed(&kernel(body(), |event| event.identity = Some(Arc::clone(&identity))));
    assert_eq!(known["process"]["exe"], "/bin/cat");
    assert_eq!((&known["process"]["exe_dev"], &known["process"]["exe_ino"]), (&json!("1:2"), &json!(9)));
    assert_eq!(known["derived"], json!(["process.exe", "process.exe_dev", "process.exe_ino"]));
    let read = parsed(&kernel(body(), |event| {
        event.identity = Some(identity);
        event.process.exe = Some((3 << 20 | 4, 5));
    }));
    assert_eq!((&read["process"]["exe_dev"], &read["process"]["exe_ino"]), (&json!("3:4"), &json!(5)));
    assert_eq!(read["derived"], json!(["process.exe"]));
}

#[test]
fn an_exit_has_exactly_one_of_code_and_signal() {
    let exit =
        |status| parsed(&kernel(KernelBody::Exit(Exit { status, duration_ns: 9 }), |_| {}))["exit"].take();
    assert_eq!(exit(0), json!({"code": 0, "duration_ns": 9}));
    assert_eq!(exit(255 << 8), json!({"code": 255, "duration_ns": 9}));
    assert_eq!(exit(9), json!({"signal": 9, "core_dumped": false, "duration_ns": 9}));
    assert_eq!(exit(11 | 0x80), json!({"signal": 11, "core_dumped": true, "duration_ns": 9}));
}

#[test]
fn a_fork_names_its_child() {
    let body = KernelBody::Fork(Fork { child_pid: 5, child_tid: 6, child_start_ns: 7, thread: true });
    let fork = parsed(&kernel(body, |_| {}))["fork"].take();
    assert_eq!(fork, json!({"child_pid": 5, "child_tid": 6, "child_start_ns": 7, "thread": true}));
}

#[test]
fn text_that_is_not_utf8_stands_exactly_beside_its_lossy_form() {
    let exec = Exec {
        filename: Some(b"a\xffb"[..].into()),
        argv: Some(b"fine\0\xfe\0\0"[..].into()),
        ..Exec::default()
    };
    let value = parsed(&kernel(KernelBody::Exec(exec), |event| event.process.name = b"\xc3("[..].into()));
    assert_eq!(value["exec"]["filename"], "a\u{fffd}b");
    assert_eq!(value["exec"]["filename_b64"], "Yf9i");
    assert_eq!(value["exec"]["argv"], json!(["fine", "\u{fffd}", ""]));
    assert_eq!(
        value["exec"]["argv_b64"],
        json!(["ZmluZQ==", "/g==", ""]),
        "every argument, not only the bad one"
    );
    assert_eq!(value["process"]["name_b64"], "wyg=");
}

#[test]
fn hostile_text_stays_one_safe_line() {
    let hostile = "\n\r\t\x1b[2J\"\\\x7f\u{85}\u{9b}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}";
    let exec = Exec { path: Some(hostile.into()), ..Exec::default() };
    let event = kernel(KernelBody::Exec(exec), |event| event.process.name = hostile.into());
    let line = line(&event);
    assert!(!line.trim_end_matches('\n').chars().any(crate::escape::is_unsafe_to_show));
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["exec"]["path"], hostile);
    assert_eq!(value["process"]["name"], hostile);
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn a_fault_names_class_code_and_what_was_found() {
    let (class, code) = (EventClass::File, ErrorCode::Canary);
    let fault = ErrorEvent { class, code, message: "gone".to_owned(), timestamp: at(1) };
    let whole = json!({
        "event": "error", "time": "1970-01-01T00:00:01.000000000Z", "class": "file", "code": "canary", "message": "gone",
    });
    assert_eq!(parsed(&CollectionEvent::Error(Box::new(fault))), whole);
}

#[test]
fn a_loss_tells_its_gap_and_one_reason_or_all() {
    let gap = LossGap { stream: "task".to_owned(), cpu: 1, first_seq: 10, last_seq: 12 };
    let mut loss = LossEvent {
        class: EventClass::File,
        gap: Some(gap),
        count: 3,
        t_first: at(1),
        t_last: at(2),
        reasons: [("ring_full".to_owned(), 3)].into(),
    };
    let whole = json!({
        "event": "loss", "class": "file", "stream": "task", "cpu": 1, "first_seq": 10, "last_seq": 12, "count": 3,
        "t_first": "1970-01-01T00:00:01.000000000Z", "t_last": "1970-01-01T00:00:02.000000000Z",
        "reason": "ring_full",
    });
    assert_eq!(parsed(&CollectionEvent::Loss(Box::new(loss.clone()))), whole);
    loss.gap = None;
    loss.reasons = [("ring_full".to_owned(), 2), ("too_long".to_owned(), 1)].into();
    let told = parsed(&CollectionEvent::Loss(Box::new(loss)));
    assert_eq!(
        told,
        json!({"event": "loss", "class": "file", "count": 3, "reasons": {"ring_full": 2, "too_long": 1},
            "t_first": "1970-01-01T00:00:01.000000000Z", "t_last": "1970-01-01T00:00:02.000000000Z"})
    );
}

#[test]
fn the_summarys_parts_add_up_to_what_was_generated() {
    let account = ClassAccount {
        generated: 100,
        dropped_kernel: [("ring_full".to_owned(), 7)].into(),
        in_ring: 3,
        read: 90,
        malformed: 2,
        decoded: 88,
        delivered: 70,
        filtered: 1,
        internal: 9,
        merged: 2,
        dropped_user: [("sink_failed".to_owned(), 5)].into(),
        pending: 1,
        missed: 4,
    };
    account.check().unwrap();
    let summary = SummaryEvent { classes: [(EventClass::Process, account)].into(), timestamp: at(3) };
    let value = parsed(&CollectionEvent::Summary(Box::new(summary)));
    let class = &value["classes"]["process"];
    assert_eq!(
        *class,
        json!({
            "generated": 100, "delivered": 70, "filtered": 1, "internal": 9, "merged": 2, "pending": 4, "missed": 4,
            "dropped": {"ring_full": 7, "sink_failed": 5, "malformed": 2},
        })
    );
    let parts =
        ["delivered", "filtered", "internal", "merged", "pending"].map(|part| class[part].as_u64().unwrap());
    let dropped: u64 = class["dropped"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(parts.iter().sum::<u64>() + dropped, 100);
}

#[test]
fn coverage_names_hooks_and_what_is_blind() {
    let hook = HookCoverage { via: "raw_tp:x".into(), rung: "raw_tp".into(), readers: "direct".into() };
    let class = ClassCoverage { hooks: vec![hook], blind: vec!["io_uring".into()] };
    let event = CoverageEvent {
        kernel: "6.18".into(),
        classes: [(EventClass::Process, class), (EventClass::File, ClassCoverage::default())].into(),
        timestamp: at(0),
    };
    let value = parsed(&CollectionEvent::Coverage(Box::new(event)));
    assert_eq!(
        value,
        json!({
            "event": "coverage", "time": "1970-01-01T00:00:00.000000000Z", "kernel": "6.18",
            "classes": {
                "process": {
                    "hooks": [{"via": "raw_tp:x", "rung": "raw_tp", "readers": "direct"}], "blind": ["io_uring"],
                },
                "file": {"hooks": [], "blind": []},
            },
        })
    );
}

#[test]
fn seed_events_have_their_own_fields() {
    let process = ProcessEvent {
        pid: 9,
        name: "x".into(),
        command_line: vec!["x".into(), "".into()],
        cpu_usage: Some(0.1),
        ..ProcessEvent::default()
    };
    assert_eq!(
        parsed(&CollectionEvent::Process(process)),
        json!({
            "event": "process", "pid": 9, "name": "x", "command_line": ["x", ""], "cpu_usage": 0.1,
            "accessible": false, "file_exists": false, "timestamp": "1970-01-01T00:00:00.000000000Z",
        })
    );
    let not_a_number = PerformanceEvent { value: f64::NAN, ..PerformanceEvent::default() };
    let value = parsed(&CollectionEvent::Performance(not_a_number));
    assert_eq!((value.get("value"), &value["missing"]), (None, &json!({"value": "not_finite"})));
}

#[test]
fn what_lines_share_is_written_as_if_it_were_each_lines_own() {
    let mut encoder = JsonEncoder::new();
    let count = kept::TEXTS_KEPT * 2;
    for n in (0..count).chain(0..3).chain([0, 0]) {
        let number = u32::try_from(n).unwrap();
        for abi in [None, Some(Abi::X86_64), Some(Abi::Aarch64)] {
            let flags = Some(OpenFlags(0o200_000 | u64::from(number)));
            let open = Open { flags, dev: Some(number << 20 | 7), ..Open::default() };
            let event = kernel(KernelBody::Open(open), |event| {
                Arc::make_mut(&mut event.origin).stream = format!("stream{n}");
                event.abi = abi;
            });
            let mut out = Vec::new();
            encoder.encode(&event, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), line(&event));
        }
    }
}
