//! The real runtime between a source that only produces and a sink that only counts.
//!
//! `throughput/*` is events from the first `send` to the last one taken by the sink, start and shutdown of the run
//! included. `latency_p99/*` reports, as the time of an iteration, the 99th percentile of the time from the moment at
//! which an event was due, also if its source had to wait, to the sink at 50,000 events/s. `cpu_per_second/*` reports the CPU time that a second of run at 10,000 events/s costs the
//! whole process, the source's own work included: 20 ms are 2 % of a core.
//!
//! Two are no times and stand in lines of their own: `memory/flood_stalled_sink` (the resident memory while a sink takes
//! nothing and a source floods, for BENCH_FLOOD_SECS seconds, 5 if it is not set) and `cycles/1000x16` (what 1,000 runs
//! of 16 sources leave behind).
#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench fails by panicking"
)]

use async_trait::async_trait;
use collector_core::event::{EventClass, Exit, KernelBody, Namespaces, Origin, ProcessContext, Text};
use collector_core::{
    CollectionEvent, Collector, CollectorConfig, EventSink, EventSource, KernelEvent, PerformanceEvent,
    ProcessEvent, ProcessUsage, ShutdownHandle, SinkError, SourceCaps,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;

/// What a source produces.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A measurement without text: no work for an event but its way.
    Plain,
    /// A process as a seed-style source tells it, with a name and a path.
    Process,
    /// A numbered exit, boxed, through the process table.
    Kernel,
}

struct Generator {
    name: &'static str,
    kind: Kind,
    count: u64,
    /// Events for each tick, and the ticks' interval; as fast as it goes without.
    pace: Option<(u64, Duration)>,
    origin: Arc<Origin>,
    process: Text,
}

/// As many as the kernel source takes from a ring in one turn.
const CHUNK: usize = 128;

impl Generator {
    fn new(name: &'static str, kind: Kind, count: u64) -> Self {
        let origin = Origin {
            class: EventClass::Process,
            stream: "exit".to_owned(),
            source: name.to_owned(),
            via: "raw_tp:sched_process_exit".to_owned(),
            boot_id: "boot".to_owned(),
        };
        Self { name, kind, count, pace: None, origin: Arc::new(origin), process: Text::from("task") }
    }

    fn event(&self, seq: u64, due: SystemTime) -> CollectionEvent {
        match self.kind {
            Kind::Plain => CollectionEvent::Performance(PerformanceEvent {
                value: 1.0,
                timestamp: due,
                ..PerformanceEvent::default()
            }),
            Kind::Process => CollectionEvent::Process(ProcessEvent {
                pid: 7,
                name: "task".to_owned(),
                executable_path: Some("/usr/bin/task".to_owned()),
                ..ProcessEvent::default()
            }),
            Kind::Kernel => CollectionEvent::Kernel(Box::new(KernelEvent {
                origin: Arc::clone(&self.origin),
                ktime_ns: seq,
                wall_ns: seq,
                cpu: 0,
                seq,
                abi: None,
                internal: false,
                process: ProcessContext {
                    pid: 100,
                    tid: 100,
                    ppid: 1,
                    ns_pid: 100,
                    start_ns: 1,
                    name: self.process.clone(),
                    ruid: 0,
                    euid: 0,
                    rgid: 0,
                    egid: 0,
                    loginuid: None,
                    session: None,
                    cap_effective: 0,
                    ns: Namespaces::default(),
                    cgroup_id: 0,
                    exe: None,
                },
                identity: None,
                body: KernelBody::Exit(Exit { status: 0, duration_ns: 1 }),
                missing: Vec::new(),
                truncated: Vec::new(),
            })),
        }
    }
}

#[async_trait]
impl EventSource for Generator {
    fn name(&self) -> &'static str {
        self.name
    }

    fn capabilities(&self) -> SourceCaps {
        SourceCaps::PROCESS | SourceCaps::PERFORMANCE
    }

    async fn start(&self, tx: mpsc::Sender<CollectionEvent>) -> anyhow::Result<()> {
        let mut sent = 0;
        let mut ticks = self.pace.map(|(_, interval)| tokio::time::interval(interval));
        let (begun, begun_wall) = (tokio::time::Instant::now(), SystemTime::now());
        let mut due = SystemTime::UNIX_EPOCH;
        while sent < self.count {
            let mut burst = self.count - sent;
            if let (Some(ticks), Some((events, _))) = (&mut ticks, self.pace) {
                // The tick's own time, not that of being woken.
                due = begun_wall + ticks.tick().await.saturating_duration_since(begun);
                burst = burst.min(events);
            }
            while burst > 0 {
                let chunk = CHUNK.min(usize::try_from(burst)?).min(tx.max_capacity());
                for permit in tx.reserve_many(chunk).await? {
                    permit.send(self.event(sent, due));
                    sent += 1;
                    burst -= 1;
                }
            }
        }
        Ok(())
    }

    async fn stop(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Counts, and stops the run when everything has come.
struct Counter {
    left: u64,
    shutdown: ShutdownHandle,
    latencies: Option<Arc<Mutex<Vec<Duration>>>>,
}

#[async_trait]
impl EventSink for Counter {
    fn name(&self) -> &str {
        "counter"
    }

    async fn write(&mut self, batch: &[CollectionEvent]) -> Result<(), SinkError> {
        if let Some(latencies) = &self.latencies {
            let now = SystemTime::now();
            let waited = |event: &CollectionEvent| now.duration_since(event.timestamp()).unwrap_or_default();
            latencies.lock().unwrap().extend(batch.iter().map(waited));
        }
        self.left = self.left.saturating_sub(batch.len() as u64);
        if self.left == 0 {
            self.shutdown.shutdown();
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs these sources until all their events have arrived; how long that took.
fn run(
    runtime: &tokio::runtime::Runtime,
    config: CollectorConfig,
    sources: Vec<Generator>,
    latencies: Option<Arc<Mutex<Vec<Duration>>>>,
) -> Duration {
    let left = sources.iter().map(|source| source.count).sum();
    let mut collector = Collector::new(config).without_signal_handling();
    for source in sources {
        collector.register(Box::new(source)).unwrap();
    }
    let shutdown = collector.shutdown_handle();
    collector.add_sink(Box::new(Counter { left, shutdown, latencies }));
    let begun = Instant::now();
    let report = runtime.block_on(collector.run_to_report()).unwrap();
    let took = begun.elapsed();
    assert_eq!(report.sources.iter().map(|source| source.delivered).sum::<u64>(), left);
    took
}

const NAMES: [&str; 16] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];

fn throughput(criterion: &mut Criterion) {
    const EVENTS: u64 = 400_000;
    let runtime = runtime();
    let config = || CollectorConfig::new().with_event_buffer_size(2048).with_max_batch_size(512);
    let mut group = criterion.benchmark_group("throughput");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(10);
    group.measurement_time(Duration::from_secs(4)).warm_up_time(Duration::from_secs(1));
    for (name, kind) in [("plain", Kind::Plain), ("process", Kind::Process), ("kernel", Kind::Kernel)] {
        group.bench_function(format!("1_source_{name}"), |bencher| {
            bencher.iter_custom(|iterations| {
                let one = |_| run(&runtime, config(), vec![Generator::new("a", kind, EVENTS)], None);
                (0..iterations).map(one).sum()
            });
        });
        group.bench_function(format!("16_sources_{name}"), |bencher| {
            bencher.iter_custom(|iterations| {
                let sources = || NAMES.map(|name| Generator::new(name, kind, EVENTS / 16)).into();
                (0..iterations).map(|_| run(&runtime, config(), sources(), None)).sum()
            });
        });
    }
    let defaults = || CollectorConfig::new();
    group.bench_function("1_source_plain_default_config", |bencher| {
        bencher.iter_custom(|iterations| {
            let one = |_| run(&runtime, defaults(), vec![Generator::new("a", Kind::Plain, EVENTS)], None);
            (0..iterations).map(one).sum()
        });
    });
    group.finish();
}

fn latency(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("latency_p99");
    group.sample_size(10).measurement_time(Duration::from_secs(5)).warm_up_time(Duration::from_millis(500));
    group.bench_function("at_50000_per_second_1_ms_batches", |bencher| {
        bencher.iter_custom(|iterations| {
            let one = |_| {
                let config = CollectorConfig::new().with_batch_timeout(Duration::from_millis(1));
                let mut source = Generator::new("a", Kind::Plain, 100_000);
                source.pace = Some((50, Duration::from_millis(1)));
                let latencies = Arc::<Mutex<Vec<Duration>>>::default();
                run(&runtime, config, vec![source], Some(Arc::clone(&latencies)));
                let mut latencies = latencies.lock().unwrap();
                latencies.sort_unstable();
                let at = |part: usize| latencies[latencies.len() * part / 1000].as_secs_f64() * 1e3;
                println!(
                    "  p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms",
                    at(500),
                    at(900),
                    at(990),
                    at(999)
                );
                latencies[latencies.len() * 99 / 100]
            };
            (0..iterations).map(one).sum()
        });
    });
    group.finish();
}

/// CPU time of all threads, from their schedulers' books.
fn cpu_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let of_thread = |thread: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(threads.filter_map(of_thread).sum())
}

fn overhead(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("cpu_per_second");
    group.sample_size(10).measurement_time(Duration::from_secs(10)).warm_up_time(Duration::from_millis(500));
    for (name, config) in [
        ("at_10000_per_second", CollectorConfig::new()),
        (
            "at_10000_per_second_1_ms_batches",
            CollectorConfig::new().with_batch_timeout(Duration::from_millis(1)),
        ),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let one = |_| {
                    let mut source = Generator::new("a", Kind::Plain, 10_000);
                    source.pace = Some((100, Duration::from_millis(10)));
                    let before = cpu_time();
                    let took = run(&runtime, config.clone(), vec![source], None);
                    (cpu_time() - before).div_f64(took.as_secs_f64())
                };
                (0..iterations).map(one).sum()
            });
        });
    }
    group.finish();
}

/// Whether the names given on the command line ask for it; criterion has no way to ask.
fn is_asked(name: &str) -> bool {
    let mut names = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|asked| name.contains(&asked))
}

/// Takes nothing for as long as it is told.
struct Stalled {
    until: tokio::time::Instant,
}

#[async_trait]
impl EventSink for Stalled {
    fn name(&self) -> &str {
        "stalled"
    }

    async fn write(&mut self, _: &[CollectionEvent]) -> Result<(), SinkError> {
        tokio::time::sleep_until(self.until).await;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

fn resident_bytes() -> u64 {
    ProcessUsage::read().unwrap().resident_bytes
}

/// The slope of a line through these points, per second, by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), point| {
        (above + (point.0 - x) * (point.1 - y), below + (point.0 - x).powi(2))
    });
    above / below
}

fn flood(_: &mut Criterion) {
    const NAME: &str = "memory/flood_stalled_sink";
    if !is_asked(NAME) {
        return;
    }
    let seconds = std::env::var("BENCH_FLOOD_SECS").ok().and_then(|text| text.parse().ok()).unwrap_or(5_u64);
    let runtime = runtime();
    let until = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let mut collector = Collector::new(CollectorConfig::new()).without_signal_handling();
    collector.register(Box::new(Generator::new("flood", Kind::Process, u64::MAX))).unwrap();
    collector.add_sink(Box::new(Stalled { until }));
    let handle = collector.handle();
    let points = runtime.block_on(async {
        let running = tokio::spawn(collector.run_to_report());
        let mut points = Vec::new();
        let begun = tokio::time::Instant::now();
        let mut looks = tokio::time::interval((until - begun) / 50);
        while tokio::time::Instant::now() < until {
            looks.tick().await;
            points.push((begun.elapsed().as_secs_f64(), resident_bytes() as f64));
        }
        handle.shutdown();
        drop(running.await);
        points
    });
    // In the first fifth the queue fills.
    let filled = &points[points.len() / 5..];
    let per_second = slope(filled);
    let (first, last) = (filled[0].1 / 1e6, filled[filled.len() - 1].1 / 1e6);
    println!(
        "{NAME}: {seconds} s, {} events processed, resident {first:.2} MB -> {last:.2} MB, {per_second:.0} bytes/s",
        handle.stats().events_processed
    );
}

fn cycles(_: &mut Criterion) {
    const NAME: &str = "cycles/1000x16";
    if !is_asked(NAME) {
        return;
    }
    let runtime = runtime();
    let cycle = || {
        let sources = NAMES.map(|name| Generator::new(name, Kind::Plain, 10)).into();
        run(&runtime, CollectorConfig::new().with_batch_timeout(Duration::ZERO), sources, None);
    };
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    (0..100).for_each(|_| cycle());
    let (files_before, resident_before) = (files(), resident_bytes());
    let begun = Instant::now();
    (0..1000).for_each(|_| cycle());
    let took = begun.elapsed();
    println!(
        "{NAME}: {:.1} ms each, descriptors {files_before} -> {}, tasks left {}, resident {:.2} MB -> {:.2} MB",
        took.as_secs_f64(),
        files(),
        runtime.metrics().num_alive_tasks(),
        resident_before as f64 / 1e6,
        resident_bytes() as f64 / 1e6,
    );
}

criterion_group!(benches, throughput, latency, overhead, flood, cycles);
criterion_main!(benches);
