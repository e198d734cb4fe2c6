//! The sources' queues: a channel each, read fairly, and behind it a stage for what comes while the sinks are busy.

use super::books::SourceBooks;
use super::live::Live;
use super::rest::Rest;
use super::stage::{Stage, StageLimits};
use crate::event::CollectionEvent;
use crate::health::Condition;
use crate::source::SourceCaps;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::warn;

/// Events in a channel at most. What is in a channel has not been measured yet, so this is kept small: each source may
/// hold so many of its largest events beside the bound on its bytes. With fewer, a source that sends what it has read in
/// a few milliseconds waits in the middle, and both sides are woken more often.
const CHANNEL_EVENTS_MAX: usize = 512;

/// How a queue of `events` is divided between the channel and the stage behind it.
pub(super) fn divide(events: usize) -> (usize, usize) {
    let channel = events.div_ceil(2).min(CHANNEL_EVENTS_MAX);
    (channel, (events - channel).max(1))
}

/// Most events read from one source in one turn: what a channel holds, and what a batch of `watch` does.
const SHARE_MAX: usize = 512;

/// Turns in a row that one lane has while a lower one waits.
const LANE_TURNS_MAX: u32 = 4;

/// The domains that have a lane of their own, the highest first; sources of none of them are in the last.
const LANES: [SourceCaps; 3] = [SourceCaps::PROCESS, SourceCaps::NETWORK, SourceCaps::FILESYSTEM];

/// The lane of a source with these capabilities.
fn lane(caps: SourceCaps) -> usize {
    LANES.iter().position(|&domain| caps.contains(domain)).unwrap_or(LANES.len())
}

/// Sources of one priority.
#[derive(Debug, Default)]
struct Lane {
    /// In their order.
    sources: Vec<usize>,
    /// The one whose turn is next.
    next: usize,
    /// Turns in a row while a lower lane waited.
    turns: u32,
}

#[derive(Debug)]
struct Inlet {
    /// `None` once it is closed and empty.
    channel: Option<mpsc::Receiver<CollectionEvent>>,
    stage: Stage,
    /// Events that waited when the turn began.
    waited: usize,
    /// Told as under backpressure.
    pressed: bool,
    /// Told as losing events.
    shedding: bool,
}

impl Inlet {
    /// Events in the channel and behind it.
    fn len(&self) -> usize {
        self.stage.len() + self.channel.as_ref().map_or(0, mpsc::Receiver::len)
    }
}

/// The receiving ends, in source order. Each turn reads one source's, up to a share. Sources have lanes, by the highest
/// domain they claim: process, network, file, others. A higher lane goes first, so that a flood of opens does not delay
/// an exec by more than a share; but after some turns in a row a lower one that waits has one. Until then, what is sent to
/// a higher lane and then to a lower one is read in that order: an exec before what its program opens. Within a lane the
/// next turn begins with the source after the last, so that one which always has events cannot keep another waiting
/// longer than one share of each.
#[derive(Debug)]
pub(super) struct Intake {
    inlets: Vec<Inlet>,
    /// The highest first; none is empty.
    lanes: Vec<Lane>,
    live: Arc<Live>,
    threshold: usize,
    /// Set while an event waits for room and is to be dropped in the end.
    timer: Option<Pin<Box<Sleep>>>,
    rest: Rest,
}

impl Intake {
    pub(super) fn new(
        channels: Vec<mpsc::Receiver<CollectionEvent>>,
        caps: impl Iterator<Item = SourceCaps>,
        limits: StageLimits,
        live: Arc<Live>,
    ) -> Self {
        let mut lanes: [Lane; LANES.len() + 1] = Default::default();
        for (source, caps) in caps.enumerate() {
            lanes[lane(caps)].sources.push(source);
        }
        let inlet = |channel| Inlet {
            channel: Some(channel),
            stage: Stage::new(limits),
            waited: 0,
            pressed: false,
            shedding: false,
        };
        Self {
            inlets: channels.into_iter().map(inlet).collect(),
            lanes: lanes.into_iter().filter(|lane| !lane.sources.is_empty()).collect(),
            live,
            threshold: limits.threshold,
            timer: None,
            rest: Rest::default(),
        }
    }

    /// Takes a share of the next source that has events; ready with its index. Pending while none has events, also when
    /// no sender is left, and for a moment after a turn of few.
    pub(super) fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        books: &mut [SourceBooks],
        into: &mut Vec<CollectionEvent>,
        room: usize,
    ) -> Poll<usize> {
        if self.rest.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let share = room.min(SHARE_MAX);
        let before = into.len();
        // Before any is read, and no more than that is: what a lower lane has now was sent behind nothing that a higher
        // one will not show.
        for inlet in &mut self.inlets {
            inlet.waited = inlet.len();
        }
        // First the lanes that may go on, then those that have had their turns in a row.
        for had_enough in [false, true] {
            for index in 0..self.lanes.len() {
                if (self.lanes[index].turns >= LANE_TURNS_MAX) != had_enough {
                    continue;
                }
                let Some(source) = self.poll_lane(index, cx, books, into, share) else {
                    // It is to be polled again soon: something came just now, or the task has had its share of time.
                    if !had_enough && self.waits(&self.lanes[index]) {
                        return Poll::Pending;
                    }
                    continue;
                };
                self.lanes[index].turns = match self.lanes[index + 1..].iter().any(|lower| self.waits(lower))
                {
                    true if had_enough => 1,
                    true => self.lanes[index].turns + 1,
                    false => 0,
                };
                for higher in &mut self.lanes[..index] {
                    higher.turns = 0;
                }
                if (0..self.inlets.len()).all(|source| self.is_empty(source)) {
                    let channel = self.inlets[source].channel.as_ref();
                    self.rest.after(into.len() - before, channel.map_or(0, mpsc::Receiver::max_capacity));
                }
                return Poll::Ready(source);
            }
        }
        Poll::Pending
    }

    /// Whether a lane has events.
    fn waits(&self, lane: &Lane) -> bool {
        lane.sources.iter().any(|&source| !self.is_empty(source))
    }

    /// A share of the next source in the lane that has events.
    fn poll_lane(
        &mut self,
        lane: usize,
        cx: &mut Context<'_>,
        books: &mut [SourceBooks],
        into: &mut Vec<CollectionEvent>,
        share: usize,
    ) -> Option<usize> {
        let Lane { sources, next, .. } = &mut self.lanes[lane];
        let count = sources.len();
        for at in (*next..count).chain(0..*next) {
            let source = sources[at];
            let inlet = &mut self.inlets[source];
            let share = share.min(inlet.waited);
            if !inlet.stage.is_empty() {
                inlet.stage.take(share, Instant::now(), &mut books[source], into);
            } else if let Some(channel) = &mut inlet.channel {
                if share == 0 && !channel.is_empty() {
                    cx.waker().wake_by_ref();
                    continue;
                }
                match channel.poll_recv_many(cx, into, share.max(1)) {
                    Poll::Pending => continue,
                    Poll::Ready(0) => {
                        inlet.channel = None;
                        self.live.tell_closed(source);
                        continue;
                    }
                    Poll::Ready(events) => self.live.source(source).publish_received(events as u64),
                }
            } else {
                continue;
            }
            *next = (at + 1) % count;
            self.tell_depth(source);
            self.tell_shed_no_more(source);
            return Some(source);
        }
        None
    }

    /// Reads what comes while the sinks are busy, as far as there is room. Never ready: it only asks to be woken.
    fn fill(&mut self, cx: &mut Context<'_>, books: &mut [SourceBooks]) {
        // Read once a wakeup, and again only if a wait could be over.
        let now = Instant::now();
        for source in 0..self.inlets.len() {
            let inlet = &mut self.inlets[source];
            let books = &mut books[source];
            inlet.stage.retry(now, books);
            let mut received = 0;
            while inlet.stage.reads()
                && let Some(channel) = &mut inlet.channel
            {
                match channel.poll_recv(cx) {
                    Poll::Pending => break,
                    Poll::Ready(None) => {
                        inlet.channel = None;
                        self.live.tell_closed(source);
                    }
                    Poll::Ready(Some(event)) => {
                        received += 1;
                        if event.domain().is_none() {
                            self.live.tell_violation(source);
                        }
                        inlet.stage.offer(event, channel.len(), now, books);
                    }
                }
            }
            if received > 0 {
                self.live.source(source).publish_received(received);
            }
            self.tell_shedding(source, now);
            self.tell_depth(source);
        }
        self.set_timer(cx);
    }

    /// Waits for the sinks, and reads meanwhile, unless it is `reading` no more. `meanwhile` is what else is done then:
    /// one thing each time it is polled, as long as it is ready.
    pub(super) async fn fill_during<T>(
        &mut self,
        books: &mut [SourceBooks],
        reading: bool,
        sinks: impl Future<Output = T>,
        mut meanwhile: impl FnMut(&mut Context<'_>) -> Poll<()>,
    ) -> T {
        let mut sinks = pin!(sinks);
        poll_fn(|cx| {
            let done = sinks.as_mut().poll(cx);
            if done.is_pending() && reading {
                self.fill(cx, books);
            }
            if done.is_pending() && meanwhile(cx).is_ready() {
                // The sinks first: they are looked at again before the next one.
                cx.waker().wake_by_ref();
            }
            done
        })
        .await
    }

    /// Wakes the task when the first of the waiting events has waited long enough.
    fn set_timer(&mut self, cx: &mut Context<'_>) {
        let Some(at) = self.inlets.iter().filter_map(|inlet| inlet.stage.drops_at()).min() else {
            self.timer = None;
            return;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        if timer.as_mut().poll(cx).is_ready() {
            // Its time has come since the clock was read: this task is asked to look again.
            cx.waker().wake_by_ref();
            self.timer = None;
        }
    }

    /// Tells how much waits. With two thresholds: one that is at its bound does not flicker.
    fn tell_depth(&mut self, source: usize) {
        let inlet = &mut self.inlets[source];
        let events = inlet.len();
        let full = inlet.stage.is_full();
        self.live.source(source).publish_queue(events, inlet.stage.bytes(), full);
        if !inlet.pressed && (full || events >= self.threshold) {
            inlet.pressed = true;
            let text = match full {
                true => "its queue is full".to_owned(),
                false => format!("its queue has reached {} events", self.threshold),
            };
            self.live.set(source, Condition::Backpressure, text);
        } else if inlet.pressed && !full && events <= self.threshold / 2 {
            inlet.pressed = false;
            self.live.clear(source, Condition::Backpressure);
        }
    }

    fn tell_shedding(&mut self, source: usize, now: Instant) {
        let inlet = &mut self.inlets[source];
        if inlet.stage.is_shedding(now) && inlet.stage.reads() && !inlet.shedding {
            inlet.shedding = true;
            let source_name = self.live.source(source).name;
            warn!(source = source_name, "the sinks have taken nothing for too long, events are dropped");
            self.live.set(source, Condition::Shedding, "events are dropped for want of room".to_owned());
        }
        self.tell_shed_no_more(source);
    }

    /// It can end in either way of reading: by room that a turn made, or by what a retry dropped.
    fn tell_shed_no_more(&mut self, source: usize) {
        let inlet = &mut self.inlets[source];
        if inlet.shedding && !inlet.stage.is_full() {
            inlet.shedding = false;
            self.live.clear(source, Condition::Shedding);
        }
    }

    /// Whether nothing of a source waits here.
    pub(super) fn is_empty(&self, source: usize) -> bool {
        let Inlet { channel, stage, .. } = &self.inlets[source];
        stage.is_empty() && channel.as_ref().is_none_or(mpsc::Receiver::is_empty)
    }

    /// Closes every channel: what is in them can still be read, and nothing is added.
    pub(super) fn close(&mut self) {
        for channel in self.inlets.iter_mut().filter_map(|inlet| inlet.channel.as_mut()) {
            channel.close();
        }
    }

    /// Takes what is left of the first queue that has events, up to a share; `None` when all are empty. A sender that
    /// holds a reserved place does not keep this waiting.
    pub(super) fn take_rest(
        &mut self,
        books: &mut [SourceBooks],
        into: &mut Vec<CollectionEvent>,
        room: usize,
    ) -> Option<usize> {
        let share = room.min(SHARE_MAX);
        let before = into.len();
        for (source, books) in books.iter_mut().enumerate() {
            let inlet = &mut self.inlets[source];
            let mut received = 0;
            if !inlet.stage.is_empty() {
                inlet.stage.take(share, Instant::now(), books, into);
            }
            while inlet.stage.is_empty()
                && into.len() < before + share
                && let Some(channel) = &mut inlet.channel
            {
                let Ok(event) = channel.try_recv() else {
                    inlet.channel = None;
                    break;
                };
                into.push(event);
                received += 1;
            }
            self.live.source(source).publish_received(received);
            self.tell_depth(source);
            self.tell_shed_no_more(source);
            if into.len() > before {
                return Some(source);
            }
        }
        None
    }
}

#[cfg(test)]
impl Intake {
    /// The numbered events of a source that were read from its channel and wait here.
    pub(super) fn numbered_staged(&self, source: usize) -> usize {
        self.inlets[source].stage.numbered()
    }
}

#[cfg(test)]
mod tests;
