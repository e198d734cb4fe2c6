//! The end of a run: the books are closed, and the last losses and the summary are told.

use super::batcher::Batcher;
use super::books::DropReason;
use super::life::Life;
use super::report::{RunReport, SourceOutcome, SourceReport};
use super::stop::EndReason;
use super::supervise::Supervisor;
use crate::accounting::SourceAccount;
use crate::event::{CollectionEvent, SummaryEvent};
use std::time::SystemTime;
use tracing::error;

/// Closes the books of a run whose sources have ended and whose queues are empty.
pub(super) async fn finish(ended: EndReason, supervisor: Supervisor, mut batcher: Batcher) -> RunReport {
    let now = SystemTime::now();
    let accounts: Vec<_> = supervisor.lives.iter().map(|life| life.registered.account()).collect();
    let keeps_books = accounts.iter().any(Option::is_some);
    let mut sources = Vec::new();
    for (life, account) in supervisor.lives.iter().zip(accounts) {
        if let Some(account) = &account {
            life.live.source(life.index).close_books(account);
        }
        sources.push((account, reason_of_leftovers(life)));
    }
    let sum = batcher.close_books(sources, now);
    let imbalances: Vec<_> =
        sum.iter().filter_map(|(&class, account)| Some((class, account.check().err()?))).collect();
    for (class, imbalance) in &imbalances {
        error!(class = class.name(), %imbalance, "the books do not balance: events were lost or counted twice");
    }
    let summary = SummaryEvent { classes: sum, timestamp: now };
    batcher.hand_on().await;
    for (class, imbalance) in &imbalances {
        batcher.tell_imbalance(*class, imbalance).await;
    }
    let summary_told = keeps_books
        && !batcher.is_silent()
        && batcher.write_own(CollectionEvent::Summary(Box::new(summary.clone()))).await;
    batcher.flush().await;
    let sources = supervisor.lives.into_iter().zip(&batcher.books).map(|(life, books)| {
        let all = books.all();
        batcher.live.source(life.index).publish_tally(&all);
        SourceReport {
            name: life.registered.name,
            outcome: life.outcome.unwrap_or(SourceOutcome::Stopped),
            delivered: all.delivered,
            internal: all.internal,
            pending: all.pending,
            dropped: all.dropped(),
            failures: life.failures,
            restarts: life.restarts,
            health_failures: life.health_failures,
            last_health_failure: life.last_health_failure,
        }
    });
    RunReport {
        ended,
        summary,
        summary_told,
        imbalances,
        sources: sources.collect(),
        sinks: batcher.outlet.reports(),
        process_table: batcher.admission.processes().stats(),
        ipc: None,
    }
}

impl Batcher {
    /// Closes the books, given for each source what it has counted, if it keeps books, and as what its leftovers count;
    /// keeps what is still to be told of them. Returns the sums of all sources.
    pub(super) fn close_books(
        &mut self,
        sources: impl IntoIterator<Item = (Option<SourceAccount>, Option<DropReason>)>,
        now: SystemTime,
    ) -> SourceAccount {
        let mut sum = SourceAccount::new();
        for ((account, reason), books) in sources.into_iter().zip(&mut self.books) {
            let Some(account) = account else { continue };
            if let Some(reason) = reason {
                for (class, lost) in books.close(&account, reason) {
                    self.untold.lost_unseen(class, lost, reason, (self.live.begun(), now));
                }
            }
            for (class, account) in books.complete(account) {
                sum.entry(class).or_default().add(&account);
            }
        }
        let missed = sum.iter().map(|(&class, account)| (class, account.missed));
        for loss in self.missed.grown(missed, now) {
            self.untold.keep(loss);
        }
        sum
    }
}

/// As what the events count that a source decoded and never handed over. A source that never failed and stopped as it
/// should has no such events: there they are a fault of its books, and stay one.
fn reason_of_leftovers(life: &Life) -> Option<DropReason> {
    match &life.outcome {
        Some(SourceOutcome::StopFailed(_) | SourceOutcome::Aborted) => Some(DropReason::Stopped),
        // It may have failed with events in hand before it was started again.
        _ if life.failures > 0 => Some(DropReason::SourceFailed),
        _ => None,
    }
}
