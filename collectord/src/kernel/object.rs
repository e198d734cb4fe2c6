//! The kernel object in the kernel: the only file that names the loader's types.

use super::blind::blind_without;
use super::cpus::{online_cpus, possible_cpus};
use super::layout::{Layout, LayoutError};
use super::mapped::{MappedWords, Slots};
use super::one_reader::{NoRings, OneReader};
use super::program::{self, Functions, Link, Links, via};
use super::readers::{Readers, ReadersChoice, program_name};
use super::refusal::Refusal;
use super::rings::{BudgetTooSmall, RingOptions, RingPlan};
use super::{OBJECT, arch, constants, followed, kfunc, wrappers};
use crate::privileges::missing_where_refused;
use aya::maps::{ArrayOfMaps, Map, MapData, RingBuf};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;
use collector_common::{Class, Config, FOLLOWED_MAX, Filters, Hook, Spans};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use zerocopy::IntoBytes;

/// Inode of the initial pid namespace, a constant of the kernel (`PROC_PID_INIT_INO`).
const INITIAL_PID_NS_INODE: u64 = 0xefff_fffc;

/// TCP attempts that are followed at once.
const TCP_ATTEMPTS_MAX: u32 = 16_384;

/// How to load.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Which events are wanted.
    pub filters: Filters,
    /// Hooks whose records wake no sleeping reader: they are read with the next that does, or within its sleep's length.
    pub quiet: Vec<Hook>,
    /// Classes that nobody asked for by name: where their hooks are refused, that is told and no failure.
    pub optional: Vec<Class>,
    /// New threads are fork events too.
    pub fork_threads: bool,
    /// Which family of readers.
    pub readers: ReadersChoice,
    /// Sizes of the rings.
    pub rings: RingOptions,
    /// BTF of the running kernel, if it exports none itself.
    pub btf: Option<PathBuf>,
    /// Ask the verifier for its whole log where it refuses a program, not only for its verdict.
    pub whole_verifier_log: bool,
    /// Another kernel object than the committed one.
    #[cfg(feature = "ebpf-log")]
    pub object: Option<PathBuf>,
}

/// Why the object is not in the kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The kernel's layout is not known.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A capability is missing.
    #[error("loading and attaching kernel programs needs {}: {refusal}", .capabilities.join(" and "))]
    Permission {
        /// What is missing.
        capabilities: Vec<&'static str>,
        /// What the kernel said.
        #[source]
        refusal: Refusal,
    },
    /// The kernel refused although the capabilities are there.
    #[error("the kernel refused {what}: {refusal}")]
    Refused {
        /// What was attempted.
        what: String,
        /// What the kernel said.
        #[source]
        refusal: Refusal,
    },
    /// The kernel lacks what was asked for.
    #[error("{0}")]
    Unsupported(String),
    /// Ring sizes that cannot be had.
    #[error(transparent)]
    Rings(#[from] BudgetTooSmall),
}

/// A hook with its program in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttachedHook {
    /// The hook.
    pub hook: Hook,
    /// The family its program uses.
    pub readers: Readers,
}

/// A hook that could not be served and is not needed for its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsentHook {
    /// The hook.
    pub hook: Hook,
    /// What the kernel said.
    pub refusal: Refusal,
}

/// The loaded object. Programs stay attached until their links are taken, or until it is dropped.
pub struct KernelObject {
    pub(super) ebpf: Ebpf,
    pub(super) layout: Layout,
    /// This process's id in the initial pid namespace.
    self_pid: u32,
    attached: Vec<AttachedHook>,
    absent: Vec<AbsentHook>,
    /// Until they are taken.
    links: Vec<(Class, Link)>,
    rings: OneReader<Vec<RingBuf<MapData>>>,
    /// What [`KernelObject::missed`] said when a class's hooks were detached.
    missed_at_detach: Vec<(Class, u64)>,
    #[cfg(feature = "ebpf-log")]
    _log: Option<super::program_log::ProgramLog>,
}

impl KernelObject {
    /// Loads the object and attaches the hooks. A hook that is refused and whose class can do without it is noted in
    /// [`KernelObject::absent`].
    ///
    /// # Errors
    /// Says what is missing or what was refused; nothing stays attached then.
    pub fn attach(options: &LoadOptions, hooks: &[Hook]) -> Result<Self, LoadError> {
        let layout = Layout::read(options.btf.as_deref())?;
        // A system call that the kernel does not have is nothing to be blind to.
        let hooks: Vec<Hook> = hooks.iter().copied().filter(|&h| program::can_exist(h, &layout)).collect();
        let mut classes: Vec<Class> = hooks.iter().map(|hook| hook.class()).collect();
        classes.sort_unstable();
        classes.dedup();
        let plans = RingPlan::all(&classes, online_cpus()?, &options.rings)?;
        let self_pid = own_pid(&layout)?;
        let ebpf = load_object(&layout, options, self_pid, &classes)?;
        let mut object = Self {
            ebpf,
            layout,
            self_pid,
            attached: Vec::new(),
            absent: Vec::new(),
            links: Vec::new(),
            rings: OneReader::default(),
            missed_at_detach: Vec::new(),
            #[cfg(feature = "ebpf-log")]
            _log: None,
        };
        #[cfg(feature = "ebpf-log")]
        {
            object._log = options.object.as_ref().and_then(|_| super::program_log::start(&mut object.ebpf));
        }
        for plan in &plans {
            let rings = make_rings(&mut object.ebpf, plan)?;
            object.rings.put(plan.class, rings);
        }
        let functions = Functions::of(&object.layout);
        let loaded = object.load_programs(&hooks, options, &functions)?;
        let follows = options.filters.follow != 0;
        if follows {
            followed::put_first(&mut object.ebpf, &options.filters)?;
        }
        wrappers::expect_connects(&mut object.ebpf, &loaded)?;
        // Last: from the first event on, everything that it needs is there.
        for hook in loaded {
            let name = program_name(hook.hook, hook.readers);
            match program::attach(&mut object.ebpf, &name, hook.hook) {
                Ok(link) => {
                    object.attached.push(hook);
                    object.links.push((hook.hook.class(), link));
                }
                Err(refusal) => {
                    object.do_without(options, hook.hook, format!("attaching {name}"), refusal)?;
                }
            }
        }
        if follows {
            followed::put_descendants(&mut object.ebpf, &options.filters)?;
        }
        Ok(object)
    }

    /// Notes a hook that was refused, or fails if its class cannot do without it.
    pub(super) fn do_without(
        &mut self,
        options: &LoadOptions,
        hook: Hook,
        what: String,
        refusal: Refusal,
    ) -> Result<(), LoadError> {
        if blind_without(hook).is_none() && !options.optional.contains(&hook.class()) {
            return Err(explain(what, refusal, Some(hook)));
        }
        if blind_without(hook).is_none() {
            let class = hook.class().name();
            tracing::warn!(class, hook = via(hook), %refusal, "a class is not served; `collectord doctor` says what would help");
        } else {
            tracing::info!(hook = via(hook), %refusal, "a hook is refused; what only it sees is named blind");
        }
        self.absent.push(AbsentHook { hook, refusal });
        Ok(())
    }

    /// The running kernel's layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// This process's id in the initial pid namespace, as the kernel programs tell it.
    pub(crate) fn self_pid(&self) -> u32 {
        self.self_pid
    }

    /// The hooks that were attached.
    pub fn attached(&self) -> &[AttachedHook] {
        &self.attached
    }

    /// The hooks that were asked for and that the kernel refused.
    pub fn absent(&self) -> &[AbsentHook] {
        &self.absent
    }

    /// Gives a class's rings to their one reader.
    pub(crate) fn take_rings(&mut self, class: Class) -> Result<Vec<RingBuf<MapData>>, NoRings> {
        self.rings.take(class)
    }

    /// Maps the numbering slots.
    ///
    /// # Errors
    /// What `mmap` said.
    pub fn slots(&self) -> Result<Slots, LoadError> {
        let fd = self.array("COUNTERS")?;
        Slots::new(fd.fd().as_fd(), possible_cpus()?, Hook::ALL.len())
            .map_err(refused("mapping the counters"))
    }

    /// Maps the flags with which readers say that they sleep.
    ///
    /// # Errors
    /// What `mmap` said.
    pub fn sleeping(&self) -> Result<MappedWords, LoadError> {
        let fd = self.array("SLEEPING")?;
        MappedWords::new(fd.fd().as_fd(), Class::ALL.len(), true).map_err(refused("mapping the sleep flags"))
    }

    /// Runs of a class's programs that the kernel skipped because the program was already active on the CPU. Raw
    /// tracepoints have that check since 6.1 (commit 05b24ff9b2cf); before, none is skipped.
    pub fn missed(&self, class: Class) -> u64 {
        let kept = self.missed_at_detach.iter().find(|(of, _)| *of == class);
        kept.map_or_else(
            || {
                let fds = self.of_class(class).filter_map(|attached| {
                    let name = program_name(attached.hook, attached.readers);
                    Some(self.ebpf.program(&name)?.fd().ok()?.as_fd().as_raw_fd())
                });
                fds.filter_map(|fd| program::fdinfo_value(fd, "recursion_misses")).sum()
            },
            |(_, missed)| *missed,
        )
    }

    /// Gives the links of a class's programs away: detached, the programs run no more, and what they wrote stays in the
    /// rings.
    pub(crate) fn take_links(&mut self, class: Class) -> Links {
        if self.missed_at_detach.iter().all(|(of, _)| *of != class) {
            self.missed_at_detach.push((class, self.missed(class)));
        }
        Links(self.links.extract_if(.., |(of, _)| *of == class).map(|(_, link)| link).collect())
    }

    fn of_class(&self, class: Class) -> impl Iterator<Item = &AttachedHook> {
        self.attached.iter().filter(move |attached| attached.hook.class() == class)
    }

    fn array(&self, name: &'static str) -> Result<&MapData, LoadError> {
        match self.ebpf.map(name) {
            Some(Map::Array(data)) => Ok(data),
            _ => Err(absent(name)),
        }
    }
}

/// Makes the rings of a class and gives every CPU one.
fn make_rings(ebpf: &mut Ebpf, plan: &RingPlan) -> Result<Vec<RingBuf<MapData>>, LoadError> {
    let (map, name) = match plan.class {
        Class::Process => ("PROCESS_RINGS", "process_ring"),
        Class::Network => ("NETWORK_RINGS", "network_ring"),
        Class::File => ("FILE_RINGS", "file_ring"),
    };
    let mut outer: ArrayOfMaps<_, MapData> =
        ArrayOfMaps::try_from(ebpf.map_mut(map).ok_or_else(|| absent(map))?).map_err(refused(map))?;
    let too_large = |what: &str| LoadError::Unsupported(format!("{what} is more than 32 bits hold"));
    let bytes = u32::try_from(plan.bytes).map_err(|_| too_large("the ring size"))?;
    let mut rings = Vec::with_capacity(plan.count);
    for _ in 0..plan.count {
        let form = aya_obj::Map::new_from_params(BPF_MAP_TYPE_RINGBUF as u32, 0, 0, bytes, 0);
        rings.push(MapData::create(form, name, None).map_err(refused(&format!("a ring of {bytes} bytes")))?);
    }
    for cpu in 0..possible_cpus()? {
        let index = u32::try_from(cpu).map_err(|_| too_large("the number of CPUs"))?;
        outer.set(index, &rings[cpu % plan.count], 0).map_err(refused(map))?;
    }
    rings
        .into_iter()
        .map(|ring| RingBuf::try_from(Map::RingBuf(ring)).map_err(refused("mapping a ring")))
        .collect()
}

/// Parses the object, writes its constants, creates its maps, with room for what `classes` keep. No program is loaded
/// yet.
pub(super) fn load_object(
    layout: &Layout,
    options: &LoadOptions,
    self_pid: u32,
    classes: &[Class],
) -> Result<Ebpf, LoadError> {
    let config = Config {
        filters: options.filters,
        offsets: layout.offsets,
        spans: Spans::of(&layout.offsets, layout.inline_name_words),
        types: layout.types,
        self_pid,
        quiet_hooks: options.quiet.iter().fold(0, |bits, hook| bits | 1 << *hook as u32),
        fork_threads: u32::from(options.fork_threads),
        exit_tells_group_dead: u32::from(layout.exit_tells_group_dead),
        upid_bytes: layout.upid_bytes,
        inline_name_words: layout.inline_name_words,
        task_regs_helper: u32::from(layout.task_regs_helper),
        regs_bytes: layout.regs_bytes,
        compat_mask: layout.compat_mask,
        preempts_tracepoints: u32::from(layout.preempts_tracepoints),
        arch: arch::table(),
    };
    let mut object = object_bytes(options)?;
    let operands = constants::patch(&mut object, &config);
    tracing::debug!(operands, "constants are operands of instructions");
    match layout.rdonly_cast {
        Some(id) => {
            let calls = kfunc::patch(&mut object, id);
            tracing::debug!(calls, id, "direct readers call the kernel's bpf_rdonly_cast");
        }
        None => tracing::debug!("this kernel has no bpf_rdonly_cast"),
    }
    let log_level =
        if options.whole_verifier_log { VerifierLogLevel::default() } else { VerifierLogLevel::STATS };
    let cpus = possible_cpus()?;
    let slots =
        u32::try_from(cpus * Hook::ALL.len()).map_err(|_| LoadError::Unsupported(format!("{cpus} cpus")))?;
    let rings = u32::try_from(cpus).unwrap_or(u32::MAX);
    let attempts = if classes.contains(&Class::Network) { TCP_ATTEMPTS_MAX } else { 1 };
    EbpfLoader::new()
        // Nothing is relocated by the loader: the layout is resolved above.
        .btf(None)
        .verifier_log_level(log_level)
        .override_global("FILTERS", config.filters.as_bytes(), true)
        .map_max_entries("COUNTERS", slots)
        .map_max_entries("PROCESS_RINGS", rings)
        .map_max_entries("NETWORK_RINGS", rings)
        .map_max_entries("FILE_RINGS", rings)
        .map_max_entries("FOLLOWED", if options.filters.follow == 0 { 1 } else { FOLLOWED_MAX })
        .map_max_entries("ATTEMPTS", attempts)
        .map_max_entries("CLAIMS", attempts)
        .map_max_entries("REQUESTED", layout.requested_max(classes))
        .load(&object)
        .map_err(refused("the maps"))
}

#[cfg(not(feature = "ebpf-log"))]
fn object_bytes(_options: &LoadOptions) -> Result<Vec<u8>, LoadError> {
    Ok(OBJECT.to_vec())
}

#[cfg(feature = "ebpf-log")]
fn object_bytes(options: &LoadOptions) -> Result<Vec<u8>, LoadError> {
    match &options.object {
        None => Ok(OBJECT.to_vec()),
        Some(path) => std::fs::read(path).map_err(|error| {
            LoadError::Unsupported(format!("failed to read kernel object {}: {error}", path.display()))
        }),
    }
}

/// Whether /proc and this process name processes as the kernel programs do.
pub(crate) fn in_initial_pid_namespace() -> bool {
    let namespace = std::fs::metadata("/proc/self/ns/pid").map(|metadata| metadata.ino());
    namespace.is_ok_and(|inode| inode == INITIAL_PID_NS_INODE)
}

/// This process's id in the initial pid namespace, which the kernel programs see.
fn own_pid(layout: &Layout) -> Result<u32, LoadError> {
    if in_initial_pid_namespace() {
        return Ok(std::process::id());
    }
    // Inside a container only the kernel can tell: a program of the object returns it when it is run by hand.
    let mut ebpf = load_object(layout, &LoadOptions::default(), 0, &[])?;
    let program = ebpf.program_mut("own_pid").ok_or_else(|| absent("own_pid"))?;
    let program: &mut RawTracePoint = program.try_into().map_err(refused("own_pid"))?;
    program
        .load()
        .map_err(|error| explain("program own_pid".to_owned(), Refusal::of_program(&error), None))?;
    let run = program.test_run(RawTracePointRunOptions::new()).map_err(refused("running own_pid"))?;
    // No process has it. Taken for this one's, the collector would tell itself.
    if run.return_value == 0 {
        return Err(LoadError::Unsupported("own_pid says that this process has the id 0".to_owned()));
    }
    Ok(run.return_value)
}

fn explain(what: String, refusal: Refusal, hook: Option<Hook>) -> LoadError {
    let capabilities = missing_where_refused(&refusal, hook);
    if capabilities.is_empty() {
        return LoadError::Refused { what, refusal };
    }
    LoadError::Permission { capabilities, refusal }
}

pub(super) fn refused<E: std::error::Error + 'static>(what: &str) -> impl FnOnce(E) -> LoadError + use<E> {
    let what = what.to_owned();
    move |error| explain(what, Refusal::of_error(&error), None)
}

pub(super) fn absent(name: &str) -> LoadError {
    LoadError::Unsupported(format!("the kernel object has no {name} of the expected type"))
}
