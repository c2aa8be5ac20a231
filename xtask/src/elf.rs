//! What a firmware takes of a device's memory.

use crate::wasm::Function;

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

/// An ELF file of 32 bits.
struct Elf<'a>(&'a [u8]);

impl<'a> Elf<'a> {
    fn of(file: &'a [u8]) -> Option<Self> {
        file.starts_with(b"\x7fELF\x01\x01").then_some(Self(file))
    }

    fn half(&self, at: usize) -> Option<usize> {
        Some(u16::from_le_bytes(self.0.get(at..at + 2)?.try_into().ok()?).into())
    }

    fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.0.get(at..at + 4)?.try_into().ok()?))
    }

    /// Where the entries of a table are: its offset, the size of an entry, and their number stand at
    /// these places.
    fn table(&self, start: usize, size: usize, count: usize) -> Option<Vec<usize>> {
        let (start, size) = (self.word(start)? as usize, self.half(size)?);
        Some((0..self.half(count)?).map(|number| start + number * size).collect())
    }
}

/// What the segments of `file` take, if it is an ELF file of 32 bits.
pub(crate) fn memory(file: &[u8]) -> Option<Memory> {
    let elf = Elf::of(file)?;
    let mut memory = Memory { flash: 0, ram: 0 };
    for at in elf.table(28, 42, 44)? {
        // PT_LOAD: type, offset, virtual and physical address, bytes in the file and in memory.
        if elf.word(at)? == 1 {
            memory.flash += elf.word(at + 16)?;
            memory.ram += if elf.word(at + 8)? >= RAM { elf.word(at + 20)? } else { 0 };
        }
    }
    Some(memory)
}

/// The functions in `file`, with their names. One that has several names counts once.
pub(crate) fn functions(file: &[u8]) -> Option<Vec<Function>> {
    let elf = Elf::of(file)?;
    let sections = elf.table(32, 46, 48)?;
    let mut found = std::collections::BTreeMap::new();
    for &at in &sections {
        // SHT_SYMTAB: type at 4, offset and size at 16; at 24 the section with the names.
        if elf.word(at + 4)? != 2 {
            continue;
        }
        let names = elf.word(sections.get(elf.word(at + 24)? as usize)? + 16)? as usize;
        let (start, size) = (elf.word(at + 16)? as usize, elf.word(at + 20)? as usize);
        for symbol in (start..start + size).step_by(16) {
            // STT_FUNC: name, address, size, kind.
            let len = elf.word(symbol + 8)? as usize;
            if file.get(symbol + 12)? & 15 == 2 && len > 0 {
                let name = file.get(names + elf.word(symbol)? as usize..)?;
                let name = name.split(|byte| *byte == 0).next()?;
                let name = String::from_utf8_lossy(name).into_owned();
                found.insert(elf.word(symbol + 4)?, (name, len));
            }
        }
    }
    Some(found.into_values().collect())
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
