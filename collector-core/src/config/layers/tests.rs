use super::*;
use std::fs;
use std::time::Duration;

fn variables(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    list.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// A folder with these files.
fn files(list: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in list {
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn refused(layers: ConfigLayers) -> String {
    CollectorConfig::load(layers).unwrap_err().to_string()
}

#[test]
fn each_layer_stands_over_the_one_before() {
    let folder = files(&[
        (
            "config.toml",
            "[collector]\nmax_event_sources=1\nevent_buffer_size=1\nmax_batch_size=1\nbatch_timeout='1s'\nstartup_timeout='1s'",
        ),
        (
            "conf.d/10.toml",
            "[collector]\nevent_buffer_size=2\nmax_batch_size=2\nbatch_timeout='2s'\nstartup_timeout='2s'",
        ),
        ("conf.d/20.toml", "[collector]\nmax_batch_size=3\nbatch_timeout='3s'\nstartup_timeout='3s'"),
        ("conf.d/30.txt", "no TOML at all"),
    ]);
    // Called in the opposite order: what stands over what is not the caller's to get wrong.
    let layers = ConfigLayers::new("collectord")
        .flag("collector.startup_timeout", "5s")
        .environment(variables(&[
            ("COLLECTORD_COLLECTOR__BATCH_TIMEOUT", "4s"),
            ("COLLECTORD_COLLECTOR__STARTUP_TIMEOUT", "4s"),
            ("COLLECTORD_LOG", "debug"),
            ("OTHER_COLLECTOR__BATCH_TIMEOUT", "9s"),
        ]))
        .folder(folder.path().join("conf.d"))
        .file(folder.path().join("config.toml"));
    let config = CollectorConfig::load(layers).unwrap();
    assert_eq!((config.max_event_sources, config.event_buffer_size, config.max_batch_size), (1, 2, 3));
    assert_eq!(
        (config.batch_timeout, config.startup_timeout),
        (Duration::from_secs(4), Duration::from_secs(5))
    );
    assert_eq!(config.telemetry_interval, Duration::from_secs(30));
}

#[test]
fn an_unknown_key_of_a_file_is_refused_with_file_line_and_caret() {
    let folder = files(&[("config.toml", "[collector]\nmax_batch_size = 2\nevnt_buffer_size = 1\n")]);
    let path = folder.path().join("config.toml");
    let error = refused(ConfigLayers::new("c").file(&path));
    assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
    assert!(error.contains("line 3, column 1"), "{error}");
    assert!(error.contains("3 | evnt_buffer_size = 1") && error.contains("| ^^^^^^^^^^^^^^^^"), "{error}");
    assert!(error.contains("unknown field `evnt_buffer_size`"), "{error}");
}

#[test]
fn an_unknown_section_is_refused_in_each_layer() {
    let folder = files(&[("config.toml", "[colector]\nmax_batch_size = 2\n")]);
    assert!(
        refused(ConfigLayers::new("c").file(folder.path().join("config.toml")))
            .contains("unknown field `colector`")
    );
    let environment = variables(&[("C_COLECTOR__MAX_BATCH_SIZE", "2")]);
    assert!(refused(ConfigLayers::new("c").environment(environment)).contains("unknown field `colector`"));
    assert!(refused(ConfigLayers::new("c").flag("colector.x", "2")).contains("unknown field `colector`"));
}

#[test]
fn a_wrong_value_is_named_with_where_it_came_from() {
    let folder = files(&[("config.toml", "[collector]\nbatch_timeout = 100\n")]);
    let error = refused(ConfigLayers::new("c").file(folder.path().join("config.toml")));
    assert!(error.contains("line 2, column 17") && error.contains("such as \"30s\""), "{error}");
    let environment = variables(&[("MY_COLLECTOR_COLLECTOR__BATCH_TIMEOUT", "soon")]);
    let error = refused(ConfigLayers::new("my-collector").environment(environment));
    assert!(
        error.starts_with(
            "environment variable MY_COLLECTOR_COLLECTOR__BATCH_TIMEOUT is \"soon\": \"soon\" is no time"
        ),
        "{error}"
    );
    let error = refused(ConfigLayers::new("c").flag("collector.max_batch_size", "-1"));
    assert!(
        error.starts_with("flag collector.max_batch_size is \"-1\": invalid value: integer `-1`"),
        "{error}"
    );
}

#[test]
fn a_value_out_of_its_bound_names_field_value_bound_and_origin() {
    let folder = files(&[
        ("config.toml", "[collector]\nmax_batch_size = 7\n"),
        ("conf.d/a.toml", "\n# a comment\n[collector]\nmax_batch_size = 0\n"),
    ]);
    let layers =
        ConfigLayers::new("c").file(folder.path().join("config.toml")).folder(folder.path().join("conf.d"));
    let from = folder.path().join("conf.d/a.toml");
    assert_eq!(
        refused(layers.clone()),
        format!("max_batch_size is 0, but must be between 1 and 100000 (set by {}:4)", from.display())
    );
    let environment = variables(&[("C_COLLECTOR__MAX_BATCH_SIZE", "100001")]);
    assert_eq!(
        refused(layers.clone().environment(environment)),
        "max_batch_size is 100001, but must be between 1 and 100000 (set by environment variable C_COLLECTOR__MAX_BATCH_SIZE)"
    );
    CollectorConfig::load(layers.flag("collector.max_batch_size", "5")).unwrap();
}

#[test]
fn text_that_looks_like_a_number_stays_text_where_text_is_wanted() {
    let layers = ConfigLayers::new("c").environment(variables(&[
        ("C_COLLECTOR__COMPONENT_NAME", "123"),
        ("C_COLLECTOR__ENABLE_TELEMETRY", "false"),
    ]));
    let config = CollectorConfig::load(layers).unwrap();
    assert_eq!((config.component_name.as_str(), config.enable_telemetry), ("123", false));
}

#[test]
fn a_smaller_buffer_alone_stays_valid_from_each_layer() {
    let folder = files(&[("config.toml", "[collector]\nevent_buffer_size = 10\n")]);
    CollectorConfig::load(ConfigLayers::new("c").file(folder.path().join("config.toml"))).unwrap();
    CollectorConfig::load(ConfigLayers::new("c").flag("collector.event_buffer_size", "1")).unwrap();
}

#[test]
fn a_file_that_must_exist_is_missed_and_one_that_need_not_is_not() {
    let missing = tempfile::tempdir().unwrap().path().join("config.toml");
    CollectorConfig::load(ConfigLayers::new("c").file_if_there(&missing)).unwrap();
    assert_eq!(
        refused(ConfigLayers::new("c").file(&missing)),
        format!("failed to read {}", missing.display())
    );
}

#[test]
fn a_file_longer_than_any_configuration_is_not_read() {
    let bound = usize::try_from(CONFIG_FILE_BYTES_MAX).unwrap();
    let folder = files(&[("at.toml", &"#".repeat(bound)), ("over.toml", &"#".repeat(bound + 1))]);
    CollectorConfig::load(ConfigLayers::new("c").file(folder.path().join("at.toml"))).unwrap();
    let error =
        CollectorConfig::load(ConfigLayers::new("c").file(folder.path().join("over.toml"))).unwrap_err();
    assert!(matches!(error, ConfigLoadError::TooLong { .. }), "{error}");
}

#[test]
fn a_configuration_written_as_toml_is_read_back_as_it_was() {
    #[derive(serde::Serialize)]
    struct Written {
        collector: CollectorConfig,
    }
    let collector =
        CollectorConfig::new().with_batch_timeout(Duration::new(1, 500)).with_component_name("it's");
    let text = toml::to_string(&Written { collector: collector.clone() }).unwrap();
    let folder = files(&[("config.toml", &text)]);
    let read = CollectorConfig::load(ConfigLayers::new("c").file(folder.path().join("config.toml"))).unwrap();
    assert_eq!(read, collector);
}
