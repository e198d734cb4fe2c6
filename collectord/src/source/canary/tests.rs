use super::super::convert::fixtures;
use super::*;
use collector_common::RecordKind;

fn flight(number: u64) -> Flight {
    Flight { number, due: [true; HOOKS.len()], ..Flight::default() }
}

/// How many hooks a look finds gone, and how many repeated.
fn looked(check: &mut Check, number: u64, lost: u64) -> (usize, usize) {
    let (gone, repeated) = check.look(&flight(number), &HOOKS, |_| lost);
    (gone.len(), repeated.len())
}

#[test]
fn once_is_right_never_and_twice_are_faults() {
    let mut check = Check::default();
    HOOKS.into_iter().for_each(|hook| check.came(1, hook));
    assert_eq!(looked(&mut check, 1, 0), (0, 0));
    HOOKS.into_iter().skip(1).for_each(|hook| check.came(2, hook));
    assert_eq!(check.look(&flight(2), &HOOKS, |_| 0), (vec![(HOOKS[0], 0)], vec![]));
    HOOKS.into_iter().for_each(|hook| check.came(3, hook));
    check.came(3, Hook::TcpEnd);
    assert_eq!(check.look(&flight(3), &HOOKS, |_| 0), (vec![], vec![(Hook::TcpEnd, 2)]));
}

#[test]
fn one_that_was_lost_and_told_is_no_fault_of_the_hook() {
    let mut check = Check::default();
    assert_eq!(looked(&mut check, 1, 5), (0, 0));
    assert_eq!(looked(&mut check, 2, 5), (HOOKS.len(), 0));
}

#[test]
fn a_hook_that_is_not_attached_is_not_missed_and_neither_is_a_call_that_nothing_came_of() {
    let mut check = Check::default();
    check.came(1, Hook::Openat);
    assert_eq!(check.look(&flight(1), &[Hook::Openat], |_| 0), (vec![], vec![]));
    let nothing = Flight { number: 2, ..Flight::default() };
    assert_eq!(check.look(&nothing, &HOOKS, |_| 0), (vec![], vec![]));
}

fn canary(hooks: &[Hook]) -> Canary {
    let canary = Canary::new(Duration::from_millis(1), hooks, &Filters::default(), 7);
    canary.expect("there are hooks")
}

/// A flight of it has returned at this time.
fn returned(canary: &Canary, number: u64, at_ns: u64) {
    canary.shared.state().last = Flight { returned_ns: at_ns, ..flight(number) };
}

#[test]
fn what_is_gone_is_told_once_a_skipped_run_would_have_shown() {
    let mut canary = canary(&[Hook::TcpEnd]);
    returned(&canary, 1, 10);
    assert_eq!(canary.look(11, |_| 0), None, "the program may have been skipped");
    returned(&canary, 2, 20);
    assert_eq!(canary.look(SKIPPED_SHOWS_NS, |_| 0), None);
    let faults = canary.look(10 + SKIPPED_SHOWS_NS, |_| 0).expect("it has shown by now");
    assert!(faults.len() == 1 && faults[0].contains("no longer"), "{faults:?}");
    assert_eq!(canary.look(11 + SKIPPED_SHOWS_NS, |_| 0), None, "the next one is suspected");
    let explained = canary.look(20 + SKIPPED_SHOWS_NS, |_| 1);
    assert_eq!(explained, Some(Vec::new()), "a skipped run is no fault of the hook");
}

/// An open at this time.
fn open_at(ktime_ns: u64) -> KernelEvent {
    KernelEvent { ktime_ns, ..fixtures::event(&fixtures::open(b"", b"/canary\0", |_| {})) }
}

#[test]
fn what_came_is_counted_for_its_flight_and_each_flight_is_judged_once() {
    let mut canary = canary(&[Hook::Openat]);
    let flight_at = |number, begun_ns| Flight { begun_ns, returned_ns: begun_ns + 5, ..flight(number) };
    let begins = |canary: &Canary, number, at_ns| canary.shared.state().begun = flight_at(number, at_ns);
    let returns = |canary: &Canary, number, at_ns| canary.shared.state().last = flight_at(number, at_ns);
    begins(&canary, 1, 100);
    canary.take(Hook::Openat, &open_at(99));
    canary.take(Hook::Openat, &open_at(100));
    assert_eq!(canary.look(1000, |_| 0), None, "it has not returned");
    returns(&canary, 1, 100);
    assert_eq!(canary.look(105, |_| 0), None, "not all that happened until then was read");
    assert_eq!(canary.look(106, |_| 0), Some(Vec::new()), "that it is well is news after a fault");
    assert_eq!(canary.look(107, |_| 0), None, "it was looked at");
    begins(&canary, 2, 200);
    returns(&canary, 2, 200);
    begins(&canary, 3, 300);
    canary.take(Hook::Openat, &open_at(200));
    canary.take(Hook::Openat, &open_at(299));
    let faults = canary.look(299, |_| 0).expect("it came twice");
    assert!(faults.len() == 1 && faults[0].contains("2 times"), "{faults:?}");
    returns(&canary, 3, 300);
    begins(&canary, 4, 400);
    canary.take(Hook::Openat, &open_at(400));
    assert_eq!(canary.look(1000, |_| 0), None, "the next one is on its way back already");
}

#[test]
fn of_a_connection_only_the_event_counts_that_its_hook_is_watched_by() {
    let connect = |kind| fixtures::event(&fixtures::connect(kind, b"", |_| {}));
    let mut canary = canary(&[Hook::ConnectExit, Hook::TcpEnd]);
    canary.shared.state().begun = flight(1);
    let tcp = connect(RecordKind::Connect);
    canary.take(Hook::ConnectExit, &tcp);
    assert_eq!(canary.check.came, [0; HOOKS.len()], "TCP tells its own end");
    canary.take(Hook::TcpEnd, &tcp);
    canary.take(Hook::TcpEnd, &connect(RecordKind::ConnectResult));
    assert_eq!(canary.check.came.iter().sum::<u64>(), 1);
    let KernelBody::Connect(mut unix) = tcp.body.clone() else { panic!("{tcp:?}") };
    unix.family = AddressFamily::UNIX;
    canary.take(Hook::ConnectExit, &KernelEvent { body: KernelBody::Connect(unix), ..tcp });
    assert_eq!(canary.check.came.iter().sum::<u64>(), 2);
}

#[test]
fn an_attempt_that_found_no_room_is_no_fault_of_the_hook_of_its_end() {
    let mut canary = canary(&[Hook::TcpEnd]);
    for number in 1..=3 {
        returned(&canary, number, 10 * number);
        let faults = canary.look(10 * number + 1, |hook| if hook == Hook::TcpBegin { number } else { 0 });
        assert_eq!(faults, Some(Vec::new()));
    }
}

#[test]
fn only_failures_leave_datagrams_out() {
    let filters = Filters { only_failures: 1, ..Filters::default() };
    let canary = Canary::new(Duration::from_secs(1), &HOOKS, &filters, 7).expect("there are hooks");
    assert_eq!(canary.hooks, &HOOKS[..HOOKS.len() - 2]);
}

#[test]
fn it_flies_and_ends() {
    let mut canary = canary(&HOOKS);
    canary.start();
    while canary.shared.state().last.number < 3 {
        std::thread::yield_now();
    }
    assert_eq!(canary.look(u64::MAX, |_| 0), None, "nobody read its events: they are suspected");
    let faults = canary.look(u64::MAX, |_| 0).expect("nothing was skipped");
    assert!(faults.len() >= HOOKS.len() - 1, "{faults:?}");
    let shared = Arc::clone(&canary.shared);
    drop(canary);
    assert_eq!(Arc::strong_count(&shared), 1, "its thread has ended");
}
