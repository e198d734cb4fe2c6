//! Which Debian mirror this machine uses, read from its own apt sources (deb822 and one-line format).

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

const RELEASES: [&str; 10] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

/// Where packages come from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mirrors {
    main: String,
    security: String,
}

/// One source of binary packages.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
}

impl Mirrors {
    /// Reads /etc/apt; changes nothing there.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let mut entries = Vec::new();
        for path in source_files(Path::new("/etc/apt"))? {
            let text =
                fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
            let deb822 = path.extension().is_some_and(|extension| extension == "sources");
            entries.extend(if deb822 { parse_deb822(&text) } else { parse_one_line(&text) });
        }
        let Some(mirrors) = Self::among(&entries) else {
            bail!("no Debian mirror among the {} sources of /etc/apt", entries.len());
        };
        Ok(mirrors)
    }

    /// The mirror that has a suite.
    pub(crate) fn for_suite(&self, suite: &str) -> &str {
        if suite.ends_with("-security") { &self.security } else { &self.main }
    }

    fn among(entries: &[Entry]) -> Option<Self> {
        let with_suite = |wanted: fn(&str) -> bool| {
            entries
                .iter()
                .find(|entry| {
                    entry.components.iter().any(|c| c == "main") && entry.suites.iter().any(|s| wanted(s))
                })
                .map(|entry| entry.uri.trim_end_matches('/').to_owned())
        };
        let main = with_suite(|suite| RELEASES.contains(&suite))?;
        let security =
            with_suite(|suite| suite.strip_suffix("-security").is_some_and(|s| RELEASES.contains(&s)));
        let security = security.unwrap_or_else(|| format!("{main}-security"));
        Some(Self { main, security })
    }
}

fn source_files(etc: &Path) -> Result<Vec<PathBuf>> {
    let parts = etc.join("sources.list.d");
    let mut files = vec![etc.join("sources.list")];
    if parts.is_dir() {
        for entry in fs::read_dir(&parts).with_context(|| format!("failed to list {}", parts.display()))? {
            files.push(entry.with_context(|| format!("failed to list {}", parts.display()))?.path());
        }
    }
    files.retain(|path| {
        path.is_file() && path.extension().is_some_and(|end| end == "list" || end == "sources")
    });
    files.sort();
    Ok(files)
}

/// `deb [option=value] URI suite component…`
fn parse_one_line(text: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let line = line.split('#').next()?.trim().strip_prefix("deb ")?.trim();
        let line = match line.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => line,
        };
        let mut words = line.split_whitespace().map(str::to_owned);
        Some(Entry { uri: words.next()?, suites: vec![words.next()?], components: words.collect() })
    };
    text.lines().filter_map(entry).collect()
}

/// Stanzas of `Field: value` lines, parted by empty lines; a line that starts with a blank goes on.
fn parse_deb822(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            entries.extend(entries_of_stanza(&fields));
            fields.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }
    entries
}

fn entries_of_stanza(fields: &[(String, String)]) -> Vec<Entry> {
    let words = |name: &str| -> Vec<String> {
        let value = fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
        value.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let off = words("enabled").first().is_some_and(|word| word == "no" || word == "false");
    if off || !words("types").iter().any(|word| word == "deb") {
        return Vec::new();
    }
    let entry = |uri| Entry { uri, suites: words("suites"), components: words("components") };
    words("uris").into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deb822_with_comments_continuations_and_a_disabled_stanza() {
        let text = "Types: deb\n# a comment\nURIs: http://mirror/debian/\nSuites: bookworm\n bookworm-updates\n\
                    Components: main contrib\n\n\nEnabled: no\nTypes: deb\nURIs: http://off/debian\nSuites: sid\n\
                    Components: main\n\nTypes: deb-src\nURIs: http://src/debian\nSuites: sid\nComponents: main\n";
        let entries = parse_deb822(text);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(Mirrors::among(&entries).unwrap().for_suite("sid"), "http://mirror/debian");
    }

    #[test]
    fn one_line_format_with_options_and_a_third_party_source() {
        let text = "# deb http://commented/debian sid main\n\
                    deb [arch=amd64 signed-by=/k.gpg] https://vendor/linux/debian bookworm stable\n\
                    deb-src http://src/debian bookworm main\n\
                    deb http://mirror/debian bookworm main # the mirror\n\
                    deb http://sec/debian-security bookworm-security main\n";
        let mirrors = Mirrors::among(&parse_one_line(text)).unwrap();
        assert_eq!(mirrors.for_suite("bullseye"), "http://mirror/debian");
        assert_eq!(mirrors.for_suite("bookworm-security"), "http://sec/debian-security");
    }

    #[test]
    fn without_a_security_source_it_lies_beside_the_main_one() {
        let mirrors = Mirrors::among(&parse_one_line("deb http://m/debian sid main")).unwrap();
        assert_eq!(mirrors.for_suite("bookworm-security"), "http://m/debian-security");
    }

    #[test]
    fn a_machine_without_debian_sources_has_no_mirror() {
        assert_eq!(Mirrors::among(&parse_one_line("deb http://u/ubuntu noble main")), None);
    }
}
