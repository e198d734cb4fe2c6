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
