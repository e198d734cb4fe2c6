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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_events::kernel_event;
    use serde_json::Value;
    use std::io::Result;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    fn batch(count: u64) -> Vec<CollectionEvent> {
        (0..count).map(|seq| CollectionEvent::Kernel(Box::new(kernel_event(seq)))).collect()
    }

    #[tokio::test]
    async fn a_batch_is_one_write() {
        let mut expected = Vec::new();
        let mut encoder = JsonEncoder::new();
        for event in batch(3) {
            encoder.encode(&event, &mut expected);
        }
        let (writer, mut reader) = tokio::io::duplex(1 << 20);
        let mut sink = JsonLinesSink::new("test", CountedWrites { inner: writer, writes: 0 });
        sink.write(&batch(3)).await.unwrap();
        assert_eq!(sink.into_inner().writes, 1);
        let mut written = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut written).await.unwrap();
        assert_eq!(written, expected);
    }

    #[tokio::test]
    async fn a_reader_that_went_away_is_told_as_closed() {
        let (writer, reader) = tokio::io::duplex(64);
        drop(reader);
        let error = JsonLinesSink::new("pipe", writer).write(&batch(1)).await.unwrap_err();
        assert!(matches!(&error, SinkError::Closed { sink } if sink == "pipe"), "{error:?}");
    }

    #[tokio::test]
    async fn a_torn_line_does_not_damage_the_next_batch() {
        let mut sink = JsonLinesSink::new("torn", TornWriter { written: Vec::new(), room: 10 });
        assert!(matches!(sink.write(&batch(1)).await, Err(SinkError::Write { .. })));
        sink.writer.room = usize::MAX;
        sink.write(&batch(2)).await.unwrap();
        let text = String::from_utf8(sink.into_inner().written).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0].len()), (3, 10));
        for line in &lines[1..] {
            serde_json::from_str::<Value>(line).unwrap();
        }
    }

    #[derive(Debug)]
    struct CountedWrites<W> {
        inner: W,
        writes: usize,
    }

    /// Takes as many bytes as there is room, then fails.
    #[derive(Debug)]
    struct TornWriter {
        written: Vec<u8>,
        room: usize,
    }

    impl<W: AsyncWrite + Unpin> AsyncWrite for CountedWrites<W> {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
            self.writes += 1;
            Pin::new(&mut self.inner).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
            Pin::new(&mut self.inner).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
            Pin::new(&mut self.inner).poll_shutdown(cx)
        }
    }

    impl AsyncWrite for TornWriter {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
            let count = bytes.len().min(self.room);
            self.room -= count;
            self.written.extend_from_slice(&bytes[..count]);
            Poll::Ready(if count == 0 { Err(Error::other("no room")) } else { Ok(count) })
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
}
