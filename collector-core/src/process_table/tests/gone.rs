//! Processes whose exits were lost.

use super::*;
use crate::test_events::Ended as Host;

/// A table that is full of three processes, of which these have ended.
fn full(host: &Host, ended: &[u32]) -> ProcessTable {
    host.0.lock().unwrap().0 = ended.to_vec();
    let mut table = ProcessTable::new(3).with_host(Box::new(host.clone()));
    for pid in 1..=3 {
        apply(&mut table, SECOND, process(pid, 1), exec_of("/bin/live", 1));
    }
    table
}

fn pids(table: &ProcessTable) -> Vec<u32> {
    let mut pids: Vec<u32> = table.live().map(|process| process.pid).collect();
    pids.sort_unstable();
    pids
}

#[test]
fn after_a_loss_those_that_are_gone_end_as_if_their_exits_had_come() {
    let host = Host::default();
    let mut table = full(&host, &[2]);
    apply(&mut table, 2 * SECOND, process(1, 1), exec_of("/bin/live", 1));
    assert_eq!(
        (pids(&table), host.0.lock().unwrap().1),
        (vec![1, 2, 3], 0),
        "nobody is asked without a reason"
    );
    table.exits_were_lost();
    let late = apply(&mut table, 2 * SECOND, process(2, 1), KernelBody::Open(Default::default()));
    assert_eq!(exe(&late).as_deref(), Some("/bin/live"), "it is kept for what is read late");
    assert_eq!((pids(&table), table.stats().entries), (vec![1, 3], 3));
    apply(&mut table, 2 * SECOND + EXITED_KEPT_NS + 1, process(1, 1), exec_of("/bin/live", 1));
    assert_eq!((pids(&table), table.stats().entries), (vec![1, 3], 2));
}

#[test]
fn a_table_that_is_full_of_what_has_ended_takes_new_ones_again() {
    let host = Host::default();
    let mut table = full(&host, &[1, 3]);
    let refused = apply(&mut table, SECOND, process(4, 2), exec_of("/bin/new", 2));
    assert_eq!(refused.identity, None);
    let taken = apply(&mut table, SECOND, process(4, 2), exec_of("/bin/new", 2));
    assert_eq!(exe(&taken).as_deref(), Some("/bin/new"));
    assert_eq!(pids(&table), [2, 4]);
    assert_eq!(table.stats(), TableStats { entries: 3, refused: 1, evicted_exited: 1 });
}

#[test]
fn a_table_that_is_full_of_what_lives_asks_each_ten_seconds() {
    let host = Host::default();
    let mut table = full(&host, &[]);
    for ktime_ns in (1..=21).map(|second| second * SECOND) {
        for _ in 0..5 {
            apply(&mut table, ktime_ns, process(4, 2), exec_of("/bin/new", 2));
        }
    }
    assert_eq!(host.0.lock().unwrap().1, 3 * 3, "three processes, three times");
    assert_eq!(pids(&table), [1, 2, 3]);
}
