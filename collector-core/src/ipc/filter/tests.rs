use super::*;
use proptest::prelude::*;

fn list(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

#[test]
fn an_empty_filter_lets_everything_through() {
    assert!(Processes::new(None).unwrap().allow(1, "", None));
    assert!(Network::new(None).unwrap().allow(&NetworkEvent::default()));
    assert!(Filesystem::new(None).unwrap().allow(&FilesystemEvent::default()));
    assert!(Performance::new(None).unwrap().allow(&PerformanceEvent::default()));
}

#[test]
fn processes_are_compared_by_each_list() {
    let filter = |names: &[&str], pids: &[u32], pattern: Option<&str>| {
        Processes::new(Some(ProcessFilter {
            process_names: list(names),
            pids: pids.to_vec(),
            executable_pattern: pattern.map(str::to_owned),
        }))
        .unwrap()
    };
    assert!(filter(&["a", "sh"], &[], None).allow(1, "sh", None));
    assert!(!filter(&["a"], &[], None).allow(1, "sh", None));
    assert!(filter(&["systemd-journald"], &[], None).allow(1, "systemd-journal", None));
    assert!(!filter(&["shell"], &[], None).allow(1, "sh", None));
    assert!(filter(&[], &[1, 2], None).allow(2, "sh", None));
    assert!(!filter(&["sh"], &[1, 2], None).allow(3, "sh", None));
    let cases = [
        ("/usr/bin/*", true),
        ("/usr/*", false),
        ("/usr/**", true),
        ("py*3", true),
        ("bin", false),
        ("*", true),
    ];
    for (pattern, allowed) in cases {
        let allow = filter(&[], &[], Some(pattern)).allow(1, "python3", Some("/usr/bin/python3"));
        assert_eq!(allow, allowed, "{pattern}");
    }
    assert!(!filter(&[], &[], Some("*")).allow(1, "kthread", None));
}

#[test]
fn connections_are_compared_by_each_list() {
    let event = NetworkEvent {
        source_addr: "10.0.0.1:4000".to_owned(),
        dest_addr: "[2001:db8::1]:443".to_owned(),
        protocol: "TCP".to_owned(),
        state: "ESTABLISHED".to_owned(),
        ..NetworkEvent::default()
    };
    type Set = fn(&mut NetworkFilter) -> &mut Vec<String>;
    let cases: [(Set, &str, bool); 11] = [
        (|filter| &mut filter.protocols, "tcp", true),
        (|filter| &mut filter.protocols, "udp", false),
        (|filter| &mut filter.connection_states, "established", true),
        (|filter| &mut filter.connection_states, "closed", false),
        (|filter| &mut filter.source_addresses, "10.0.0.1", true),
        (|filter| &mut filter.source_addresses, "10.0.0.1:4000", true),
        (|filter| &mut filter.source_addresses, "10.0.0.1:4001", false),
        (|filter| &mut filter.source_addresses, "10.0.0", false),
        (|filter| &mut filter.destination_addresses, "2001:db8::1", true),
        (|filter| &mut filter.destination_addresses, "[2001:db8::1]:443", true),
        (|filter| &mut filter.destination_addresses, "10.0.0.1", false),
    ];
    for (set, value, allowed) in cases {
        let mut filter = NetworkFilter::default();
        set(&mut filter).push(value.to_owned());
        assert_eq!(Network::new(Some(filter)).unwrap().allow(&event), allowed, "{value}");
    }
    assert!(is_address("2001:db8::1", "2001:db8::1") && !is_address("2001:db8::1", "2001:db8:"));
}

#[test]
fn file_operations_are_compared_by_each_list() {
    let event = FilesystemEvent {
        path: "/tmp/a/x.so".to_owned(),
        operation: "open".to_owned(),
        ..Default::default()
    };
    let allow = |paths: &[&str], operations: &[&str], extensions: &[&str]| {
        let filter = FilesystemFilter {
            path_patterns: list(paths),
            operation_types: list(operations),
            file_extensions: list(extensions),
        };
        Filesystem::new(Some(filter)).unwrap().allow(&event)
    };
    assert!(allow(&["/etc/*", "/tmp/**"], &["OPEN"], &["so"]));
    assert!(allow(&["*.so"], &[], &[".so"]));
    assert!(!allow(&["/tmp/*"], &[], &[]));
    assert!(!allow(&["/tmp/**"], &["unlink"], &[]));
    assert!(!allow(&["/tmp/**"], &[], &["s", "x"]));
}

#[test]
fn a_threshold_holds_for_its_metric_alone() {
    let event = |metric: &str, value| PerformanceEvent {
        metric_name: metric.to_owned(),
        value,
        component: "core".to_owned(),
        ..Default::default()
    };
    let filter = PerformanceFilter {
        min_thresholds: [("cpu".to_owned(), 2.0)].into(),
        max_thresholds: [("cpu".to_owned(), 3.0)].into(),
        ..PerformanceFilter::default()
    };
    let filter = Performance::new(Some(filter)).unwrap();
    let allowed = [1.9, 2.0, 3.0, 3.1].map(|value| filter.allow(&event("cpu", value)));
    assert_eq!(allowed, [false, true, true, false]);
    assert!(filter.allow(&event("rss", 100.0)));
    assert!(!filter.allow(&event("cpu", f64::NAN)));
    let named = PerformanceFilter {
        metric_names: list(&["cpu"]),
        components: list(&["core"]),
        ..PerformanceFilter::default()
    };
    let named = Performance::new(Some(named)).unwrap();
    assert!(named.allow(&event("cpu", 0.0)) && !named.allow(&event("rss", 0.0)));
    assert!(!named.allow(&PerformanceEvent { component: "other".to_owned(), ..event("cpu", 0.0) }));
}

#[test]
fn each_list_has_a_bound() {
    let many = |count: usize| vec![String::new(); count];
    let names =
        |count| Processes::new(Some(ProcessFilter { process_names: many(count), ..Default::default() }));
    assert!(names(VALUES_MAX).is_ok());
    assert_eq!(
        names(VALUES_MAX + 1).unwrap_err().to_string(),
        "process_names has 1025 values, at most 1024 are compared"
    );
    let globs =
        |count| Filesystem::new(Some(FilesystemFilter { path_patterns: many(count), ..Default::default() }));
    assert!(globs(GLOBS_MAX).is_ok() && globs(GLOBS_MAX + 1).is_err());
    let long =
        ProcessFilter { executable_pattern: Some("x".repeat(GLOB_BYTES_MAX + 1)), ..Default::default() };
    assert!(matches!(Processes::new(Some(long)), Err(FilterError::LongGlob(_))));
    let wrong = ProcessFilter { executable_pattern: Some("[a".to_owned()), ..Default::default() };
    assert!(Processes::new(Some(wrong)).unwrap_err().to_string().starts_with("\"[a\" is no glob: unclosed"));
}

proptest! {
    #[test]
    fn no_glob_and_no_path_make_a_filter_panic(pattern in any::<String>(), path in any::<String>()) {
        if let Ok(globs) = Globs::new([&pattern].into_iter()) {
            globs.allow(&path);
        }
        is_address(&path, &pattern);
    }
}
