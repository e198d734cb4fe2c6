//! The server's life: clients are accepted, served each in a task of its own, and let go at the end.

use super::answer::Answers;
use super::connection;
use super::peer::{Access, Peer};
use super::recent::RecentEvents;
use super::report::{Counters, IpcReport};
use super::socket::BoundSocket;
use super::view::{ProcessQueries, ProcessView};
use super::{IpcOptions, log_interval::LogInterval};
use crate::event::CollectionEvent;
use crate::process_table::ProcessTable;
use crate::runtime::Live;
use crate::source::SourceCaps;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// Accepting can fail for want of file descriptors; trying again at once would only burn the CPU.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// At the end, how long answers that are under way may take.
const GRACE: Duration = Duration::from_millis(150);
/// At the end, how long the server is waited for in all, whatever holds it up.
const END_MAX: Duration = Duration::from_secs(1);

/// A server that was set up and waits for the run.
#[derive(Debug)]
pub(crate) struct ReadyServer {
    pub(crate) socket: BoundSocket,
    pub(crate) options: IpcOptions,
}

/// The batcher's end: what it tells and is asked.
#[derive(Debug)]
pub(crate) struct IpcTap {
    recent: Arc<RecentEvents>,
    queries: ProcessQueries,
}

/// A server at work.
#[derive(Debug)]
pub(crate) struct RunningServer {
    stop: CancellationToken,
    counters: Arc<Counters>,
    /// A set of one: dropping the run must not leave the server behind.
    task: JoinSet<()>,
}

impl IpcTap {
    /// Keeps what clients can ask for.
    pub(crate) fn tell<'e>(&self, events: impl Iterator<Item = &'e CollectionEvent>) {
        self.recent.take(events);
    }

    /// Answers one question about the processes; pending if there is none, or it is not time for one.
    pub(crate) fn poll_answer(
        tap: &mut Option<Self>,
        cx: &mut Context<'_>,
        processes: &mut ProcessTable,
    ) -> Poll<()> {
        tap.as_mut().map_or(Poll::Pending, |tap| tap.queries.poll_answer(cx, processes))
    }
}

impl ReadyServer {
    /// Begins to serve. A server that fails later says so in its report and takes nothing with it.
    pub(crate) fn start(self, caps: SourceCaps, live: Arc<Live>) -> io::Result<(RunningServer, IpcTap)> {
        let (view, queries) = ProcessView::new();
        let recent = Arc::new(RecentEvents::default());
        let (stop, counters) = (CancellationToken::new(), Arc::new(Counters::default()));
        let answers = Answers::new(caps, view, Arc::clone(&recent), self.options, live, stop.clone());
        let listener = UnixListener::from_std(self.socket.listener.try_clone()?)?;
        let server = Server {
            socket: self.socket,
            listener,
            answers: Arc::new(answers),
            counters: Arc::clone(&counters),
            stop: stop.clone(),
        };
        let mut task = JoinSet::new();
        task.spawn(server.run());
        Ok((RunningServer { stop, counters, task }, IpcTap { recent, queries }))
    }
}

impl RunningServer {
    /// Asks it to stop; answers under way are given a moment.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for its end, not for ever.
    pub(crate) async fn ended(mut self) -> IpcReport {
        self.stop.cancel();
        let failed = match timeout(END_MAX, self.task.join_next()).await {
            Ok(Some(Err(failure))) => {
                error!(%failure, "the IPC server failed");
                true
            }
            Ok(_) => false,
            Err(_) => {
                error!(waited = ?END_MAX, "the IPC server did not end in time and is left behind");
                true
            }
        };
        self.counters.report(failed)
    }
}

struct Server {
    socket: BoundSocket,
    listener: UnixListener,
    answers: Arc<Answers>,
    counters: Arc<Counters>,
    stop: CancellationToken,
}

impl Server {
    async fn run(self) {
        let mut clients = JoinSet::new();
        let mut refusals = LogInterval::default();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(ended) = clients.join_next() => {
                    if let Err(failure) = ended {
                        error!(%failure, "a task of the IPC server failed");
                    }
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.admit(stream, &mut clients, &mut refusals),
                Err(failure) => {
                    if let Some(count) = refusals.log() {
                        warn!(%failure, count, "IPC clients cannot be accepted");
                    }
                    tokio::select! {
                        () = self.stop.cancelled() => break,
                        () = sleep(ACCEPT_RETRY) => {}
                    }
                }
            }
        }
        let Self { socket, listener, .. } = self;
        drop(listener);
        drop(socket);
        let until = Instant::now() + GRACE;
        while let Ok(Some(_)) = timeout_at(until, clients.join_next()).await {}
        clients.shutdown().await;
    }

    fn admit(&self, stream: UnixStream, clients: &mut JoinSet<()>, refusals: &mut LogInterval) {
        if clients.len() >= self.answers.options.max_clients {
            self.counters.over_limit.fetch_add(1, Relaxed);
            if let Some(count) = refusals.log() {
                let max_clients = self.answers.options.max_clients;
                warn!(max_clients, count, "too many IPC clients, refused");
            }
            return;
        }
        let Some(access) = self.access(&stream) else {
            self.counters.refused.fetch_add(1, Relaxed);
            if let Some(count) = refusals.log() {
                let peer = stream.peer_cred().map(|peer| peer.uid()).ok();
                warn!(uid = peer, count, "IPC client may not connect, refused");
            }
            return;
        };
        self.counters.served.fetch_add(1, Relaxed);
        let (answers, counters, stop) =
            (Arc::clone(&self.answers), Arc::clone(&self.counters), self.stop.clone());
        clients.spawn(async move { connection::serve(stream, access, &answers, &counters, &stop).await });
    }

    fn access(&self, stream: &UnixStream) -> Option<Access> {
        let peer = Peer::of(stream.peer_cred().ok()?);
        peer.access(nix::unistd::geteuid().as_raw(), self.socket.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_end_is_left_behind_and_reported() {
        let mut task = JoinSet::new();
        task.spawn(std::future::pending());
        let server = RunningServer { stop: CancellationToken::new(), counters: Arc::default(), task };
        let begun = Instant::now();
        assert!(server.ended().await.failed);
        assert_eq!(begun.elapsed(), END_MAX);
    }
}
