//! Sources and sinks that behave as the dice say.

use super::dice::Dice;
use crate::support::{Ledger, TestSource};
use async_trait::async_trait;
use collector_core::{CollectionEvent, EventSink, NetworkEvent, PerformanceEvent, ProcessEvent, SinkError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a run was given, and what came of it.
#[derive(Default)]
pub(crate) struct World {
    ledgers: Mutex<Vec<Arc<Ledger>>>,
    taken: Mutex<Vec<Arc<Mutex<Vec<CollectionEvent>>>>>,
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

impl World {
    pub(crate) fn ledgers(&self) -> Vec<Arc<Ledger>> {
        self.ledgers.lock().unwrap().clone()
    }

    /// What each sink took.
    pub(crate) fn taken(&self) -> Vec<Vec<CollectionEvent>> {
        self.taken.lock().unwrap().iter().map(|taken| taken.lock().unwrap().clone()).collect()
    }

    pub(crate) fn sources(&self, dice: &mut Dice) -> Vec<TestSource> {
        let count = dice.below(NAMES.len()) + 1;
        NAMES[..count].iter().map(|name| self.keep(any_source(name, dice))).collect()
    }

    /// Sources whose every start fails in the end.
    pub(crate) fn doomed(&self, dice: &mut Dice) -> Vec<TestSource> {
        let count = dice.below(NAMES.len()) + 1;
        let source = |name: &&'static str| {
            let dice = Mutex::new(dice.split());
            self.keep(TestSource::new(name, move |feed| {
                let mut dice = dice.lock().unwrap().split();
                async move {
                    for _ in 0..dice.below(20) {
                        feed.send(1).await;
                        tokio::time::sleep(dice.millis(30)).await;
                    }
                    if dice.one_in(2) { panic!("chaos: a bug") } else { anyhow::bail!("chaos: no device") }
                }
            }))
        };
        NAMES[..count].iter().map(source).collect()
    }

    pub(crate) fn sinks(&self, dice: &mut Dice) -> Vec<ChaosSink> {
        (0..dice.below(3)).map(|_| self.sink(Some(dice.split()))).collect()
    }

    pub(crate) fn steady_sink(&self) -> ChaosSink {
        self.sink(None)
    }

    fn sink(&self, dice: Option<Dice>) -> ChaosSink {
        let taken = Arc::<Mutex<Vec<CollectionEvent>>>::default();
        self.taken.lock().unwrap().push(Arc::clone(&taken));
        ChaosSink { dice, taken, trouble: Trouble::None }
    }

    fn keep(&self, source: TestSource) -> TestSource {
        self.ledgers.lock().unwrap().push(source.ledger());
        source
    }
}

fn any_source(name: &'static str, dice: &mut Dice) -> TestSource {
    let (start, stop, check) = (Mutex::new(dice.split()), Mutex::new(dice.split()), Mutex::new(dice.split()));
    let source = TestSource::new(name, move |feed| {
        let mut dice = start.lock().unwrap().split();
        async move {
            if dice.one_in(8) {
                std::future::pending::<()>().await;
            }
            let flood = dice.one_in(3);
            for _ in 0..dice.below(300) {
                if feed.is_stopped() || !feed.next().await {
                    return Ok(());
                }
                if dice.one_in(10) {
                    let odd = match dice.below(3) {
                        0 => CollectionEvent::Process(ProcessEvent::default()),
                        1 => CollectionEvent::Network(NetworkEvent::default()),
                        _ => CollectionEvent::Performance(PerformanceEvent::default()),
                    };
                    if feed.tx.send(odd).await.is_err() {
                        return Ok(());
                    }
                }
                if !flood {
                    tokio::time::sleep(dice.millis(40)).await;
                }
            }
            match dice.below(6) {
                0 => panic!("chaos: a bug"),
                1 => anyhow::bail!("chaos: no device"),
                2 => {
                    // Decoded, and lost with the source.
                    feed.ledger.decoded.fetch_add(3, std::sync::atomic::Ordering::SeqCst);
                    anyhow::bail!("chaos: with events in hand")
                }
                3 => Ok(()),
                _ => {
                    feed.stopped().await;
                    Ok(())
                }
            }
        }
    });
    let source = source.at_stop(move |feed| {
        let mut dice = stop.lock().unwrap().split();
        async move {
            match dice.below(8) {
                0 => std::future::pending().await,
                1 => panic!("chaos: a bug in stop"),
                2 => anyhow::bail!("chaos: it is stuck"),
                3 => {
                    for _ in 0..dice.below(100) {
                        if !feed.next().await {
                            break;
                        }
                    }
                    Ok(())
                }
                _ => Ok(()),
            }
        }
    });
    let source = source.on_check(move |_| {
        let mut dice = check.lock().unwrap().split();
        async move {
            match dice.below(8) {
                0 => std::future::pending().await,
                1 => panic!("chaos: a bug in a check"),
                2 => anyhow::bail!("chaos: unwell"),
                _ => Ok(()),
            }
        }
    });
    if dice.one_in(4) { source.not_restartable() } else { source }
}

/// What a sink suffers from for its next batches.
enum Trouble {
    None,
    Fails(usize),
    Slow(usize, Duration),
}

pub(crate) struct ChaosSink {
    /// Without, nothing goes wrong.
    dice: Option<Dice>,
    taken: Arc<Mutex<Vec<CollectionEvent>>>,
    trouble: Trouble,
}

#[async_trait]
impl EventSink for ChaosSink {
    fn name(&self) -> &str {
        "chaos"
    }

    async fn write(&mut self, batch: &[CollectionEvent]) -> Result<(), SinkError> {
        let closed = || SinkError::Closed { sink: "chaos".to_owned() };
        if let Some(dice) = &mut self.dice {
            match &mut self.trouble {
                Trouble::Fails(left) if *left > 0 => {
                    *left -= 1;
                    let source = std::io::Error::other("told to fail");
                    return Err(SinkError::Write { sink: "chaos".to_owned(), source });
                }
                Trouble::Slow(left, time) if *left > 0 => {
                    *left -= 1;
                    tokio::time::sleep(*time).await;
                }
                _ => {
                    self.trouble = match dice.below(40) {
                        0 => return Err(closed()),
                        1 => std::future::pending().await,
                        2..6 => Trouble::Fails(dice.below(5)),
                        6..14 => Trouble::Slow(dice.below(6), dice.millis(2_000)),
                        _ => Trouble::None,
                    };
                }
            }
        }
        self.taken.lock().unwrap().extend_from_slice(batch);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
