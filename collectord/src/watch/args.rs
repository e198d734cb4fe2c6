//! The flags of `watch`, checked before anything is loaded.

use super::cpus::{Cpus, parse_cpus};
use super::filters;
use crate::kernel::rings::{RING_BYTES_MAX, RING_BYTES_MIN, RingOptions};
use crate::kernel::{LoadOptions, Readers, ReadersChoice};
use crate::source::CANARY_PERIOD;
use clap::{Args, ValueEnum};
use collector_common::{COMM_BYTES, CgroupFilter, Class, Filters, Hook, PathPrefix};
use std::fmt;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

/// What to watch, which of it, and how to show it.
#[derive(Debug, Clone, Args)]
pub struct WatchArgs {
    /// Events to tell [default: exec,exit,connect,open, as far as this kernel and these privileges allow]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub events: Vec<EventName>,

    /// With --events fork: tell new threads too, not only new processes
    #[arg(long)]
    pub threads: bool,

    /// How to write them: aligned lines for people, or JSON lines [default: compact on a terminal, else json]
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    /// Stop after this time, such as 500ms, 10s or 2m
    #[arg(long, value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,

    /// Stop after this many events
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Only events of this process id, of the initial pid namespace (may be given up to 8 times)
    #[arg(long, value_parser = parse_pid)]
    pub pid: Vec<u32>,

    /// Only events of processes with this real user, a number or a name (up to 8 times)
    #[arg(long, value_parser = parse_user)]
    pub uid: Vec<u32>,

    /// Only events of processes with this comm, 15 bytes at most (up to 8 times)
    #[arg(long, value_parser = parse_comm)]
    pub comm: Vec<Comm>,

    /// Never cut a line to the terminal's width
    #[arg(long)]
    pub wide: bool,

    /// With --pid: also everything that these processes start, and so on
    #[arg(long, requires = "pid")]
    pub follow: bool,

    /// Only events in this cgroup or below it: a path below the cgroup2 mount, or an id (up to 8 times)
    #[arg(long, value_name = "PATH|ID", value_parser = filters::parse_cgroup)]
    pub cgroup: Vec<CgroupFilter>,

    /// Only opens of this file, or of files below this directory (up to 4 times)
    #[arg(long, value_name = "PATH", value_parser = filters::parse_prefix)]
    pub path_prefix: Vec<Prefix>,

    /// Only opens that may change, make or empty a file
    #[arg(long)]
    pub writes: bool,

    /// Only what failed: opens, connections, program starts
    #[arg(long)]
    pub failed: bool,

    /// Also name this many ancestors of the process, the parent first (up to 16)
    #[arg(long, value_name = "LEVELS", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub ancestry: Option<u8>,

    /// How often the collector makes calls that change nothing and starts `true`, to see that its own hooks tell each
    /// once; or `off`
    #[arg(long, value_name = "PERIOD|off", default_value_t = CanaryPeriod(Some(CANARY_PERIOD)), value_parser = parse_canary)]
    pub canary: CanaryPeriod,

    /// No colours; NO_COLOR in the environment does the same
    #[arg(long)]
    pub no_color: bool,

    /// How kernel programs read the kernel
    #[arg(long, value_enum, default_value_t = ReadersArg::Auto)]
    pub readers: ReadersArg,

    /// Size of each ring of a class, such as process=1MiB: a power of two from 32KiB to 256MiB
    #[arg(long, value_name = "CLASS=SIZE", value_parser = parse_ring_size)]
    pub ring_size: Vec<(Class, u64)>,

    /// Memory for all rings together, split by class and CPU
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = parse_size)]
    pub ring_memory: u64,

    /// Keep the threads that read the rings on these CPUs, such as 0 or 0-1,3
    #[arg(long, value_name = "LIST", value_parser = parse_cpus)]
    pub reader_cpus: Option<Cpus>,

    /// Nice value of the daemon's threads, from -20 (most of the CPU) to 19: -4 if nobody has given it one
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i8).range(-20..=19))]
    pub nice: Option<i8>,

    /// BTF of the running kernel, if it exports none in /sys/kernel/btf/vmlinux
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,

    /// Kernel object to load instead of the built-in one, such as one with log lines (`cargo xtask build-ebpf --log`)
    #[cfg(feature = "ebpf-log")]
    #[arg(long, value_name = "FILE")]
    pub object: Option<PathBuf>,
}

/// An event that can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EventName {
    /// A program was started, or could not be
    Exec,
    /// A process ended
    Exit,
    /// A process was created
    Fork,
    /// A connection was asked for, and how it came out
    Connect,
    /// A file was opened, or was not
    Open,
}

impl EventName {
    /// What is told if nobody says what.
    const DEFAULT: [Self; 4] = [Self::Exec, Self::Exit, Self::Connect, Self::Open];

    fn hooks(self) -> &'static [Hook] {
        match self {
            Self::Exec => &[Hook::Exec, Hook::Execve, Hook::Execveat, Hook::Ia32Execve, Hook::Ia32Execveat],
            Self::Exit => &[Hook::Exit],
            Self::Fork => &[Hook::Fork],
            Self::Connect => &[
                Hook::TcpBegin,
                Hook::TcpEnd,
                Hook::TcpDestroy,
                Hook::ConnectExit,
                Hook::SendMsg4,
                Hook::SendMsg6,
                Hook::Connect4,
                Hook::Connect6,
                Hook::Ia32Connect,
                Hook::Ia32Socketcall,
            ],
            Self::Open => &[
                Hook::Open,
                Hook::Openat,
                Hook::Openat2,
                Hook::Creat,
                Hook::OpenByHandle,
                Hook::UringOpen,
                Hook::UringSubmit,
                Hook::UringSubmitSqe,
                Hook::Ia32Open,
                Hook::Ia32Openat,
                Hook::Ia32Openat2,
                Hook::Ia32Creat,
                Hook::Ia32OpenByHandle,
            ],
        }
    }
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One aligned line an event
    Compact,
    /// One JSON object a line
    Json,
}

/// How kernel programs read the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReadersArg {
    /// Direct where the kernel takes it, else portable
    Auto,
    /// Typed pointers (Linux 6.2 and newer)
    Direct,
    /// Probe reads (Linux 5.10 and newer)
    Portable,
}

/// How often the canary flies; `None` for never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanaryPeriod(pub Option<Duration>);

impl fmt::Display for CanaryPeriod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(period) => humantime::format_duration(period).fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// A path prefix; `None` is the root.
pub type Prefix = Option<PathPrefix>;

/// A comm, NUL-padded as the kernel has it.
pub type Comm = [u8; COMM_BYTES];

/// Flags that are each right and together are not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// More values of one filter than the kernel programs compare.
    #[error("{flag} is given {given} times, and {max} is the most")]
    TooMany {
        /// The flag.
        flag: &'static str,
        /// How often it is given.
        given: usize,
        /// How often it may be.
        max: usize,
    },
    /// Threads are told as forks.
    #[error("--threads is about forks: add --events fork")]
    ThreadsWithoutFork,
    /// These compare what was opened.
    #[error("{flag} is about opens: add open to --events")]
    WithoutOpen {
        /// The flag.
        flag: &'static str,
    },
    /// Exits and forks do not fail.
    #[error(
        "--failed is about opens, connections and program starts: add one of open, connect, exec to --events"
    )]
    NothingFails,
    /// Lines for people have no room for them.
    #[error("--ancestry is told in JSON lines alone: add --format json")]
    AncestryInCompact,
}

impl WatchArgs {
    /// The hooks whose events are told.
    pub fn told(&self) -> Vec<Hook> {
        let events = if self.events.is_empty() { &EventName::DEFAULT[..] } else { &self.events };
        let told = events.iter().flat_map(|event| event.hooks()).copied();
        // These only ever come out well.
        let succeeds = |hook: &Hook| matches!(hook, Hook::Exec | Hook::Fork | Hook::Exit);
        told.filter(|hook| !self.failed || !succeeds(hook)).collect()
    }

    /// How to load the kernel object.
    ///
    /// # Errors
    /// If flags do not go together, or a filter has more values than the kernel programs compare.
    pub fn load_options(&self, whole_verifier_log: bool) -> Result<LoadOptions, FlagError> {
        if self.threads && !self.events.contains(&EventName::Fork) {
            return Err(FlagError::ThreadsWithoutFork);
        }
        self.do_something()?;
        let readers = match self.readers {
            ReadersArg::Auto => ReadersChoice::Auto,
            ReadersArg::Direct => ReadersChoice::Only(Readers::Direct),
            ReadersArg::Portable => ReadersChoice::Only(Readers::Portable),
        };
        Ok(LoadOptions {
            filters: self.filters()?,
            optional: if self.events.is_empty() { vec![Class::Network, Class::File] } else { Vec::new() },
            fork_threads: self.threads,
            readers,
            rings: RingOptions { sizes: self.ring_size.clone(), memory: Some(self.ring_memory) },
            btf: self.btf.clone(),
            whole_verifier_log,
            #[cfg(feature = "ebpf-log")]
            object: self.object.clone(),
            ..LoadOptions::default()
        })
    }

    /// A flag that would do nothing is a mistake of whoever wrote it.
    fn do_something(&self) -> Result<(), FlagError> {
        let opens = self.events.is_empty() || self.events.contains(&EventName::Open);
        let about_opens = [("--writes", self.writes), ("--path-prefix", !self.path_prefix.is_empty())];
        if let Some((flag, _)) = about_opens.into_iter().find(|(_, given)| *given && !opens) {
            return Err(FlagError::WithoutOpen { flag });
        }
        if self.failed && self.told().is_empty() {
            return Err(FlagError::NothingFails);
        }
        if self.ancestry.is_some() && self.format() == Format::Compact {
            return Err(FlagError::AncestryInCompact);
        }
        Ok(())
    }

    /// How events are written: as lines for people where a person looks on, if nothing else was asked for.
    pub fn format(&self) -> Format {
        let terminal = || std::io::stdout().is_terminal();
        self.format.unwrap_or_else(|| if terminal() { Format::Compact } else { Format::Json })
    }

    fn filters(&self) -> Result<Filters, FlagError> {
        let mut filters = Filters::default();
        filters.pids_len = fill("--pid", &mut filters.pids, self.pid.iter().copied())?;
        filters.uids_len = fill("--uid", &mut filters.uids, self.uid.iter().copied())?;
        filters.cgroups_len = fill("--cgroup", &mut filters.cgroups, self.cgroup.iter().copied())?;
        // Everything lies below the root: then no other prefix matters.
        if self.path_prefix.iter().all(Option::is_some) {
            let prefixes: Vec<_> = self.path_prefix.iter().flatten().copied().collect();
            filters.prefixes_len = fill("--path-prefix", &mut filters.prefixes, prefixes.into_iter())?;
        }
        filters.only_writes = u32::from(self.writes);
        filters.only_failures = u32::from(self.failed);
        filters.follow = u32::from(self.follow);
        filters.comms_len = fill("--comm", &mut filters.comms, self.comm.iter().map(comm_words))?;
        Ok(filters)
    }
}

fn fill<T, const MAX: usize>(
    flag: &'static str,
    slots: &mut [T; MAX],
    values: impl ExactSizeIterator<Item = T>,
) -> Result<u32, FlagError> {
    let given = values.len();
    if given > MAX {
        return Err(FlagError::TooMany { flag, given, max: MAX });
    }
    for (slot, value) in slots.iter_mut().zip(values) {
        *slot = value;
    }
    Ok(u32::try_from(given).expect("at most MAX"))
}

fn comm_words(comm: &Comm) -> [u32; 4] {
    let (words, _) = comm.as_chunks();
    std::array::from_fn(|at| u32::from_ne_bytes(words[at]))
}

fn parse_comm(text: &str) -> Result<Comm, String> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() >= COMM_BYTES {
        return Err(format!("a comm has 1 to {} bytes, this has {}", COMM_BYTES - 1, bytes.len()));
    }
    let mut comm = [0; COMM_BYTES];
    comm[..bytes.len()].copy_from_slice(bytes);
    Ok(comm)
}

/// Shortest period of the canary.
const CANARY_PERIOD_MIN: Duration = Duration::from_millis(10);

fn parse_canary(text: &str) -> Result<CanaryPeriod, String> {
    if text == "off" {
        return Ok(CanaryPeriod(None));
    }
    let period = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a time such as 8s, or off"))?;
    if period < CANARY_PERIOD_MIN {
        return Err(format!("the shortest period is {CANARY_PERIOD_MIN:?}, not {period:?}"));
    }
    Ok(CanaryPeriod(Some(period)))
}

fn parse_pid(text: &str) -> Result<u32, String> {
    let pid = text.parse().ok().filter(|&pid| pid > 0);
    pid.ok_or_else(|| "a process id is a number from 1 to 4294967295".to_owned())
}

fn parse_user(text: &str) -> Result<u32, String> {
    if let Ok(uid) = text.parse() {
        return Ok(uid);
    }
    match nix::unistd::User::from_name(text) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err("neither a user id (0 to 4294967295) nor the name of a user here".to_owned()),
        Err(error) => Err(format!("the users cannot be looked up: {error}")),
    }
}

fn parse_ring_size(text: &str) -> Result<(Class, u64), String> {
    let (class, size) = text.split_once('=').ok_or("expected CLASS=SIZE, such as process=1MiB")?;
    let known = Class::ALL.map(Class::name).join(", ");
    let class = Class::ALL.into_iter().find(|known| known.name() == class);
    let class = class.ok_or_else(|| {
        format!("no class {:?}; there are: {known}", text.split('=').next().unwrap_or_default())
    })?;
    let bytes = parse_size(size)?;
    if !bytes.is_power_of_two() || !(RING_BYTES_MIN..=RING_BYTES_MAX).contains(&bytes) {
        return Err(format!(
            "a ring has a power of two of bytes, from {RING_BYTES_MIN} (32KiB) to {RING_BYTES_MAX} (256MiB), not {bytes}"
        ));
    }
    Ok((class, bytes))
}

/// Sizes such as 65536, 512KiB, 32MiB, 1GiB.
fn parse_size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
    let (number, unit) = units
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
        .unwrap_or((text, 1_u64));
    let number: u64 = number
        .trim()
        .parse()
        .map_err(|_| format!("{text:?} is no size; write 65536, 512KiB, 32MiB or 1GiB"))?;
    number.checked_mul(unit).ok_or_else(|| format!("{text:?} is more than 64 bits can hold"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("65536"), Ok(65536));
        assert_eq!(parse_size("512KiB"), Ok(512 << 10));
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        assert!(parse_size("32MB").is_err());
        assert!(parse_size("99999999999GiB").is_err());
    }

    #[test]
    fn ring_sizes_name_their_bounds() {
        assert_eq!(parse_ring_size("process=1MiB"), Ok((Class::Process, 1 << 20)));
        assert!(parse_ring_size("process=3MiB").unwrap_err().contains("power of two"));
        assert!(parse_ring_size("process=4KiB").unwrap_err().contains("32KiB"));
        assert!(parse_ring_size("disk=1MiB").unwrap_err().contains("process"));
        assert!(parse_ring_size("1MiB").is_err());
    }

    #[test]
    fn comms_fit_the_kernels_field() {
        assert_eq!(parse_comm("sh").unwrap()[..3], *b"sh\0");
        assert!(parse_comm("").is_err());
        assert!(parse_comm("sixteen bytes 16").is_err());
    }

    #[test]
    fn a_canary_has_a_period_or_is_off() {
        assert_eq!(parse_canary("off"), Ok(CanaryPeriod(None)));
        assert_eq!(parse_canary("2s"), Ok(CanaryPeriod(Some(Duration::from_secs(2)))));
        assert!(parse_canary("9ms").unwrap_err().contains("10ms"));
        assert!(parse_canary("never").is_err());
    }

    #[test]
    fn process_ids_are_numbers_from_1() {
        assert_eq!(parse_pid("1"), Ok(1));
        for wrong in ["0", "-1", "abc", "4294967296", ""] {
            assert!(parse_pid(wrong).unwrap_err().contains("1 to 4294967295"), "{wrong}");
        }
    }

    #[test]
    fn users_are_numbers_or_names() {
        assert_eq!(parse_user("0"), Ok(0));
        assert_eq!(parse_user("root"), Ok(0));
        assert!(parse_user("no such user").is_err());
    }

    #[test]
    fn ninth_value_of_a_filter_is_refused() {
        let mut slots = [0; 8];
        assert_eq!(fill("--pid", &mut slots, 1..9).unwrap(), 8);
        assert!(fill("--pid", &mut slots, 1..10).is_err());
    }
}
