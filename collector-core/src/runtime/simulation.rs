//! The law on paper, with the real parts: intake, stages, batch, admission, process table, outlet and books are the
//! runtime's own, driven turn by turn by a seed in paused time. Around them stand sources that number, lose and die, and
//! a sink that stalls, fails and leaves (`world.rs`); the batcher itself may be dropped in the middle of a write.
//!
//! Held against it after every turn: the four equations, with what waits counted where it waits. At the end: told losses
//! and books agree, and each number was delivered or told exactly once.

mod world;

use super::admit::Admission;
use super::batch::Batch;
use super::batcher::Batcher;
use super::books::{DropReason, SourceBooks};
use super::intake::{self, Intake};
use super::live::Live;
use super::missed::Missed;
use super::outlet::Outlet;
use super::stage::StageLimits;
use super::stop::{Deadlines, Phase};
use super::untold::Untold;
use crate::backpressure::{BackpressurePolicies, BackpressurePolicy, QUEUE_BYTES_MIN};
use crate::config::CollectorConfig;
use crate::event::{CollectionEvent, EventClass};
use crate::process_table::ProcessTable;
use crate::subscription::Subscribers;
use fastrand::Rng;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use world::{CLASSES, Mode, Sink, Source, Taken, locked, one_in};

const SEEDS: u64 = 100_000;
const STEPS: usize = 30;
/// Seeds that once failed, kept.
const ONCE_FAILED: [u64; 0] = [];
const WAIT_MAX: Duration = Duration::from_millis(20);
const SHUTDOWN: Duration = Duration::from_millis(100);
/// Room for a numbered event, and not for a loss beside it.
const QUEUE_FEW_BYTES: usize = 1000;

/// One future, polled once.
fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

struct Simulation {
    random: Rng,
    sources: Vec<Source>,
    taken: Arc<Mutex<Taken>>,
    live: Arc<Live>,
    /// The sink can take nothing any more, or what it takes is limited: not all is told.
    is_cut: bool,
    /// Numbered events that may be delivered.
    limit: u64,
    /// How much a source reads in a row.
    haste: usize,
}

impl Simulation {
    fn new(seed: u64) -> (Self, Batcher, watch::Sender<Phase>, oneshot::Receiver<super::EndReason>) {
        let mut random = Rng::with_seed(seed);
        let (channel_events, _) = intake::divide(1 + random.usize(..8));
        let mut policies = BackpressurePolicies::default();
        if one_in(&mut random, 3) {
            let policy = [BackpressurePolicy::Drop, BackpressurePolicy::WaitThenDrop][random.usize(..2)];
            policies = policies.with_numbered(CLASSES[random.usize(..CLASSES.len())], policy);
        }
        let limits = StageLimits {
            events_max: 1 + random.usize(..6),
            bytes_max: [QUEUE_BYTES_MIN, QUEUE_FEW_BYTES][random.usize(..2)],
            threshold: 1 + random.usize(..6),
            wait_max: WAIT_MAX,
            policies,
        };
        let (mut sources, mut receivers) = (Vec::new(), Vec::new());
        for class in CLASSES {
            let (queue, receiver) = mpsc::channel(channel_events);
            sources.push(Source::new(class, queue, &mut random));
            receivers.push(receiver);
        }
        let config = CollectorConfig::new();
        let names = CLASSES.map(EventClass::name);
        let sinks = std::iter::once("sink".to_owned());
        let live =
            Arc::new(Live::new(&config, names.into_iter(), sinks, QUEUE_BYTES_MIN, watch::Sender::new(None)));
        let sink = Sink::new();
        let taken = Arc::clone(&sink.0);
        let limit = one_in(&mut random, 6).then(|| random.usize(..20) as u64 + 1);
        let claims: Vec<_> = names.into_iter().zip(sources.iter().map(Source::caps)).collect();
        let caps: Vec<_> = sources.iter().map(Source::caps).collect();
        let (phase, phase_rx) = watch::channel(Phase::Running);
        let (end, ended) = oneshot::channel();
        let timeout = [Duration::ZERO, Duration::from_millis(5)][random.usize(..2)];
        let batcher = Batcher {
            intake: Intake::new(receivers, caps.into_iter(), limits, Arc::clone(&live)),
            refused: Vec::new(),
            batch: Batch::new(CLASSES.len(), 1 + random.usize(..6), timeout),
            admission: Admission::new(claims.into_iter(), ProcessTable::new(16), limit, Arc::clone(&live)),
            books: vec![SourceBooks::default(); CLASSES.len()],
            untold: Untold::default(),
            unwritten: Untold::default(),
            missed: Missed::new(live.begun()),
            outlet: Outlet::new(vec![Box::new(sink)], phase_rx.clone(), Arc::clone(&live)),
            unflushed: false,
            ipc: None,
            phase: phase_rx,
            live: Arc::clone(&live),
            log_batches: false,
            subscribers: Subscribers::default(),
            audit: None,
            end: Some(end),
        };
        let haste = [0, 8][random.usize(..2)];
        let (is_cut, limit) = (limit.is_some(), limit.unwrap_or(u64::MAX));
        (Self { random, sources, taken, live, is_cut, limit, haste }, batcher, phase, ended)
    }

    /// One thing happens around the batcher.
    async fn happens(&mut self) {
        let at = self.random.usize(..self.sources.len());
        let source = &mut self.sources[at];
        match self.random.usize(..12) {
            0..=3 => (0..=self.random.usize(..3)).for_each(|_| source.generate()),
            4..=6 => {
                source.read(&mut self.random);
                for _ in 0..self.haste {
                    source.send();
                    source.read(&mut self.random);
                }
            }
            7 | 8 => source.send(),
            9 => {
                let millis = [1, 2, 30][self.random.usize(..3)];
                tokio::time::advance(Duration::from_millis(millis)).await;
            }
            10 => source.account.missed += self.random.usize(..2) as u64,
            _ => self.change_sink(),
        }
    }

    fn change_sink(&mut self) {
        let mut taken = locked(&self.taken);
        taken.mode = match self.random.usize(..40) {
            0 => Mode::Leaves,
            1..=8 => Mode::Fails,
            9..=16 => Mode::Stalls,
            _ => Mode::Takes,
        };
        self.is_cut |= taken.mode == Mode::Leaves;
    }

    /// Between two turns everything is somewhere, and counted there.
    fn check(&self, batcher: &Batcher) {
        for (at, source) in self.sources.iter().enumerate() {
            let in_batch = batcher.batch.events().iter().filter(|event| match event {
                CollectionEvent::Kernel(event) => event.origin.class == source.class,
                _ => false,
            });
            let waits = source.numbered_before(self.live.source(at).received())
                + batcher.intake.numbered_staged(at)
                + in_batch.count();
            let mut books = batcher.books[at].complete(source.books());
            let account = books.get_mut(&source.class).expect("it keeps books");
            account.pending += waits as u64 + source.died_in_hand();
            account.check().unwrap();
        }
        let delivered = |(at, source): (usize, &Source)| batcher.books[at].class(source.class).delivered;
        let delivered: u64 = self.sources.iter().enumerate().map(delivered).sum();
        assert!(delivered <= self.limit, "{delivered} were delivered, {} may be", self.limit);
    }

    /// The run ends: sources stop, queues are emptied, books are closed, and what is left is told.
    async fn end(mut self, mut batcher: Batcher, phase: &watch::Sender<Phase>) {
        let deadlines = Deadlines::new(Instant::now(), SHUTDOWN);
        phase.send_replace(Phase::Stopping(deadlines));
        // A sink may stall for good, and is given up; else what is left is taken, if none of it fails.
        let stalls = one_in(&mut self.random, 10);
        locked(&self.taken).mode = if stalls { Mode::Stalls } else { Mode::Takes };
        self.is_cut |= stalls;
        let mut steps = 0;
        loop {
            let mut more = false;
            for source in &mut self.sources {
                more |= source.stop(&mut self.random);
            }
            if !more {
                break;
            }
            tokio::time::advance(Duration::from_millis(1)).await;
            if self.turn(&mut batcher, true).await.is_none() {
                return;
            }
            steps += 1;
            if steps == 1_000 {
                assert!(stalls, "the sources could not hand over what they had");
                break;
            }
        }
        for source in &mut self.sources {
            // It is aborted.
            source.kill_if_open();
        }
        phase.send_replace(Phase::Draining(deadlines));
        tokio::time::advance(if stalls { SHUTDOWN } else { Duration::ZERO }).await;
        finished(batcher.drain()).await;
        self.check(&batcher);
        let leftovers = |source: &Source| source.killed.then_some(DropReason::SourceFailed);
        let closings: Vec<_> =
            self.sources.iter().map(|source| (Some(source.books()), leftovers(source))).collect();
        let sum = batcher.close_books(closings, SystemTime::UNIX_EPOCH);
        finished(batcher.hand_on()).await;
        let taken = locked(&self.taken);
        for (at, source) in self.sources.iter().enumerate() {
            let account = &sum[&source.class];
            account.check().unwrap();
            assert!(account.pending == 0 || self.is_cut, "{account:?}");
            let died = account.dropped_user.get("source_failed").copied().unwrap_or(0);
            assert_eq!(died, source.died_in_hand());
            if !self.is_cut && !source.killed {
                assert_eq!(taken.of[at].count() + account.internal, account.generated, "{account:?}");
            }
        }
        if self.is_cut {
            return;
        }
        // What is told is what the books say, by each of the runtime's reasons.
        let mut counted = crate::accounting::Reasons::new();
        for account in sum.values() {
            for (reason, count) in &account.dropped_user {
                *counted.entry(reason.clone()).or_default() += count;
            }
        }
        let mut told = taken.told.clone();
        let missed = told.remove("missed").unwrap_or(0);
        assert_eq!(missed, sum.values().map(|account| account.missed).sum::<u64>());
        let gaps = told.remove("gap").unwrap_or(0);
        assert_eq!(told, counted);
        if self.sources.iter().all(|source| !source.killed) {
            let kernel: u64 = sum
                .values()
                .map(|account| account.malformed + account.dropped_kernel.values().sum::<u64>())
                .sum();
            assert_eq!(gaps, kernel);
        }
    }

    /// A turn of the batcher, as far as it comes. While its sink makes it wait, things happen, or, once the run ends, time
    /// passes. `None` if it was dropped then, as a run is that nobody waits for any more.
    async fn turn(&mut self, batcher: &mut Batcher, is_ending: bool) -> Option<()> {
        {
            let mut turn = pin!(batcher.turn());
            loop {
                locked(&self.taken).is_asked = false;
                // What waits for events or a timer begins anew with the next turn, as it does beside other timers.
                if poll(turn.as_mut()).is_ready() || !locked(&self.taken).is_asked {
                    break;
                }
                if is_ending {
                    tokio::time::advance(Duration::from_millis(1)).await;
                } else if one_in(&mut self.random, 200) {
                    return None;
                } else {
                    self.happens().await;
                }
                self.check_meanwhile();
            }
        }
        self.check(batcher);
        Some(())
    }

    /// While the batcher is in the middle of a turn, what it has published is behind what happened, and never ahead.
    fn check_meanwhile(&self) {
        for (at, source) in self.sources.iter().enumerate() {
            let live = self.live.source(at);
            assert!(live.received() <= source.sent());
            let ended = live.delivered() + live.internal() + live.pending() + live.dropped_sum();
            assert!(ended <= source.sent(), "{ended} events have ended of {} that were sent", source.sent());
        }
    }
}

/// Polls to the end: nothing that it waits for is left to come but time.
async fn finished(future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    for _ in 0..1_000 {
        if poll(future.as_mut()).is_ready() {
            return;
        }
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    panic!("it does not come to its end");
}

async fn run(seed: u64) {
    let (mut simulation, mut batcher, phase, mut ended) = Simulation::new(seed);
    let death = simulation.random.usize(..4 * STEPS);
    for step in 0..STEPS {
        if step == death {
            let at = simulation.random.usize(..CLASSES.len());
            simulation.sources[at].kill();
        }
        simulation.happens().await;
        if one_in(&mut simulation.random, 2) && simulation.turn(&mut batcher, false).await.is_none() {
            return simulation.check_meanwhile();
        }
        if ended.try_recv().is_ok() {
            break;
        }
    }
    simulation.end(batcher, &phase).await;
}

fn run_all(seeds: impl Iterator<Item = u64>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    for seed in seeds {
        let one = std::panic::AssertUnwindSafe(|| runtime.block_on(tokio::task::unconstrained(run(seed))));
        if let Err(panic) = std::panic::catch_unwind(one) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn each_number_is_delivered_or_told_once_by_the_real_runtime_whatever_stalls_fails_or_dies() {
    const THREADS: u64 = 2;
    run_all(ONCE_FAILED.into_iter());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || run_all((thread..SEEDS).step_by(usize::try_from(THREADS).unwrap())));
        }
    });
}
