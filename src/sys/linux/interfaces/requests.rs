//! The older ways to interfaces: ioctl(2) as in netdevice(7), /proc/net/if_inet6, and what a socket is called when it is
//! connected: nothing is sent for that, but the kernel chooses the address that it would send from.

use super::super::fs::{self, File};
use super::super::sockets::{self, Address, DATAGRAM, INET, INET6, Verb};
use super::super::{Errno, outcome};
use super::{Interfaces, add, is_usable, set_name};
use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use rustix::fd::AsRawFd as _;
use rustix::fs::OFlags;
use syscalls::{Sysno, raw_syscall};

/// Numbers that are tried where only version 6 has addresses: they are not listed then.
const INDEX_MAX: u32 = 256;

/// Bytes of the file that are read at once.
const PIECE_BYTES: usize = 256;

// Flags of an interface: it is up; it reaches this host alone, or one other at most; what leads out of it is there, a cable or an
// access point; it knows multicast.
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

/// What is asked about an interface, and the answer: the kernel's own structure, whose size follows from its pointers.
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

    /// About an interface that is known by its number.
    fn of(index: u32) -> Self {
        let mut request = Self::EMPTY;
        request.value[0] = index;
        request
    }

    /// Asks; whether there is an answer.
    #[inline(never)]
    fn ask(&mut self, socket: &File, what: u32) -> bool {
        ask(socket, what, self)
    }

    /// Asks for a number, which is 0 if there is no answer.
    #[inline(never)]
    fn get(&mut self, socket: &File, what: u32) -> u32 {
        self.value = [0; _];
        self.ask(socket, what);
        self.value[0]
    }
}

/// Whether there is an answer to a request whose structure is this one.
fn ask<T>(socket: &File, what: u32, of: &mut T) -> bool {
    let at = core::ptr::from_mut(of);
    // SAFETY: the kernel reads and writes the structure.
    outcome(unsafe { raw_syscall!(Sysno::ioctl, socket.as_raw_fd(), what, at) }).is_ok()
}

/// Lists what has an address.
#[inline(never)]
pub(super) fn list(out: &mut Interfaces) {
    /// The kind of hardware whose numbers have six bytes.
    const ETHERNET: u16 = 1;
    let socket = sockets::open(INET, DATAGRAM).or_else(|_| sockets::open(INET6, DATAGRAM));
    let Ok(socket) = socket else { return };
    list_v4(&socket, out);
    if !list_in_file(out) {
        list_by_asking(&socket, out);
    }
    for interface in out {
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

/// The addresses of version 4, for which there is a table.
#[inline(never)] // For the sake of the stack.
pub(super) fn list_v4(socket: &File, out: &mut Interfaces) {
    const COUNT_MAX: usize = 128;
    /// How many bytes the kernel may write, and has written.
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
        // Of several addresses with one name, the mask of this one is asked for.
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

/// The addresses of version 6, for which there may be a file; whether it is there and has one.
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

/// Lines of address, index, bits of the network, reach and flags, all in hexadecimal, and a name, as far as they were read.
#[derive(Default)]
pub(super) struct Lines {
    /// There was one.
    pub(super) any: bool,
    numbers: [u128; 5],
    count: usize,
    is_number: bool,
}

impl Lines {
    /// Reads on.
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
                // No number: the rest of the line means nothing.
                _ => self.count = self.numbers.len(),
            }
        }
    }
}

/// Finds addresses of version 6 by asking from which one the kernel would send: the link's own, and one that reaches farther.
pub(super) fn list_by_asking(socket: &File, out: &mut Interfaces) {
    // Interfaces that are known have any number.
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
        // What has no address of this reach would send from one of the other.
        if let Ok(address) = source(index, reach)
            && address.is_unicast_link_local() == (reach == LINK)
            && !address.is_unspecified()
        {
            // The length of the prefix is not told, but it is 64 by custom.
            let prefix_len = if address.is_loopback() { 128 } else { 64 };
            add(out, index, IpAddr::V6(address), prefix_len);
        }
    }
}

/// The address that the kernel would send from, by this interface to a group of this reach.
fn source(index: u32, reach: u16) -> Result<Ipv6Addr, Errno> {
    const INTERFACE: u8 = 17;
    let socket = sockets::open(INET6, DATAGRAM)?;
    let to = Ipv6Addr::new(reach, 0, 0, 0, 0, 0, 0, 0xfb);
    let mut to = Address::new(SocketAddrV6::new(to, 5353, 0, index).into());
    sockets::set(socket.as_raw_fd(), 41, INTERFACE, index)?;
    sockets::call(socket.as_raw_fd(), Verb::Connect, &mut to)?;
    sockets::name(socket.as_raw_fd(), &mut to)?;
    match to.get() {
        SocketAddr::V6(at) => Ok(*at.ip()),
        SocketAddr::V4(_) => Err(Errno::AFNOSUPPORT),
    }
}
