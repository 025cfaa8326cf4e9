//! Word of changes by rtnetlink(7). What comes is of no interest, but that it does: the interfaces are listed again.

use super::super::Errno;
use super::super::fs::File;
use super::super::sockets::{self, Address, Verb};
use rustix::fd::AsRawFd as _;

/// A non-blocking socket that can be received from when an interface or an address of it has changed. What comes
/// is of no interest; that something was lost is told as [`Errno::NOBUFS`].
pub fn watch() -> Result<File, Errno> {
    const LINKS: u32 = 1;
    const ADDRESSES: u32 = 0x10;
    const ADDRESSES6: u32 = 0x100;
    let socket = sockets::open_netlink()?;
    let mut at = Address::of_listener(LINKS | ADDRESSES | ADDRESSES6);
    sockets::call(socket.as_raw_fd(), Verb::Bind, &mut at)?;
    Ok(socket)
}
