//! QEMU's firmware configuration device (fw_cfg), read by two I/O ports (docs/specs/fw_cfg of QEMU).

use super::write_port_16;
use crate::mem::Ends as _;
use core::arch::asm;

/// I/O ports: the first selects an item, the second returns the item's data byte by byte.
const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
/// Numbers of the items that always exist: the signature, and the directory of named files.
const SIGNATURE: u16 = 0;
const DIRECTORY: u16 = 0x19;
/// Directory entries to search, at most.
const FILE_COUNT_MAX: u32 = 64;

/// Reads the next bytes of the selected item.
fn read_to(out: &mut [u8]) {
    // SAFETY: the instruction writes `out`, byte by byte. It is one instruction, and so one exit to the hypervisor for many bytes.
    unsafe {
        asm!("rep insb", in("dx") DATA, inout("rdi") out.as_mut_ptr() => _, inout("rcx") out.len() => _, options(nostack, preserves_flags));
    }
}

/// Reads the next bytes of the selected item.
fn read<const LEN: usize>() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    read_to(&mut bytes);
    bytes
}

/// Returns true if the hypervisor is QEMU.
pub(super) fn is_qemu() -> bool {
    write_port_16(SELECTOR, SIGNATURE);
    read() == *b"QEMU"
}

/// Reads the file `name` into `out`, truncated to its length; returns the number of bytes. `None` if QEMU has no such file, or the
/// hypervisor is not QEMU.
pub fn read_firmware(name: &[u8], out: &mut [u8]) -> Option<usize> {
    if !is_qemu() {
        return None;
    }
    write_port_16(SELECTOR, DIRECTORY);
    let count = u32::from_be_bytes(read()).min(FILE_COUNT_MAX);
    for _ in 0..count {
        let len = u32::from_be_bytes(read());
        let item = u16::from_be_bytes(read());
        let _: [u8; 2] = read();
        let found: [u8; 56] = read();
        if found
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(&[0]))
        {
            write_port_16(SELECTOR, item);
            let len = out.len().min(len as usize);
            read_to(out.head_mut(len));
            return Some(len);
        }
    }
    None
}
