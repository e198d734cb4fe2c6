//! From records in memory to events, kind by kind.

use super::fixtures::{
    ExecParts, WALL_OFFSET_NS, comm, converted, converter, event, exec_of, exit, fork, leaf_first, offsets,
    with_offsets,
};
use super::*;
use collector_core::event::EventClass;

/// The path of an exec whose walk gave these bytes.
fn path(walked: &[u8]) -> Vec<u8> {
    let parts = ExecParts { path: walked.to_vec(), ..ExecParts::sleep() };
    let event = event(&parts.record(|_| ()));
    exec_of(&event).path.as_ref().unwrap().as_bytes().to_vec()
}

fn args(argv: &[u8]) -> Vec<Vec<u8>> {
    let parts = ExecParts { argv: argv.to_vec(), ..ExecParts::sleep() };
    let event = event(&parts.record(|_| ()));
    exec_of(&event).args().map(<[u8]>::to_vec).collect()
}

fn text(bytes: &[u8]) -> Option<Text> {
    Some(Text::from(bytes))
}

fn missing_names(event: &KernelEvent) -> Vec<(&str, MissingReason)> {
    event.missing.iter().map(|missing| (missing.field.as_ref(), missing.reason)).collect()
}

fn truncated_names(event: &KernelEvent) -> Vec<(&str, u64)> {
    event.truncated.iter().map(|truncated| (truncated.field.as_ref(), truncated.original_len)).collect()
}

#[test]
fn header_and_task_arrive_field_by_field() {
    let event = event(&ExecParts::sleep().record(|_| ()));
    assert_eq!(event.origin.class, EventClass::Process);
    assert_eq!(
        (event.origin.stream.as_str(), event.origin.via.as_str()),
        ("exec", "raw_tp:sched_process_exec")
    );
    assert_eq!((event.ktime_ns, event.wall_ns), (9_000, WALL_OFFSET_NS + 9_000));
    assert_eq!((event.cpu, event.seq, event.internal), (1, 41, false));
    assert_eq!((event.abi, &event.identity), (None, &None));
    let expected = ProcessContext {
        pid: 4000,
        tid: 4000,
        ppid: 3999,
        ns_pid: 17,
        start_ns: 5_000,
        name: Text::from("sleep"),
        ruid: 4_294_967_294,
        euid: 1,
        rgid: 2,
        egid: 3,
        loginuid: Some(1000),
        session: Some(9),
        cap_effective: 0x1ff,
        ns: Namespaces { pid: 11, mnt: 12, net: 13, user: 14 },
        cgroup_id: 77,
        exe: Some((8 << 20 | 1, 1234)),
    };
    assert_eq!(event.process, expected);
    assert_eq!((&event.missing[..], &event.truncated[..]), (&[][..], &[][..]));
}

#[test]
fn exec_tells_the_file_that_runs_and_what_was_asked_for() {
    let event = event(&ExecParts::sleep().record(|_| ()));
    let expected = Exec {
        filename: text(b"/bin/sleep"),
        path: text(b"/usr/bin/sleep"),
        dev: Some(8 << 20 | 1),
        ino: Some(1234),
        script: None,
        interp: None,
        argv: text(b"sleep\x001\0"),
        cwd: text(b"/root"),
        fileless: Some(false),
        old_tid: None,
    };
    assert_eq!(exec_of(&event), &expected);
}

#[test]
fn empty_arguments_and_argv_0_are_kept() {
    assert_eq!(args(b"zero\0\0two\0\0"), [&b"zero"[..], b"", b"two", b""]);
    assert_eq!(args(b"\0"), [b""]);
    assert_eq!(args(b"\0\0"), [b"", b""]);
    assert!(args(b"").is_empty(), "an exec without arguments has none, not an empty one");
    assert_eq!(args(b"cut\0in the mid"), [&b"cut"[..], b"in the mid"]);
}

#[test]
fn names_leaf_first_become_an_absolute_path() {
    assert_eq!(path(&leaf_first(&[b"a", b"bc", b"d"])), b"/a/bc/d");
    assert_eq!(path(&leaf_first(&[b"one"])), b"/one");
    assert_eq!(path(&leaf_first(&[b"new\nline", b"\xff\x1b"])), b"/new\nline/\xff\x1b");
}

#[test]
fn root_alone_is_a_slash() {
    assert_eq!(path(b""), b"/");
    assert_eq!(path(b"/\0"), b"/");
}

#[test]
fn memfd_has_the_name_that_it_is_its_own_parent_under() {
    assert_eq!(path(b"memfd:payload\0"), b"/memfd:payload");
}

#[test]
fn a_detached_root_named_slash_is_left_out() {
    assert_eq!(path(b"prog\0dir\0/\0"), b"/dir/prog");
}

#[test]
fn a_path_whose_walk_was_cut_within_a_name_keeps_what_there_is() {
    assert_eq!(path(b"prog\0dir\0par"), b"/par/dir/prog");
}

#[test]
fn cut_paths_and_arguments_say_their_original_lengths() {
    let parts = ExecParts { script_path: leaf_first(&[b"s.sh"]), ..ExecParts::sleep() };
    let event = event(&parts.record(|record| {
        record.path.flags = PATH_TRUNCATED;
        record.path.total = 5_000;
        record.cwd.flags = PATH_TRUNCATED;
        record.cwd.total = 6_000;
        record.script_path.flags = PATH_TRUNCATED;
        record.script_path.total = 7_000;
        record.argv_total = 100_000;
    }));
    let mut told = truncated_names(&event);
    told.sort_unstable();
    let expected =
        [("exec.argv", 100_000), ("exec.cwd", 6_000), ("exec.path", 5_000), ("exec.script.path", 7_000)];
    assert_eq!(told, expected);
}

#[test]
fn paths_that_were_renamed_at_each_look_are_left_out_and_named() {
    let parts = ExecParts { path: Vec::new(), cwd: Vec::new(), ..ExecParts::sleep() };
    let event = event(&parts.record(|record| {
        record.path.flags = PATH_RACED;
        record.cwd.flags = PATH_RACED;
    }));
    let exec = exec_of(&event);
    assert_eq!((&exec.path, &exec.cwd, exec.ino), (&None, &None, Some(1234)));
    let told: Vec<_> = event.missing.iter().map(|missing| (missing.field.as_ref(), missing.reason)).collect();
    assert_eq!(told, [("exec.path", MissingReason::Raced), ("exec.cwd", MissingReason::Raced)]);
}

#[test]
fn a_path_that_ends_at_a_detached_mount_is_not_cut() {
    let record = ExecParts::sleep().record(|record| record.path.flags = PATH_UNREACHABLE);
    assert_eq!(truncated_names(&event(&record)), []);
}

#[test]
fn a_path_that_names_no_place_is_left_out_and_said() {
    let parts = ExecParts { path: leaf_first(&[b"/", b"in", b"x"]), ..ExecParts::sleep() };
    let event = event(&parts.record(|record| record.path.flags = PATH_UNREACHABLE));
    let exec = exec_of(&event);
    assert_eq!((&exec.path, exec.ino), (&None, Some(1234)));
    assert_eq!(missing_names(&event), [("exec.path", MissingReason::Unsupported)]);
}

#[test]
fn what_could_not_be_read_is_absent_and_named() {
    let parts = ExecParts { script_path: leaf_first(&[b"s.sh"]), ..ExecParts::sleep() };
    for field in missing::FIELDS {
        let event = event(&parts.record(|record| record.header.missing = field.bit));
        assert_eq!(missing_names(&event), [(field.field, MissingReason::Fault)]);
        let exec = exec_of(&event);
        let there = [
            ("exec.argv", exec.argv.is_some()),
            ("exec.filename", exec.filename.is_some()),
            ("exec.path", exec.path.is_some() && exec.dev.is_some() && exec.ino.is_some()),
            ("exec.cwd", exec.cwd.is_some()),
            ("exec.interp", exec.interp.is_some()),
            ("exec.script", exec.script.is_some()),
        ];
        for (name, there) in there {
            assert_eq!(there, name != field.field, "{name} when {} is missing", field.field);
        }
        assert_eq!(exec.fileless.is_some(), field.field != "exec.path", "its links are the file's");
    }
}

#[test]
fn everything_missing_at_once_is_a_list_of_it() {
    let event = event(&ExecParts::default().record(|record| record.header.missing = u32::MAX));
    assert_eq!(event.missing.len(), missing::FIELDS.len(), "bits without a field name nothing");
    assert_eq!(exec_of(&event), &Exec::default());
}

#[test]
fn a_value_that_could_not_be_read_is_not_told_as_cut() {
    let event = event(&ExecParts::sleep().record(|record| {
        record.header.missing = missing::EXEC_ARGV | missing::EXEC_PATH;
        record.argv_total = 100_000;
        record.path.flags = PATH_TRUNCATED;
    }));
    assert_eq!(truncated_names(&event), []);
}

#[test]
fn a_kernel_without_audit_says_that_login_and_session_are_unsupported() {
    let mut converter = with_offsets(&Offsets::NONE);
    let event = converted(
        &mut converter,
        &exit(|record| {
            record.task.loginuid = u32::MAX;
            record.task.session = u32::MAX;
        }),
    );
    assert_eq!((event.process.loginuid, event.process.session), (None, None));
    let unsupported = MissingReason::Unsupported;
    assert_eq!(missing_names(&event), [("process.loginuid", unsupported), ("process.session", unsupported)]);
    let only_login = Offsets { task_sessionid: Offsets::ABSENT, ..offsets() };
    let event = converted(&mut with_offsets(&only_login), &exit(|_| ()));
    assert_eq!(missing_names(&event), [("process.session", unsupported)]);
}

#[test]
fn a_login_that_is_not_set_is_absent_and_not_missing() {
    let event = event(&exit(|record| {
        record.task.loginuid = u32::MAX;
        record.task.session = u32::MAX;
    }));
    assert_eq!((event.process.loginuid, event.process.session), (None, None));
    assert_eq!(missing_names(&event), []);
}

#[test]
fn a_script_is_told_with_its_interpreter() {
    let parts = ExecParts {
        path: leaf_first(&[b"usr", b"bin", b"dash"]),
        script_path: leaf_first(&[b"opt", b"job.sh"]),
        filename: b"./job.sh\0".to_vec(),
        interp: b"/bin/sh\0".to_vec(),
        ..ExecParts::sleep()
    };
    let event = event(&parts.record(|_| ()));
    let exec = exec_of(&event);
    let script = Script { path: text(b"/opt/job.sh"), dev: Some(8 << 20 | 2), ino: Some(55) };
    assert_eq!(exec.script, Some(script));
    assert_eq!((&exec.interp, &exec.filename), (&text(b"/bin/sh"), &text(b"./job.sh")));
    assert_eq!(exec.path, text(b"/usr/bin/dash"));
}

#[test]
fn a_file_without_a_link_is_fileless() {
    let event = event(&ExecParts::sleep().record(|record| record.nlink = 0));
    assert_eq!(exec_of(&event).fileless, Some(true));
}

#[test]
fn a_thread_that_is_not_the_leader_is_told_as_the_caller() {
    let event = event(&ExecParts::sleep().record(|record| record.old_tid = 4007));
    assert_eq!(exec_of(&event).old_tid, Some(4007));
}

#[test]
fn comm_ends_at_its_nul_and_fills_the_field_without_one() {
    for (comm_bytes, name) in [
        (&b"a\0garbage"[..], &b"a"[..]),
        (b"", b""),
        (b"fifteen bytes..", b"fifteen bytes.."),
        (b"sixteen of them!", b"sixteen of them!"),
    ] {
        let event = event(&exit(|record| record.task.comm = comm(comm_bytes)));
        assert_eq!(event.process.name.as_bytes(), name);
    }
}

#[test]
fn a_task_without_a_file_has_no_exe() {
    let event = event(&exit(|record| record.task.exe_ino = 0));
    assert_eq!(event.process.exe, None);
}

#[test]
fn fork_tells_the_child_and_is_internal_unless_it_was_asked_for() {
    let of_process = event(&fork(|_| ()));
    let expected = Fork { child_pid: 4001, child_tid: 4001, child_start_ns: 8_999, thread: false };
    assert_eq!(of_process.body, KernelBody::Fork(expected));
    assert!(of_process.internal);
    let of_thread = event(&fork(|record| record.flags = collector_common::FORK_THREAD));
    let KernelBody::Fork(fork) = of_thread.body else { panic!("{of_thread:?}") };
    assert!(fork.thread);
}

#[test]
fn exit_tells_the_wait_status_and_how_long_it_lived() {
    let told = |status| {
        let event = event(&exit(|record| record.status = status));
        let KernelBody::Exit(exit) = event.body else { panic!("{event:?}") };
        (exit.code(), exit.signal(), exit.core_dumped(), exit.duration_ns)
    };
    assert_eq!(told(0), (Some(0), None, false, 4_000));
    assert_eq!(told(0xff00), (Some(255), None, false, 4_000));
    assert_eq!(told(9), (None, Some(9), false, 4_000));
    assert_eq!(told(0x8b), (None, Some(11), true, 4_000));
}

#[test]
fn an_end_before_the_start_is_a_life_of_0() {
    let event = event(&exit(|record| record.task.start_ns = 10_000));
    assert_eq!(event.body, KernelBody::Exit(Exit { status: 0, duration_ns: 0 }));
}

#[test]
fn a_hook_of_another_source_gives_no_event() {
    let mut converter = Converter::new(vec![None; Hook::ALL.len()], Vec::new(), &offsets());
    let bytes = exit(|_| ());
    let (hook, record) = Record::parse(bytes.get()).unwrap();
    assert_eq!(converter.event(hook, &record), None);
}

#[test]
fn texts_of_many_events_do_not_overwrite_each_other() {
    let mut converter = converter();
    // Several times the shared buffer.
    let events: Vec<_> = (0..3 * CHUNK_BYTES / 1000)
        .map(|number| {
            let argv = [format!("{number}").as_bytes(), &[b'x'; 1000], b"\0"].concat();
            let parts = ExecParts { argv, ..ExecParts::sleep() };
            converted(&mut converter, &parts.record(|_| ()))
        })
        .collect();
    for (number, event) in events.iter().enumerate() {
        let exec = exec_of(event);
        assert!(exec.args().next().unwrap().starts_with(format!("{number}x").as_bytes()));
        assert_eq!(exec.path, text(b"/usr/bin/sleep"));
    }
}
