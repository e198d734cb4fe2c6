//! One boot of a virtual machine, from start to power-off, under a deadline.

use super::serial::{self, Line};
use crate::afterwards::Afterwards;
use crate::exec;
use crate::repo;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// From QEMU's start to init's first line, with KVM; a working KVM takes about one second.
const KVM_BOOT_MAX: Duration = Duration::from_secs(20);
/// From QEMU's start to init's first line, without.
const TCG_BOOT_MAX: Duration = Duration::from_secs(120);
/// Between two of the guest's lines: no test takes so long, and a machine whose kernel has locked up says nothing more,
/// or only that.
const SILENCE_MAX: Duration = Duration::from_secs(5 * 60);
/// From init's last line to QEMU's end.
const POWER_OFF_MAX: Duration = Duration::from_secs(20);

/// For the last line of a QEMU that has ended.
const REST_MAX: Duration = Duration::from_secs(1);

/// How QEMU runs the guest's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    Kvm,
    Tcg,
    /// As `Tcg`, and the guest's time is the number of instructions that it has executed: what other programs of this
    /// machine do is not in it, nor how fast anything is.
    Counted,
}

impl Accelerator {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host"],
            // One thread for all of a guest's CPUs. Kernels patch their own code at each attach to a tracepoint; with a
            // thread each, 6.12 died of it and 5.10 locked up after 7 minutes of tests, in one run of CI.
            Self::Tcg => &["-accel", "tcg,thread=single", "-cpu", "max"],
            // 2 ns an instruction; a guest that sleeps is not waited for.
            Self::Counted => &["-accel", "tcg,thread=single", "-cpu", "max", "-icount", "shift=1,sleep=off"],
        }
    }

    fn boot_max(self) -> Duration {
        match self {
            Self::Kvm => KVM_BOOT_MAX,
            Self::Tcg | Self::Counted => TCG_BOOT_MAX,
        }
    }
}

/// How a boot ended.
pub(crate) struct Boot {
    /// From QEMU's start to init's first line; none: init never spoke.
    pub(crate) init_after: Option<Duration>,
    pub(crate) ended: Ended,
    /// Everything the guest wrote, cleaned.
    pub(crate) lines: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The tests ended with this status.
    Status(i32),
    /// QEMU ended before they did.
    Early,
    /// A deadline passed and QEMU was ended.
    Deadline(Duration),
    /// It was silent for so long and QEMU was ended.
    Silence(Duration),
}

/// Boots a kernel with an initramfs on so many CPUs and gives each cleaned line to `on_line` as it comes.
pub(crate) fn boot(
    accelerator: Accelerator,
    cpus: u32,
    vmlinuz: &Path,
    initramfs: &Path,
    run_max: Duration,
    mut on_line: impl FnMut(&str),
) -> Result<Boot> {
    let qemu = repo::find_program("qemu-system-x86_64")
        .context("qemu-system-x86_64 is missing: run `cargo xtask setup`")?;
    let mut command = Command::new(qemu);
    command
        .args(accelerator.arguments())
        .args([
            "-smp",
            &cpus.to_string(),
            "-m",
            "1024",
            "-nographic",
            "-no-reboot",
            "-nic",
            "none",
            "-kernel",
        ])
        .arg(vmlinuz)
        .arg("-initrd")
        .arg(initramfs)
        // loglevel: of the kernel's messages only that it dies.
        .args(["-append", "console=ttyS0 quiet loglevel=1 panic=-1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("failed to start {}", exec::shown(&command)))?;
    let mut guest = Guest::new(child)?;

    let mut boot = Boot { init_after: None, ended: Ended::Early, lines: Vec::new() };
    let mut deadline = accelerator.boot_max();
    let mut heard = Instant::now();
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        match guest.output.recv_timeout(left.min(SILENCE_MAX.saturating_sub(heard.elapsed()))) {
            Ok(raw) => {
                let (line, message) = serial::read_line(&raw);
                // What the kernel says by itself is no sign that the tests go on.
                if !matches!(&line, Line::Text(text) if text.trim().is_empty()) {
                    heard = Instant::now();
                }
                let text = match line {
                    Line::Boot(_) => {
                        boot.init_after = Some(started.elapsed());
                        deadline = run_max;
                        None
                    }
                    Line::End(status) => {
                        boot.ended = Ended::Status(status);
                        deadline = started.elapsed() + POWER_OFF_MAX;
                        None
                    }
                    Line::Text(text) => Some(text),
                };
                for text in text.into_iter().chain(message) {
                    on_line(&text);
                    boot.lines.push(text);
                }
            }
            // QEMU has ended and closed its output.
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                if boot.ended == Ended::Early {
                    let late = started.elapsed() >= deadline;
                    boot.ended = if late { Ended::Deadline(deadline) } else { Ended::Silence(SILENCE_MAX) };
                }
                break;
            }
        }
    }
    guest.end()?;
    // What it had begun to say.
    while let Ok(raw) = guest.output.recv_timeout(REST_MAX) {
        let (line, message) = serial::read_line(&raw);
        let text = if let Line::Text(text) = line { Some(text) } else { None };
        for text in text.into_iter().chain(message) {
            on_line(&text);
            boot.lines.push(text);
        }
    }
    Ok(boot)
}

/// A QEMU process; it ends with its owner, also if this program is killed.
struct Guest {
    child: Child,
    /// Dropped before the child is waited for: until then nobody else has its pid.
    kill: Option<Afterwards>,
    output: Receiver<Vec<u8>>,
}

impl Guest {
    fn new(mut child: Child) -> Result<Self> {
        let kill = Afterwards::run("kill -KILL \"$1\" 2>/dev/null || :", &[&child.id().to_string()]);
        if kill.is_err() {
            child.kill().context("failed to end QEMU")?;
        }
        let (lines, output) = mpsc::channel();
        let stdout = child.stdout.take().context("QEMU has no standard output")?;
        let stderr = child.stderr.take().context("QEMU has no standard error")?;
        for stream in [Box::new(stdout) as Box<dyn Read + Send>, Box::new(stderr)] {
            let lines = lines.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    if lines.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self { child, kill: Some(kill?), output })
    }

    fn end(&mut self) -> Result<()> {
        drop(self.kill.take());
        self.child.wait().context("failed to wait for QEMU")?;
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error:#}");
        }
    }
}
