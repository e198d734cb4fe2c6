//! How many records one frame holds.

use super::frame::FRAME_BYTES_MAX;
use prost::Message;
use prost::encoding::{encoded_len_varint, key_len};

/// Room for everything in a result that is no record: the task's id, a message, the envelope.
const RESERVED: usize = 16 * 1024;
/// Bytes that the records of one result can take.
pub(super) const RECORD_BYTES_MAX: usize = FRAME_BYTES_MAX - RESERVED;
/// Every list of a result has a field number of one byte.
const FIELD: u32 = 4;

/// Records that fit into one frame, and how many did not.
#[derive(Debug)]
pub(super) struct Fitted<M> {
    pub(super) records: Vec<M>,
    pub(super) left_out: usize,
}

impl<M: Message> Fitted<M> {
    /// Makes records as long as they fit. One that does not fit ends it, so that what is there has no holes; of the
    /// rest no record is made.
    pub(super) fn take<T>(
        mut told: impl ExactSizeIterator<Item = T>,
        mut record: impl FnMut(T) -> M,
    ) -> Self {
        let mut room = RECORD_BYTES_MAX;
        let mut fitting = Vec::new();
        while let Some(next) = told.next() {
            let record = record(next);
            let length = record.encoded_len();
            let needed = key_len(FIELD) + encoded_len_varint(length as u64) + length;
            if needed > room {
                return Self { records: fitting, left_out: 1 + told.len() };
            }
            room -= needed;
            fitting.push(record);
        }
        Self { records: fitting, left_out: 0 }
    }

    /// As [`Self::take`] of what has its newest last: what does not fit is missing at the front.
    pub(super) fn take_newest<T>(told: Vec<T>, record: impl FnMut(T) -> M) -> Self {
        let mut fitted = Self::take(told.into_iter().rev(), record);
        fitted.records.reverse();
        fitted
    }

    /// What a client is told of it.
    pub(super) fn note(&self) -> Option<String> {
        let (told, all) = (self.records.len(), self.records.len() + self.left_out);
        (self.left_out > 0).then(|| {
            format!("truncated: {told} of {all} records fit into a frame of {FRAME_BYTES_MAX} bytes")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::{DetectionResult, FilesystemRecord};
    use super::*;

    #[test]
    fn the_records_fill_the_frame_to_the_last_that_fits() {
        let record = |path: usize| FilesystemRecord { path: "x".repeat(path), ..FilesystemRecord::default() };
        for size in [1, 100, 4096, 300_000] {
            let fitted = Fitted::take(0..1_000_000 / size * 3, |_| record(size));
            assert!(fitted.left_out > 0, "{size}");
            let result = DetectionResult { filesystem_events: fitted.records, ..DetectionResult::default() };
            assert!(result.encoded_len() <= RECORD_BYTES_MAX, "{size}");
            assert!(
                result.encoded_len() + size + 20 > RECORD_BYTES_MAX,
                "{size}: another one would have fit"
            );
        }
    }

    #[test]
    fn of_the_newest_none_is_missing_at_the_end() {
        let record = |n: usize| FilesystemRecord {
            operation_id: n.to_string(),
            path: "x".repeat(400_000),
            ..FilesystemRecord::default()
        };
        let fitted = Fitted::take_newest((0..5).collect(), record);
        let ids: Vec<_> = fitted.records.iter().map(|record| record.operation_id.as_str()).collect();
        assert_eq!(ids, ["3", "4"]);
        assert_eq!(fitted.note().unwrap(), "truncated: 2 of 5 records fit into a frame of 1048576 bytes");
        assert_eq!(Fitted::take(0..2, record).note(), None);
    }

    /// A record can cost reading /proc and hashing a file.
    #[test]
    fn of_what_is_left_out_no_record_is_made() {
        let mut made = 0;
        let fitted = Fitted::take(0..1000, |_| {
            made += 1;
            FilesystemRecord { path: "x".repeat(400_000), ..FilesystemRecord::default() }
        });
        assert_eq!((made, fitted.records.len(), fitted.left_out), (3, 2, 998));
    }
}
