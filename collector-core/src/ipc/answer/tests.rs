use super::*;
use crate::ipc::view::ProcessQueries;

fn answers(options: IpcOptions) -> (Arc<Answers>, ProcessQueries) {
    let (view, queries) = ProcessView::new();
    let recent = Arc::new(RecentEvents::default());
    let stop = CancellationToken::new();
    let answers = Answers::new(SourceCaps::all(), view, recent, options, crate::test_events::live(), stop);
    (Arc::new(answers), queries)
}

fn enumerate(answers: &Arc<Answers>) -> tokio::task::JoinHandle<DetectionResult> {
    let answers = Arc::clone(answers);
    tokio::spawn(async move { answers.task(DetectionTask::default(), Access::Full).await })
}

/// Each answer of the batcher is a copy of the whole table.
#[tokio::test(start_paused = true)]
async fn the_table_is_not_asked_for_before_there_is_a_turn_to_use_it() {
    let (answers, mut queries) = answers(IpcOptions::default());
    let mut table = crate::process_table::ProcessTable::new(10);
    let turns = [answers.turn().await, answers.turn().await];
    let task = enumerate(&answers);
    let waited = std::future::poll_fn(|cx| queries.poll_answer(cx, &mut table));
    let waited = timeout(std::time::Duration::from_secs(1), waited).await;
    assert!(waited.is_err(), "it asked without a turn");
    drop(turns);
    std::future::poll_fn(|cx| queries.poll_answer(cx, &mut table)).await;
    assert!(task.await.unwrap().success);
}

/// Clients wait 30 s.
#[tokio::test(start_paused = true)]
async fn a_task_has_one_deadline_whatever_it_waits_for() {
    let (answers, _queries) = answers(IpcOptions::default());
    let _turns = [answers.turn().await, answers.turn().await];
    let begun = tokio::time::Instant::now();
    let result = enumerate(&answers).await.unwrap();
    assert_eq!(begun.elapsed(), IPC_TASK_TIME_MAX);
    assert_eq!(result.error_message.unwrap(), "The task took longer than 25s");
}

/// It would take minutes to read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_not_read_on_for_a_client_that_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    std::fs::File::create(&path).unwrap().set_len(1 << 38).unwrap();
    let options = IpcOptions::default()
        .with_hash_bytes_max(crate::config::ByteSize(1 << 39))
        .with_hash_timeout(IPC_TASK_TIME_MAX);
    let (answers, _queries) = answers(options);
    let check = HashCheck { executable_path: path.to_str().unwrap().to_owned(), ..HashCheck::default() };
    let task = DetectionTask {
        task_type: TaskType::CheckProcessHash.into(),
        hash_check: Some(check),
        ..DetectionTask::default()
    };
    let asking = tokio::spawn({
        let answers = Arc::clone(&answers);
        async move { answers.task(task, Access::Full).await }
    });
    let turns = async |count| {
        while answers.turns.available_permits() != count {
            tokio::task::yield_now().await;
        }
    };
    let deadline = IPC_TASK_TIME_MAX / 2;
    timeout(deadline, turns(BLOCKING_TASKS_MAX - 1)).await.expect("it begins");
    asking.abort();
    timeout(deadline, turns(BLOCKING_TASKS_MAX)).await.expect("it ends when it is not asked any more");
}
