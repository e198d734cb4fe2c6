//! Files that were opened, and programs that could not be started.

use super::errno::Errno;
use super::kernel::Abi;
use super::text::Text;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A file was opened, or was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Path of the opened file, as the caller's mount namespace names it; `None` if the open failed.
    pub path: Option<Text>,
    /// The name as the caller gave it.
    pub requested: Option<Text>,
    /// Flags as requested.
    pub flags: Option<OpenFlags>,
    /// Mode as requested, where the flags ask for one.
    pub mode: Option<u32>,
    /// Device (kernel encoding, major << 20 | minor) of the opened file's filesystem.
    pub dev: Option<u32>,
    /// Inode of the opened file.
    pub ino: Option<u64>,
    /// The descriptor.
    pub fd: Option<u32>,
    /// Why the open failed.
    pub errno: Option<Errno>,
    /// Whether the call made the file; `None` if the open failed.
    pub created: Option<bool>,
    /// Whether `fd` is a slot of an io_uring's own table of files, and no descriptor of the process.
    #[serde(default)]
    pub direct: bool,
}

/// Flags of an open, as requested. Some have other numbers on ARM than on x86.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpenFlags(pub u64);

/// The bits of the access mode.
const ACCESS: u64 = 3;
const O_CREAT: u64 = 0o100;
const O_TRUNC: u64 = 0o1000;
/// Without `O_DIRECTORY`, which its name implies.
const TMPFILE_ALONE: u64 = 0o20_000_000;

/// What is the same on every architecture that we serve. `O_SYNC` holds the bits of `O_DSYNC`, and stands before it.
const COMMON: [(u64, &str); 11] = [
    (O_CREAT, "O_CREAT"),
    (0o200, "O_EXCL"),
    (0o400, "O_NOCTTY"),
    (O_TRUNC, "O_TRUNC"),
    (0o2000, "O_APPEND"),
    (0o4000, "O_NONBLOCK"),
    (0o4_010_000, "O_SYNC"),
    (0o10_000, "O_DSYNC"),
    (0o1_000_000, "O_NOATIME"),
    (0o2_000_000, "O_CLOEXEC"),
    (0o10_000_000, "O_PATH"),
];
/// `O_TMPFILE` holds the bit of `O_DIRECTORY`, and stands before it.
const X86: [(u64, &str); 6] = [
    (0o20_000, "O_ASYNC"),
    (0o40_000, "O_DIRECT"),
    (0o100_000, "O_LARGEFILE"),
    (TMPFILE_ALONE | 0o200_000, "O_TMPFILE"),
    (0o200_000, "O_DIRECTORY"),
    (0o400_000, "O_NOFOLLOW"),
];
const ARM: [(u64, &str); 6] = [
    (0o20_000, "O_ASYNC"),
    (TMPFILE_ALONE | 0o40_000, "O_TMPFILE"),
    (0o40_000, "O_DIRECTORY"),
    (0o100_000, "O_NOFOLLOW"),
    (0o200_000, "O_DIRECT"),
    (0o400_000, "O_LARGEFILE"),
];

impl OpenFlags {
    /// The names, the access mode first; bits without a name stand last, as one number. Without an ABI, the flags are
    /// this machine's.
    pub fn names(self, abi: Option<Abi>) -> impl Iterator<Item = Cow<'static, str>> {
        let arm = match abi {
            Some(Abi::Aarch64 | Abi::Aarch32) => true,
            Some(Abi::X86_64 | Abi::Ia32 | Abi::X32) => false,
            None => cfg!(any(target_arch = "aarch64", target_arch = "arm")),
        };
        let access = match self.0 & ACCESS {
            0 => "O_RDONLY",
            1 => "O_WRONLY",
            2 => "O_RDWR",
            _ => "O_ACCMODE",
        };
        let mut rest = self.0 & !ACCESS;
        let mut table = COMMON.iter().chain(if arm { &ARM } else { &X86 });
        // One allocation at most, for bits without a name.
        let others = std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let Some((bits, name)) = table.find(|(bits, _)| rest & bits == *bits) else {
                return Some(Cow::Owned(format!("{:#x}", std::mem::take(&mut rest))));
            };
            rest &= !bits;
            Some(Cow::Borrowed(*name))
        });
        std::iter::once(Cow::Borrowed(access)).chain(others)
    }

    /// Whether the kernel looks at the mode.
    pub fn has_mode(self) -> bool {
        self.0 & (O_CREAT | TMPFILE_ALONE) != 0
    }

    /// Whether the file is opened to be written, made or emptied.
    pub fn writes(self) -> bool {
        self.0 & ACCESS != 0 || self.0 & (O_CREAT | O_TRUNC | TMPFILE_ALONE) != 0
    }
}

/// A call of exec failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecFailed {
    /// The program's name as the caller gave it.
    pub filename: Option<Text>,
    /// The arguments as bytes, each ended by NUL. See [`ExecFailed::args`].
    pub argv: Option<Text>,
    /// Why.
    pub errno: Errno,
}

impl ExecFailed {
    /// Each argument's bytes.
    pub fn args(&self) -> impl Iterator<Item = &[u8]> {
        super::kernel::split_args(self.argv.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(flags: u64, abi: Abi) -> Vec<String> {
        OpenFlags(flags).names(Some(abi)).map(Cow::into_owned).collect()
    }

    #[test]
    fn flags_have_the_names_of_their_architecture() {
        assert_eq!(names(0, Abi::X86_64), ["O_RDONLY"]);
        assert_eq!(names(0o2_001_101, Abi::X86_64), ["O_WRONLY", "O_CREAT", "O_TRUNC", "O_CLOEXEC"][..]);
        assert_eq!(names(0o600_000, Abi::X86_64), ["O_RDONLY", "O_DIRECTORY", "O_NOFOLLOW"][..]);
        assert_eq!(names(0o140_000, Abi::Aarch64), ["O_RDONLY", "O_DIRECTORY", "O_NOFOLLOW"][..]);
        assert_eq!(names(0o20_200_002, Abi::X86_64), ["O_RDWR", "O_TMPFILE"][..]);
        assert_eq!(names(0o20_040_002, Abi::Aarch64), ["O_RDWR", "O_TMPFILE"][..]);
        assert_eq!(names(0o4_010_001, Abi::X86_64), ["O_WRONLY", "O_SYNC"][..]);
        assert_eq!(names(0o10_001, Abi::X86_64), ["O_WRONLY", "O_DSYNC"][..]);
    }

    #[test]
    fn no_bit_is_left_out() {
        for bit in 2..64 {
            for abi in [Abi::X86_64, Abi::Aarch64] {
                assert_eq!(names(1 << bit, abi).len(), 2, "bit {bit} of {abi:?}");
            }
        }
        assert_eq!(names(1 << 40, Abi::X86_64), ["O_RDONLY", "0x10000000000"][..]);
        assert_eq!(names(3, Abi::X86_64), ["O_ACCMODE"]);
    }

    #[test]
    fn writing_making_and_emptying_are_writes() {
        for flags in [1, 2, 3, 0o100, 0o1000, 0o20_200_000] {
            assert!(OpenFlags(flags).writes(), "{flags:o}");
        }
        for flags in [0, 0o2_000_000, 0o10_000_000, 0o200_000] {
            assert!(!OpenFlags(flags).writes(), "{flags:o}");
        }
    }
}
