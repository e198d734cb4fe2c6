//! A stream that holds, and one change for each rule that a stream can break.

use serde_json::{Value, json};

/// A change to a good stream that breaks one rule, and a piece of the fault that must be named.
pub(crate) struct Breach {
    pub(crate) name: &'static str,
    pub(crate) fault: &'static str,
    pub(crate) change: fn(&mut Vec<String>),
}

const BOOT: &str = "0a1b2c3d-0000-4000-8000-000000000000";

fn event(kind: &str, cpu: u32, seq: u64, pid: u32, body: Value) -> Value {
    let via = format!("raw_tp:sched_process_{kind}");
    let mut event = json!({
        "event": kind, "time": "2024-05-06T07:08:09.123456789Z", "ktime_ns": 1_000_000 + seq, "boot_id": BOOT,
        "cpu": cpu, "class": "process", "stream": "task", "seq": seq, "source": "process", "via": via,
        "process": {
            "pid": pid, "tid": pid, "ppid": 1, "start_ns": 900_000, "key": format!("{BOOT}:{pid}:900000"),
            "name": "true", "user": {"ruid": 0, "euid": 0, "rgid": 0, "egid": 0}, "cap_effective": "1ffffffffff",
            "ns": {"pid": 4_026_531_836_u64, "mnt": 4_026_531_841_u64, "net": 4_026_531_840_u64,
                "user": 4_026_531_837_u64},
            "ns_pid": pid, "cgroup_id": 1
        }
    });
    event[kind] = body;
    event
}

fn exec(cpu: u32, seq: u64, pid: u32) -> Value {
    let body = json!({
        "filename": "/bin/true", "path": "/usr/bin/true", "dev": "254:0", "ino": 77, "argv": ["true", ""], "cwd": "/",
        "fileless": false
    });
    event("exec", cpu, seq, pid, body)
}

/// Adds what is derived of a process.
fn named(mut event: Value) -> Value {
    let process = &mut event["process"];
    process["user"]["ruid_name"] = json!("root");
    process["user"]["euid_name"] = json!("root");
    process["cgroup"] = json!("/docker/3f4a1c0d9be27856aa00112233445566778899aabbccddeeff00112233445566");
    process["container_id"] = json!("3f4a1c0d9be27856aa00112233445566778899aabbccddeeff00112233445566");
    process["container_runtime"] = json!("docker");
    process["ancestors"] = json!([
        {"pid": 9, "start_ns": 800_000, "name": "sh", "exe": "/bin/sh"}, {"pid": 1, "name": "\u{fffd}", "name_b64": "/w=="}
    ]);
    event["derived"] = json!(["process.user.ruid_name", "process.cgroup", "process.ancestors"]);
    event
}

/// A good stream: 0 coverage, 1 exec, 2 exit, 3 exec with exact twins and gaps, 4 loss, 5 exit by signal, 6 skipped
/// runs, 7 fork, 8 summary.
pub(crate) fn good() -> Vec<String> {
    let mut hostile = exec(1, 0, 12);
    hostile["exec"]["argv"] = json!(["a\u{1b}[31m\n", "\u{fffd}(", ""]);
    hostile["exec"]["argv_b64"] = json!(["YRtbMzFtCg==", "wyg=", ""]);
    hostile["truncated"] = json!({"exec.argv": 40_960});
    hostile["missing"] = json!({"exec.cwd": "fault"});
    hostile["exec"].as_object_mut().unwrap().remove("cwd");
    let hooks: Vec<Value> = ["exec", "exit", "fork"]
        .map(|kind| json!({"via": format!("raw_tp:sched_process_{kind}"), "rung": "raw_tp", "readers": "direct"}))
        .to_vec();
    let lines = [
        json!({"event": "coverage", "kernel": "6.18.0", "classes": {"process": {"hooks": hooks, "blind": []}}}),
        exec(0, 0, 11),
        named(event("exit", 0, 1, 11, json!({"code": 3, "duration_ns": 5000}))),
        hostile,
        json!({"event": "loss", "class": "process", "stream": "task", "cpu": 0, "first_seq": 2, "last_seq": 4,
            "count": 3, "t_first": "2024-05-06T07:08:09.123456789Z", "t_last": "2024-05-06T07:08:10.000000000Z",
            "reason": "ring_full"}),
        event("exit", 0, 5, 12, json!({"signal": 11, "core_dumped": false, "duration_ns": 5000})),
        json!({"event": "loss", "class": "process", "reason": "missed", "count": 2,
            "t_first": "2024-05-06T07:08:09.000000000Z", "t_last": "2024-05-06T07:08:10.000000000Z"}),
        event("fork", 1, 3, 13, json!({"child_pid": 14, "child_tid": 14, "thread": false})),
        json!({"event": "summary", "classes": {"process": {"generated": 10, "delivered": 5, "filtered": 0,
            "internal": 2, "merged": 0, "pending": 0, "missed": 2, "dropped": {"ring_full": 3}}}}),
    ];
    lines.iter().map(|line| escaped(&line.to_string())).collect()
}

/// JSON leaves DEL, C1 and bidirectional characters as they are; the format does not.
fn escaped(line: &str) -> String {
    line.chars()
        .map(|c| if c > '~' && c != '\u{fffd}' { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() })
        .collect()
}

/// Takes the numbering out of a loss; its count stays.
pub(crate) fn without_numbers(loss: &mut Value) {
    for key in ["stream", "cpu", "first_seq", "last_seq"] {
        remove(loss, key);
    }
}

pub(crate) fn with(lines: &mut [String], at: usize, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_str(&lines[at]).unwrap();
    change(&mut value);
    lines[at] = value.to_string();
}

fn remove(value: &mut Value, key: &str) {
    value.as_object_mut().unwrap().remove(key).unwrap();
}

macro_rules! breach {
    ($name:literal, $fault:literal, $change:expr) => {
        Breach { name: $name, fault: $fault, change: $change }
    };
}

pub(crate) const BREACHES: &[Breach] = &[
    // The order of the stream.
    breach!("an event before coverage", "the first line is not coverage", |l| l.swap(0, 1)),
    breach!("no coverage", "the first line is not coverage", |l| drop(l.remove(0))),
    breach!("coverage twice", "coverage stands twice", |l| l.insert(1, l[0].clone())),
    breach!("no summary", "is the summary", |l| drop(l.pop())),
    breach!("an event after the summary", "is the summary", |l| l.swap(7, 8)),
    breach!("two summaries", "is the summary", |l| l.push(l[8].clone())),
    breach!("an empty line", "not JSON", |l| l.insert(1, String::new())),
    // Lines.
    breach!("half a line", "not JSON", |l| l[1].truncate(100)),
    breach!("an unknown event", "unknown event", |l| with(l, 1, |e| e["event"] = json!("execute"))),
    breach!("a raw C1 character", "unescaped control", |l| l[1] = l[1].replace("usr", "u\u{9b}r")),
    breach!("a raw DEL", "unescaped control", |l| l[1] = l[1].replace("usr", "u\u{7f}r")),
    breach!("a raw line separator", "unescaped control", |l| l[1] = l[1].replace("usr", "u\u{2028}r")),
    breach!("a raw override", "unescaped control", |l| l[1] = l[1].replace("usr", "u\u{202e}r")),
    breach!("a raw isolate", "unescaped control", |l| l[1] = l[1].replace("usr", "u\u{2066}r")),
    breach!("a raw direction mark", "unescaped control", |l| l[1] = l[1].replace("usr", "u\u{200f}r")),
    breach!("a tab between keys", "unescaped control", |l| l[1] = l[1].replacen(',', ",\t", 1)),
    // Keys and types.
    breach!("an unknown key", "unknown key \"extra\"", |l| with(l, 1, |e| e["extra"] = json!(1))),
    breach!("an unknown process key", "unknown key \"uid\"", |l| with(l, 1, |e| e["process"]["uid"] =
        json!(1))),
    breach!("an unknown body key", "unknown key \"args\"", |l| with(l, 1, |e| e["exec"]["args"] = json!([]))),
    breach!("no body", "exec without its body", |l| with(l, 1, |e| remove(e, "exec"))),
    breach!("another event's body", "without its body", |l| with(l, 1, |e| {
        e["exit"] = e["exec"].take();
        remove(e, "exec");
    })),
    breach!("no seq", "seq is not there", |l| with(l, 1, |e| remove(e, "seq"))),
    breach!("a negative number", "ktime_ns is -1", |l| with(l, 1, |e| e["ktime_ns"] = json!(-1))),
    breach!("a number over 64 bits", "ktime_ns is", |l| l[1] =
        l[1].replace("1000000", "99999999999999999999")),
    breach!("a fraction", "cpu is 0.5", |l| with(l, 1, |e| e["cpu"] = json!(0.5))),
    breach!("a bool for a number", "cpu is true", |l| with(l, 1, |e| e["cpu"] = json!(true))),
    breach!("a number for text", "exec.path is 7", |l| with(l, 1, |e| e["exec"]["path"] = json!(7))),
    breach!("argv joined", "exec.argv is", |l| with(l, 1, |e| e["exec"]["argv"] = json!("true "))),
    breach!("a null argument", "exec.argv is", |l| with(l, 1, |e| e["exec"]["argv"] = json!(["true", null]))),
    breach!("a device number", "exec.dev is", |l| with(l, 1, |e| e["exec"]["dev"] = json!("fe00"))),
    breach!("capabilities as a number", "cap_effective is", |l| with(l, 1, |e| {
        e["process"]["cap_effective"] = json!(0);
    })),
    breach!("a time without nanoseconds", "time is", |l| with(l, 1, |e| e["time"] =
        json!("2024-05-06T07:08:09Z"))),
    breach!("a 13th month", "time is", |l| with(l, 1, |e| e["time"] =
        json!("2024-13-06T07:08:09.123456789Z"))),
    breach!("an unknown ABI", "abi is", |l| with(l, 1, |e| e["abi"] = json!("i386"))),
    breach!("the wrong class", "class \"file\"", |l| with(l, 1, |e| e["class"] = json!("file"))),
    breach!("via without a rung", "names no hook", |l| with(l, 1, |e| e["via"] =
        json!("sched_process_exec"))),
    breach!("a hook that coverage does not name", "names no hook", |l| with(l, 1, |e| e["via"] =
        json!("tp:x"))),
    breach!("another boot", "boot_id was", |l| with(l, 2, |e| e["boot_id"] = json!("another"))),
    // Values that are not there, or not whole.
    breach!("a value gone without a word", "exec.ino is not there", |l| with(l, 1, |e| remove(
        &mut e["exec"],
        "ino"
    ))),
    breach!("a user gone without a word", "process.user is not there", |l| with(l, 1, |e| {
        remove(&mut e["process"], "user");
    })),
    breach!("a missing value that is there", "named as missing", |l| with(l, 1, |e| {
        e["missing"] = json!({"exec.path": "fault"});
    })),
    breach!("missing without a reason", "the reason is", |l| with(l, 3, |e| e["missing"]["exec.cwd"] =
        json!(""))),
    breach!("shortened to more than it was", "but the original had 4", |l| with(l, 1, |e| {
        e["truncated"] = json!({"exec.path": 4});
    })),
    breach!("shortened, but not there", "no such value", |l| with(l, 1, |e| e["truncated"] =
        json!({"exec.x": 4}))),
    // Ancestors.
    breach!("an ancestor without a pid", "process.ancestors.1.pid is not there", |l| with(l, 2, |e| {
        remove(&mut e["process"]["ancestors"][1], "pid");
    })),
    breach!("no ancestors at all", "process.ancestors is []", |l| with(l, 2, |e| {
        e["process"]["ancestors"] = json!([]);
    })),
    breach!("an unknown runtime", "process.container_runtime is \"rocket\"", |l| with(l, 2, |e| {
        e["process"]["container_runtime"] = json!("rocket");
    })),
    // Exact twins.
    breach!("a twin of another text", "its twin decodes to", |l| with(l, 3, |e| {
        e["exec"]["argv_b64"][1] = json!("wyk=");
    })),
    breach!("a twin that is not base64", "is not base64", |l| with(l, 3, |e| e["exec"]["argv_b64"][1] =
        json!("w"))),
    breach!("a twin with fewer arguments", "its twin 2", |l| with(l, 3, |e| {
        drop(e["exec"]["argv_b64"].as_array_mut().unwrap().pop());
    })),
    breach!("a twin of valid text", "valid UTF-8", |l| with(l, 1, |e| e["exec"]["path_b64"] =
        json!("L3Vzci9iaW4vdHJ1ZQ=="))),
    breach!("a twin alone", "stands without exec.cwd", |l| with(l, 3, |e| e["exec"]["cwd_b64"] =
        json!("wyg="))),
    breach!("a twin of a number", "unknown key \"ino_b64\"", |l| with(l, 1, |e| e["exec"]["ino_b64"] =
        json!("wyg="))),
    // Ends.
    breach!("code and signal", "exactly one of code and signal", |l| with(l, 2, |e| {
        e["exit"]["signal"] = json!(9);
        e["exit"]["core_dumped"] = json!(false);
    })),
    breach!("neither code nor signal", "exactly one of code and signal", |l| with(l, 2, |e| {
        remove(&mut e["exit"], "code");
    })),
    breach!("a signal without word of a dump", "core_dumped is not there", |l| with(l, 5, |e| {
        remove(&mut e["exit"], "core_dumped");
    })),
    breach!("a code over 255", "over 255", |l| with(l, 2, |e| e["exit"]["code"] = json!(768))),
    breach!("one process ends twice", "ends twice", |l| with(l, 5, |e| {
        let first = json!({"pid": 11, "start_ns": 900_000, "key": format!("{BOOT}:11:900000")});
        for (key, value) in first.as_object().unwrap() {
            e["process"][key] = value.clone();
        }
    })),
    breach!("one key for two processes", "stands for", |l| with(l, 5, |e| {
        e["process"]["key"] = json!(format!("{BOOT}:11:900000"));
    })),
    // Numbers and sums.
    breach!("a doubled number", "stand twice", |l| with(l, 2, |e| e["seq"] = json!(0))),
    breach!("a number told as lost and delivered", "stand twice", |l| with(l, 5, |e| e["seq"] = json!(4))),
    breach!("numbers out of order", "number 0 follows 1", |l| l.swap(1, 2)),
    breach!("a hole that nobody tells", "neither in the stream nor told", |l| with(l, 5, |e| e["seq"] =
        json!(6))),
    breach!("numbers that begin late", "neither in the stream nor told", |l| with(l, 3, |e| {
        e["seq"] = json!(3);
    })),
    breach!("a count that is not the gap", "count 2, but numbers 2 to 4", |l| with(l, 4, |e| e["count"] =
        json!(2))),
    breach!("a loss with half of its numbering", "numbers without first_seq, last_seq", |l| with(
        l,
        4,
        |e| {
            remove(e, "first_seq");
            remove(e, "last_seq");
        }
    )),
    breach!("a loss with nothing but a stream", "numbers without cpu, first_seq", |l| with(l, 4, |e| {
        without_numbers(e);
        e["stream"] = json!("task");
    })),
    breach!("a count without numbers that the summary has not", "but losses told: 4", |l| with(l, 4, |e| {
        without_numbers(e);
        e["count"] = json!(4);
    })),
    breach!("more holes than were lost without numbers", "neither in the stream nor told", |l| {
        with(l, 4, without_numbers);
        with(l, 5, |e| e["seq"] = json!(6));
    }),
    breach!("skipped runs with a stream", "unknown key \"stream\"", |l| with(l, 6, |e| e["stream"] =
        json!("task"))),
    breach!("a loss without a class", "class is not there", |l| with(l, 4, |e| remove(e, "class"))),
    breach!("a loss without a count", "count is not there", |l| with(l, 4, |e| remove(e, "count"))),
    breach!("a loss without a reason", "exactly one of reason and reasons", |l| with(l, 4, |e| remove(
        e, "reason"
    ))),
    breach!("reasons that do not sum", "the reasons give 2", |l| with(l, 4, |e| {
        remove(e, "reason");
        e["reasons"] = json!({"ring_full": 1, "malformed": 1});
    })),
    breach!("a loss that ends before it begins", "t_first is later", |l| with(l, 4, |e| {
        e["t_last"] = json!("2024-05-06T07:08:09.000000000Z");
    })),
    breach!("a loss nobody told", "but losses told: 0", |l| drop(l.remove(4))),
    breach!("skipped runs nobody told", "skipped runs told: 0", |l| drop(l.remove(6))),
    breach!("a summary that does not add up", "its parts give 10", |l| with(l, 8, |e| {
        e["classes"]["process"]["generated"] = json!(11);
    })),
    breach!("delivered, but not in the stream", "events stand in the stream: 5", |l| with(l, 8, |e| {
        e["classes"]["process"]["delivered"] = json!(6);
        e["classes"]["process"]["internal"] = json!(1);
    })),
    breach!("a summary without a counter", "merged is not there", |l| with(l, 8, |e| {
        remove(&mut e["classes"]["process"], "merged");
    })),
    breach!("a summary without the class", "no part in the summary", |l| with(l, 8, |e| {
        e["classes"] = json!({});
    })),
    breach!("coverage without classes", "no classes", |l| with(l, 0, |e| remove(e, "classes"))),
    breach!("coverage of an unknown class", "class \"disk\"", |l| with(l, 0, |e| e["classes"]["disk"] =
        json!({}))),
    breach!("a hook without its rung", "rung is not there", |l| with(l, 0, |e| {
        remove(&mut e["classes"]["process"]["hooks"][0], "rung");
    })),
];
