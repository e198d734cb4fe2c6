mod dice;
mod hostile;
mod world;

use crate::support::{collector, config, numbered};
use collector_core::accounting::ClassAccount;
use collector_core::event::EventClass;
use collector_core::{
    BackpressurePolicies, BackpressurePolicy, CollectionEvent, Collector, EndReason, RestartPolicy,
    RunReport, SourceOutcome,
};
use dice::{Dice, each_seed};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use world::World;

/// Longer than any case may take, in paused time.
const CASE_MAX: Duration = Duration::from_secs(3_600);

fn any_collector(dice: &mut Dice, world: &World) -> Collector {
    let config = config()
        .with_event_buffer_size(dice.below(60) + 1)
        .with_max_batch_size(dice.below(40) + 1)
        .with_batch_timeout(Duration::from_millis(dice.below(50) as u64))
        .with_max_backpressure_wait(Duration::from_millis(dice.below(600) as u64))
        .with_health_check_interval(Duration::from_millis(dice.below(5_000) as u64 + 1))
        .with_telemetry_interval(Duration::from_secs(dice.below(10) as u64 + 1))
        .with_shutdown_timeout(Duration::from_secs(dice.below(8) as u64 + 1));
    let policies = [BackpressurePolicy::Wait, BackpressurePolicy::WaitThenDrop, BackpressurePolicy::Drop];
    let policy = policies[dice.below(policies.len())];
    let policies = BackpressurePolicies::default().with_numbered(EventClass::Process, policy);
    let restarts = RestartPolicy { restarts_max: dice.below(4), ..RestartPolicy::default() };
    let mut collector = collector(config).with_backpressure_policies(policies).with_restart_policy(restarts);
    for source in world.sources(dice) {
        collector.register(Box::new(source)).unwrap();
    }
    for sink in world.sinks(dice) {
        collector.add_sink(Box::new(sink));
    }
    if dice.one_in(3) {
        // Never read: nobody may notice.
        std::mem::forget(collector.subscribe(collector_core::SubscriptionOptions::default()));
    }
    collector
}

/// What holds after every run, whatever happened in it.
fn judge(report: &RunReport, world: &World) {
    assert_eq!(report.imbalances, [], "the law");
    let mut accounted = BTreeMap::<_, ClassAccount>::new();
    for (class, account) in &report.summary.classes {
        account.check().unwrap();
        accounted.insert(*class, account.clone());
    }
    let decoded: u64 = world.ledgers().iter().map(|ledger| ledger.decoded.load(SeqCst)).sum();
    assert_eq!(accounted[&EventClass::Process].decoded, decoded, "every decoded event is in the books");
    for source in &report.sources {
        if let SourceOutcome::Panicked(message) = &source.outcome {
            assert!(message.starts_with("chaos"), "{}: {message}", source.name);
        }
    }
    for (taken, events) in world.taken().into_iter().enumerate() {
        in_order(&events, &format!("sink {taken}"));
    }
}

/// Of each source the numbers a sink took rise, each once.
fn in_order(events: &[CollectionEvent], who: &str) {
    let mut last = BTreeMap::new();
    for (source, seq) in events.iter().filter_map(numbered) {
        if let Some(before) = last.insert(source.to_owned(), seq) {
            assert!(seq > before, "{who}: {seq} of {source} after {before}");
        }
    }
}

#[test]
fn the_law_holds_and_the_run_ends_in_time_whatever_sources_and_sinks_do() {
    each_seed(300, |seed| async move {
        let mut dice = Dice::new(seed);
        let world = World::default();
        let collector = any_collector(&mut dice, &world);
        let shutdown = collector.shutdown_handle();
        let handle = collector.handle();
        let running = tokio::spawn(collector.run_to_report());
        // Any moment: before the first start, in the middle, after everything.
        let moment = Duration::from_micros(dice.below(20_000_000) as u64 / (dice.below(1_000) as u64 + 1));
        tokio::time::sleep(moment).await;
        let _ = handle.health();
        let asked = tokio::time::Instant::now();
        shutdown.shutdown();
        let report = tokio::time::timeout(CASE_MAX, running).await.expect("the run ends").unwrap().unwrap();
        assert!(asked.elapsed() <= Duration::from_millis(9_010), "{:?}", asked.elapsed());
        judge(&report, &world);
    });
}

/// The same without a request to stop: it ends by itself when every source is lost, or goes on.
#[test]
fn sources_that_all_fail_end_the_run_with_balanced_books() {
    each_seed(100, |seed| async move {
        let mut dice = Dice::new(seed);
        let world = World::default();
        let restarts = RestartPolicy { restarts_max: dice.below(4), ..RestartPolicy::default() };
        let mut collector = collector(config()).with_restart_policy(restarts);
        for source in world.doomed(&mut dice) {
            collector.register(Box::new(source)).unwrap();
        }
        collector.add_sink(Box::new(world.steady_sink()));
        let report =
            tokio::time::timeout(CASE_MAX, collector.run_to_report()).await.expect("it ends").unwrap();
        assert_eq!(report.ended, EndReason::AllSourcesFailed);
        let tries = report.sources.iter().map(|source| source.restarts + 1);
        assert!(report.sources.iter().map(|source| source.failures).eq(tries), "{:?}", report.sources);
        judge(&report, &world);
    });
}
