//! The places where DaemonEye keeps its configuration.

use super::{CollectorConfig, ConfigLayers, ConfigLoadError, Loaded};
use serde::Deserialize;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Below the root for the system's file, below `~/.config` for the user's.
const FILE: &str = "daemoneye/config.toml";

/// DaemonEye's components share one file: sections other than the collector's are theirs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SharedFile {
    collector: CollectorConfig,
}

impl CollectorConfig {
    /// Loads the configuration from where DaemonEye's components look for theirs: section `[collector]` of
    /// `/etc/daemoneye/config.toml`, over it that of `~/.config/daemoneye/config.toml`, over it environment variables
    /// such as `PROCMOND_COLLECTOR__EVENT_BUFFER_SIZE` for the component `procmond`. Where there are none, these are
    /// the defaults under the component's name.
    ///
    /// # Errors
    /// A file that is there and cannot be read, a key of the section that is unknown (with line and caret), a value of
    /// the wrong type or out of its bound (with where it came from). Other sections are not looked at.
    pub fn load_from_daemoneye_config(component: &str) -> Result<Self, ConfigLoadError> {
        load(component, Path::new("/etc"), std::env::vars_os().collect())
    }
}

fn load(
    component: &str,
    etc: &Path,
    environment: Vec<(OsString, OsString)>,
) -> Result<CollectorConfig, ConfigLoadError> {
    let home = environment.iter().find(|(name, _)| name == "HOME").map(|(_, home)| PathBuf::from(home));
    let mut layers = ConfigLayers::new(component).file_if_there(etc.join(FILE));
    if let Some(home) = home.filter(|home| home.is_absolute()) {
        layers = layers.file_if_there(home.join(".config").join(FILE));
    }
    let mut loaded: Loaded<SharedFile> = layers.environment(environment).load()?;
    if loaded.origin("collector.component_name") == super::Origin::Default {
        loaded.value.collector.component_name = component.to_owned();
    }
    loaded.value.collector.validate().map_err(|error| loaded.blame("collector", error))?;
    Ok(loaded.value.collector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    /// Folders for `/etc` and `$HOME`, with the files given.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(system: Option<&str>, user: Option<&str>) -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            for (folder, text) in [("etc", system), ("home/.config", user)] {
                let path = machine.0.path().join(folder).join(FILE);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                if let Some(text) = text {
                    fs::write(path, text).unwrap();
                }
            }
            machine
        }

        fn load(&self, variables: &[(&str, &str)]) -> Result<CollectorConfig, ConfigLoadError> {
            let home = ("HOME".into(), self.0.path().join("home").into_os_string());
            let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
            load("proc-mond", &self.0.path().join("etc"), variables.chain([home]).collect())
        }
    }

    #[test]
    fn where_there_is_nothing_these_are_the_defaults_under_the_components_name() {
        let config = Machine::new(None, None).load(&[]).unwrap();
        assert_eq!(config, CollectorConfig::new().with_component_name("proc-mond"));
        let nowhere = load("proc-mond", Path::new("/nonexistent"), Vec::new()).unwrap();
        assert_eq!(nowhere, config);
    }

    #[test]
    fn the_users_file_stands_over_the_systems_and_the_environment_over_both() {
        let system = "[collector]\nmax_event_sources = 1\nmax_batch_size = 1\nevent_buffer_size = 1";
        let user = "[collector]\nmax_batch_size = 2\nevent_buffer_size = 2\nbatch_timeout = '7ms'";
        let machine = Machine::new(Some(system), Some(user));
        let config = machine.load(&[("PROC_MOND_COLLECTOR__EVENT_BUFFER_SIZE", "3")]).unwrap();
        assert_eq!((config.max_event_sources, config.max_batch_size, config.event_buffer_size), (1, 2, 3));
        assert_eq!(config.batch_timeout, Duration::from_millis(7));
    }

    #[test]
    fn sections_of_other_components_are_theirs_and_an_unknown_key_of_ours_is_refused() {
        let machine = Machine::new(Some("[database]\npath = '/var/lib/x'\n[logging]\nlevel = 'info'"), None);
        machine.load(&[("PROC_MOND_DATABASE__PATH", "/elsewhere"), ("PROC_MOND_LOG", "debug")]).unwrap();
        let error = machine.load(&[("PROC_MOND_COLLECTOR__EVNT", "1")]).unwrap_err().to_string();
        assert!(
            error.starts_with("environment variable PROC_MOND_COLLECTOR__EVNT is \"1\": unknown field"),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_missing_file() {
        let machine = Machine::new(None, None);
        fs::create_dir(machine.0.path().join("etc").join(FILE)).unwrap();
        assert!(matches!(machine.load(&[]).unwrap_err(), ConfigLoadError::Read { .. }));
    }
}
