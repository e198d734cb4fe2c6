//! The library in an embedder's program: this one. Sources beside the kernel's fail, and the kernel's own does.

use crate::event::{Child, NS_PER_TICK};
use crate::limits;
use crate::rig::Rig;
use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use collector_common::{Filters, Hook};
use collector_core::accounting::SourceAccount;
use collector_core::event::{CoverageEvent, EventClass, KernelBody};
use collector_core::{
    CollectionEvent, Collector, CollectorConfig, EventSink, EventSource, PerformanceEvent, RunReport,
    SinkError, SourceCaps, SourceOutcome,
};
use collectord::kernel::LoadOptions;
use collectord::source::{KernelSource, KernelSourceOptions};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;
use tokio::sync::{Mutex, mpsc, oneshot};

crate::tests![
    a_source_that_panics_takes_no_kernel_event_with_it,
    a_source_that_does_not_start_takes_no_kernel_event_with_it,
    the_others_go_on_when_the_kernel_source_stops_early,
    the_others_go_on_when_the_kernel_source_fails,
    a_source_claims_what_was_proved,
];

/// Children before and after the fault.
const CHILDREN: usize = 50;

pub(crate) fn kernel_source(filters: Filters) -> Result<KernelSource> {
    collectord::memlock::raise();
    let load = LoadOptions { filters, ..LoadOptions::default() };
    let sources =
        KernelSource::open(&KernelSourceOptions { load, told: vec![Hook::Exec, Hook::Exit], canary: None })?;
    sources.into_iter().next().context("the process class has a source")
}

/// Hands on what it takes.
struct Recorder(Sender<CollectionEvent>);

#[async_trait]
impl EventSink for Recorder {
    fn name(&self) -> &str {
        "recorder"
    }

    async fn write(&mut self, batch: &[CollectionEvent]) -> Result<(), SinkError> {
        for event in batch {
            // A test that failed has gone.
            let _ = self.0.send(event.clone());
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// What a source does when it is told to.
type Deed = Box<dyn FnOnce() -> Result<()> + Send>;

/// A source without events that does one thing, once.
struct Doomed {
    deed: Mutex<Option<(oneshot::Receiver<()>, Deed)>>,
    /// Dropped when its start has ended, however it did.
    ended: std::sync::Mutex<Option<Sender<()>>>,
}

impl Doomed {
    /// The source, what makes it act, and what disconnects when it has.
    fn new(deed: impl FnOnce() -> Result<()> + Send + 'static) -> (Self, oneshot::Sender<()>, Receiver<()>) {
        let (act, told) = oneshot::channel();
        let (ended, gone) = channel();
        let deed: Deed = Box::new(deed);
        (Self { deed: Mutex::new(Some((told, deed))), ended: std::sync::Mutex::new(Some(ended)) }, act, gone)
    }
}

#[async_trait]
impl EventSource for Doomed {
    fn name(&self) -> &'static str {
        "doomed"
    }

    fn capabilities(&self) -> SourceCaps {
        SourceCaps::NETWORK
    }

    async fn start(&self, _tx: mpsc::Sender<CollectionEvent>) -> Result<()> {
        let _ended = self.ended.lock().ok().and_then(|mut ended| ended.take());
        let (told, deed) = self.deed.lock().await.take().context("it is started once")?;
        told.await?;
        deed()
    }

    async fn stop(&self) -> Result<()> {
        Ok(())
    }

    /// Its deed is done once.
    fn restartable(&self) -> bool {
        false
    }
}

/// A source that measures what it is asked to.
struct Meter(Mutex<Option<mpsc::UnboundedReceiver<f64>>>);

#[async_trait]
impl EventSource for Meter {
    fn name(&self) -> &'static str {
        "meter"
    }

    fn capabilities(&self) -> SourceCaps {
        SourceCaps::PERFORMANCE
    }

    async fn start(&self, tx: mpsc::Sender<CollectionEvent>) -> Result<()> {
        let mut values = self.0.lock().await.take().context("it is started once")?;
        while let Some(value) = values.recv().await {
            tx.send(CollectionEvent::Performance(PerformanceEvent { value, ..Default::default() })).await?;
        }
        Ok(())
    }

    async fn stop(&self) -> Result<()> {
        Ok(())
    }
}

/// How the kernel source inside ends before its time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EndsBy {
    /// Its `stop`.
    Stop,
    /// An error while its reader still runs.
    Error,
}

/// A kernel source under an embedder's own name, which ends when it is told to.
struct Wrapped {
    inner: KernelSource,
    ends_by: EndsBy,
    told: Mutex<Option<oneshot::Receiver<()>>>,
    ended: Sender<()>,
}

#[async_trait]
impl EventSource for Wrapped {
    fn name(&self) -> &'static str {
        "wrapped"
    }

    fn capabilities(&self) -> SourceCaps {
        self.inner.capabilities()
    }

    async fn start(&self, tx: mpsc::Sender<CollectionEvent>) -> Result<()> {
        let told = self.told.lock().await.take().context("it is started once")?;
        let inner = self.inner.start(tx);
        tokio::pin!(inner);
        tokio::select! {
            ended = &mut inner => bail!("the reader ended before its time: {ended:?}"),
            told = told => told?,
        }
        match self.ends_by {
            EndsBy::Stop => {
                self.inner.stop().await?;
                inner.await?;
                self.ended.send(())?;
                Ok(())
            }
            EndsBy::Error => {
                self.ended.send(())?;
                bail!("the embedder gives up")
            }
        }
    }

    async fn stop(&self) -> Result<()> {
        self.inner.stop().await
    }

    fn restartable(&self) -> bool {
        self.inner.restartable()
    }

    fn coverage(&self) -> Option<CoverageEvent> {
        self.inner.coverage()
    }

    fn account(&self) -> Option<SourceAccount> {
        self.inner.account()
    }
}

/// A collector at work, and what its sink took so far.
pub(crate) struct Embedded {
    runtime: tokio::runtime::Runtime,
    running: tokio::task::JoinHandle<Result<RunReport>>,
    shutdown: collector_core::ShutdownHandle,
    incoming: Receiver<CollectionEvent>,
    taken: Vec<CollectionEvent>,
}

impl Embedded {
    /// Starts it; returns when the stream has begun.
    pub(crate) fn start(sources: Vec<Box<dyn EventSource>>) -> Result<Self> {
        let mut collector = Collector::new(CollectorConfig::default()).without_signal_handling();
        for source in sources {
            collector.register(source)?;
        }
        let (sender, incoming) = channel();
        collector.add_sink(Box::new(Recorder(sender)));
        let shutdown = collector.shutdown_handle();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let running = runtime.spawn(collector.run_to_report());
        let mut embedded = Self { runtime, running, shutdown, incoming, taken: Vec::new() };
        embedded.until("the first event", |_| true)?;
        Ok(embedded)
    }

    /// Takes events until one is as wanted.
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&CollectionEvent) -> bool) -> Result<()> {
        let deadline = Instant::now() + limits::act();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.incoming.recv_timeout(left).with_context(|| format!("waiting for {what}"))?;
            let is_wanted = wanted(&event);
            self.taken.push(event);
            if is_wanted {
                return Ok(());
            }
        }
    }

    /// Stops it; the report and the whole stream, held against what holds for each.
    pub(crate) fn stop(mut self) -> Result<(RunReport, Vec<CollectionEvent>)> {
        self.shutdown.shutdown();
        let running = self.running;
        let ended = self.runtime.block_on(async move { tokio::time::timeout(limits::stop(), running).await });
        let report = ended.context("the run does not end")???;
        self.taken.extend(self.incoming.try_iter());
        let taken = self.taken;
        ensure!(matches!(taken.first(), Some(CollectionEvent::Coverage(_))), "first: {:?}", taken.first());
        ensure!(matches!(taken.last(), Some(CollectionEvent::Summary(_))), "last: {:?}", taken.last());
        let told = taken
            .iter()
            .filter(|event| matches!(event, CollectionEvent::Coverage(_) | CollectionEvent::Summary(_)));
        ensure!(told.count() == 2, "coverage or summary stands within the stream as well");
        ensure!(report.summary_told, "no sink took the summary");
        ensure!(report.imbalances.is_empty(), "the books do not balance: {:?}", report.imbalances);
        Ok((report, taken))
    }
}

fn act(rig: &Rig) -> Result<Vec<Child>> {
    rig.act_os(&[&"spawn", &CHILDREN.to_string(), &rig.actor(), &"exit", &"0"])?.children()
}

/// Each child's exec and exit are there, once.
fn each_once(taken: &[CollectionEvent], children: &[Child]) -> Result<()> {
    for child in children {
        let of_child = |name: &str| {
            let events = taken.iter().filter_map(|event| match event {
                CollectionEvent::Kernel(event) => Some(event),
                _ => None,
            });
            let of_child = events.filter(|event| {
                u64::from(event.process.pid) == child.pid
                    && event.process.start_ns / NS_PER_TICK == child.start_ticks
            });
            of_child.filter(|event| event.body.name() == name).count()
        };
        let counts = (of_child("exec"), of_child("exit"));
        ensure!(counts == (1, 1), "{counts:?} execs and exits of {child:?}");
    }
    Ok(())
}

/// Nothing was lost, whoever died.
fn nothing_lost(report: &RunReport, taken: &[CollectionEvent]) -> Result<()> {
    let account = report.summary.classes.get(&EventClass::Process).context("the class has books")?;
    ensure!(account.dropped().is_empty(), "lost: {:?}", account.dropped());
    ensure!(account.pending == 0 && account.in_ring == 0, "left over: {account:?}");
    let told = taken.iter().find(|event| matches!(event, CollectionEvent::Loss(_)));
    ensure!(told.is_none(), "{told:?}");
    Ok(())
}

fn outcome<'a>(report: &'a RunReport, name: &str) -> Result<&'a SourceOutcome> {
    let source = report.sources.iter().find(|source| source.name == name);
    Ok(&source.with_context(|| format!("the report has no source {name}"))?.outcome)
}

/// The kernel's source beside one that does this half-way.
fn beside_doomed(rig: &Rig, deed: impl FnOnce() -> Result<()> + Send + 'static) -> Result<SourceOutcome> {
    let (doomed, fate, gone) = Doomed::new(deed);
    let mut embedded = Embedded::start(vec![Box::new(doomed), Box::new(kernel_source(Filters::default())?)])?;
    let mut children = act(rig)?;
    ensure!(fate.send(()).is_ok(), "the doomed source was gone before its time");
    // Its end of the channel goes when its start has ended.
    let ended = gone.recv_timeout(limits::act());
    ensure!(ended == Err(std::sync::mpsc::RecvTimeoutError::Disconnected), "the doomed source lives on");
    children.extend(act(rig)?);
    let last = children.last().context("children")?.pid;
    embedded.until("the last exit", |event| is_exit_of(event, last))?;
    let (report, taken) = embedded.stop()?;
    each_once(&taken, &children)?;
    nothing_lost(&report, &taken)?;
    ensure!(outcome(&report, "process")?.is_clean(), "{:?}", report.sources);
    outcome(&report, "doomed").cloned()
}

fn is_exit_of(event: &CollectionEvent, pid: u64) -> bool {
    matches!(event, CollectionEvent::Kernel(event)
        if u64::from(event.process.pid) == pid && matches!(event.body, KernelBody::Exit(_)))
}

fn a_source_that_panics_takes_no_kernel_event_with_it(rig: &Rig) -> Result<()> {
    // A panic that the panic hook does not print among the results.
    let outcome = beside_doomed(rig, || std::panic::resume_unwind(Box::new("a bug of the embedder's")))?;
    ensure!(outcome == SourceOutcome::Panicked("a bug of the embedder's".to_owned()), "{outcome:?}");
    Ok(())
}

fn a_source_that_does_not_start_takes_no_kernel_event_with_it(rig: &Rig) -> Result<()> {
    let outcome = beside_doomed(rig, || bail!("no such device"))?;
    ensure!(outcome == SourceOutcome::Failed("no such device".to_owned()), "{outcome:?}");
    Ok(())
}

/// A meter beside a kernel source that ends half-way.
fn beside_ending(rig: &Rig, ends_by: EndsBy) -> Result<(RunReport, Vec<CollectionEvent>, Vec<Child>)> {
    let (end, told) = oneshot::channel();
    let (ended, has_ended) = channel();
    let inner = kernel_source(Filters::default())?;
    let wrapped = Wrapped { inner, ends_by, told: Mutex::new(Some(told)), ended };
    let (measure, values) = mpsc::unbounded_channel();
    let meter = Meter(Mutex::new(Some(values)));
    let mut embedded = Embedded::start(vec![Box::new(wrapped), Box::new(meter)])?;
    let children = act(rig)?;
    let last = children.last().context("children")?.pid;
    embedded.until("the last exit", |event| is_exit_of(event, last))?;
    ensure!(end.send(()).is_ok(), "the kernel source was gone before its time");
    has_ended.recv_timeout(limits::stop()).context("the kernel source does not end")?;
    // What happens now is the meter's alone.
    act(rig)?;
    for value in 0..CHILDREN {
        measure.send(f64::from(u32::try_from(value)?))?;
        embedded.until("a measurement", |event| {
            matches!(event, CollectionEvent::Performance(event)
                if (event.value - f64::from(u32::try_from(value).unwrap_or_default())).abs() < 0.5)
        })?;
    }
    // The meter's start ends.
    drop(measure);
    let (report, taken) = embedded.stop()?;
    ensure!(outcome(&report, "meter")?.is_clean(), "{:?}", report.sources);
    let meter = report.sources.iter().find(|source| source.name == "meter").context("the meter")?;
    ensure!(meter.delivered == CHILDREN as u64, "{meter:?}");
    each_once(&taken, &children)?;
    Ok((report, taken, children))
}

fn the_others_go_on_when_the_kernel_source_stops_early(rig: &Rig) -> Result<()> {
    let (report, taken, _) = beside_ending(rig, EndsBy::Stop)?;
    nothing_lost(&report, &taken)?;
    ensure!(outcome(&report, "wrapped")?.is_clean(), "{:?}", report.sources);
    // Stopped is detached: the children after it were not even numbered.
    let account = &report.summary.classes[&EventClass::Process];
    ensure!(account.generated == account.delivered + account.internal, "{account:?}");
    Ok(())
}

fn the_others_go_on_when_the_kernel_source_fails(rig: &Rig) -> Result<()> {
    let (report, _, _) = beside_ending(rig, EndsBy::Error)?;
    let outcome = outcome(&report, "wrapped")?;
    ensure!(*outcome == SourceOutcome::Failed("the embedder gives up".to_owned()), "{outcome:?}");
    Ok(())
}

fn a_source_claims_what_was_proved(_rig: &Rig) -> Result<()> {
    let proved = SourceCaps::PROCESS | SourceCaps::KERNEL_LEVEL | SourceCaps::REALTIME;
    let whole = kernel_source(Filters::default())?;
    ensure!(whole.capabilities() == proved | SourceCaps::SYSTEM_WIDE, "{:?}", whole.capabilities());
    let mut filters = Filters { pids_len: 1, ..Filters::default() };
    filters.pids[0] = std::process::id();
    let one = kernel_source(filters)?;
    ensure!(one.capabilities() == proved, "with a pid filter: {:?}", one.capabilities());
    let coverage = one.coverage().context("it knows its coverage before it starts")?;
    let hooks = coverage.classes.get(&EventClass::Process).context("the class is covered")?;
    let mut via: Vec<&str> = hooks.hooks.iter().map(|hook| hook.via.as_str()).collect();
    via.sort_unstable();
    let expected = [
        "raw_tp:cgroup_mkdir",
        "raw_tp:sched_process_exec",
        "raw_tp:sched_process_exit",
        "raw_tp:sched_process_fork",
    ];
    ensure!(via == expected, "{via:?}");
    Ok(())
}
