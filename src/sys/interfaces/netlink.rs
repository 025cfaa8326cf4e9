//! rtnetlink(7): the kernel's own list of addresses and interfaces, and word of their changes.
//!
//! Messages and their attributes are alike: a length, a kind, and that many bytes. None is believed.

use super::super::Errno;
use super::super::files::File;
use super::super::sockets::{self, Address, Verb};
use super::{ANSWER_BYTES, FLAGS, Interfaces, add, is_usable};
use core::net::IpAddr;
use rustix::fd::AsRawFd as _;

/// Bytes before what a message or an attribute says.
const MESSAGE_HEAD: usize = 16;
const ATTRIBUTE_HEAD: usize = 4;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const GET_LINKS: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESSES: u16 = 22;

/// A socket that can be received from, for which nobody waits, when an interface or an address of it has changed. What comes
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

/// Lists what has an address.
#[inline(never)] // For the sake of the stack.
pub(super) fn list(out: &mut Interfaces) -> Result<(), Errno> {
    let socket = sockets::open_netlink()?;
    let mut room = [0; ANSWER_BYTES];
    for question in &const { [question(GET_ADDRESSES), question(GET_LINKS)] } {
        sockets::send(&socket, question, false)?;
        // Answers are made while they are received, so there is one at once; else the kernel is another one.
        loop {
            let len = sockets::recv(&socket, &mut room)?;
            if read(room.get(..len).unwrap_or_default(), out)? {
                break;
            }
        }
    }
    Ok(())
}

/// Asks for all of a kind, of every family.
const fn question(kind: u16) -> [u8; 20] {
    const REQUEST_DUMP: u16 = 0x301;
    let ([a, b], [c, d]) = (kind.to_le_bytes(), REQUEST_DUMP.to_le_bytes());
    // Its length comes first.
    [20, 0, 0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// Reads messages; whether they end with the last one.
pub(super) fn read(mut rest: &[u8], out: &mut Interfaces) -> Result<bool, Errno> {
    while let Some((kind, message)) = take(&mut rest, MESSAGE_HEAD) {
        match kind {
            DONE => return Ok(true),
            ERROR => return Err(Errno::OPNOTSUPP),
            NEW_ADDRESS => _ = read_address(message, out),
            NEW_LINK => read_link(message, out),
            _ => {}
        }
    }
    Ok(false)
}

/// The attributes behind so many bytes of a message, by their kinds.
#[inline(never)]
fn attributes(message: &[u8], head: usize) -> [&[u8]; 9] {
    let (mut values, mut rest) = ([&[][..]; 9], message.get(head..).unwrap_or_default());
    while let Some((kind, value)) = take(&mut rest, ATTRIBUTE_HEAD) {
        if let Some(place) = values.get_mut(usize::from(kind)) {
            *place = value;
        }
    }
    values
}

fn read_address(message: &[u8], out: &mut Interfaces) -> Option<()> {
    let [_, address, local, .., more_flags] = attributes(message, 8);
    let [_family, prefix_len, flags, ..] = message else {
        return None;
    };
    let mut flags = u32::from(*flags);
    if !more_flags.is_empty() {
        flags = number(more_flags, 0);
    }
    // Where there are both, the other one is the peer's.
    let address = if local.is_empty() { address } else { local };
    let address = match address.first_chunk::<16>() {
        Some(_) if !is_usable(flags) => return None,
        Some(octets) => IpAddr::from(*octets),
        None => IpAddr::from(*address.first_chunk::<4>()?),
    };
    add(out, number(message, 4), address, *prefix_len);
    Some(())
}

fn read_link(message: &[u8], out: &mut Interfaces) {
    let [_, hardware, _, name, mtu, ..] = attributes(message, 16);
    let index = number(message, 4);
    if let Some(interface) = out.iter_mut().find(|interface| interface.index == index) {
        interface.flags = number(message, 8) & FLAGS;
        interface.set_hardware(hardware);
        interface.set_name(name);
        interface.mtu = number(mtu, 0);
    }
}

/// Takes a message or an attribute, which differ in their heads: its kind and what it says. `None`: there is no whole one.
#[inline(never)]
fn take<'a>(rest: &mut &'a [u8], head: usize) -> Option<(u16, &'a [u8])> {
    let first = number(rest, 0);
    let (len, kind) = if head == MESSAGE_HEAD {
        (first as usize, number(rest, 4) as u16)
    } else {
        (usize::from(first as u16), (first >> 16) as u16)
    };
    // One that is shorter than its head would be taken for ever.
    let said = rest.get(head..len)?;
    *rest = rest.get((len + 3) & !3..).unwrap_or_default();
    Some((kind, said))
}

/// The number at this place, 0 where there is none. They are the host's own; all of ours begin with the lowest byte.
fn number(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
