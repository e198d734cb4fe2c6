//! A run leaves nothing behind: no task, no descriptor, no memory. Alone in its process, since it counts the
//! process's.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

#[allow(dead_code, unused_imports, reason = "the integration test uses all of it")]
mod support;

use collector_core::{Collector, ProcessUsage};
use support::{TestSink, TestSource, config};

const CYCLES: usize = 1_000;
/// What a thousand runs may add to the resident memory; one run that leaked its queues would alone be a tenth of it.
const GROWTH_MAX_BYTES: u64 = 8 * 1024 * 1024;
const NAMES: [&str; 16] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident_bytes() -> u64 {
    ProcessUsage::read().unwrap().resident_bytes
}

/// Starts and stops 16 sources: some loop, some return at once, some have a task of their own, some fail.
async fn cycle() {
    let mut collector = Collector::new(config());
    for (index, name) in NAMES.into_iter().enumerate() {
        let source = TestSource::new(name, move |feed| async move {
            feed.send(2).await;
            match index % 4 {
                0 => feed.stopped().await,
                1 => drop(tokio::spawn(async move { feed.stopped().await })),
                2 => anyhow::bail!("fails"),
                _ => {}
            }
            Ok(())
        });
        collector.register(Box::new(source)).unwrap();
    }
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(support::run(collector));
    recorded.until_events(33).await;
    handle.shutdown();
    let report = running.await.unwrap();
    assert_eq!(report.imbalances, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_runs_of_16_sources_leave_no_task_no_descriptor_and_no_memory() {
    // The allocator and the signal handlers take what they keep.
    for _ in 0..CYCLES / 10 {
        cycle().await;
    }
    let metrics = tokio::runtime::Handle::current().metrics();
    let (files, tasks, resident) = (open_files(), metrics.num_alive_tasks(), resident_bytes());
    for _ in 0..CYCLES {
        cycle().await;
    }
    let deadline = std::time::Instant::now() + support::DEADLINE;
    while metrics.num_alive_tasks() > tasks {
        assert!(std::time::Instant::now() < deadline, "{} tasks are left", metrics.num_alive_tasks());
        tokio::task::yield_now().await;
    }
    assert_eq!(open_files(), files, "descriptors");
    let grown = resident_bytes().saturating_sub(resident);
    assert!(grown <= GROWTH_MAX_BYTES, "resident memory has grown by {grown} bytes");
}
