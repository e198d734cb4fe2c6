//! Kernel events as an [`EventSource`]: one adapter for every class.

mod clock;
mod convert;
mod drain;
mod numbering;
mod order;

use crate::kernel::mapped::Slots;
use crate::kernel::{AttachedHook, KernelObject, LoadError, LoadOptions, via};
use async_trait::async_trait;
use collector_common::{Class, DropReason, Hook};
use collector_core::accounting::{ClassAccount, SourceAccount};
use collector_core::event::{ClassCoverage, CoverageEvent, EventClass, HookCoverage, Origin};
use collector_core::{CollectionEvent, EventSource, SourceCaps};
use convert::Converter;
use drain::{Reader, ReaderCounters, StopSignal};
use numbering::Numbering;
use order::InOrder;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::sync::{mpsc, watch};

/// Which kernel events a [`KernelSource`] tells.
#[derive(Debug, Clone)]
pub struct KernelSourceOptions {
    /// How the programs are loaded, and which events they let through.
    pub load: LoadOptions,
    /// The hooks whose events are told. Others of the same class are read for the process table.
    pub told: Vec<Hook>,
}

/// The events of one class, read from the kernel's rings.
///
/// The hooks are loaded and attached when this is made: what it claims was proved, and events are already numbered.
pub struct KernelSource {
    class: EventClass,
    name: &'static str,
    caps: SourceCaps,
    coverage: CoverageEvent,
    object: Mutex<KernelObject>,
    slots: Arc<Slots>,
    counters: Arc<ReaderCounters>,
    stop: Arc<StopSignal>,
    /// Until `start` takes it.
    reader: Mutex<Option<Reader>>,
    /// True once the reader's thread has ended.
    ended: watch::Sender<bool>,
}

impl KernelSource {
    /// Loads and attaches the process class: starts, forks and ends of processes. All three feed the process table.
    ///
    /// # Errors
    /// What is missing or was refused.
    pub fn process(options: &KernelSourceOptions) -> Result<Self, LoadError> {
        let hooks = [Hook::Exec, Hook::Fork, Hook::Exit];
        let name = "process";
        let class = EventClass::Process;
        // No event is older than this.
        let before_ns = clock::boot_ns();
        let internal = |hook: &Hook| !options.told.contains(hook);
        let quiet = hooks.iter().copied().filter(internal).collect();
        let mut object = KernelObject::attach(&LoadOptions { quiet, ..options.load.clone() }, &hooks)?;
        let rings = object.take_rings(Class::Process);
        let slots = Arc::new(object.slots()?);
        let stop =
            Arc::new(StopSignal::new().map_err(|error| LoadError::Unsupported(format!("eventfd: {error}")))?);
        let counters = Arc::new(ReaderCounters::default());
        let boot_id = boot_id();
        let origins = Hook::ALL.iter().map(|hook| {
            hooks.contains(hook).then(|| {
                Arc::new(Origin {
                    class,
                    stream: hook.stream().to_owned(),
                    source: name.to_owned(),
                    via: via(*hook),
                    boot_id: boot_id.clone(),
                })
            })
        });
        let internal = Hook::ALL.iter().map(internal).collect();
        let converter = Converter::new(origins.collect(), internal, &object.layout().offsets);
        let reader = Reader {
            class,
            hooks: hooks.to_vec(),
            rings,
            sleeping: object.sleeping()?,
            converter,
            counters: Arc::clone(&counters),
            stop: Arc::clone(&stop),
            numbering: Numbering::new(slots.cpus(), before_ns),
            order: InOrder::default(),
            slots: Arc::clone(&slots),
        };
        let filters = &options.load.filters;
        let filtered = filters.pids_len + filters.uids_len + filters.comms_len > 0;
        let whole = if filtered { SourceCaps::empty() } else { SourceCaps::SYSTEM_WIDE };
        Ok(Self {
            class,
            name,
            caps: class.domain() | SourceCaps::KERNEL_LEVEL | SourceCaps::REALTIME | whole,
            coverage: coverage(class, object.attached()),
            object: Mutex::new(object),
            slots,
            counters,
            stop,
            reader: Mutex::new(Some(reader)),
            ended: watch::Sender::new(false),
        })
    }
}

#[async_trait]
impl EventSource for KernelSource {
    fn name(&self) -> &'static str {
        self.name
    }

    fn capabilities(&self) -> SourceCaps {
        self.caps
    }

    /// Runs as long as the reader's thread; an error says that the thread panicked.
    async fn start(&self, tx: mpsc::Sender<CollectionEvent>) -> anyhow::Result<()> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        let reader = reader.ok_or_else(|| anyhow::anyhow!("source {} was started before", self.name))?;
        let ended = self.ended.clone();
        let runtime = tokio::runtime::Handle::current();
        let thread = std::thread::Builder::new().name(format!("read-{}", self.name)).spawn(move || {
            let _ended = TellEnd(ended);
            reader.run(&tx, &runtime);
        })?;
        self.wait_for_end().await;
        match thread.join() {
            Ok(()) => Ok(()),
            Err(_) => anyhow::bail!("the reader of source {} panicked", self.name),
        }
    }

    async fn stop(&self) -> anyhow::Result<()> {
        self.object.lock().unwrap_or_else(PoisonError::into_inner).detach();
        let never_started = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take().is_some();
        if never_started {
            return Ok(());
        }
        self.stop.stop();
        self.wait_for_end().await;
        Ok(())
    }

    async fn health_check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!*self.ended.borrow(), "the reader of source {} has ended", self.name);
        let malformed = self.counters.malformed.load(Ordering::Relaxed);
        anyhow::ensure!(malformed == 0, "{malformed} malformed records");
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
        let object = self.object.lock().unwrap_or_else(PoisonError::into_inner);
        for attached in object.attached() {
            for cpu in 0..self.slots.cpus() {
                let (generated, dropped) = self.slots.read(cpu, attached.hook as usize);
                account.generated += generated;
                for (reason, count) in DropReason::ALL.iter().zip(dropped).filter(|(_, count)| *count > 0) {
                    *account.dropped_kernel.entry(reason.name().to_owned()).or_default() += count;
                }
            }
        }
        let dropped: u64 = account.dropped_kernel.values().sum();
        if !drained {
            account.in_ring = account.generated.saturating_sub(dropped + account.read);
        }
        account.missed = object.missed();
        Some([(self.class, account)].into())
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

/// What no hook of the process class sees: calls of exec that failed, and through which system call ABI a program was
/// started (the kernel has set the new program's by then).
const BLIND: [&str; 2] = ["exec-failed", "exec-abi"];

fn coverage(class: EventClass, attached: &[AttachedHook]) -> CoverageEvent {
    let hooks = attached.iter().map(|attached| HookCoverage {
        via: via(attached.hook),
        rung: attached.hook.rung().name().to_owned(),
        readers: attached.readers.name().to_owned(),
    });
    let blind = BLIND.iter().map(|name| (*name).to_owned()).collect();
    let class_coverage = ClassCoverage { hooks: hooks.collect(), blind };
    CoverageEvent {
        kernel: nix::sys::utsname::uname()
            .map(|name| name.release().to_string_lossy().into_owned())
            .unwrap_or_default(),
        classes: [(class, class_coverage)].into(),
        timestamp: SystemTime::now(),
    }
}

/// The kernel's boot id; empty where /proc does not tell it.
fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}
