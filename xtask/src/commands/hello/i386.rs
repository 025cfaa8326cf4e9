//! hello for 32 bits: the program header begins at 4, inside the file's header, and ends at 0x24.
//!
//! Linux reads the file's header up to `e_phnum` at 0x2c. It needs no more bytes than those 45 and the code and text that do not fit into
//! gaps: 74.

use anyhow::Result;

use super::{MESSAGE, Piece, piece};

/// Where the program header lies in the file.
const PHDR: usize = 0x04;
/// Where the file lies in memory: the lowest page that everybody may have.
const BASE: u32 = 0x1_0000;
const PT_LOAD: u32 = 1;
const PF_R: u32 = 4;
/// The file's header says how long one program header is.
const PHDR_LEN: u16 = 32;

/// Code begins where nothing is read any more but two fields, and runs through those.
const START: usize = 0x20; // e_shoff, e_flags, e_ehsize; also p_align
const REST: usize = 0x2e; // behind e_phnum
const TEXT: usize = REST + 8;

pub(super) fn pieces() -> Result<Vec<Piece>> {
    let entry = BASE + u32::try_from(START)?;
    let text = BASE + u32::try_from(TEXT)?;
    let count = u8::try_from(MESSAGE.len())?;
    let move_text = [&[0xb9][..], &text.to_le_bytes()].concat();
    Ok(vec![
        // The file's header: what Linux reads of it.
        piece(0x00, b"\x7fELF", "e_ident", "the magic"),
        piece(
            0x10,
            2u16.to_le_bytes(),
            "e_type",
            "an executable for fixed addresses; p_paddr, unread",
        ),
        piece(0x12, 3u16.to_le_bytes(), "e_machine", "i386"),
        piece(0x18, entry.to_le_bytes(), "e_entry", "20"),
        piece(
            0x1c,
            u32::try_from(PHDR)?.to_le_bytes(),
            "e_phoff",
            "the program header is in here",
        ),
        piece(0x2a, PHDR_LEN.to_le_bytes(), "e_phentsize", "must be this"),
        piece(0x2c, 1u16.to_le_bytes(), "e_phnum", "one of them"),
        // The program header.
        piece(PHDR, PT_LOAD.to_le_bytes(), "p_type", "LOAD"),
        piece(
            PHDR + 4,
            0u32.to_le_bytes(),
            "p_offset",
            "from the file's begin",
        ),
        piece(PHDR + 8, BASE.to_le_bytes(), "p_vaddr", "to the base"),
        piece(
            PHDR + 16,
            entry.to_le_bytes(),
            "p_filesz",
            "as much as p_memsz, or zeros would be written; e_version, unread",
        ),
        piece(
            PHDR + 20,
            entry.to_le_bytes(),
            "p_memsz",
            "is e_entry: far beyond the file's end, where nobody looks",
        ),
        piece(
            PHDR + 24,
            PF_R.to_le_bytes(),
            "p_flags",
            "is e_phoff: R. Without a GNU_STACK header that means X, too, on i386",
        ),
        // The code. All registers but the stack's are 0 at the start.
        piece(START, [0xb0, 4], "mov al, 4", "the number of write"),
        piece(START + 2, move_text, "mov ecx, text", "from there"),
        piece(START + 7, [0xb2, count], "mov dl, 20", "so many bytes"),
        piece(
            START + 9,
            [0xa9, 0x20, 0, 1, 0],
            "test eax, 0x10020",
            "without effect: its number is e_phentsize and e_phnum",
        ),
        piece(REST, [0x43], "inc ebx", "to standard output"),
        piece(
            REST + 1,
            [0xcd, 0x80],
            "int 0x80",
            "write(1, message, 20); eax is how much was written",
        ),
        piece(
            REST + 3,
            [0x93],
            "xchg ebx, eax",
            "ebx is it now, and eax is 1: the number of exit",
        ),
        piece(
            REST + 4,
            [0x29, 0xd3],
            "sub ebx, edx",
            "0 when all of it was written",
        ),
        piece(REST + 6, [0xcd, 0x80], "int 0x80", "exit(written - 20)"),
        piece(TEXT, MESSAGE, "\"Hello Docker World!\\n\"", ""),
    ])
}
