//! PID files. A server holds a lock on its file while it runs. Without the lock, a number in the file means nothing: the server may
//! have been killed, and the number may be that of another process by now.

#![forbid(unsafe_code)]

use crate::mem::Ends as _;
use crate::sys::linux::fs::{self, File};
use crate::sys::{self, Errno};
use crate::time::Duration;
use crate::wire::label::number;
use core::ffi::CStr;
use rustix::fd::{AsFd as _, AsRawFd as _};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::{Pid, test_kill_process};

/// Flags for opening a PID file: not through a link, and without waiting for the writer of a FIFO.
const OPEN: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);
/// Interval of further tries.
const INTERVAL: Duration = Duration::from_ms(10);
/// Tries to lock the file. [`holder`] holds a lock for a moment.
const LOCK_TRIES: u32 = 10;
/// Tries to read the number of a server that starts or ends: 2 s.
const READ_TRIES: u32 = if cfg!(test) { 2 } else { 200 };
/// Length (bytes) of a number and its newline at most.
const NUMBER_BYTES_MAX: usize = 11;

/// A locked PID file. The lock ends with the last process that has the descriptor.
#[derive(Debug)]
pub struct PidFile(File);

impl PidFile {
    /// Opens or creates the file at `path`, locks it and empties it.
    ///
    /// # Errors
    /// EBUSY: another process has locked it. ELOOP: it is a link. Those of open(2).
    pub fn lock(path: &CStr) -> Result<Self, Errno> {
        let flags = OPEN | OFlags::RDWR | OFlags::CREATE;
        let file = Self(File::open::<Errno>(path, flags, 0o644)?);
        lock(&file.0)?;
        file.clear();
        Ok(file)
    }

    /// Replaces the content of the file.
    ///
    /// # Errors
    /// Those of pwrite(2).
    pub fn write(&self, text: &[u8]) -> Result<(), Errno> {
        self.clear();
        fs::pwrite(self.0.as_raw_fd(), 0, text).map(drop)
    }

    /// Empties the file.
    pub fn clear(&self) {
        let _ = fs::truncate::<Errno>(self.0.as_raw_fd(), None, 0);
    }
}

/// Locks a file as long as the process has its descriptor. Waits a moment for a process that ends.
///
/// # Errors
/// EBUSY: another process has locked it. Those of flock(2).
pub(super) fn lock(file: &File) -> Result<(), Errno> {
    for _ in 0..LOCK_TRIES {
        match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN) => pause(),
            done => return done,
        }
    }
    Err(Errno::BUSY)
}

/// Returns the PID of the server that holds the lock of the file at `path`, or `None` if no process holds it. Waits for a server that
/// starts, and for the children of one that was killed.
///
/// # Errors
/// EBUSY: the lock is held, but the file has no number of a process. ELOOP: it is a link. Those of open(2) and flock(2).
pub fn holder(path: &CStr) -> Result<Option<u32>, Errno> {
    for _ in 0..READ_TRIES {
        let file = match File::open(path, OPEN | OFlags::RDONLY, 0) {
            Err(Errno::NOENT) => return Ok(None),
            file => file?,
        };
        match flock(file.as_fd(), FlockOperation::NonBlockingLockShared) {
            Err(Errno::AGAIN) => {}
            locked => return locked.map(|()| None),
        }
        let mut text = [0; NUMBER_BYTES_MAX];
        let len = fs::pread::<Errno>(file.as_raw_fd(), 0, &mut text)?;
        let pid = text
            .head(len as usize)
            .strip_suffix(b"\n")
            .and_then(|digits| number(digits, 10));
        let process = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if process.is_some_and(|process| test_kill_process(process) != Err(Errno::SRCH)) {
            return Ok(pid);
        }
        pause();
    }
    Err(Errno::BUSY)
}

fn pause() {
    let _ = sys::linux::sleep(&mut [], Some(INTERVAL));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::fs;

    #[test]
    fn only_the_lock_makes_a_number_a_server() {
        let own = std::process::id();
        let directory = std::env::temp_dir().join(format!("stowaway-pid-{own}"));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("pid");
        let path = CString::new(file.to_str().unwrap()).unwrap();
        assert_eq!(holder(&path), Ok(None), "no file");
        fs::write(&file, format!("{own}\n")).unwrap();
        assert_eq!(holder(&path), Ok(None), "a stale number");
        let locked = PidFile::lock(&path).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"", "the stale number is left");
        assert_eq!(PidFile::lock(&path).err(), Some(Errno::BUSY));
        for text in ["", "0\n", "-1\n", "1", "4194305\n", "4294967295\n"] {
            locked.write(text.as_bytes()).unwrap();
            assert_eq!(holder(&path), Err(Errno::BUSY), "{text:?}");
        }
        locked.write(format!("{own}\n").as_bytes()).unwrap();
        assert_eq!(holder(&path), Ok(Some(own)));
        drop(locked);
        assert_eq!(holder(&path), Ok(None), "the lock is released");
        fs::remove_dir_all(directory).unwrap();
    }
}
