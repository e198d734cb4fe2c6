//! What was run and how it went: the table kernel x test x result and the closing counts.

use crate::libtest::{Counts, Outcome, Output};
use anyhow::Result;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The slowest tests of a kernel that are named.
const SLOWEST_SHOWN: usize = 10;

/// The kernel tests on one kernel.
#[derive(Debug)]
pub(crate) struct KernelRun {
    /// `uname -r`, or what stands for it when it never came up.
    kernel: String,
    tests: BTreeMap<String, Outcome>,
    skips: Vec<(String, String)>,
    /// Why tests failed, by name.
    reasons: BTreeMap<String, String>,
    /// How long each test took.
    times: Vec<(String, Duration)>,
    counts: Counts,
    /// Why the run is not whole.
    problem: Option<String>,
    /// When its machine died and went on in a further boot.
    deaths: Vec<String>,
    /// It is known that none can run here, and that is no problem.
    may_skip_all: bool,
}

impl KernelRun {
    /// From a test program's output and its exit status, if it came to one.
    pub(crate) fn new(kernel: String, output: Output, status: Option<i32>, problem: Option<String>) -> Self {
        let counts = Self::count(&output.tests);
        let problem = problem.or_else(|| output.disagreement()).or_else(|| match status {
            Some(status) if status != 0 && counts.failed == 0 => {
                Some(format!("the test program ended with status {status}"))
            }
            _ => None,
        });
        Self {
            kernel,
            tests: output.tests,
            skips: output.skips,
            reasons: output.reasons,
            times: output.times,
            counts,
            problem,
            deaths: Vec::new(),
            may_skip_all: false,
        }
    }

    /// No test came to run.
    pub(crate) fn broken(kernel: &str, problem: String) -> Self {
        Self {
            kernel: kernel.to_owned(),
            tests: BTreeMap::new(),
            skips: Vec::new(),
            reasons: BTreeMap::new(),
            times: Vec::new(),
            counts: Counts::default(),
            problem: Some(problem),
            deaths: Vec::new(),
            may_skip_all: false,
        }
    }

    pub(crate) fn with_deaths(mut self, deaths: Vec<String>) -> Self {
        self.deaths = deaths;
        self
    }

    /// Every test is skipped for the same reason.
    pub(crate) fn skipped(kernel: String, names: Vec<String>, reason: &str) -> Self {
        let skips: Vec<_> = names.into_iter().map(|name| (name, reason.to_owned())).collect();
        let tests: BTreeMap<_, _> =
            skips.iter().map(|(name, reason)| (name.clone(), Outcome::Skipped(reason.clone()))).collect();
        let counts = Self::count(&tests);
        Self {
            kernel,
            tests,
            skips,
            reasons: BTreeMap::new(),
            times: Vec::new(),
            counts,
            problem: None,
            deaths: Vec::new(),
            may_skip_all: true,
        }
    }

    /// A kernel on which every test is skipped shows nothing.
    fn all_skipped(&self) -> Option<String> {
        let ran = self.counts.passed + self.counts.failed;
        let skipped = ran == 0 && self.counts.skipped > 0 && !self.may_skip_all;
        skipped.then(|| format!("{}: all {} tests are skipped", self.kernel, self.counts.skipped))
    }

    fn count(tests: &BTreeMap<String, Outcome>) -> Counts {
        let mut counts = Counts::default();
        for outcome in tests.values() {
            match outcome {
                Outcome::Passed => counts.passed += 1,
                Outcome::Failed => counts.failed += 1,
                Outcome::Skipped(_) => counts.skipped += 1,
            }
        }
        counts
    }
}

/// Everything one command ran.
#[derive(Debug, Default)]
pub(crate) struct Report {
    other: Counts,
    other_skips: Vec<(String, String)>,
    /// Lines on the failed tests that are no kernel tests.
    other_failures: Vec<String>,
    kernels: Vec<KernelRun>,
    problems: Vec<String>,
    times: Vec<(String, Duration)>,
}

impl Report {
    /// Runs and times a step; if it fails, that is a problem, and later steps go on.
    pub(crate) fn step(&mut self, name: &str, run: impl FnOnce(&mut Self) -> Result<()>) {
        println!("\n== {name}");
        let started = Instant::now();
        if let Err(error) = run(self) {
            eprintln!("error: {name}: {error:#}");
            self.problems.push(format!("{name}: {error:#}"));
        }
        println!("-- {name}: {:.1} s", started.elapsed().as_secs_f64());
        self.times.push((name.to_owned(), started.elapsed()));
    }

    /// Adds what `cargo test` printed.
    pub(crate) fn add_output(&mut self, output: Output) {
        self.other.add(output.closed.unwrap_or_default());
        self.other_failures.extend(failures("unit tests", &output.tests, &output.reasons));
        self.other_skips.extend(output.skips);
    }

    pub(crate) fn add_kernels(&mut self, runs: impl IntoIterator<Item = KernelRun>) {
        self.kernels.extend(runs);
    }

    /// Prints table, skips, failures, problems and, as the last line, the counts.
    pub(crate) fn close(self) -> ExitCode {
        let mut problems = self.all_problems();
        let mut counts = self.other;
        self.kernels.iter().for_each(|run| counts.add(run.counts));
        if counts == Counts::default() {
            problems.push("no test ran".to_owned());
        }
        // A part that did not run is no success, whatever the others counted.
        counts.failed = counts.failed.max(u64::from(!problems.is_empty()));

        print!("{}", self.table());
        for (title, lines) in [
            ("steps", self.time_lines()),
            ("slowest", self.slowest_lines()),
            ("skipped", self.skip_lines()),
            ("machines that died and booted again", self.death_lines()),
            ("failed", self.failure_lines()),
            ("not as it should be", problems),
        ] {
            if !lines.is_empty() {
                println!("\n{title}:");
                lines.iter().for_each(|line| println!("  {line}"));
            }
        }
        println!("\n{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
        if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn all_problems(&self) -> Vec<String> {
        let of_runs =
            |run: &KernelRun| run.problem.as_ref().map(|problem| format!("{}: {problem}", run.kernel));
        let mut problems = self.problems.clone();
        problems.extend(self.kernels.iter().filter_map(of_runs));
        problems.extend(self.kernels.iter().filter_map(KernelRun::all_skipped));
        let mut whole = self.kernels.iter().filter(|run| run.problem.is_none());
        if let Some(first) = whole.next() {
            for run in whole.filter(|run| !run.tests.keys().eq(first.tests.keys())) {
                let here: BTreeSet<_> = run.tests.keys().collect();
                let there: BTreeSet<_> = first.tests.keys().collect();
                let differ: Vec<_> = here.symmetric_difference(&there).map(|name| name.as_str()).collect();
                problems.push(format!(
                    "{} and {} do not run the same tests: {}",
                    first.kernel,
                    run.kernel,
                    differ.join(", ")
                ));
            }
        }
        problems
    }

    /// A line for each failed test, with its reason: near the end, where a cut log still has it.
    fn failure_lines(&self) -> Vec<String> {
        let of_kernels = self.kernels.iter().flat_map(|run| failures(&run.kernel, &run.tests, &run.reasons));
        self.other_failures.iter().cloned().chain(of_kernels).collect()
    }

    fn death_lines(&self) -> Vec<String> {
        let of_run = |run: &KernelRun| {
            let kernel = run.kernel.clone();
            run.deaths.clone().into_iter().map(move |death| format!("{kernel}: {death}"))
        };
        self.kernels.iter().flat_map(of_run).collect()
    }

    fn time_lines(&self) -> Vec<String> {
        self.times.iter().map(|(name, time)| format!("{:7.1} s  {name}", time.as_secs_f64())).collect()
    }

    /// For each kernel the tests that took longest, and what all of them took.
    fn slowest_lines(&self) -> Vec<String> {
        let of_run = |run: &KernelRun| {
            let mut times = run.times.clone();
            times.sort_by_key(|(_, time)| Reverse(*time));
            let all: Duration = times.iter().map(|(_, time)| *time).sum();
            let slowest = times.iter().take(SLOWEST_SHOWN);
            let slowest = slowest.map(|(name, time)| format!("{name} {:.1} s", time.as_secs_f64()));
            let slowest = slowest.collect::<Vec<_>>().join(", ");
            format!("{}: {:.0} s for {} tests: {slowest}", run.kernel, all.as_secs_f64(), times.len())
        };
        self.kernels.iter().filter(|run| !run.times.is_empty()).map(of_run).collect()
    }

    /// One line for each place and reason, with the tests that share it.
    fn skip_lines(&self) -> Vec<String> {
        let others = self.other_skips.iter().map(|skip| ("unit tests", skip));
        let kernels =
            self.kernels.iter().flat_map(|run| run.skips.iter().map(|skip| (run.kernel.as_str(), skip)));
        let mut groups: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for (place, (name, reason)) in others.chain(kernels) {
            groups.entry((place, reason)).or_default().push(name);
        }
        let line = |((place, reason), names): ((&str, &str), Vec<&str>)| {
            let reason = if reason.is_empty() { "no reason given" } else { reason };
            format!("{place}: {reason}: {}", names.join(", "))
        };
        groups.into_iter().map(line).collect()
    }

    fn table(&self) -> String {
        if self.kernels.is_empty() {
            return String::new();
        }
        let names: BTreeSet<&String> = self.kernels.iter().flat_map(|run| run.tests.keys()).collect();
        let first = names.iter().map(|name| name.len()).max().unwrap_or(0).max("test".len());
        let mut table = format!("\n{:first$}", "test");
        for run in &self.kernels {
            table += &format!("  {}", run.kernel);
        }
        for name in names {
            table += &format!("\n{name:first$}");
            for run in &self.kernels {
                let cell = match run.tests.get(name) {
                    Some(Outcome::Passed) => "ok",
                    Some(Outcome::Failed) => "FAIL",
                    Some(Outcome::Skipped(_)) => "skip",
                    None => "-",
                };
                table += &format!("  {cell:width$}", width = run.kernel.len());
            }
        }
        table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

fn failures(
    place: &str,
    tests: &BTreeMap<String, Outcome>,
    reasons: &BTreeMap<String, String>,
) -> Vec<String> {
    let failed = tests.iter().filter(|(_, outcome)| **outcome == Outcome::Failed);
    let reason = |name| reasons.get(name).map_or("no reason given", String::as_str);
    failed.map(|(name, _)| format!("{place}: {name}: {}", reason(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(kernel: &str, text: &str) -> KernelRun {
        KernelRun::new(kernel.to_owned(), Output::read(text), Some(0), None)
    }

    #[test]
    fn the_table_has_a_row_for_each_test_and_a_column_for_each_kernel() {
        let mut report = Report::default();
        let closing = "\ntest result: ok. 1 passed; 0 failed; 1 ignored;";
        report.add_kernels([
            run("5.10.0", &format!("test a ... ok\ntest long ... ignored, no kfuncs{closing}")),
            run("6.12.117", &format!("test a ... ok\ntest long ... ignored, why{closing}")),
        ]);
        assert_eq!(report.table(), "\ntest  5.10.0  6.12.117\na     ok      ok\nlong  skip    skip\n");
        assert_eq!(report.skip_lines(), ["5.10.0: no kfuncs: long", "6.12.117: why: long"]);
        assert!(report.all_problems().is_empty());
    }

    #[test]
    fn a_failed_test_is_named_with_its_place_and_reason() {
        let text = "test a ... FAILED\ntest b ... FAILED\n---- a ----\nno exec\n\n\
                    test result: FAILED. 0 passed; 2 failed; 0 ignored;";
        let mut report = Report::default();
        report.add_output(Output::read(text));
        report.add_kernels([run("5.10.0", text)]);
        let lines = ["a: no exec", "b: no reason given"];
        let expected = ["unit tests", "5.10.0"].map(|place| lines.map(|line| format!("{place}: {line}")));
        assert_eq!(report.failure_lines(), expected.concat());
    }

    #[test]
    fn the_slowest_tests_of_a_kernel_are_named_first() {
        let mut report = Report::default();
        let mut output = Output::read("test a ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored;");
        let second = Duration::from_secs(1);
        output.times = vec![("a".to_owned(), second), ("b".to_owned(), 3 * second)];
        report.add_kernels([KernelRun::new("1".to_owned(), output, Some(0), None)]);
        assert_eq!(report.slowest_lines(), ["1: 4 s for 2 tests: b 3.0 s, a 1.0 s"]);
    }

    #[test]
    fn kernels_that_run_different_tests_are_a_problem() {
        let mut report = Report::default();
        let closing = "\ntest result: ok. 1 passed; 0 failed; 0 ignored;";
        report.add_kernels([
            run("1", &format!("test a ... ok{closing}")),
            run("2", &format!("test b ... ok{closing}")),
        ]);
        assert_eq!(report.all_problems(), ["1 and 2 do not run the same tests: a, b"]);
    }

    #[test]
    fn a_kernel_whose_tests_are_all_skipped_is_a_problem_unless_this_user_may_run_none() {
        let closing = "\ntest result: ok. 0 passed; 0 failed; 1 ignored;";
        let mut report = Report::default();
        report.add_kernels([run("1", &format!("test a ... ignored, BPF does not work here{closing}"))]);
        assert_eq!(report.all_problems(), ["1: all 1 tests are skipped"]);
        let mut report = Report::default();
        report.add_kernels([KernelRun::skipped("1".to_owned(), vec!["a".to_owned()], "needs root")]);
        assert!(report.all_problems().is_empty());
    }

    #[test]
    fn a_run_cut_short_is_a_problem_though_nothing_failed() {
        let mut report = Report::default();
        report.add_kernels([run("1", "test a ... ok\n")]);
        assert_eq!(report.all_problems(), ["1: no closing `test result:` line"]);
    }
}
