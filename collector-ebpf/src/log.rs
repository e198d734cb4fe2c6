//! Log lines from the programs, for debugging them: feature `log`, off in the committed object.

/// Says that a hook's program has handed its record, with this number, to the ring or counted it as lost.
#[cfg(feature = "log")]
macro_rules! emitted {
    ($ctx:expr, $stream:literal, $seq:expr) => {
        aya_log_ebpf::debug!($ctx, "{} {} done, task {}", $stream, $seq, crate::raw::current_ids().1)
    };
}

#[cfg(not(feature = "log"))]
macro_rules! emitted {
    ($ctx:expr, $stream:literal, $seq:expr) => {};
}

pub(crate) use emitted;
