//! BOOTP and DHCP messages of hosts on Ethernet, and their options. RFC 2131 section 2, RFC 2132.

use super::{Malformed, Reader};
use crate::mem::{Ends as _, copy_into, nth};
use core::net::Ipv4Addr;

/// UDP port of servers and relays.
pub const SERVER_PORT: u16 = 67;
/// UDP port of clients.
pub const CLIENT_PORT: u16 = 68;

/// Fields `htype` and `hlen` of a host on Ethernet.
const ETHERNET: [u8; 2] = [1, MAC_BYTES as u8];
const MAC_BYTES: usize = 6;
/// Length of `chaddr` after the MAC address, and of the fields after it (bytes).
const PADDING_BYTES: usize = 10;
const SNAME_BYTES: usize = 64;
const FILE_BYTES: usize = 128;
/// Length of a message up to its first option, the cookie included (bytes).
const OPTIONS_AT: usize = 240;
/// Marks the start of the options (RFC 2132 section 2).
const COOKIE: u32 = 0x63_82_53_63;
/// Length of a message that every relay and server accepts (RFC 1542 section 2.1), in bytes.
const MESSAGE_BYTES_MIN: usize = 300;

/// Codes of options (RFC 2132).
pub mod option {
    /// Filler of one byte.
    pub const PAD: u8 = 0;
    /// Subnet mask.
    pub const SUBNET_MASK: u8 = 1;
    /// Routers, by precedence.
    pub const ROUTER: u8 = 3;
    /// Host name of the client.
    pub const HOST_NAME: u8 = 12;
    /// Vendor-specific information: for PXE, options of its own.
    pub const VENDOR: u8 = 43;
    /// Address that the client requests or declines.
    pub const REQUESTED_ADDRESS: u8 = 50;
    /// Lease time, in seconds.
    pub const LEASE_SECS: u8 = 51;
    /// Fields of the message that hold options, too.
    pub const OVERLOAD: u8 = 52;
    /// Message type: a [`super::Kind`].
    pub const MESSAGE_TYPE: u8 = 53;
    /// Server identifier: an address of the server.
    pub const SERVER: u8 = 54;
    /// Codes of the options that the client requests.
    pub const PARAMETER_LIST: u8 = 55;
    /// T1, in seconds.
    pub const RENEWAL_SECS: u8 = 58;
    /// T2, in seconds.
    pub const REBINDING_SECS: u8 = 59;
    /// Vendor class identifier: the kind of client.
    pub const CLASS: u8 = 60;
    /// Client identifier: hardware type and address.
    pub const CLIENT: u8 = 61;
    /// TFTP server name.
    pub const BOOT_SERVER: u8 = 66;
    /// Bootfile name.
    pub const BOOT_FILE: u8 = 67;
    /// User class (RFC 3004).
    pub const USER_CLASS: u8 = 77;
    /// Information of a relay, returned as it is (RFC 3046).
    pub const RELAY: u8 = 82;
    /// Types of the client's processor and firmware (RFC 4578).
    pub const ARCHITECTURE: u8 = 93;
    /// Identifier of the client's machine (RFC 4578).
    pub const MACHINE: u8 = 97;
    /// Options of iPXE.
    pub const IPXE: u8 = 175;
    /// End of the options, one byte.
    pub const END: u8 = 255;
}

/// Field `op`: the sender of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Op {
    /// BOOTREQUEST, from a client.
    Request = 1,
    /// BOOTREPLY, from a server.
    Reply = 2,
}

/// Message type (RFC 2132 section 9.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// DHCPDISCOVER.
    Discover = 1,
    /// DHCPOFFER.
    Offer = 2,
    /// DHCPREQUEST.
    Request = 3,
    /// DHCPDECLINE: another host has the address.
    Decline = 4,
    /// DHCPACK.
    Ack = 5,
    /// DHCPNAK.
    Nak = 6,
    /// DHCPRELEASE.
    Release = 7,
    /// DHCPINFORM.
    Inform = 8,
}

impl Kind {
    /// Returns the type with this number. `None`: unknown.
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            _ => return None,
        })
    }
}

/// Fields of a message before `sname`, with their names in RFC 2131.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Sender.
    pub op: Op,
    /// Transaction ID, chosen by the client.
    pub xid: u32,
    /// Time since the client began, in seconds.
    pub secs: u16,
    /// The first bit requests a broadcast reply.
    pub flags: u16,
    /// Address of the client, if it has one.
    pub ciaddr: Ipv4Addr,
    /// Address that the server offers.
    pub yiaddr: Ipv4Addr,
    /// Server from which the client boots next.
    pub siaddr: Ipv4Addr,
    /// Relay.
    pub giaddr: Ipv4Addr,
    /// MAC address of the client.
    pub chaddr: [u8; 6],
}

impl Head {
    /// The head of a request by a client with the address `ciaddr`.
    pub const fn request(xid: u32, ciaddr: Ipv4Addr, chaddr: [u8; 6]) -> Self {
        Self {
            op: Op::Request,
            xid,
            secs: 0,
            flags: 0,
            ciaddr,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr,
        }
    }
}

/// Parses a message to its head and its options.
///
/// # Errors
/// The message is cut short, has an unknown `op`, is not of a host on Ethernet, or is of BOOTP without options.
pub fn parse(message: &[u8]) -> Result<(Head, Options<'_>), Malformed> {
    let mut reader = Reader::new(message);
    let [op, htype, hlen, _hops] = reader.u32().to_be_bytes();
    let xid = reader.u32();
    let time = reader.u32();
    let mut address = || Ipv4Addr::from_bits(reader.u32());
    let [ciaddr, yiaddr, siaddr, giaddr] = [address(), address(), address(), address()];
    let chaddr = reader.take(MAC_BYTES).first_chunk();
    reader.take(PADDING_BYTES);
    let (sname, file) = (reader.take(SNAME_BYTES), reader.take(FILE_BYTES));
    let op = match op {
        1 => Op::Request,
        2 => Op::Reply,
        _ => return Err(Malformed),
    };
    if reader.u32() != COOKIE || [htype, hlen] != ETHERNET {
        return Err(Malformed);
    }
    let head = Head {
        op,
        xid,
        secs: (time >> 16) as u16,
        flags: time as u16,
        ciaddr,
        yiaddr,
        siaddr,
        giaddr,
        chaddr: *chaddr.ok_or(Malformed)?,
    };
    let options = Options {
        rest: reader.rest(),
        overload: 0,
        file,
        sname,
    };
    Ok((head, options))
}

/// An option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item<'a> {
    /// Code: one of [`option`], or another.
    pub code: u8,
    /// Value, without its length byte.
    pub value: &'a [u8],
}

impl Item<'_> {
    /// The first byte of the value.
    ///
    /// # Errors
    /// The value is empty.
    pub fn byte(&self) -> Result<u8, Malformed> {
        self.value.first().copied().ok_or(Malformed)
    }

    /// The first four bytes of the value as a number: seconds, or an address.
    ///
    /// # Errors
    /// The value is shorter.
    pub fn number(&self) -> Result<u32, Malformed> {
        let bytes = self.value.first_chunk().ok_or(Malformed)?;
        Ok(u32::from_be_bytes(*bytes))
    }
}

/// The options of a message, with those in `file` and then those in `sname` if [`option::OVERLOAD`] says that these hold options
/// (RFC 2131 section 4.1). Ends after an error.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    rest: &'a [u8],
    /// The fields left to read: the sum of 1 (`file`) and 2 (`sname`).
    overload: u8,
    file: &'a [u8],
    sname: &'a [u8],
}

impl<'a> Options<'a> {
    /// Parses the option with this code, whose length is the first byte of `rest`.
    fn item(&mut self, code: u8, rest: &'a [u8]) -> Result<Item<'a>, Malformed> {
        let (len, rest) = rest.split_first().ok_or(Malformed)?;
        let split = rest.split_at_checked(usize::from(*len));
        let (value, rest) = split.ok_or(Malformed)?;
        self.rest = rest;
        let item = Item { code, value };
        if code == option::OVERLOAD {
            self.overload = item.byte()?;
        }
        Ok(item)
    }

    /// Returns the next field that holds options. `None`: none is left.
    fn next_field(&mut self) -> Option<&'a [u8]> {
        let bit = self.overload & self.overload.wrapping_neg() & 3;
        self.overload ^= bit;
        match bit {
            1 => Some(core::mem::take(&mut self.file)),
            2 => Some(core::mem::take(&mut self.sname)),
            _ => None,
        }
    }
}

impl Options<'_> {
    /// Copies the value of an option to `out`. Several options with the same code are parts of one value (RFC 3396). `None`: there
    /// is no such option.
    pub fn joined<'b>(&self, code: u8, out: &'b mut [u8]) -> Option<&'b [u8]> {
        let mut parts = self.clone().flatten().filter(|item| item.code == code);
        let mut len = copy_part(out, 0, parts.next()?.value);
        for part in parts {
            len = copy_part(out, len, part.value);
        }
        Some(out.head(len))
    }
}

impl<'a> Options<'a> {
    /// The text in the field `file`, unless that holds options.
    pub fn file(&self) -> &'a [u8] {
        match self.joined(option::OVERLOAD, &mut [0; 1]) {
            None => nth(self.file, 0, 0),
            Some(_) => &[],
        }
    }
}

/// Copies bytes to `out` at offset `at`, as far as they fit. Returns the end offset.
fn copy_part(out: &mut [u8], at: usize, part: &[u8]) -> usize {
    copy_into(out.tail_mut(at), part);
    out.len().min(at + part.len())
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<Item<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.rest.split_first() {
                Some((&option::PAD, rest)) => self.rest = rest,
                None | Some((&option::END, _)) => self.rest = self.next_field()?,
                Some((code, rest)) => {
                    let item = self.item(*code, rest);
                    if item.is_err() {
                        *self = Self::default();
                    }
                    return Some(item);
                }
            }
        }
    }
}

/// Writes a message to a buffer.
#[derive(Debug)]
pub struct Writer<'a>(super::Writer<'a>);

impl<'a> Writer<'a> {
    /// Writes the head and the message type. `sname` and `file` stay empty.
    pub fn new(buffer: &'a mut [u8], head: &Head, kind: Kind) -> Self {
        let mut out = super::Writer::new(buffer);
        let [htype, hlen] = ETHERNET;
        out.words(&[
            u32::from_be_bytes([head.op as u8, htype, hlen, 0]),
            head.xid,
            u32::from(head.secs) << 16 | u32::from(head.flags),
            head.ciaddr.to_bits(),
            head.yiaddr.to_bits(),
            head.siaddr.to_bits(),
            head.giaddr.to_bits(),
        ]);
        out.put(&head.chaddr);
        out.put(&[0; PADDING_BYTES + SNAME_BYTES + FILE_BYTES]);
        out.u32(COOKIE);
        let mut writer = Self(out);
        writer.option(option::MESSAGE_TYPE, &[kind as u8]);
        writer
    }

    /// Appends an option. Only the first 255 bytes of `value` are written.
    pub fn option(&mut self, code: u8, value: &[u8]) {
        let value = value.head(value.len().min(255));
        self.0.put(&[code, value.len() as u8]);
        self.0.put(value);
    }

    /// Appends the end of the options, and padding if the message is short. Returns the length of the message (bytes), or `None` if
    /// the buffer is too small.
    pub fn finish(mut self) -> Option<usize> {
        const PADS: &[u8] = &[option::PAD; MESSAGE_BYTES_MIN - OPTIONS_AT];
        self.0.put(&[option::END]);
        let missing = MESSAGE_BYTES_MIN.saturating_sub(self.0.position());
        self.0.put(PADS.head(missing));
        self.0.written()
    }
}

/// Sets the field `file` of a message that was written. Does nothing if the field has no space for the name and a NUL.
pub fn set_file(message: &mut [u8], name: &[u8]) {
    const FILE_AT: usize = OPTIONS_AT - 4 - FILE_BYTES;
    if name.len() < FILE_BYTES {
        copy_into(message.tail_mut(FILE_AT), name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head {
        secs: 0x0102,
        flags: 0x8000,
        yiaddr: Ipv4Addr::new(192, 0, 2, 3),
        siaddr: Ipv4Addr::new(192, 0, 2, 1),
        giaddr: Ipv4Addr::new(192, 0, 2, 4),
        op: Op::Reply,
        ..Head::request(0x0506_0708, Ipv4Addr::new(192, 0, 2, 2), [2, 0, 0, 0, 0, 9])
    };

    /// An offer whose `file` and `sname` hold options, too.
    fn message() -> Vec<u8> {
        let mut bytes = [0; 400];
        let mut writer = Writer::new(&mut bytes, &HEAD, Kind::Offer);
        writer.option(option::OVERLOAD, &[3]);
        writer.option(option::LEASE_SECS, &[0, 0, 1, 0]);
        let len = writer.finish().unwrap();
        // `sname`, then `file`, each with an option of one byte.
        bytes[44..48].copy_from_slice(&[60, 1, b's', 255]);
        bytes[108..113].copy_from_slice(&[0, 43, 1, b'f', 255]);
        bytes[..len].to_vec()
    }

    #[test]
    fn head_and_options_are_read_as_written() {
        let bytes = message();
        assert_eq!(bytes.len(), MESSAGE_BYTES_MIN);
        assert_eq!(
            bytes[..16],
            [2, 1, 6, 0, 5, 6, 7, 8, 1, 2, 0x80, 0, 192, 0, 2, 2]
        );
        assert_eq!(bytes[236..243], [99, 130, 83, 99, 53, 1, 2]);
        let (head, options) = parse(&bytes).unwrap();
        assert_eq!(head, HEAD);
        let codes: Vec<u8> = options.clone().map(|item| item.unwrap().code).collect();
        assert_eq!(codes, [53, 52, 51, 43, 60]);
        let lease = options.map(Result::unwrap).nth(2).unwrap();
        assert_eq!(lease.number(), Ok(256));
    }

    #[test]
    fn cut_messages_are_malformed_or_have_fewer_options() {
        let bytes = message();
        for len in 0..bytes.len() {
            let Ok((_, options)) = parse(&bytes[..len]) else {
                assert!(len < OPTIONS_AT);
                continue;
            };
            assert!(len >= OPTIONS_AT && options.count() <= 5);
            let mut small = vec![0; len];
            let writer = Writer::new(&mut small, &HEAD, Kind::Offer);
            assert_eq!(writer.finish(), None);
        }
        let mut endless = message();
        // The overload option names `file` again, in `file`.
        endless[108..112].copy_from_slice(&[52, 1, 3, 255]);
        assert_eq!(parse(&endless).unwrap().1.count(), 5);
        for (at, byte) in [(0, 0), (0, 3), (1, 6), (2, 16), (236, 0)] {
            let mut other = message();
            other[at] = byte;
            assert!(parse(&other).is_err(), "{at} {byte}");
        }
    }

    #[test]
    fn split_options_are_joined_and_the_file_is_set() {
        let mut buffer = [0; 600];
        let mut writer = Writer::new(&mut buffer, &HEAD, Kind::Discover);
        writer.option(option::CLASS, b"PXE");
        writer.option(option::CLIENT, b"x");
        writer.option(option::CLASS, b"Client");
        let len = writer.finish().unwrap();
        set_file(&mut buffer[..len], &[b'n'; 127]);
        set_file(&mut buffer[..len], &[b'x'; 128]);
        let (_, options) = parse(&buffer[..len]).unwrap();
        let mut out = [0; 32];
        assert_eq!(
            options.joined(option::CLASS, &mut out),
            Some(&b"PXEClient"[..])
        );
        assert_eq!(
            options.joined(option::CLASS, &mut out[..4]),
            Some(&b"PXEC"[..])
        );
        assert_eq!(options.joined(option::MACHINE, &mut out), None);
        assert_eq!(options.file(), [b'n'; 127]);
        assert_eq!(buffer[107..236], [&[0][..], &[b'n'; 127], &[0]].concat());
    }
}
