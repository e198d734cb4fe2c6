//! One client's connection: a frame in, a frame out, each in its time.

use super::answer::Answers;
use super::frame::{FrameCodec, FrameError};
use super::peer::Access;
use super::report::Counters;
use bytes::{Bytes, BytesMut};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, interval_at, timeout, timeout_at};
use tokio_util::codec::{Decoder, Encoder};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// A connection that is open with nothing in it holds no more than this.
const BUFFER_BYTES_KEPT: usize = 64 * 1024;
/// How often the server looks whether a client that is being answered is still there.
const GONE_POLL: Duration = Duration::from_millis(250);

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
        let answer = tokio::select! {
            biased;
            answer = answers.answer(payload, access) => answer,
            () = gone(&stream) => break None,
        };
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

/// Waits until the client has closed its end. One that only sends no more still gets its answer.
async fn gone(stream: &UnixStream) {
    let mut looks = interval_at(Instant::now() + GONE_POLL, GONE_POLL);
    loop {
        looks.tick().await;
        let mut of_stream = [PollFd::new(stream.as_fd(), PollFlags::empty())];
        // What was read ahead hides an end of the stream from a reader, and not from this.
        let _ = poll(&mut of_stream, PollTimeout::ZERO);
        if of_stream[0].any().unwrap_or(false) {
            return;
        }
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
        if self.received.is_empty() {
            // An empty buffer holds on to the room of the largest frame that was in it.
            self.received = BytesMut::new();
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::options::IpcOptions;
    use crate::ipc::recent::RecentEvents;
    use crate::ipc::view::ProcessView;
    use crate::source::SourceCaps;
    use prost::Message;
    use std::sync::Arc;

    fn question() -> Vec<u8> {
        let task = crate::ipc::proto::DetectionTask { task_id: "a".to_owned(), ..Default::default() };
        let mut bytes = BytesMut::new();
        FrameCodec.encode(&task.encode_to_vec(), &mut bytes).unwrap();
        bytes.to_vec()
    }

    #[tokio::test]
    async fn a_connection_that_waits_holds_no_room_of_the_frame_before() {
        let (mut client, mut stream) = UnixStream::pair().unwrap();
        let mut connection = Connection { received: BytesMut::new(), to_send: BytesMut::new() };
        let mut bytes = BytesMut::new();
        FrameCodec.encode(&vec![7; 1 << 20], &mut bytes).unwrap();
        let sending = tokio::spawn(async move {
            client.write_all(&bytes).await.unwrap();
            client
        });
        let minute = Duration::from_secs(60);
        let payload = connection.read(&mut stream, minute, minute).await.unwrap().unwrap();
        assert_eq!(payload.len(), 1 << 20);
        drop(payload);
        let _client = sending.await.unwrap();
        let waits = timeout(Duration::ZERO, connection.read(&mut stream, minute, minute));
        assert!(waits.await.is_err());
        assert!(!connection.received.try_reclaim(BUFFER_BYTES_KEPT), "it still has the room");
    }

    /// The process table that is asked never answers.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_is_not_answered_on_and_one_that_waits_is() {
        let (view, _queries) = ProcessView::new();
        let (recent, stop) = (Arc::new(RecentEvents::default()), CancellationToken::new());
        let answers = Answers::new(
            SourceCaps::all(),
            view,
            recent,
            IpcOptions::default(),
            crate::test_events::live(),
            stop.clone(),
        );
        let counters = Counters::default();
        for (goes, least, most) in [(true, 0, 1), (false, 4, 6)] {
            let (mut client, stream) = UnixStream::pair().unwrap();
            client.write_all(&question()).await.unwrap();
            let kept = (!goes).then_some(client);
            let begun = Instant::now();
            let client = async {
                let Some(mut client) = kept else { return };
                client.shutdown().await.unwrap();
                assert!(client.read_u8().await.is_ok(), "half closed, and not answered");
            };
            tokio::join!(serve(stream, Access::Full, &answers, &counters, &stop), client);
            let took = begun.elapsed();
            assert!(took >= Duration::from_secs(least) && took < Duration::from_secs(most), "{took:?}");
        }
    }
}
