//! What differs between architectures and no BTF tells: numbers of system calls, names of ABIs. One table each.

use collector_common::{ABI_AARCH32, ABI_AARCH64, ABI_IA32, ABI_NONE, ABI_X86_64, Arch, Hook, Rung};

/// A number that no call has.
const NONE: u32 = u32::MAX;

/// The table of the architecture that this was built for.
pub(super) const fn table() -> Arch {
    if cfg!(target_arch = "x86_64") {
        Arch {
            connect: 42,
            // `connect`, and `socketcall` through which older programs call it.
            compat_connect: 362,
            compat_socketcall: 102,
            native_abi: ABI_X86_64 as u32,
            compat_abi: ABI_IA32 as u32,
        }
    } else if cfg!(target_arch = "aarch64") {
        Arch {
            connect: 203,
            compat_connect: 283,
            compat_socketcall: NONE,
            native_abi: ABI_AARCH64 as u32,
            compat_abi: ABI_AARCH32 as u32,
        }
    } else {
        Arch {
            connect: NONE,
            compat_connect: NONE,
            compat_socketcall: NONE,
            native_abi: ABI_NONE as u32,
            compat_abi: ABI_NONE as u32,
        }
    }
}

/// Name of the ABI of the system calls whose exit this hook sees.
pub(crate) fn abi_of(hook: Hook) -> u16 {
    let abi = if hook.rung() == Rung::Fexit { table().compat_abi } else { table().native_abi };
    u16::try_from(abi).unwrap_or(ABI_NONE)
}
