//! Which columns a line has, and how wide: what a narrow terminal has no room for is left out.

use super::fit::{self, Cut, Keep};

/// From this width on a line has each column.
const WHOLE_FROM: usize = 140;
/// From this width on it has all but the parent.
const USER_FROM: usize = 110;
/// The longest label, `execfail`.
const EVENT_WIDTH: usize = 8;
/// Longest comm.
const COMM_WIDTH: usize = 15;
/// What most comms need.
const NARROW_COMM_WIDTH: usize = 12;

/// The columns of a line, before its detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Columns {
    /// Widest line; `None`: nothing is cut.
    pub(super) width: Option<usize>,
    /// Characters of the time of day.
    pub(super) clock: usize,
    /// Columns of the event's label.
    pub(super) event: usize,
    /// Columns of the user, where it is shown.
    pub(super) user: Option<usize>,
    /// Columns of the process.
    pub(super) process: usize,
    /// Whether the parent stands behind the process.
    pub(super) parent: bool,
}

impl Columns {
    /// The columns for lines of at most this width.
    pub(super) fn of(width: Option<usize>) -> Self {
        let whole = Self { width, clock: 12, event: EVENT_WIDTH, user: Some(10), process: 28, parent: true };
        match width {
            Some(width) if width < USER_FROM => {
                // To the second, and the process alone.
                Self { clock: 8, user: None, process: NARROW_COMM_WIDTH, parent: false, ..whole }
            }
            Some(width) if width < WHOLE_FROM => {
                Self { user: Some(8), process: COMM_WIDTH, parent: false, ..whole }
            }
            _ => whole,
        }
    }

    /// Whether there is room for what matters most alone.
    pub(super) fn are_narrow(&self) -> bool {
        self.user.is_none()
    }

    /// Whether both have the same columns, however wide the line.
    pub(super) fn stand_like(&self, other: &Self) -> bool {
        Self { width: None, ..*self } == Self { width: None, ..*other }
    }

    /// The columns' names.
    pub(super) fn header(&self) -> String {
        let mut header = format!(
            "{:<clock$} {:<event$} {:>7} ",
            "# UTC",
            "EVENT",
            "PID",
            clock = self.clock,
            event = self.event
        );
        if let Some(width) = self.user {
            header += &format!("{:<width$} ", "USER");
        }
        let process = if self.parent { "PROCESS(PARENT)" } else { "PROCESS" };
        header + &format!("{process:<width$} DETAIL", width = self.process)
    }

    /// Appends a text that fills its column. One that is too long is cut where lines are, and else pushes what
    /// follows.
    pub(super) fn cell(&self, out: &mut String, text: &str, width: usize, keep: Keep) {
        let short = self.width.map(|_| fit::cut(text, width, keep));
        let text = short.as_deref().unwrap_or(text);
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', width.saturating_sub(fit::width(text))));
    }

    /// Cuts the line that begins at `start` to its width.
    pub(super) fn fit(&self, out: &mut String, start: usize, cuts: &[Cut]) {
        let Some(width) = self.width else { return };
        let inside: Vec<Cut> = cuts
            .iter()
            .map(|cut| Cut { range: cut.range.start - start..cut.range.end - start, keep: cut.keep })
            .collect();
        if let Some(short) = fit::fitted(&out[start..], &inside, width) {
            out.truncate(start);
            out.push_str(&short);
        }
    }
}
