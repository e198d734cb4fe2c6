//! How wide the terminal is.

use std::io::IsTerminal;
use terminal_size::{Width, terminal_size_of};

/// Columns of the terminal that stdout is; `None` where it is none, or nobody knows.
pub(crate) fn columns() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    // A serial line has no size of its own.
    let told = terminal_size_of(&stdout).map(|(Width(columns), _)| usize::from(columns));
    let said = || std::env::var("COLUMNS").ok()?.parse().ok();
    told.filter(|&columns| columns > 0).or_else(said).filter(|&columns| columns > 0)
}
