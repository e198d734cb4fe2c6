//! Where an independent checker of the format is at hand, it and this one must agree: what this one passes, the other
//! passes, and what the other finds broken, this one does. `CHECK_STREAM_PY` names it.

use crate::bytes;
use crate::fixture::{BREACHES, good};
use collector_tests::stream::{Ending, check};
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Mixed streams beside those that break one rule.
const MIXED: u64 = 60;

/// A small generator of numbers; the same each time, so that a failure can be repeated.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits fit") % bound
    }
}

/// Lines dropped, doubled and swapped, as a careless writer might.
fn mixed(seed: u64) -> Vec<String> {
    let mut numbers = Numbers(seed);
    let mut lines = good();
    for _ in 0..numbers.below(3) {
        let (one, other) = (numbers.below(lines.len()), numbers.below(lines.len()));
        match numbers.below(4) {
            0 => drop(lines.remove(one)),
            1 => lines.insert(other, lines[one].clone()),
            2 => lines.swap(one, other),
            _ => lines[one] = lines[one].replacen("\"seq\":5", "\"seq\":6", 1),
        }
    }
    lines
}

#[test]
fn this_checker_is_never_the_milder_one() {
    let Some(other) = std::env::var_os("CHECK_STREAM_PY") else {
        eprintln!("skipped: CHECK_STREAM_PY names no other checker");
        return;
    };
    let one_rule = BREACHES.iter().map(|breach| {
        let mut lines = good();
        (breach.change)(&mut lines);
        (breach.name.to_owned(), lines)
    });
    let streams = one_rule.chain((0..MIXED).map(|seed| (format!("mixed stream {seed}"), mixed(seed))));
    for (name, lines) in streams.chain([("the good stream".to_owned(), good())]) {
        let mut child = Command::new("python3")
            .arg(&other)
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 runs the other checker");
        child.stdin.take().expect("a pipe").write_all(&bytes(&lines)).expect("it reads all of its input");
        let output = child.wait_with_output().expect("it ends");
        let theirs = output.status.success();
        let ours = check(&bytes(&lines), Ending::Summary);
        assert!(theirs || !ours.holds(), "{name}: this checker passes it, the other one does not: {}", {
            String::from_utf8_lossy(&output.stdout)
        });
    }
}
