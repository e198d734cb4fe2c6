//! Reads what the loader needs from a kernel's BTF: member offsets, type ids, a kfunc's id, a tracepoint's arguments.
//!
//! The one crate that gives members is LGPL and cannot be linked; this is the part of the format that we use.
//! Format: <https://docs.kernel.org/bpf/btf.html>. Source of the data: `/sys/kernel/btf/vmlinux` (5.4 and newer,
//! CONFIG_DEBUG_INFO_BTF).

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
const HEADER_LEN: usize = 24;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
/// Deepest nesting that is followed (typedefs of typedefs, anonymous members): a loop in a damaged file ends here.
const DEPTH_MAX: u32 = 32;

/// Why bytes are not BTF that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// The file does not start as BTF does.
    #[error("no BTF: the first two bytes are {0:#06x}, not 0xeb9f")]
    Magic(u16),
    /// A length or offset points outside.
    #[error("damaged BTF: byte {0} lies outside the data")]
    Bounds(usize),
    /// A kind of type that this reader does not know the length of.
    #[error("unknown BTF kind {kind} at byte {at}")]
    Kind {
        /// The kind's number.
        kind: u32,
        /// Where it stands.
        at: usize,
    },
}

/// A kernel's BTF.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    /// Where each type stands; index is the type id, and id 0 is `void`.
    types: Vec<usize>,
    /// Named structs, functions and typedefs by (kind, name); the first of a name wins.
    names: HashMap<(u32, Box<[u8]>), u32>,
}

#[derive(Clone, Copy)]
struct Type {
    kind: u32,
    len: usize,
    flag: bool,
    name: u32,
    size_or_type: u32,
    /// Where the kind's own data begins.
    data: usize,
}

impl Btf {
    /// Reads BTF as the kernel exports it. Only names that `wanted` says yes to can be looked up later.
    ///
    /// # Errors
    /// Says what is damaged and where.
    pub fn parse(data: Vec<u8>, wanted: impl Fn(&[u8]) -> bool) -> Result<Self, BtfError> {
        let word = |at: usize| read_u32(&data, at);
        let magic = (word(0)? & 0xffff) as u16;
        if magic != MAGIC {
            return Err(BtfError::Magic(magic));
        }
        let header = word(4)? as usize;
        if header < HEADER_LEN {
            return Err(BtfError::Bounds(header));
        }
        let (type_off, type_len) = (word(8)? as usize, word(12)? as usize);
        let strings = header + word(16)? as usize;
        let mut btf = Self { strings, types: vec![0], names: HashMap::new(), data };
        let mut at = header + type_off;
        let end = at + type_len;
        while at < end {
            let this = btf.read_type(at)?;
            let id = u32::try_from(btf.types.len()).map_err(|_| BtfError::Bounds(at))?;
            if matches!(this.kind, KIND_STRUCT | KIND_FUNC | KIND_TYPEDEF | KIND_VAR) {
                let name = btf.string(this.name);
                if !name.is_empty() && wanted(name) {
                    let key = (this.kind, Box::from(name));
                    btf.names.entry(key).or_insert(id);
                }
            }
            btf.types.push(at);
            at = this.data + extra_len(this.kind, this.len).ok_or(BtfError::Kind { kind: this.kind, at })?;
        }
        Ok(btf)
    }

    /// The id of a struct.
    pub fn struct_id(&self, name: &str) -> Option<u32> {
        self.named(KIND_STRUCT, name)
    }

    /// The id of a function (a kfunc is one).
    pub fn function_id(&self, name: &str) -> Option<u32> {
        self.named(KIND_FUNC, name)
    }

    /// Whether there is a variable of each CPU with this name.
    pub fn has_percpu(&self, name: &str) -> bool {
        self.named(KIND_VAR, name).is_some()
    }

    /// Bytes of a struct.
    pub fn struct_size(&self, name: &str) -> Option<u32> {
        Some(self.type_at(self.struct_id(name)?)?.size_or_type)
    }

    /// How many arguments a raw tracepoint hands to a program.
    pub fn tracepoint_args(&self, tracepoint: &str) -> Option<usize> {
        let typedef = self.type_at(self.named(KIND_TYPEDEF, &format!("btf_trace_{tracepoint}"))?)?;
        let pointer = self.type_at(typedef.size_or_type)?;
        let function = self.type_at(pointer.size_or_type)?;
        // The first is the kernel's own.
        (pointer.kind == KIND_PTR && function.kind == KIND_FUNC_PROTO).then(|| function.len.saturating_sub(1))
    }

    /// The byte offset of a member, from a path such as `sock.__sk_common.skc_dport` or `pt_regs.regs[1]`; anonymous
    /// members between need not be named. `None` if the kernel has no such member or it is a bit field.
    pub fn offset(&self, path: &str) -> Option<u32> {
        self.walk(path).map(|(offset, _)| offset)
    }

    /// Bytes of a member that is an array, or a union of arrays.
    pub fn member_size(&self, path: &str) -> Option<u32> {
        self.size(self.walk(path)?.1, 0)
    }

    fn walk(&self, path: &str) -> Option<(u32, u32)> {
        let mut names = path.split('.');
        let mut id = self.struct_id(names.next()?)?;
        let mut bits = 0;
        for name in names {
            let (name, index) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
                Some((name, index)) => (name, Some(index.parse::<u32>().ok()?)),
                None => (name, None),
            };
            let (offset, member) = self.member(self.resolve(id)?, name.as_bytes(), 0)?;
            bits += offset;
            id = member;
            if let Some(index) = index {
                let array = self.type_at(self.resolve(id)?).filter(|this| this.kind == KIND_ARRAY)?;
                id = read_u32(&self.data, array.data).ok()?;
                bits += index.checked_mul(self.size(id, 0)?)?.checked_mul(8)?;
            }
        }
        (bits % 8 == 0).then_some((bits / 8, id))
    }

    fn member(&self, id: u32, name: &[u8], depth: u32) -> Option<(u32, u32)> {
        let this = self.type_at(id)?;
        if depth > DEPTH_MAX || !matches!(this.kind, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        for index in 0..this.len {
            let at = this.data + index * 12;
            let word = |offset| read_u32(&self.data, at + offset).ok();
            let (member_name, member_type, raw) = (self.string(word(0)?), word(4)?, word(8)?);
            let bits = if this.flag { raw & 0x00ff_ffff } else { raw };
            if member_name == name {
                return Some((bits, member_type));
            }
            if member_name.is_empty()
                && let Some((inner, found)) = self.member(self.resolve(member_type)?, name, depth + 1)
            {
                return Some((bits + inner, found));
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<u32> {
        for _ in 0..DEPTH_MAX {
            let this = self.type_at(id)?;
            // typedef, volatile, const, restrict, type tag
            if !matches!(this.kind, KIND_TYPEDEF | 9 | 10 | 11 | 18) {
                return Some(id);
            }
            id = this.size_or_type;
        }
        None
    }

    fn size(&self, id: u32, depth: u32) -> Option<u32> {
        let this = self.type_at(self.resolve(id)?)?;
        if depth > DEPTH_MAX {
            return None;
        }
        match this.kind {
            KIND_PTR => Some(8),
            KIND_ARRAY => {
                let element = self.size(read_u32(&self.data, this.data).ok()?, depth + 1)?;
                element.checked_mul(read_u32(&self.data, this.data + 8).ok()?)
            }
            // int, struct, union, enum, float, enum64
            1 | KIND_STRUCT | KIND_UNION | 6 | 16 | 19 => Some(this.size_or_type),
            _ => None,
        }
    }

    fn named(&self, kind: u32, name: &str) -> Option<u32> {
        self.names.get(&(kind, Box::from(name.as_bytes()))).copied()
    }

    fn type_at(&self, id: u32) -> Option<Type> {
        (id != 0).then(|| self.types.get(id as usize)).flatten().and_then(|&at| self.read_type(at).ok())
    }

    fn read_type(&self, at: usize) -> Result<Type, BtfError> {
        let info = read_u32(&self.data, at + 4)?;
        Ok(Type {
            name: read_u32(&self.data, at)?,
            kind: (info >> 24) & 0x1f,
            len: (info & 0xffff) as usize,
            flag: info >> 31 == 1,
            size_or_type: read_u32(&self.data, at + 8)?,
            data: at + 12,
        })
    }

    fn string(&self, offset: u32) -> &[u8] {
        let tail = self.data.get(self.strings + offset as usize..).unwrap_or_default();
        tail.split(|&byte| byte == 0).next().unwrap_or_default()
    }
}

fn read_u32(data: &[u8], at: usize) -> Result<u32, BtfError> {
    let bytes = data.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).ok_or(BtfError::Bounds(at))?;
    Ok(u32::from_ne_bytes(bytes))
}

/// Bytes of a kind's own data.
fn extra_len(kind: u32, len: usize) -> Option<usize> {
    Some(match kind {
        // int, variable, declaration tag
        1 | 14 | 17 => 4,
        KIND_ARRAY => 12,
        // struct, union, data section, 64-bit enum
        KIND_STRUCT | KIND_UNION | 15 | 19 => 12 * len,
        // enum, function prototype
        6 | KIND_FUNC_PROTO => 8 * len,
        // void, pointer, forward, typedef, volatile, const, restrict, function, float, type tag
        0 | 2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running_kernel() -> Option<Btf> {
        let data = std::fs::read("/sys/kernel/btf/vmlinux").ok()?;
        Some(Btf::parse(data, |_| true).unwrap())
    }

    #[test]
    fn other_files_are_refused_by_their_magic() {
        assert_eq!(Btf::parse(b"\x7fELF and so on".to_vec(), |_| true).unwrap_err(), BtfError::Magic(0x457f));
        assert_eq!(Btf::parse(Vec::new(), |_| true).unwrap_err(), BtfError::Bounds(0));
    }

    #[test]
    fn every_truncation_is_an_error_or_less_never_a_panic() {
        let Ok(data) = std::fs::read("/sys/kernel/btf/vmlinux") else { return };
        for len in (0..4096).chain([data.len() / 2, data.len() - 1]) {
            if let Ok(btf) = Btf::parse(data[..len].to_vec(), |_| true) {
                btf.offset("task_struct.signal.live.counter");
            }
        }
    }

    #[test]
    fn members_inside_anonymous_ones_and_arrays_are_found() {
        let Some(btf) = running_kernel() else { return };
        assert!(btf.offset("task_struct.start_boottime").is_some());
        assert_eq!(btf.offset("qstr.len"), Some(4));
        assert_eq!(btf.offset("task_struct.no_such_member"), None);
        let comm = btf.offset("task_struct.comm").unwrap();
        assert_eq!(btf.offset("task_struct.comm[3]"), Some(comm + 3));
        assert_eq!(btf.offset("task_struct.pid[1]"), None);
        assert_eq!(btf.member_size("task_struct.comm"), Some(16));
        assert!(btf.tracepoint_args("sched_process_exec").is_some_and(|args| args == 3));
    }
}
