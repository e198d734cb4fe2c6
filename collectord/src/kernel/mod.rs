//! From the committed object to attached programs and their rings.

mod arch;
mod blind;
mod btf;
mod constants;
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
mod readers;
mod refusal;
pub mod rings;
mod running;
mod trial;
mod wrappers;

pub(crate) use arch::abi_of;
pub use blind::blind_without;
pub use btf::{Btf, BtfError};
pub use layout::{BTF_PATH, Layout, LayoutError};
pub(crate) use object::in_initial_pid_namespace;
pub use object::{AbsentHook, AttachedHook, KernelObject, LoadError, LoadOptions};
pub(crate) use program::TRACEFS;
pub use program::via;
pub use readers::{Readers, ReadersChoice};
pub use refusal::Refusal;
pub use running::Running;
pub use trial::{HookTrial, ProgramReport, Tried, try_hooks};
pub use wrappers::{Wrapper, Wrappers};

/// The committed kernel object.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../collector-ebpf/collector.bpf.o");
