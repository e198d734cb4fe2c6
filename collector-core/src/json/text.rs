//! Numbers, strings and bytes as JSON.

use crate::escape::is_unsafe_to_show;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const HEX: &[u8; 16] = b"0123456789abcdef";

pub(super) fn number(out: &mut Vec<u8>, value: impl Into<u64>) {
    let value = value.into();
    match u8::try_from(value) {
        Ok(digit @ 0..10) => out.push(b'0' + digit),
        _ => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
    }
}

pub(super) fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// A number as a string of 16 hex digits.
pub(super) fn hex_16(out: &mut Vec<u8>, value: u64) {
    let mut text = [b'"'; 18];
    for (pair, byte) in text[1..17].chunks_exact_mut(2).zip(value.to_be_bytes()) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 0xf)];
    }
    out.extend_from_slice(&text);
}

/// A file's mode as a string of at least four octal digits.
pub(super) fn octal(out: &mut Vec<u8>, mode: u32) {
    out.push(b'"');
    let digits = (32 - mode.leading_zeros()).div_ceil(3).max(4);
    let digit = |at| b"01234567"[(mode >> (3 * at) & 7) as usize];
    out.extend((0..digits).rev().map(digit));
    out.push(b'"');
}

/// A device number in the kernel's encoding as "major:minor".
pub(super) fn device(out: &mut Vec<u8>, dev: u32) {
    out.push(b'"');
    number(out, dev >> 20);
    out.push(b':');
    number(out, dev & 0xf_ffff);
    out.push(b'"');
}

pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        name(out, text);
    } else {
        out.push(b'"');
        escaped(out, text);
        out.push(b'"');
    }
}

/// A string of which it is known that each byte stands for itself.
pub(super) fn name(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Whether each byte is ASCII that stands for itself. Looks at eight at a time, at all of them without a branch; the
/// last eight are looked at together with bytes before them, not one by one.
fn is_plain(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk() else {
        let special = |byte| !(0x20..0x7f).contains(&byte) | (byte == b'"') | (byte == b'\\');
        return bytes.iter().fold(true, |plain, &byte| plain & !special(byte));
    };
    let (eights, _) = bytes.as_chunks();
    let special = eights.iter().fold(special_of(*last), |special, &eight| special | special_of(eight));
    special & HIGH_BITS == 0
}

const EACH: u64 = u64::from_ne_bytes([1; 8]);
const HIGH_BITS: u64 = EACH << 7;

/// Has a high bit set if one of the bytes does not stand for itself, and none if all do.
fn special_of(bytes: [u8; 8]) -> u64 {
    let bytes = u64::from_ne_bytes(bytes);
    let below = |bytes: u64, bound: u64| bytes.wrapping_sub(EACH * bound) & !bytes;
    let is = |byte: u8| below(bytes ^ (EACH * u64::from(byte)), 1);
    bytes | below(bytes, 0x20) | is(b'"') | is(b'\\') | is(0x7f)
}

/// Bytes as a string, with U+FFFD where they are not UTF-8. Returns whether nothing was replaced.
pub(super) fn bytes_lossy(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    out.push(b'"');
    opened_bytes_lossy(out, bytes)
}

/// [`bytes_lossy`] behind the string's first quote.
pub(super) fn opened_bytes_lossy(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let exact = if is_plain(bytes) {
        out.extend_from_slice(bytes);
        true
    } else {
        let mut exact = true;
        for chunk in bytes.utf8_chunks() {
            escaped(out, chunk.valid());
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{fffd}".as_bytes());
                exact = false;
            }
        }
        exact
    };
    out.push(b'"');
    exact
}

pub(super) fn base64_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let at = out.len();
    let encoded_len = bytes.len().div_ceil(3) * 4;
    out.resize(at + encoded_len, 0);
    STANDARD.encode_slice(bytes, &mut out[at..]).expect("the slice has the encoded length");
    out.push(b'"');
}

/// Writes the member `name` with this text, and `name_b64` if the text alone is not exact.
macro_rules! text_member {
    ($out:expr, $name:literal, $bytes:expr) => {{
        let bytes: &[u8] = $bytes;
        $out.extend_from_slice(concat!(",\"", $name, "\":\"").as_bytes());
        if !crate::json::text::opened_bytes_lossy($out, bytes) {
            $out.extend_from_slice(concat!(",\"", $name, "_b64\":").as_bytes());
            crate::json::text::base64_string($out, bytes);
        }
    }};
}
pub(super) use text_member;

fn escaped(out: &mut Vec<u8>, text: &str) {
    let mut plain_from = 0;
    for (at, character) in text.char_indices() {
        if !is_unsafe_to_show(character) && character != '"' && character != '\\' {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[plain_from..at]);
        plain_from = at + character.len_utf8();
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            _ => unicode_escape(out, character),
        }
    }
    out.extend_from_slice(&text.as_bytes()[plain_from..]);
}

fn unicode_escape(out: &mut Vec<u8>, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        out.extend_from_slice(b"\\u");
        for byte in unit.to_be_bytes() {
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 0xf)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_looked_at_wherever_it_stands() {
        for len in 0..40 {
            let plain = vec![b'a'; len];
            assert!(is_plain(&plain));
            for (at, byte) in (0..len).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
                let mut bytes = plain.clone();
                bytes[at] = byte;
                let stands_for_itself = matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
                assert_eq!(is_plain(&bytes), stands_for_itself, "{byte:#x} at {at} of {len}");
            }
        }
    }

    #[test]
    fn numbers_are_written_with_all_their_digits() {
        for value in [0, 1, 9, 10, 255, 256, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }
}
