//! From the committed object to attached programs and their rings.

mod arch;
mod blind;
mod btf;
mod cpus;
mod followed;
mod kfunc;
mod layout;
pub(crate) mod mapped;
mod object;
mod one_reader;
mod program;
#[cfg(feature = "ebpf-log")]
mod program_log;
mod refusal;
pub mod rings;
mod running;
mod trial;

pub(crate) use arch::native_abi;
pub use blind::blind_without;
pub use btf::{Btf, BtfError};
pub use layout::{BTF_PATH, Layout, LayoutError};
pub(crate) use object::in_initial_pid_namespace;
pub use object::{
    AbsentHook, AttachedHook, KernelObject, LoadError, LoadOptions, Readers, ReadersChoice, via,
};
pub(crate) use program::TRACEFS;
pub use refusal::Refusal;
pub use running::Running;
pub use trial::{HookTrial, ProgramReport, Tried, try_hooks};

/// The committed kernel object.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../collector-ebpf/collector.bpf.o");
