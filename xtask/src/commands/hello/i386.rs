//! hello for i386: the program header is at 0x04 to 0x24, inside the ELF header.
//!
//! Linux reads the ELF header up to `e_phnum` at 0x2c. So the file needs those 45 bytes, plus the code and text that do not fit
//! into unread fields: 74 bytes.

use anyhow::Result;

use super::{MESSAGE, Piece, piece};

/// File offset of the program header.
const PHDR: usize = 0x04;
/// Load address: the lowest that a process without privileges may map (vm.mmap_min_addr).
const BASE: u32 = 0x1_0000;
const PT_LOAD: u32 = 1;
const PF_R: u32 = 4;
/// Size of an ELF32 program header, for `e_phentsize`.
const PHDR_LEN: u16 = 32;

/// Entry point. From here on Linux reads only e_phentsize and e_phnum, which are the immediate operand of an instruction.
const START: usize = 0x20; // e_shoff, e_flags, e_ehsize; also p_align
const REST: usize = 0x2e; // after e_phnum
const TEXT: usize = REST + 8;

pub(super) fn pieces() -> Result<Vec<Piece>> {
    let entry = BASE + u32::try_from(START)?;
    let text = BASE + u32::try_from(TEXT)?;
    let count = u8::try_from(MESSAGE.len())?;
    let move_text = [&[0xb9][..], &text.to_le_bytes()].concat();
    Ok(vec![
        // The fields of the ELF header that Linux reads.
        piece(0x00, b"\x7fELF", "e_ident", "the magic"),
        piece(
            0x10,
            2u16.to_le_bytes(),
            "e_type",
            "ET_EXEC, fixed addresses; p_paddr, unread",
        ),
        piece(0x12, 3u16.to_le_bytes(), "e_machine", "i386"),
        piece(0x18, entry.to_le_bytes(), "e_entry", "20"),
        piece(
            0x1c,
            u32::try_from(PHDR)?.to_le_bytes(),
            "e_phoff",
            "the program header is inside the ELF header",
        ),
        piece(0x2a, PHDR_LEN.to_le_bytes(), "e_phentsize", "must be 32"),
        piece(0x2c, 1u16.to_le_bytes(), "e_phnum", "one program header"),
        // The program header.
        piece(PHDR, PT_LOAD.to_le_bytes(), "p_type", "LOAD"),
        piece(
            PHDR + 4,
            0u32.to_le_bytes(),
            "p_offset",
            "map from the file's first byte",
        ),
        piece(PHDR + 8, BASE.to_le_bytes(), "p_vaddr", "load address"),
        piece(
            PHDR + 16,
            entry.to_le_bytes(),
            "p_filesz",
            "equal to p_memsz, else the kernel would zero the rest; e_version, unread",
        ),
        piece(
            PHDR + 20,
            entry.to_le_bytes(),
            "p_memsz",
            "same bytes as e_entry; pages past the file's end are never touched",
        ),
        piece(
            PHDR + 24,
            PF_R.to_le_bytes(),
            "p_flags",
            "same bytes as e_phoff: R. On i386, R implies X without a GNU_STACK header",
        ),
        // The code. At the start, all registers except esp are 0.
        piece(START, [0xb0, 4], "mov al, 4", "system call number of write"),
        piece(START + 2, move_text, "mov ecx, text", "buffer"),
        piece(START + 7, [0xb2, count], "mov dl, 20", "length"),
        piece(
            START + 9,
            [0xa9, 0x20, 0, 1, 0],
            "test eax, 0x10020",
            "no effect: the immediate operand is e_phentsize and e_phnum",
        ),
        piece(REST, [0x43], "inc ebx", "standard output"),
        piece(
            REST + 1,
            [0xcd, 0x80],
            "int 0x80",
            "write(1, message, 20); eax: bytes written",
        ),
        piece(
            REST + 3,
            [0x93],
            "xchg ebx, eax",
            "ebx: bytes written; eax: 1, the number of exit",
        ),
        piece(
            REST + 4,
            [0x29, 0xd3],
            "sub ebx, edx",
            "0 if all 20 bytes were written",
        ),
        piece(REST + 6, [0xcd, 0x80], "int 0x80", "exit(written - 20)"),
        piece(TEXT, MESSAGE, "\"Hello Docker World!\\n\"", ""),
    ])
}
