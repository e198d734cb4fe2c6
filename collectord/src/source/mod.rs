//! Kernel events as [`EventSource`]s: one adapter for every class, a source and a reader's thread each.

mod canary;
pub(crate) mod clock;
pub(crate) mod convert;
mod coverage;
mod drain;
mod horizon;
mod nap;
mod numbering;
mod order;

use crate::kernel::mapped::Slots;
use crate::kernel::{KernelObject, LoadError, LoadOptions, ReadersChoice, via};
use crate::snapshot::{self, Snapshot};
use async_trait::async_trait;
pub use canary::CANARY_PERIOD;
use canary::Canary;
use collector_common::{Class, DropReason, Filters, Hook};
use collector_core::accounting::{ClassAccount, SourceAccount};
use collector_core::event::{CoverageEvent, EventClass, Origin};
use collector_core::{CollectionEvent, EventSource, SourceCaps};
pub use convert::Converter;
use drain::{Reader, ReaderCounters, StopSignal};
use horizon::{Horizon, Processes};
use nix::sched::CpuSet;
use numbering::Numbering;
use order::InOrder;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Which kernel events a [`KernelSource`] tells.
#[derive(Debug, Clone)]
pub struct KernelSourceOptions {
    /// How the programs are loaded, and which events they let through.
    pub load: LoadOptions,
    /// The hooks whose events are told. Those that feed the process table are attached besides, and read for it only.
    pub told: Vec<Hook>,
    /// How often a canary is sent through the hooks that it can come through; `None` for never. It makes system calls in a
    /// thread of this process and starts `/usr/bin/true` as its child, for whose end it waits.
    pub canary: Option<Duration>,
}

/// What the process table lives on.
const TABLE_HOOKS: [Hook; 4] = [Hook::Exec, Hook::Fork, Hook::Exit, Hook::CgroupMade];

/// The events of one class, read from the kernel's rings.
///
/// The hooks are loaded and attached when this is made: what it claims was proved, and events are already numbered.
pub struct KernelSource {
    class: Class,
    caps: SourceCaps,
    coverage: CoverageEvent,
    readers: ReadersChoice,
    /// All classes' programs: they share maps.
    object: Arc<Mutex<KernelObject>>,
    slots: Arc<Slots>,
    counters: Arc<ReaderCounters>,
    stop: Arc<StopSignal>,
    /// Until `start` takes it.
    reader: Mutex<Option<Reader>>,
    /// True once the reader's thread has ended.
    ended: watch::Sender<bool>,
}

impl KernelSource {
    /// Loads the object and attaches what is told and what feeds the process table: a source for each class of these.
    /// The first is always that of the process class.
    ///
    /// # Errors
    /// What is missing or was refused.
    pub fn open(options: &KernelSourceOptions) -> Result<Vec<Self>, LoadError> {
        let wanted = |hook: &&Hook| TABLE_HOOKS.contains(hook) || options.told.contains(hook);
        let hooks: Vec<Hook> = Hook::ALL.iter().filter(wanted).copied().collect();
        let quiet = hooks.iter().copied().filter(|hook| !options.told.contains(hook)).collect();
        // No event is older than this.
        let before_ns = clock::boot_ns();
        let object = KernelObject::attach(&LoadOptions { quiet, ..options.load.clone() }, &hooks)?;
        // What was parsed to load it is gone.
        crate::heap::trim();
        let processes = Processes {
            slots: Arc::new(object.slots()?),
            hooks: hooks_of(Class::Process, &object),
            counters: Arc::default(),
        };
        let horizon = Arc::new(Horizon::new(processes).map_err(no_eventfd)?);
        let object = Arc::new(Mutex::new(object));
        let classes = Class::ALL.into_iter().filter(|class| hooks.iter().any(|hook| hook.class() == *class));
        classes.map(|class| Self::of_class(class, &object, &horizon, options, before_ns)).collect()
    }

    fn of_class(
        class: Class,
        shared: &Arc<Mutex<KernelObject>>,
        horizon: &Arc<Horizon>,
        options: &KernelSourceOptions,
        before_ns: u64,
    ) -> Result<Self, LoadError> {
        let mut object = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let hooks = hooks_of(class, &object);
        let rings = object.take_rings(class).map_err(|error| LoadError::Unsupported(error.to_string()))?;
        let Processes { slots, counters, .. } = horizon.processes();
        let slots = Arc::clone(slots);
        let counters = if class == Class::Process { Arc::clone(counters) } else { Arc::default() };
        let stop = Arc::new(StopSignal::new().map_err(no_eventfd)?);
        let boot_id = boot_id();
        let origins = Hook::ALL.iter().map(|hook| {
            hooks.contains(hook).then(|| {
                Arc::new(Origin {
                    class: event_class(class),
                    stream: hook.stream().to_owned(),
                    source: class.name().to_owned(),
                    via: via(*hook),
                    boot_id: boot_id.clone(),
                })
            })
        });
        let internal = Hook::ALL.iter().map(|hook| !options.told.contains(hook)).collect();
        let converter = Converter::new(origins.collect(), internal, &object.layout().offsets);
        let coverage = coverage::of_class(class, &object);
        let canary =
            options.canary.and_then(|period| Canary::new(period, &hooks, &options.load.filters, before_ns));
        let reader = Reader {
            class,
            hooks,
            rings,
            sleeping: object.sleeping()?,
            converter,
            counters: Arc::clone(&counters),
            stop: Arc::clone(&stop),
            numbering: Numbering::new(slots.cpus(), before_ns),
            order: InOrder::default(),
            horizon: Arc::clone(horizon),
            self_pid: object.self_pid(),
            canary,
            cpus: None,
            slots: Arc::clone(&slots),
        };
        let whole = if options.load.filters != Filters::default() {
            SourceCaps::empty()
        } else {
            SourceCaps::SYSTEM_WIDE
        };
        Ok(Self {
            class,
            caps: event_class(class).domain() | SourceCaps::KERNEL_LEVEL | SourceCaps::REALTIME | whole,
            coverage,
            readers: options.load.readers,
            object: Arc::clone(shared),
            slots,
            counters,
            stop,
            reader: Mutex::new(Some(reader)),
            ended: watch::Sender::new(false),
        })
    }

    /// The processes that run, for [`Collector::with_process_snapshot`](collector_core::Collector::with_process_snapshot).
    /// The hooks are attached: a process that starts or ends meanwhile is told by an event as well.
    pub fn snapshot(&self) -> Snapshot {
        snapshot::take(&mut self.object(), self.readers)
    }

    /// Keeps the reader's thread on these CPUs. It has to be said before the source is started.
    pub fn pin_reader(&self, cpus: CpuSet) {
        if let Some(reader) = self.reader.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            reader.cpus = Some(cpus);
        }
    }

    fn object(&self) -> MutexGuard<'_, KernelObject> {
        self.object.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hooks_of(class: Class, object: &KernelObject) -> Vec<Hook> {
    let attached = object.attached().iter().map(|attached| attached.hook);
    attached.filter(|hook| hook.class() == class).collect()
}

fn no_eventfd(error: nix::Error) -> LoadError {
    LoadError::Unsupported(format!("eventfd: {error}"))
}

/// What the framework calls a class.
pub(crate) fn event_class(class: Class) -> EventClass {
    match class {
        Class::Process => EventClass::Process,
        Class::Network => EventClass::Network,
        Class::File => EventClass::File,
    }
}

#[async_trait]
impl EventSource for KernelSource {
    fn name(&self) -> &'static str {
        self.class.name()
    }

    fn capabilities(&self) -> SourceCaps {
        self.caps
    }

    /// Runs as long as the reader's thread; an error says that the thread panicked.
    async fn start(&self, tx: mpsc::Sender<CollectionEvent>) -> anyhow::Result<()> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        let reader =
            reader.ok_or_else(|| anyhow::anyhow!("source {} was started before", self.class.name()))?;
        let ended = self.ended.clone();
        let runtime = tokio::runtime::Handle::current();
        let thread =
            std::thread::Builder::new().name(format!("read-{}", self.class.name())).spawn(move || {
                let _ended = TellEnd(ended);
                reader.run(&tx, &runtime);
            })?;
        self.wait_for_end().await;
        match thread.join() {
            Ok(()) => Ok(()),
            Err(_) => anyhow::bail!("the reader of source {} panicked", self.class.name()),
        }
    }

    /// Its reader and its rings are taken by the first start.
    fn restartable(&self) -> bool {
        false
    }

    async fn stop(&self) -> anyhow::Result<()> {
        self.stop.detaching();
        let links = self.object().take_links(self.class);
        let (detaches, detached) = oneshot::channel::<()>();
        // The kernel takes its time, and the other sources are to be stopped meanwhile. Where no thread is to be had, they
        // wait: what it would have dropped is dropped here.
        let _ = std::thread::Builder::new().name("detach".to_owned()).spawn(move || {
            drop(links);
            drop(detaches);
        });
        let _ = detached.await;
        let never_started = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take().is_some();
        if never_started {
            return Ok(());
        }
        self.stop.stop();
        self.wait_for_end().await;
        Ok(())
    }

    async fn health_check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!*self.ended.borrow(), "the reader of source {} has ended", self.class.name());
        let malformed = self.counters.malformed.load(Ordering::Relaxed);
        anyhow::ensure!(malformed == 0, "{malformed} malformed records");
        let fault = self.counters.canary.lock().unwrap_or_else(PoisonError::into_inner).clone();
        anyhow::ensure!(fault.is_none(), "{}", fault.unwrap_or_default());
        Ok(())
    }

    fn coverage(&self) -> Option<CoverageEvent> {
        Some(self.coverage.clone())
    }

    fn account(&self) -> Option<SourceAccount> {
        // What happened last is read first, so that nothing seems to be there that was not generated yet.
        let drained = self.counters.drained.load(Ordering::Acquire);
        let mut account = ClassAccount {
            decoded: self.counters.decoded.load(Ordering::Acquire),
            malformed: self.counters.malformed.load(Ordering::Acquire),
            read: self.counters.read.load(Ordering::Acquire),
            ..ClassAccount::default()
        };
        let object = self.object();
        for attached in object.attached().iter().filter(|attached| attached.hook.class() == self.class) {
            for cpu in 0..self.slots.cpus() {
                let (generated, dropped) = self.slots.read(cpu, attached.hook as usize);
                account.generated += generated;
                account.missed += self.slots.missed(cpu, attached.hook as usize);
                for (reason, count) in DropReason::ALL.iter().zip(dropped).filter(|(_, count)| *count > 0) {
                    *account.dropped_kernel.entry(reason.name().to_owned()).or_default() += count;
                }
            }
        }
        let dropped: u64 = account.dropped_kernel.values().sum();
        if !drained {
            account.in_ring = account.generated.saturating_sub(dropped + account.read);
        }
        account.missed += object.missed(self.class);
        self.counters.missed.store(account.missed, Ordering::Release);
        Some([(event_class(self.class), account)].into())
    }
}

impl KernelSource {
    async fn wait_for_end(&self) {
        // The sender is a field of `self`, so the channel cannot close first.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

/// Says that the reader's thread has ended, also if it panicked: `stop` must not wait for a thread that is gone.
struct TellEnd(watch::Sender<bool>);

impl Drop for TellEnd {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// The kernel's boot id; empty where /proc does not tell it.
fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}
