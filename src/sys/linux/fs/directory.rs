//! Directory listing.

use super::super::Errno;
#[cfg(target_pointer_width = "64")]
use super::act;
#[cfg(target_pointer_width = "32")]
use super::borrow;
use super::{call, word};
use crate::config::DIRECTORY_BUFFER_BYTES;
use core::ffi::{CStr, c_char};
use core::mem::{MaybeUninit, offset_of};
use core::ops::ControlFlow;
use rustix::fd::RawFd;
use syscalls::Sysno;

/// A directory entry.
#[derive(Debug)]
pub struct DirectoryRecord<'a> {
    /// Name of the entry.
    pub name: &'a CStr,
    /// Inode number.
    pub inode: u64,
    /// `d_type`: the `S_IFMT` bits of the mode, shifted right by 12; 0: unknown.
    pub kind: u8,
    /// Position after this entry, to continue the listing from.
    pub cookie: u64,
}

impl DirectoryRecord<'_> {
    /// Returns true for "." and "..".
    pub fn is_dots(&self) -> bool {
        matches!(self.name.to_bytes(), b"." | b"..")
    }
}

/// A directory entry as getdents64 returns it; the name ends with NUL.
#[doc(alias = "linux_dirent64")]
#[repr(C)]
struct RawEntry {
    inode: u64,
    cookie: u64,
    len: u16,
    kind: u8,
    name: [c_char; 0],
}

/// Calls `each` for the entries after the cookie `from` (0: all entries) until it breaks. Returns true at the end of the directory.
#[doc(alias = "getdents64")]
pub fn list<E: From<Errno>>(
    dir: RawFd,
    from: u64,
    each: &mut dyn FnMut(&DirectoryRecord<'_>) -> ControlFlow<()>,
) -> Result<bool, E> {
    seek::<E>(dir, from)?;
    let mut buffer = [const { MaybeUninit::<u64>::uninit() }; DIRECTORY_BUFFER_BYTES / 8];
    let start = buffer.as_mut_ptr();
    loop {
        let len = getdents::<E>(dir, &mut buffer)?;
        if len == 0 {
            return Ok(true);
        }
        let mut at = 0;
        while at < len {
            // SAFETY: the kernel writes whole, aligned entries without gaps, with a NUL after each name.
            let (entry, name) = unsafe {
                let entry = start.byte_add(at).cast::<RawEntry>();
                let name = entry.byte_add(offset_of!(RawEntry, name)).cast();
                (&*entry, CStr::from_ptr(name))
            };
            at += usize::from(entry.len);
            let found = DirectoryRecord {
                name,
                inode: entry.inode,
                kind: entry.kind,
                cookie: entry.cookie,
            };
            if each(&found).is_break() {
                return Ok(false);
            }
        }
    }
}

/// Sets the position from which a directory is listed: 0 or a cookie.
fn seek<E: From<Errno>>(dir: RawFd, place: u64) -> Result<(), E> {
    #[cfg(target_pointer_width = "64")]
    // SAFETY: no argument is an address.
    unsafe {
        act(word(dir), place as usize, 0, 0, 0, Sysno::lseek)
    }
    #[cfg(target_pointer_width = "32")]
    {
        rustix::fs::seek(borrow(dir), rustix::fs::SeekFrom::Start(place))?;
        Ok(())
    }
}

/// Reads the next entries of a directory into `out`; returns the number of bytes, 0 at the end.
#[doc(alias = "getdents64")]
fn getdents<E: From<Errno>>(dir: RawFd, out: &mut [MaybeUninit<u64>]) -> Result<usize, E> {
    let (at, len) = (out.as_mut_ptr() as usize, size_of_val(out));
    // SAFETY: the kernel writes at most `len` bytes.
    unsafe { call(word(dir), at, len, 0, 0, Sysno::getdents64) }.map(|len| len as usize)
}
