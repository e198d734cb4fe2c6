//! The kernel functions behind the hooks of [`Rung::Fexit`]: the wrappers of 32-bit system calls on x86, found in BTF.

use super::btf::Btf;
use super::object::{AttachedHook, LoadError, absent, refused};
use aya::Ebpf;
use aya::maps::Array;
use aya_obj::btf::{BtfType, Func, FuncLinkage};
use collector_common::Hook;
#[cfg(doc)]
use collector_common::Rung;

/// The hooks and their functions' names. Where there is a compat version, the table of 32-bit calls has that one
/// (arch/x86/entry/syscalls/syscall_32.tbl), though the other function is there too.
const CALLS: [(Hook, [&str; 2]); 9] = [
    (Hook::Ia32Open, ["__ia32_compat_sys_open", "__ia32_sys_open"]),
    (Hook::Ia32Openat, ["__ia32_compat_sys_openat", "__ia32_sys_openat"]),
    (Hook::Ia32Openat2, ["__ia32_compat_sys_openat2", "__ia32_sys_openat2"]),
    (Hook::Ia32Creat, ["__ia32_compat_sys_creat", "__ia32_sys_creat"]),
    (Hook::Ia32OpenByHandle, ["__ia32_compat_sys_open_by_handle_at", "__ia32_sys_open_by_handle_at"]),
    (Hook::Ia32Execve, ["__ia32_compat_sys_execve", "__ia32_sys_execve"]),
    (Hook::Ia32Execveat, ["__ia32_compat_sys_execveat", "__ia32_sys_execveat"]),
    (Hook::Ia32Connect, ["__ia32_compat_sys_connect", "__ia32_sys_connect"]),
    (Hook::Ia32Socketcall, ["__ia32_compat_sys_socketcall", "__ia32_sys_socketcall"]),
];

/// Functions that every kernel of an architecture has, and those that it has for calls of other ABIs. A BTF without the
/// first names no functions of system calls at all.
const NATIVE: &str = if cfg!(target_arch = "aarch64") { "__arm64_sys_openat" } else { "__x64_sys_openat" };
const AARCH32: &str = "__arm64_compat_sys_openat";
/// Since 5.13, and before.
const X32: [&str; 2] = ["__x64_compat_sys_execve", "__x32_compat_sys_execve"];
/// A struct that came with trampolines which outlast the calls that sleep in them (5.12, and 5.10 by a fix).
const LASTING_TRAMPOLINES: &str = "bpf_tramp_image";

/// A function of the running kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrapper {
    /// Its name.
    pub name: &'static str,
    /// Its number in the kernel's BTF.
    pub id: u32,
}

/// Through which other ABIs than the native one the running kernel can be called, and by which functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrappers {
    found: [Option<Wrapper>; CALLS.len()],
    /// 32-bit calls.
    pub compat: bool,
    /// Calls of the x32 ABI.
    pub x32: bool,
    /// Whether a function can be hooked while calls sleep in it.
    pub lasting_trampolines: bool,
}

impl Wrappers {
    /// Every name that is looked for.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        let calls = CALLS.iter().flat_map(|(_, names)| names).copied();
        calls.chain([NATIVE, AARCH32, LASTING_TRAMPOLINES]).chain(X32)
    }

    /// Finds them.
    pub(super) fn find(btf: &Btf) -> Self {
        let wrapper = |name| btf.function_id(name).map(|id| Wrapper { name, id });
        let found = CALLS.map(|(_, names)| names.into_iter().find_map(wrapper));
        let unnamed = btf.function_id(NATIVE).is_none();
        let aarch32 = btf.function_id(AARCH32).is_some();
        Self {
            found,
            compat: unnamed || aarch32 || found.iter().any(Option::is_some),
            x32: cfg!(target_arch = "x86_64")
                && (unnamed || X32.iter().any(|name| btf.function_id(name).is_some())),
            lasting_trampolines: btf.struct_id(LASTING_TRAMPOLINES).is_some(),
        }
    }

    /// The function behind a hook.
    pub fn of(&self, hook: Hook) -> Option<Wrapper> {
        CALLS.iter().zip(self.found).find(|((of, _), _)| *of == hook)?.1
    }

    /// Whether the kernel has the call that a hook is about; of what its BTF does not name, nobody knows that it is not
    /// there.
    pub(super) fn has(&self, hook: Hook) -> bool {
        if self.found.iter().any(Option::is_some) { self.of(hook).is_some() } else { self.has_unnamed() }
    }

    fn has_unnamed(&self) -> bool {
        cfg!(target_arch = "x86_64") && self.compat
    }

    /// BTF in which these functions have their numbers, and nothing else is.
    pub(super) fn naming(&self) -> aya::Btf {
        let mut functions: Vec<(&str, u32)> =
            self.found.iter().flatten().map(|found| (found.name, found.id)).collect();
        functions.sort_unstable_by_key(|(_, id)| *id);
        naming(&functions)
    }
}

/// Says whether the exits of 32-bit connects are to be hooked: then what their handshakes tell is remembered for them.
///
/// # Errors
/// If the object's map is not there or refuses.
pub(super) fn expect_connects(ebpf: &mut Ebpf, loaded: &[AttachedHook]) -> Result<(), LoadError> {
    const NAME: &str = "COMPAT_EXITS";
    let hooked = loaded.iter().any(|loaded| matches!(loaded.hook, Hook::Ia32Connect | Hook::Ia32Socketcall));
    let map = ebpf.map_mut(NAME).ok_or_else(|| absent(NAME))?;
    let mut map: Array<_, u32> = Array::try_from(map).map_err(refused(NAME))?;
    map.set(0, u32::from(hooked), 0).map_err(refused(NAME))
}

/// BTF in which functions have their numbers, in ascending order, and nothing else is: all that the loader looks up. To
/// read the kernel's BTF once more would take it 16 ms.
pub(super) fn naming(functions: &[(&str, u32)]) -> aya::Btf {
    let mut btf = aya::Btf::new();
    let mut next = 1;
    for &(name, id) in functions {
        let name = btf.add_string(name);
        for _ in next..id {
            btf.add_type(BtfType::Unknown);
        }
        btf.add_type(BtfType::Func(Func::new(name, 0, FuncLinkage::Global)));
        next = id + 1;
    }
    btf
}

#[cfg(test)]
mod tests {
    use super::*;
    use collector_common::Rung;

    #[test]
    fn every_hook_of_the_rung_has_its_functions_and_no_other() {
        let hooks = Hook::ALL.iter().filter(|hook| hook.rung() == Rung::Fexit);
        assert!(hooks.eq(CALLS.iter().map(|(hook, _)| hook)));
        for (hook, names) in CALLS {
            let call = hook.target().strip_prefix("ia32_").unwrap();
            assert_eq!(names, [format!("__ia32_compat_sys_{call}"), format!("__ia32_sys_{call}")]);
        }
    }

    #[test]
    fn functions_are_found_by_their_numbers() {
        let btf = naming(&[("one", 3), ("two", 4), ("three", 9)]);
        for (name, id) in [("one", 3), ("two", 4), ("three", 9)] {
            assert_eq!(btf.id_by_type_name_kind(name, aya_obj::btf::BtfKind::Func).unwrap(), id);
        }
    }
}
