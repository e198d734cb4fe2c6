//! Ancestors.

use super::*;

fn table(levels: usize) -> ProcessTable {
    ProcessTable::new(100).with_ancestry(levels)
}

/// The ancestors as `pid:name:exe`, nearest first.
fn above(event: &KernelEvent) -> Vec<String> {
    let line = |above: &Arc<Ancestor>| {
        let exe = above.exe.as_ref().map(|exe| exe.to_string_lossy().into_owned());
        format!("{}:{}:{}", above.pid, above.name.to_string_lossy(), exe.unwrap_or_default())
    };
    event.identity.as_ref().unwrap().ancestors.iter().map(line).collect()
}

fn child(pid: u32, start_ns: u64, ppid: u32, name: &str) -> ProcessContext {
    ProcessContext { ppid, ..named(pid, start_ns, name) }
}

/// Processes 10, 11, .. each forked by the one before and each running a program of its own; returns the last exec.
fn chain(table: &mut ProcessTable, len: u32) -> KernelEvent {
    let mut last = None;
    for n in 0..len {
        let (pid, start_ns) = (10 + n, 10 + u64::from(n));
        let name = format!("p{pid}");
        let path = format!("/bin/{name}");
        let this = child(pid, start_ns, pid - 1, &name);
        last = Some(apply(table, start_ns, this.clone(), exec_of(&path, start_ns)));
        apply(table, start_ns, this, fork_of(pid + 1, start_ns + 1));
    }
    last.unwrap()
}

#[test]
fn ancestors_are_told_nearest_first() {
    let told = chain(&mut table(16), 4);
    assert_eq!(above(&told), ["12:p12:/bin/p12", "11:p11:/bin/p11", "10:p10:/bin/p10"]);
    let starts: Vec<_> = told.identity.unwrap().ancestors.iter().map(|above| above.start_ns).collect();
    assert_eq!(starts, [Some(12), Some(11), Some(10)]);
}

#[test]
fn as_many_as_were_asked_for_and_never_more_than_the_bound() {
    assert_eq!(above(&chain(&mut table(0), 5)), [""; 0]);
    assert_eq!(above(&chain(&mut table(1), 5)).len(), 1);
    assert_eq!(above(&chain(&mut table(2), 5)).len(), 2);
    assert_eq!(above(&chain(&mut table(ANCESTRY_MAX), 30)).len(), ANCESTRY_MAX);
    assert_eq!(above(&chain(&mut table(1000), 30)).len(), ANCESTRY_MAX);
}

#[test]
fn an_exec_of_the_child_tells_what_its_parent_runs_by_then() {
    let mut table = table(4);
    apply(&mut table, 1, named(10, 1, "a"), exec_of("/bin/a", 1));
    apply(&mut table, 2, named(10, 1, "a"), fork_of(11, 2));
    apply(&mut table, 3, named(10, 1, "b"), exec_of("/bin/b", 2));
    let before = apply(&mut table, 4, child(11, 2, 10, "a"), fork_of(12, 4));
    assert_eq!(above(&before), ["10:a:/bin/a"], "as when it was forked");
    let after = apply(&mut table, 5, child(11, 2, 10, "c"), exec_of("/bin/c", 3));
    assert_eq!(above(&after), ["10:b:/bin/b"]);
}

#[test]
fn siblings_share_what_is_told_of_their_parent() {
    let mut table = table(4);
    apply(&mut table, 1, named(10, 1, "a"), exec_of("/bin/a", 1));
    for n in 2..4 {
        apply(&mut table, n, named(10, 1, "a"), fork_of(9 + u32::try_from(n).unwrap(), n));
    }
    let one = apply(&mut table, 5, child(11, 2, 10, "a"), exit()).identity.unwrap();
    let other = apply(&mut table, 6, child(12, 3, 10, "a"), exit()).identity.unwrap();
    assert!(Arc::ptr_eq(&one.ancestors[0], &other.ancestors[0]));
}

#[test]
fn an_orphans_first_ancestor_is_the_process_that_took_it_over() {
    let mut table = table(4);
    table.seed(vec![snapshot(1, 1, 0, "init", "/sbin/init", 4)]);
    apply(&mut table, SECOND, child(10, SECOND, 1, "sh"), exec_of("/bin/sh", 1));
    apply(&mut table, SECOND, child(10, SECOND, 1, "sh"), fork_of(11, 2 * SECOND));
    let held = apply(&mut table, 2 * SECOND, child(11, 2 * SECOND, 10, "a"), exec_of("/bin/a", 2));
    assert_eq!(above(&held), ["10:sh:/bin/sh", "1:init:/sbin/init"]);
    apply(&mut table, 3 * SECOND, child(10, SECOND, 1, "sh"), exit());
    let orphan = apply(&mut table, 4 * SECOND, child(11, 2 * SECOND, 1, "a"), exit());
    assert_eq!(above(&orphan), ["1:init:/sbin/init"]);
}

#[test]
fn an_ancestor_that_is_no_longer_kept_is_still_told() {
    let mut table = table(4);
    chain(&mut table, 3);
    apply(&mut table, 20, child(11, 11, 10, "p11"), exit());
    // Long after 11 was dropped from the table, 12 has another child.
    let later = 20 + 2 * EXITED_KEPT_NS;
    apply(&mut table, later, child(12, 12, 11, "p12"), fork_of(13, later));
    assert!(table.entry(11, 11).is_none());
    let told = apply(&mut table, later + 1, child(13, later, 12, "p12"), exit());
    assert_eq!(above(&told), ["12:p12:/bin/p12", "11:p11:/bin/p11", "10:p10:/bin/p10"]);
}

#[test]
fn a_pid_that_was_given_again_is_no_ancestor() {
    let mut table = table(4);
    apply(&mut table, 1, named(10, 1, "old"), exec_of("/bin/old", 1));
    apply(&mut table, 2, child(11, 2, 10, "child"), exec_of("/bin/child", 2));
    apply(&mut table, 3, named(10, 1, "old"), exit());
    apply(&mut table, 5, named(10, 5, "new"), exec_of("/bin/new", 3));
    let told = apply(&mut table, 6, child(11, 2, 10, "child"), exec_of("/bin/next", 4));
    assert_eq!((above(&told), parent(&told)), (vec!["10:old:/bin/old".to_owned()], some_text("old")));
}

fn some_text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_snapshots_processes_have_ancestors_with_exact_starts_or_none() {
    let mut table = table(4);
    let snapshot = vec![
        snapshot(30, 3 * SECOND, 20, "cat", "/bin/cat", 3),
        snapshot(20, 2 * SECOND, 1, "sh", "/bin/sh", 2),
        snapshot(1, SECOND, 0, "init", "/sbin/init", 1),
    ];
    table.seed(snapshot);
    apply(&mut table, 4 * SECOND, child(20, 2 * SECOND + 5, 1, "sh"), fork_of(31, 4 * SECOND));
    let told = apply(&mut table, 5 * SECOND, child(30, 3 * SECOND, 20, "cat"), exit());
    assert_eq!(above(&told), ["20:sh:/bin/sh", "1:init:/sbin/init"]);
    let forked = apply(&mut table, 6 * SECOND, child(31, 4 * SECOND, 20, "sh"), exit()).identity.unwrap();
    let starts: Vec<_> = forked.ancestors.iter().map(|above| above.start_ns).collect();
    assert_eq!(starts, [Some(2 * SECOND + 5), None], "a clock tick is not told as a start");
}

#[test]
fn the_processes_of_an_exact_snapshot_are_told_as_ancestors_with_their_starts() {
    let mut table = table(4);
    table.seed(vec![SnapshotEntry { exact: true, ..snapshot(20, SECOND, 1, "sh", "/bin/sh", 2) }]);
    let told = apply(&mut table, 3 * SECOND, child(30, 2 * SECOND, 20, "cat"), exit()).identity.unwrap();
    assert_eq!(told.ancestors[0].start_ns, Some(SECOND));
}

#[test]
fn a_circle_of_parents_ends() {
    let mut table = table(16);
    table.seed(vec![snapshot(10, 1, 11, "a", "/bin/a", 1), snapshot(11, 1, 10, "b", "/bin/b", 2)]);
    let told = apply(&mut table, 2, child(10, 1, 11, "a"), exit());
    assert_eq!(above(&told).len(), 16);
}
