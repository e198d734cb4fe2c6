//! Bytes made safe for a person's terminal, exactly recoverable.
//!
//! What a terminal could act on never reaches it: control characters (C0, DEL, C1), the line and paragraph
//! separators, and the characters that change the writing direction. The escapes are
//!
//! - `\xNN`: the byte NN, a control character below 0x80 or a byte that is not part of valid UTF-8,
//! - `\u{H}`: the character U+H, one of the others that are not shown,
//! - `\\`: a backslash,
//!
//! and everything else stands for itself, so [`unescape`] gives the exact bytes back.

use std::fmt::{self, Write};

/// Whether a character could act on a terminal or change how the text around it reads.
pub fn is_unsafe_to_show(character: char) -> bool {
    matches!(character,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{61c}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Shows bytes escaped.
///
/// ```
/// use collector_core::escape::Escaped;
///
/// assert_eq!(Escaped(b"red \x1b[31m\xff").to_string(), r"red \x1b[31m\xff");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            write_valid(f, chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Appends bytes escaped.
pub fn escape_into(out: &mut String, bytes: &[u8]) {
    write!(out, "{}", Escaped(bytes)).expect("writing into a String never fails");
}

fn write_valid(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut plain_from = 0;
    for (at, character) in text.char_indices() {
        if character != '\\' && !is_unsafe_to_show(character) {
            continue;
        }
        f.write_str(&text[plain_from..at])?;
        plain_from = at + character.len_utf8();
        match character {
            '\\' => f.write_str("\\\\")?,
            '\0'..='\x7f' => write!(f, "\\x{:02x}", u32::from(character))?,
            _ => write!(f, "\\u{{{:x}}}", u32::from(character))?,
        }
    }
    f.write_str(&text[plain_from..])
}

/// Text that [`escape_into`] cannot have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no valid escape at byte {at}")]
pub struct UnescapeError {
    /// Where the backslash stands.
    pub at: usize,
}

/// The exact bytes behind escaped text.
///
/// # Errors
/// The position of the first backslash that begins no valid escape.
pub fn unescape(text: &str) -> Result<Vec<u8>, UnescapeError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let taken =
            unescape_one(escape, &mut bytes).ok_or(UnescapeError { at: text.len() - rest.len() + at })?;
        rest = &escape[taken..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// Decodes what follows a backslash; returns how long it was.
fn unescape_one(escape: &str, bytes: &mut Vec<u8>) -> Option<usize> {
    match escape.as_bytes().first()? {
        b'\\' => {
            bytes.push(b'\\');
            Some(1)
        }
        b'x' => {
            bytes.push(u8::from_str_radix(hex(escape.get(1..3)?)?, 16).ok()?);
            Some(3)
        }
        b'u' => {
            let digits = hex(escape.strip_prefix("u{")?.split_once('}')?.0)?;
            let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            Some(digits.len() + 3)
        }
        _ => None,
    }
}

/// `from_str_radix` also takes a sign, which no escape has.
fn hex(digits: &str) -> Option<&str> {
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        Escaped(bytes).to_string()
    }

    #[test]
    fn plain_text_stands_for_itself() {
        assert_eq!(escaped("ls -l /tmp/größe \"x\"".as_bytes()), "ls -l /tmp/größe \"x\"");
    }

    #[test]
    fn each_kind_of_escape_is_exact() {
        let bytes = b"a\\b\n\x7f\xc2\x85\xe2\x80\xae\xe2\x80\xa8\xff\xc3";
        assert_eq!(escaped(bytes), r"a\\b\x0a\x7f\u{85}\u{202e}\u{2028}\xff\xc3");
        assert_eq!(unescape(&escaped(bytes)).unwrap(), bytes);
    }

    #[test]
    fn text_that_looks_like_an_escape_comes_back_as_it_was() {
        for text in [r"\x41", r"\u{41}", r"\\", r"\"] {
            assert_eq!(unescape(&escaped(text.as_bytes())).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn a_broken_escape_names_its_place() {
        for (text, at) in
            [(r"ab\", 2), (r"\q", 0), (r"\x4", 0), (r"\\\x+1", 2), (r"\u{d800}", 0), (r"\u{41", 0)]
        {
            assert_eq!(unescape(text), Err(UnescapeError { at }), "{text}");
        }
    }
}
