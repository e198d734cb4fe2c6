//! Which family of readers serves each hook.

use super::object::{AttachedHook, KernelObject, LoadError, LoadOptions};
use super::program::{self, Functions};
use super::refusal::Refusal;
use collector_common::Hook;

/// Hooks whose programs hand TCP attempts to one another. Each family keeps those in a place of its own, so that one of
/// them has to serve all.
const OF_ATTEMPTS: [Hook; 6] = [
    Hook::TcpBegin,
    Hook::TcpEnd,
    Hook::TcpDestroy,
    Hook::ConnectExit,
    Hook::Ia32Connect,
    Hook::Ia32Socketcall,
];

/// A family of readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Typed pointers and direct loads (6.2 and newer).
    Direct,
    /// Probe reads (5.10 and newer).
    Portable,
}

impl Readers {
    /// The family's name, which is also the ending of its programs' names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Portable => "portable",
        }
    }
}

/// Which family to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadersChoice {
    /// Direct where the kernel takes it, else portable.
    #[default]
    Auto,
    /// This one or none.
    Only(Readers),
}

impl ReadersChoice {
    pub(super) fn candidates(self) -> &'static [Readers] {
        match self {
            Self::Auto => &[Readers::Direct, Readers::Portable],
            Self::Only(Readers::Direct) => &[Readers::Direct],
            Self::Only(Readers::Portable) => &[Readers::Portable],
        }
    }
}

pub(super) fn program_name(hook: Hook, readers: Readers) -> String {
    format!("{}_{}", hook.program(), readers.name())
}

impl KernelObject {
    /// Loads the programs of these hooks. Gives those that the kernel took.
    ///
    /// # Errors
    /// If it refuses one that its class cannot do without.
    pub(super) fn load_programs(
        &mut self,
        hooks: &[Hook],
        options: &LoadOptions,
        functions: &Functions,
    ) -> Result<Vec<AttachedHook>, LoadError> {
        let mut loaded = Vec::new();
        for &hook in hooks {
            match self.load_program(hook, options.readers, functions) {
                Ok(readers) => loaded.push(AttachedHook { hook, readers }),
                Err(refusal) => {
                    self.do_without(options, hook, format!("program {}", hook.program()), refusal)?;
                }
            }
        }
        let hands_on = |of: &AttachedHook, family| OF_ATTEMPTS.contains(&of.hook) && of.readers == family;
        if !loaded.iter().any(|of| hands_on(of, Readers::Portable)) {
            return Ok(loaded);
        }
        let only = ReadersChoice::Only(Readers::Portable);
        for AttachedHook { hook, .. } in
            loaded.extract_if(.., |of| hands_on(of, Readers::Direct)).collect::<Vec<_>>()
        {
            let name = program_name(hook, Readers::Direct);
            tracing::info!(
                program = name,
                "another program that it works with is not taken with direct readers"
            );
            let again = program::unload(&mut self.ebpf, &name, hook)
                .and_then(|()| self.load_program(hook, only, functions));
            match again {
                Ok(readers) => loaded.push(AttachedHook { hook, readers }),
                Err(refusal) => {
                    self.do_without(options, hook, format!("program {}", hook.program()), refusal)?;
                }
            }
        }
        Ok(loaded)
    }

    fn load_program(
        &mut self,
        hook: Hook,
        choice: ReadersChoice,
        functions: &Functions,
    ) -> Result<Readers, Refusal> {
        if let Some(refusal) = self.layout.refuses(hook) {
            return Err(refusal);
        }
        let mut last = None;
        for &readers in choice.candidates() {
            let name = program_name(hook, readers);
            match program::load(&mut self.ebpf, &name, hook, functions) {
                Ok(()) => return Ok(readers),
                Err(refusal) => {
                    tracing::debug!(program = name, %refusal, "program refused");
                    if let Some(log) = &refusal.verifier_log {
                        tracing::trace!(program = name, log, "verifier log");
                    }
                    last = Some(refusal);
                }
            }
        }
        Err(last.expect("every choice has a candidate"))
    }
}
