//! Reading events and the actor's words.

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// One line of a stream, parsed.
#[derive(Debug, Clone)]
pub(crate) struct Event(pub(crate) Value);

impl Event {
    pub(crate) fn kind(&self) -> &str {
        self.0["event"].as_str().unwrap_or_default()
    }

    /// The value at a dotted path.
    pub(crate) fn find(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.0, |value, key| value.get(key))
    }

    /// A value in `missing` or `truncated`, whose keys have dots of their own.
    pub(crate) fn told(&self, list: &str, path: &str) -> Option<&Value> {
        self.0.get(list)?.get(path)
    }

    pub(crate) fn number(&self, path: &str) -> Result<u64> {
        self.find(path).and_then(Value::as_u64).with_context(|| format!("no number {path} in {}", self.0))
    }

    pub(crate) fn flag(&self, path: &str) -> Result<bool> {
        self.find(path).and_then(Value::as_bool).with_context(|| format!("no bool {path} in {}", self.0))
    }

    pub(crate) fn text(&self, path: &str) -> Result<&str> {
        self.find(path).and_then(Value::as_str).with_context(|| format!("no text {path} in {}", self.0))
    }

    /// A text's exact bytes: from its twin where it has one.
    pub(crate) fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        match self.find(&format!("{path}_b64")) {
            Some(twin) => decode(twin),
            None => Ok(self.text(path)?.as_bytes().to_vec()),
        }
    }

    /// The arguments' exact bytes.
    pub(crate) fn argv(&self) -> Result<Vec<Vec<u8>>> {
        self.list("exec.argv")
    }

    /// The exact bytes of a list of texts.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<Vec<u8>>> {
        let list = |path: &str| self.find(path).and_then(Value::as_array);
        match list(&format!("{path}_b64")) {
            Some(twins) => twins.iter().map(decode).collect(),
            None => list(path)
                .with_context(|| format!("no {path} in {}", self.0))?
                .iter()
                .map(|arg| Ok(arg.as_str().context("an argument is text")?.as_bytes().to_vec()))
                .collect(),
        }
    }

    pub(crate) fn pid(&self) -> u64 {
        self.number("process.pid").unwrap_or_default()
    }
}

fn decode(twin: &Value) -> Result<Vec<u8>> {
    STANDARD.decode(twin.as_str().context("a twin is text")?).context("a twin is base64")
}

/// A child as the actor, its parent, saw it.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    pub(crate) pid: u64,
    pub(crate) ppid: u64,
    /// As waitpid gave it.
    pub(crate) status: u64,
    /// Field 22 of /proc/PID/stat.
    pub(crate) start_ticks: u64,
    pub(crate) elapsed_ns: u64,
    pub(crate) word: Value,
}

impl Child {
    pub(crate) fn new(word: &Value) -> Result<Self> {
        let number =
            |key: &str| word[key].as_u64().with_context(|| format!("no {key} in the actor's {word}"));
        Ok(Self {
            pid: number("pid")?,
            ppid: number("ppid")?,
            status: number("status")?,
            start_ticks: number("start_ticks")?,
            elapsed_ns: number("elapsed_ns")?,
            word: word.clone(),
        })
    }

    /// Whether the event is about this process: a pid alone may come again.
    pub(crate) fn is_in(&self, event: &Event) -> bool {
        event.pid() == self.pid
            && event.number("process.start_ns").is_ok_and(|start| start / NS_PER_TICK == self.start_ticks)
    }

    /// Holds an exit event against the status that the parent saw.
    pub(crate) fn check_exit(&self, exit: &Event) -> Result<()> {
        let number = |path| exit.find(path).and_then(Value::as_u64);
        let (code, signal) = (number("exit.code"), number("exit.signal"));
        let expected = if self.status & 0x7f == 0 {
            (Some(self.status >> 8 & 0xff), None)
        } else {
            (None, Some(self.status & 0x7f))
        };
        if (code, signal) != expected {
            bail!("waitpid saw (code, signal) {expected:?}, the event says {:?}: {}", (code, signal), exit.0);
        }
        if signal.is_some() && exit.flag("exit.core_dumped")? != (self.status & 0x80 != 0) {
            bail!("waitpid saw status {:#x}, the event says {}", self.status, exit.0);
        }
        Ok(())
    }
}

/// USER_HZ is 100 on every architecture we serve.
pub(crate) const NS_PER_TICK: u64 = 10_000_000;
