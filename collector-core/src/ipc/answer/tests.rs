use super::*;
use crate::ipc::view::ProcessQueries;

fn answers(options: IpcOptions) -> (Arc<Answers>, ProcessQueries) {
    let (view, queries) = ProcessView::new();
    let recent = Arc::new(RecentEvents::default());
    let stop = CancellationToken::new();
    let answers = Answers::new(SourceCaps::all(), view, recent, options, "test".to_owned(), stop);
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
    let table = crate::process_table::ProcessTable::new(10);
    let turns = [answers.turn().await, answers.turn().await];
    let task = enumerate(&answers);
    let waited = std::future::poll_fn(|cx| queries.poll_answer(cx, &table));
    let waited = tokio::time::timeout(std::time::Duration::from_secs(1), waited).await;
    assert!(waited.is_err(), "it asked without a turn");
    drop(turns);
    std::future::poll_fn(|cx| queries.poll_answer(cx, &table)).await;
    assert!(task.await.unwrap().success);
}
