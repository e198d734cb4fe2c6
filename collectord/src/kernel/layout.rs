//! The running kernel's layout: what the kernel programs need to know of it, resolved before the load.

use super::btf::{Btf, BtfError};
use super::refusal::Refusal;
use super::wrappers::Wrappers;
use collector_common::{Class, Hook, Offsets, Rung, TypeIds};
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use zerocopy::{FromBytes, IntoBytes};

/// Where the kernel exports its BTF.
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Opens through io_uring whose names are kept until they are done: 4 KiB each.
const REQUESTED_MAX: u32 = 1_024;

/// The function that stands for the hook of task iterators.
pub(super) const TASK_ITERATOR: &str = "bpf_iter_task";

/// Tracepoints that are guarded by SRCU, and not by preemption that is off: this came with them (7.0), and its name was
/// another guard's before there was a `tracepoint_ext` (6.13).
const TRACEPOINT_GUARD: &str = "tracepoint_srcu_srcu_data";

/// x86: the bit in a thread's status.
const TS_COMPAT: u32 = 2;
/// arm64: the bit in a thread's flags.
const TIF_32BIT: u32 = 1 << 22;

/// Why the layout is not known.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The kernel exports none.
    #[error(
        "this kernel exports no BTF ({path} is missing): it was built without CONFIG_DEBUG_INFO_BTF=y; \
         give its BTF with --btf FILE"
    )]
    Absent {
        /// The path that was tried.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("failed to read BTF from {path}")]
    Read {
        /// The path that was tried.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not BTF.
    #[error("failed to parse BTF from {path}")]
    Parse {
        /// The path that was read.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: BtfError,
    },
    /// A field that the programs cannot do without.
    #[error("the kernel's BTF has none of {paths:?}, which is needed for {field}")]
    Field {
        /// The field's name in our table.
        field: &'static str,
        /// Where it was looked for.
        paths: &'static [&'static str],
    },
}

/// What is known of a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Member offsets.
    pub offsets: Offsets,
    /// Type ids for typed pointers.
    pub types: TypeIds,
    /// BTF id of the kfunc `bpf_rdonly_cast`, if the kernel has it (6.2 and newer).
    pub rdonly_cast: Option<u32>,
    /// BTF id of the hook of task iterators, if the kernel has them (5.8 and newer).
    pub task_iterator: Option<u32>,
    /// Whether `sched_process_exit` says if the process ends.
    pub exit_tells_group_dead: bool,
    /// The hook that hands over a request of io_uring when it is made (6.0 and newer).
    pub uring_submit: Option<Hook>,
    /// Bytes of `struct upid`.
    pub upid_bytes: u32,
    /// 8-byte words of a name inside a dentry.
    pub inline_name_words: u32,
    /// Whether the kernel has the helper `bpf_task_pt_regs`.
    pub task_regs_helper: bool,
    /// Bytes of `struct pt_regs`.
    pub regs_bytes: u32,
    /// The bit that says that a task is in a 32-bit system call.
    pub compat_mask: u32,
    /// The functions of calls of other ABIs.
    pub wrappers: Wrappers,
    /// Whether a task can be preempted in a tracepoint's program, which is then skipped on that CPU until it goes on.
    pub preempts_tracepoints: bool,
}

/// Bytes of a BTF file that are read at most; a distribution's kernel has 5 to 10 MiB.
const BTF_BYTES_MAX: u64 = 64 << 20;

fn bytes_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    // As long as it says it is: a reallocation would double what the start takes.
    bytes.reserve_exact(usize::try_from(file.metadata()?.len().min(BTF_BYTES_MAX)).unwrap_or(0));
    file.take(BTF_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Layout {
    /// Reads the layout from a BTF file, the running kernel's own by default.
    ///
    /// # Errors
    /// Says which file, or which field, is missing.
    pub fn read(file: Option<&Path>) -> Result<Self, LayoutError> {
        let path = file.unwrap_or(Path::new(BTF_PATH));
        let data = bytes_of(path).map_err(|source| match (source.kind(), file) {
            (std::io::ErrorKind::NotFound, None) => LayoutError::Absent { path: path.into() },
            _ => LayoutError::Read { path: path.into(), source },
        })?;
        let names = wanted_names();
        let btf = Btf::parse(data, |name| names.contains(name))
            .map_err(|source| LayoutError::Parse { path: path.into(), source })?;
        Self::resolve(&btf)
    }

    fn resolve(btf: &Btf) -> Result<Self, LayoutError> {
        let mut offsets = Offsets::NONE;
        for (slot, field) in words_of(&mut offsets).iter_mut().zip(Offsets::FIELDS) {
            match field.paths.iter().find_map(|path| btf.offset(path)) {
                Some(offset) => *slot = offset,
                None if field.optional => {}
                None => return Err(LayoutError::Field { field: field.name, paths: field.paths }),
            }
        }
        let id = |name| btf.struct_id(name).unwrap_or(0);
        let inline_name = ["dentry.d_shortname", "dentry.d_iname"]
            .iter()
            .find_map(|path| btf.member_size(path))
            .unwrap_or(0);
        Ok(Self {
            offsets,
            types: TypeIds {
                task: id("task_struct"),
                bprm: id("linux_binprm"),
                file: id("file"),
                mount: id("mount"),
                callback: id("callback_head"),
                dentry: id("dentry"),
                sock: id("sock"),
                inet_sock: id("inet_sock"),
                socket: id("socket"),
                request: id("io_kiocb"),
                io_open: id("io_open"),
            },
            rdonly_cast: btf.function_id("bpf_rdonly_cast"),
            task_iterator: btf.function_id(TASK_ITERATOR),
            exit_tells_group_dead: btf.tracepoint_args("sched_process_exit") >= Some(2),
            uring_submit: [(Hook::UringSubmit, 1), (Hook::UringSubmitSqe, 2)]
                .into_iter()
                .find(|(hook, args)| btf.tracepoint_args(hook.target()) == Some(*args))
                .map(|(hook, _)| hook),
            upid_bytes: btf.struct_size("upid").unwrap_or(16),
            inline_name_words: (inline_name / 8).min(5),
            task_regs_helper: btf.function_id("bpf_task_pt_regs").is_some(),
            regs_bytes: btf.struct_size("pt_regs").unwrap_or(0),
            compat_mask: if btf.offset("task_struct.thread_info.status").is_some() {
                TS_COMPAT
            } else {
                TIF_32BIT
            },
            wrappers: Wrappers::find(btf),
            preempts_tracepoints: btf.has_percpu(TRACEPOINT_GUARD)
                && btf.struct_id("tracepoint_ext").is_some(),
        })
    }
}

impl Layout {
    /// False for a hook of what this kernel does not have, to which nobody can be blind.
    pub(crate) fn has(&self, hook: Hook) -> bool {
        match hook {
            Hook::UringOpen => self.offsets.request_opcode != Offsets::ABSENT,
            Hook::CgroupMade => self.offsets.kernfs_node_id != Offsets::ABSENT,
            Hook::UringSubmit | Hook::UringSubmitSqe => self.uring_submit == Some(hook),
            _ => hook.rung() != Rung::Fexit || self.wrappers.has(hook),
        }
    }

    /// Room for the names of opens through io_uring, where these are told.
    pub(super) fn requested_max(&self, classes: &[Class]) -> u32 {
        if self.uring_submit.is_some() && classes.contains(&Class::File) { REQUESTED_MAX } else { 1 }
    }

    /// Why a hook that is there does not say enough, or may not be used.
    pub(super) fn refuses(&self, hook: Hook) -> Option<Refusal> {
        if hook.rung() == Rung::Fexit {
            return self.refuses_wrapper(hook);
        }
        let silent = hook == Hook::UringOpen
            && (self.offsets.request_result == Offsets::ABSENT || self.uring_submit.is_none());
        silent.then(|| {
            Refusal::other("this kernel's tracepoints of io_uring do not name the request".to_owned())
        })
    }

    fn refuses_wrapper(&self, hook: Hook) -> Option<Refusal> {
        let why = if self.wrappers.of(hook).is_none() {
            "this kernel's BTF names no functions of system calls"
        } else if !self.wrappers.lasting_trampolines {
            "this kernel (before 5.12) frees a hooked function's trampoline while calls still sleep in it"
        } else {
            return None;
        };
        Some(Refusal::other(why.to_owned()))
    }
}

/// The struct as its fields in order; they are all `u32`.
fn words_of(offsets: &mut Offsets) -> &mut [u32] {
    <[u32]>::mut_from_bytes(offsets.as_mut_bytes()).expect("Offsets is nothing but u32 fields")
}

fn wanted_names() -> HashSet<Vec<u8>> {
    let structs =
        Offsets::FIELDS.iter().flat_map(|field| field.paths).filter_map(|path| path.split('.').next());
    structs
        .chain(["upid", "callback_head", "bpf_rdonly_cast", "bpf_task_pt_regs", TASK_ITERATOR])
        .chain(["btf_trace_sched_process_exit", "btf_trace_io_uring_submit_req"])
        .chain(["btf_trace_io_uring_submit_sqe", TRACEPOINT_GUARD, "tracepoint_ext"])
        .chain(Wrappers::names())
        .map(|name| name.as_bytes().to_vec())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use collector_common::Spans;

    #[test]
    fn running_kernels_layout_resolves() {
        if !Path::new(BTF_PATH).exists() {
            return;
        }
        let layout = Layout::read(None).unwrap();
        assert_ne!(layout.offsets.task_tgid, Offsets::ABSENT);
        assert!(matches!(layout.inline_name_words, 4 | 5));
        assert_eq!(layout.upid_bytes, 16);
    }

    #[test]
    fn io_uring_is_refused_where_its_tracepoints_do_not_name_the_request() {
        if !Path::new(BTF_PATH).exists() {
            return;
        }
        let layout = Layout::read(None).unwrap();
        let with = |opcode, result, uring_submit| {
            let offsets = Offsets { request_opcode: opcode, request_result: result, ..layout.offsets };
            let layout = Layout { offsets, uring_submit, ..layout };
            (layout.has(Hook::UringOpen), layout.refuses(Hook::UringOpen).is_none())
        };
        assert_eq!(with(72, 96, Some(Hook::UringSubmitSqe)), (true, true));
        assert_eq!(with(72, 96, None), (true, false));
        assert_eq!(with(72, Offsets::ABSENT, Some(Hook::UringSubmit)), (true, false));
        assert!(!with(Offsets::ABSENT, Offsets::ABSENT, None).0, "no io_uring, nothing to be blind to");
    }

    #[test]
    fn what_is_read_at_once_has_room_on_the_running_kernel() {
        if !Path::new(BTF_PATH).exists() {
            return;
        }
        let layout = Layout::read(None).unwrap();
        let spans = Spans::of(&layout.offsets, layout.inline_name_words);
        for (span, words) in [
            (spans.family, Spans::FAMILY_WORDS),
            (spans.own, Spans::OWN_WORDS),
            (spans.cred, Spans::CRED_WORDS),
            (spans.nsproxy, Spans::CRED_WORDS),
            (spans.file, Spans::OWN_WORDS),
            (spans.inode, Spans::INODE_WORDS),
            (spans.mount, Spans::MOUNT_WORDS),
            (spans.name, Spans::NAME_WORDS),
            (spans.look, Spans::LOOK_WORDS),
        ] {
            assert!(span.bytes as usize <= words * 8 && span.bytes > 0, "{spans:?}");
        }
    }

    #[test]
    fn missing_file_is_named() {
        let error = Layout::read(Some(Path::new("/no/such/btf"))).unwrap_err();
        assert!(error.to_string().contains("/no/such/btf"), "{error}");
    }

    #[test]
    fn other_file_is_named_and_refused() {
        let error = Layout::read(Some(Path::new("/proc/self/exe"))).unwrap_err();
        assert!(matches!(error, LayoutError::Parse { .. }), "{error}");
    }
}
