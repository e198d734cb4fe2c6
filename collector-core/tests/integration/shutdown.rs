//! A run ends in time, whatever its sources do, and says which of them did not.

use crate::support::{Behaviour, DEADLINE, TestSink, TestSource, collector, config, run};
use collector_core::event::EventClass;
use collector_core::{CollectionEvent, EndReason, EventSink, SinkError, SourceOutcome};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cooperative_sources_stop_within_500_ms_whatever_the_intervals_are() {
    let hour = Duration::from_secs(3600);
    let config = config()
        .with_batch_timeout(hour)
        .with_health_check_interval(hour)
        .with_telemetry_interval(hour)
        .with_shutdown_timeout(hour)
        .with_max_batch_size(1000);
    let mut collector = collector(config);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for name in names {
        let looping = TestSource::new(name, |feed| async move {
            feed.send(10).await;
            feed.stopped().await;
            feed.send(10).await;
            Ok(())
        });
        collector.register(Box::new(looping)).unwrap();
    }
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(1).await;
    let asked = Instant::now();
    handle.shutdown();
    let report = running.await.unwrap();
    let took = asked.elapsed();
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!(recorded.numbered(), names.len() * 20, "also what was sent during the stop");
    assert_eq!(report.imbalances, []);
}

#[tokio::test]
async fn each_started_source_is_stopped_exactly_once() {
    let looping = TestSource::new("loops", |feed| async move {
        feed.stopped().await;
        Ok(())
    });
    let returning = TestSource::sends("returns", 1);
    let ledgers = [looping.ledger(), returning.ledger()];
    let mut collector = collector(config());
    collector.register(Box::new(looping)).unwrap();
    collector.register(Box::new(returning)).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(2).await;
    handle.shutdown();
    handle.clone().shutdown();
    running.await.unwrap();
    for ledger in ledgers {
        assert_eq!((ledger.starts.load(SeqCst), ledger.stops.load(SeqCst)), (1, 1));
    }
}

#[tokio::test]
async fn what_a_source_flushes_in_stop_is_delivered_through_a_small_queue() {
    let source = TestSource::sends("flushes", 5).at_stop(|feed| async move {
        feed.send(500).await;
        Ok(())
    });
    let mut collector = collector(config().with_event_buffer_size(2));
    collector.register(Box::new(source)).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(6).await;
    handle.shutdown();
    let report = running.await.unwrap();
    assert_eq!((recorded.numbered(), report.sources[0].delivered), (505, 505));
}

/// Runs a source that hangs beside one that does not, with a timeout of 4 s in paused time.
async fn with_a_hung(hung: TestSource) -> (collector_core::RunReport, Vec<CollectionEvent>, Duration) {
    let mut collector = collector(config().with_shutdown_timeout(Duration::from_secs(4)));
    collector.register(Box::new(hung)).unwrap();
    collector.register(Box::new(TestSource::sends("good", 10))).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(16).await;
    let asked = tokio::time::Instant::now();
    handle.shutdown();
    let report = running.await.unwrap();
    assert_eq!(report.sources[1].outcome, SourceOutcome::Stopped);
    assert_eq!(report.sources[1].delivered, 10);
    (report, recorded.events(), asked.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_in_stop_is_aborted_and_named_and_its_leftovers_are_counted() {
    let hung = TestSource::sends("hung", 5).at_stop(|feed| async move {
        feed.ledger.decoded.fetch_add(7, SeqCst);
        std::future::pending().await
    });
    let (report, events, took) = with_a_hung(hung).await;
    assert_eq!((report.sources[0].name, &report.sources[0].outcome), ("hung", &SourceOutcome::Aborted));
    assert!((Duration::from_secs(3)..=Duration::from_secs(4)).contains(&took), "{took:?}");
    assert_eq!(report.sources[0].dropped, [("stopped".to_owned(), 7)].into());
    assert_eq!(report.imbalances, []);
    let [.., CollectionEvent::Loss(loss), CollectionEvent::Summary(summary)] = &events[..] else {
        panic!("the loss and the summary stand last: {events:?}")
    };
    assert_eq!(loss.count, 7);
    assert_eq!(loss.reasons, summary.classes[&EventClass::Process].dropped());
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_start_does_not_end_after_stop_is_aborted_and_named() {
    let hung = TestSource::new("hung", |feed| async move {
        feed.send(5).await;
        std::future::pending().await
    });
    let (report, events, took) = with_a_hung(hung).await;
    assert_eq!(report.sources[0].outcome, SourceOutcome::Aborted);
    assert!(took <= Duration::from_secs(4), "{took:?}");
    assert!(
        matches!(events.last(), Some(CollectionEvent::Summary(_))),
        "the end of the stream is still written"
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_that_a_source_left_behind_cannot_keep_the_run_alive() {
    let leaky = TestSource::new("leaky", |feed| async move {
        feed.send(5).await;
        tokio::spawn(async move { while feed.next().await {} });
        Ok(())
    });
    let mut collector = collector(config());
    collector.register(Box::new(leaky)).unwrap();
    // It waits at each batch, so that the task gets its turns.
    let (sink, mut recorded) = TestSink::new("slow", Behaviour::Slow(Duration::from_millis(1)));
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(6).await;
    handle.shutdown();
    assert_eq!(running.await.unwrap().ended, EndReason::Handle);
}

#[tokio::test]
async fn a_source_that_fails_to_stop_is_named() {
    let failing = TestSource::sends("failing", 1).at_stop(|_| async { anyhow::bail!("it is stuck") });
    let panicking = TestSource::sends("panicking", 1).at_stop(|_| async { panic!("a bug in stop") });
    let mut collector = collector(config());
    collector.register(Box::new(failing)).unwrap();
    collector.register(Box::new(panicking)).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(run(collector));
    recorded.until_events(3).await;
    handle.shutdown();
    let report = running.await.unwrap();
    let outcomes: Vec<_> = report.sources.iter().map(|source| source.outcome.clone()).collect();
    let failed = |why: &str| SourceOutcome::StopFailed(why.to_owned());
    assert_eq!(outcomes, [failed("it is stuck"), failed("a bug in stop")]);
}

#[tokio::test]
async fn a_stop_that_was_asked_for_before_the_run_ends_it_at_once() {
    let mut collector = collector(config());
    collector.register(Box::new(TestSource::sends("a", 0))).unwrap();
    collector.shutdown_handle().shutdown();
    assert!(collector.shutdown_handle().is_triggered());
    assert_eq!(run(collector).await.ended, EndReason::Handle);
}

#[tokio::test]
async fn a_run_that_is_dropped_leaves_no_task_behind() {
    let source = TestSource::new("loops", |feed| async move {
        feed.send(1).await;
        std::future::pending().await
    });
    let mut collector = collector(config());
    collector.register(Box::new(source)).unwrap();
    let (sink, mut recorded) = TestSink::taking();
    collector.add_sink(sink);
    let running = tokio::spawn(collector.run_to_report());
    recorded.until_events(2).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    let metrics = tokio::runtime::Handle::current().metrics();
    let deadline = Instant::now() + DEADLINE;
    while metrics.num_alive_tasks() > 0 {
        assert!(Instant::now() < deadline, "{} tasks are left", metrics.num_alive_tasks());
        tokio::task::yield_now().await;
    }
}

/// Like many sources, it forgets a stop that came before its start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_never_comes_before_the_start_it_belongs_to() {
    for _ in 0..500 {
        let mut collector = collector(config());
        for name in ["a", "b", "c"] {
            let source = TestSource::new(name, |feed| async move {
                assert_eq!(feed.ledger.stops.load(SeqCst), 0, "stopped before it began");
                feed.stopped().await;
                Ok(())
            });
            collector.register(Box::new(source)).unwrap();
        }
        collector.shutdown_handle().shutdown();
        let report = run(collector).await;
        assert!(report.sources.iter().all(|source| source.outcome.is_clean()), "{:?}", report.sources);
    }
}

/// It cannot be left by the task that it blocks: the run ends without that task, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_sink_that_blocks_its_thread_does_not_keep_the_run_beyond_its_time() {
    struct Blocks {
        began: tokio::sync::mpsc::UnboundedSender<()>,
        released: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
    }
    #[async_trait::async_trait]
    impl EventSink for Blocks {
        fn name(&self) -> &str {
            "blocks"
        }
        async fn write(&mut self, _: &[CollectionEvent]) -> Result<(), SinkError> {
            self.began.send(()).unwrap();
            // Ends with the test.
            let _ = self.released.lock().unwrap().recv();
            Ok(())
        }
        async fn flush(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
    }
    let timeout = Duration::from_millis(400);
    let mut collector = collector(config().with_shutdown_timeout(timeout));
    collector.register(Box::new(TestSource::sends("a", 10))).unwrap();
    let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let (release, released) = std::sync::mpsc::channel();
    collector.add_sink(Box::new(Blocks { began, released: std::sync::Mutex::new(released) }));
    let handle = collector.shutdown_handle();
    let running = tokio::spawn(collector.run_to_report());
    begun.recv().await.unwrap();
    let asked = Instant::now();
    handle.shutdown();
    let ended = tokio::time::timeout(DEADLINE, running).await.expect("the run ends").unwrap();
    let took = asked.elapsed();
    drop(release);
    let error = ended.unwrap_err().to_string();
    assert!(error.starts_with("a sink blocked its thread beyond the shutdown timeout"), "{error}");
    assert!(took >= timeout, "it was given its time: {took:?}");
}
