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

/// Returns true if sendfile(2) of this range waits for no disk: all its pages are in the page cache (cachestat(2), Linux 6.5), and
/// none of them is still being read. Readahead completes in order, so the last byte of the range and the last of the largest folio
/// that it can end in say that. False where the kernel does not answer: ENOSYS, or EPERM for files of other users.
pub fn is_cached(file: RawFd, offset: u64, len: u32) -> bool {
    const PAGE_BYTES: u64 = 4096;
    const FOLIO_BYTES_MAX: u64 = 2 << 20;
    let end = offset + u64::from(len);
    let range = [offset, u64::from(len)];
    // nr_cache, and four that are of no interest.
    let mut counts = [0u64; 5];
    // SAFETY: the kernel reads two numbers and writes five.
    let asked =
        unsafe { raw_syscall!(Sysno::cachestat, file, &raw const range, &raw mut counts, 0) };
    let pages = end.div_ceil(PAGE_BYTES) - offset / PAGE_BYTES;
    let is_read = |at| pread_cached(file, at, &mut [0]) != Err(Errno::AGAIN);
    outcome(asked).is_ok()
        && counts[0] >= pages
        && is_read(end - 1)
        && is_read(end.next_multiple_of(FOLIO_BYTES_MAX) - 1)
}

/// Reads a range of a file into the page cache, by splice(2) into pipes that are closed at once. As sendfile(2) does, and unlike
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
const SENDFILE: Sysno = Sysno::sendfile;
#[cfg(target_pointer_width = "32")]
const SENDFILE: Sysno = Sysno::sendfile64;

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
        // No readahead: only the pages of the first and the last byte are read.
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
