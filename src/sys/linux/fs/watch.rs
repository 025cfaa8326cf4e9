//! inotify(7). The events are not parsed: any of them makes the caller read the directories again.

use super::super::optional;
use super::{Errno, File, call_on_entry};
use rustix::fd::AsRawFd as _;
use syscalls::{Sysno, raw_syscall};

/// Events of a watched path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Events {
    /// A file was written and closed, its attributes changed, or an entry was created, removed or renamed.
    /// IN_ATTRIB, IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_MOVE_SELF; IN_MASK_ADD.
    Changes = 0x2000_0fcc,
    /// An entry was created, or the directory itself was removed. IN_MOVED_TO, IN_CREATE, IN_DELETE_SELF, IN_MOVE_SELF;
    /// IN_MASK_ADD.
    Creation = 0x2000_0d80,
}

/// Creates an inotify instance, which watches nothing. ENOSYS: the kernel lacks inotify.
pub fn inotify() -> Result<File, Errno> {
    const CLOEXEC_NONBLOCK: usize = 0o2_004_000;
    // SAFETY: the call takes no pointers.
    File::opened(unsafe { raw_syscall!(optional::INOTIFY_INIT1, CLOEXEC_NONBLOCK) })
}

/// Watches the object at `path`, at most 255 bytes, for these events and those of earlier calls.
#[doc(alias = "inotify_add_watch")]
pub fn watch(inotify: &File, path: &[u8], events: Events) -> Result<(), Errno> {
    let (inotify, what) = (inotify.as_raw_fd(), Sysno::inotify_add_watch);
    // SAFETY: the kernel reads the path.
    unsafe { call_on_entry(inotify, path, events as usize, 0, what) }.map(drop)
}
