//! Why the kernel refused something, in one line: the errno's meaning, and of a verifier log the line that matters.

use aya::programs::ProgramError;
use std::fmt;

/// A refusal by the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Errno, if the kernel gave one.
    pub errno: Option<i32>,
    /// One line for people.
    pub reason: String,
    /// The verifier's whole log, if there is one.
    pub verifier_log: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// From the loader's error for a program.
    pub fn of_program(error: &ProgramError) -> Self {
        match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                let log = verifier_log.to_string();
                let last = last_words(&log);
                let reason =
                    if last.is_empty() { io_error.to_string() } else { format!("{io_error}: {last}") };
                Self {
                    errno: io_error.raw_os_error(),
                    reason,
                    verifier_log: Some(log).filter(|log| !log.is_empty()),
                }
            }
            other => Self::of_error(other),
        }
    }

    /// From any error whose causes may hold an errno.
    pub fn of_error(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut reason = error.to_string();
        let mut errno = None;
        let mut cause = Some(error);
        while let Some(error) = cause {
            let text = error.to_string();
            if !reason.contains(&text) {
                reason = format!("{reason}: {text}");
            }
            errno = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error).or(errno);
            cause = error.source();
        }
        Self { errno, reason: shorten(&reason), verifier_log: None }
    }

    /// Nothing that the kernel said.
    pub(crate) fn other(reason: String) -> Self {
        Self { errno: None, reason, verifier_log: None }
    }

    /// Whether privileges are what was missing.
    pub fn is_permission(&self) -> bool {
        matches!(self.errno, Some(nix::libc::EPERM | nix::libc::EACCES))
    }
}

/// The verifier's verdict: its last line that is not statistics.
fn last_words(log: &str) -> String {
    let statistics = ["processed ", "verification time", "stack depth", "insns_processed", "max_states"];
    let verdict = log
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start)));
    shorten(verdict.unwrap_or_default())
}

fn shorten(line: &str) -> String {
    const CHARS_MAX: usize = 200;
    let line = line.lines().next().unwrap_or_default();
    match line.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_is_the_last_line_that_is_not_statistics() {
        let log = "0: R1=ctx()\n12: (85) call unknown#2147418113\ninvalid func unknown#2147418113\n\
                   processed 13 insns (limit 1000000) max_states_per_insn 0 total_states 1\n";
        assert_eq!(last_words(log), "invalid func unknown#2147418113");
        assert_eq!(last_words(""), "");
    }

    #[test]
    fn long_reasons_are_cut() {
        assert_eq!(shorten(&"x".repeat(500)).len(), 203);
    }

    #[test]
    fn errno_is_found_below_other_errors() {
        let io = std::io::Error::from_raw_os_error(nix::libc::EPERM);
        let refusal = Refusal::of_error(&io);
        assert!(refusal.is_permission());
    }
}
