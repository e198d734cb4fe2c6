//! What a sink is.

use crate::event::CollectionEvent;
use async_trait::async_trait;

/// Why a sink did not take a batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The reader is gone (a closed pipe): nothing more can be written, and nobody misses it.
    #[error("the reader of sink {sink} is gone")]
    Closed {
        /// The sink's name.
        sink: String,
    },
    /// Writing failed.
    #[error("sink {sink} failed to write")]
    Write {
        /// The sink's name.
        sink: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

/// A consumer of events, in batches, in the order of the stream.
#[async_trait]
pub trait EventSink: Send {
    /// A name for logs and counters.
    fn name(&self) -> &str;

    /// Takes a whole batch or fails; after an error the runtime counts the batch as dropped by this sink.
    async fn write(&mut self, batch: &[CollectionEvent]) -> Result<(), SinkError>;

    /// Writes out what is buffered. Called when the stream pauses and at its end.
    async fn flush(&mut self) -> Result<(), SinkError>;
}
