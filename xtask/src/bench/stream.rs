//! A collector's output, counted while it is read: at 400,000 events a second a minute of it is 20 GB, which no file
//! should hold.

use super::load::{EXEC_MARK, FILE_PREFIX};
use anyhow::{Context, Result};
use memchr::memmem;
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};

/// Bytes read at once.
const BUFFER_BYTES: usize = 1 << 20;
/// Latencies of opens that are kept; a flood has more.
const LATENCIES_MAX: usize = 100_000;

/// What a stream held.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Lines about a file of the load.
    pub(super) of_load: u64,
    /// Lines that are opens, in the native format.
    pub(super) opens: u64,
    /// Execs that the bench made meanwhile.
    pub(super) execs: u64,
    /// By class: the sum of the losses told.
    pub(super) told_lost: BTreeMap<String, u64>,
    pub(super) summary: Option<Value>,
    /// From the hook to the line here, ms.
    pub(super) exec_ms: Vec<f64>,
    pub(super) open_ms: Vec<f64>,
}

/// Reads to the end.
pub(super) fn read(stream: impl Read) -> Result<Stream> {
    let mut stream = BufReader::with_capacity(BUFFER_BYTES, stream);
    let (of_load, of_exec) = (memmem::Finder::new(FILE_PREFIX), memmem::Finder::new(EXEC_MARK));
    let mut all = Stream::default();
    let mut line = Vec::new();
    while stream.read_until(b'\n', &mut line)? > 0 {
        let event = line.strip_prefix(br#"{"event":""#).map(|rest| rest.split(|byte| *byte == b'"').next());
        match event.flatten() {
            Some(b"open") => {
                all.opens += 1;
                if of_load.find(&line).is_some() {
                    all.of_load += 1;
                    if all.open_ms.len() < LATENCIES_MAX {
                        all.open_ms.extend(latency_ms(&line)?);
                    }
                }
            }
            Some(b"exec") if of_exec.find(&line).is_some() => {
                all.execs += 1;
                all.exec_ms.extend(latency_ms(&line)?);
            }
            Some(b"loss") => {
                let loss: Value = serde_json::from_slice(&line).context("a loss is no JSON")?;
                if loss["reason"] != "missed" {
                    let class = loss["class"].as_str().unwrap_or_default().to_owned();
                    *all.told_lost.entry(class).or_default() += loss["count"].as_u64().unwrap_or(0);
                }
            }
            Some(b"summary") => {
                all.summary = Some(serde_json::from_slice(&line).context("a summary is no JSON")?);
            }
            Some(_) => {}
            // Another collector's format.
            None => {
                all.of_load += u64::from(of_load.find(&line).is_some());
                all.execs += u64::from(of_exec.find(&line).is_some());
            }
        }
        line.clear();
    }
    Ok(all)
}

fn latency_ms(line: &[u8]) -> Result<Option<f64>> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    let now_ns = now.tv_sec() * 1_000_000_000 + now.tv_nsec();
    let Some(at) = memmem::find(line, br#""ktime_ns":"#) else { return Ok(None) };
    let digits = line[at + 11..].iter().take_while(|byte| byte.is_ascii_digit());
    let ktime_ns = digits.fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    Ok(Some((now_ns - ktime_ns) as f64 / 1e6))
}

impl Stream {
    /// The file class's books beside what stood in the stream and what the load did: every `_off` must be 0.
    pub(super) fn law(&self, opens: u64, execs: u64) -> Result<Vec<(&'static str, f64)>> {
        let summary = self.summary.as_ref().context("the stream has no summary")?;
        let number = |class: &str, key: &str| summary["classes"][class][key].as_u64().unwrap_or(0);
        let dropped = |class: &str| {
            let reasons = summary["classes"][class]["dropped"].as_object().into_iter().flatten();
            reasons.filter_map(|(_, count)| count.as_u64()).sum::<u64>()
        };
        let told = |class: &str| self.told_lost.get(class).copied().unwrap_or(0);
        let ended = |class: &str| {
            let parts = ["delivered", "filtered", "internal", "merged", "pending"];
            parts.iter().map(|key| number(class, key)).sum::<u64>() + dropped(class)
        };
        let classes = ["file", "process", "network"];
        let apart = |one: u64, other: u64| one.abs_diff(other) as f64;
        Ok(vec![
            ("generated", number("file", "generated") as f64),
            ("delivered", number("file", "delivered") as f64),
            ("lost", dropped("file") as f64),
            ("lost_percent", 100.0 * dropped("file") as f64 / (number("file", "generated") as f64).max(1.0)),
            ("books_off", classes.iter().map(|class| apart(number(class, "generated"), ended(class))).sum()),
            ("told_off", classes.iter().map(|class| apart(told(class), dropped(class))).sum()),
            ("lines_off", apart(self.opens, number("file", "delivered"))),
            // Others open files too, so more may be generated than the load made, and never less.
            ("load_unseen", opens.saturating_sub(number("file", "generated")) as f64),
            ("missed", number("file", "missed") as f64),
            ("process_events_lost", dropped("process") as f64),
            ("execs", execs as f64),
            ("execs_lost", execs as f64 - self.execs as f64),
            ("exec_p50_ms", super::percentile(&self.exec_ms, 50)),
            ("exec_max_ms", super::percentile(&self.exec_ms, 100)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_losses_and_summary_are_counted() {
        let text = [
            r#"{"event":"open","ktime_ns":5,"open":{"path":"/tmp/bench_load_0_1"}}"#,
            r#"{"event":"open","ktime_ns":5,"open":{"path":"/etc/passwd"}}"#,
            r#"{"event":"exec","ktime_ns":5,"exec":{"argv":["true","bench_exec"]}}"#,
            r#"{"event":"loss","class":"file","count":7,"reason":"ring_full"}"#,
            r#"{"event":"loss","class":"file","count":3,"reason":"missed"}"#,
            r#"{"event":"summary","classes":{"file":{"generated":9,"delivered":2,"dropped":{"ring_full":7}}}}"#,
            "foreign bench_load_0_2",
        ];
        let stream = read(text.join("\n").as_bytes()).unwrap();
        assert_eq!((stream.of_load, stream.opens, stream.execs), (2, 2, 1));
        let law: BTreeMap<_, _> = stream.law(1, 1).unwrap().into_iter().collect();
        for zero in ["books_off", "told_off", "lines_off", "load_unseen", "execs_lost"] {
            assert_eq!(law[zero], 0.0, "{zero}");
        }
        assert_eq!(
            stream
                .law(10, 2)
                .unwrap()
                .iter()
                .filter(|(name, off)| *name == "load_unseen" && *off == 1.0)
                .count(),
            1
        );
    }
}
