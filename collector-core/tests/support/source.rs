//! A source that follows a script.

use super::kernel_event;
use async_trait::async_trait;
use collector_core::accounting::{ClassAccount, SourceAccount};
use collector_core::event::{ClassCoverage, CoverageEvent, EventClass};
use collector_core::{CollectionEvent, EventSource, SourceCaps};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::SystemTime;
use tokio::sync::{mpsc, watch};

type Step = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;
type Script = Box<dyn Fn(Feed) -> Step + Send + Sync>;

/// What a source did.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Runs that the source says the kernel skipped.
    pub(crate) missed: AtomicU64,
    pub(crate) decoded: AtomicU64,
    pub(crate) starts: AtomicU64,
    pub(crate) stops: AtomicU64,
    pub(crate) checks: AtomicU64,
    stopped: watch::Sender<bool>,
}

/// What a script works with.
#[derive(Clone)]
pub(crate) struct Feed {
    pub(crate) tx: mpsc::Sender<CollectionEvent>,
    pub(crate) ledger: Arc<Ledger>,
    name: &'static str,
}

impl Feed {
    /// Decodes and sends the next numbered event; false if the queue is closed.
    pub(crate) async fn next(&self) -> bool {
        let seq = self.ledger.decoded.fetch_add(1, SeqCst);
        self.tx.send(kernel_event(self.name, EventClass::Process, seq)).await.is_ok()
    }

    pub(crate) async fn send(&self, count: u64) {
        for _ in 0..count {
            assert!(self.next().await, "the queue was closed while its source ran");
        }
    }

    /// Sends another event than a numbered one of the source's own class.
    pub(crate) async fn other(&self, event: CollectionEvent) {
        self.tx.send(event).await.expect("the queue is open while its source runs");
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.ledger.stopped.borrow()
    }

    /// Waits until `stop` was called.
    pub(crate) async fn stopped(&self) {
        self.ledger
            .stopped
            .subscribe()
            .wait_for(|stopped| *stopped)
            .await
            .expect("the ledger outlives its feed");
    }
}

pub(crate) struct TestSource {
    name: &'static str,
    caps: SourceCaps,
    ledger: Arc<Ledger>,
    script: Script,
    at_stop: Script,
    on_check: Script,
    keeps_books: bool,
    kernel_books: fn(&mut ClassAccount),
    restartable: bool,
    feed: std::sync::Mutex<Option<Feed>>,
}

impl TestSource {
    pub(crate) fn new<F>(name: &'static str, script: impl Fn(Feed) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        Self {
            name,
            caps: SourceCaps::PROCESS,
            ledger: Arc::default(),
            script: Box::new(move |feed| Box::pin(script(feed))),
            at_stop: Box::new(|_| Box::pin(async { Ok(()) })),
            on_check: Box::new(|_| Box::pin(async { Ok(()) })),
            keeps_books: true,
            kernel_books: |_| {},
            restartable: true,
            feed: std::sync::Mutex::default(),
        }
    }

    /// Sends so many numbered events in `start` and returns from it.
    pub(crate) fn sends(name: &'static str, count: u64) -> Self {
        Self::new(name, move |feed| async move {
            feed.send(count).await;
            Ok(())
        })
    }

    pub(crate) fn at_stop<F>(mut self, script: impl Fn(Feed) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.at_stop = Box::new(move |feed| Box::pin(script(feed)));
        self
    }

    pub(crate) fn on_check<F>(mut self, script: impl Fn(Feed) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.on_check = Box::new(move |feed| Box::pin(script(feed)));
        self
    }

    pub(crate) fn caps(mut self, caps: SourceCaps) -> Self {
        self.caps = caps;
        self
    }

    pub(crate) fn without_books(mut self) -> Self {
        self.keeps_books = false;
        self
    }

    /// Changes what its books say of the kernel.
    pub(crate) fn kernel_books(mut self, change: fn(&mut ClassAccount)) -> Self {
        self.kernel_books = change;
        self
    }

    pub(crate) fn not_restartable(mut self) -> Self {
        self.restartable = false;
        self
    }

    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    fn feed(&self) -> Feed {
        self.feed.lock().unwrap().clone().expect("it was started")
    }
}

#[async_trait]
impl EventSource for TestSource {
    fn name(&self) -> &'static str {
        self.name
    }

    fn capabilities(&self) -> SourceCaps {
        self.caps
    }

    async fn start(&self, tx: mpsc::Sender<CollectionEvent>) -> anyhow::Result<()> {
        self.ledger.starts.fetch_add(1, SeqCst);
        let feed = Feed { tx, ledger: self.ledger(), name: self.name };
        *self.feed.lock().unwrap() = Some(feed.clone());
        (self.script)(feed).await
    }

    async fn stop(&self) -> anyhow::Result<()> {
        self.ledger.stops.fetch_add(1, SeqCst);
        self.ledger.stopped.send_replace(true);
        let feed = self.feed();
        (self.at_stop)(feed).await
    }

    async fn health_check(&self) -> anyhow::Result<()> {
        self.ledger.checks.fetch_add(1, SeqCst);
        let feed = self.feed();
        (self.on_check)(feed).await
    }

    fn restartable(&self) -> bool {
        self.restartable
    }

    fn coverage(&self) -> Option<CoverageEvent> {
        let class = ClassCoverage { hooks: Vec::new(), blind: vec![self.name.to_owned()] };
        let classes = [(EventClass::Process, class)].into();
        let timestamp = SystemTime::UNIX_EPOCH;
        self.keeps_books.then(|| CoverageEvent { kernel: "6.18".to_owned(), classes, timestamp })
    }

    fn account(&self) -> Option<SourceAccount> {
        let decoded = self.ledger.decoded.load(SeqCst);
        let mut account = ClassAccount {
            generated: decoded,
            read: decoded,
            decoded,
            missed: self.ledger.missed.load(SeqCst),
            ..ClassAccount::default()
        };
        (self.kernel_books)(&mut account);
        self.keeps_books.then(|| [(EventClass::Process, account)].into())
    }
}
