//! Log lines of the kernel programs, for debugging them (feature `ebpf-log`).

use aya::Ebpf;
use aya_log::EbpfLogger;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How long a line may wait.
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// Passes log lines on until it is dropped.
pub(super) struct ProgramLog {
    _stop: Sender<()>,
}

/// Starts to pass on the object's log lines; `None` if it was built without.
pub(super) fn start(ebpf: &mut Ebpf) -> Option<ProgramLog> {
    let mut logger = match EbpfLogger::init_with_logger(ebpf, log::logger()) {
        Ok(logger) => logger,
        Err(error) => {
            tracing::warn!(%error, "the kernel object has no log: build it with `cargo xtask build-ebpf --log`");
            return None;
        }
    };
    let (stop, stopped) = channel();
    let thread = std::thread::Builder::new().name("program-log".to_owned()).spawn(move || {
        while stopped.recv_timeout(FLUSH_EVERY) == Err(RecvTimeoutError::Timeout) {
            logger.flush();
        }
        logger.flush();
    });
    if let Err(error) = thread {
        tracing::warn!(%error, "no thread for the programs' log");
    }
    Some(ProgramLog { _stop: stop })
}
