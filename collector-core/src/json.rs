//! The native format: one event, one line of JSON.
//!
//! Written straight into a buffer, field by field; nothing is built in between. A line holds no control character, no
//! line separator and no character that changes the writing direction other than escaped, so it is safe on a terminal.
//! Text that is not valid UTF-8 stands lossily under its name and exactly, in base64, under the name with `_b64`.

mod connect;
mod identity;
mod kept;
mod kernel;
mod rendered;
mod sink;
mod text;
mod time;
mod told;

pub use sink::JsonLinesSink;

use crate::event::{Abi, CollectionEvent, OpenFlags, Origin};
use kept::Kept;
use rendered::RenderedProcesses;
use std::sync::Arc;
use text::{name, number, string};
use time::TimeCache;

/// Room made before an event is written, so that the buffer seldom grows in the middle of one.
const EVENT_BYTES_USUAL: usize = 1024;

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

/// Turns events into lines. It keeps what many lines share: the formatted second, each origin's fields, the processes
/// that were rendered last, and the flags and devices of opens.
#[derive(Debug, Default)]
pub struct JsonEncoder {
    times: TimeCache,
    processes: RenderedProcesses,
    /// The member `derived` of an event whose process is not kept.
    derived: Vec<u8>,
    /// Holding the Arc keeps its address from being given to another origin. A run has one per hook.
    origins: Kept<Arc<Origin>>,
    open_flags: Kept<(OpenFlags, Option<Abi>)>,
    open_devices: Kept<u32>,
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
            name(out, event.event_type());
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

    /// The members that are the same for every event of one hook, and the name of the one behind them.
    fn origin(&mut self, origin: &Arc<Origin>, out: &mut Vec<u8>) {
        let render = |out: &mut Vec<u8>| {
            key!(out, "boot_id");
            string(out, &origin.boot_id);
            key!(out, "class");
            string(out, origin.class.name());
            key!(out, "stream");
            string(out, &origin.stream);
            key!(out, "source");
            string(out, &origin.source);
            key!(out, "via");
            string(out, &origin.via);
            key!(out, "cpu");
            Arc::clone(origin)
        };
        self.origins.write(out, |known| Arc::ptr_eq(known, origin), render);
    }
}

#[cfg(test)]
mod tests;
