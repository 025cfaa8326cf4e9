//! Questions of `probe` to a host.

#![forbid(unsafe_code)]

use crate::sys::Errno;
use crate::sys::interface::Interfaces;
use crate::sys::linux::optional::NAMES;
use crate::sys::linux::sockets::open_at;
use crate::sys::linux::{fs, interfaces, probe};
use crate::sys::loss::{Loss, Presence};
use crate::text::Text;
use core::ffi::CStr;
use core::net::{Ipv4Addr, SocketAddr};

/// Right of this process to use a path or port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// This process may write the file, or listen at the port.
    Allowed,
    /// This process may not.
    Denied,
    /// The path is missing, or another process listens at the port.
    Impossible,
}

/// Returns whether this process may write to `path`.
pub fn path_use(path: &CStr) -> Use {
    match fs::may_write(path) {
        Ok(()) => Use::Allowed,
        Err(Errno::NOENT | Errno::NOTDIR) => Use::Impossible,
        Err(_) => Use::Denied,
    }
}

/// Returns whether this process may listen at a TCP port.
pub fn port_use(port: u16) -> Use {
    match open_at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), true, false) {
        Ok(_) => Use::Allowed,
        Err(Errno::ADDRINUSE) => Use::Impossible,
        Err(_) => Use::Denied,
    }
}

/// Optional system calls and options, each with its name, the loss of a host that lacks it, and the result of its test.
///
/// A test is an error if no process can be made.
pub fn calls() -> impl Iterator<Item = (Text, Loss, Result<Presence, Errno>)> {
    const NAME: Text = Text::row(NAMES);
    (0..NAMES.len()).map(|row| (NAME.plus(row as u8), probe::loss(row), probe::test(row)))
}

/// Returns true if a process of root can become `user` for good. Tried in a child process.
pub fn can_become(user: u32) -> bool {
    probe::can_become(user)
}

/// Calls `use_it` with the release of the kernel.
pub fn with_kernel_release(use_it: impl FnOnce(&[u8])) {
    probe::with_kernel_release(use_it);
}

/// Lists the interfaces of the host.
pub fn list_interfaces(out: &mut Interfaces) {
    interfaces::list(out);
}
