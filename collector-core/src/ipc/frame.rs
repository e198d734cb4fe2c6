//! Frames: `u32 length | u32 CRC-32C of the payload | payload`, integers little-endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// Bytes of a payload at most.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Length and checksum.
const HEADER_BYTES: usize = 8;

/// Why a connection's bytes are no frame. None can be skipped: where the next one begins is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of length 0")]
    Empty,
    #[error("a frame of {0} bytes, at most {FRAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    #[error("a frame whose checksum is {found:08x} and should be {told:08x}")]
    Checksum { told: u32, found: u32 },
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
}

/// Takes frames apart and makes them. Room is made for a frame only after its length was found to be allowed.
#[derive(Debug, Default)]
pub(super) struct FrameCodec;

impl Decoder for FrameCodec {
    type Item = Bytes;
    type Error = FrameError;

    fn decode(&mut self, from: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some((header, _)) = from.split_first_chunk::<HEADER_BYTES>() else {
            from.reserve(HEADER_BYTES - from.len());
            return Ok(None);
        };
        let mut header = &header[..];
        let (length, told) = (header.get_u32_le() as usize, header.get_u32_le());
        match length {
            0 => return Err(FrameError::Empty),
            FRAME_BYTES_MAX.. if length > FRAME_BYTES_MAX => return Err(FrameError::TooLong(length)),
            _ => {}
        }
        if from.len() - HEADER_BYTES < length {
            from.reserve(HEADER_BYTES + length - from.len());
            return Ok(None);
        }
        from.advance(HEADER_BYTES);
        let payload = from.split_to(length).freeze();
        let found = crc32c::crc32c(&payload);
        if found != told {
            return Err(FrameError::Checksum { told, found });
        }
        Ok(Some(payload))
    }
}

impl Encoder<&[u8]> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, payload: &[u8], into: &mut BytesMut) -> Result<(), FrameError> {
        if payload.is_empty() {
            return Err(FrameError::Empty);
        }
        let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= FRAME_BYTES_MAX);
        let length = length.ok_or(FrameError::TooLong(payload.len()))?;
        into.reserve(HEADER_BYTES + payload.len());
        into.put_u32_le(length);
        into.put_u32_le(crc32c::crc32c(payload));
        into.put_slice(payload);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(payload: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::new();
        FrameCodec.encode(payload, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_frame_has_the_layout_that_clients_speak() {
        // The check value of CRC-32C for these nine digits.
        let bytes = frame(b"123456789");
        assert_eq!(bytes[..8], [9, 0, 0, 0, 0x83, 0x92, 0x06, 0xe3]);
        assert_eq!(&bytes[8..], b"123456789");
    }

    #[test]
    fn a_length_is_judged_before_room_is_made() {
        for (length, allowed) in [(0_u32, false), (1 << 20, true), ((1 << 20) + 1, false), (u32::MAX, false)]
        {
            let mut bytes = BytesMut::new();
            bytes.put_u32_le(length);
            bytes.put_u32_le(0);
            assert_eq!(FrameCodec.decode(&mut bytes).is_ok(), allowed, "{length}");
            assert!(allowed || bytes.capacity() < 4096, "{} bytes of room for {length}", bytes.capacity());
        }
        assert!(matches!(FrameCodec.encode(&[], &mut BytesMut::new()), Err(FrameError::Empty)));
        let large = vec![0; FRAME_BYTES_MAX + 1];
        assert!(matches!(FrameCodec.encode(&large, &mut BytesMut::new()), Err(FrameError::TooLong(_))));
        FrameCodec.encode(&large[1..], &mut BytesMut::new()).unwrap();
    }

    #[test]
    fn a_frame_with_one_bit_changed_is_refused() {
        let good = frame(b"payload");
        for bit in 32..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(FrameCodec.decode(&mut bytes), Err(FrameError::Checksum { .. })), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic_and_never_take_more_room_than_a_frame(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            length in any::<u32>(),
        ) {
            let mut with_length = length.to_le_bytes().to_vec();
            with_length.extend_from_slice(&bytes);
            for bytes in [bytes, with_length] {
                let mut buffer = BytesMut::from(&bytes[..]);
                while let Ok(Some(payload)) = FrameCodec.decode(&mut buffer) {
                    prop_assert!(payload.len() <= FRAME_BYTES_MAX);
                }
                prop_assert!(buffer.capacity() <= HEADER_BYTES + FRAME_BYTES_MAX, "{}", buffer.capacity());
            }
        }

        #[test]
        fn frames_come_back_however_they_are_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 1..5),
            cut in 1_usize..50,
        ) {
            let all: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload)).collect();
            let mut buffer = BytesMut::new();
            let mut found = Vec::new();
            for piece in all.chunks(cut) {
                buffer.extend_from_slice(piece);
                while let Some(payload) = FrameCodec.decode(&mut buffer).unwrap() {
                    found.push(payload.to_vec());
                }
            }
            prop_assert_eq!(found, payloads);
        }
    }
}
