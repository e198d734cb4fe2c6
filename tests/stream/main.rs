//! The stream checker against streams that hold and streams that break one rule each.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "only tests are here; clippy does not see that of helpers")]

mod fixture;
mod other_checker;

use collector_tests::stream::{Ending, check};
use fixture::{BREACHES, good, with, without_numbers};
use serde_json::json;
use std::process::{Command, Stdio};

pub(crate) fn bytes(lines: &[String]) -> Vec<u8> {
    lines.iter().flat_map(|line| line.bytes().chain(*b"\n")).collect()
}

#[test]
fn a_good_stream_holds() {
    let report = check(&bytes(&good()), Ending::Summary);
    assert_eq!(report.faults, Vec::<String>::new());
    assert_eq!((report.events, report.lost), (5, 3));
}

#[test]
fn each_broken_rule_is_named() {
    for breach in BREACHES {
        let mut lines = good();
        (breach.change)(&mut lines);
        let report = check(&bytes(&lines), Ending::Summary);
        let named = report.faults.iter().any(|fault| fault.contains(breach.fault));
        assert!(named, "{}: expected {:?} among {:#?}", breach.name, breach.fault, report.faults);
    }
}

/// A fault that the collection tells of itself breaks no rule, and is counted.
#[test]
fn an_error_line_is_known_and_counted() {
    let error = |code: &str| {
        let mut lines = good();
        let error = json!({"event": "error", "time": "2024-05-06T07:08:09.123456789Z", "class": "process",
            "code": code, "message": "it did not come back"});
        lines.insert(5, error.to_string());
        check(&bytes(&lines), Ending::Summary)
    };
    let report = error("canary");
    assert_eq!((report.faults.len(), report.errors), (0, 1), "{report}");
    assert!(report.to_string().ends_with(", 1 errors told"), "{report}");
    assert!(error("boredom").faults[0].contains("code is \"boredom\""));
}

/// An open that came out well has its file, or says what of it is missing.
#[test]
fn an_opened_file_is_told_or_named_as_missing() {
    let opened = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut lines = good();
        with(&mut lines, 0, |coverage| {
            let hooks = json!([{"via": "tp:sys_exit_openat", "rung": "tp", "readers": "direct"}]);
            coverage["classes"]["file"] = json!({"hooks": hooks, "blind": []});
        });
        let mut open: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
        for (key, value) in
            [("event", "open"), ("class", "file"), ("via", "tp:sys_exit_openat"), ("stream", "openat")]
        {
            open[key] = json!(value);
        }
        open.as_object_mut().unwrap().remove("exec");
        open["open"] =
            json!({"path": "/x", "requested": "x", "flags": ["O_RDONLY"], "dev": "8:1", "ino": 7, "fd": 3});
        change(&mut open);
        lines.insert(8, open.to_string());
        with(&mut lines, 9, |summary| {
            summary["classes"]["file"] = json!({"generated": 1, "delivered": 1, "filtered": 0, "internal": 0,
                "merged": 0, "pending": 0, "missed": 0, "dropped": {}});
        });
        check(&bytes(&lines), Ending::Summary).faults
    };
    assert_eq!(opened(&|_| ()), Vec::<String>::new());
    for key in ["path", "dev", "ino"] {
        let without = |open: &mut serde_json::Value| drop(open["open"].as_object_mut().unwrap().remove(key));
        let faults = opened(&without);
        assert!(faults.len() == 1 && faults[0].contains(&format!("open.{key} is not there")), "{faults:?}");
        let said = opened(&|open| {
            without(open);
            open["missing"] = json!({format!("open.{key}"): "fault"});
        });
        assert_eq!(said, Vec::<String>::new(), "{key}");
    }
}

/// The good stream holds its loss with numbers; here the same loss stands as a mere count.
#[test]
fn a_loss_may_have_no_numbers_whatever_its_reason() {
    let reasons = [
        json!({"reason": "source_failed"}),
        json!({"reason": "stopped"}),
        json!({"reason": "no_sink"}),
        json!({"reasons": {"ring_full": 1, "no_sink": 2}}),
    ];
    for told in reasons {
        let mut lines = good();
        with(&mut lines, 4, |loss| {
            without_numbers(loss);
            let loss = loss.as_object_mut().unwrap();
            loss.remove("reason");
            loss.extend(told.as_object().unwrap().clone());
        });
        let report = check(&bytes(&lines), Ending::Summary);
        assert_eq!(report.faults, Vec::<String>::new(), "{told}");
        assert_eq!((report.events, report.lost), (5, 3), "{told}");
    }
}

/// Events that were lost before they had a number leave no hole.
#[test]
fn a_loss_without_numbers_needs_no_hole() {
    let mut lines = good();
    lines.insert(
        5,
        json!({"event": "loss", "class": "process", "count": 7, "reason": "source_failed",
            "t_first": "2024-05-06T07:08:09.000000000Z", "t_last": "2024-05-06T07:08:10.000000000Z"})
        .to_string(),
    );
    with(&mut lines, 9, |summary| {
        let books = &mut summary["classes"]["process"];
        books["generated"] = json!(17);
        books["dropped"]["source_failed"] = json!(7);
    });
    let report = check(&bytes(&lines), Ending::Summary);
    assert_eq!(report.faults, Vec::<String>::new());
    assert_eq!(report.lost, 10);
}

#[test]
fn bytes_that_are_not_utf8_are_a_fault() {
    let mut stream = bytes(&good());
    let at = stream.windows(3).position(|window| window == b"usr").unwrap();
    stream[at] = 0xff;
    assert!(check(&stream, Ending::Summary).faults[0].ends_with("not UTF-8"));
}

#[test]
fn a_last_line_without_its_end_is_a_fault() {
    let mut stream = bytes(&good());
    stream.pop();
    let report = check(&stream, Ending::Summary);
    assert_eq!(report.faults, ["line 9: the last line does not end"]);
}

#[test]
fn an_empty_stream_is_no_stream() {
    assert!(!check(b"", Ending::Summary).holds());
    assert!(!check(b"", Ending::Cut).holds());
}

#[test]
fn a_stream_that_its_reader_cut_needs_no_summary() {
    let stream = bytes(&good());
    for end in [3, 4, 6] {
        let whole: Vec<u8> = bytes(&good()[..end]);
        let piece = &stream[..whole.len() + 20];
        let report = check(piece, Ending::Cut);
        assert!(report.holds(), "{report}");
    }
}

#[test]
fn a_fault_is_printed_without_control_characters() {
    let mut lines = good();
    lines[1] = lines[1].replace("usr", "\u{9b}31m").replacen("\"seq\":0", "\"seq\":\"\u{202e}\"", 1);
    let printed = check(&bytes(&lines), Ending::Summary).to_string();
    assert!(
        printed.lines().flat_map(str::chars).all(|c| !collector_tests::stream::is_unsafe(c)),
        "{printed:?}"
    );
}

#[test]
fn the_command_exits_0_for_a_good_stream_and_1_for_a_broken_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stream");
    let run = |lines: &[String]| {
        std::fs::write(&file, bytes(lines)).unwrap();
        let checker =
            Command::new(env!("CARGO_BIN_EXE_check-stream")).arg(&file).stdin(Stdio::null()).output();
        checker.unwrap()
    };
    let good_run = run(&good());
    assert_eq!(
        (good_run.status.code(), &*good_run.stdout),
        (Some(0), &b"5 events, 3 told lost, 0 faults\n"[..])
    );
    assert_eq!(run(&good()[1..]).status.code(), Some(1));
}
