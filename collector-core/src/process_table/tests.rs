mod ancestry;
mod gone;
mod host;
mod images;

use super::*;
use crate::event::{ConnectOutcome, ConnectResult, Exit, Origin};
use crate::test_events::{kernel_event, process};

const SECOND: u64 = 1_000_000_000;

fn event(ktime_ns: u64, process: ProcessContext, body: KernelBody) -> KernelEvent {
    KernelEvent { ktime_ns, process, body, ..kernel_event(0) }
}

fn exec_of(path: &str, ino: u64) -> KernelBody {
    KernelBody::Exec(Exec { path: Some(path.into()), dev: Some(8), ino: Some(ino), ..Exec::default() })
}

fn fork_of(child_pid: u32, child_start_ns: u64) -> KernelBody {
    KernelBody::Fork(Fork { child_pid, child_tid: child_pid, child_start_ns, thread: false })
}

fn exit() -> KernelBody {
    KernelBody::Exit(Exit { status: 0, duration_ns: 0 })
}

fn decided() -> KernelBody {
    KernelBody::ConnectResult(ConnectResult {
        socket_cookie: 1,
        local: None,
        remote: None,
        result: Some(ConnectOutcome::Ok),
        errno: None,
        latency_ns: None,
    })
}

fn named(pid: u32, start_ns: u64, name: &str) -> ProcessContext {
    ProcessContext { name: name.into(), ..process(pid, start_ns) }
}

fn apply(table: &mut ProcessTable, ktime_ns: u64, process: ProcessContext, body: KernelBody) -> KernelEvent {
    let mut event = event(ktime_ns, process, body);
    table.apply(&mut event);
    event
}

fn exe(event: &KernelEvent) -> Option<String> {
    let exe = event.identity.as_ref()?.exe.as_ref()?;
    Some(exe.to_string_lossy().into_owned())
}

fn parent(event: &KernelEvent) -> Option<String> {
    let name = event.identity.as_ref()?.parent_name.as_ref()?;
    Some(name.to_string_lossy().into_owned())
}

#[test]
fn a_forked_child_runs_its_parents_file_until_it_executes_its_own() {
    let mut table = ProcessTable::new(10);
    apply(&mut table, 1, named(10, 1, "sh"), exec_of("/bin/sh", 5));
    apply(&mut table, 2, named(10, 1, "sh"), fork_of(11, 2));
    let child = ProcessContext { ppid: 10, ..named(11, 2, "sh") };
    let before = apply(&mut table, 3, child.clone(), fork_of(12, 3));
    assert_eq!((exe(&before).as_deref(), parent(&before).as_deref()), (Some("/bin/sh"), Some("sh")));
    assert_eq!(before.identity.unwrap().exe_file, Some((8, 5)));
    apply(&mut table, 4, child.clone(), exec_of("/bin/ls", 6));
    let after = apply(&mut table, 5, child, exit());
    assert_eq!(exe(&after).as_deref(), Some("/bin/ls"));
    assert_eq!(after.identity.unwrap().exe_file, Some((8, 6)));
}

#[test]
fn all_events_between_two_execs_share_one_identity() {
    let mut table = ProcessTable::new(10);
    let first = apply(&mut table, 1, process(10, 1), exec_of("/bin/a", 1)).identity.unwrap();
    let second = apply(&mut table, 2, process(10, 1), fork_of(11, 2)).identity.unwrap();
    let third = apply(&mut table, 3, process(10, 1), exec_of("/bin/b", 2)).identity.unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert!(!Arc::ptr_eq(&second, &third));
    assert_eq!(
        first.exe.as_ref().unwrap().as_bytes(),
        b"/bin/a",
        "an event that was told keeps what it was told"
    );
}

#[test]
fn a_reused_pid_is_another_process() {
    let mut table = ProcessTable::new(10);
    apply(&mut table, 1, process(10, 1), exec_of("/bin/old", 1));
    apply(&mut table, 2, process(10, 1), exit());
    let new = apply(&mut table, 3, process(10, 3), fork_of(11, 4));
    assert_eq!(exe(&new), None);
    apply(&mut table, 4, process(10, 3), exec_of("/bin/new", 2));
    let late = apply(&mut table, 3, process(10, 1), fork_of(12, 2));
    assert_eq!(exe(&late).as_deref(), Some("/bin/old"), "an event of the old process read late");
}

#[test]
fn a_reused_pid_ends_the_entry_whose_exit_was_lost() {
    let mut table = ProcessTable::new(10);
    apply(&mut table, SECOND, process(10, 1), exec_of("/bin/old", 1));
    apply(&mut table, 2 * SECOND, process(10, 3), exec_of("/bin/new", 1));
    assert_eq!(table.stats().entries, 2);
    apply(&mut table, 5 * SECOND, process(10, 3), exec_of("/bin/new", 1));
    assert_eq!(table.stats().entries, 1);
}

#[test]
fn an_exit_read_before_its_exec_leaves_no_entry_behind() {
    let mut table = ProcessTable::new(10);
    let early = apply(&mut table, SECOND, process(10, 1), exit());
    assert_eq!(exe(&early), None);
    let late = apply(&mut table, SECOND - 50, process(10, 1), exec_of("/bin/true", 1));
    assert_eq!(exe(&late).as_deref(), Some("/bin/true"));
    assert_eq!(table.stats().entries, 1);
    apply(&mut table, SECOND + EXITED_KEPT_NS + 1, process(20, 9), exit());
    assert_eq!(table.stats().entries, 1, "only the later process is left");
}

#[test]
fn a_fork_read_after_its_childs_exec_changes_only_what_is_unknown() {
    let mut table = ProcessTable::new(10);
    let child = ProcessContext { ppid: 10, ..named(11, 2, "ls") };
    apply(&mut table, 2, child.clone(), exec_of("/bin/ls", 6));
    apply(&mut table, 1, named(10, 1, "sh"), fork_of(11, 2));
    let exit = apply(&mut table, 3, child, exit());
    assert_eq!((exe(&exit).as_deref(), parent(&exit).as_deref()), (Some("/bin/ls"), Some("sh")));
}

#[test]
fn an_exited_process_is_kept_exactly_for_its_time() {
    let mut table = ProcessTable::new(10);
    apply(&mut table, SECOND, process(10, 1), exit());
    apply(&mut table, SECOND + EXITED_KEPT_NS, process(20, 2), fork_of(21, 3));
    assert_eq!(table.stats().entries, 3);
    apply(&mut table, SECOND + EXITED_KEPT_NS + 1, process(20, 2), fork_of(22, 3));
    assert_eq!(table.stats().entries, 3, "one went, one came");
}

#[test]
fn at_capacity_exited_entries_go_first_and_then_new_ones_are_refused() {
    let mut table = ProcessTable::new(3);
    for pid in 1..=3 {
        apply(&mut table, u64::from(pid), process(pid, 1), exec_of("/bin/live", 1));
    }
    apply(&mut table, 4, process(2, 1), exit());
    apply(&mut table, 5, process(3, 1), exit());
    apply(&mut table, 6, process(4, 6), exec_of("/bin/new", 1));
    assert_eq!(table.stats(), TableStats { entries: 3, refused: 0, evicted_exited: 1 });
    let kept = apply(&mut table, 7, process(3, 1), exit());
    assert_eq!(exe(&kept).as_deref(), Some("/bin/live"), "the one that exited later is still there");
    apply(&mut table, 8, process(5, 8), exec_of("/bin/new", 1));
    let refused = apply(&mut table, 9, process(6, 9), exec_of("/bin/new", 1));
    assert_eq!(refused.identity, None);
    assert_eq!(table.stats(), TableStats { entries: 3, refused: 1, evicted_exited: 2 });
    let live = apply(&mut table, 10, process(1, 1), fork_of(7, 10));
    assert_eq!(exe(&live).as_deref(), Some("/bin/live"), "a live process is never put out");
}

#[test]
fn a_process_that_found_no_room_gets_in_when_one_has_ended() {
    let mut table = ProcessTable::new(1);
    apply(&mut table, 1, process(1, 1), exec_of("/bin/live", 1));
    for refused in 1..=3 {
        let event = apply(&mut table, 2, process(2, 2), fork_of(3, 2));
        assert_eq!(event.identity, None);
        // Its child found none either.
        assert_eq!(table.stats(), TableStats { entries: 1, refused: 2 * refused, evicted_exited: 0 });
    }
    apply(&mut table, 3, process(1, 1), exit());
    let event = apply(&mut table, 4, process(2, 2), exec_of("/bin/late", 1));
    assert_eq!(exe(&event).as_deref(), Some("/bin/late"));
    assert_eq!(table.stats(), TableStats { entries: 1, refused: 6, evicted_exited: 1 });
}

#[test]
fn ten_thousand_processes_leave_nothing_behind() {
    let mut table = ProcessTable::new(100_000);
    for n in 0..10_000_u32 {
        let ktime_ns = u64::from(n) * 1_000_000;
        apply(&mut table, ktime_ns, process(1, 1), fork_of(n + 2, ktime_ns));
        apply(&mut table, ktime_ns, process(n + 2, ktime_ns), exec_of("/bin/true", 1));
        apply(&mut table, ktime_ns, process(n + 2, ktime_ns), exit());
    }
    apply(&mut table, 20 * SECOND, process(1, 1), exec_of("/sbin/init", 1));
    assert_eq!(table.stats(), TableStats { entries: 1, refused: 0, evicted_exited: 0 });
    assert_eq!((table.by_pid.len(), table.exited.len()), (1, 0));
}

fn snapshot(pid: u32, start_ns: u64, ppid: u32, name: &str, exe: &str, ino: u64) -> SnapshotEntry {
    SnapshotEntry {
        pid,
        start_ns,
        ppid,
        name: name.into(),
        exe: Some(exe.into()),
        exe_file: Some((8, ino)),
        exact: false,
    }
}

#[test]
fn a_snapshots_process_is_found_within_its_tick_and_not_beyond() {
    let start_ns = 5 * SECOND;
    for (offset, found) in
        [(0, true), (SNAPSHOT_START_TOLERANCE_NS, true), (SNAPSHOT_START_TOLERANCE_NS + 1, false)]
    {
        let mut table = ProcessTable::new(10);
        table.seed(vec![
            snapshot(9, 1, 1, "sh", "/bin/sh", 4),
            snapshot(10, start_ns, 9, "cat", "/bin/cat", 5),
        ]);
        let context = ProcessContext { ppid: 9, ..named(10, start_ns + offset, "cat") };
        let told = apply(&mut table, 6 * SECOND, context, exit());
        assert_eq!(exe(&told).as_deref(), found.then_some("/bin/cat"), "offset {offset}");
        assert_eq!(parent(&told).as_deref(), Some("sh"));
    }
}

#[test]
fn a_snapshots_start_becomes_exact_with_the_first_event() {
    let mut table = ProcessTable::new(10);
    table.seed(vec![snapshot(10, 10_000_000, 1, "cat", "/bin/cat", 5)]);
    apply(&mut table, SECOND, process(10, 17_000_000), exit());
    let other = apply(&mut table, SECOND, process(10, 18_000_000), exit());
    assert_eq!(exe(&other), None);
}

#[test]
fn an_exact_snapshots_process_is_found_at_its_start_alone_and_on_its_device_alone() {
    for (offset, found) in [(0, true), (1, false)] {
        let mut table = ProcessTable::new(10);
        table.seed(vec![SnapshotEntry { exact: true, ..snapshot(10, SECOND, 1, "cat", "/bin/cat", 5) }]);
        let told = apply(&mut table, 2 * SECOND, named(10, SECOND + offset, "cat"), exit());
        assert_eq!(exe(&told).as_deref(), found.then_some("/bin/cat"), "offset {offset}");
    }
    let mut table = ProcessTable::new(10);
    table.seed(vec![SnapshotEntry { exact: true, ..snapshot(10, 1, 1, "cat", "/bin/cat", 5) }]);
    let elsewhere = ProcessContext { exe: Some((77, 5)), ..process(10, 1) };
    let told = apply(&mut table, 2, elsewhere, exit()).identity.unwrap();
    assert_eq!((told.exe.as_ref(), told.exe_file), (None, Some((77, 5))));
}

#[test]
fn an_older_exec_that_is_read_after_a_snapshot_gives_way_to_the_next() {
    let mut table = ProcessTable::new(10);
    table.seed(vec![SnapshotEntry { exact: true, ..snapshot(10, 1, 1, "c", "/bin/c", 3) }]);
    let older = apply(&mut table, 2, named(10, 1, "b"), exec_of("/bin/b", 2));
    let newer = apply(&mut table, 3, named(10, 1, "c"), exec_of("/bin/c", 3));
    assert_eq!((exe(&older).as_deref(), exe(&newer).as_deref()), (Some("/bin/b"), Some("/bin/c")));
}

#[test]
fn a_connection_that_is_decided_later_changes_nothing_that_is_known_by_then() {
    let mut table = ProcessTable::new(10);
    apply(&mut table, 1, named(10, 1, "a"), exec_of("/bin/a", 1));
    apply(&mut table, 2, named(10, 1, "b"), exec_of("/bin/b", 2));
    let asked = ProcessContext { exe: Some((8, 1)), ..named(10, 1, "a") };
    let late = apply(&mut table, 3, asked, decided());
    assert_eq!(exe(&late).as_deref(), Some("/bin/a"), "that is what ran when it asked");
    let child = ProcessContext { ppid: 10, ..named(12, 5, "c") };
    assert_eq!(parent(&apply(&mut table, 5, child, exec_of("/bin/c", 3))).as_deref(), Some("b"));
    let after = apply(&mut table, 6, named(10, 1, "b"), exit());
    assert_eq!(exe(&after).as_deref(), Some("/bin/b"));
}

#[test]
fn a_path_is_not_told_of_a_file_that_the_hook_saw_to_be_another() {
    let mut table = ProcessTable::new(10);
    apply(&mut table, 1, process(10, 1), exec_of("/bin/a", 1));
    let other = ProcessContext { exe: Some((8, 2)), ..process(10, 1) };
    let told = apply(&mut table, 2, other, exit()).identity.unwrap();
    assert_eq!((told.exe.as_ref(), told.exe_file), (None, Some((8, 2))));
}

#[test]
fn a_snapshots_path_survives_another_view_of_the_same_device() {
    let mut table = ProcessTable::new(10);
    table.seed(vec![snapshot(10, 1, 1, "cat", "/bin/cat", 5)]);
    let seen = ProcessContext { exe: Some((77, 5)), ..process(10, 1) };
    let told = apply(&mut table, 2, seen, exit()).identity.unwrap();
    assert_eq!((told.exe.as_ref().unwrap().as_bytes(), told.exe_file), (&b"/bin/cat"[..], Some((77, 5))));
}

#[test]
fn the_parents_name_always_belongs_to_the_ppid_beside_it() {
    let mut table = ProcessTable::new(10);
    table.seed(vec![snapshot(1, 1, 0, "init", "/sbin/init", 4)]);
    apply(&mut table, 1, named(10, 1, "sh"), fork_of(11, 2));
    let child = named(11, 2, "sleep");
    let with_shell =
        apply(&mut table, 2, ProcessContext { ppid: 10, ..child.clone() }, exec_of("/bin/sleep", 3));
    assert_eq!(parent(&with_shell).as_deref(), Some("sh"));
    let orphaned = apply(&mut table, 4, ProcessContext { ppid: 1, ..child }, exit());
    assert_eq!(parent(&orphaned).as_deref(), Some("init"));
}

#[test]
fn a_parent_is_called_by_its_own_name_and_not_by_that_of_a_thread() {
    let mut table = ProcessTable::new(10);
    apply(&mut table, 1, named(10, 1, "server"), exec_of("/bin/server", 5));
    let thread = ProcessContext { tid: 12, ..named(10, 1, "worker") };
    apply(&mut table, 2, thread, fork_of(11, 2));
    let child = |name| ProcessContext { ppid: 10, ..named(11, 2, name) };
    let before = apply(&mut table, 3, child("worker"), fork_of(13, 3));
    assert_eq!(parent(&before).as_deref(), Some("server"));
    let after = apply(&mut table, 4, child("ls"), exec_of("/bin/ls", 6));
    assert_eq!(parent(&after).as_deref(), Some("server"));
}

#[test]
fn a_threads_fork_makes_no_process() {
    let mut table = ProcessTable::new(10);
    let thread = Fork { child_pid: 10, child_tid: 15, child_start_ns: 3, thread: true };
    apply(&mut table, 1, process(10, 1), KernelBody::Fork(thread));
    assert_eq!(table.stats().entries, 1);
}

#[test]
fn text_kept_in_the_table_does_not_keep_the_events_buffer() {
    let mut table = ProcessTable::new(10);
    let buffer = bytes::Bytes::from(vec![b'x'; 4096]);
    let name = Text::new(buffer.slice(0..4));
    let path = Text::new(buffer.slice(4..100));
    let origin =
        Arc::new(Origin { class: crate::event::EventClass::Process, ..(*kernel_event(0).origin).clone() });
    let body = KernelBody::Exec(Exec { path: Some(path), ..Exec::default() });
    let mut event =
        KernelEvent { origin, body, ..event(1, ProcessContext { name, ..process(10, 1) }, exit()) };
    table.apply(&mut event);
    apply(&mut table, 2, event.process.clone(), fork_of(11, 2));
    event.identity = None;
    drop(event);
    assert!(buffer.is_unique(), "the table holds a slice of the buffer");
}
