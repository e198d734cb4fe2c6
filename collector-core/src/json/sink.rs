//! A sink that writes the native format.

use super::JsonEncoder;
use crate::event::CollectionEvent;
use crate::sink::{EventSink, SinkError};
use async_trait::async_trait;
use std::io::{Error, ErrorKind};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Of a buffer that an unusually large batch has made larger, this much is kept.
const BUFFER_KEPT_BYTES: usize = 1024 * 1024;

/// Writes each event as a line of JSON; one write for a batch.
///
/// A write that fails in the middle can leave half a line behind. The next batch then begins on a new line, so that no
/// other event is damaged.
#[derive(Debug)]
pub struct JsonLinesSink<W> {
    name: String,
    writer: W,
    encoder: JsonEncoder,
    buffer: Vec<u8>,
    in_line: bool,
}

impl<W: AsyncWrite + Send + Unpin> JsonLinesSink<W> {
    /// A sink that writes to `writer` and is called `name` in logs and in the report.
    pub fn new(name: impl Into<String>, writer: W) -> Self {
        Self { name: name.into(), writer, encoder: JsonEncoder::new(), buffer: Vec::new(), in_line: false }
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.writer
    }

    fn error(&self, source: Error) -> SinkError {
        match source.kind() {
            ErrorKind::BrokenPipe => SinkError::Closed { sink: self.name.clone() },
            _ => SinkError::Write { sink: self.name.clone(), source },
        }
    }

    async fn write_buffer(&mut self) -> std::io::Result<()> {
        let mut written = 0;
        while written < self.buffer.len() {
            let count = self.writer.write(&self.buffer[written..]).await?;
            if count == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            written += count;
            // Kept up to date at each step: this future can be dropped at the await above.
            self.in_line = self.buffer[written - 1] != b'\n';
        }
        Ok(())
    }
}

#[async_trait]
impl<W: AsyncWrite + Send + Unpin> EventSink for JsonLinesSink<W> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn write(&mut self, batch: &[CollectionEvent]) -> Result<(), SinkError> {
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT_BYTES);
        if self.in_line {
            self.buffer.push(b'\n');
        }
        for event in batch {
            self.encoder.encode(event, &mut self.buffer);
        }
        self.write_buffer().await.map_err(|source| self.error(source))
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        self.writer.flush().await.map_err(|source| self.error(source))
    }
}
