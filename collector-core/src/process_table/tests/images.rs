use super::*;

fn open() -> KernelBody {
    KernelBody::Open(Default::default())
}

fn running(pid: u32, ino: u64) -> ProcessContext {
    ProcessContext { exe: Some((8, ino)), ..process(pid, 1) }
}

/// Path and file that an open of process 10 is told with.
fn opened(table: &mut ProcessTable, ktime_ns: u64, ino: Option<u64>) -> (Option<String>, Option<u64>) {
    let asked = ProcessContext { exe: ino.map(|ino| (8, ino)), ..process(10, 1) };
    let event = apply(table, ktime_ns, asked, open());
    (exe(&event), event.identity.unwrap().exe_file.map(|(_, ino)| ino))
}

#[test]
fn an_open_that_is_read_after_the_next_exec_has_the_path_of_what_ran() {
    let mut table = ProcessTable::new(10);
    apply(&mut table, 10, process(10, 1), exec_of("/bin/a", 1));
    apply(&mut table, 20, process(10, 1), exec_of("/bin/b", 2));
    apply(&mut table, 30, process(10, 1), exec_of("/bin/c", 3));
    for (ktime_ns, ino, path) in [(15, 1, "/bin/a"), (25, 2, "/bin/b"), (35, 3, "/bin/c")] {
        let expected = (Some(path.to_owned()), Some(ino));
        assert_eq!(opened(&mut table, ktime_ns, Some(ino)), expected);
        assert_eq!(opened(&mut table, ktime_ns, None), expected, "by the time alone");
    }
    assert_eq!(opened(&mut table, 25, Some(9)), (None, Some(9)), "of that file no path is known");
    assert_eq!(
        opened(&mut table, 36, Some(3)),
        (Some("/bin/c".to_owned()), Some(3)),
        "nothing was changed by it"
    );
}

#[test]
fn an_open_that_is_read_before_its_exec_has_no_path_of_another_file() {
    let mut table = ProcessTable::new(10);
    apply(&mut table, 10, process(10, 1), exec_of("/bin/a", 1));
    assert_eq!(opened(&mut table, 25, Some(2)), (None, Some(2)));
    apply(&mut table, 20, process(10, 1), exec_of("/bin/b", 2));
    assert_eq!(opened(&mut table, 26, Some(2)), (Some("/bin/b".to_owned()), Some(2)));
    assert_eq!(opened(&mut table, 15, Some(1)), (Some("/bin/a".to_owned()), Some(1)));
}

#[test]
fn what_ran_is_forgotten_with_time_and_in_number() {
    let mut table = ProcessTable::new(10);
    for exec in 1..=6 {
        apply(&mut table, exec * 10, process(10, 1), exec_of("/bin/x", exec));
    }
    assert_eq!(opened(&mut table, 15, Some(1)), (None, Some(1)), "one of six is too old");
    assert_eq!(opened(&mut table, 25, Some(2)).0.as_deref(), Some("/bin/x"));
    assert_eq!(opened(&mut table, 15, None), (Some("/bin/x".to_owned()), Some(2)));
    apply(&mut table, 61 + EXITED_KEPT_NS, running(11, 1), open());
    assert_eq!(opened(&mut table, 55, Some(5)), (None, Some(5)));
    assert_eq!(opened(&mut table, 55, None), (None, None), "what ran then is not known any more");
    assert!(table.replaced.is_empty());
}

#[test]
fn what_a_process_runs_again_is_kept_once() {
    let mut table = ProcessTable::new(10);
    for ktime_ns in 1..=100 {
        apply(&mut table, ktime_ns, process(10, 1), exec_of("/bin/a", 1));
    }
    assert!(table.replaced.is_empty());
}

#[test]
fn an_event_that_is_read_late_names_the_parent_whose_pid_it_has() {
    let mut table = ProcessTable::new(10);
    table.seed(vec![snapshot(1, 1, 0, "init", "/sbin/init", 4)]);
    apply(&mut table, 2, named(9, 2, "sh"), fork_of(10, 3));
    let below = |ppid, ino| ProcessContext { ppid, exe: Some((8, ino)), ..named(10, 3, "d") };
    apply(&mut table, 4, below(9, 5), exec_of("/bin/d", 5));
    // Its parent ends, init takes it over, and it executes another program.
    apply(&mut table, 5, named(9, 2, "sh"), exit());
    assert_eq!(parent(&apply(&mut table, 6, below(1, 5), open())).as_deref(), Some("init"));
    apply(&mut table, 7, below(1, 6), exec_of("/bin/e", 6));
    for body in [open(), decided()] {
        let late = apply(&mut table, 4, below(9, 5), body);
        assert_eq!((exe(&late).as_deref(), parent(&late).as_deref()), (Some("/bin/d"), Some("sh")));
    }
    let now = apply(&mut table, 8, below(1, 6), open());
    assert_eq!((exe(&now).as_deref(), parent(&now).as_deref()), (Some("/bin/e"), Some("init")));
    apply(&mut table, 6 + EXITED_KEPT_NS, below(1, 6), open());
    let later = apply(&mut table, 7 + EXITED_KEPT_NS, below(9, 6), decided());
    assert_eq!((exe(&later).as_deref(), parent(&later)), (Some("/bin/e"), None), "that parent is forgotten");
}

#[test]
fn an_event_that_is_read_when_its_process_is_forgotten_makes_no_process_that_never_ends() {
    let mut table = ProcessTable::new(10);
    apply(&mut table, 1, named(9, 1, "sh"), fork_of(10, 1));
    apply(&mut table, 2, running(10, 5), exec_of("/bin/d", 5));
    apply(&mut table, 3, running(10, 5), exit());
    apply(&mut table, 10 * SECOND, named(9, 1, "sh"), exec_of("/bin/sh", 3));
    assert_eq!(table.stats().entries, 1);
    for (ktime_ns, body) in [(2, open()), (10 * SECOND, decided())] {
        let asked = ProcessContext { ppid: 9, ..process(10, 1) };
        let event = apply(&mut table, ktime_ns, asked, body);
        assert_eq!((exe(&event), parent(&event).as_deref()), (None, Some("sh")));
        assert_eq!((table.stats().entries, table.live().count()), (1, 1));
    }
    apply(&mut table, 10 * SECOND, process(11, 2), open());
    assert_eq!(table.stats().entries, 2, "this one lives");
}
