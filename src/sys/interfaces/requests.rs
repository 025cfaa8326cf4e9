//! The older ways to interfaces: ioctl(2) as in netdevice(7), /proc/net/if_inet6, and what a socket is called when it is
//! connected: nothing is sent for that, but the kernel chooses the address that it would send from.

use super::super::files::{self, File};
use super::super::sockets::{self, Address, DATAGRAM, INET, INET6, Verb};
use super::super::{Errno, outcome};
use super::{ANSWER_BYTES, FLAGS, Interfaces, add, is_usable};
use core::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use rustix::fd::AsRawFd as _;
use rustix::fs::OFlags;
use syscalls::{Sysno, raw_syscall};

/// Numbers that are tried where only version 6 has addresses: nobody lists them then.
const INDEX_MAX: u32 = 1024;

const GET_NAME: u32 = 0x8910;
const GET_TABLE: u32 = 0x8912;
const GET_FLAGS: u32 = 0x8913;
const GET_MASK: u32 = 0x891b;
const GET_MTU: u32 = 0x8921;
const GET_HARDWARE: u32 = 0x8927;
const GET_INDEX: u32 = 0x8933;

/// What is asked about an interface, and the answer.
#[doc(alias = "ifreq")]
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
struct Request {
    name: [u8; 16],
    value: [u8; 24],
}

/// Bytes that the kernel has of it: the value is as large as its largest, which has pointers.
const REQUEST_BYTES: usize = 24 + 2 * size_of::<usize>();

impl Request {
    const ROOM: Self = Self {
        name: [0; 16],
        value: [0; 24],
    };

    /// Asks; whether there is an answer.
    #[inline(never)]
    fn ask(&mut self, socket: &File, what: u32) -> bool {
        let at = &raw mut *self;
        // SAFETY: the kernel reads and writes no more than the structure has.
        outcome(unsafe { raw_syscall!(Sysno::ioctl, socket.as_raw_fd(), what, at) }).is_ok()
    }

    /// The same, about no more than the name.
    fn get(&mut self, socket: &File, what: u32) -> Option<u32> {
        self.value = [0; 24];
        self.ask(socket, what).then(|| self.number())
    }

    fn number(&self) -> u32 {
        let [number @ .., _, _, _, _] = self.value.first_chunk().unwrap_or(&[0; 8]);
        u32::from_ne_bytes(*number)
    }
}

/// Lists what has an address.
pub(super) fn list(out: &mut Interfaces) {
    let mut room = [0; ANSWER_BYTES];
    let socket = sockets::open(INET, DATAGRAM).or_else(|_| sockets::open(INET6, DATAGRAM));
    let Ok(socket) = socket else { return };
    list_v4(&socket, &mut room, out);
    if !list_in_file(&mut room, out) {
        list_by_asking(&socket, out);
    }
    for interface in out {
        let mut request = Request::ROOM;
        if interface.name[0] == 0 {
            request.value[..4].copy_from_slice(&interface.index.to_ne_bytes());
            request.ask(&socket, GET_NAME);
            interface.set_name(&request.name);
        }
        request.name = interface.name;
        interface.flags = request.get(&socket, GET_FLAGS).unwrap_or(0) & FLAGS;
        interface.mtu = request.get(&socket, GET_MTU).unwrap_or(0);
        if request.get(&socket, GET_HARDWARE).unwrap_or(0) & 0xffff == ETHERNET {
            interface.set_hardware(&request.value[2..8]);
        }
    }
}

/// The kind of hardware whose numbers have six bytes.
const ETHERNET: u32 = 1;

/// The addresses of version 4, for which there is a table.
pub(super) fn list_v4(socket: &File, room: &mut [u8; ANSWER_BYTES], out: &mut Interfaces) {
    /// What the kernel is told of the room, and tells.
    #[doc(alias = "ifconf")]
    #[repr(C)]
    struct Table {
        len: usize,
        at: *mut u8,
    }
    let mut table = Table {
        len: ANSWER_BYTES,
        at: room.as_mut_ptr(),
    };
    // SAFETY: the kernel reads the structure, of whose length it knows 32 bits, which come first; it writes them, and at most so
    // many bytes of the room.
    let told = outcome(unsafe {
        raw_syscall!(Sysno::ioctl, socket.as_raw_fd(), GET_TABLE, &raw mut table)
    });
    let len = if told.is_ok() { table.len } else { 0 };
    let entries = room.get(..len).unwrap_or_default();
    for entry in entries.as_chunks::<REQUEST_BYTES>().0 {
        let mut request = Request::ROOM;
        request.name.copy_from_slice(&entry[..16]);
        let index = request.get(socket, GET_INDEX).unwrap_or(0);
        // Of several addresses with one name, the mask of this one is asked for.
        request.value[..16].copy_from_slice(&entry[16..32]);
        let mut prefix_len = 32;
        if request.ask(socket, GET_MASK) {
            let mask = request.value.iter().skip(4).take(4);
            prefix_len = mask.map(|byte| byte.count_ones() as u8).sum();
        }
        if let Some(interface) = add(out, index, &entry[20..24], prefix_len) {
            interface.set_name(&entry[..16]);
        }
    }
}

/// The addresses of version 6, for which there may be a file; whether it is there and has one.
pub(super) fn list_in_file(room: &mut [u8; ANSWER_BYTES], out: &mut Interfaces) -> bool {
    let Ok(file) = files::open(c"/proc/net/if_inet6", OFlags::RDONLY, 0) else {
        return false;
    };
    let mut len = 0;
    while let Some(rest) = room.get_mut(len..)
        && let Ok(more @ 1..) = files::read_pipe(file.as_raw_fd(), rest)
    {
        len += more;
    }
    read_lines(room.get(..len).unwrap_or_default(), out)
}

/// Reads lines of address, index, bits of the network, reach and flags, all in hexadecimal, and a name. Whether there is one.
pub(super) fn read_lines(text: &[u8], out: &mut Interfaces) -> bool {
    let mut any = false;
    for mut line in text.split_inclusive(|byte| *byte == b'\n') {
        let mut next = || take_number(&mut line);
        if let (Some(address), Some(index), Some(prefix_len), Some(_), Some(flags)) =
            (next(), next(), next(), next(), next())
        {
            any = true;
            if is_usable(flags as u32) {
                add(out, index as u32, &address.to_be_bytes(), prefix_len as u8);
            }
        }
    }
    any
}

/// Takes a number and the spaces before and behind it. `None`: there is none.
fn take_number(rest: &mut &[u8]) -> Option<u128> {
    *rest = rest.trim_ascii_start();
    let mut number = None;
    while let [digit, behind @ ..] = *rest {
        *rest = behind;
        let digit = match *digit {
            b' ' => return number,
            digit => char::from(digit).to_digit(16)?,
        };
        number = Some(number.unwrap_or(0) << 4 | u128::from(digit));
    }
    None
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
        let mut request = Request::ROOM;
        request.value[..4].copy_from_slice(&index.to_ne_bytes());
        if !is_known && request.ask(socket, GET_NAME) {
            ask_for(index, out);
        }
    }
}

fn ask_for(index: u32, out: &mut Interfaces) {
    const LINK: u16 = 0xff02;
    const EVERYWHERE: u16 = 0xff0e;
    for reach in [LINK, EVERYWHERE] {
        // What has no address of this reach would send from one of the other.
        if let Ok(address) = source(index, reach)
            && address.is_unicast_link_local() == (reach == LINK)
            && !address.is_unspecified()
        {
            // Of how many bits the network is, nobody tells; but there is a custom.
            let prefix_len = if address.is_loopback() { 128 } else { 64 };
            add(out, index, &address.octets(), prefix_len);
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
    match sockets::name(&socket)? {
        SocketAddr::V6(at) => Ok(*at.ip()),
        SocketAddr::V4(_) => Err(Errno::AFNOSUPPORT),
    }
}
