//! The guest's serial console as text: line ends, terminal sequences and kernel messages taken away.

/// Printed by init when it starts, with `uname -r` behind it.
pub(crate) const BOOT_MARK: &str = "@@guest-boot";
/// Printed by init when the tests have ended, with their exit status behind it.
pub(crate) const END_MARK: &str = "@@guest-end";

/// What a cleaned line says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Boot(String),
    End(i32),
    Text(String),
}

/// Reads one line as it came over the wire, and the kernel's message in it.
pub(crate) fn read_line(raw: &[u8]) -> (Line, Option<String>) {
    let text = without_terminal_sequences(&String::from_utf8_lossy(raw));
    let (text, message) = split_at_kernel_message(&text);
    (read_text(text.trim_end()), message.map(|message| format!("kernel: {}", message.trim_end())))
}

fn read_text(text: &str) -> Line {
    if let Some((_, release)) = text.split_once(BOOT_MARK) {
        return Line::Boot(release.trim().to_owned());
    }
    if let Some(status) = text.split_once(END_MARK).and_then(|(_, status)| status.trim().parse().ok()) {
        return Line::End(status);
    }
    Line::Text(text.to_owned())
}

/// `ESC [ … letter`, `ESC letter` and carriage returns.
fn without_terminal_sequences(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\u{1b}' => {
                if characters.next() == Some('[') {
                    let _ = characters.find(char::is_ascii_alphabetic);
                }
            }
            '\r' => {}
            _ => clean.push(c),
        }
    }
    clean
}

/// Parts a message such as `[   12.345678] text` from a line; the kernel writes it in the middle of others' lines.
fn split_at_kernel_message(line: &str) -> (&str, Option<&str>) {
    for (start, _) in line.match_indices('[') {
        let stamp = line[start + 1..].split(']').next().unwrap_or_default().trim_start();
        let is_time = stamp.split_once('.').is_some_and(|(seconds, fraction)| {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits(seconds) && digits(fraction) && fraction.len() == 6
        });
        if is_time {
            return (&line[..start], Some(&line[start..]));
        }
    }
    (line, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &str) -> String {
        match read_line(raw.as_bytes()).0 {
            Line::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn line_ends_colours_and_kernel_messages_go() {
        assert_eq!(text("test a ... ok\r"), "test a ... ok");
        assert_eq!(text("\u{1b}[32mtest a\u{1b}[0m ... ok\r"), "test a ... ok");
        assert_eq!(text("test a ... [    3.141592] random: crng init done\r"), "test a ...");
        assert_eq!(text("[    0.000001] Linux version\r"), "");
        assert_eq!(text("argv [12.5] kept [a]\r"), "argv [12.5] kept [a]");
    }

    #[test]
    fn marks_are_found_behind_noise() {
        assert_eq!(
            read_line(b"\x1bcSeaBIOS\x1b[2J@@guest-boot 5.10.0-32\r").0,
            Line::Boot("5.10.0-32".to_owned())
        );
        assert_eq!(read_line(b"@@guest-end 101\r").0, Line::End(101));
    }
}
