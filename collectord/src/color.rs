//! When output may be coloured.

use std::io::IsTerminal;

/// Only on a terminal, and not where NO_COLOR is set (to anything but nothing, as <https://no-color.org> has it).
pub(crate) fn is_wanted(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
