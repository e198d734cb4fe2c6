//! Standard output as a sink. A batch is rendered into a buffer, a part at a time, and each part is written at once as
//! long as the output takes it without making anybody wait. A part that it does not is handed to a thread of its own, with
//! what else of the batch the buffer holds, and the buffer comes back empty: nothing is copied, and only that thread can
//! be blocked by whoever reads.
//!
//! A write has succeeded once write(2) has taken every byte, so what the runtime books as delivered has left this
//! process. Nothing is held back, so a flush has nothing to do.

use super::compact::CompactLines;
use async_trait::async_trait;
use collector_core::{CollectionEvent, EventSink, JsonEncoder, SinkError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Of a buffer that unusually long lines have made larger, this much is kept; and once it holds as much it is written,
/// before more of the batch is rendered. A line can have hundreds of kilobytes, and a batch some hundred lines.
const BUFFER_KEPT_BYTES: usize = 1024 * 1024;

/// Events of a part that is written at once. What so many are rendered into (64 KB of opens, what a pipe holds) is in the
/// cache again for the next part; a whole batch's 500 KB are not.
const PART_EVENTS: usize = 64;

/// How events become lines.
pub(super) enum Lines {
    Json(JsonEncoder),
    Compact(CompactLines),
}

impl Lines {
    fn render(&mut self, batch: &[CollectionEvent], out: &mut Vec<u8>) {
        match self {
            Self::Json(encoder) => batch.iter().for_each(|event| encoder.encode(event, out)),
            Self::Compact(lines) => lines.render(batch, out),
        }
    }
}

/// What stands for the file's own position in a write to a place.
const WHERE_IT_IS: u64 = u64::MAX;

/// A buffer to write, and how much of it was written already.
struct Rest {
    buffer: Vec<u8>,
    bytes: usize,
}

/// A buffer that comes back.
struct Written {
    buffer: Vec<u8>,
    /// How much of it was taken, also if not all of it was.
    bytes: usize,
    result: io::Result<()>,
}

/// Writes the lines of each batch, by a thread of its own where the output would make the runtime wait.
///
/// A write that fails in the middle of a batch fails for the batch: the lines before stand in the output and are told
/// as lost too. The line that it tore is ended before the next batch, so that no other event is damaged.
pub(super) struct Output {
    name: &'static str,
    lines: Lines,
    buffer: Vec<u8>,
    /// The output ends within a line.
    in_line: bool,
    /// The thread has the buffer.
    writing: bool,
    /// The output, as long as it says what it takes without waiting: pipes since Linux 6.4, sockets, /dev/null.
    at_once: Option<File>,
    work: Sender<Rest>,
    written: tokio::sync::mpsc::Receiver<Written>,
}

impl Output {
    /// A sink that writes lines to the process's standard output.
    ///
    /// # Errors
    /// If the descriptor or the thread cannot be had.
    pub(super) fn stdout(lines: Lines) -> io::Result<Self> {
        // Not by the standard library's handle, which looks for line ends and copies.
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let again = stdout.try_clone()?;
        Ok(Self { at_once: Some(again), ..Self::new("stdout", lines, Patient(stdout))? })
    }

    fn new(name: &'static str, lines: Lines, out: impl Write + Send + 'static) -> io::Result<Self> {
        let (work, buffers) = channel();
        let (tell, written) = tokio::sync::mpsc::channel(1);
        // Never joined: a write to a blocked stdout cannot be called back, and must not hold the exit.
        std::thread::Builder::new()
            .name(format!("write-{name}"))
            .spawn(move || write_buffers(out, &buffers, &tell))?;
        let buffer = Vec::new();
        Ok(Self { name, lines, buffer, in_line: false, writing: false, at_once: None, work, written })
    }

    /// Renders the batch and has it written, a part at a time.
    async fn write_parts(&mut self, mut batch: &[CollectionEvent]) -> io::Result<()> {
        while !batch.is_empty() {
            self.render(part_of(&mut batch));
            let bytes = self.write_at_once();
            if bytes == self.buffer.len() {
                self.in_line = false;
                continue;
            }
            while !batch.is_empty() && self.buffer.len() < BUFFER_KEPT_BYTES {
                self.lines.render(part_of(&mut batch), &mut self.buffer);
            }
            self.write_patiently(bytes).await?;
        }
        Ok(())
    }

    fn render(&mut self, events: &[CollectionEvent]) {
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT_BYTES);
        if self.in_line {
            self.buffer.push(b'\n');
        }
        self.lines.render(events, &mut self.buffer);
    }

    /// Has what stands in the buffer behind its first `bytes` written by the thread, and takes the buffer back.
    async fn write_patiently(&mut self, bytes: usize) -> io::Result<()> {
        self.work.send(Rest { buffer: std::mem::take(&mut self.buffer), bytes }).map_err(|_| ended())?;
        self.writing = true;
        self.take_back().await
    }

    /// Writes what nobody has to wait for, and says how much that was. Whatever stops it is found again by the thread.
    fn write_at_once(&mut self) -> usize {
        let mut bytes = 0;
        while let Some(out) = &self.at_once
            && bytes < self.buffer.len()
        {
            let rest = [IoSlice::new(&self.buffer[bytes..])];
            match pwritev2(out, &rest, WHERE_IT_IS, ReadWriteFlags::NOWAIT) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(count) => bytes += count,
                Err(Errno::INTR) => {}
                // It cannot say: a file, a terminal, an older kernel's pipe.
                Err(_) => self.at_once = None,
            }
        }
        bytes
    }

    async fn take_back(&mut self) -> io::Result<()> {
        let Written { buffer, bytes, result } = self.written.recv().await.ok_or_else(ended)?;
        self.writing = false;
        if let Some(last) = bytes.checked_sub(1) {
            self.in_line = buffer[last] != b'\n';
        }
        self.buffer = buffer;
        result
    }
}

#[async_trait]
impl EventSink for Output {
    fn name(&self) -> &str {
        self.name
    }

    async fn write(&mut self, batch: &[CollectionEvent]) -> Result<(), SinkError> {
        if self.writing {
            // The batch before was given up while it was written, and is booked.
            let _ = self.take_back().await;
        }
        self.write_parts(batch).await.map_err(|source| match source.kind() {
            ErrorKind::BrokenPipe => SinkError::Closed { sink: self.name.to_owned() },
            _ => SinkError::Write { sink: self.name.to_owned(), source },
        })
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Takes the next part of a batch.
fn part_of<'a>(batch: &mut &'a [CollectionEvent]) -> &'a [CollectionEvent] {
    let (part, rest) = batch.split_at(PART_EVENTS.min(batch.len()));
    *batch = rest;
    part
}

fn ended() -> io::Error {
    io::Error::other("the thread that writes has ended")
}

/// The thread: writes what it is given until the sink is gone.
fn write_buffers(mut out: impl Write, buffers: &Receiver<Rest>, tell: &tokio::sync::mpsc::Sender<Written>) {
    while let Ok(Rest { buffer, bytes }) = buffers.recv() {
        let (bytes, result) = write_all(&mut out, &buffer, bytes);
        if tell.blocking_send(Written { buffer, bytes, result }).is_err() {
            return;
        }
    }
}

/// Unlike [`Write::write_all`], says how much was written before it failed.
fn write_all(out: &mut impl Write, buffer: &[u8], mut written: usize) -> (usize, io::Result<()>) {
    while written < buffer.len() {
        match out.write(&buffer[written..]) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// A file that is waited for where whoever shares it has made it non-blocking.
struct Patient(File);

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
