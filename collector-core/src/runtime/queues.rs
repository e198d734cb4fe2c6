//! The sources' queues, read fairly.

use crate::event::CollectionEvent;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// The receiving ends, in source order. Each turn reads one queue, up to a share; the next turn begins with the source
/// after it, so that a source which always has events cannot keep another waiting longer than one share of each.
#[derive(Debug)]
pub(super) struct Queues {
    receivers: Vec<Option<mpsc::Receiver<CollectionEvent>>>,
    next: usize,
    share: usize,
}

impl Queues {
    pub(super) fn new(receivers: Vec<mpsc::Receiver<CollectionEvent>>, share: usize) -> Self {
        Self { receivers: receivers.into_iter().map(Some).collect(), next: 0, share }
    }

    /// Reads a share of the next queue that has events; ready with the source's index. Pending while none has events,
    /// also when no sender is left.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>, into: &mut Vec<CollectionEvent>) -> Poll<usize> {
        let count = self.receivers.len();
        for source in (self.next..count).chain(0..self.next) {
            let Some(receiver) = &mut self.receivers[source] else { continue };
            match receiver.poll_recv_many(cx, into, self.share) {
                Poll::Pending => {}
                Poll::Ready(0) => self.receivers[source] = None,
                Poll::Ready(_) => {
                    self.next = (source + 1) % count;
                    return Poll::Ready(source);
                }
            }
        }
        Poll::Pending
    }

    /// Closes every queue: what is in them can still be read, and nothing is added.
    pub(super) fn close(&mut self) {
        for receiver in self.receivers.iter_mut().flatten() {
            receiver.close();
        }
    }

    /// Reads what is left of the first queue that has events, up to a share; `None` when all are empty. A sender that
    /// holds a reserved place does not keep this waiting.
    pub(super) fn take_rest(&mut self, into: &mut Vec<CollectionEvent>) -> Option<usize> {
        for (source, receiver) in self.receivers.iter_mut().enumerate() {
            let Some(open) = receiver else { continue };
            while into.len() < self.share
                && let Ok(event) = open.try_recv()
            {
                into.push(event);
            }
            if !into.is_empty() {
                return Some(source);
            }
            *receiver = None;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ProcessEvent;
    use std::task::Waker;

    fn event(pid: u32) -> CollectionEvent {
        CollectionEvent::Process(ProcessEvent { pid, ..ProcessEvent::default() })
    }

    #[test]
    fn a_flood_takes_one_share_before_each_other_source_had_its_turn() {
        let (flood, flood_rx) = mpsc::channel(100);
        let (quiet, quiet_rx) = mpsc::channel(100);
        for pid in 0..100 {
            flood.try_send(event(pid)).unwrap();
        }
        quiet.try_send(event(7)).unwrap();
        let mut queues = Queues::new(vec![flood_rx, quiet_rx], 10);
        let mut cx = Context::from_waker(Waker::noop());
        let mut turns = Vec::new();
        for _ in 0..3 {
            let mut events = Vec::new();
            let Poll::Ready(source) = queues.poll_turn(&mut cx, &mut events) else { panic!("nothing ready") };
            turns.push((source, events.len()));
        }
        assert_eq!(turns, [(0, 10), (1, 1), (0, 10)]);
    }

    #[test]
    fn the_rest_is_read_completely_although_a_place_is_reserved() {
        let (tx, rx) = mpsc::channel(10);
        for pid in 0..5 {
            tx.try_send(event(pid)).unwrap();
        }
        let _permit = tx.try_reserve().unwrap();
        let mut queues = Queues::new(vec![rx], 3);
        queues.close();
        let mut shares = Vec::new();
        loop {
            let mut events = Vec::new();
            let Some(source) = queues.take_rest(&mut events) else { break };
            shares.push((source, events.len()));
        }
        assert_eq!(shares, [(0, 3), (0, 2)]);
    }
}
