//! Looking away for a moment after a turn of few events.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long nothing is read.
const REST: Duration = Duration::from_millis(1);
/// A turn that read less than this part of what a channel holds is one of few events. A source has the rest of it for what
/// it sends meanwhile.
const FEW_PART: usize = 8;

/// A source sends its events one by one, and the first wakes the batcher. Woken for each it would cost more than the event:
/// it interrupts the source, finds the one, writes it, lies down, and is woken by the next. So after a turn of few events,
/// which has left nothing behind, it asks no channel to be woken for a moment. What comes then is read together; the first
/// event after a pause waits for nothing.
#[derive(Debug, Default)]
pub(super) struct Rest {
    timer: Option<Pin<Box<Sleep>>>,
    resting: bool,
}

impl Rest {
    /// Begins after a turn that read so many events from a channel of this capacity, if these are few.
    pub(super) fn after(&mut self, events: usize, capacity: usize) {
        self.resting = events * FEW_PART < capacity;
        if self.resting {
            let end = Instant::now() + REST;
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(end),
                None => self.timer = Some(Box::pin(sleep_until(end))),
            }
        }
    }

    /// Pending as long as it lasts.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.resting
            && let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        self.resting = false;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn after_a_turn_of_few_events_it_rests_once_for_a_moment() {
        let mut rest = Rest::default();
        let begin = Instant::now();
        poll_fn(|cx| rest.poll(cx)).await;
        assert_eq!(begin.elapsed(), Duration::ZERO, "before the first turn");
        for _ in 0..2 {
            rest.after(1, FEW_PART + 1);
            let begin = Instant::now();
            poll_fn(|cx| rest.poll(cx)).await;
            assert!(begin.elapsed() >= REST, "{:?}", begin.elapsed());
            let end = Instant::now();
            poll_fn(|cx| rest.poll(cx)).await;
            assert_eq!(end.elapsed(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_rest_where_the_channel_could_be_full_meanwhile() {
        let mut rest = Rest::default();
        for (events, capacity) in [(64, 512), (512, 512), (1, FEW_PART), (0, 0)] {
            rest.after(events, capacity);
            let begin = Instant::now();
            poll_fn(|cx| rest.poll(cx)).await;
            assert_eq!(begin.elapsed(), Duration::ZERO, "{events} of {capacity}");
        }
    }
}
