//! What a client asks: one of two messages that no tag tells apart.

use super::proto::{CapabilityRequest, DetectionTask};
use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

/// The field that is a number in a task, and a packed list in a capability request.
const TELLING_FIELD: u32 = 2;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Request {
    Task(Box<DetectionTask>),
    Capabilities(CapabilityRequest),
}

impl Request {
    /// # Errors
    /// The bytes are neither message.
    pub(super) fn parse(payload: Bytes) -> Result<Self, prost::DecodeError> {
        if asks_for_capabilities(payload.clone())? {
            CapabilityRequest::decode(payload).map(Self::Capabilities)
        } else {
            DetectionTask::decode(payload).map(Box::new).map(Self::Task)
        }
    }
}

fn asks_for_capabilities(mut payload: Bytes) -> Result<bool, prost::DecodeError> {
    while payload.has_remaining() {
        let (field, wire_type) = decode_key(&mut payload)?;
        if field == TELLING_FIELD {
            return Ok(wire_type == WireType::LengthDelimited);
        }
        skip_field(wire_type, field, &mut payload, DecodeContext::default())?;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_wire_type_of_field_2_tells_the_messages_apart() {
        // task_id "a", task_type 4; client_id "a", requested_domains [0, 1]; task_id "a" alone.
        let task = Request::parse(Bytes::from_static(&[0x0a, 1, b'a', 0x10, 4])).unwrap();
        assert!(matches!(&task, Request::Task(task) if task.task_type == 4), "{task:?}");
        let asked = Request::parse(Bytes::from_static(&[0x0a, 1, b'a', 0x12, 2, 0, 1])).unwrap();
        assert!(
            matches!(&asked, Request::Capabilities(asked) if asked.requested_domains == [0, 1]),
            "{asked:?}"
        );
        let zero = Request::parse(Bytes::from_static(&[0x0a, 1, b'a'])).unwrap();
        assert!(matches!(&zero, Request::Task(task) if task.task_type == 0), "{zero:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_parse_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::parse(Bytes::from(bytes));
        }
    }
}
