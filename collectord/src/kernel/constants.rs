//! Puts single values of the configuration into the instructions that stand for them in the object.

use collector_common::{CONSTANT_OPERAND, Config};
use zerocopy::IntoBytes as _;

/// Opcode of a 64-bit move of an immediate, as it stands in the object.
const MOVE_64: u8 = 0xb7;
/// Opcode of a 32-bit move of an immediate, which clears the register's upper half.
const MOVE_32: u8 = 0xb4;

/// Gives every such instruction its value; says how many there were.
pub(crate) fn patch(object: &mut [u8], config: &Config) -> usize {
    let (words, _) = config.as_bytes().as_chunks::<4>();
    let mut patched = 0;
    // Instructions are 8 bytes and sections are aligned to that.
    for instruction in object.chunks_exact_mut(8) {
        let [MOVE_64, _, 0, 0, operand @ ..] = instruction else { continue };
        let Some(value) = word(operand).and_then(|word| words.get(word)) else { continue };
        operand.copy_from_slice(value);
        instruction[0] = MOVE_32;
        patched += 1;
    }
    patched
}

/// Which word of the configuration an operand stands for, if it stands for one.
fn word(operand: &[u8]) -> Option<usize> {
    let offset = u32::from_le_bytes(operand.try_into().ok()?).checked_sub(CONSTANT_OPERAND)?;
    (offset % 4 == 0).then_some(offset as usize / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    fn standing_for(offset: usize) -> [u8; 8] {
        let offset = u32::try_from(offset).expect("an offset in a struct");
        let mut instruction = [MOVE_64, 3, 0, 0, 0, 0, 0, 0];
        instruction[4..].copy_from_slice(&(CONSTANT_OPERAND + offset).to_le_bytes());
        instruction
    }

    #[test]
    fn instructions_get_the_values_they_stand_for_and_nothing_else_changes() {
        let config = Config { self_pid: 0xfedc_ba98, ..Config::NONE };
        let before = [
            standing_for(offset_of!(Config, self_pid)),
            standing_for(size_of::<Config>()),
            standing_for(2),
            [MOVE_32, 3, 0, 0, 0, 0, 0xe0, 0x5e],
            [MOVE_64, 3, 0, 0, 7, 0, 0, 0],
        ];
        let mut object = before.concat();
        assert_eq!(patch(&mut object, &config), 1);
        assert_eq!(object[..8], [MOVE_32, 3, 0, 0, 0x98, 0xba, 0xdc, 0xfe]);
        assert_eq!(object[8..], before[1..].concat());
    }

    #[test]
    fn no_instruction_of_the_object_stands_for_a_value_that_there_is_not() {
        let mut object = crate::kernel::OBJECT.to_vec();
        assert!(patch(&mut object, &Config::NONE) > 100);
        let stands = |code: &[u8]| code[0] == MOVE_64 && word(&code[4..]).is_some_and(|word| word < 1 << 18);
        assert!(!object.chunks_exact(8).any(stands));
    }
}
