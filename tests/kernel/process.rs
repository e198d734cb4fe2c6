//! A child process with readers on its output and a deadline on everything.

use anyhow::{Context as _, Result, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A running child; killed when dropped.
pub(crate) struct Process {
    pid: Pid,
    what: String,
    stdin: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    stderr_closed: Receiver<()>,
    status: Receiver<ExitStatus>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts it. With `lines_max`, its stdout is closed after that many lines.
    pub(crate) fn start(command: &mut Command, lines_max: Option<usize>) -> Result<Self> {
        let what = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {what}"))?;
        let pid = Pid::from_raw(i32::try_from(child.id()).context("a pid fits")?);
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("stdout is a pipe")?;
        let (line_tx, lines) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            for _ in 0..lines_max.unwrap_or(usize::MAX) {
                let mut line = Vec::new();
                match reader.read_until(b'\n', &mut line) {
                    Ok(len) if len > 0 && line_tx.send(line).is_ok() => {}
                    _ => return,
                }
            }
        });
        let mut pipe = child.stderr.take().context("stderr is a pipe")?;
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let (closed_tx, stderr_closed) = channel();
        let sink = Arc::clone(&stderr);
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(len) = pipe.read(&mut part) {
                if len == 0 {
                    break;
                }
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&part[..len]);
            }
            let _ = closed_tx.send(());
        });
        let (status_tx, status) = channel();
        std::thread::spawn(move || {
            if let Ok(ended) = child.wait() {
                let _ = status_tx.send(ended);
            }
        });
        Ok(Self { pid, what, stdin, lines, stderr, stderr_closed, status, ended: None })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// What it wrote to stderr so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// The next line with its newline; `None` at the end of its output.
    pub(crate) fn line(&self, deadline: Duration) -> Result<Option<Vec<u8>>> {
        match self.lines.recv_timeout(deadline) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                Err(self.failure(&format!("wrote no line within {deadline:?}")))
            }
        }
    }

    /// The lines that come within the window, which always passes whole unless the output ends.
    pub(crate) fn lines_within(&self, window: Duration) -> Vec<Vec<u8>> {
        let end = Instant::now() + window;
        let mut lines = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            lines.push(line);
        }
        lines
    }

    /// All further lines.
    pub(crate) fn rest(&self, deadline: Duration) -> Result<Vec<Vec<u8>>> {
        let end = Instant::now() + deadline;
        let mut lines = Vec::new();
        while let Some(line) = self.line(end.saturating_duration_since(Instant::now()))? {
            lines.push(line);
        }
        Ok(lines)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid, signal).with_context(|| format!("cannot signal {}", self.what))
    }

    /// Lets it read the end of its input, after `bytes`.
    pub(crate) fn tell(&mut self, bytes: &[u8]) -> Result<()> {
        let mut stdin = self.stdin.take().context("its stdin is closed already")?;
        std::io::Write::write_all(&mut stdin, bytes).with_context(|| format!("{} does not read", self.what))
    }

    /// Waits for its end, and for the end of its stderr.
    pub(crate) fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let ended = match self.ended {
            Some(ended) => ended,
            None => self
                .status
                .recv_timeout(deadline)
                .map_err(|_| self.failure(&format!("did not end within {deadline:?}")))?,
        };
        self.ended = Some(ended);
        // Closed already on a second call; a grandchild may hold it open, which is no reason to fail.
        let _ = self.stderr_closed.recv_timeout(Duration::from_secs(1));
        Ok(ended)
    }

    pub(crate) fn failure(&self, what: &str) -> anyhow::Error {
        anyhow!("{} {what}; its stderr:\n{}", self.what, self.stderr())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() && self.status.try_recv().is_err() {
            // Not waited for, so the pid is still its own.
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = self.status.recv_timeout(Duration::from_secs(5));
        }
    }
}
