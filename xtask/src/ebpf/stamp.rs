//! The text beside the object: what built it, and from which sources.

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const SOURCE_FILES: [&str; 4] = [
    "collector-common/Cargo.toml",
    "collector-ebpf/Cargo.lock",
    "collector-ebpf/Cargo.toml",
    "collector-ebpf/build.rs",
];
const SOURCE_FOLDERS: [&str; 2] = ["collector-common/src", "collector-ebpf/src"];

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Compiler, linker, object tool.
    pub(crate) tools: Vec<String>,
    /// SHA-256 by path.
    sources: BTreeMap<String, String>,
    /// SHA-256 of the object.
    pub(crate) object: String,
}

impl Stamp {
    pub(crate) fn new(tools: Vec<String>, sources: BTreeMap<String, String>, object: &[u8]) -> Self {
        Self { tools, sources, object: sha256(object) }
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = String::from(
            "# Written by `cargo xtask build-ebpf`: what collector.bpf.o was built with and from.\n",
        );
        for tool in &self.tools {
            let _ = writeln!(text, "tool {tool}");
        }
        for (path, hash) in &self.sources {
            let _ = writeln!(text, "source {hash} {path}");
        }
        let _ = writeln!(text, "sources {}", self.sources_hash());
        let _ = writeln!(text, "object {}", self.object);
        text
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut tools = Vec::new();
        let mut sources = BTreeMap::new();
        let (mut object, mut all) = (None, None);
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            match line.split_once(' ') {
                Some(("tool", tool)) => tools.push(tool.to_owned()),
                Some(("source", source)) => {
                    let (hash, path) =
                        source.split_once(' ').with_context(|| format!("no path in {line:?}"))?;
                    sources.insert(path.to_owned(), hash.to_owned());
                }
                Some(("sources", hash)) => all = Some(hash.to_owned()),
                Some(("object", hash)) => object = Some(hash.to_owned()),
                _ => bail!("not a line of this file: {line:?}"),
            }
        }
        let stamp = Self { tools, sources, object: object.context("no object line")? };
        let (said, found) = (all.context("no sources line")?, stamp.sources_hash());
        if said != found {
            bail!("the sources line says {said}, the source lines give {found}");
        }
        Ok(stamp)
    }

    /// Files that are new, gone or different in `now`.
    pub(crate) fn changed_sources(&self, now: &Self) -> Vec<String> {
        let paths =
            self.sources.keys().chain(now.sources.keys().filter(|path| !self.sources.contains_key(*path)));
        paths.filter(|path| self.sources.get(*path) != now.sources.get(*path)).cloned().collect()
    }

    /// One hash over the sorted list of path and content hash.
    fn sources_hash(&self) -> String {
        let list: String = self.sources.iter().map(|(path, hash)| format!("{hash} {path}\n")).collect();
        sha256(list.as_bytes())
    }
}

/// Path and content hash of everything the object is made of.
pub(crate) fn source_hashes(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut hashes = BTreeMap::new();
    for file in SOURCE_FILES {
        if root.join(file).is_file() {
            add_file(root, &root.join(file), &mut hashes)?;
        }
    }
    for folder in SOURCE_FOLDERS {
        add_folder(root, &root.join(folder), &mut hashes)?;
    }
    Ok(hashes)
}

fn add_folder(root: &Path, folder: &Path, hashes: &mut BTreeMap<String, String>) -> Result<()> {
    let listing = fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    for entry in listing {
        let path = entry.with_context(|| format!("failed to list {}", folder.display()))?.path();
        if path.is_dir() {
            add_folder(root, &path, hashes)?;
        } else {
            add_file(root, &path, hashes)?;
        }
    }
    Ok(())
}

fn add_file(root: &Path, path: &Path, hashes: &mut BTreeMap<String, String>) -> Result<()> {
    let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    let relative = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    hashes.insert(relative, sha256(&bytes));
    Ok(())
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(source: &str) -> Stamp {
        let sources = [("a/src/lib.rs".to_owned(), sha256(source.as_bytes()))].into();
        Stamp::new(vec!["rustc 1.96.0, LLVM version: 22".to_owned()], sources, b"object")
    }

    #[test]
    fn text_gives_the_same_stamp_back() {
        assert_eq!(Stamp::parse(&stamp("x").to_text()).unwrap(), stamp("x"));
    }

    #[test]
    fn an_edited_source_line_is_found_out() {
        let edited = stamp("x").to_text().replace("a/src/lib.rs", "b/src/lib.rs");
        assert!(Stamp::parse(&edited).unwrap_err().to_string().contains("the source lines give"));
    }

    #[test]
    fn changed_new_and_lost_sources_are_named() {
        let mut now = stamp("y");
        now.sources.insert("a/src/new.rs".to_owned(), sha256(b""));
        assert_eq!(stamp("x").changed_sources(&now), ["a/src/lib.rs", "a/src/new.rs"]);
        now.sources.remove("a/src/lib.rs");
        assert_eq!(stamp("x").changed_sources(&now), ["a/src/lib.rs", "a/src/new.rs"]);
        assert!(stamp("x").changed_sources(&stamp("x")).is_empty());
    }
}
