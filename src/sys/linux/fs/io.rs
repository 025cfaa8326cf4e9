//! Bytes of files and pipes, moved here or by the kernel alone.

use super::super::{Errno, outcome};
#[cfg(target_pointer_width = "32")]
use super::borrow;
use super::{File, act, call, word};
use rustix::fd::{AsFd, AsRawFd as _, RawFd};
use syscalls::{Sysno, raw_syscall};

/// One that moves bytes at an offset, until all are moved or no more are; how many.
///
/// # Safety
///
/// As that of the call.
#[cfg(target_pointer_width = "64")]
#[inline(never)]
unsafe fn carry<E: From<Errno>>(
    file: RawFd,
    at: usize,
    len: usize,
    offset: u64,
    what: Sysno,
) -> Result<u32, E> {
    let mut done = 0;
    while done < len {
        let (at, left) = (at + done, len - done);
        let offset = offset as usize + done;
        // SAFETY: the caller's.
        match unsafe { call::<E>(word(file), at, left, offset, 0, what) }? {
            0 => break,
            more => done += more as usize,
        }
    }
    Ok(done as u32)
}

/// The same where an offset is two words, the order of which differs from one architecture to the next.
#[cfg(target_pointer_width = "32")]
fn carry<E: From<Errno>>(
    len: usize,
    offset: u64,
    mut step: impl FnMut(usize, u64) -> Result<usize, Errno>,
) -> Result<u32, E> {
    let mut done = 0;
    while done < len {
        match step(done, offset + done as u64) {
            Ok(0) => break,
            Ok(more) => done += more,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(done as u32)
}

/// Reads from `offset` of a file until its end or that of `out`; how many bytes.
#[inline(never)]
pub fn pread<E: From<Errno>>(file: RawFd, offset: u64, out: &mut [u8]) -> Result<u32, E> {
    #[cfg(target_pointer_width = "64")]
    {
        let (at, len) = (out.as_mut_ptr() as usize, out.len());
        // SAFETY: the kernel writes at most so many bytes.
        unsafe { carry(file, at, len, offset, Sysno::pread64) }
    }
    #[cfg(target_pointer_width = "32")]
    carry(out.len(), offset, |done, offset| {
        rustix::io::pread(borrow(file), &mut out[done..], offset)
    })
}

/// Reads what is in memory of a range of a file, at most `out`; how many bytes. `AGAIN`: none are, and the disk would have to be waited
/// for; `OPNOTSUPP`: the file system cannot tell.
pub fn pread_cached(file: RawFd, offset: u64, out: &mut [u8]) -> Result<usize, Errno> {
    const NOWAIT: usize = 8;
    let part = (out.as_mut_ptr(), out.len());
    let (low, high) = (offset as usize, (offset >> 32) as usize);
    // SAFETY: the kernel writes at most so many bytes.
    outcome(unsafe { raw_syscall!(Sysno::preadv2, file, &raw const part, 1, low, high, NOWAIT) })
}

/// Whether all of a range, of which the first and the last byte are looked at, is in memory, as far as can be told.
pub fn is_cached(file: RawFd, offset: u64, len: u32) -> bool {
    let last = offset + u64::from(len.saturating_sub(1));
    let is_there = |at| pread_cached(file, at, &mut [0]) != Err(Errno::AGAIN);
    is_there(last) && is_there(offset)
}

/// Reads a range of a file, and keeps nothing of it but what the kernel does: what comes after it is read ahead as it is for others.
pub fn read_into_cache(file: RawFd, mut offset: u64, len: u32) -> Result<(), Errno> {
    const PARTS: usize = 64;
    const PART_BYTES: usize = 1 << 10;
    let mut scratch = [0u8; PART_BYTES];
    // All at the same place.
    let parts = [(scratch.as_mut_ptr(), PART_BYTES); PARTS];
    let end = offset + u64::from(len);
    while offset < end {
        let count = PARTS.min((end - offset).div_ceil(PART_BYTES as u64) as usize);
        let (low, high) = (offset as usize, (offset >> 32) as usize);
        // SAFETY: the kernel writes to each part, which are one, at most so many bytes.
        let read = unsafe { raw_syscall!(Sysno::preadv, file, parts.as_ptr(), count, low, high) };
        match outcome(read)? {
            0 => break,
            read => offset += read as u64,
        }
    }
    Ok(())
}

/// Writes at `offset` of a file; how many bytes, which are fewer only if it never takes all of them.
pub fn pwrite<E: From<Errno>>(file: RawFd, offset: u64, bytes: &[u8]) -> Result<u32, E> {
    #[cfg(target_pointer_width = "64")]
    {
        let (at, len) = (bytes.as_ptr() as usize, bytes.len());
        // SAFETY: the kernel reads at most so many bytes.
        unsafe { carry(file, at, len, offset, Sysno::pwrite64) }
    }
    #[cfg(target_pointer_width = "32")]
    carry(bytes.len(), offset, |done, offset| {
        rustix::io::pwrite(borrow(file), &bytes[done..], offset)
    })
}

/// The target of a symbolic link, cut to `out`. `NOENT`: it is none.
pub fn readlinkat<E: From<Errno>>(link: RawFd, out: &mut [u8]) -> Result<u32, E> {
    let (empty, at) = (c"".as_ptr() as usize, out.as_mut_ptr() as usize);
    // SAFETY: the kernel writes at most so many bytes.
    unsafe { call(word(link), empty, at, out.len(), 0, Sysno::readlinkat) }.map(|len| len as u32)
}

/// Makes what was written durable.
pub fn fsync<E: From<Errno>>(file: RawFd) -> Result<(), E> {
    // SAFETY: a number.
    unsafe { act(word(file), 0, 0, 0, 0, Sysno::fsync) }
}

/// Makes all of a file's system durable.
pub fn syncfs(file: RawFd) -> Result<(), Errno> {
    // SAFETY: a number.
    unsafe { act(word(file), 0, 0, 0, 0, Sysno::syncfs) }
}

/// Makes what was written to a file durable; what has no way to the disk of its own gets there with all the rest.
pub fn sync(file: RawFd) -> Result<(), Errno> {
    match fsync(file) {
        Err(Errno::INVAL) => syncfs(file),
        synced => synced,
    }
}

/// The call that takes a wide offset.
#[cfg(target_pointer_width = "64")]
pub(in super::super) const SENDFILE: Sysno = Sysno::sendfile;
#[cfg(target_pointer_width = "32")]
pub(in super::super) const SENDFILE: Sysno = Sysno::sendfile64;

/// Sends a range of a file to a socket without copying it here; 0 is the end of the file.
pub fn sendfile(socket: impl AsFd, file: i32, offset: u64, len: u32) -> Result<usize, Errno> {
    let mut offset = offset;
    // SAFETY: the kernel reads and writes the offset; a number that is no file's is an error, nothing worse.
    outcome(unsafe {
        raw_syscall!(
            SENDFILE,
            socket.as_fd().as_raw_fd(),
            file,
            &raw mut offset,
            len
        )
    })
}

/// A pipe as large as the host lets it be: the end to read from, and the other.
pub fn pipe() -> Result<(File, File), Errno> {
    const CLOEXEC_NONBLOCK: usize = 0o2_004_000;
    let mut ends = [0i32; 2];
    // SAFETY: the kernel writes two numbers.
    outcome(unsafe { raw_syscall!(Sysno::pipe2, ends.as_mut_ptr(), CLOEXEC_NONBLOCK) })?;
    let [from, to] = ends.map(File);
    // A pipe of the usual size moves less at once.
    set_pipe_size(to.0, 1 << 20);
    Ok((from, to))
}

/// Makes a pipe hold so many bytes, if it is one and the host lets it.
#[doc(alias = "F_SETPIPE_SZ")]
pub fn set_pipe_size(pipe: RawFd, bytes: usize) {
    const SET_SIZE: usize = 1031;
    // SAFETY: three numbers.
    unsafe { raw_syscall!(Sysno::fcntl, pipe, SET_SIZE, bytes) };
}

/// Moves bytes to or from a pipe without copying them here; 0 is the end. The offsets are those of files.
pub fn splice(
    from: i32,
    from_offset: Option<&mut u64>,
    to: i32,
    to_offset: Option<&mut u64>,
    len: usize,
) -> Result<usize, Errno> {
    const MOVE_NONBLOCK: usize = 1 | 2;
    let from_at = from_offset.map_or(core::ptr::null_mut(), core::ptr::from_mut);
    let to_at = to_offset.map_or(core::ptr::null_mut(), core::ptr::from_mut);
    // SAFETY: the kernel reads and writes the offsets, if there are any.
    outcome(unsafe { raw_syscall!(Sysno::splice, from, from_at, to, to_at, len, MOVE_NONBLOCK) })
}

/// Reads from a pipe or a signalfd, or a file where it was read to.
pub fn read(file: RawFd, out: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most so many bytes.
    outcome(unsafe { raw_syscall!(Sysno::read, file, out.as_mut_ptr(), out.len()) })
}
