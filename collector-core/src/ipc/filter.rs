//! What a client's filters let through. Values of one list are alternatives, lists combine with AND, an empty list
//! lets everything through.

use super::proto::{FilesystemFilter, NetworkFilter, PerformanceFilter, ProcessFilter};
use crate::event::{FilesystemEvent, NetworkEvent, PerformanceEvent};
use globset::{GlobBuilder, GlobMatcher};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// Values of one list at most.
const VALUES_MAX: usize = 1024;
/// Globs of one filter at most, and bytes of each.
const GLOBS_MAX: usize = 64;
const GLOB_BYTES_MAX: usize = 4096;
/// The kernel cuts a process's name after so many bytes.
const COMM_BYTES_MAX: usize = 15;

#[derive(Debug, thiserror::Error)]
pub(super) enum FilterError {
    #[error("{list} has {count} values, at most {max} are compared")]
    TooMany { list: &'static str, count: usize, max: usize },
    #[error("a glob of {0} bytes, at most {GLOB_BYTES_MAX} are allowed")]
    LongGlob(usize),
    #[error("{pattern:?} is no glob: {message}")]
    NoGlob { pattern: String, message: String },
}

/// Globs as a shell has them: `*` and `?` stop at `/`, `**` does not. One without a `/` is held against the file's name.
#[derive(Debug)]
struct Globs(Vec<(GlobMatcher, bool)>);

impl Globs {
    fn new<'p>(patterns: impl ExactSizeIterator<Item = &'p String>) -> Result<Self, FilterError> {
        bounded("path_patterns", patterns.len(), GLOBS_MAX)?;
        let matcher = |pattern: &'p String| {
            if pattern.len() > GLOB_BYTES_MAX {
                return Err(FilterError::LongGlob(pattern.len()));
            }
            let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
            let glob = glob.map_err(|error| FilterError::NoGlob {
                pattern: pattern.clone(),
                message: error.kind().to_string(),
            })?;
            Ok((glob.compile_matcher(), pattern.contains('/')))
        };
        Ok(Self(patterns.map(matcher).collect::<Result<_, _>>()?))
    }

    fn allow(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or_default();
        self.0.is_empty()
            || self.0.iter().any(|(glob, of_path)| glob.is_match(if *of_path { path } else { name }))
    }
}

/// Of processes.
#[derive(Debug)]
pub(super) struct Processes {
    names: Vec<String>,
    pids: HashSet<u32>,
    executable: Option<Globs>,
}

impl Processes {
    pub(super) fn new(filter: Option<ProcessFilter>) -> Result<Self, FilterError> {
        let filter = filter.unwrap_or_default();
        bounded("process_names", filter.process_names.len(), VALUES_MAX)?;
        bounded("pids", filter.pids.len(), VALUES_MAX)?;
        let pattern = filter.executable_pattern.filter(|pattern| !pattern.is_empty());
        Ok(Self {
            names: filter.process_names,
            pids: filter.pids.into_iter().collect(),
            executable: pattern.as_ref().map(|pattern| Globs::new([pattern].into_iter())).transpose()?,
        })
    }

    /// A name longer than the kernel keeps is held against what the kernel kept of it.
    pub(super) fn allow(&self, pid: u32, name: &str, executable: Option<&str>) -> bool {
        let is_named =
            |wanted: &String| wanted == name || (name.len() == COMM_BYTES_MAX && wanted.starts_with(name));
        (self.pids.is_empty() || self.pids.contains(&pid))
            && (self.names.is_empty() || self.names.iter().any(is_named))
            && self.executable.as_ref().is_none_or(|globs| executable.is_some_and(|path| globs.allow(path)))
    }
}

/// Of connections. Protocols and states are compared without case; an address matches with or without its port.
#[derive(Debug)]
pub(super) struct Network(NetworkFilter);

impl Network {
    pub(super) fn new(filter: Option<NetworkFilter>) -> Result<Self, FilterError> {
        let filter = filter.unwrap_or_default();
        bounded("protocols", filter.protocols.len(), VALUES_MAX)?;
        bounded("source_addresses", filter.source_addresses.len(), VALUES_MAX)?;
        bounded("destination_addresses", filter.destination_addresses.len(), VALUES_MAX)?;
        bounded("connection_states", filter.connection_states.len(), VALUES_MAX)?;
        Ok(Self(filter))
    }

    pub(super) fn allow(&self, event: &NetworkEvent) -> bool {
        one_of(&self.0.protocols, |wanted| wanted.eq_ignore_ascii_case(&event.protocol))
            && one_of(&self.0.connection_states, |wanted| wanted.eq_ignore_ascii_case(&event.state))
            && one_of(&self.0.source_addresses, |wanted| is_address(&event.source_addr, wanted))
            && one_of(&self.0.destination_addresses, |wanted| is_address(&event.dest_addr, wanted))
    }
}

/// Of file operations. Operations are compared without case, extensions with or without their dot.
#[derive(Debug)]
pub(super) struct Filesystem {
    filter: FilesystemFilter,
    paths: Globs,
}

impl Filesystem {
    pub(super) fn new(filter: Option<FilesystemFilter>) -> Result<Self, FilterError> {
        let filter = filter.unwrap_or_default();
        bounded("operation_types", filter.operation_types.len(), VALUES_MAX)?;
        bounded("file_extensions", filter.file_extensions.len(), VALUES_MAX)?;
        Ok(Self { paths: Globs::new(filter.path_patterns.iter())?, filter })
    }

    pub(super) fn allow(&self, event: &FilesystemEvent) -> bool {
        let extension = Path::new(&event.path).extension().and_then(|extension| extension.to_str());
        let has =
            |wanted: &String| extension.is_some_and(|has| has == wanted.strip_prefix('.').unwrap_or(wanted));
        one_of(&self.filter.operation_types, |wanted| wanted.eq_ignore_ascii_case(&event.operation))
            && one_of(&self.filter.file_extensions, has)
            && self.paths.allow(&event.path)
    }
}

/// Of measurements. A threshold holds for the metric it names and for no other; at the threshold itself lets through.
#[derive(Debug)]
pub(super) struct Performance(PerformanceFilter);

impl Performance {
    pub(super) fn new(filter: Option<PerformanceFilter>) -> Result<Self, FilterError> {
        let filter = filter.unwrap_or_default();
        bounded("metric_names", filter.metric_names.len(), VALUES_MAX)?;
        bounded("components", filter.components.len(), VALUES_MAX)?;
        Ok(Self(filter))
    }

    pub(super) fn allow(&self, event: &PerformanceEvent) -> bool {
        let threshold = |all: &BTreeMap<String, f64>| all.get(&event.metric_name).copied();
        one_of(&self.0.metric_names, |wanted| *wanted == event.metric_name)
            && one_of(&self.0.components, |wanted| *wanted == event.component)
            && threshold(&self.0.min_thresholds).is_none_or(|min| event.value >= min)
            && threshold(&self.0.max_thresholds).is_none_or(|max| event.value <= max)
    }
}

fn bounded(list: &'static str, count: usize, max: usize) -> Result<(), FilterError> {
    if count > max { Err(FilterError::TooMany { list, count, max }) } else { Ok(()) }
}

fn one_of(list: &[String], is: impl FnMut(&String) -> bool) -> bool {
    list.is_empty() || list.iter().any(is)
}

/// `wanted` is the whole text, or the address of `address:port` or `[address]:port`.
fn is_address(text: &str, wanted: &str) -> bool {
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // Without brackets, what stands before the last colon of an IPv6 address is not an address.
    let host = if bare.is_none() && host.contains(':') { text } else { host };
    wanted == text || wanted == bare.unwrap_or(host)
}

#[cfg(test)]
mod tests;
