//! The task between the queues and the sinks.

use super::admit::Admission;
use super::audit::Audit;
use super::batch::Batch;
use super::books::{DropReason, Fate, SourceBooks};
use super::intake::Intake;
use super::live::Live;
use super::missed::Missed;
use super::outlet::{Outlet, Taken};
use super::stop::{EndReason, Phase};
use super::untold::Untold;
use crate::event::{CollectionEvent, CoverageEvent};
use crate::ipc::IpcTap;
use crate::subscription::{EventBatch, Subscribers};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

/// Receives from all queues, judges, batches and hands on, until all sources have ended and their queues are empty.
pub(super) struct Batcher {
    pub(super) intake: Intake,
    /// Events of one turn that no batch will hold.
    pub(super) refused: Vec<(CollectionEvent, Fate)>,
    pub(super) batch: Batch,
    pub(super) admission: Admission,
    pub(super) books: Vec<SourceBooks>,
    pub(super) untold: Untold,
    /// What the sinks alone lost: each subscription got those events, or has counted them as its own loss.
    pub(super) unwritten: Untold,
    pub(super) missed: Missed,
    pub(super) outlet: Outlet,
    /// Something was written and not flushed.
    pub(super) unflushed: bool,
    pub(super) ipc: Option<IpcTap>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) live: Arc<Live>,
    /// Whether each batch is logged.
    pub(super) log_batches: bool,
    pub(super) subscribers: Subscribers,
    /// `None` if no source keeps books.
    pub(super) audit: Option<Audit>,
    /// Taken when the batcher itself finds a reason to end the run.
    pub(super) end: Option<oneshot::Sender<EndReason>>,
}

enum Step {
    /// The batch has this source's events behind its first `from`.
    Received {
        source: usize,
        from: usize,
    },
    /// The batch has waited long enough, or need not wait.
    HandOn,
    /// The stream pauses.
    Flush,
    /// A client was told of the processes.
    Answered,
    /// It is time to look at the books.
    Heartbeat,
    PhaseChanged,
}

impl Batcher {
    /// Runs until the phase is draining and nothing is left; gives itself back with its books.
    pub(super) async fn run(mut self, coverage: Option<CoverageEvent>) -> Self {
        if let Some(coverage) = coverage {
            self.write_own(CollectionEvent::Coverage(Box::new(coverage))).await;
        }
        while !self.is_draining() {
            self.turn().await;
        }
        self.drain().await;
        self
    }

    /// Waits for the next thing to do, and does it.
    pub(super) async fn turn(&mut self) {
        match self.step().await {
            Step::Received { source, from } => self.admit(source, from).await,
            Step::HandOn => self.hand_on().await,
            Step::Flush => self.flush().await,
            Step::Heartbeat => self.audit().await,
            Step::Answered | Step::PhaseChanged => {}
        }
    }

    /// Hands on what is left in the queues.
    pub(super) async fn drain(&mut self) {
        self.intake.close();
        loop {
            let (from, room) = (self.batch.len(), self.room());
            let Some(source) = self.intake.take_rest(&mut self.books, self.batch.tail(), room) else { break };
            self.admit(source, from).await;
        }
        self.hand_on().await;
    }

    /// Writes an event of the runtime's own, alone and at once. Returns whether a sink took it.
    pub(super) async fn write_own(&mut self, event: CollectionEvent) -> bool {
        let alone = EventBatch::new(vec![event]);
        let taken = self.write_while_reading(&alone).await;
        let offered = self.subscribers.offer(&alone);
        self.flush().await;
        taken == Taken::Yes || (taken == Taken::NoSink && offered)
    }

    async fn step(&mut self) -> Step {
        let due_at = self.batch.due_at();
        let hand_on_when_idle = !self.batch.is_empty() && self.batch.waits_for_nothing();
        let flush_when_idle = self.batch.is_empty() && self.unflushed;
        let (from, room) = (self.batch.len(), self.room());
        let turn = poll_fn(|cx| {
            // First, or a flood would keep clients waiting for ever; they have a share of the time and no more.
            if IpcTap::poll_answer(&mut self.ipc, cx, self.admission.processes_mut()).is_ready() {
                return Poll::Ready(Step::Answered);
            }
            match self.intake.poll_turn(cx, &mut self.books, self.batch.tail(), room) {
                Poll::Ready(source) => Poll::Ready(Step::Received { source, from }),
                Poll::Pending if hand_on_when_idle => Poll::Ready(Step::HandOn),
                Poll::Pending if flush_when_idle => Poll::Ready(Step::Flush),
                Poll::Pending => Poll::Pending,
            }
        });
        tokio::select! {
            biased;
            () = Audit::is_due(&mut self.audit) => Step::Heartbeat,
            step = turn => step,
            () = async { sleep_until(due_at.expect("polled only if set")).await }, if due_at.is_some() => Step::HandOn,
            // The sender lives until this task has ended.
            _ = self.phase.changed() => Step::PhaseChanged,
        }
    }

    /// How many events may be read into the batch.
    fn room(&self) -> usize {
        self.batch.room().min(self.admission.allowance(self.batch.numbered()))
    }

    /// Judges what was read behind the first `from` events of the batch, and hands the batch on if it is time.
    async fn admit(&mut self, source: usize, from: usize) {
        let now = Instant::now();
        let Self { batch, admission, refused, .. } = self;
        batch.admit(from, source, now, |event| admission.judge(source, event, now), refused);
        if !self.refused.is_empty() {
            let mut refused = std::mem::take(&mut self.refused);
            for (event, fate) in refused.drain(..) {
                self.end_event(source, &event, fate);
            }
            self.refused = refused;
            self.live.source(source).publish_tally(&self.books[source].all());
        }
        let batch = &self.batch;
        if batch.is_full() || self.admission.is_reached_by(batch.numbered()) || batch.is_due(now) {
            self.hand_on().await;
        }
    }

    /// Hands the batch to the sinks, with the losses that are not told yet before it.
    pub(super) async fn hand_on(&mut self) {
        if !self.untold.is_empty() && !self.is_silent() {
            self.batch.put_first(self.untold.take());
        }
        let mut for_sinks = 0;
        if !self.unwritten.is_empty() && !self.outlet.is_silent() {
            for_sinks = self.unwritten.len();
            self.batch.put_first(self.unwritten.take());
        }
        if self.batch.is_empty() {
            return;
        }
        if let Some(ipc) = &self.ipc {
            ipc.tell(self.batch.events().iter());
        }
        let numbered = self.batch.numbered();
        let nothing = Batch::new(0, 0, std::time::Duration::ZERO);
        let mut batch = std::mem::replace(&mut self.batch, nothing);
        let taken = self.write_while_reading(batch.events()).await;
        let len = batch.events().len();
        if self.log_batches {
            debug!(component = self.live.component, events = len, ?taken, "batch handed on");
        }
        let mut losses = Vec::new();
        let shared = self.subscribers.are_there().then(|| {
            let mut events = batch.take_events();
            losses.extend(events.drain(..for_sinks));
            EventBatch::new(events)
        });
        let offered =
            shared.as_ref().is_some_and(|events| !events.is_empty() && self.subscribers.offer(events));
        let fate = match taken {
            Taken::Yes => Fate::Delivered,
            // Where there is no sink at all, a subscription is who the events are for.
            Taken::NoSink if offered => Fate::Delivered,
            Taken::NoSink if shared.is_some() => Fate::Dropped(DropReason::SinkBlocked),
            Taken::NoSink => Fate::Dropped(DropReason::NoSink),
            Taken::Failed => Fate::Dropped(DropReason::SinkFailed),
            Taken::Blocked => Fate::Dropped(DropReason::SinkBlocked),
            Taken::Closed => Fate::Pending,
        };
        if let Fate::Dropped(reason) = fate
            && !self.outlet.is_silent()
        {
            for event in losses.iter().chain(shared.as_deref().unwrap_or_else(|| batch.events())) {
                self.unwritten.lost(event, reason);
            }
        }
        for (source, pages) in batch.counts() {
            self.books[source].count_pages(pages, fate);
            self.live.source(source).publish_tally(&self.books[source].all());
        }
        self.live.batches.store(self.live.batches.load(Relaxed) + 1, Relaxed);
        batch.clear();
        self.batch = batch;
        self.unflushed |= taken == Taken::Yes;
        if fate == Fate::Delivered && self.admission.delivered(numbered) {
            self.end_run(EndReason::StopAfter);
        }
        self.end_if_closed();
    }

    pub(super) async fn flush(&mut self) {
        self.unflushed = false;
        let reading = !self.is_draining();
        let Self { intake, books, outlet, ipc, admission, .. } = self;
        let answer = |cx: &mut Context<'_>| IpcTap::poll_answer(ipc, cx, admission.processes_mut());
        intake.fill_during(books, reading, outlet.flush(), answer).await;
        self.end_if_closed();
    }

    /// Writes to the sinks. While they are busy, queues go on filling, each up to its bounds, and what finds no room
    /// waits or is dropped as its class says.
    async fn write_while_reading(&mut self, events: &[CollectionEvent]) -> Taken {
        // At the end nothing more may be dropped for want of room: the channels are closed and bounded.
        let reading = !self.is_draining();
        let Self { intake, books, outlet, ipc, admission, .. } = self;
        // A client's question does not wait for a sink that hangs.
        let answer = |cx: &mut Context<'_>| IpcTap::poll_answer(ipc, cx, admission.processes_mut());
        intake.fill_during(books, reading, outlet.write(events), answer).await
    }

    fn is_draining(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Draining(_))
    }

    /// Whether nobody can be told anything any more.
    pub(super) fn is_silent(&self) -> bool {
        self.outlet.is_silent() && !self.subscribers.are_there()
    }

    /// Books an event that no batch will hold. What is lost is told, if anybody is left to be told.
    fn end_event(&mut self, source: usize, event: &CollectionEvent, fate: Fate) {
        self.books[source].count(event, fate);
        if let Fate::Dropped(reason) = fate {
            let violations = || self.books[source].all().dropped_for(DropReason::CapabilityViolation);
            if reason == DropReason::CapabilityViolation && violations() == 1 {
                self.live.tell_violation(source);
            }
            if !self.is_silent() {
                self.untold.lost(event, reason);
            }
        }
    }

    fn end_if_closed(&mut self) {
        if let Some(sink) = self.outlet.closed() {
            let reason = EndReason::SinkClosed(sink.to_owned());
            self.end_run(reason);
        }
    }

    fn end_run(&mut self, reason: EndReason) {
        if let Some(end) = self.end.take() {
            // Nobody listens any more when the run is already ending for another reason.
            let _ = end.send(reason);
        }
    }
}
