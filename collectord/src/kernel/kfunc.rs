//! Turns the placeholder helper calls of the direct readers into calls of the kfunc `bpf_rdonly_cast`, whose BTF id
//! only the running kernel knows.

/// The helper number that the kernel object calls in the kfunc's place; no kernel has it.
const PLACEHOLDER: u32 = 0x7fff_0001;
/// Opcode of a call instruction.
const CALL: u8 = 0x85;
/// `BPF_PSEUDO_KFUNC_CALL` in the source register (the upper half of the registers byte).
const KFUNC_CALL: u8 = 2 << 4;

/// Rewrites every placeholder call in the object's bytes; says how many there were.
pub(crate) fn patch(object: &mut [u8], kfunc_id: u32) -> usize {
    let mut wanted = [CALL, 0, 0, 0, 0, 0, 0, 0];
    wanted[4..].copy_from_slice(&PLACEHOLDER.to_le_bytes());
    let mut patched = 0;
    // Instructions are 8 bytes and sections are aligned to that.
    for instruction in object.chunks_exact_mut(8) {
        if instruction == wanted {
            instruction[1] = KFUNC_CALL;
            instruction[4..].copy_from_slice(&kfunc_id.to_le_bytes());
            patched += 1;
        }
    }
    patched
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_kfunc_calls_and_nothing_else_changes() {
        let other = [0x85, 0, 0, 0, 14, 0, 0, 0];
        let mut object = Vec::from(other);
        object.extend_from_slice(&[0x85, 0, 0, 0, 1, 0, 0xff, 0x7f]);
        object.extend_from_slice(&other);
        assert_eq!(patch(&mut object, 0x1234), 1);
        assert_eq!(object[..8], other);
        assert_eq!(object[8..16], [0x85, 0x20, 0, 0, 0x34, 0x12, 0, 0]);
        assert_eq!(object[16..], other);
    }

    #[test]
    fn committed_object_holds_placeholders() {
        let mut object = crate::kernel::OBJECT.to_vec();
        assert!(patch(&mut object, 1) > 0);
    }
}
