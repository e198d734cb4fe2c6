//! The layers of a configuration and how they are laid over each other.

use super::{CollectorConfig, ConfigError, ConfigLoadError, Origin};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// A longer file is no configuration.
pub const CONFIG_FILE_BYTES_MAX: u64 = 1 << 20;

/// Between a section and a key in the name of an environment variable.
const ENV_SEPARATOR: &str = "__";

/// The layers of a configuration, the weakest first: defaults, files in the order given, files of folders in the
/// order of their names, environment, flags. In which order the methods are called makes no difference otherwise.
///
/// Every key of every layer has to be known to the type that is loaded; whether it is, is that type's decision
/// (`deny_unknown_fields`). Each of its fields needs a default, as a layer gives only some of them.
///
/// ```
/// use collector_core::{CollectorConfig, ConfigLayers};
///
/// let environment = [("COLLECTORD_COLLECTOR__BATCH_TIMEOUT".into(), "5ms".into())];
/// let layers = ConfigLayers::new("collectord")
///     .environment(environment)
///     .flag("collector.event_buffer_size", "2000");
/// let config = CollectorConfig::load(layers)?;
/// assert_eq!(config.batch_timeout.as_millis(), 5);
/// assert_eq!(config.event_buffer_size, 2000);
/// # Ok::<(), collector_core::ConfigLoadError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ConfigLayers {
    component: String,
    /// Files, and whether each has to exist.
    files: Vec<(PathBuf, bool)>,
    folders: Vec<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    flags: Vec<(String, String)>,
}

/// What the layers gave, and where each value came from.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// The configuration. Its types fit; its bounds are not checked yet.
    pub value: T,
    origins: BTreeMap<String, Origin>,
}

/// A file that holds a collector's section and nothing else.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OwnFile {
    collector: CollectorConfig,
}

impl CollectorConfig {
    /// Loads the section `collector` of these layers, which may have no other, and checks its bounds.
    ///
    /// # Errors
    /// The first layer that cannot be read or has an unknown key or a wrong type, with line and caret if it is a file;
    /// or the first value out of its bound, with where it came from.
    pub fn load(layers: ConfigLayers) -> Result<Self, ConfigLoadError> {
        let loaded: Loaded<OwnFile> = layers.load()?;
        loaded.value.collector.validate().map_err(|error| loaded.blame("collector", error))?;
        Ok(loaded.value.collector)
    }
}

impl<T> Loaded<T> {
    /// Where the value under this dotted name came from, such as `collector.event_buffer_size`.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Adds to an error of a section where the value came from.
    pub fn blame(&self, section: &str, source: ConfigError) -> ConfigLoadError {
        ConfigLoadError::Bound { origin: self.origin(&format!("{section}.{}", source.field)), source }
    }
}

impl ConfigLayers {
    /// No layer but the defaults. The component's name gives the environment its prefix: for `my-collector` the key
    /// `key` of section `section` is `MY_COLLECTOR_SECTION__KEY`.
    pub fn new(component: &str) -> Self {
        Self {
            component: component.to_owned(),
            files: Vec::new(),
            folders: Vec::new(),
            environment: Vec::new(),
            flags: Vec::new(),
        }
    }

    /// Adds a file that has to exist.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push((path.into(), true));
        self
    }

    /// Adds a file that need not exist.
    #[must_use]
    pub fn file_if_there(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push((path.into(), false));
        self
    }

    /// Adds a folder's files named `*.toml`. It need not exist.
    #[must_use]
    pub fn folder(mut self, path: impl Into<PathBuf>) -> Self {
        self.folders.push(path.into());
        self
    }

    /// Adds environment variables, such as `std::env::vars_os()`. One without the component's prefix or without `__` is
    /// somebody else's.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// Sets one value by its dotted name, over all other layers.
    #[must_use]
    pub fn flag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.flags.push((key.into(), value.into()));
        self
    }

    /// Lays the layers over each other.
    ///
    /// # Errors
    /// The first layer that cannot be read or does not fit the type.
    pub fn load<T: DeserializeOwned>(self) -> Result<Loaded<T>, ConfigLoadError> {
        let mut merged = Table::new();
        let mut origins = BTreeMap::new();
        for path in self.paths()? {
            let table = read_file::<T>(&path.0, path.1, &mut origins)?;
            merge(&mut merged, table);
        }
        let flags =
            self.flags.into_iter().map(|(key, value)| (Origin::Flag { key: key.clone() }, key, value));
        for (origin, key, value) in
            from_environment(&self.component, self.environment)?.into_iter().chain(flags)
        {
            let table = typed::<T>(&key, &value, &origin)?;
            merge(&mut merged, table);
            origins.insert(key, origin);
        }
        let value =
            T::deserialize(merged).map_err(|error| ConfigLoadError::Merged(error.message().to_owned()))?;
        Ok(Loaded { value, origins })
    }

    /// All files in their order, and whether each has to exist.
    fn paths(&self) -> Result<Vec<(PathBuf, bool)>, ConfigLoadError> {
        let mut paths = self.files.clone();
        for folder in &self.folders {
            let read = |source| ConfigLoadError::Read { path: folder.clone(), source };
            let entries = match folder.read_dir() {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(read(error)),
            };
            let mut files = Vec::new();
            for entry in entries {
                let path = entry.map_err(read)?.path();
                if path.extension().is_some_and(|extension| extension == "toml") {
                    files.push((path, true));
                }
            }
            files.sort();
            paths.append(&mut files);
        }
        Ok(paths)
    }
}

fn read_file<T: DeserializeOwned>(
    path: &Path,
    must_exist: bool,
    origins: &mut BTreeMap<String, Origin>,
) -> Result<Table, ConfigLoadError> {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(CONFIG_FILE_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound && !must_exist => return Ok(Table::new()),
        Err(source) => return Err(ConfigLoadError::Read { path: path.to_owned(), source }),
        Ok(length) if length as u64 > CONFIG_FILE_BYTES_MAX => {
            return Err(ConfigLoadError::TooLong { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    let refused = |error: toml::de::Error| ConfigLoadError::File {
        path: path.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    };
    // For the type's own view of it: only here do errors still know their line.
    toml::from_str::<T>(&text).map_err(refused)?;
    let table = DeTable::parse(&text).map_err(refused)?;
    note_lines(table.get_ref(), "", &text, path, origins);
    toml::from_str(&text).map_err(refused)
}

/// Notes for each value of a file on which line its key stands.
fn note_lines(
    table: &DeTable<'_>,
    above: &str,
    text: &str,
    path: &Path,
    origins: &mut BTreeMap<String, Origin>,
) {
    for (key, value) in table {
        let name = format!("{above}{}", key.get_ref());
        if let DeValue::Table(inner) = value.get_ref() {
            note_lines(inner, &format!("{name}."), text, path, origins);
        }
        let line = text[..key.span().start].matches('\n').count() + 1;
        origins.insert(name, Origin::File { path: path.to_owned(), line });
    }
}

/// The variables that are the component's, as dotted names, in the order of their names.
fn from_environment(
    component: &str,
    environment: Vec<(OsString, OsString)>,
) -> Result<Vec<(Origin, String, String)>, ConfigLoadError> {
    let prefix = format!("{}_", component.to_uppercase().replace('-', "_"));
    let mut found = Vec::new();
    for (variable, value) in environment {
        let Some(variable) = variable.to_str() else { continue };
        let Some(name) = variable.strip_prefix(&prefix).filter(|name| name.contains(ENV_SEPARATOR)) else {
            continue;
        };
        let origin = Origin::Environment { variable: variable.to_owned() };
        let key = name.to_lowercase().replace(ENV_SEPARATOR, ".");
        match value.into_string() {
            Ok(value) => found.push((origin, key, value)),
            Err(bytes) => {
                let (value, message) = (bytes.to_string_lossy().into_owned(), "not UTF-8".to_owned());
                return Err(ConfigLoadError::Value { origin, value, message });
            }
        }
    }
    found.sort_by(|(_, key, _), (_, other, _)| key.cmp(other));
    Ok(found)
}

/// A table with this one value, as text if the type takes text there, else as what the text says in TOML.
fn typed<T: DeserializeOwned>(key: &str, text: &str, origin: &Origin) -> Result<Table, ConfigLoadError> {
    let nested = |value: Value| {
        let mut names = key.rsplit('.');
        let innermost = names.next().map(|name| Table::from_iter([(name.to_owned(), value)]));
        names.fold(innermost.unwrap_or_default(), |inner, name| {
            Table::from_iter([(name.to_owned(), Value::Table(inner))])
        })
    };
    let as_text = nested(Value::String(text.to_owned()));
    let Err(error) = T::deserialize(as_text.clone()) else { return Ok(as_text) };
    let in_toml = toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"));
    let error = match in_toml.map(nested) {
        None => error,
        Some(table) => match T::deserialize(table.clone()) {
            Ok(_) => return Ok(table),
            Err(error) => error,
        },
    };
    Err(ConfigLoadError::Value {
        origin: origin.clone(),
        value: text.to_owned(),
        message: error.message().to_owned(),
    })
}

fn merge(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => merge(inner, value),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
