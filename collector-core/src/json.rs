//! The native format: one event, one line of JSON.
//!
//! Written straight into a buffer, field by field; nothing is built in between. A line holds no control character, no
//! line separator and no character that changes the writing direction other than escaped, so it is safe on a terminal.
//! Text that is not valid UTF-8 stands lossily under its name and exactly, in base64, under the name with `_b64`.

mod connect;
mod identity;
mod kernel;
mod rendered;
mod sink;
mod text;
mod time;
mod told;

pub use sink::JsonLinesSink;

use crate::event::{CollectionEvent, Origin};
use rendered::RenderedProcesses;
use std::sync::Arc;
use text::{number, string};
use time::TimeCache;

/// Room made before an event is written, so that the buffer seldom grows in the middle of one.
const EVENT_BYTES_USUAL: usize = 1024;
/// Rendered origins kept; a run has one per hook.
const ORIGINS_KEPT: usize = 32;

/// Appends `,"name":` to a buffer, put together at compile time. [`object`] turns the first comma of an object into
/// its brace.
macro_rules! key {
    ($out:expr, $name:literal) => {
        $out.extend_from_slice(concat!(",\"", $name, "\":").as_bytes())
    };
}
use key;

/// Writes an object whose members each begin with a comma.
fn object(out: &mut Vec<u8>, members: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    members(out);
    match out.get_mut(at) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
}

/// Turns events into lines. It keeps what many lines share: the formatted second, each origin's fields, and the
/// processes that were rendered last.
#[derive(Debug, Default)]
pub struct JsonEncoder {
    times: TimeCache,
    processes: RenderedProcesses,
    /// The member `derived` of an event whose process is not kept.
    derived: Vec<u8>,
    origins: Vec<(Arc<Origin>, Vec<u8>)>,
    oldest_origin: usize,
}

impl JsonEncoder {
    /// An encoder with empty caches.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the event's line, its newline included.
    pub fn encode(&mut self, event: &CollectionEvent, out: &mut Vec<u8>) {
        out.reserve(EVENT_BYTES_USUAL);
        object(out, |out| {
            key!(out, "event");
            string(out, event.event_type());
            match event {
                CollectionEvent::Kernel(event) => self.kernel(event, out),
                CollectionEvent::Loss(event) => self.loss(event, out),
                CollectionEvent::Error(event) => self.error(event, out),
                CollectionEvent::Coverage(event) => self.coverage(event, out),
                CollectionEvent::Summary(event) => self.summary(event, out),
                CollectionEvent::Process(event) => self.process(event, out),
                CollectionEvent::Network(event) => self.network(event, out),
                CollectionEvent::Filesystem(event) => self.filesystem(event, out),
                CollectionEvent::Performance(event) => self.performance(event, out),
            }
        });
        out.push(b'\n');
    }

    /// The members that are the same for every event of one hook.
    fn origin(&mut self, origin: &Arc<Origin>, out: &mut Vec<u8>) {
        if let Some((_, rendered)) = self.origins.iter().find(|(known, _)| Arc::ptr_eq(known, origin)) {
            out.extend_from_slice(rendered);
            return;
        }
        let mut rendered = Vec::new();
        key!(rendered, "boot_id");
        string(&mut rendered, &origin.boot_id);
        key!(rendered, "class");
        string(&mut rendered, origin.class.name());
        key!(rendered, "stream");
        string(&mut rendered, &origin.stream);
        key!(rendered, "source");
        string(&mut rendered, &origin.source);
        key!(rendered, "via");
        string(&mut rendered, &origin.via);
        out.extend_from_slice(&rendered);
        // Holding the Arc keeps its address from being given to another origin.
        let entry = (Arc::clone(origin), rendered);
        if self.origins.len() < ORIGINS_KEPT {
            self.origins.push(entry);
        } else {
            self.origins[self.oldest_origin] = entry;
            self.oldest_origin = (self.oldest_origin + 1) % ORIGINS_KEPT;
        }
    }
}

#[cfg(test)]
mod tests;
