//! The floor: the smallest kernel that QEMU boots, an ELF file with a PVH note whose code ends QEMU at once through the
//! isa-debug-exit device.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Physical address at which QEMU loads the file.
const ADDRESS: u32 = 0x10_0000;
/// Type of the ELF note with a PVH kernel's entry point: XEN_ELFNOTE_PHYS32_ENTRY of Xen's elfnote.h.
const PHYS32_ENTRY: u32 = 18;
/// Types of program headers.
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// Sizes of the ELF header and of a program header in bytes.
const HEADER_BYTES: u16 = 64;
const PROGRAM_HEADER_BYTES: u16 = 56;

/// The kernel's code: xor eax, eax; mov dx, 0xf4 (the isa-debug-exit port); out dx, al, which ends QEMU; hlt; jmp to the hlt.
const CODE: [u8; 10] = [0x31, 0xc0, 0x66, 0xba, 0xf4, 0, 0xee, 0xf4, 0xeb, 0xfd];

/// Writes the kernel to `path`.
pub fn write(path: &Path) -> Result<()> {
    let note_offset = u64::from(HEADER_BYTES + 2 * PROGRAM_HEADER_BYTES);
    let entry = ADDRESS + note_offset as u32 + 24;
    // The PVH note: length of the name, length of the descriptor, type, name, and the entry's address as a descriptor of eight
    // bytes.
    let words = [4, 8, PHYS32_ENTRY, u32::from_le_bytes(*b"Xen\0"), entry, 0];
    let note: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    let bytes = note_offset + (note.len() + CODE.len()) as u64;
    // ELF64, little-endian, version 1; ET_EXEC for x86_64.
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for number in [entry.into(), u64::from(HEADER_BYTES), 0] {
        file.extend(number.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for number in [HEADER_BYTES, PROGRAM_HEADER_BYTES, 2, 0, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    for (kind, start, len) in [
        (PT_LOAD, 0, bytes),
        (PT_NOTE, note_offset, note.len() as u64),
    ] {
        // Flags: readable and executable.
        file.extend([kind, 5].into_iter().flat_map(u32::to_le_bytes));
        let address = u64::from(ADDRESS) + start;
        for number in [start, address, address, len, len, 4] {
            file.extend(number.to_le_bytes());
        }
    }
    file.extend(note);
    file.extend(CODE);
    fs::write(path, file).with_context(|| format!("cannot write {}", path.display()))
}
