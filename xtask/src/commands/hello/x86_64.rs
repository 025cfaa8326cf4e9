//! hello for x86_64: the program header starts at 0x18, inside the ELF header, and ends 16 bytes after the ELF header.
//!
//! At a lower offset, `p_type` would overlap `e_type`. Linux reads all 56 bytes of the program header, so the smallest possible
//! program has 80 bytes (Linux refuses 79). Ours has 97: a call and most of the message do not fit into unread fields.

use anyhow::Result;

use super::{MESSAGE, Piece, jump, piece};

/// File offset of the program header.
const PHDR: usize = 0x18;
/// Load address. `e_entry` is `BASE` + 1: its upper half is also `p_flags` (R, X), its lower half `p_type` (LOAD).
const BASE: u64 = (PF_R_X as u64) << 32;
const PT_LOAD: u32 = 1;
const PF_R_X: u32 = 5;
/// Size of an ELF64 program header, for `e_phentsize`.
const PHDR_LEN: u16 = 56;

/// File offsets of the pieces of code, in header fields that Linux does not read. At the start, all registers except rsp are 0.
const ARGUMENTS: usize = 0x04; // e_ident, after the magic
const EXIT: usize = 0x0c; // e_ident, last four bytes
const LEAVE: usize = 0x14; // e_version
const WRITE: usize = 0x30; // e_flags, e_ehsize; also p_paddr
const CALL: usize = 0x48; // p_align, and up to the end of the file
const TEXT: usize = CALL + 5;

pub(super) fn pieces() -> Result<Vec<Piece>> {
    let back = i32::try_from(WRITE)? - i32::try_from(TEXT)?;
    let call = [&[0xe8][..], &back.to_le_bytes()].concat();
    let count = u8::try_from(MESSAGE.len())?;
    Ok(vec![
        // The fields of the ELF header that Linux reads.
        piece(
            0x00,
            b"\x7fELF",
            "e_ident",
            "the magic; execution starts at 01: E L F are prefixes without effect",
        ),
        piece(
            0x10,
            2u16.to_le_bytes(),
            "e_type",
            "ET_EXEC, fixed addresses",
        ),
        piece(0x12, 62u16.to_le_bytes(), "e_machine", "x86-64"),
        piece(
            0x18,
            (BASE + 1).to_le_bytes(),
            "e_entry",
            "byte 1 of the file, after the 7f",
        ),
        piece(
            0x20,
            (PHDR as u64).to_le_bytes(),
            "e_phoff",
            "the program header is inside the ELF header",
        ),
        piece(0x36, PHDR_LEN.to_le_bytes(), "e_phentsize", "must be 56"),
        piece(0x38, 1u16.to_le_bytes(), "e_phnum", "one program header"),
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
            "same bytes as e_phoff; whole pages are mapped, so 18 is as good as 0",
        ),
        piece(
            PHDR + 16,
            (BASE + PHDR as u64).to_le_bytes(),
            "p_vaddr",
            "same offset in its page as p_offset; e_shoff, unread",
        ),
        piece(
            PHDR + 32,
            1u64.to_le_bytes(),
            "p_filesz",
            "one byte maps the whole page; also e_phnum, with e_shnum 0",
        ),
        piece(
            PHDR + 40,
            1u64.to_le_bytes(),
            "p_memsz",
            "equal to p_filesz, else the kernel would zero the rest",
        ),
        // The code, in the order in which it runs.
        piece(
            ARGUMENTS,
            [0xb0, 1],
            "mov al, 1",
            "system call number of write; rax was 0",
        ),
        piece(
            ARGUMENTS + 2,
            [0x89, 0xc7],
            "mov edi, eax",
            "standard output",
        ),
        piece(ARGUMENTS + 4, [0xb2, count], "mov dl, 20", "length"),
        jump(ARGUMENTS + 6, CALL, "skips the program header")?,
        piece(
            CALL,
            call,
            "call 0x30",
            "pushes the address of the message, which follows",
        ),
        piece(TEXT, MESSAGE, "\"Hello Docker World!\\n\"", ""),
        piece(WRITE, [0x5e], "pop rsi", "buffer"),
        piece(
            WRITE + 1,
            [0x0f, 0x05],
            "syscall",
            "write(1, message, 20); rax: bytes written",
        ),
        piece(
            WRITE + 3,
            [0x97],
            "xchg edi, eax",
            "rdi: bytes written; rax: 1 again",
        ),
        jump(WRITE + 4, EXIT, "e_phentsize follows")?,
        piece(EXIT, [0xb0, 60], "mov al, 60", "system call number of exit"),
        jump(EXIT + 2, LEAVE, "skips e_type and e_machine")?,
        piece(
            LEAVE,
            [0x29, 0xd7],
            "sub edi, edx",
            "0 if all 20 bytes were written",
        ),
        piece(LEAVE + 2, [0x0f, 0x05], "syscall", "exit(written - 20)"),
    ])
}
