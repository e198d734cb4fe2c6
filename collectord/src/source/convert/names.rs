//! Comms as texts that nobody has to count. Nearly every event's comm is one of a few; as a slice of a shared buffer, each
//! would be copied, and counted by two threads.

use super::comm;
use bytes::Bytes;
use collector_common::TaskRecord;
use collector_core::event::Text;
use std::sync::OnceLock;

/// Comms that are kept while this process runs, 24 bytes each; a power of two. Of those that fall into one place the
/// first has it.
const COMMS_KEPT: usize = 1024;

static COMMS: [OnceLock<[u64; 2]>; COMMS_KEPT] = [const { OnceLock::new() }; COMMS_KEPT];

/// The task's comm, if it is one of those that are kept.
pub(super) fn kept(task: &TaskRecord) -> Option<Text> {
    let known = COMMS[place(task.comm)].get_or_init(|| task.comm);
    (*known == task.comm).then(|| Text::new(Bytes::from_static(comm(known))))
}

fn place([first, last]: [u64; 2]) -> usize {
    // 2^64 divided by the golden ratio, odd.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let spread = (first ^ last.rotate_left(32)).wrapping_mul(SPREAD);
    (spread >> 32) as usize % COMMS_KEPT
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{self, event, exit};

    #[test]
    fn more_comms_than_are_kept_are_still_told_right() {
        for round in 0..2 {
            for n in 0..super::COMMS_KEPT * 4 {
                let name = format!("task {n}");
                let event = event(&exit(|record| record.task.comm = fixtures::comm(name.as_bytes())));
                assert_eq!(event.process.name.as_bytes(), name.as_bytes(), "round {round}");
            }
        }
    }
}
