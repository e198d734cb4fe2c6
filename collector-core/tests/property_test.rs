//! Properties that hold for any event and any bytes.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

#[path = "property/events.rs"]
mod events;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use collector_core::escape::{Escaped, is_unsafe_to_show, unescape};
use collector_core::event::{Exec, KernelBody, ProcessIdentity, Script, Text};
use collector_core::{
    BATCH_SIZE_MAX, ByteSize, CollectionEvent, CollectorConfig, ConfigLayers, DURATION_MAX, EVENT_BUFFER_MAX,
    EVENT_SOURCES_MAX, JsonEncoder, KernelEvent, SourceCaps,
};
use events::{any_bytes, any_event, exit_event};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Events that carry random bytes; each carries eight texts, so that more than 100,000 strings are tried.
const HOSTILE_EVENTS: u32 = 16_000;
const TEXTS_PER_EVENT: usize = 8;

fn encoded(event: &CollectionEvent) -> String {
    let mut out = Vec::new();
    JsonEncoder::new().encode(event, &mut out);
    let line = String::from_utf8(out).expect("a line is UTF-8");
    let line = line.strip_suffix('\n').expect("a line ends").to_owned();
    assert!(!line.chars().any(is_unsafe_to_show), "not safe to show: {line:?}");
    line
}

/// The exact bytes that the member `name` stands for.
fn exact(object: &Value, name: &str) -> Vec<u8> {
    match object.get(format!("{name}_b64")) {
        Some(base64) => STANDARD.decode(base64.as_str().unwrap()).unwrap(),
        None => object[name].as_str().unwrap().as_bytes().to_vec(),
    }
}

fn exact_args(body: &Value) -> Vec<Vec<u8>> {
    let list =
        |name| body.get(name).map(|list| list.as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()));
    match list("argv_b64") {
        Some(args) => args.map(|arg| STANDARD.decode(arg).unwrap()).collect(),
        None => list("argv").unwrap().map(|arg| arg.as_bytes().to_vec()).collect(),
    }
}

fn hostile_event(texts: &[Vec<u8>; TEXTS_PER_EVENT]) -> (CollectionEvent, Vec<Vec<u8>>) {
    let text = |index: usize| Text::from(&texts[index][..]);
    let without_nul =
        |index: usize| texts[index].iter().copied().filter(|&byte| byte != 0).collect::<Vec<_>>();
    let args = vec![without_nul(6), Vec::new(), without_nul(7)];
    let argv: Vec<u8> = args.iter().flat_map(|arg| arg.iter().copied().chain([0])).collect();
    let mut event: KernelEvent = exit_event();
    event.process.name = text(0);
    event.identity =
        Some(Arc::new(ProcessIdentity { parent_name: Some(text(1)), ..ProcessIdentity::default() }));
    event.body = KernelBody::Exec(Exec {
        filename: Some(text(2)),
        path: Some(text(3)),
        script: Some(Script { path: Some(text(4)), ..Script::default() }),
        cwd: Some(text(5)),
        argv: Some(Text::from(&argv[..])),
        ..Exec::default()
    });
    (CollectionEvent::Kernel(Box::new(event)), args)
}

#[test]
fn any_bytes_come_back_exactly_from_a_line_that_is_safe_to_show() {
    let mut runner = TestRunner::new(Config { cases: HOSTILE_EVENTS, ..Config::default() });
    let texts = proptest::array::uniform8(any_bytes());
    let result = runner.run(&texts, |texts| {
        let (event, args) = hostile_event(&texts);
        let line: Value = serde_json::from_str(&encoded(&event)).unwrap();
        let (process, exec) = (&line["process"], &line["exec"]);
        let found = [
            exact(process, "name"),
            exact(process, "parent_name"),
            exact(exec, "filename"),
            exact(exec, "path"),
            exact(&exec["script"], "path"),
            exact(exec, "cwd"),
        ];
        prop_assert_eq!(&found[..], &texts[..6]);
        prop_assert_eq!(exact(process, "exe"), &texts[3][..]);
        prop_assert_eq!(exact_args(exec), args);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn any_bytes_come_back_exactly_from_text_that_is_safe_on_a_terminal() {
    let mut runner = TestRunner::new(Config { cases: 100_000, ..Config::default() });
    let result = runner.run(&any_bytes(), |bytes| {
        let shown = Escaped(&bytes).to_string();
        prop_assert!(!shown.chars().any(is_unsafe_to_show), "{:?}", shown);
        prop_assert_eq!(unescape(&shown).unwrap(), bytes);
        Ok(())
    });
    result.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_event_comes_back_from_serde_as_it_was(event in any_event()) {
        let text = serde_json::to_string(&event).unwrap();
        prop_assert_eq!(serde_json::from_str::<CollectionEvent>(&text).unwrap(), event);
    }

    #[test]
    fn every_event_is_one_json_object_named_after_it(event in any_event()) {
        let line: Value = serde_json::from_str(&encoded(&event)).unwrap();
        prop_assert_eq!(&line["event"], event.event_type());
        if let CollectionEvent::Kernel(kernel) = &event {
            prop_assert!(line[event.event_type()].is_object(), "the body's key is the event's name");
            prop_assert_eq!(&line["process"]["key"], &kernel.process_key());
        }
    }

    #[test]
    fn no_text_makes_unescape_panic(text in any::<String>()) {
        let _ = unescape(&text);
    }

    #[test]
    fn capabilities_form_a_set(a in any::<u32>(), b in any::<u32>()) {
        let (a, b) = (SourceCaps::from_bits_truncate(a), SourceCaps::from_bits_truncate(b));
        prop_assert!((a | b).contains(a) && (a | b).contains(b));
        prop_assert_eq!((a | b) - b, a - b);
        prop_assert_eq!(a.contains(b), a & b == b);
        let text = serde_json::to_string(&a).unwrap();
        prop_assert_eq!(serde_json::from_str::<SourceCaps>(&text).unwrap(), a);
    }
}

fn any_time() -> impl Strategy<Value = Duration> {
    (prop_oneof![0_u64..100_000, any::<u64>()], 0_u32..1_000_000_000)
        .prop_map(|(secs, nanos)| Duration::new(secs, nanos))
}

/// A count at one of its bounds, or beyond it once in a while.
fn near(max: usize) -> impl Strategy<Value = usize> {
    prop_oneof![60 => 1..=max, 30 => Just(max), 30 => Just(1_usize), 4 => Just(max + 1), 4 => Just(0_usize)]
}

fn time_near_a_bound() -> impl Strategy<Value = Duration> {
    let nano = Duration::from_nanos(1);
    prop_oneof![
        60 => (0_u64..86_400_000_000_000).prop_map(Duration::from_nanos),
        30 => Just(DURATION_MAX),
        30 => Just(nano),
        4 => Just(DURATION_MAX + nano),
        4 => Just(Duration::ZERO),
        1 => any_time(),
    ]
}

fn any_config() -> impl Strategy<Value = CollectorConfig> {
    let sizes = (near(EVENT_SOURCES_MAX), near(EVENT_BUFFER_MAX), near(BATCH_SIZE_MAX));
    // Most thresholds are within the buffer, whatever its size.
    let counts = sizes.prop_flat_map(|(sources, buffer, batch)| {
        (Just(sources), Just(buffer), Just(batch), near(buffer.max(1)))
    });
    let name = prop_oneof![20 => any::<String>(), 1 => Just(String::new())];
    (counts, proptest::array::uniform6(time_near_a_bound()), any::<bool>(), any::<bool>(), name).prop_map(
        |(counts, times, debug, telemetry, name)| CollectorConfig {
            max_event_sources: counts.0,
            event_buffer_size: counts.1,
            shutdown_timeout: times[0],
            health_check_interval: times[1],
            startup_timeout: times[2],
            enable_debug_logging: debug,
            max_batch_size: counts.2,
            batch_timeout: times[3],
            backpressure_threshold: counts.3,
            max_backpressure_wait: times[4],
            enable_telemetry: telemetry,
            telemetry_interval: times[5],
            component_name: name,
        },
    )
}

/// The fields that are out of their bounds.
fn out_of_bounds(config: &CollectorConfig) -> Vec<&'static str> {
    let is_time = |time: Duration, least: Duration| (least..=DURATION_MAX).contains(&time);
    let (nano, zero) = (Duration::from_nanos(1), Duration::ZERO);
    // 800 is nobody's wish, and follows the buffer.
    let threshold = config.backpressure_threshold;
    let checks = [
        ("max_event_sources", (1..=EVENT_SOURCES_MAX).contains(&config.max_event_sources)),
        ("event_buffer_size", (1..=EVENT_BUFFER_MAX).contains(&config.event_buffer_size)),
        ("max_batch_size", (1..=BATCH_SIZE_MAX).contains(&config.max_batch_size)),
        ("backpressure_threshold", threshold == 800 || (1..=config.event_buffer_size).contains(&threshold)),
        ("shutdown_timeout", is_time(config.shutdown_timeout, nano)),
        ("health_check_interval", is_time(config.health_check_interval, nano)),
        ("startup_timeout", is_time(config.startup_timeout, nano)),
        ("batch_timeout", is_time(config.batch_timeout, zero)),
        ("max_backpressure_wait", is_time(config.max_backpressure_wait, zero)),
        ("telemetry_interval", is_time(config.telemetry_interval, nano)),
        ("component_name", !config.component_name.is_empty()),
    ];
    checks.into_iter().filter(|(_, is_within)| !is_within).map(|(field, _)| field).collect()
}

#[test]
fn a_configuration_is_valid_within_its_bounds_and_otherwise_refused_with_a_field_that_is_not() {
    let mut runner = TestRunner::new(Config { cases: 1_500, ..Config::default() });
    let seen = std::cell::Cell::new([0_u32; 2]);
    let result = runner.run(&any_config(), |config| {
        let wrong = out_of_bounds(&config);
        let mut counts = seen.get();
        match config.validate() {
            Ok(()) => prop_assert_eq!(&wrong, &Vec::<&str>::new()),
            Err(error) => prop_assert!(wrong.contains(&error.field), "{}, not {:?}", error, wrong),
        }
        counts[usize::from(wrong.is_empty())] += 1;
        seen.set(counts);
        Ok(())
    });
    result.unwrap();
    assert!(seen.get().into_iter().all(|count| count > 150), "refused and valid: {:?}", seen.get());
}

/// Names that reach a field, with values that fit one and others.
#[test]
fn no_environment_makes_the_layers_panic() {
    let name = prop_oneof![
        "[A-Z_]{0,24}",
        "COLLECTOR__[A-Z_]{0,24}",
        "COLLECTOR__(BATCH_TIMEOUT|MAX_BATCH_SIZE|COMPONENT_NAME|ENABLE_TELEMETRY)",
        "COLLECTOR__BATCH_TIMEOUT(__[A-Z]{0,3})?",
    ];
    let value = prop_oneof![any::<String>(), "[0-9]{1,6}(ms|s|h)?", "true|false", "\\[|\\{|\"|'|="];
    let mut runner = TestRunner::new(Config { cases: 1_500, ..Config::default() });
    let seen = std::cell::Cell::new([0_u32; 3]);
    let result = runner.run(&(name, value), |(name, value)| {
        let layers = ConfigLayers::new("c").environment([(format!("C_{name}").into(), value.into())]);
        let mut counts = seen.get();
        match CollectorConfig::load(layers) {
            Ok(config) if config == CollectorConfig::new() => counts[0] += 1,
            Ok(_) => counts[1] += 1,
            Err(_) => counts[2] += 1,
        }
        seen.set(counts);
        Ok(())
    });
    result.unwrap();
    assert!(seen.get().into_iter().all(|count| count > 15), "ignored, taken, refused: {:?}", seen.get());
}

proptest! {
    #[test]
    fn a_configuration_comes_back_from_serde_as_it_was(config in any_config()) {
        let text = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(serde_json::from_str::<CollectorConfig>(&text).unwrap(), config);
    }

    #[test]
    fn a_duration_is_read_back_from_the_unit_it_is_written_with(millis in 0_u64..=86_400_000) {
        let layers = ConfigLayers::new("c").flag("collector.batch_timeout", format!("{millis}ms"));
        prop_assert_eq!(CollectorConfig::load(layers).unwrap().batch_timeout, Duration::from_millis(millis));
    }

    #[test]
    fn a_size_is_read_back_as_it_is_shown(bytes in any::<u64>()) {
        prop_assert_eq!(ByteSize(bytes).to_string().parse::<ByteSize>(), Ok(ByteSize(bytes)));
    }
}
