//! TFTP messages (RFC 1350), and their options: RFC 2347, 2348 (blksize), 2349 (timeout, tsize), 7440 (windowsize).

use super::label::{is_like, number};
use super::{Malformed, Writer};
use crate::mem::{Ends as _, parts};

/// UDP port of servers.
pub const PORT: u16 = 69;
/// Length of the head of a DATA packet (bytes).
pub const HEAD_BYTES: usize = 4;
/// Size of a block without the option blksize (bytes).
pub const BLOCK_BYTES: u16 = 512;
/// The smallest and the largest value of the option blksize (bytes).
pub const BLOCK_BYTES_MIN: u16 = 8;
/// See [`BLOCK_BYTES_MIN`].
pub const BLOCK_BYTES_MAX: u16 = 65_464;

/// Operation codes.
mod code {
    pub(super) const READ: u16 = 1;
    pub(super) const WRITE: u16 = 2;
    pub(super) const DATA: u16 = 3;
    pub(super) const ACK: u16 = 4;
    pub(super) const ERROR: u16 = 5;
    pub(super) const OACK: u16 = 6;
}

/// Error codes.
pub mod error {
    /// A reason that has no code.
    pub const OTHER: u16 = 0;
    /// File not found.
    pub const NOT_FOUND: u16 = 1;
    /// Access violation.
    pub const ACCESS: u16 = 2;
    /// Illegal operation.
    pub const ILLEGAL: u16 = 4;
    /// Unknown transfer ID: the packet came from another port.
    pub const UNKNOWN_ID: u16 = 5;
}

/// Values of options: those of a request, or those that the server accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Size of a block (bytes).
    pub block_bytes: Option<u16>,
    /// Time after which a packet is sent again (seconds).
    pub timeout_secs: Option<u8>,
    /// Length of the file (bytes); in a request any number.
    pub size: Option<u64>,
    /// Blocks that are sent before an ACK.
    pub window_count: Option<u16>,
}

/// A read request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request<'a> {
    /// Name of the file.
    pub name: &'a [u8],
    /// True if line ends are converted (netascii), false in mode octet.
    pub is_text: bool,
    /// The options that have a valid value.
    pub options: Options,
}

/// A packet from a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// RRQ.
    Read(Request<'a>),
    /// WRQ, or a read request in an unknown mode.
    Refused,
    /// ACK of this block.
    Ack(u16),
    /// ERROR.
    Error,
    /// A packet that only servers send.
    Other,
}

impl Options {
    /// Records an option of a request, unless its value is invalid or another one preceded it. A value above the maximum is lowered.
    fn add(&mut self, name: &[u8], value: &[u8]) {
        let is = |other: &[u8]| is_like(name, other);
        let Some(value) = number(value, 10) else {
            return;
        };
        if is(b"blksize") && value >= BLOCK_BYTES_MIN.into() {
            let lowered = value.min(BLOCK_BYTES_MAX.into()) as u16;
            self.block_bytes.get_or_insert(lowered);
        } else if is(b"timeout") && (1..=255).contains(&value) {
            self.timeout_secs.get_or_insert(value as u8);
        } else if is(b"tsize") {
            self.size.get_or_insert(value.into());
        } else if is(b"windowsize") && (1..=65_535).contains(&value) {
            self.window_count.get_or_insert(value as u16);
        }
    }
}

/// Parses a packet. An option that is cut short is ignored.
///
/// # Errors
/// The packet is cut short.
pub fn parse(packet: &[u8]) -> Result<Packet<'_>, Malformed> {
    let (code, rest) = packet.split_first_chunk().ok_or(Malformed)?;
    Ok(match u16::from_be_bytes(*code) {
        code::READ => return parse_request(rest),
        code::WRITE => Packet::Refused,
        code::ACK => {
            let block = rest.first_chunk().ok_or(Malformed)?;
            Packet::Ack(u16::from_be_bytes(*block))
        }
        code::ERROR => Packet::Error,
        _ => Packet::Other,
    })
}

fn parse_request(texts: &[u8]) -> Result<Packet<'_>, Malformed> {
    let mut texts = parts(texts, 0);
    let (name, mode) = (texts.next(), texts.next());
    // The text after the last NUL is cut short.
    if texts.rest.is_none() {
        return Err(Malformed);
    }
    let name = name.unwrap_or_default();
    let mode = mode.unwrap_or_default();
    let is_text = is_like(mode, b"netascii");
    if !is_text && !is_like(mode, b"octet") {
        return Ok(Packet::Refused);
    }
    let mut options = Options::default();
    while let (Some(name), Some(value)) = (texts.next(), texts.next())
        && texts.rest.is_some()
    {
        options.add(name, value);
    }
    Ok(Packet::Read(Request {
        name,
        is_text,
        options,
    }))
}

/// The head of a DATA packet; the content of the block follows.
pub const fn data_head(block: u16) -> [u8; HEAD_BYTES] {
    ((code::DATA as u32) << 16 | block as u32).to_be_bytes()
}

/// Writes an ERROR packet. Returns its length (bytes).
pub fn write_error(out: &mut [u8], code: u16, message: &[u8]) -> usize {
    let mut out = Writer::new(out);
    out.u32(u32::from(code::ERROR) << 16 | u32::from(code));
    out.put(message);
    out.put(&[0]);
    out.written().unwrap_or(0)
}

/// Writes an OACK packet with the accepted options. Returns its length (bytes).
pub fn write_oack(out: &mut [u8], accepted: &Options) -> usize {
    let mut out = Writer::new(out);
    out.put(&code::OACK.to_be_bytes());
    let values = [
        (&b"blksize"[..], accepted.block_bytes.map(u64::from)),
        (b"timeout", accepted.timeout_secs.map(u64::from)),
        (b"tsize", accepted.size),
        (b"windowsize", accepted.window_count.map(u64::from)),
    ];
    for (name, value) in values {
        let Some(mut value) = value else {
            continue;
        };
        let mut digits = [b'0'; 21];
        let mut at = digits.len() - 1;
        loop {
            at -= 1;
            if let Some(digit) = digits.get_mut(at) {
                *digit = b'0' + (value % 10) as u8;
            }
            value /= 10;
            if value == 0 {
                break;
            }
        }
        if let Some(end) = digits.last_mut() {
            *end = 0;
        }
        out.put(name);
        out.put(&[0]);
        out.put(digits.tail(at));
    }
    out.written().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_parsed_to_their_valid_options() {
        let options = |block_bytes, timeout_secs, size, window_count| Options {
            block_bytes,
            timeout_secs,
            size,
            window_count,
        };
        #[rustfmt::skip]
        type Row<'a> = (&'a [u8], Option<(&'a str, bool, Options)>);
        let rows: [Row<'_>; 12] = [
            (b"\0\x01a\0octet\0", Some(("a", false, Options::default()))),
            (b"\0\x01/b/c\0NetASCII\0", Some(("/b/c", true, Options::default()))),
            (b"\0\x01a\0octet\0blksize\x001432\0TSIZE\x000\0", Some(("a", false, options(Some(1432), None, Some(0), None)))),
            (b"\0\x01a\0octet\0blksize\x0065465\0windowsize\x0065535\0", Some(("a", false, options(Some(65464), None, None, Some(65535))))),
            (b"\0\x01a\0octet\0timeout\x00255\0x\0y\0", Some(("a", false, options(None, Some(255), None, None)))),
            // Invalid values.
            (b"\0\x01a\0octet\0blksize\0-1\0blksize\x007\0timeout\x00256\0windowsize\x000\0tsize\0\0", Some(("a", false, Options::default()))),
            // The first value counts.
            (b"\0\x01a\0octet\0blksize\x008\0blksize\x009\0", Some(("a", false, options(Some(8), None, None, None)))),
            // Cut options.
            (b"\0\x01a\0octet\0blksize\x008", Some(("a", false, Options::default()))),
            (b"\0\x01a\0octet\0blksize\0", Some(("a", false, Options::default()))),
            (b"\0\x01a\0octet", None),
            (b"\0\x01a", None),
            (b"\0", None),
        ];
        for (packet, expect) in rows {
            let parsed = parse(packet);
            let Some((name, is_text, options)) = expect else {
                assert_eq!(parsed, Err(Malformed), "{packet:?}");
                continue;
            };
            let request = Request {
                name: name.as_bytes(),
                is_text,
                options,
            };
            assert_eq!(parsed, Ok(Packet::Read(request)), "{packet:?}");
        }
        for (packet, expect) in [
            (&b"\0\x01a\0mail\0"[..], Packet::Refused),
            (b"\0\x02a\0octet\0", Packet::Refused),
            (b"\0\x04\xff\xfe", Packet::Ack(0xfffe)),
            (b"\0\x05", Packet::Error),
            (b"\0\x06", Packet::Other),
            (b"\x01\x01a\0octet\0", Packet::Other),
        ] {
            assert_eq!(parse(packet), Ok(expect));
        }
    }

    #[test]
    fn replies_are_written_as_the_rfcs_show_them() {
        let mut out = [0; 128];
        let accepted = Options {
            block_bytes: Some(1468),
            timeout_secs: Some(1),
            size: Some(u64::MAX),
            window_count: Some(4),
        };
        let len = write_oack(&mut out, &accepted);
        let expect = b"\0\x06blksize\x001468\0timeout\x001\0tsize\x0018446744073709551615\0windowsize\x004\0";
        assert_eq!(&out[..len], expect);
        let len = write_error(&mut out, error::NOT_FOUND, b"no such file");
        assert_eq!(&out[..len], b"\0\x05\0\x01no such file\0");
        assert_eq!(data_head(0x102), *b"\0\x03\x01\x02");
    }
}
