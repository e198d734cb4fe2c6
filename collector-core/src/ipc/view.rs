//! The process table as the server sees it.
//!
//! The table belongs to the batcher, which changes it with every event. So that no event pays for a lock, the server
//! asks and the batcher answers, between two turns or while it waits for a sink. An answer copies the table, so questions
//! have a share of the batcher's time and no more, however many clients ask.

use crate::process_table::{ProcessTable, SnapshotEntry};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// Queries that wait at most; more wait at their sender.
const QUERIES_MAX: usize = 4;
/// The batcher also answers while it waits for a sink, but not while a sink blocks its thread.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// After an answer no other is given for so many times as long as it took: questions get a tenth of the batcher's time.
const PAUSE_FACTOR: u32 = 9;
/// Nor for this long, however small the table is.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Asks for the live processes.
#[derive(Debug)]
struct ProcessQuery(oneshot::Sender<Vec<SnapshotEntry>>);

/// Where the batcher answers.
#[derive(Debug)]
pub(super) struct ProcessQueries {
    asked: mpsc::Receiver<ProcessQuery>,
    /// Until the next answer may be given.
    pause: Option<Pin<Box<Sleep>>>,
}

/// Where queries are asked.
#[derive(Debug, Clone)]
pub(super) struct ProcessView(mpsc::Sender<ProcessQuery>);

#[derive(Debug, thiserror::Error)]
pub(super) enum ViewError {
    #[error("the process table did not answer within {ANSWER_TIMEOUT:?}: a sink holds it up")]
    Busy,
    #[error("the collector is stopping")]
    Stopping,
}

impl ProcessQueries {
    /// Answers one question; pending if there is none, or it is not time for one. The table is only read; but what it
    /// asks for names may be of one thread at a time.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>, table: &mut ProcessTable) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let Some(ProcessQuery(answer)) = ready!(self.asked.poll_recv(cx)) else { return Poll::Pending };
        if answer.is_closed() {
            // Whoever asked has gone. Nothing was copied, and the next one may be asked at once.
            return Poll::Ready(());
        }
        let begun = Instant::now();
        let _ = answer.send(table.live().collect());
        self.pause = Some(Box::pin(sleep((begun.elapsed() * PAUSE_FACTOR).max(PAUSE_MIN))));
        Poll::Ready(())
    }
}

impl ProcessView {
    pub(super) fn new() -> (Self, ProcessQueries) {
        let (queries, asked) = mpsc::channel(QUERIES_MAX);
        (Self(queries), ProcessQueries { asked, pause: None })
    }

    /// The processes that have not ended, by pid.
    pub(super) async fn live(&self) -> Result<Vec<SnapshotEntry>, ViewError> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.0.send(ProcessQuery(answer)).await.map_err(|_| ViewError::Stopping)?;
            answered.await.map_err(|_| ViewError::Stopping)
        };
        let mut processes = timeout(ANSWER_TIMEOUT, asked).await.map_err(|_| ViewError::Busy)??;
        processes.sort_unstable_by_key(|process| process.pid);
        Ok(processes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn a_table_that_does_not_answer_is_told_as_busy_and_one_that_is_gone_as_stopping() {
        let (view, queries) = ProcessView::new();
        assert!(matches!(view.live().await, Err(ViewError::Busy)));
        drop(queries);
        assert!(matches!(view.live().await, Err(ViewError::Stopping)));
    }

    #[tokio::test]
    async fn the_live_processes_are_told_by_pid() {
        let (view, mut queries) = ProcessView::new();
        let mut table = ProcessTable::new(10);
        let entry = |pid| SnapshotEntry { pid, ..SnapshotEntry::default() };
        table.seed(vec![entry(3), entry(1), entry(2)]);
        let answering = tokio::spawn(async move { poll_fn(|cx| queries.poll_answer(cx, &mut table)).await });
        let pids: Vec<_> = view.live().await.unwrap().iter().map(|process| process.pid).collect();
        assert_eq!(pids, [1, 2, 3]);
        answering.await.unwrap();
    }

    /// Else clients that ask all the time would leave no turn to the events.
    #[tokio::test(start_paused = true)]
    async fn between_two_answers_there_is_a_pause_however_many_ask() {
        let (view, mut queries) = ProcessView::new();
        let mut table = ProcessTable::new(10);
        let asking: Vec<_> = (0..QUERIES_MAX)
            .map(|_| {
                let view = view.clone();
                tokio::spawn(async move { view.live().await.unwrap() })
            })
            .collect();
        let begun = Instant::now();
        for answered in 0..QUERIES_MAX {
            poll_fn(|cx| queries.poll_answer(cx, &mut table)).await;
            let again = poll_fn(|cx| Poll::Ready(queries.poll_answer(cx, &mut table))).await;
            assert!(again.is_pending());
            assert!(begun.elapsed() >= PAUSE_MIN * u32::try_from(answered).unwrap());
        }
        for client in asking {
            client.await.unwrap();
        }
    }
}
