//! How wide the terminal is, and text that fits it.

use std::io::IsTerminal;
use terminal_size::{Width, terminal_size_of};
use unicode_width::UnicodeWidthStr;

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

/// Lines of at most this width, where words allow. The first one has `taken` columns less, further ones begin with
/// `next`.
pub(crate) fn wrapped(text: &str, width: Option<usize>, taken: usize, next: &str) -> Vec<String> {
    let width = width.unwrap_or(usize::MAX);
    let mut words = text.split(' ');
    let mut line = words.next().unwrap_or_default().to_owned();
    let mut room = width.saturating_sub(taken + line.width());
    let mut lines = Vec::new();
    for word in words {
        let needed = word.width() + 1;
        if needed <= room {
            line.push(' ');
            line.push_str(word);
            room -= needed;
        } else {
            lines.push(std::mem::replace(&mut line, format!("{next}{word}")));
            room = width.saturating_sub(line.width());
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_go_on_below_and_lose_no_word() {
        let text = "# process: 16 generated = 12 delivered + 4 internal + 0 filtered";
        let lines = wrapped(text, Some(30), 0, "#   ");
        assert!(lines.iter().all(|line| line.width() <= 30), "{lines:#?}");
        assert!(lines.len() == 3 && lines[1..].iter().all(|line| line.starts_with("#   ")), "{lines:#?}");
        assert_eq!(lines.join("\n").replace("\n#  ", ""), text);
        assert_eq!(wrapped(text, None, 0, "#   "), [text]);
        assert_eq!(wrapped("ab cd", Some(6), 4, "    "), ["ab", "    cd"]);
        assert_eq!(wrapped("a   b", None, 0, ""), ["a   b"]);
    }
}
