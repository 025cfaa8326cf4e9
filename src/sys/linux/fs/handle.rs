//! Kernel file handles, which remain valid after renames and restarts: name_to_handle_at(2), open_by_handle_at(2).

use super::super::optional;
use super::super::{Errno, outcome};
use super::File;
use core::ffi::CStr;
use rustix::fd::{AsFd, AsRawFd as _};
use rustix::fs::{AtFlags, OFlags};
use syscalls::raw_syscall;

/// A kernel file handle.
#[doc(alias = "file_handle")]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct KernelHandle {
    len: u32,
    kind: i32,
    bytes: [u8; Self::BYTES_MAX],
}

impl KernelHandle {
    /// Longest handle (bytes); EOVERFLOW for longer ones.
    pub const BYTES_MAX: usize = 48;
    /// An empty handle, for the kernel to write to.
    pub const EMPTY: Self = Self {
        len: Self::BYTES_MAX as u32,
        kind: 0,
        bytes: [0; Self::BYTES_MAX],
    };

    /// Builds a handle from its type and bytes, truncated to [`Self::BYTES_MAX`].
    pub fn new(kind: u8, from: &[u8]) -> Self {
        let mut handle = Self::EMPTY;
        handle.len = 0;
        handle.kind = kind.into();
        for (to, from) in handle.bytes.iter_mut().zip(from) {
            *to = *from;
            handle.len += 1;
        }
        handle
    }

    /// The type and the bytes. All file systems in Linux use one byte of the type.
    pub fn parts(&self) -> (u8, &[u8]) {
        let len = Self::BYTES_MAX.min(self.len as usize);
        (self.kind as u8, self.bytes.split_at(len).0)
    }
}

/// Returns the mount id, and in `out` the handle of the entry `name` of `dir`; an empty name is `dir` itself.
pub fn name_to_handle_at(
    dir: impl AsFd,
    name: &CStr,
    out: &mut KernelHandle,
) -> Result<u32, Errno> {
    handle_of(dir, name, out, 0)
}

/// Returns in `out` the handle of the entry `name` of `dir`, or of `dir` itself if `name` is empty. The handle identifies the object,
/// but may not be good for [`open_by_handle_at`]. EINVAL: kernel before 6.5.
#[doc(alias = "AT_HANDLE_FID")]
pub fn file_id(dir: impl AsFd, name: &CStr, out: &mut KernelHandle) -> Result<(), Errno> {
    const HANDLE_FID: u32 = 0x200;
    handle_of(dir, name, out, HANDLE_FID).map(drop)
}

fn handle_of(
    dir: impl AsFd,
    name: &CStr,
    out: &mut KernelHandle,
    mut flags: u32,
) -> Result<u32, Errno> {
    let mut mount = 0u32;
    if name.is_empty() {
        flags |= AtFlags::EMPTY_PATH.bits();
    }
    let dir = dir.as_fd().as_raw_fd();
    out.len = KernelHandle::BYTES_MAX as u32;
    // SAFETY: the kernel writes at most `out.len` bytes after the two words, and one number to `mount`.
    outcome(unsafe {
        raw_syscall!(
            optional::NAME_TO_HANDLE_AT,
            dir,
            name.as_ptr(),
            core::ptr::from_mut(out),
            &raw mut mount,
            flags
        )
    })?;
    Ok(mount)
}

/// Opens the file of a kernel handle. `mount` is any descriptor on its file system, except an `O_PATH` one.
pub fn open_by_handle_at(
    mount: impl AsFd,
    handle: &KernelHandle,
    flags: OFlags,
) -> Result<File, Errno> {
    let flags = flags | OFlags::LARGEFILE;
    // SAFETY: the kernel reads the structure.
    File::opened(unsafe {
        raw_syscall!(
            optional::OPEN_BY_HANDLE_AT,
            mount.as_fd().as_raw_fd(),
            core::ptr::from_ref(handle),
            flags.bits()
        )
    })
}
