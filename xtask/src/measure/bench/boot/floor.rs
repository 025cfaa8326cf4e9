//! The least that QEMU can boot: a file with a PVH note whose code does nothing but end QEMU, by its isa-debug-exit.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Where it lies in memory.
const AT: u32 = 0x10_0000;
/// The number of the note that tells where a PVH kernel is entered (Xen's elfnote.h), and what an ELF file calls its parts.
const PHYS32_ENTRY: u32 = 18;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// Bytes of the ELF header, and of a program header.
const HEADER_BYTES: u16 = 64;
const PROGRAM_HEADER_BYTES: u16 = 56;

/// xor eax, eax; mov dx, 0xf4; out dx, al; hlt; jmp to that.
const CODE: [u8; 10] = [0x31, 0xc0, 0x66, 0xba, 0xf4, 0, 0xee, 0xf4, 0xeb, 0xfd];

/// Writes it.
pub fn write(path: &Path) -> Result<()> {
    let note_at = u64::from(HEADER_BYTES + 2 * PROGRAM_HEADER_BYTES);
    let entry = AT + note_at as u32 + 24;
    // Four numbers of the note, its name, and the address as eight bytes.
    let words = [4, 8, PHYS32_ENTRY, u32::from_le_bytes(*b"Xen\0"), entry, 0];
    let note: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    let bytes = note_at + (note.len() + CODE.len()) as u64;
    // 64 bits, little-endian, version 1; an executable for x86_64.
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for number in [entry.into(), u64::from(HEADER_BYTES), 0] {
        file.extend(number.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for number in [HEADER_BYTES, PROGRAM_HEADER_BYTES, 2, 0, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    for (kind, start, len) in [(PT_LOAD, 0, bytes), (PT_NOTE, note_at, note.len() as u64)] {
        // It may be read and run.
        file.extend([kind, 5].into_iter().flat_map(u32::to_le_bytes));
        let at = u64::from(AT) + start;
        for number in [start, at, at, len, len, 4] {
            file.extend(number.to_le_bytes());
        }
    }
    file.extend(note);
    file.extend(CODE);
    fs::write(path, file).with_context(|| format!("cannot write {}", path.display()))
}
