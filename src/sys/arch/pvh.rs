//! The entry without an operating system (PVH: docs/misc/pvh.pandoc of Xen), found by an ELF note of type 18. Switches from 32-bit
//! protected mode to long mode with the first 4 GiB identity-mapped, then calls `begin_bare`. The layout after `__bare_free` is in
//! `sys::bare::memory`. Part of the binary only.

use super::begin_bare;

core::arch::global_asm!(
    ".section .note.xen,\"a\",@note",
    ".balign 4",
    ".long 4, 4, 18", // XEN_ELFNOTE_PHYS32_ENTRY, a four-byte address.
    ".asciz \"Xen\"",
    ".long _start32",
    ".section .rodata.bare_segments,\"a\",@progbits",
    ".balign 8",
    "_segments: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff", // Null, 64-bit code, data.
    "_segments_end: .word 23",
    ".long _segments",
    "_refusal: .asciz \"stowaway: the processor lacks 64-bit mode or no-execute pages (NX); choose another one, such as -cpu max\\r\\n\"",
    ".section .text._start32,\"ax\",@progbits",
    ".code32",
    ".globl _start32",
    "_start32:",
    "cld",
    "mov ebp, ebx", // Address of hvm_start_info.
    "mov esp, offset __bare_free + {stack_end}",
    "mov eax, 0x80000000",
    "cpuid",
    "xor edx, edx",
    "cmp eax, 0x80000001",
    "jb 6f",
    "mov eax, 0x80000001",
    "cpuid",
    "6: not edx",
    "test edx, 0x20100000", // Long mode, no-execute.
    "jnz _refuse",
    "mov edi, offset __bare_free",
    "xor eax, eax",
    "mov ecx, 0x6000 / 4", // A PML4, a PDPT, four page directories with 2 MiB pages.
    "rep stosd",
    "lea eax, [edi - 0x5000 + 3]", // Present, writable.
    "mov [edi - 0x6000], eax",
    "lea ebx, [edi - 0x5000]",
    "add eax, 0x1000",
    "mov cl, 4",
    "4: mov [ebx], eax",
    "add eax, 0x1000",
    "add ebx, 8",
    "loop 4b",
    "lea ebx, [edi - 0x4000]",
    "mov eax, 0x83", // Present, writable, 2 MiB page.
    "mov ecx, 2048",
    "5: mov [ebx], eax",
    "add ebx, 8",
    "add eax, 0x200000",
    "loop 5b",
    "lea eax, [edi - 0x6000]",
    "mov cr3, eax",
    "mov eax, cr4",
    "or eax, 0x620", // PAE; SSE and its exceptions.
    "mov cr4, eax",
    "mov ecx, 0xc0000080",
    "rdmsr",
    "or eax, 0x900", // Long mode, no-execute; system calls stay off.
    "wrmsr",
    "mov eax, cr0",
    "and al, 0xf3",        // Enable SSE: no emulation, not task-switched.
    "or eax, 0x80010022",  // Paging, write protection in ring 0, x87.
    "mov cr0, eax",
    "lgdt [_segments_end]",
    "push 8",
    "mov eax, offset _start64",
    "push eax",
    "retf",
    // Prints a line on the serial port and halts: the processor lacks something.
    "_refuse: mov esi, offset _refusal",
    "7: mov edx, 0x3fd",
    "8: in al, dx",
    "test al, 0x20", // Transmit buffer empty.
    "jz 8b",
    "lodsb",
    "test al, al",
    "jz 9f",
    "mov dl, 0xf8",
    "out dx, al",
    "jmp 7b",
    "9: cli",
    "hlt",
    "jmp 9b",
    ".code64",
    "_start64: mov eax, 16",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov edi, ebp",
    "xor ebp, ebp", // Zero marks the outermost frame.
    "call {begin}",
    "ud2",
    stack_end = const stowaway::sys::bare::STACK_END,
    begin = sym begin_bare,
);
