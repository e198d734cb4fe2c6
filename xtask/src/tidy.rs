//! House rules that no compiler checks, as tests over the files of the checkout.

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 500;
/// Folders of the machine a change was made on; split so that this file does not name them itself.
const WORKPLACE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("../sha", "red"), concat!("gu", "ide/")];
const LEFT_OUT: [&str; 2] = ["target", ".git"];

/// Text files of the checkout with their path from its top.
fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout");
    let mut paths = Vec::new();
    collect(root, &mut paths);
    let text = |path: PathBuf| {
        let text = String::from_utf8(fs::read(&path).expect("a file of the checkout can be read")).ok()?;
        let name = path.strip_prefix(root).expect("it lies in the checkout").to_string_lossy().into_owned();
        Some((name, text))
    };
    paths.into_iter().filter_map(text).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the checkout can be listed") {
        let path = entry.expect("a folder of the checkout can be listed").path();
        let left_out = path.file_name().is_some_and(|name| LEFT_OUT.iter().any(|other| name == *other));
        if path.is_symlink() || left_out {
            continue;
        }
        if path.is_dir() { collect(&path, paths) } else { paths.push(path) }
    }
}

fn rust_files() -> Vec<(String, String)> {
    files().into_iter().filter(|(name, _)| name.ends_with(".rs")).collect()
}

#[test]
fn no_source_file_is_too_long_to_read() {
    let long = |(name, text): (String, String)| {
        let lines = text.lines().count();
        (lines > LINES_MAX).then(|| format!("{name}: {lines} lines"))
    };
    let found: Vec<_> = rust_files().into_iter().filter_map(long).collect();
    assert!(found.is_empty(), "over {LINES_MAX} lines: {found:#?}");
}

#[test]
fn every_unsafe_argues_for_itself() {
    let mut found = Vec::new();
    for (name, text) in rust_files() {
        let lines: Vec<&str> = text.lines().collect();
        let undocumented = (0..lines.len()).filter(|&at| is_unsafe(lines[at]) && !has_argument(&lines, at));
        found.extend(undocumented.map(|at| format!("{name}:{}", at + 1)));
    }
    assert!(found.is_empty(), "unsafe without a SAFETY comment above it: {found:#?}");
}

#[test]
fn no_file_names_a_workplace() {
    let mut found = Vec::new();
    for (name, text) in files() {
        for (at, line) in text.lines().enumerate() {
            if WORKPLACE_PATHS.iter().any(|path| line.contains(path)) {
                found.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// A block or an impl; an `unsafe fn` asks its callers instead.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    [concat!("unsa", "fe {"), concat!("unsa", "fe impl")].iter().any(|word| code.contains(word))
}

/// In the comment above the line, or above the first line of its statement; attributes are let through.
fn has_argument(lines: &[&str], at: usize) -> bool {
    let above = lines[..at].iter().rev().map(|line| line.trim());
    let goes_on =
        |line: &&str| !line.starts_with("//") && !line.is_empty() && !line.ends_with([';', '{', '}', ',']);
    let above = above.skip_while(|line| goes_on(line) || line.starts_with("#["));
    above.take_while(|line| line.starts_with("//")).any(|line| line.contains("SAFETY:"))
}

#[test]
fn the_safety_rule_sees_what_it_should() {
    let with =
        ["// SAFETY: a reason", "// in two lines", "#[inline]", concat!("let x = unsa", "fe { f() };")];
    assert!(is_unsafe(with[3]) && has_argument(&with, 3));
    let later = ["// SAFETY: a reason", "let x: u64 =", concat!("unsa", "fe { f() };")];
    assert!(has_argument(&later, 2));
    let without = ["let y = 1; // SAFETY: of another line", concat!("unsa", "fe { f() };")];
    assert!(is_unsafe(without[1]) && !has_argument(&without, 1));
}
