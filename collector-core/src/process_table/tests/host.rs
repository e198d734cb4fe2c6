//! Names of users and cgroups.

use super::*;
use crate::event::Cgroup;
use std::sync::Mutex;

/// What the table asked for, and the answers.
#[derive(Debug, Default)]
struct Asked {
    users: Vec<u32>,
    cgroups: Vec<u64>,
    cgroups_known: HashMap<u64, Arc<Cgroup>>,
}

#[derive(Debug, Clone, Default)]
struct Host(Arc<Mutex<Asked>>);

impl Host {
    fn with_cgroup(self, id: u64, path: &str) -> Self {
        self.0.lock().unwrap().cgroups_known.insert(id, Arc::new(Cgroup::new(path.into())));
        self
    }

    fn asked(&self) -> (Vec<u32>, Vec<u64>) {
        let mut asked = self.0.lock().unwrap();
        (std::mem::take(&mut asked.users), std::mem::take(&mut asked.cgroups))
    }
}

impl HostLookup for Host {
    fn user_name(&mut self, uid: u32) -> Option<Text> {
        self.0.lock().unwrap().users.push(uid);
        (uid < 1000).then(|| Text::from(format!("user{uid}").as_str()))
    }

    fn cgroup(&mut self, id: u64) -> Option<Arc<Cgroup>> {
        let mut asked = self.0.lock().unwrap();
        asked.cgroups.push(id);
        asked.cgroups_known.get(&id).cloned()
    }
}

fn table(host: &Host) -> ProcessTable {
    ProcessTable::new(10).with_host(Box::new(host.clone()))
}

fn in_cgroup(pid: u32, start_ns: u64, cgroup_id: u64) -> ProcessContext {
    ProcessContext { cgroup_id, ..process(pid, start_ns) }
}

fn names(event: &KernelEvent) -> (Option<String>, Option<String>, Option<String>) {
    let identity = event.identity.as_ref().unwrap();
    let text = |text: &Option<Text>| text.as_ref().map(|text| text.to_string_lossy().into_owned());
    let cgroup = identity.cgroup.as_ref().map(|cgroup| cgroup.path.to_string_lossy().into_owned());
    (text(&identity.ruid_name), text(&identity.euid_name), cgroup)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn users_and_cgroup_are_named_and_asked_for_once() {
    let host = Host::default().with_cgroup(7, "/a");
    let mut table = table(&host);
    let first = apply(&mut table, 1, in_cgroup(10, 1, 7), exec_of("/bin/a", 1));
    assert_eq!(names(&first), (some("user1"), some("user2"), some("/a")));
    assert_eq!(host.asked(), (vec![1, 2], vec![7]));
    let second = apply(&mut table, 2, in_cgroup(10, 1, 7), exit());
    assert!(Arc::ptr_eq(first.identity.as_ref().unwrap(), second.identity.as_ref().unwrap()));
    assert_eq!(host.asked(), (vec![], vec![]), "an event of a known process costs no look-up");
}

#[test]
fn a_child_shares_its_parents_names_until_it_has_others() {
    let host = Host::default().with_cgroup(7, "/a").with_cgroup(8, "/b");
    let mut table = table(&host);
    apply(&mut table, 1, in_cgroup(10, 1, 7), fork_of(11, 2));
    host.asked();
    let same = apply(&mut table, 2, ProcessContext { ppid: 10, ..in_cgroup(11, 2, 7) }, fork_of(12, 3));
    assert_eq!(names(&same), (some("user1"), some("user2"), some("/a")));
    assert_eq!(host.asked(), (vec![], vec![]));
    let moved = ProcessContext { ppid: 10, ruid: 5, euid: 5, ..in_cgroup(11, 2, 8) };
    let moved = apply(&mut table, 3, moved, exit());
    assert_eq!(names(&moved), (some("user5"), some("user5"), some("/b")));
    assert_eq!(host.asked(), (vec![5], vec![8]), "the same user twice is asked for once");
    assert_eq!(names(&same).2, some("/a"), "an event that was told keeps what it was told");
}

#[test]
fn a_user_without_a_name_is_asked_for_again_only_at_an_exec() {
    let host = Host::default();
    let mut table = table(&host);
    let nobody = ProcessContext { ruid: 4000, euid: 4000, ..process(10, 1) };
    for ktime_ns in 1..4 {
        let told = apply(&mut table, ktime_ns, nobody.clone(), fork_of(20, 9));
        assert_eq!(names(&told), (None, None, None));
    }
    assert_eq!(host.asked().0, [4000]);
    apply(&mut table, 5, nobody, exec_of("/bin/a", 1));
    assert_eq!(host.asked().0, [4000]);
}

#[test]
fn a_cgroup_that_is_not_found_is_looked_for_with_the_next_event() {
    let host = Host::default();
    let mut table = table(&host);
    let early = apply(&mut table, 1, in_cgroup(10, 1, 7), fork_of(11, 2));
    assert_eq!(names(&early).2, None);
    let _host = host.with_cgroup(7, "/late");
    let late = apply(&mut table, 2, in_cgroup(10, 1, 7), exit());
    assert_eq!(names(&late).2, some("/late"));
}

#[test]
fn a_cgroup_that_the_hook_could_not_read_is_not_guessed() {
    let host = Host::default().with_cgroup(7, "/a").with_cgroup(0, "/never");
    let mut table = table(&host);
    apply(&mut table, 1, in_cgroup(10, 1, 7), fork_of(11, 2));
    let unread = apply(&mut table, 2, in_cgroup(10, 1, 0), exit());
    assert_eq!(names(&unread).2, None);
}

#[test]
fn an_exec_keeps_the_cgroup_and_a_setuid_exec_names_the_new_user() {
    let host = Host::default().with_cgroup(7, "/a");
    let mut table = table(&host);
    apply(&mut table, 1, in_cgroup(10, 1, 7), fork_of(11, 2));
    host.asked();
    let setuid = ProcessContext { euid: 0, ..in_cgroup(10, 1, 7) };
    let told = apply(&mut table, 2, setuid, exec_of("/bin/su", 1));
    assert_eq!(names(&told), (some("user1"), some("user0"), some("/a")));
    assert_eq!(host.asked(), (vec![1, 0], vec![]));
}

#[test]
fn without_a_host_nothing_is_named() {
    let mut table = ProcessTable::new(10);
    let told = apply(&mut table, 1, in_cgroup(10, 1, 7), exec_of("/bin/a", 1));
    assert_eq!(names(&told), (None, None, None));
}

#[test]
fn an_event_that_is_read_late_names_the_users_and_the_cgroup_of_its_hook() {
    let host = Host::default().with_cgroup(7, "/a").with_cgroup(8, "/b");
    let mut table = table(&host);
    let root = ProcessContext { ruid: 0, euid: 0, exe: Some((8, 1)), ..in_cgroup(10, 1, 7) };
    let daemon = ProcessContext { ruid: 5, euid: 6, ..root.clone() };
    let moved = ProcessContext { cgroup_id: 8, ..daemon.clone() };
    apply(&mut table, 1, root.clone(), exec_of("/bin/a", 1));
    apply(&mut table, 3, moved.clone(), KernelBody::Open(Default::default()));
    apply(&mut table, 4, moved.clone(), exec_of("/bin/b", 2));
    let before = apply(&mut table, 2, root, KernelBody::Open(Default::default()));
    assert_eq!(names(&before), (some("user0"), some("user0"), some("/a")));
    let late = apply(&mut table, 5, daemon, decided());
    assert_eq!(names(&late), (some("user5"), some("user6"), some("/a")));
    let now = apply(&mut table, 6, ProcessContext { exe: Some((8, 2)), ..moved }, exit());
    assert_eq!(names(&now), (some("user5"), some("user6"), some("/b")));
}
