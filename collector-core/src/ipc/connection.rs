//! One client's connection: a frame in, a frame out, each in its time.

use super::answer::Answers;
use super::frame::{FrameCodec, FrameError};
use super::peer::Access;
use super::report::Counters;
use bytes::{Bytes, BytesMut};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::codec::{Decoder, Encoder};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// A connection that is open with nothing in it holds no more than this.
const BUFFER_BYTES_KEPT: usize = 64 * 1024;

/// Why a connection ended other than by its client.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a frame was not complete within {0:?}")]
    SlowRead(Duration),
    #[error("an answer was not taken within {0:?}")]
    SlowWrite(Duration),
    #[error("silent for {0:?}")]
    Idle(Duration),
    #[error("the request was malformed")]
    Malformed,
}

/// Serves a client until it goes, breaks a rule or the server stops. A question that is being answered then is still
/// answered.
pub(super) async fn serve(
    mut stream: UnixStream,
    access: Access,
    answers: &Answers,
    counters: &Counters,
    stop: &CancellationToken,
) {
    let mut connection = Connection { received: BytesMut::new(), to_send: BytesMut::new() };
    let ended = loop {
        let read = tokio::select! {
            biased;
            () = stop.cancelled() => break None,
            read = connection.read(&mut stream, answers.options.frame_timeout, answers.options.idle_timeout) => read,
        };
        let payload = match read {
            Ok(Some(payload)) => payload,
            Ok(None) => break None,
            Err(ended) => break Some(ended),
        };
        counters.tasks.fetch_add(1, Relaxed);
        let answer = answers.answer(payload, access).await;
        let (bytes, malformed) = match answer {
            Ok(bytes) => (bytes, false),
            Err(bytes) => (bytes, true),
        };
        if let Err(ended) = connection.write(&mut stream, &bytes, answers.options.frame_timeout).await {
            break Some(ended);
        }
        if malformed {
            break Some(Ended::Malformed);
        }
    };
    if let Some(ended) = ended {
        counters.closed.fetch_add(1, Relaxed);
        debug!(%ended, "IPC connection closed");
    }
}

struct Connection {
    received: BytesMut,
    to_send: BytesMut,
}

impl Connection {
    /// The next frame's payload; `None` if the client is gone.
    async fn read(
        &mut self,
        stream: &mut UnixStream,
        frame_timeout: Duration,
        idle_timeout: Duration,
    ) -> Result<Option<Bytes>, Ended> {
        let begun = Instant::now();
        // A frame's time begins with its first byte, whoever trickles it in.
        let mut first_byte = (!self.received.is_empty()).then_some(begun);
        loop {
            if let Some(payload) = FrameCodec.decode(&mut self.received)? {
                return Ok(Some(payload));
            }
            let deadline = first_byte.map_or(begun + idle_timeout, |at| at + frame_timeout);
            let read = timeout_at(deadline, stream.read_buf(&mut self.received)).await;
            match read {
                Ok(Ok(0)) => return Ok(None),
                Ok(Ok(_)) => first_byte = first_byte.or_else(|| Some(Instant::now())),
                Ok(Err(error)) => return Err(Ended::Frame(error.into())),
                Err(_) if first_byte.is_some() => return Err(Ended::SlowRead(frame_timeout)),
                Err(_) => return Err(Ended::Idle(idle_timeout)),
            }
        }
    }

    async fn write(
        &mut self,
        stream: &mut UnixStream,
        payload: &[u8],
        frame_timeout: Duration,
    ) -> Result<(), Ended> {
        FrameCodec.encode(payload, &mut self.to_send)?;
        let written = timeout(frame_timeout, stream.write_all(&self.to_send)).await;
        self.to_send.clear();
        if self.to_send.capacity() > BUFFER_BYTES_KEPT {
            self.to_send = BytesMut::new();
        }
        match written {
            Ok(result) => result.map_err(|error| Ended::Frame(error.into())),
            Err(_) => Err(Ended::SlowWrite(frame_timeout)),
        }
    }
}
