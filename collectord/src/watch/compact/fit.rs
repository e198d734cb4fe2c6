//! How many columns text takes on a terminal, and how it is cut to fewer. An escape, a colour's sequence and a character
//! with what combines with it stay whole.

use std::ops::Range;
use unicode_width::UnicodeWidthChar;

/// Stands where something was cut.
pub(super) const MARK: &str = "\u{2026}";
/// Columns that a path is left with as long as others can give way.
const PATH_WIDTH_MIN: usize = 16;
/// Columns that flags are left with as long as others can give way: those of `O_RDONLY` and the mark.
const FLAGS_WIDTH_MIN: usize = 9;

/// What is kept of a text that is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The begin: of a list.
    Begin,
    /// The begin and, twice as long, the end: of a path.
    Ends,
    /// The begin, and the first word of it as long as the others can give way: of flags.
    First,
}

/// A part of a line that may be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) range: Range<usize>,
    pub(super) keep: Keep,
}

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    // Most text is plain, and then its bytes are its columns.
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return text.len();
    }
    units(text).map(|(_, width)| width).sum()
}

/// The text in at most `room` columns.
pub(super) fn cut(text: &str, room: usize, keep: Keep) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let Some(kept) = room.checked_sub(1) else { return String::new() };
    let head = match keep {
        Keep::Begin | Keep::First => kept,
        Keep::Ends => kept / 3,
    };
    let mut begin = String::new();
    let mut begin_width = 0;
    for (unit, width) in units(text) {
        if begin_width + width > head {
            break;
        }
        begin_width += width;
        begin.push_str(unit);
    }
    begin + MARK + end_of(text, kept - head)
}

/// The last units that fit.
fn end_of(text: &str, room: usize) -> &str {
    if room == 0 {
        return "";
    }
    let all: Vec<_> = units(text).collect();
    let mut start = text.len();
    let mut left = room;
    for (unit, width) in all.into_iter().rev() {
        let Some(rest) = left.checked_sub(width) else { break };
        left = rest;
        start -= unit.len();
    }
    &text[start..]
}

/// The line with its cuttable parts so short that it takes `room` columns, or as few as it can: what is no cuttable
/// part stays whole.
pub(super) fn fitted(line: &str, cuts: &[Cut], room: usize) -> Option<String> {
    let mut excess = width(line).checked_sub(room).filter(|&excess| excess > 0)?;
    let mut widths: Vec<usize> = cuts.iter().map(|cut| width(&line[cut.range.clone()])).collect();
    // Lists give way first, then flags down to the first, then paths down to what still tells them apart, then all of them
    // down to the mark.
    for (keep, least) in [
        (Some(Keep::Begin), 1),
        (Some(Keep::First), FLAGS_WIDTH_MIN),
        (Some(Keep::Ends), PATH_WIDTH_MIN),
        (None, 1),
    ] {
        while excess > 0 {
            let may = |at: &usize| keep.is_none_or(|keep| cuts[*at].keep == keep) && widths[*at] > least;
            let mut candidates: Vec<usize> = (0..cuts.len()).filter(may).collect();
            candidates.sort_unstable_by_key(|&at| widths[at]);
            let Some(longest) = candidates.pop() else { break };
            // Down to the next one: then they give way together.
            let next = candidates.pop().map_or(least, |at| widths[at]);
            let gives = (widths[longest] - next).max(1).min(excess);
            widths[longest] -= gives;
            excess -= gives;
        }
    }
    let mut short = String::with_capacity(line.len());
    let mut done = 0;
    for (part, room) in cuts.iter().zip(widths) {
        short.push_str(&line[done..part.range.start]);
        short.push_str(&cut(&line[part.range.clone()], room, part.keep));
        done = part.range.end;
    }
    short.push_str(&line[done..]);
    Some(short)
}

/// What must not be cut through, each with its columns.
fn units(text: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let (len, width) = match first {
            '\x1b' => (rest.find('m').map_or(rest.len(), |at| at + 1), 0),
            '\\' => {
                let len = escape_len(rest);
                (len, len)
            }
            character => (first.len_utf8() + combining_len(&rest[first.len_utf8()..]), shown(character)),
        };
        let (unit, after) = rest.split_at(len);
        rest = after;
        Some((unit, width))
    })
}

fn shown(character: char) -> usize {
    character.width().unwrap_or(0)
}

/// Bytes of what stands on the character before.
fn combining_len(rest: &str) -> usize {
    rest.chars().take_while(|&c| c != '\x1b' && shown(c) == 0).map(char::len_utf8).sum()
}

/// `\xNN`, `\u{H}` or `\\`.
fn escape_len(rest: &str) -> usize {
    let len = match rest.as_bytes().get(1) {
        Some(b'x') => 4,
        Some(b'u') => rest.find('}').map_or(2, |at| at + 1),
        _ => 2,
    };
    if rest.is_char_boundary(len) { len.min(rest.len()) } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_and_combining_characters_take_their_columns() {
        assert_eq!(width("abc"), 3);
        assert_eq!(width("日本"), 4);
        assert_eq!(width("e\u{301}"), 1);
        assert_eq!(width("\x1b[31mred\x1b[0m"), 3);
        assert_eq!(width(r"\x1b"), 4);
    }

    #[test]
    fn a_path_keeps_its_begin_and_its_name() {
        assert_eq!(cut("/usr/lib/x86_64-linux-gnu/libc.so.6", 16, Keep::Ends), "/usr/…/libc.so.6");
        assert_eq!(cut("one two three", 8, Keep::Begin), "one two…");
        assert_eq!(cut("short", 5, Keep::Ends), "short");
        assert_eq!(cut("short", 1, Keep::Begin), "…");
        assert_eq!(cut("short", 0, Keep::Begin), "");
    }

    #[test]
    fn nothing_is_cut_through() {
        for room in 0..12 {
            for keep in [Keep::Begin, Keep::Ends] {
                let short = cut(r"日本\x1b\u{202e}e\\", room, keep);
                assert!(width(&short) <= room, "{short:?} in {room}");
                let whole = ["日", "本", r"\x1b", r"\u{202e}", "e", r"\\", MARK];
                let mut rest = short.as_str();
                while !rest.is_empty() {
                    let unit = whole.iter().find(|unit| rest.starts_with(**unit));
                    rest = &rest[unit.expect("only whole units").len()..];
                }
            }
        }
    }

    #[test]
    fn lists_give_way_before_paths_and_the_rest_stays() {
        let line = "/usr/bin/program-with-a-name (argv0) --many --arguments ENOENT";
        let cuts = [Cut { range: 0..28, keep: Keep::Ends }, Cut { range: 29..55, keep: Keep::Begin }];
        let at = |room| fitted(line, &cuts, room).unwrap();
        assert_eq!(at(50), "/usr/bin/program-with-a-name (argv0) --man… ENOENT");
        assert_eq!(at(30), "/usr/b…am-with-a-name … ENOENT");
        assert_eq!(at(12), "…me … ENOENT");
        assert!(at(1).ends_with(" ENOENT"));
        assert_eq!(fitted(line, &cuts, 80), None);
        for room in 11..62 {
            assert_eq!(width(&at(room)), room);
        }
    }
}
