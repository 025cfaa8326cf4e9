//! Questions of `probe` to a host.

pub use crate::sys::linux::interfaces::list as list_interfaces;
pub use crate::sys::linux::probe::{
    Loss, NAMES, Presence, can_become, loss, test, with_kernel_release,
};

use crate::sys::Errno;
use crate::sys::linux::fs;
use crate::sys::linux::sockets::open_at;
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
