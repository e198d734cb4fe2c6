//! One kernel program: loaded, attached by its rung, unloaded.

use super::layout::Layout;
use super::refusal::Refusal;
use super::wrappers::Wrappers;
use crate::children;
use aya::programs::links::CgroupAttachMode;
use aya::programs::{CgroupSockAddr, FExit, Program, ProgramError, ProgramInfo, RawTracePoint, TracePoint};
use aya::{Btf, Ebpf};
use collector_common::{Hook, Rung};
use std::fs::File;
use std::path::Path;

/// The category of the tracepoints that [`Rung::Tracepoint`] means.
const TRACEPOINT_CATEGORY: &str = "syscalls";

/// Where tracefs may be mounted for the loader to find it.
pub(crate) const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// What a loaded program costs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    /// Instructions that the verifier walked, where the kernel tells (5.16 and newer).
    pub(super) verified: Option<u32>,
    /// Bytes of machine code.
    pub(super) jited_bytes: u32,
}

/// False for the tracepoint of what this kernel or architecture does not have. Where nobody can look, it is for the
/// attach to tell.
pub(super) fn can_exist(hook: Hook, layout: &Layout) -> bool {
    if hook.rung() != Rung::Tracepoint {
        return layout.has(hook);
    }
    let folders = TRACEFS.iter().map(|mount| Path::new(mount).join("events").join(TRACEPOINT_CATEGORY));
    folders
        .into_iter()
        .find(|folder| folder.is_dir())
        .is_none_or(|folder| folder.join(hook.target()).is_dir())
}

/// Rung and hook, as `via` has them.
pub fn via(hook: Hook) -> String {
    format!("{}:{}", hook.rung().name(), hook.target())
}

/// Where programs that are loaded for a function find its number.
pub(super) struct Functions {
    wrappers: Wrappers,
    naming: Btf,
}

impl Functions {
    pub(super) fn of(layout: &Layout) -> Self {
        Self { wrappers: layout.wrappers, naming: layout.wrappers.naming() }
    }
}

pub(super) fn load(ebpf: &mut Ebpf, name: &str, hook: Hook, functions: &Functions) -> Result<(), Refusal> {
    let program = find(ebpf, name)?;
    let loaded = match hook.rung() {
        Rung::RawTracepoint => typed::<RawTracePoint>(program)?.load(),
        Rung::Tracepoint => typed::<TracePoint>(program)?.load(),
        Rung::CgroupSockAddr => typed::<CgroupSockAddr>(program)?.load(),
        Rung::Fexit => {
            let wrapper = functions.wrappers.of(hook);
            let wrapper = wrapper.ok_or_else(|| Refusal::other("the kernel has no such call".to_owned()))?;
            typed::<FExit>(program)?.load(wrapper.name, &functions.naming)
        }
    };
    loaded.map_err(|error| Refusal::of_program(&error))
}

/// A program at its hook, until this is dropped. That takes tens of milliseconds: the kernel waits until no CPU can be in
/// the program any more.
pub(super) struct Link(#[expect(dead_code, reason = "it is held for its drop")] Box<dyn Send>);

pub(super) fn attach(ebpf: &mut Ebpf, name: &str, hook: Hook) -> Result<Link, Refusal> {
    let program = find(ebpf, name)?;
    let refused = |error: ProgramError| Refusal::of_program(&error);
    Ok(Link(match hook.rung() {
        Rung::RawTracepoint => {
            let program = typed::<RawTracePoint>(program)?;
            let link = program.attach(hook.target()).map_err(refused)?;
            Box::new(program.take_link(link).map_err(refused)?)
        }
        Rung::Tracepoint => {
            let program = typed::<TracePoint>(program)?;
            let link = program.attach(TRACEPOINT_CATEGORY, hook.target()).map_err(refused)?;
            Box::new(program.take_link(link).map_err(refused)?)
        }
        Rung::CgroupSockAddr => {
            let program = typed::<CgroupSockAddr>(program)?;
            // A link stands beside others by itself, and the kernel refuses one that asks for it.
            let link = program.attach(root_cgroup()?, CgroupAttachMode::Single).map_err(refused)?;
            Box::new(program.take_link(link).map_err(refused)?)
        }
        Rung::Fexit => {
            let program = typed::<FExit>(program)?;
            let link = program.attach().map_err(refused)?;
            Box::new(program.take_link(link).map_err(refused)?)
        }
    }))
}

/// Programs of a class at their hooks. They are taken off when this is dropped, all at once: the kernel's waits go on side
/// by side.
pub(crate) struct Links(pub(super) Vec<Link>);

impl Drop for Links {
    fn drop(&mut self) {
        let _alone = children::none_starts();
        std::thread::scope(|scope| {
            for link in self.0.drain(..) {
                // Where no thread is to be had, the link is dropped here.
                let _ = std::thread::Builder::new().spawn_scoped(scope, || drop(link));
            }
        });
    }
}

pub(super) fn unload(ebpf: &mut Ebpf, name: &str, hook: Hook) -> Result<(), Refusal> {
    let program = find(ebpf, name)?;
    let unloaded = match hook.rung() {
        Rung::RawTracepoint => typed::<RawTracePoint>(program)?.unload(),
        Rung::Tracepoint => typed::<TracePoint>(program)?.unload(),
        Rung::CgroupSockAddr => typed::<CgroupSockAddr>(program)?.unload(),
        Rung::Fexit => typed::<FExit>(program)?.unload(),
    };
    unloaded.map_err(|error| Refusal::of_program(&error))
}

/// What the kernel says of a program; nothing, if it is not loaded.
pub(super) fn cost(ebpf: &Ebpf, name: &str) -> Cost {
    let info = ebpf.program(name).and_then(|program| program.info().ok());
    info.as_ref().map_or_else(Cost::default, |info: &ProgramInfo| Cost {
        verified: info.verified_instruction_count(),
        jited_bytes: info.size_jitted(),
    })
}

fn find<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Program, Refusal> {
    ebpf.program_mut(name).ok_or_else(|| Refusal::other(format!("the kernel object has no program {name}")))
}

fn typed<'a, T>(program: &'a mut Program) -> Result<&'a mut T, Refusal>
where
    &'a mut T: TryFrom<&'a mut Program, Error = ProgramError>,
{
    program.try_into().map_err(|error| Refusal::of_program(&error))
}

/// A line of `/proc/self/fdinfo/N`.
pub(super) fn fdinfo_value(fd: i32, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')?.trim().parse().ok())
}

/// The root of the unified cgroup hierarchy: a hook there sees the whole machine.
fn root_cgroup() -> Result<File, Refusal> {
    let root = crate::host::root_cgroup()
        .ok_or_else(|| Refusal::other("no cgroup2 filesystem is mounted".to_owned()))?;
    File::open(&root).map_err(|error| {
        let refusal = Refusal::of_error(&error);
        Refusal { reason: format!("failed to open {}: {}", root.display(), refusal.reason), ..refusal }
    })
}
