//! Reading what libtest and libtest-mimic print: `test NAME ... RESULT` lines and the closing counts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    /// With its reason, which may be empty.
    Skipped(String),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// The output of one or more test programs, line by line.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Result by test name; a name that comes twice (two programs) is kept once.
    pub(crate) tests: BTreeMap<String, Outcome>,
    /// Names and reasons of skipped tests, in order.
    pub(crate) skips: Vec<(String, String)>,
    /// Sum of the closing lines; none: no test program came to its end.
    pub(crate) closed: Option<Counts>,
    /// How long each test took, by when its result came.
    pub(crate) times: Vec<(String, Duration)>,
    /// When the result before came, or the tests began.
    before: Option<Instant>,
    counted: Counts,
    /// A name whose result comes on a later line, after what the test itself printed.
    open: Option<String>,
    /// Why a test failed, by its name: the lines below `---- NAME ----`.
    pub(crate) reasons: BTreeMap<String, String>,
    /// The failed test whose reason is being read.
    explained: Option<String>,
}

impl Output {
    /// From a text of which nobody knows when it came.
    #[cfg(test)]
    pub(crate) fn read(text: &str) -> Self {
        let (mut output, now) = (Self::default(), Instant::now());
        text.lines().for_each(|line| output.line(line, now));
        output
    }

    /// Reads the next line, which came just now.
    pub(crate) fn line(&mut self, line: &str, now: Instant) {
        let line = line.trim();
        if self.is_reason(line) {
            return;
        }
        if line.starts_with("running ") {
            self.before = Some(now);
        } else if let Some(closing) = line.strip_prefix("test result: ") {
            self.closed.get_or_insert_default().add(read_counts(closing));
        } else if let Some((name, rest)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ..."))
        {
            match read_outcome(rest) {
                Some(outcome) => self.record(name.trim(), outcome, now),
                None => self.open = Some(name.trim().to_owned()),
            }
        } else if self.open.is_some()
            && let Some(outcome) = read_outcome(line)
            && let Some(name) = self.open.take()
        {
            self.record(&name, outcome, now);
        }
    }

    /// The closing lines and the single results tell the same; what differs, if not.
    pub(crate) fn disagreement(&self) -> Option<String> {
        let Some(closed) = self.closed else { return Some("no closing `test result:` line".to_owned()) };
        (closed != self.counted).then(|| {
            let (said, seen) = (closed, self.counted);
            format!(
                "closing lines say {}/{}/{} passed/failed/skipped, single lines {}/{}/{}",
                said.passed, said.failed, said.skipped, seen.passed, seen.failed, seen.skipped
            )
        })
    }

    /// The test whose result has not come.
    pub(crate) fn unfinished(&self) -> Option<&str> {
        self.open.as_deref()
    }

    /// The program was broken off; another one goes on with what is left. A test that is blamed for it has failed.
    pub(crate) fn broken_off(&mut self, blamed: Option<&str>, now: Instant) {
        if let Some(name) = blamed {
            self.record(name, Outcome::Failed, now);
        }
        self.open = None;
        self.before = None;
        self.closed = Some(self.counted);
    }

    /// Takes the line if it belongs to why a test failed: a heading and what stands below it, up to an empty line.
    fn is_reason(&mut self, line: &str) -> bool {
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" ----")) {
            let name = name.trim_end_matches(" stdout");
            // It may be told as it happens and once more at the end.
            self.reasons.insert(name.to_owned(), String::new());
            self.explained = Some(name.to_owned());
            return true;
        }
        let Some(reason) = self.explained.as_ref().and_then(|name| self.reasons.get_mut(name)) else {
            return false;
        };
        if line.is_empty() && !reason.is_empty() {
            self.explained = None;
        } else if !line.is_empty() {
            let space = if reason.is_empty() { "" } else { " " };
            *reason += &format!("{space}{line}");
        }
        true
    }

    fn record(&mut self, name: &str, outcome: Outcome, now: Instant) {
        self.open = None;
        if let Some(before) = self.before.replace(now) {
            self.times.push((name.to_owned(), now.saturating_duration_since(before)));
        }
        match &outcome {
            Outcome::Passed => self.counted.passed += 1,
            Outcome::Failed => self.counted.failed += 1,
            Outcome::Skipped(reason) => {
                self.counted.skipped += 1;
                self.skips.push((name.to_owned(), reason.clone()));
            }
        }
        self.tests.insert(name.to_owned(), outcome);
    }
}

fn read_outcome(text: &str) -> Option<Outcome> {
    let text = text.trim();
    if let Some(reason) = text.strip_prefix("ignored") {
        // `ignored, reason` by libtest, `ignored (reason)` by libtest-mimic.
        let reason = reason.trim_start_matches([',', ' ']);
        let bare = reason.strip_prefix('(').and_then(|reason| reason.strip_suffix(')'));
        return Some(Outcome::Skipped(bare.unwrap_or(reason).to_owned()));
    }
    match text.split([' ', '\t']).next()? {
        "ok" => Some(Outcome::Passed),
        "FAILED" => Some(Outcome::Failed),
        _ => None,
    }
}

/// `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
fn read_counts(closing: &str) -> Counts {
    let count = |what: &str| {
        let words: Vec<&str> = closing.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
        words.windows(2).find(|pair| pair[1] == what).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
    };
    Counts { passed: count("passed"), failed: count("failed"), skipped: count("ignored") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_reasons_and_counts_are_read() {
        let output = Output::read(
            "running 4 tests\ntest a           ... ok\ntest b::c - should panic ... ok\n\
             test d ... ignored, needs CAP_BPF, and BTF\ntest e ... FAILED\ntest f ... ignored (no BTF (5.10))\n\nfailures:\n    e\n\n\
             test result: FAILED. 2 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 1.00s\n",
        );
        assert_eq!(output.tests["a"], Outcome::Passed);
        assert_eq!(output.tests["e"], Outcome::Failed);
        let skips = [("d", "needs CAP_BPF, and BTF"), ("f", "no BTF (5.10)")];
        assert_eq!(output.skips, skips.map(|(name, reason)| (name.to_owned(), reason.to_owned())));
        assert_eq!(output.closed, Some(Counts { passed: 2, failed: 1, skipped: 2 }));
        assert_eq!(output.disagreement(), None);
    }

    #[test]
    fn a_test_took_the_time_since_the_result_before() {
        let (mut output, start) = (Output::default(), Instant::now());
        for (second, line) in ["running 2 tests", "test a ... ok", "test b ... ", "ok"].iter().enumerate() {
            output.line(line, start + Duration::from_secs(2 * second as u64));
        }
        let seconds: Vec<_> =
            output.times.iter().map(|(name, time)| (name.as_str(), time.as_secs())).collect();
        assert_eq!(seconds, [("a", 2), ("b", 4)]);
    }

    #[test]
    fn a_result_may_come_lines_after_its_name() {
        let output = Output::read(
            "test slow ... \nwhat the test printed\nok\n\
             test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n",
        );
        assert_eq!(output.tests["slow"], Outcome::Passed);
        assert_eq!(output.disagreement(), None);
    }

    #[test]
    fn why_a_test_failed_is_kept_as_it_happens_and_from_the_end() {
        let output = Output::read(
            "test a ...\n---- a ----\n3 opens are missing\n\nFAILED\n\nfailures:\n\n\
             ---- a ----\n3 opens are missing\n\n---- b stdout ----\n\nthread 'b' panicked at b.rs:1:2:\nleft: 1\n\n\n\
             failures:\n    a\n    b\n\n\
             test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n",
        );
        assert_eq!(output.reasons["a"], "3 opens are missing");
        assert_eq!(output.reasons["b"], "thread 'b' panicked at b.rs:1:2: left: 1");
        assert_eq!(output.tests["a"], Outcome::Failed);
        assert_eq!(output.disagreement(), None);
    }

    #[test]
    fn a_lost_line_and_a_lost_end_are_found_out() {
        let lost = Output::read("test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        assert!(lost.disagreement().is_some());
        assert!(Output::read("test a ... ok\n").disagreement().is_some());
    }

    #[test]
    fn a_program_goes_on_where_one_was_broken_off() {
        let (mut output, now) =
            (Output::read("running 3 tests\ntest a ... ok\ntest b ...\n"), Instant::now());
        assert_eq!(output.unfinished(), Some("b"));
        output.broken_off(None, now);
        for line in ["running 2 tests", "test b ... ok", "test c ... ignored (why)"] {
            output.line(line, now);
        }
        output.line("test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out", now);
        assert_eq!(output.closed, Some(Counts { passed: 2, failed: 0, skipped: 1 }));
        assert_eq!(output.disagreement(), None);
    }

    #[test]
    fn a_test_that_is_blamed_has_failed() {
        let mut output = Output::read("running 1 test\ntest a ...\n");
        output.broken_off(Some("a"), Instant::now());
        assert_eq!(output.tests["a"], Outcome::Failed);
        assert_eq!(output.disagreement(), None);
    }

    #[test]
    fn several_programs_add_up() {
        let closing = "test result: ok. 0 passed; 0 failed; 2 ignored; 0 measured\n";
        let output = Output::read(&[closing, closing].concat());
        assert_eq!(output.closed, Some(Counts { passed: 0, failed: 0, skipped: 4 }));
    }
}
