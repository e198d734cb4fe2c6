//! Tasks that belong to sources.

use std::collections::HashMap;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

/// How a task ended.
pub(super) type Ended = Result<anyhow::Result<()>, JoinError>;

/// Tasks, at most one at a time for each source.
#[derive(Default)]
pub(super) struct Tasks {
    tasks: JoinSet<anyhow::Result<()>>,
    sources: HashMap<Id, (usize, AbortHandle)>,
}

impl Tasks {
    pub(super) fn spawn(
        &mut self,
        source: usize,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(task);
        self.sources.insert(handle.id(), (source, handle));
    }

    /// The next one that ended; waits for ever when there is none.
    pub(super) async fn ended(&mut self) -> (usize, Ended) {
        match self.tasks.join_next_with_id().await {
            Some(result) => self.of_source(result),
            None => std::future::pending().await,
        }
    }

    pub(super) fn ended_already(&mut self) -> Option<(usize, Ended)> {
        let result = self.tasks.try_join_next_with_id()?;
        Some(self.of_source(result))
    }

    /// Asks the source's task to end at its next wait; it is still told when it has ended.
    pub(super) fn abort(&self, source: usize) {
        for (_, handle) in self.sources.values().filter(|(of, _)| *of == source) {
            handle.abort();
        }
    }

    pub(super) fn abort_all(&mut self) {
        self.tasks.abort_all();
    }

    fn of_source(&mut self, result: Result<(Id, anyhow::Result<()>), JoinError>) -> (usize, Ended) {
        let (id, result) = match result {
            Ok((id, result)) => (id, Ok(result)),
            Err(join) => (join.id(), Err(join)),
        };
        let (source, _) = self.sources.remove(&id).expect("every task was entered when it was spawned");
        (source, result)
    }
}

/// What a task panicked with.
pub(super) fn panic_message(join: JoinError) -> String {
    let Ok(payload) = join.try_into_panic() else { return "aborted".to_owned() };
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => {
            payload.downcast::<&str>().map_or("panic without a message".to_owned(), |m| (*m).to_owned())
        }
    }
}
