//! Socket system calls with addresses. rustix has them too, but its checks and conversions take more code than this file.

use super::fs::{AT_FDCWD, File};
use super::{Errno, outcome};
use crate::mem::c_str;
use crate::sys::address::ServerAddress;
use core::ffi::CStr;
use core::mem::ManuallyDrop;
use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use core::sync::atomic::{AtomicI32, Ordering};
use rustix::fd::{AsRawFd as _, RawFd};
use rustix::fs::{Mode, OFlags};
use syscalls::{Sysno, raw_syscall};

pub(super) const STREAM: u32 = 1;
pub(super) const DATAGRAM: u32 = 2;
pub(super) const NONBLOCK: u32 = 0o4_000;
const CLOEXEC: u32 = 0o2_000_000;
pub(super) const UNIX: u16 = 1;
pub(super) const INET: u16 = 2;
pub(super) const INET6: u16 = 10;
const NETLINK: u16 = 16;
pub(super) const PACKET: u16 = 17;

/// A socket address in the kernel's layout: family, port and an IPv4 address; or family, port, flow label, IPv6 address and scope
/// id; or family and the NUL-terminated path of a socket file.
#[doc(alias = "sockaddr")]
#[derive(Debug)]
#[repr(C, align(4))]
pub struct Address {
    pub(super) len: u32,
    pub(super) bytes: [u8; 110],
}

impl Address {
    /// An empty address, to be filled in by a setter or by the kernel.
    #[inline(never)] // −450 bytes: 20 callers.
    pub fn empty() -> Self {
        Self {
            len: 110,
            bytes: [0; 110],
        }
    }

    /// Sets the address of a host and port. An IPv4-mapped address becomes an IPv4 one.
    pub fn set_host(&mut self, host: Ipv6Addr, port: u16) {
        match &host.octets() {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, octets @ ..] => self.set_v4(octets, port),
            octets => self.set_v6(octets, port),
        }
    }

    fn set_v4(&mut self, octets: &[u8; 4], port: u16) {
        self.bytes[2..4].copy_from_slice(&port.to_be_bytes());
        self.bytes[4..8].copy_from_slice(octets);
        self.become_one_of(INET, 16);
    }

    fn set_v6(&mut self, octets: &[u8; 16], port: u16) {
        self.bytes[2..4].copy_from_slice(&port.to_be_bytes());
        self.bytes[8..24].copy_from_slice(octets);
        self.become_one_of(INET6, 28);
    }

    /// Sets the path of a socket file. `None` if the path is too long.
    pub fn set_file(&mut self, path: &CStr) -> Option<()> {
        let path = path.to_bytes_with_nul();
        self.bytes.get_mut(2..2 + path.len())?.copy_from_slice(path);
        self.become_one_of(UNIX, 2 + path.len() as u32);
        Some(())
    }

    /// Sets an abstract name, which begins with a zero byte. `None` if it is too long.
    fn set_abstract(&mut self, name: &[u8]) -> Option<()> {
        let place = self.bytes.get_mut(3..3 + name.len())?;
        place.copy_from_slice(name);
        self.become_one_of(UNIX, 3 + name.len() as u32);
        Some(())
    }

    /// A netlink address that receives these multicast groups of rtnetlink.
    pub(super) fn of_listener(groups: u32) -> Self {
        let mut to = Self::empty();
        to.bytes[8..12].copy_from_slice(&groups.to_ne_bytes());
        to.become_one_of(NETLINK, 12);
        to
    }

    fn become_one_of(&mut self, family: u16, len: u32) {
        [self.bytes[0], self.bytes[1]] = family.to_ne_bytes();
        self.len = len;
    }

    fn family(&self) -> u16 {
        u16::from_ne_bytes([self.bytes[0], self.bytes[1]])
    }

    /// A packet socket address for all protocols on an interface (`sockaddr_ll`, packet(7)).
    pub(super) fn of_frames(interface: u32) -> Self {
        const EVERY_PROTOCOL: u16 = 3;
        let mut to = Self::empty();
        to.bytes[2..4].copy_from_slice(&EVERY_PROTOCOL.to_be_bytes());
        to.bytes[4..8].copy_from_slice(&interface.to_ne_bytes());
        to.become_one_of(PACKET, 20);
        to
    }

    /// Returns the port of an IPv4 or IPv6 address.
    pub fn port(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    /// Address of a server: `sockaddr_in`, `sockaddr_in6` or `sockaddr_un`.
    pub fn of_server(at: &ServerAddress) -> Self {
        let mut to = Self::empty();
        match at {
            ServerAddress::Host(at) => to.set_host(*at.ip(), at.port()),
            // `ServerAddress::file` has checked the length. A longer path leaves the address empty, which no call accepts.
            ServerAddress::File(path) => _ = to.set_file(path),
        }
        to
    }

    pub(super) fn new(from: SocketAddr) -> Self {
        let mut to = Self::empty();
        match from {
            SocketAddr::V4(from) => to.set_v4(&from.ip().octets(), from.port()),
            // IPv4-mapped addresses stay IPv6, for IPv6 sockets.
            SocketAddr::V6(from) => {
                to.set_v6(&from.ip().octets(), from.port());
                to.bytes[24..28].copy_from_slice(&from.scope_id().to_ne_bytes());
            }
        }
        to
    }

    /// Returns the IP address that the kernel wrote. It is IPv4 or IPv6, as are the sockets whose addresses are read.
    #[inline(never)] // −275 bytes: six callers.
    pub fn get(&self) -> SocketAddr {
        let port = self.port();
        let (start, scope) = self.bytes[4..28].split_at(20);
        if self.family() == INET {
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

/// A socket system call. Old kernels on 32-bit x86 have only `socketcall`, whose first argument is the call's number (`$number`).
macro_rules! socket_call {
    ($name:ident, $number:literal, $($argument:expr),*) => {{
        #[cfg(target_arch = "x86")]
        let returned = {
            let arguments = [$($argument as usize),*];
            raw_syscall!(Sysno::socketcall, $number, arguments.as_ptr())
        };
        #[cfg(not(target_arch = "x86"))]
        let returned = raw_syscall!(Sysno::$name, $($argument),*);
        returned
    }};
}
pub(super) use socket_call;

/// Socket options: level and number.
pub(super) type Setting = (u8, u8);
pub(super) const REUSE_ADDRESS: Setting = (1, 2);
pub(super) const REUSE_PORT: Setting = (1, 15);
const BROADCAST: Setting = (1, 6);
const KEEPALIVE: Setting = (1, 9);
/// SO_BINDTODEVICE.
const DEVICE: Setting = (1, 25);
/// IP_MTU_DISCOVER; 0 (IP_PMTUDISC_DONT): the kernel and routers fragment long datagrams, which have no DF bit.
const MTU_DISCOVERY: Setting = (0, 10);
const MTU_DISCOVERY_V6: Setting = (41, 23);
const NO_DELAY: Setting = (6, 1);
const KEEPALIVE_IDLE: Setting = (6, 4);
const KEEPALIVE_INTERVAL: Setting = (6, 5);
pub(super) const V6_ONLY: Setting = (41, 26);

/// A system call with an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressCall {
    Bind,
    Connect,
    /// getsockname, which writes to the address.
    Name,
}

/// Calls bind, connect or getsockname.
#[inline(never)] // −60 bytes: 19 callers.
pub(super) fn call(socket: i32, verb: AddressCall, at: &mut Address) -> Result<(), Errno> {
    let (bytes, len) = (at.bytes.as_mut_ptr(), at.len);
    // SAFETY: the kernel reads `len` bytes of the address, or writes at most `len` and their number.
    outcome(unsafe {
        match verb {
            AddressCall::Bind => socket_call!(bind, 2, socket, bytes, len),
            AddressCall::Connect => socket_call!(connect, 3, socket, bytes, len),
            AddressCall::Name => socket_call!(getsockname, 6, socket, bytes, &raw mut at.len),
        }
    })
    .map(drop)
}

/// Connects a socket to an address in the kernel's layout.
pub(super) fn connect_at(socket: RawFd, at: &[u8]) -> Result<(), Errno> {
    // SAFETY: the kernel reads the address, by its length.
    outcome(unsafe { socket_call!(connect, 3, socket, at.as_ptr(), at.len()) }).map(drop)
}

/// Listens at an address. With port 0 the kernel chooses one, which is written to `at`. A socket file is accessible to its owner
/// only; a stale one is replaced.
pub fn listen(at: &mut Address) -> Result<File, Errno> {
    // The kernel reduces this to net.core.somaxconn. If the backlog is full, a client retries its SYN after a second.
    const BACKLOG: usize = 4096;
    // On error the descriptor stays open: the process exits anyway.
    let socket = ManuallyDrop::new(open(at.family(), STREAM)?);
    let descriptor = socket.as_raw_fd();
    // Reuse the port at once, disable Nagle's algorithm, probe idle peers. Socket files ignore these options.
    for (level, name) in &[REUSE_ADDRESS, NO_DELAY, KEEPALIVE] {
        let _ = set(descriptor, *level, *name, 1);
    }
    let mask = rustix::process::umask(Mode::from_bits_retain(0o177));
    let mut bound = call(descriptor, AddressCall::Bind, at);
    if bound == Err(Errno::ADDRINUSE) {
        remove_unused(descriptor, at)?;
        bound = call(descriptor, AddressCall::Bind, at);
    }
    rustix::process::umask(mask);
    bound?;
    call(descriptor, AddressCall::Name, at)?;
    // SAFETY: no argument is a pointer.
    outcome(unsafe { socket_call!(listen, 4, descriptor, BACKLOG) })?;
    LISTENER.store(descriptor, Ordering::Relaxed);
    Ok(ManuallyDrop::into_inner(socket))
}

/// Descriptor of the listening socket made by [`listen`], or -1.
static LISTENER: AtomicI32 = AtomicI32::new(-1);

/// Shuts the listener of [`listen`] down and removes its socket file, unless another process listens there now. Makes system calls
/// only, because a signal handler calls it.
pub(super) fn stop_listening() {
    const BOTH_WAYS: usize = 2;
    let (listener, mut at) = (LISTENER.load(Ordering::Relaxed), Address::empty());
    // SAFETY: no argument is a pointer.
    unsafe { socket_call!(shutdown, 13, listener, BOTH_WAYS) };
    if call(listener, AddressCall::Name, &mut at).is_ok()
        && let Ok(socket) = open(UNIX, STREAM)
    {
        let _ = remove_unused(socket.as_raw_fd(), &mut at);
    }
}

/// Removes a socket file at which no process listens (ECONNREFUSED). `socket` is an unconnected socket.
///
/// # Errors
/// ENOTSOCK: another kind of file, for which connect(2) returns ECONNREFUSED, too, or a symbolic link. Those of open(2).
fn remove_unused(socket: RawFd, at: &mut Address) -> Result<(), Errno> {
    if at.family() == UNIX
        && let Err(errno) = call(socket, AddressCall::Connect, at)
    {
        let path = c_str(&at.bytes[2..]);
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        // A socket file cannot be opened: ENXIO, on other systems than Linux EOPNOTSUPP. In this way, stat(2) is not needed.
        match File::open(path, flags, 0) {
            Ok(_) | Err(Errno::LOOP) => return Err(Errno::NOTSOCK),
            Err(Errno::NXIO | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
        if errno == Errno::CONNREFUSED {
            // SAFETY: the kernel only reads the path, which ends with NUL.
            unsafe { raw_syscall!(Sysno::unlinkat, AT_FDCWD, path.as_ptr(), 0) };
        }
    }
    Ok(())
}

/// Sets an integer option.
pub(super) fn set(socket: i32, level: u8, name: u8, value: u32) -> Result<(), Errno> {
    set_bytes(socket, (level, name), &value.to_ne_bytes())
}

/// Sets an option with a value of any type.
pub(super) fn set_bytes(socket: i32, option: Setting, value: &[u8]) -> Result<(), Errno> {
    let (level, name) = (u32::from(option.0), u32::from(option.1));
    let (at, len) = (value.as_ptr(), value.len());
    // SAFETY: the kernel reads only the bytes passed, by their length.
    outcome(unsafe { socket_call!(setsockopt, 14, socket, level, name, at, len) }).map(drop)
}

/// Opens a non-blocking socket bound to `at`: a listener if `connects`, else for datagrams. Processes of one user may bind the same
/// port if all set `is_shared` (SO_REUSEPORT); the kernel distributes clients among them.
pub fn open_at(at: SocketAddr, connects: bool, is_shared: bool) -> Result<File, Errno> {
    open_by(b"", at, connects, is_shared)
}

/// Like [`open_at`]. The socket receives and sends by the interface `device` only, unless that is empty.
///
/// # Errors
/// EPERM: Linux before 5.7 allows that to root only.
pub fn open_by(
    device: &[u8],
    at: SocketAddr,
    connects: bool,
    is_shared: bool,
) -> Result<File, Errno> {
    /// Backlog: connections that may wait to be accepted.
    const BACKLOG: usize = 4096;
    let family = if at.is_ipv4() { INET } else { INET6 };
    let kind = if connects { STREAM } else { DATAGRAM };
    let file = open(family, kind | NONBLOCK)?;
    let socket = file.as_raw_fd();
    if at.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        // Dual stack: one socket for IPv4 and IPv6.
        set(socket, V6_ONLY.0, V6_ONLY.1, 0)?;
    }
    if !device.is_empty() {
        set_bytes(socket, DEVICE, device)?;
    }
    if connects {
        set(socket, REUSE_ADDRESS.0, REUSE_ADDRESS.1, 1)?;
        // Accepted connections inherit these options. Kernels that lack one are supported.
        for ((level, name), value) in &[
            (NO_DELAY, 1),
            (KEEPALIVE, 1),
            // Keepalive, in seconds: idle time before the first probe, and interval between probes.
            (KEEPALIVE_IDLE, 60),
            (KEEPALIVE_INTERVAL, 15),
        ] {
            let _ = set(socket, *level, *name, *value);
        }
    }
    if is_shared {
        set(socket, REUSE_PORT.0, REUSE_PORT.1, 1)?;
    }
    call(socket, AddressCall::Bind, &mut Address::new(at))?;
    if connects {
        // SAFETY: no argument is a pointer.
        outcome(unsafe { socket_call!(listen, 4, socket, BACKLOG) })?;
    }
    Ok(file)
}

/// Lets a datagram socket send to broadcast addresses (SO_BROADCAST). If the host refuses, sending fails (EACCES).
pub fn allow_broadcasts(socket: &File) {
    let _ = set(socket.as_raw_fd(), BROADCAST.0, BROADCAST.1, 1);
}

/// Lets a datagram socket send datagrams that are longer than a packet of the path. Kernels that lack an option send them to
/// neighbors only.
pub fn allow_fragments(socket: &File) {
    for (level, name) in [MTU_DISCOVERY, MTU_DISCOVERY_V6] {
        let _ = set(socket.as_raw_fd(), level, name, 0);
    }
}

/// Opens a UDP socket connected to a port of `host`.
pub fn datagrams_to_host(host: Ipv6Addr, port: u16) -> Result<File, Errno> {
    let mut at = Address::empty();
    at.set_host(host, port);
    let socket = open(at.family(), DATAGRAM | NONBLOCK)?;
    match call(socket.as_raw_fd(), AddressCall::Connect, &mut at) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Opens a non-blocking stream socket for a later [`connect_to`] that address. An IP socket has a low port (IPPORT_RESERVED) if this
/// process may bind one: older portmappers, and exports that are `secure`, trust only those.
pub fn open_for(to: &Address) -> Result<File, Errno> {
    let socket = open(to.family(), STREAM | NONBLOCK)?;
    let mut port = 1023;
    while to.family() != UNIX && port > 600 {
        let mut from = Address::empty();
        match to.family() {
            INET => from.set_v4(&[0; 4], port),
            _ => from.set_v6(&[0; 16], port),
        }
        match call(socket.as_raw_fd(), AddressCall::Bind, &mut from) {
            Err(Errno::ADDRINUSE) => port -= 1,
            _ => break,
        }
    }
    Ok(socket)
}

/// Starts to connect a socket of [`open_for`]; later calls report the result.
pub fn connect_to(socket: RawFd, to: &mut Address) -> Result<(), Errno> {
    match call(socket, AddressCall::Connect, to) {
        Err(Errno::INPROGRESS) => Ok(()),
        connected => connected,
    }
}

/// Opens an unbound non-blocking socket for datagrams of IPv4 or IPv6.
pub fn open_datagrams(is_ipv4: bool) -> Result<File, Errno> {
    open(if is_ipv4 { INET } else { INET6 }, DATAGRAM | NONBLOCK)
}

/// Binds a socket to the abstract name `name`, which no other process of this network namespace can then bind.
///
/// # Errors
/// EADDRINUSE: another process has the name. ENAMETOOLONG: the name is longer than 107 bytes.
pub fn reserve(name: &[u8]) -> Result<File, Errno> {
    let socket = open(UNIX, DATAGRAM)?;
    let mut at = Address::empty();
    at.set_abstract(name).ok_or(Errno::NAMETOOLONG)?;
    call(socket.as_raw_fd(), AddressCall::Bind, &mut at)?;
    Ok(socket)
}

/// The name of a local socket.
#[derive(Clone, Copy, Debug)]
pub enum LocalName<'a> {
    /// A file.
    File(&'a CStr),
    /// A name in the network namespace, without the zero byte that begins it.
    Abstract(&'a [u8]),
}

impl LocalName<'_> {
    fn address(self) -> Result<Address, Errno> {
        let mut at = Address::empty();
        let set = match self {
            Self::File(path) => at.set_file(path),
            Self::Abstract(name) => at.set_abstract(name),
        };
        set.map(|()| at).ok_or(Errno::NAMETOOLONG)
    }
}

/// Listens at a local name, without blocking. Only the owner of the file may connect to it.
pub fn listen_locally(name: LocalName<'_>) -> Result<File, Errno> {
    let mut at = name.address()?;
    let socket = open(UNIX, STREAM | NONBLOCK)?;
    let mask = rustix::process::umask(Mode::from_bits_retain(0o177));
    let bound = call(socket.as_raw_fd(), AddressCall::Bind, &mut at);
    rustix::process::umask(mask);
    bound?;
    // SAFETY: no argument is a pointer.
    outcome(unsafe { socket_call!(listen, 4, socket.as_raw_fd(), 16) })?;
    Ok(socket)
}

/// Connects to a local name, without blocking. EAGAIN: the listener has not accepted the connections before this one.
pub fn connect_locally(name: LocalName<'_>) -> Result<File, Errno> {
    let socket = open(UNIX, STREAM | NONBLOCK)?;
    call(
        socket.as_raw_fd(),
        AddressCall::Connect,
        &mut name.address()?,
    )?;
    Ok(socket)
}

/// The UID of the process at the other end of a local connection (SO_PEERCRED).
pub fn peer_user(socket: &File) -> Result<u32, Errno> {
    const SOL_SOCKET: usize = 1;
    const PEERCRED: usize = 17;
    let (mut credentials, mut len) = ([u32::MAX; 3], size_of::<[u32; 3]>() as u32);
    let (to, socket) = (credentials.as_mut_ptr(), socket.as_raw_fd());
    // SAFETY: the kernel writes at most `len` bytes: PID, UID and GID.
    outcome(unsafe {
        socket_call!(
            getsockopt,
            15,
            socket,
            SOL_SOCKET,
            PEERCRED,
            to,
            &raw mut len
        )
    })?;
    let [_, user, _] = credentials;
    Ok(user)
}

/// Opens a non-blocking rtnetlink socket.
pub(super) fn open_netlink() -> Result<File, Errno> {
    open(NETLINK, DATAGRAM | NONBLOCK)
}

/// Opens a socket that ends with the program.
pub(super) fn open(family: u16, kind: u32) -> Result<File, Errno> {
    // SAFETY: no argument is a pointer.
    let open = |kind| File::opened(unsafe { socket_call!(socket, 1, family, kind, 0) });
    // Linux before 2.6.27 has no such flags, and returns EINVAL.
    if let Ok(socket) = open(kind | CLOEXEC) {
        return Ok(socket);
    }
    let socket = open(kind & !NONBLOCK)?;
    socket.end_with_program()?;
    if kind & NONBLOCK != 0 {
        socket.never_block()?;
    }
    Ok(socket)
}

/// Writes the local address of a socket to `at`.
pub fn name(socket: RawFd, at: &mut Address) -> Result<(), Errno> {
    call(socket, AddressCall::Name, at)
}

/// Accepts a connection.
pub fn accept_any(listener: &File) -> Result<File, Errno> {
    // SAFETY: both pointers are null, so the kernel writes no address.
    File::opened(unsafe { socket_call!(accept, 5, listener.as_raw_fd(), 0, 0) })
}

/// Accepts a connection in non-blocking mode; writes the peer's address to `from`.
pub fn accept(listener: RawFd, from: &mut Address) -> Result<File, Errno> {
    // accept4 would set non-blocking mode in the same call, but not every supported kernel has it.
    // SAFETY: the kernel writes at most `len` bytes of the address, and their number.
    let accepted = File::opened(unsafe {
        socket_call!(
            accept,
            5,
            listener,
            from.bytes.as_mut_ptr(),
            &raw mut from.len
        )
    })?;
    accepted.never_block()?;
    Ok(accepted)
}

/// Receives bytes; returns their number, 0 at the end.
#[inline(always)] // The result does not fit into registers.
pub fn recv(socket: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let (to, buffer) = (buffer.as_mut_ptr(), buffer.len());
    // SAFETY: the kernel writes at most the buffer's length.
    outcome(unsafe { socket_call!(recvfrom, 12, socket, to, buffer, 0, 0, 0) })
}

/// As [`recv`], but the bytes also stay in the socket (MSG_PEEK).
pub fn peek(socket: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    const PEEK: u32 = 2;
    let (to, buffer) = (buffer.as_mut_ptr(), buffer.len());
    // SAFETY: the kernel writes at most the buffer's length.
    outcome(unsafe { socket_call!(recvfrom, 12, socket, to, buffer, PEEK, 0, 0) })
}

/// Sends bytes; returns how many were accepted. `more`: further bytes follow (MSG_MORE).
#[inline(always)] // As for `recv`: the result does not fit into registers.
pub fn send(socket: RawFd, bytes: &[u8], more: bool) -> Result<usize, Errno> {
    const NO_SIGNAL: u32 = 0x4000;
    const MORE: u32 = 0x8000;
    let flags = if more { NO_SIGNAL | MORE } else { NO_SIGNAL };
    // SAFETY: the kernel reads only the bytes passed, by their length.
    outcome(unsafe { socket_call!(sendto, 11, socket, bytes.as_ptr(), bytes.len(), flags, 0, 0) })
}

/// Ends the sending direction (SHUT_WR). Errors are ignored: a connection that is broken fails at its next call, and without
/// shutdown(2) the peer sees the end when the socket is closed.
pub fn end_sending(socket: RawFd) {
    const SENDING: usize = 1;
    // SAFETY: no argument is a pointer.
    unsafe { socket_call!(shutdown, 13, socket, SENDING) };
}

/// Returns true if the peer has acknowledged all bytes that were sent (SIOCOUTQ); false if the call fails.
pub fn has_delivered(socket: RawFd) -> bool {
    const UNACKNOWLEDGED: u32 = 0x5411;
    let mut count = -1_i32;
    // SAFETY: the kernel writes the number.
    let got = unsafe { raw_syscall!(Sysno::ioctl, socket, UNACKNOWLEDGED, &raw mut count) };
    outcome(got).is_ok() && count == 0
}

/// Receives a datagram, truncated to `buffer`; returns its length, and writes the sender to `from`.
pub fn recv_from(socket: RawFd, buffer: &mut [u8], from: &mut Address) -> Result<usize, Errno> {
    let (to, buffer) = (buffer.as_mut_ptr(), buffer.len());
    // SAFETY: the kernel writes at most the buffer's length, at most `len` bytes of the address, and their number.
    outcome(unsafe {
        socket_call!(
            recvfrom,
            12,
            socket,
            to,
            buffer,
            0,
            from.bytes.as_mut_ptr(),
            &raw mut from.len
        )
    })
}

/// Sends a datagram.
pub fn send_to(socket: RawFd, to: SocketAddr, bytes: &[u8]) -> Result<(), Errno> {
    let to = Address::new(to);
    // SAFETY: the kernel reads the bytes and the address, by their lengths.
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
    fn addresses_round_trip_through_sockaddr() {
        for address in [
            "192.0.2.1:2049",
            "[2001:db8::7]:111",
            "[fe80::1%3]:9",
            "[::]:0",
            "[::ffff:192.0.2.1]:7",
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(Address::new(address).get(), address);
        }
    }
}
