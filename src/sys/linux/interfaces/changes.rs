//! Notification of interface changes by rtnetlink(7). The messages are not parsed: any of them makes the caller list the interfaces
//! again.

use super::super::Errno;
use super::super::fs::File;
use super::super::sockets::{self, Address, AddressCall};
use rustix::fd::AsRawFd as _;

/// Opens a non-blocking socket that is readable after an interface or address has changed. The messages need not be parsed;
/// [`Errno::NOBUFS`] means that some were lost.
pub fn watch() -> Result<File, Errno> {
    const LINKS: u32 = 1;
    const ADDRESSES: u32 = 0x10;
    const ADDRESSES6: u32 = 0x100;
    let socket = sockets::open_netlink()?;
    let mut at = Address::of_listener(LINKS | ADDRESSES | ADDRESSES6);
    sockets::call(socket.as_raw_fd(), AddressCall::Bind, &mut at)?;
    Ok(socket)
}
