//! A sink that records, and fails when it is told to.

use super::DEADLINE;
use async_trait::async_trait;
use collector_core::{CollectionEvent, EventSink, SinkError};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// What a sink does with a batch, by the batch's index.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behaviour {
    Takes,
    /// Fails batches with these indices.
    Fails {
        from: usize,
        until: usize,
    },
    /// Its reader goes away at the batch with this index.
    ClosesAt(usize),
    /// Never takes the batch with this index.
    BlocksAt(usize),
    /// Takes this long for each.
    Slow(Duration),
}

/// What a sink took.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    batches: Arc<Mutex<Vec<Vec<CollectionEvent>>>>,
    progress: watch::Receiver<Progress>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    offered: usize,
    events: usize,
}

pub(crate) struct TestSink {
    name: &'static str,
    behaviour: Behaviour,
    batches: Arc<Mutex<Vec<Vec<CollectionEvent>>>>,
    progress: watch::Sender<Progress>,
}

impl TestSink {
    pub(crate) fn new(name: &'static str, behaviour: Behaviour) -> (Box<Self>, Recorded) {
        let batches = Arc::new(Mutex::new(Vec::new()));
        let (progress, watched) = watch::channel(Progress::default());
        let recorded = Recorded { batches: Arc::clone(&batches), progress: watched };
        (Box::new(Self { name, behaviour, batches, progress }), recorded)
    }

    pub(crate) fn taking() -> (Box<Self>, Recorded) {
        Self::new("sink", Behaviour::Takes)
    }
}

impl Recorded {
    /// Everything taken, in order.
    pub(crate) fn events(&self) -> Vec<CollectionEvent> {
        self.batches().concat()
    }

    pub(crate) fn batches(&self) -> Vec<Vec<CollectionEvent>> {
        self.batches.lock().unwrap().clone()
    }

    /// Kernel events taken.
    pub(crate) fn numbered(&self) -> usize {
        self.events().iter().filter(|event| matches!(event, CollectionEvent::Kernel(_))).count()
    }

    /// Waits until so many events of any kind were taken.
    pub(crate) async fn until_events(&mut self, count: usize) {
        self.until(|progress| progress.events >= count).await;
    }

    /// Waits until so many batches were offered, taken or not.
    pub(crate) async fn until_offered(&mut self, count: usize) {
        self.until(|progress| progress.offered >= count).await;
    }

    async fn until(&mut self, condition: impl FnMut(&Progress) -> bool) {
        let reached = self.progress.wait_for(condition);
        tokio::time::timeout(DEADLINE, reached).await.expect("the sink gets there").unwrap();
    }
}

#[async_trait]
impl EventSink for TestSink {
    fn name(&self) -> &str {
        self.name
    }

    async fn write(&mut self, batch: &[CollectionEvent]) -> Result<(), SinkError> {
        let index = self.progress.borrow().offered;
        self.progress.send_modify(|progress| progress.offered += 1);
        let sink = self.name.to_owned();
        match self.behaviour {
            Behaviour::Fails { from, until } if (from..until).contains(&index) => {
                return Err(SinkError::Write { sink, source: std::io::Error::other("told to fail") });
            }
            Behaviour::ClosesAt(at) if index >= at => return Err(SinkError::Closed { sink }),
            Behaviour::BlocksAt(at) if index >= at => std::future::pending().await,
            Behaviour::Slow(time) => tokio::time::sleep(time).await,
            _ => {}
        }
        self.batches.lock().unwrap().push(batch.to_vec());
        self.progress.send_modify(|progress| progress.events += batch.len());
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
