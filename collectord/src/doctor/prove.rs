//! One class served as `watch` serves it, and an event of the doctor's own making awaited from its rings.

use super::act;
use crate::kernel::{LoadError, LoadOptions};
use crate::snapshot::ToldBy;
use crate::source::{KernelSource, KernelSourceOptions, event_class};
use collector_common::{Class, Hook};
use collector_core::event::{ClassCoverage, KernelBody, KernelEvent};
use collector_core::{CollectionEvent, EventSource};
use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// For the helper's whole life.
const HELPER_MAX: Duration = Duration::from_secs(20);
/// From the helper's end to the last of its events.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How often is looked whether the helper has ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const QUEUE_EVENTS: usize = 2048;

/// A class that was served.
#[derive(Debug, Clone, Default)]
pub(super) struct Proof {
    /// What `watch` would say of it.
    pub(super) coverage: ClassCoverage,
    /// The streams in which an event of the helper's came.
    pub(super) streams: BTreeSet<String>,
    /// From the helper's start to the first of its events of this class.
    pub(super) after: Option<Duration>,
    /// Who told the processes that ran before.
    pub(super) snapshot: Option<ToldBy>,
    /// What kept the helper from making an event.
    pub(super) helper_failed: Option<String>,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoProof {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{0}")]
    Broken(String),
}

/// The hooks of a class.
pub(super) fn hooks_of(class: Class) -> impl Iterator<Item = Hook> {
    Hook::ALL.iter().copied().filter(move |hook| hook.class() == class)
}

/// Attaches what `watch` attaches for this class's events, has a child make some, and reads them.
pub(super) fn prove(class: Class, load: LoadOptions) -> Result<Proof, NoProof> {
    let sources =
        KernelSource::open(&KernelSourceOptions { load, told: hooks_of(class).collect(), canary: None })?;
    let coverage = sources.iter().filter_map(EventSource::coverage);
    let coverage = coverage.filter_map(|mut told| told.classes.remove(&event_class(class))).next();
    let snapshot = sources.first().map(|source| source.snapshot().told_by);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| NoProof::Broken(format!("no runtime: {error}")))?;
    let proof = runtime.block_on(read(class, sources));
    runtime.shutdown_background();
    Ok(Proof { coverage: coverage.unwrap_or_default(), snapshot, ..proof? })
}

async fn read(class: Class, sources: Vec<KernelSource>) -> Result<Proof, NoProof> {
    let broken = |error: std::io::Error| NoProof::Broken(format!("failed to start a child: {error}"));
    let (queue, mut events) = mpsc::channel(QUEUE_EVENTS);
    let sources = Arc::new(sources);
    let mut readers = JoinSet::new();
    for at in 0..sources.len() {
        let (sources, queue) = (Arc::clone(&sources), queue.clone());
        readers.spawn(async move { sources[at].start(queue).await });
    }
    drop(queue);
    // On this runtime's one thread the tasks run now and take their readers: a source that is stopped before it was
    // started reads nothing, and the helper can be faster than the next wait.
    tokio::task::yield_now().await;
    let started = Instant::now();
    let mut helper = act::start(class).map_err(broken)?;
    let own = Own { pid: helper.id(), pid_ns: own_pid_ns() };
    let seen = tokio::spawn(async move {
        let mut proof = Proof::default();
        while let Some(event) = events.recv().await {
            if let CollectionEvent::Kernel(event) = event
                && event.origin.class == event_class(class)
                && own.made(&event)
            {
                proof.after.get_or_insert_with(|| started.elapsed());
                proof.streams.insert(event.origin.stream.clone());
            }
        }
        proof
    });
    let helper_failed = wait_for(&mut helper, started + HELPER_MAX).await.err();
    let stopped = tokio::time::timeout(STOP_MAX, async {
        for source in sources.iter() {
            if let Err(error) = source.stop().await {
                tracing::warn!(%error, "a source did not stop cleanly");
            }
        }
        while readers.join_next().await.is_some() {}
        seen.await
    });
    match stopped.await {
        Ok(Ok(proof)) => Ok(Proof { helper_failed, ..proof }),
        Ok(Err(error)) => Err(NoProof::Broken(format!("the reader broke: {error}"))),
        Err(_) => Err(NoProof::Broken(format!("the rings were not read within {} s", STOP_MAX.as_secs()))),
    }
}

/// Waits for the helper's end; one that hangs is ended.
async fn wait_for(helper: &mut Child, deadline: Instant) -> Result<(), String> {
    loop {
        match helper.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => {
                let mut said = String::new();
                if let Some(stderr) = &mut helper.stderr {
                    // What is not readable is not told.
                    let _ = stderr.read_to_string(&mut said);
                }
                return Err(format!(
                    "the child that was to make an event ended with {status}: {}",
                    said.trim()
                ));
            }
            Ok(None) if Instant::now() < deadline => tokio::time::sleep(LOOK_EVERY).await,
            Ok(None) => {
                let _ = helper.kill();
                let _ = helper.wait();
                return Err(format!(
                    "the child that was to make an event hung for {} s",
                    HELPER_MAX.as_secs()
                ));
            }
            Err(error) => return Err(format!("the child cannot be waited for: {error}")),
        }
    }
}

/// The helper, as the kernel's events name it: in a container its pid is not that of the initial namespace.
struct Own {
    pid: u32,
    pid_ns: Option<u64>,
}

impl Own {
    fn made(&self, event: &KernelEvent) -> bool {
        // Of whoever makes a cgroup little is told; its name is the helper's.
        if let KernelBody::CgroupMade(made) = &event.body {
            return made.path.as_bytes().ends_with(act::cgroup_name(self.pid).as_bytes());
        }
        let same_ns = self.pid_ns.is_none_or(|inode| u64::from(event.process.ns.pid) == inode);
        event.process.ns_pid == self.pid && same_ns
    }
}

fn own_pid_ns() -> Option<u64> {
    std::fs::metadata("/proc/self/ns/pid").ok().map(|namespace| namespace.ino())
}
