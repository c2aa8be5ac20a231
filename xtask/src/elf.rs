//! What a firmware takes of a device's memory.

/// Bytes of a device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// What is written to it: code, constants, and what variables begin as.
    pub(crate) flash: u32,
    /// Variables; without the stack.
    pub(crate) ram: u32,
}

/// Where Cortex-M parts have their RAM.
const RAM: u32 = 0x2000_0000;

/// What the segments of `file` take, if it is an ELF file of 32 bits.
pub(crate) fn memory(file: &[u8]) -> Option<Memory> {
    let half = |at: usize| Some(u16::from_le_bytes(file.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?));
    if !file.starts_with(b"\x7fELF\x01\x01") {
        return None;
    }
    let (start, size, count) = (word(28)?, half(42)?, half(44)?);
    let mut memory = Memory { flash: 0, ram: 0 };
    for number in 0..count {
        let at = start as usize + usize::from(number) * usize::from(size);
        // PT_LOAD: type, offset, virtual and physical address, bytes in the file and in memory.
        if word(at)? == 1 {
            memory.flash += word(at + 16)?;
            memory.ram += if word(at + 8)? >= RAM { word(at + 20)? } else { 0 };
        }
    }
    Some(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flash_has_what_is_in_the_file_and_ram_what_is_in_memory() {
        let mut file = vec![0; 52];
        file[..6].copy_from_slice(b"\x7fELF\x01\x01");
        file[28] = 52;
        (file[42], file[44]) = (32, 3);
        for (address, in_file, in_memory) in [(0, 100, 100), (RAM, 8, 8), (RAM + 8, 0, 5000)] {
            for value in [1, 0, address, 0, in_file, in_memory, 0, 0] {
                file.extend(u32::to_le_bytes(value));
            }
        }
        assert_eq!(memory(&file), Some(Memory { flash: 108, ram: 5008 }));
        assert_eq!(memory(&file[..100]), None);
        assert_eq!(memory(b"MZ"), None);
    }
}
