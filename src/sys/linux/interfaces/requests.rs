//! Interfaces without rtnetlink: ioctl(2) (netdevice(7)), /proc/net/if_inet6, and the source address of a connected UDP socket, for
//! which the kernel sends nothing.

use super::super::fs::{self, File};
use super::super::sockets::{self, Address, AddressCall, DATAGRAM, INET, INET6};
use super::super::{Errno, outcome};
use super::{Interfaces, add, is_usable, set_name};
use crate::mem::copy_into;
use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use rustix::fd::AsRawFd as _;
use rustix::fs::OFlags;
use syscalls::{Sysno, raw_syscall};

/// Highest index to try for interfaces that have only IPv6 addresses: no table lists those.
const INDEX_MAX: u32 = 256;

/// Read size for /proc/net/if_inet6, in bytes.
const PIECE_BYTES: usize = 256;

// Interface flags (IFF_*).
const UP: u32 = 1;
const LOOPBACK: u32 = 8;
const POINT_TO_POINT: u32 = 0x10;
const RUNNING: u32 = 0x40;
const MULTICAST: u32 = 0x1000;

const GET_NAME: u32 = 0x8910;
const GET_TABLE: u32 = 0x8912;
const GET_FLAGS: u32 = 0x8913;
const GET_MASK: u32 = 0x891b;
const GET_MTU: u32 = 0x8921;
const GET_HARDWARE: u32 = 0x8927;
const GET_INDEX: u32 = 0x8933;

/// Argument and result of an interface's ioctl (`struct ifreq`). Its size depends on the size of pointers.
#[doc(alias = "ifreq")]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Request {
    name: [u8; 16],
    value: [u32; if size_of::<usize>() == 8 { 6 } else { 4 }],
}

impl Request {
    const EMPTY: Self = Self {
        name: [0; 16],
        value: [0; _],
    };

    /// Creates a request about the interface with this index.
    fn of(index: u32) -> Self {
        let mut request = Self::EMPTY;
        request.value[0] = index;
        request
    }

    /// Sends the request to the kernel. Returns false if the ioctl fails.
    #[inline(never)] // −31 bytes: four callers.
    fn ask(&mut self, socket: &File, what: u32) -> bool {
        ask(socket, what, self)
    }

    /// Sends the request and returns the number in the result; 0 if the ioctl fails.
    fn get(&mut self, socket: &File, what: u32) -> u32 {
        self.value = [0; _];
        self.ask(socket, what);
        self.value[0]
    }
}

/// Makes an ioctl whose argument and result are the structure `of`.
fn issue<T>(socket: &File, what: u32, of: &mut T) -> Result<usize, Errno> {
    let at = core::ptr::from_mut(of);
    // SAFETY: the kernel reads and writes the structure.
    outcome(unsafe { raw_syscall!(Sysno::ioctl, socket.as_raw_fd(), what, at) })
}

/// Returns false if the ioctl fails.
fn ask<T>(socket: &File, what: u32, of: &mut T) -> bool {
    issue(socket, what, of).is_ok()
}

/// Opens a socket for requests.
fn open() -> Result<File, Errno> {
    sockets::open(INET, DATAGRAM).or_else(|_| sockets::open(INET6, DATAGRAM))
}

/// Returns true unless the kernel has no interface of this name.
pub fn exists(name: &[u8]) -> bool {
    let mut request = Request::EMPTY;
    copy_into(&mut request.name, name);
    let Ok(socket) = open() else { return true };
    name.len() < request.name.len() && issue(&socket, GET_INDEX, &mut request) != Err(Errno::NODEV)
}

/// Lists all interfaces that have an address.
pub(super) fn list(out: &mut Interfaces) {
    /// ARPHRD_ETHER: hardware addresses have six bytes.
    const ETHERNET: u16 = 1;
    let Ok(socket) = open() else { return };
    list_v4(&socket, out);
    if !list_in_file(out) {
        list_by_asking(&socket, out);
    }
    for interface in out.iter_mut() {
        let mut request = Request::of(interface.index);
        if interface.name[0] == 0 {
            request.ask(&socket, GET_NAME);
            set_name(interface, &request.name);
        }
        request.name = interface.name;
        let flags = request.get(&socket, GET_FLAGS);
        interface.is_running = flags & (UP | RUNNING) == UP | RUNNING;
        interface.is_multicast = flags & MULTICAST != 0;
        interface.is_loopback = flags & LOOPBACK != 0;
        interface.is_point_to_point = flags & POINT_TO_POINT != 0;
        interface.mtu = request.get(&socket, GET_MTU);
        let first = request.get(&socket, GET_HARDWARE);
        let [_, _, a, b] = first.to_ne_bytes();
        let [c, d, e, f] = request.value[1].to_ne_bytes();
        let hardware = [a, b, c, d, e, f];
        if first as u16 == ETHERNET && hardware != [0; 6] {
            interface.hardware = Some(hardware);
        }
    }
}

/// Lists the IPv4 addresses (SIOCGIFCONF).
#[inline(never)] // Keeps this large frame off the caller's stack.
pub(super) fn list_v4(socket: &File, out: &mut Interfaces) {
    const COUNT_MAX: usize = 256;
    /// Argument and result of SIOCGIFCONF. `bytes` is the size of the buffer at `at`, then the size that the kernel has used.
    #[doc(alias = "ifconf")]
    #[repr(C)]
    struct Table {
        bytes: u32,
        at: *mut Request,
    }
    let mut buffer = [Request::EMPTY; COUNT_MAX];
    let mut table = Table {
        bytes: size_of_val(&buffer) as u32,
        at: buffer.as_mut_ptr(),
    };
    if !ask(socket, GET_TABLE, &mut table) {
        return;
    }
    let count = table.bytes as usize / size_of::<Request>();
    for entry in buffer.iter().take(count) {
        let mut request = *entry;
        let index = request.get(socket, GET_INDEX);
        // A request for a mask needs the address too, as an interface may have several.
        let mut request = *entry;
        let prefix_len = if request.ask(socket, GET_MASK) {
            u32::from_ne_bytes(request.value[1].to_be_bytes()).leading_ones() as u8
        } else {
            32
        };
        let address = IpAddr::V4(entry.value[1].to_ne_bytes().into());
        if let Some(interface) = add(out, index, address, prefix_len) {
            set_name(interface, &entry.name);
        }
    }
}

/// Lists the IPv6 addresses of /proc/net/if_inet6. Returns false if the file is missing or empty.
pub(super) fn list_in_file(out: &mut Interfaces) -> bool {
    let Ok(file) = File::open::<Errno>(c"/proc/net/if_inet6", OFlags::RDONLY, 0) else {
        return false;
    };
    let (mut lines, mut buffer) = (Lines::default(), [0; PIECE_BYTES]);
    while let Ok(len @ 1..) = fs::read(file.as_raw_fd(), &mut buffer) {
        lines.read(buffer.get(..len).unwrap_or_default(), out);
    }
    lines.any
}

/// Parser for lines of address, index, prefix length, scope and flags (all hexadecimal), and a name.
#[derive(Default)]
pub(super) struct Lines {
    /// True once a complete line was read.
    pub(super) any: bool,
    numbers: [u128; 5],
    count: usize,
    is_number: bool,
}

impl Lines {
    /// Parses the next piece of the file.
    pub(super) fn read(&mut self, text: &[u8], out: &mut Interfaces) {
        for byte in text {
            let digit = char::from(*byte).to_digit(16);
            match (byte, digit, self.numbers.get_mut(self.count)) {
                (b'\n', ..) => {
                    (self.numbers, self.count, self.is_number) = ([0; _], 0, false);
                }
                (_, Some(digit), Some(number)) => {
                    *number = *number << 4 | u128::from(digit);
                    self.is_number = true;
                }
                (b' ', _, Some(_)) if self.is_number => {
                    self.is_number = false;
                    self.count += 1;
                    let [address, index, prefix_len, _, flags] = self.numbers;
                    if self.count < self.numbers.len() {
                        continue;
                    }
                    self.any = true;
                    if is_usable(flags as u32) {
                        let address = IpAddr::V6(Ipv6Addr::from_bits(address));
                        add(out, index as u32, address, prefix_len as u8);
                    }
                }
                (b' ', ..) => {}
                // Not a number: skip the rest of the line.
                _ => self.count = self.numbers.len(),
            }
        }
    }
}

/// Finds IPv6 addresses as the source addresses that the kernel would choose on each interface: a link-local one and a global one.
pub(super) fn list_by_asking(socket: &File, out: &mut Interfaces) {
    // Interfaces that are already in the list may have indexes above [`INDEX_MAX`].
    let known = out.len();
    for at in 0..known {
        let index = out.get(at).map_or(0, |interface| interface.index);
        ask_for(index, out);
    }
    for index in 1..=INDEX_MAX {
        let is_known = out.iter().take(known).any(|known| known.index == index);
        if !is_known && Request::of(index).ask(socket, GET_NAME) {
            ask_for(index, out);
        }
    }
}

fn ask_for(index: u32, out: &mut Interfaces) {
    const LINK: u16 = 0xff02;
    const EVERYWHERE: u16 = 0xff0e;
    for &reach in &[LINK, EVERYWHERE] {
        // If the interface has no address of the wanted scope, the kernel chooses an address of another scope.
        if let Ok(address) = source(index, reach)
            && address.is_unicast_link_local() == (reach == LINK)
            && !address.is_unspecified()
        {
            // The prefix length is unknown; 64 is the convention.
            let prefix_len = if address.is_loopback() { 128 } else { 64 };
            add(out, index, IpAddr::V6(address), prefix_len);
        }
    }
}

/// Returns the source address that the kernel would use to send to a group of this scope by the interface `index`.
fn source(index: u32, reach: u16) -> Result<Ipv6Addr, Errno> {
    const INTERFACE: u8 = 17;
    let socket = sockets::open(INET6, DATAGRAM)?;
    let to = Ipv6Addr::new(reach, 0, 0, 0, 0, 0, 0, 0xfb);
    let mut to = Address::new(SocketAddrV6::new(to, 5353, 0, index).into());
    sockets::set(socket.as_raw_fd(), 41, INTERFACE, index)?;
    sockets::call(socket.as_raw_fd(), AddressCall::Connect, &mut to)?;
    sockets::name(socket.as_raw_fd(), &mut to)?;
    match to.get() {
        SocketAddr::V6(at) => Ok(*at.ip()),
        SocketAddr::V4(_) => Err(Errno::AFNOSUPPORT),
    }
}
