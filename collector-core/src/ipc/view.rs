//! The process table as the server sees it.
//!
//! The table belongs to the batcher, which changes it with every event. So that no event pays for a lock, the server
//! asks and the batcher answers between two turns.

use crate::process_table::{ProcessTable, SnapshotEntry};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Queries that wait at most; more wait at their sender.
const QUERIES_MAX: usize = 4;
/// A batcher that waits for a sink answers later, or not at all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks for the live processes.
#[derive(Debug)]
pub(crate) struct ProcessQuery(oneshot::Sender<Vec<SnapshotEntry>>);

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

impl ProcessQuery {
    pub(crate) fn answer(self, table: &ProcessTable) {
        // Whoever asked may have gone.
        let _ = self.0.send(table.live().collect());
    }
}

impl ProcessView {
    pub(super) fn new() -> (Self, mpsc::Receiver<ProcessQuery>) {
        let (queries, received) = mpsc::channel(QUERIES_MAX);
        (Self(queries), received)
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

    #[tokio::test(start_paused = true)]
    async fn a_table_that_does_not_answer_is_told_as_busy_and_one_that_is_gone_as_stopping() {
        let (view, received) = ProcessView::new();
        assert!(matches!(view.live().await, Err(ViewError::Busy)));
        drop(received);
        assert!(matches!(view.live().await, Err(ViewError::Stopping)));
    }

    #[tokio::test]
    async fn the_live_processes_are_told_by_pid() {
        let (view, mut received) = ProcessView::new();
        let mut table = ProcessTable::new(10);
        let entry = |pid| SnapshotEntry { pid, ..SnapshotEntry::default() };
        table.seed(vec![entry(3), entry(1), entry(2)]);
        let answering = tokio::spawn(async move { received.recv().await.unwrap().answer(&table) });
        let pids: Vec<_> = view.live().await.unwrap().iter().map(|process| process.pid).collect();
        assert_eq!(pids, [1, 2, 3]);
        answering.await.unwrap();
    }
}
