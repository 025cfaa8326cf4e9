//! Reads, writes, syncs and splices files and pipes.

use super::super::optional;
use super::super::{Errno, outcome};
#[cfg(target_pointer_width = "32")]
use super::borrow;
use super::{File, act, call, word};
use rustix::fd::{AsFd, AsRawFd as _, RawFd};
use syscalls::{Sysno, raw_syscall};

/// Repeats pread or pwrite until `len` bytes are moved or the call returns 0; returns the number of bytes.
///
/// # Safety
///
/// The requirements of the system call `what`.
#[cfg(target_pointer_width = "64")]
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
        // SAFETY: required of the caller.
        match unsafe { call::<E>(word(file), at, left, offset, 0, what) }? {
            0 => break,
            more => done += more as usize,
        }
    }
    Ok(done as u32)
}

/// Repeats pread or pwrite until `len` bytes are moved or the call returns 0. On 32-bit machines the 64-bit offset is passed as two
/// words, whose order depends on the architecture.
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

/// Reads from `offset` of a file until `out` is full or the file ends; returns the number of bytes.
#[inline(never)] // −16 bytes: seven callers.
pub fn pread<E: From<Errno>>(file: RawFd, offset: u64, out: &mut [u8]) -> Result<u32, E> {
    #[cfg(target_pointer_width = "64")]
    {
        let (at, len) = (out.as_mut_ptr() as usize, out.len());
        // SAFETY: the kernel writes at most the length of `out`.
        unsafe { carry(file, at, len, offset, Sysno::pread64) }
    }
    #[cfg(target_pointer_width = "32")]
    carry(out.len(), offset, |done, offset| {
        rustix::io::pread(borrow(file), &mut out[done..], offset)
    })
}

/// Reads once from `offset` of a file, or at its current position if the file has no offsets (ESPIPE: a serial port); returns the
/// number of bytes. Unlike [`pread`], does not repeat a short read, because the next read of a device may wait (EAGAIN), or fail
/// for lack of space (EINVAL from /dev/kmsg, which returns whole records).
pub fn read_some<E: From<Errno>>(file: RawFd, offset: u64, out: &mut [u8]) -> Result<u32, E> {
    #[cfg(target_pointer_width = "64")]
    // SAFETY: the kernel writes at most the length of `out`.
    let read = unsafe {
        let (at, len) = (out.as_mut_ptr() as usize, out.len());
        call::<Errno>(word(file), at, len, offset as usize, 0, Sysno::pread64)
    };
    #[cfg(target_pointer_width = "32")]
    let read = rustix::io::pread(borrow(file), &mut *out, offset);
    Ok(match read {
        Err(Errno::SPIPE) => self::read(file, out)? as u32,
        read => read? as u32,
    })
}

/// Reads at most `out.len()` bytes from the page cache, without waiting for a disk; returns their number. EAGAIN: the first byte is
/// not cached. EOPNOTSUPP: the file system does not support RWF_NOWAIT.
pub fn pread_cached(file: RawFd, offset: u64, out: &mut [u8]) -> Result<usize, Errno> {
    const NOWAIT: usize = 8;
    let part = (out.as_mut_ptr(), out.len());
    let (low, high) = (offset as usize, (offset >> 32) as usize);
    // SAFETY: the kernel writes at most the length of `out`.
    outcome(unsafe {
        raw_syscall!(
            optional::PREADV2,
            file,
            &raw const part,
            1,
            low,
            high,
            NOWAIT
        )
    })
}

/// Returns true if sendfile(2) of this range does not wait for a disk: all its pages are in the page cache (cachestat(2), Linux
/// 6.5), and none of them is still being read. Readahead completes in order, so it is enough to check the last byte of the range
/// and the last byte of the largest folio that the range can end in. False if cachestat fails: ENOSYS, or EPERM for files of other
/// users.
pub fn is_cached(file: RawFd, offset: u64, len: u32) -> bool {
    const PAGE_BYTES: u64 = 4096;
    const FOLIO_BYTES_MAX: u64 = 2 << 20;
    let end = offset + u64::from(len);
    let range = [offset, u64::from(len)];
    // Result of cachestat: `nr_cache`, then four counters that are not used.
    let mut counts = [0u64; 5];
    // SAFETY: the kernel reads the two numbers of `cachestat_range` and writes the five of `cachestat`.
    let asked = unsafe {
        raw_syscall!(
            optional::CACHESTAT,
            file,
            &raw const range,
            &raw mut counts,
            0
        )
    };
    let pages = end.div_ceil(PAGE_BYTES) - offset / PAGE_BYTES;
    let is_read = |at| pread_cached(file, at, &mut [0]) != Err(Errno::AGAIN);
    outcome(asked).is_ok()
        && counts[0] >= pages
        && is_read(end - 1)
        && is_read(end.next_multiple_of(FOLIO_BYTES_MAX) - 1)
}

/// Reads a range of a file into the page cache, by splice(2) into pipes that are closed at once. Like sendfile(2) and unlike
/// pread(2), splice waits until whole folios are up to date.
pub fn read_into_cache(file: RawFd, mut offset: u64, len: u32) -> Result<(), Errno> {
    let end = offset + u64::from(len);
    while offset < end {
        let (_from, to) = pipe()?;
        let left = (end - offset) as usize;
        if splice(file, Some(&mut offset), to.0, None, left)? == 0 {
            break;
        }
    }
    Ok(())
}

/// Writes `bytes` at `offset`; returns the number written. It is smaller than `bytes.len()` only if a write returned 0.
pub fn pwrite<E: From<Errno>>(file: RawFd, offset: u64, bytes: &[u8]) -> Result<u32, E> {
    #[cfg(target_pointer_width = "64")]
    {
        let (at, len) = (bytes.as_ptr() as usize, bytes.len());
        // SAFETY: the kernel reads at most `len` bytes.
        unsafe { carry(file, at, len, offset, Sysno::pwrite64) }
    }
    #[cfg(target_pointer_width = "32")]
    carry(bytes.len(), offset, |done, offset| {
        rustix::io::pwrite(borrow(file), &bytes[done..], offset)
    })
}

/// Reads the target of a symbolic link, truncated to `out.len()`. ENOENT: not a symbolic link.
pub fn readlinkat<E: From<Errno>>(link: RawFd, out: &mut [u8]) -> Result<u32, E> {
    let (empty, at) = (c"".as_ptr() as usize, out.as_mut_ptr() as usize);
    // SAFETY: the kernel writes at most the length of `out`.
    unsafe { call(word(link), empty, at, out.len(), 0, Sysno::readlinkat) }.map(|len| len as u32)
}

/// Makes data and metadata of a file durable.
pub fn fsync<E: From<Errno>>(file: RawFd) -> Result<(), E> {
    // SAFETY: no argument is an address.
    unsafe { act(word(file), 0, 0, 0, 0, Sysno::fsync) }
}

/// Makes the whole file system of a file durable.
pub fn syncfs(file: RawFd) -> Result<(), Errno> {
    // SAFETY: no argument is an address.
    unsafe { act(word(file), 0, 0, 0, 0, optional::SYNCFS) }
}

/// Makes a file durable: fsync, or syncfs if the object has no fsync (EINVAL).
pub fn sync(file: RawFd) -> Result<(), Errno> {
    match fsync(file) {
        Err(Errno::INVAL) => syncfs(file),
        synced => synced,
    }
}

/// The sendfile call that has a 64-bit offset.
#[cfg(target_pointer_width = "64")]
const SENDFILE: Sysno = Sysno::sendfile;
#[cfg(target_pointer_width = "32")]
const SENDFILE: Sysno = Sysno::sendfile64;

/// Sends a range of a file to a socket without copying; returns the number of bytes, 0 at the end of the file.
pub fn sendfile(socket: impl AsFd, file: i32, offset: u64, len: u32) -> Result<usize, Errno> {
    let mut offset = offset;
    // SAFETY: the kernel reads and writes the offset; an invalid descriptor is an error.
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

/// Creates a non-blocking pipe of up to 1 MiB: read end, write end. Without flags, because Linux before 2.6.27 has no pipe2.
pub fn pipe() -> Result<(File, File), Errno> {
    // aarch64 has no pipe.
    #[cfg(target_arch = "aarch64")]
    const PIPE: Sysno = Sysno::pipe2;
    #[cfg(not(target_arch = "aarch64"))]
    const PIPE: Sysno = Sysno::pipe;
    let mut ends = [0i32; 2];
    // SAFETY: the kernel writes two descriptors to `ends`.
    outcome(unsafe { raw_syscall!(PIPE, ends.as_mut_ptr(), 0) })?;
    let ends = ends.map(File);
    for end in &ends {
        end.end_with_program()?;
        end.never_block()?;
    }
    let [from, to] = ends;
    // A larger pipe moves more per call. The kernel may refuse.
    set_pipe_size(to.0, 1 << 20);
    Ok((from, to))
}

/// Sets the capacity of a pipe; ignores errors (not a pipe, above the limit).
#[doc(alias = "F_SETPIPE_SZ")]
pub fn set_pipe_size(pipe: RawFd, bytes: usize) {
    const SET_SIZE: usize = 1031;
    // SAFETY: the call takes no pointers.
    unsafe { raw_syscall!(Sysno::fcntl, pipe, SET_SIZE, bytes) };
}

/// Moves bytes from or to a pipe without copying; returns their number, 0 at the end. The offset of a pipe is `None`.
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
    outcome(unsafe {
        raw_syscall!(
            optional::SPLICE,
            from,
            from_at,
            to,
            to_at,
            len,
            MOVE_NONBLOCK
        )
    })
}

/// Reads from a pipe, a signalfd, or a file at its current position.
pub fn read(file: RawFd, out: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most the length of `out`.
    outcome(unsafe { raw_syscall!(Sysno::read, file, out.as_mut_ptr(), out.len()) })
}

/// Writes a line to a log.
///
/// # Errors
/// Those of write(2). ENOTCONN (not EAGAIN): the reader of a FIFO does not read. ENOSPC: a part of the line was written.
pub fn append(file: RawFd, line: &[u8]) -> Result<(), Errno> {
    match write(file, line) {
        Err(Errno::AGAIN) => Err(Errno::NOTCONN),
        Ok(count) if count < line.len() => Err(Errno::NOSPC),
        written => written.map(drop),
    }
}

/// Writes to a pipe.
pub fn write(file: RawFd, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel reads at most the length of `bytes`.
    outcome(unsafe { raw_syscall!(Sysno::write, file, bytes.as_ptr(), bytes.len()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Advice, FsWord, fadvise, fstatfs};
    use std::fs;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::FileExt as _;

    const TMPFS_MAGIC: FsWord = 0x0102_1994;
    const LEN: u32 = 3 << 20;

    #[test]
    fn range_with_uncached_middle_is_not_cached() {
        let path = std::env::temp_dir().join(format!("stowaway-cached-{}", std::process::id()));
        fs::write(&path, vec![1; LEN as usize]).unwrap();
        let file = fs::File::open(&path).unwrap();
        file.sync_all().unwrap();
        let number = file.as_raw_fd();
        let own = super::super::borrow(number);
        let advise = |advice| fadvise(own, 0, None, advice).unwrap();
        advise(Advice::DontNeed);
        // Turns readahead off, so that the reads below cache only the pages of the first and the last byte.
        advise(Advice::Random);
        for at in [0, u64::from(LEN) - 1] {
            file.read_at(&mut [0], at).unwrap();
        }
        if fstatfs(own).unwrap().f_type == TMPFS_MAGIC {
            assert!(is_cached(number, 0, LEN));
        } else {
            assert!(!is_cached(number, 0, LEN));
            read_into_cache(number, 0, LEN).unwrap();
            assert!(is_cached(number, 0, LEN) && is_cached(number, 5, LEN - 5));
        }
        fs::remove_file(path).unwrap();
    }
}
