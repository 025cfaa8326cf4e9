//! Calls on sockets that name an address. rustix has them too, but with checks and conversions that are larger than all of this.

use super::files::File;
use super::{Errno, outcome};
use core::ffi::CStr;
use core::mem::ManuallyDrop;
use core::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use rustix::fd::{AsFd, AsRawFd as _};
use rustix::fs::Mode;
use syscalls::raw_syscall;

const STREAM: u32 = 1;
const DATAGRAM: u32 = 2;
const UNIX: u16 = 1;
const INET: u16 = 2;
const INET6: u16 = 10;

/// An address as the kernel has it: family, port, then an IPv4 address, or flow, an IPv6 address and scope.
#[doc(alias = "sockaddr")]
#[repr(C, align(4))]
struct Address {
    bytes: [u8; 28],
    len: u32,
}

impl Address {
    /// Room for the kernel to write one.
    const ROOM: Self = Self {
        bytes: [0; 28],
        len: 28,
    };

    fn new(from: SocketAddr) -> Self {
        let mut to = Self::ROOM;
        let [family_low, family_high, port_high, port_low, rest @ ..] = &mut to.bytes;
        let family = match from {
            SocketAddr::V4(from) => {
                to.len = 16;
                rest[..4].copy_from_slice(&from.ip().octets());
                INET
            }
            SocketAddr::V6(from) => {
                rest[4..20].copy_from_slice(&from.ip().octets());
                rest[20..].copy_from_slice(&from.scope_id().to_ne_bytes());
                INET6
            }
        };
        [*family_low, *family_high] = family.to_ne_bytes();
        [*port_high, *port_low] = from.port().to_be_bytes();
        to
    }

    /// What the kernel wrote. Of families there are only these two on the sockets that we open.
    #[inline(never)]
    fn get(&self) -> SocketAddr {
        let [family_low, family_high, port_high, port_low, rest @ ..] = &self.bytes;
        let port = u16::from_be_bytes([*port_high, *port_low]);
        let (start, scope) = rest.split_at(20);
        if u16::from_ne_bytes([*family_low, *family_high]) == INET {
            let address = start
                .first_chunk()
                .map_or(0, |bytes| u32::from_be_bytes(*bytes));
            return SocketAddr::V4(SocketAddrV4::new(address.into(), port));
        }
        let address = start
            .last_chunk()
            .map_or(Ipv6Addr::UNSPECIFIED, |bytes: &[u8; 16]| (*bytes).into());
        let scope = scope
            .first_chunk()
            .map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        SocketAddr::V6(SocketAddrV6::new(address, port, 0, scope))
    }
}

/// A call of the socket family. Old kernels for i686 know them only by their number within `socketcall`.
macro_rules! socket_call {
    ($name:ident, $number:literal, $($argument:expr),*) => {{
        #[cfg(target_arch = "x86")]
        let returned = {
            let arguments = [$($argument as usize),*];
            raw_syscall!(syscalls::Sysno::socketcall, $number, arguments.as_ptr())
        };
        #[cfg(not(target_arch = "x86"))]
        let returned = raw_syscall!(syscalls::Sysno::$name, $($argument),*);
        returned
    }};
}

/// Gives a socket its address.
pub fn bind(socket: impl AsFd, at: SocketAddr) -> Result<(), Errno> {
    let (socket, at) = (socket.as_fd().as_raw_fd(), Address::new(at));
    // SAFETY: the kernel reads so many bytes of the address.
    outcome(unsafe { socket_call!(bind, 2, socket, at.bytes.as_ptr(), at.len) }).map(drop)
}

/// Where somebody listens.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// TCP; an address of version 4 is mapped into version 6.
    Address(Ipv6Addr, u16),
    /// A socket file, which only its owner may use.
    Path(&'a CStr),
}

/// Listens for connections at `place`, whose port 0 becomes one that is free. A socket file that nobody listens at any more
/// is replaced.
pub fn listen(place: &mut Place<'_>) -> Result<File, Errno> {
    const BACKLOG: usize = 128;
    let family = match place {
        Place::Path(_) => UNIX,
        Place::Address(host, _) if host.to_ipv4_mapped().is_some() => INET,
        Place::Address(..) => INET6,
    };
    // One that is of no use ends with the process, which says why.
    let socket = ManuallyDrop::new(open(family, STREAM)?);
    match place {
        Place::Address(host, port) => {
            // The port may be taken again at once; connections are not held back, and end with their peers.
            for (level, name) in [(1, 2), (6, 1), (1, 9)] {
                set(&socket, level, name);
            }
            bind(&*socket, SocketAddr::new(host.to_canonical(), *port))?;
            *port = name(&*socket)?.port();
        }
        Place::Path(path) => {
            let mask = rustix::process::umask(Mode::from_bits_retain(0o177));
            let mut bound = at_path(&socket, path, Verb::Bind);
            if bound == Err(Errno::ADDRINUSE)
                && at_path(&socket, path, Verb::Connect) == Err(Errno::CONNREFUSED)
            {
                rustix::fs::unlink(*path)?;
                bound = at_path(&socket, path, Verb::Bind);
            }
            rustix::process::umask(mask);
            bound?;
        }
    }
    // SAFETY: two numbers.
    outcome(unsafe { socket_call!(listen, 4, socket.as_raw_fd(), BACKLOG) })?;
    Ok(ManuallyDrop::into_inner(socket))
}

/// Switches an option on, if the socket has it.
fn set(socket: &File, level: u32, name: u32) {
    let on = 1u32;
    // SAFETY: the kernel reads four bytes.
    unsafe {
        socket_call!(
            setsockopt,
            14,
            socket.as_raw_fd(),
            level,
            name,
            &raw const on,
            4
        )
    };
}

/// A socket for datagrams to whoever listens at the socket file `path`. What is not taken at once is lost.
pub fn datagrams_to(path: &CStr) -> Result<File, Errno> {
    let socket = open(UNIX, DATAGRAM)?;
    at_path(&socket, path, Verb::Connect)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

fn open(family: u16, kind: u32) -> Result<File, Errno> {
    const CLOEXEC: u32 = 0o2_000_000;
    let kind = kind | CLOEXEC;
    // SAFETY: three numbers.
    File::opened(unsafe { socket_call!(socket, 1, family, kind, 0) })
}

/// What is done with the address of a socket file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Bind,
    Connect,
}

/// Makes a call with the address of a socket file. `NAMETOOLONG`: it is longer than an address can be.
#[inline(never)]
fn at_path(socket: &File, path: &CStr, verb: Verb) -> Result<(), Errno> {
    let mut address = [0; 110];
    let (family, room) = address.split_at_mut(2);
    family.copy_from_slice(&UNIX.to_ne_bytes());
    let bytes = path.to_bytes_with_nul();
    let room = room.get_mut(..bytes.len()).ok_or(Errno::NAMETOOLONG)?;
    room.copy_from_slice(bytes);
    let (socket, at, len) = (socket.as_raw_fd(), address.as_ptr(), 2 + bytes.len());
    // SAFETY: the kernel reads so many bytes of the address.
    outcome(unsafe {
        match verb {
            Verb::Bind => socket_call!(bind, 2, socket, at, len),
            Verb::Connect => socket_call!(connect, 3, socket, at, len),
        }
    })
    .map(drop)
}

/// The address of a socket.
pub fn name(socket: impl AsFd) -> Result<SocketAddr, Errno> {
    let (socket, mut at) = (socket.as_fd().as_raw_fd(), Address::ROOM);
    // SAFETY: the kernel writes at most so many bytes of the address, and how many there are.
    outcome(unsafe {
        socket_call!(
            getsockname,
            6,
            socket,
            at.bytes.as_mut_ptr(),
            &raw mut at.len
        )
    })?;
    Ok(at.get())
}

/// The next connection of a listener, and who it is from.
pub fn accept(listener: impl AsFd) -> Result<(File, SocketAddr), Errno> {
    let (socket, mut from) = (listener.as_fd().as_raw_fd(), Address::ROOM);
    // SAFETY: as for `name`.
    let accepted = File::opened(unsafe {
        socket_call!(
            accept,
            5,
            socket,
            from.bytes.as_mut_ptr(),
            &raw mut from.len
        )
    })?;
    Ok((accepted, from.get()))
}

/// The next datagram, cut to `buffer`, and who it is from.
pub fn recv_from(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, SocketAddr), Errno> {
    let (socket, mut from) = (socket.as_fd().as_raw_fd(), Address::ROOM);
    let (to, room) = (buffer.as_mut_ptr(), buffer.len());
    // SAFETY: as for `name`; and at most so many bytes of the buffer.
    let len = outcome(unsafe {
        socket_call!(
            recvfrom,
            12,
            socket,
            to,
            room,
            0,
            from.bytes.as_mut_ptr(),
            &raw mut from.len
        )
    })?;
    Ok((len, from.get()))
}

/// Sends a datagram.
pub fn send_to(socket: impl AsFd, to: SocketAddr, bytes: &[u8]) -> Result<(), Errno> {
    let (socket, to) = (socket.as_fd().as_raw_fd(), Address::new(to));
    // SAFETY: the kernel reads so many bytes of both.
    outcome(unsafe {
        socket_call!(
            sendto,
            11,
            socket,
            bytes.as_ptr(),
            bytes.len(),
            0,
            to.bytes.as_ptr(),
            to.len
        )
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_form() {
        for address in [
            "192.0.2.1:2049",
            "[2001:db8::7]:111",
            "[fe80::1%3]:9",
            "[::]:0",
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(Address::new(address).get(), address);
        }
    }
}
