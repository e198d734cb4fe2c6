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

fn any_config() -> impl Strategy<Value = CollectorConfig> {
    let counts = proptest::array::uniform4(0_usize..2_000_000);
    (counts, proptest::array::uniform6(any_time()), any::<bool>(), any::<bool>(), any::<String>()).prop_map(
        |(counts, times, debug, telemetry, name)| CollectorConfig {
            max_event_sources: counts[0],
            event_buffer_size: counts[1],
            shutdown_timeout: times[0],
            health_check_interval: times[1],
            startup_timeout: times[2],
            enable_debug_logging: debug,
            max_batch_size: counts[2],
            batch_timeout: times[3],
            backpressure_threshold: counts[3],
            max_backpressure_wait: times[4],
            enable_telemetry: telemetry,
            telemetry_interval: times[5],
            component_name: name,
        },
    )
}

proptest! {
    #[test]
    fn a_configuration_comes_back_from_serde_as_it_was(config in any_config()) {
        let text = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(serde_json::from_str::<CollectorConfig>(&text).unwrap(), config);
    }

    #[test]
    fn a_configuration_out_of_bounds_is_refused_with_a_field_it_has(config in any_config()) {
        let fields = serde_json::to_value(&config).unwrap();
        let of_a_day = |time: Duration| time <= DURATION_MAX;
        let within = (1..=EVENT_SOURCES_MAX).contains(&config.max_event_sources)
            && (1..=EVENT_BUFFER_MAX).contains(&config.event_buffer_size)
            && (1..=BATCH_SIZE_MAX).contains(&config.max_batch_size)
            && [config.shutdown_timeout, config.health_check_interval, config.startup_timeout, config.batch_timeout]
                .into_iter().chain([config.max_backpressure_wait, config.telemetry_interval]).all(of_a_day);
        match config.validate() {
            Ok(()) => prop_assert!(within),
            Err(error) => prop_assert!(fields.get(error.field).is_some(), "{}", error),
        }
    }

    #[test]
    fn no_environment_makes_the_layers_panic(name in "[A-Z_]{0,24}", value in any::<String>()) {
        let name = format!("C_{name}");
        let layers = ConfigLayers::new("c").environment([(name.into(), value.into())]);
        let _ = CollectorConfig::load(layers);
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
