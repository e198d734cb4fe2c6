//! Holds an object against a table of keys.

use super::schema::{Field, Kind, Need};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

pub(super) type Object = Map<String, Value>;

/// What an event says about values that are not there, or not whole.
#[derive(Default)]
pub(super) struct Gaps {
    missing: Vec<String>,
}

impl Gaps {
    /// Reads and checks `missing` and `truncated`.
    pub(super) fn read(event: &Object, faults: &mut Vec<String>) -> Self {
        let mut gaps = Self::default();
        match event.get("missing") {
            None => {}
            Some(Value::Object(missing)) => {
                for (path, reason) in missing {
                    if reason.as_str().is_none_or(str::is_empty) {
                        faults.push(format!("missing {path}: the reason is {reason}"));
                    }
                    if at(event, path).is_some() {
                        faults.push(format!("{path} is there and named as missing"));
                    }
                    gaps.missing.push(path.clone());
                }
            }
            Some(other) => faults.push(format!("missing is {other}")),
        }
        match event.get("truncated") {
            None => {}
            Some(Value::Object(truncated)) => {
                for (path, original) in truncated {
                    check_truncated(event, path, original, faults);
                }
            }
            Some(other) => faults.push(format!("truncated is {other}")),
        }
        gaps
    }

    /// Whether the value at `path`, or an object that would hold it, is named as missing.
    pub(super) fn tells(&self, path: &str) -> bool {
        self.missing.iter().any(|missing| {
            path.strip_prefix(missing.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

fn check_truncated(event: &Object, path: &str, original: &Value, faults: &mut Vec<String>) {
    let Some(original) = original.as_u64() else {
        faults.push(format!("truncated {path}: the original length is {original}"));
        return;
    };
    let Some(value) = at(event, path) else {
        faults.push(format!("truncated {path}: no such value"));
        return;
    };
    let exact = at(event, &format!("{path}_b64"));
    let kept = match (value, exact) {
        (Value::Array(texts), exact) => {
            let texts = exact.and_then(Value::as_array).unwrap_or(texts);
            texts.iter().map(|text| byte_len(text, exact.is_some()) + 1).sum::<usize>().saturating_sub(1)
        }
        (_, Some(exact)) => byte_len(exact, true),
        (text, None) => byte_len(text, false),
    };
    if u64::try_from(kept).is_ok_and(|kept| kept > original) {
        faults.push(format!("truncated {path}: {kept} bytes are here, but the original had {original}"));
    }
}

fn byte_len(text: &Value, base64: bool) -> usize {
    let text = text.as_str().unwrap_or_default();
    if base64 { STANDARD.decode(text).map_or(0, |bytes| bytes.len()) } else { text.len() }
}

/// The value at a dotted path.
pub(super) fn at<'a>(object: &'a Object, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => object.get(path),
        Some((head, rest)) => at(object.get(head)?.as_object()?, rest),
    }
}

/// Holds `object` against `fields`: types, needed keys, twins, unknown keys. `more` names keys checked elsewhere.
pub(super) fn check_object(
    prefix: &str,
    object: &Object,
    fields: &[Field],
    more: &[&str],
    gaps: &Gaps,
    faults: &mut Vec<String>,
) {
    for field in fields {
        let path = if prefix.is_empty() { field.name.to_owned() } else { format!("{prefix}.{}", field.name) };
        let twin = object.get(&format!("{}_b64", field.name));
        let Some(value) = object.get(field.name) else {
            let excused = match field.need {
                Need::Always => false,
                Need::OrMissing => gaps.tells(&path),
                Need::IfAny => true,
            };
            if !excused {
                faults.push(format!("{path} is not there"));
            }
            if twin.is_some() {
                faults.push(format!("{path}_b64 stands without {path}"));
            }
            continue;
        };
        if let Kind::Object(inner) = field.kind {
            match value {
                Value::Object(value) => check_object(&path, value, inner, &[], gaps, faults),
                other => faults.push(format!("{path} is {other}")),
            }
        } else if let Kind::Objects(inner) = field.kind {
            check_list(&path, value, inner, gaps, faults);
        } else if !has_kind(value, field.kind) {
            faults.push(format!("{path} is {value}"));
        } else if let Some(twin) = twin {
            check_twin(&path, value, twin, faults);
        }
    }
    for key in object.keys() {
        let known = fields.iter().any(|field| {
            let twin = matches!(field.kind, Kind::Text | Kind::TextList)
                && key.strip_suffix("_b64").is_some_and(|name| name == field.name);
            twin || field.name == key
        });
        if !known && !more.contains(&key.as_str()) {
            faults.push(format!(
                "unknown key {key:?} in {}",
                if prefix.is_empty() { "the event" } else { prefix }
            ));
        }
    }
}

fn check_list(path: &str, value: &Value, inner: &[Field], gaps: &Gaps, faults: &mut Vec<String>) {
    let Some(list) = value.as_array().filter(|list| !list.is_empty()) else {
        faults.push(format!("{path} is {value}"));
        return;
    };
    for (index, element) in list.iter().enumerate() {
        let path = format!("{path}.{index}");
        match element {
            Value::Object(element) => check_object(&path, element, inner, &[], gaps, faults),
            other => faults.push(format!("{path} is {other}")),
        }
    }
}

fn has_kind(value: &Value, kind: Kind) -> bool {
    let text = value.as_str();
    match kind {
        Kind::Number => value.is_u64(),
        Kind::Bool => value.is_boolean(),
        Kind::Name => text.is_some_and(|text| !text.is_empty()),
        Kind::Text => text.is_some(),
        Kind::TextList => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
        Kind::Time => text.is_some_and(is_time),
        Kind::Device => text.and_then(|text| text.split_once(':')).is_some_and(|(major, minor)| {
            [major, minor].iter().all(|part| part.parse::<u32>().is_ok_and(|n| n.to_string() == **part))
        }),
        Kind::Hex => text.is_some_and(|text| {
            (1..=16).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        }),
        Kind::OneOf(names) => text.is_some_and(|text| names.contains(&text)),
        Kind::NameList => {
            value.as_array().is_some_and(|list| list.iter().all(|name| has_kind(name, Kind::Name)))
        }
        Kind::Counts => value.as_object().is_some_and(|counts| counts.values().all(Value::is_u64)),
        Kind::Object(_) => value.is_object(),
        Kind::Objects(_) => value.is_array(),
    }
}

/// `2024-02-29T23:59:59.123456789Z`; the calendar's finer rules are not checked.
fn is_time(text: &str) -> bool {
    const FORM: &[u8] = b"dddd-dd-ddTdd:dd:dd.dddddddddZ";
    let digits_fit = text.len() == FORM.len()
        && text
            .bytes()
            .zip(FORM)
            .all(|(byte, form)| if *form == b'd' { byte.is_ascii_digit() } else { byte == *form });
    let within = |from: usize, low: u8, high: u8| {
        text.get(from..from + 2)
            .and_then(|part| part.parse().ok())
            .is_some_and(|n: u8| (low..=high).contains(&n))
    };
    digits_fit
        && within(5, 1, 12)
        && within(8, 1, 31)
        && within(11, 0, 23)
        && within(14, 0, 59)
        && within(17, 0, 60)
}

fn check_twin(path: &str, text: &Value, twin: &Value, faults: &mut Vec<String>) {
    let (texts, twins): (&[Value], &[Value]) = match (text, twin) {
        (Value::Array(texts), Value::Array(twins)) => (texts, twins),
        (Value::String(_), Value::String(_)) => (std::slice::from_ref(text), std::slice::from_ref(twin)),
        _ => {
            faults.push(format!("{path}_b64 is {twin}"));
            return;
        }
    };
    if texts.len() != twins.len() {
        faults.push(format!("{path} has {} texts, its twin {}", texts.len(), twins.len()));
        return;
    }
    let mut needed = false;
    for (text, twin) in texts.iter().zip(twins) {
        let Some(exact) = twin.as_str().and_then(|twin| STANDARD.decode(twin).ok()) else {
            faults.push(format!("{path}_b64 is not base64: {twin}"));
            return;
        };
        let lossy = String::from_utf8_lossy(&exact);
        needed |= std::str::from_utf8(&exact).is_err();
        if text.as_str() != Some(&lossy) {
            faults.push(format!("{path} is {text}, but its twin decodes to {lossy:?}"));
        }
    }
    if !needed {
        faults.push(format!("{path}_b64 stands beside text that is valid UTF-8"));
    }
}
