//! hello for 64 bits: the program header begins at 0x18, inside the file's header, and ends 16 bytes behind that.
//!
//! It cannot begin earlier, or `p_type` would be `e_type`; Linux reads all 56 bytes of it, so 80 bytes is what a program
//! has that does nothing (79 are refused). Ours adds the rest of the message and a call: 97.

use anyhow::Result;

use super::{MESSAGE, Piece, jump, piece};

/// Where the program header lies in the file.
const PHDR: usize = 0x18;
/// Where the file lies in memory. The entry's upper half is `p_flags`, R and X, and its lower half `p_type`, LOAD.
const BASE: u64 = (PF_R_X as u64) << 32;
const PT_LOAD: u32 = 1;
const PF_R_X: u32 = 5;
/// The file's header says how long one program header is.
const PHDR_LEN: u16 = 56;

/// Four gaps for code: fields that Linux does not read. All registers but the stack's are 0 at the start.
const ARGUMENTS: usize = 0x04; // e_ident behind the magic
const EXIT: usize = 0x0c; // the rest of it
const LEAVE: usize = 0x14; // e_version
const WRITE: usize = 0x30; // e_flags, e_ehsize; also p_paddr
const CALL: usize = 0x48; // p_align, and on to the end
const TEXT: usize = CALL + 5;

pub(super) fn pieces() -> Result<Vec<Piece>> {
    let back = i32::try_from(WRITE)? - i32::try_from(TEXT)?;
    let call = [&[0xe8][..], &back.to_le_bytes()].concat();
    let count = u8::try_from(MESSAGE.len())?;
    Ok(vec![
        // The file's header: what Linux reads of it.
        piece(
            0x00,
            b"\x7fELF",
            "e_ident",
            "the magic; entered at 01, E L F are prefixes without effect",
        ),
        piece(
            0x10,
            2u16.to_le_bytes(),
            "e_type",
            "an executable for fixed addresses",
        ),
        piece(0x12, 62u16.to_le_bytes(), "e_machine", "x86-64"),
        piece(
            0x18,
            (BASE + 1).to_le_bytes(),
            "e_entry",
            "byte 1 of the file, behind the 7f",
        ),
        piece(
            0x20,
            (PHDR as u64).to_le_bytes(),
            "e_phoff",
            "the program header is in here",
        ),
        piece(0x36, PHDR_LEN.to_le_bytes(), "e_phentsize", "must be this"),
        piece(0x38, 1u16.to_le_bytes(), "e_phnum", "one of them"),
        // The program header.
        piece(
            PHDR,
            PT_LOAD.to_le_bytes(),
            "p_type",
            "LOAD; the lower half of e_entry",
        ),
        piece(
            PHDR + 4,
            PF_R_X.to_le_bytes(),
            "p_flags",
            "R and X; the upper half of e_entry",
        ),
        piece(
            PHDR + 8,
            (PHDR as u64).to_le_bytes(),
            "p_offset",
            "is e_phoff: a page is mapped whole, so 18 does as well as 0",
        ),
        piece(
            PHDR + 16,
            (BASE + PHDR as u64).to_le_bytes(),
            "p_vaddr",
            "lies in its page as p_offset does; e_shoff, unread",
        ),
        piece(
            PHDR + 32,
            1u64.to_le_bytes(),
            "p_filesz",
            "one byte maps the page; e_phnum, and no section",
        ),
        piece(
            PHDR + 40,
            1u64.to_le_bytes(),
            "p_memsz",
            "not more than that, or zeros would be written",
        ),
        // The code, in the order in which it runs.
        piece(
            ARGUMENTS,
            [0xb0, 1],
            "mov al, 1",
            "the number of write; rax was 0",
        ),
        piece(
            ARGUMENTS + 2,
            [0x89, 0xc7],
            "mov edi, eax",
            "to standard output",
        ),
        piece(ARGUMENTS + 4, [0xb2, count], "mov dl, 20", "so many bytes"),
        jump(ARGUMENTS + 6, CALL, "over the program header")?,
        piece(
            CALL,
            call,
            "call 0x30",
            "pushes the address of what follows: the message",
        ),
        piece(TEXT, MESSAGE, "\"Hello Docker World!\\n\"", ""),
        piece(WRITE, [0x5e], "pop rsi", "from there"),
        piece(
            WRITE + 1,
            [0x0f, 0x05],
            "syscall",
            "write(1, message, 20); rax is how much was written",
        ),
        piece(
            WRITE + 3,
            [0x97],
            "xchg edi, eax",
            "rdi is it now, and rax is 1 again",
        ),
        jump(WRITE + 4, EXIT, "e_phentsize is in the way")?,
        piece(EXIT, [0xb0, 60], "mov al, 60", "the number of exit"),
        jump(EXIT + 2, LEAVE, "over e_type and e_machine")?,
        piece(
            LEAVE,
            [0x29, 0xd7],
            "sub edi, edx",
            "0 when all of it was written",
        ),
        piece(LEAVE + 2, [0x0f, 0x05], "syscall", "exit(written - 20)"),
    ])
}
