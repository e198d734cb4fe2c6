//! Which programs this kernel takes, found by trying each: nothing stays loaded or attached.

use super::layout::Layout;
use super::object::{KernelObject, LoadError, LoadOptions, load_object};
use super::program::{self, Functions};
use super::readers::{Readers, program_name};
use super::refusal::Refusal;
use aya::Ebpf;
use collector_common::Hook;

/// Both families, in the order in which they are preferred.
const FAMILIES: [Readers; 2] = [Readers::Direct, Readers::Portable];

/// What the kernel says of a loaded program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramReport {
    /// The program's name.
    pub name: String,
    /// Where it attaches.
    pub hook: Hook,
    /// The family.
    pub readers: Readers,
    /// Instructions that the verifier walked (5.16 and newer), or why the program did not load.
    pub verified: Result<Option<u32>, Refusal>,
    /// Bytes of machine code.
    pub jited_bytes: u32,
}

/// One hook, tried with one family of readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookTrial {
    /// The hook.
    pub hook: Hook,
    /// The family.
    pub readers: Readers,
    /// How far it came.
    pub tried: Tried,
}

/// How far a program came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// It loads and attaches.
    Attached,
    /// It loads, and the hook refuses it.
    NotAttached(Refusal),
    /// The verifier, or a lack of privileges, refuses it.
    NotLoaded(Refusal),
}

impl KernelObject {
    /// Loads every program of every family, and says what the verifier said.
    ///
    /// # Errors
    /// If the object itself cannot be loaded.
    pub fn report(options: &LoadOptions) -> Result<Vec<ProgramReport>, LoadError> {
        let layout = Layout::read(options.btf.as_deref())?;
        let mut ebpf = load_object(&layout, options, 0, &[])?;
        let functions = Functions::of(&layout);
        let mut reports = Vec::new();
        for (hook, readers) in every_program(&layout) {
            let name = program_name(hook, readers);
            let loaded = load(&mut ebpf, &name, hook, &layout, &functions);
            let cost = program::cost(&ebpf, &name);
            reports.push(ProgramReport {
                verified: loaded.map(|()| cost.verified),
                jited_bytes: cost.jited_bytes,
                name,
                hook,
                readers,
            });
        }
        Ok(reports)
    }
}

/// Loads, attaches and takes off each hook with each family, one after the other. `told` hears of each as it is
/// decided. Nothing that the hooks see meanwhile is kept: there are no rings.
///
/// # Errors
/// If the object itself cannot be loaded.
pub fn try_hooks(options: &LoadOptions, mut told: impl FnMut(HookTrial)) -> Result<(), LoadError> {
    let layout = Layout::read(options.btf.as_deref())?;
    let mut ebpf = load_object(&layout, options, 0, &[])?;
    let functions = Functions::of(&layout);
    for (hook, readers) in every_program(&layout) {
        let name = program_name(hook, readers);
        let tried = match load(&mut ebpf, &name, hook, &layout, &functions) {
            Err(refusal) => Tried::NotLoaded(refusal),
            Ok(()) => {
                let attached = program::attach(&mut ebpf, &name, hook).map(drop);
                if let Err(refusal) = program::unload(&mut ebpf, &name, hook) {
                    tracing::warn!(program = name, %refusal, "failed to unload");
                }
                attached.map_or_else(Tried::NotAttached, |()| Tried::Attached)
            }
        };
        told(HookTrial { hook, readers, tried });
    }
    Ok(())
}

/// Those of hooks that this kernel has.
fn every_program(layout: &Layout) -> impl Iterator<Item = (Hook, Readers)> {
    let hooks = Hook::ALL.iter().filter(|hook| layout.has(**hook));
    hooks.flat_map(|&hook| FAMILIES.map(|readers| (hook, readers)))
}

fn load(
    ebpf: &mut Ebpf,
    name: &str,
    hook: Hook,
    layout: &Layout,
    functions: &Functions,
) -> Result<(), Refusal> {
    layout.refuses(hook).map_or_else(|| program::load(ebpf, name, hook, functions), Err)
}
