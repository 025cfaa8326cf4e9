//! Parsers of services to announce, with checks: the command line, avahi's files, systemd's units. RFC 6763, RFC 6335.
//!
//! Each parser collects a service in a [`Draft`], whose buffer the caller provides. A file with any error is invalid as a whole.

mod avahi;
mod line;
mod reader;
mod unit;

use super::Writer;
use super::label::{
    self, cut, index_like, is_clean, is_like, is_local, number, put_byte, strip_prefix, without_dot,
};
use crate::mem::Ends as _;
pub use avahi::letter;
pub use line::{next_field, parse as parse_line};
use reader::Reader;
pub use reader::{parse_avahi, parse_unit};

/// Both address families: the sum of the bits 1 (IPv4) and 2 (IPv6).
pub const ANY_FAMILY: u8 = 3;
/// Placeholder byte in a service's name for the host's name.
pub const HOST: u8 = 0;
/// Maximum length of a string of a TXT record (bytes).
pub const STRING_BYTES_MAX: usize = 255;
/// Maximum length of all strings of a TXT record with their length bytes (bytes): the record then fits into a packet. RFC 6763
/// section 6.2.
pub const TXT_BYTES_MAX: usize = 1300;
/// Maximum length of a type (bytes).
pub const KIND_BYTES_MAX: usize = label::BYTES_MAX + 5;
/// Maximum length of all subtypes with their length bytes (bytes).
pub const SUBTYPES_BYTES_MAX: usize = 512;
/// Maximum length of a host name (bytes).
pub const HOST_BYTES_MAX: usize = 253;
/// Maximum length of an interface's name (bytes).
const INTERFACE_BYTES_MAX: usize = 15;
/// Size of a draft's buffer (bytes).
pub const ROOM_BYTES: usize = INTERFACE_BYTES_MAX
    + label::BYTES_MAX
    + KIND_BYTES_MAX
    + SUBTYPES_BYTES_MAX
    + HOST_BYTES_MAX
    + TXT_BYTES_MAX;

/// The domain of multicast DNS, as the end of a host's name.
const LOCAL: &[u8] = b".local";

/// Maximum length of one value in a file (bytes).
const TEXT_BYTES_MAX: usize = 1024;

/// A service to be announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Service<'a> {
    /// The instance's label, 1 to 63 bytes: UTF-8 without control characters. [`HOST`] in it is replaced by the host's name.
    pub name: &'a [u8],
    /// The type, as `_http._tcp`.
    pub kind: &'a [u8],
    /// The subtypes' labels, each preceded by its length.
    pub subtypes: &'a [u8],
    /// Another host that offers the service: a full name without a trailing dot. `None`: this host.
    pub host: Option<&'a [u8]>,
    /// The only interface on which it is announced; empty: all.
    pub interface: &'a [u8],
    /// The address families in which it is announced: bits of [`ANY_FAMILY`].
    pub families: u8,
    /// The port; 0: no service, only the name is reserved.
    pub port: u16,
    /// The SRV priority.
    pub priority: u16,
    /// The SRV weight: the share among targets of equal priority.
    pub weight: u16,
    /// The strings of the TXT record, each preceded by its length.
    pub txt: &'a [u8],
}

impl Service<'_> {
    /// The instance's name on a host named `host`, truncated to 63 bytes without splitting a character.
    #[inline(never)] // −48 bytes: one caller, whose frame stays small.
    pub fn name_on<'r>(&self, host: &[u8], buffer: &'r mut [u8; label::BYTES_MAX]) -> &'r [u8] {
        let mut whole = [0; 256];
        let mut bytes = Writer::new(&mut whole);
        for byte in self.name {
            let part = match *byte {
                HOST => host,
                _ => core::slice::from_ref(byte),
            };
            if part.len() < bytes.space().len() {
                bytes.put(part);
            }
        }
        let mut out = Writer::new(buffer);
        label::put(&mut out, bytes.since(0));
        let len = out.position();
        buffer.head(len)
    }
}

/// An error in a description of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Flaw {
    /// A name that is empty, longer than 63 bytes, not UTF-8, or has control characters.
    Name,
    /// A type that is not `_x._tcp` or `_x._udp`, x being letters, digits, hyphens and underscores.
    Kind,
    /// A subtype that is empty, longer than 63 bytes, or followed by a type other than the service's.
    Subtype,
    /// An invalid host name.
    Host,
    /// A domain other than `local`.
    Domain,
    /// A number that is not between 0 and 65,535.
    Number,
    /// A string of TXT that is longer than 255 bytes.
    String,
    /// A string of TXT whose key, before the "=", is empty or not printable ASCII.
    Key,
    /// The strings of TXT exceed 1,300 bytes.
    Strings,
    /// Invalid base64, or an odd number of hexadecimal digits.
    Digits,
    /// A value of more than 1,024 bytes, or subtypes that together exceed 512 bytes.
    Long,
    /// An unknown element, attribute, attribute value or key.
    Unknown,
    /// The file is truncated or violates its syntax.
    Form,
    /// An entity other than XML's five, or a reference to an invalid character.
    Entity,
    /// A DTD inside the file.
    Declarations,
    /// An unknown specifier: `%` and a letter.
    Specifier,
    /// An invalid escape sequence after `\`.
    Escape,
}

/// An error in a file, with its line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileError {
    /// Line number, from 1.
    pub line: u32,
    /// The error.
    pub flaw: Flaw,
}

impl FileError {
    /// An error at the start of `rest`, the unparsed end of `file`.
    #[inline(never)] // −69 bytes: one caller, whose frame stays small.
    fn at(file: &[u8], rest: &[u8], flaw: Flaw) -> Self {
        let read = file.len().saturating_sub(rest.len());
        let read = file.head(read);
        let before = read.iter().filter(|byte| **byte == b'\n').count();
        Self {
            line: before as u32 + 1,
            flaw,
        }
    }
}

/// The parts of a service, in the order in which a [`Draft`] stores them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Part {
    /// The instance's label.
    Name,
    /// The type.
    Kind,
    /// A further subtype, optionally followed by its type.
    Subtype,
    /// Another host that offers the service.
    Host,
    /// A further string of TXT.
    Txt,
    /// The domain, which must be `local`.
    Domain,
    /// Port of the SRV record, in decimal digits.
    Port,
    /// Priority of the SRV record, in decimal digits.
    Priority,
    /// Weight of the SRV record, in decimal digits.
    Weight,
}

/// Every part; the parsers refer to them by their index.
const PARTS: [Part; 9] = [
    Part::Name,
    Part::Kind,
    Part::Subtype,
    Part::Host,
    Part::Txt,
    Part::Domain,
    Part::Port,
    Part::Priority,
    Part::Weight,
];
const NAME: usize = Part::Name as usize;
const TXT: usize = Part::Txt as usize;

/// The digits of base64.
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The encoding of the value after a key; the discriminant is the number of bits per digit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Coding {
    Text = 0,
    Hex = 4,
    Base64 = 6,
}

/// A function that writes the value of the specifier `%` + `letter` on this host. `None`: an unknown specifier, or this host has no
/// value for it.
pub type Specifier = fn(letter: u8, out: &mut Writer<'_>) -> Option<()>;

/// A service under construction.
#[derive(Debug)]
pub struct Draft<'a> {
    /// Resolves specifiers other than `%H` and `%%`.
    pub specifier: Specifier,
    /// The parts from `Name` to `Txt`.
    parts: [Writer<'a>; 5],
    /// The only interface; empty: all.
    interface: Writer<'a>,
    /// Port, priority, weight.
    numbers: [u16; 3],
    families: u8,
    /// True if the type was given with a subtype, but not by itself yet.
    is_implied: bool,
}

impl<'a> Draft<'a> {
    /// Creates an empty draft.
    pub fn new(buffer: &'a mut [u8; ROOM_BYTES]) -> Self {
        let mut rest = &mut buffer[..];
        let mut writer = |len| {
            let (head, tail) = core::mem::take(&mut rest)
                .split_at_mut_checked(len)
                .unwrap_or_default();
            rest = tail;
            Writer::new(head)
        };
        Self {
            specifier: |_, _| None,
            interface: writer(INTERFACE_BYTES_MAX),
            parts: [
                label::BYTES_MAX,
                KIND_BYTES_MAX,
                SUBTYPES_BYTES_MAX,
                HOST_BYTES_MAX,
                TXT_BYTES_MAX,
            ]
            .map(writer),
            numbers: [0; 3],
            families: ANY_FAMILY,
            is_implied: false,
        }
    }

    /// Clears all parts.
    pub fn forget(&mut self) {
        let [name, ..] = &mut self.parts;
        name.truncate(0);
        self.clear_service();
    }

    /// Clears all parts but the name.
    fn clear_service(&mut self) {
        let [_, others @ ..] = &mut self.parts;
        others.iter_mut().for_each(|part| part.truncate(0));
        self.interface.truncate(0);
        self.numbers = [0; 3];
        self.families = ANY_FAMILY;
        self.is_implied = false;
    }

    /// Sets the only interface on which the service is announced; empty: all.
    fn put_interface(&mut self, name: &[u8]) -> Result<(), Flaw> {
        self.interface.truncate(0);
        self.interface.put(name);
        self.interface.written().map(drop).ok_or(Flaw::Long)
    }

    /// Checks a part and stores it. Subtypes and strings are appended; other parts replace the previous value. A subtype may be
    /// followed by its type, which must be the service's. A type or a host name may end with a dot. A host name of one label gets
    /// the domain `local`.
    pub fn put(&mut self, part: Part, bytes: &[u8]) -> Result<(), Flaw> {
        let bytes = match part {
            Part::Kind | Part::Host | Part::Subtype => without_dot(bytes),
            _ => bytes,
        };
        let (is_good, flaw) = match part {
            Part::Name => (all(bytes, HOST, is_clean), Flaw::Name),
            Part::Kind => {
                let [_, own, ..] = &self.parts;
                if core::mem::take(&mut self.is_implied) && own.since(0) != bytes {
                    return Err(Flaw::Subtype);
                }
                (is_kind(bytes), Flaw::Kind)
            }
            Part::Host => (all(bytes, b'.', is_label), Flaw::Host),
            Part::Subtype => return self.put_subtype(bytes),
            Part::Txt => return self.put_string(bytes),
            Part::Domain => (is_local(bytes), Flaw::Domain),
            Part::Port | Part::Priority | Part::Weight => {
                let number = number(bytes, 10).and_then(|number| u16::try_from(number).ok());
                let place = (part as usize) - Part::Port as usize;
                if let (Some(number), Some(place)) = (number, self.numbers.get_mut(place)) {
                    *place = number;
                }
                (number.is_some(), Flaw::Number)
            }
        };
        let Some(place) = self.parts.get_mut(part as usize) else {
            return if is_good { Ok(()) } else { Err(flaw) };
        };
        place.truncate(0);
        if is_good {
            place.put(bytes);
            if part == Part::Host && is_single(bytes) {
                place.put(LOCAL);
            }
        }
        if place.written().is_none_or(|len| len == 0) {
            return Err(flaw);
        }
        Ok(())
    }

    fn put_subtype(&mut self, bytes: &[u8]) -> Result<(), Flaw> {
        let [_, own, subtypes, ..] = &mut self.parts;
        let (label, kind) = cut(bytes, b'.');
        let is_ours = match strip_prefix(kind, b"_sub.") {
            Some(kind) if own.since(0).is_empty() => {
                own.put(kind);
                self.is_implied = true;
                is_kind(kind)
            }
            Some(kind) => kind == own.since(0),
            None => label.len() == bytes.len(),
        };
        if !is_ours || !is_label(label) {
            return Err(Flaw::Subtype);
        }
        put_behind_len(subtypes, label).ok_or(Flaw::Long)
    }

    fn put_string(&mut self, bytes: &[u8]) -> Result<(), Flaw> {
        let (key, _) = cut(bytes, b'=');
        let is_printable = |byte: &u8| matches!(byte, b' '..=b'~');
        if bytes.len() > STRING_BYTES_MAX {
            return Err(Flaw::String);
        }
        if key.is_empty() || !key.iter().all(is_printable) {
            return Err(Flaw::Key);
        }
        let [.., txt] = &mut self.parts;
        put_behind_len(txt, bytes).ok_or(Flaw::Strings)
    }

    /// Decodes a string whose value is in hex or base64, and stores it.
    #[inline(never)] // −17 bytes: one caller, whose frame stays small.
    fn put_coded(&mut self, bytes: &[u8], coding: Coding) -> Result<(), Flaw> {
        let bits = coding as u32;
        let mut buffer = [0; STRING_BYTES_MAX + 1];
        let mut out = Writer::new(&mut buffer);
        let (key, value) = cut(bytes, b'=');
        out.put(key);
        if key.len() < bytes.len() {
            put_byte(&mut out, b'=');
        }
        let (mut number, mut have, mut ended) = (0_u32, 0_u32, false);
        for byte in value {
            if matches!(byte, b' ' | b'\t' | b'\n') {
                continue;
            }
            if *byte == b'=' && bits == 6 {
                ended = true;
                continue;
            }
            let digit = if bits == 4 {
                label::digit(*byte, 16)
            } else {
                BASE64.iter().position(|digit| digit == byte)
            };
            let digit = digit.filter(|_| !ended).ok_or(Flaw::Digits)?;
            number = number << bits | digit as u32;
            have += bits;
            if have >= 8 {
                have -= 8;
                put_byte(&mut out, (number >> have) as u8);
            }
        }
        // The value is malformed if its last digit does not complete a byte.
        if have >= bits {
            return Err(Flaw::Digits);
        }
        if out.written().is_none() {
            return Err(Flaw::String);
        }
        self.put(Part::Txt, out.since(0))
    }

    /// Passes the service to `each`, if it has a name and a type.
    pub fn hand_out(&self, each: &mut dyn FnMut(&Service<'_>)) -> Result<(), Flaw> {
        self.check_name()?;
        self.pass(each)
    }

    fn check_name(&self) -> Result<(), Flaw> {
        let [name, ..] = &self.parts;
        match name.since(0) {
            [] => Err(Flaw::Name),
            _ => Ok(()),
        }
    }

    fn has_kind(&self) -> bool {
        let [_, kind, ..] = &self.parts;
        !kind.since(0).is_empty() && !self.is_implied
    }

    /// Passes the service to `each`, if it has a type.
    fn pass(&self, each: &mut dyn FnMut(&Service<'_>)) -> Result<(), Flaw> {
        let [name, kind, subtypes, host, txt] = &self.parts;
        let [port, priority, weight] = self.numbers;
        let host = host.since(0);
        let service = Service {
            name: name.since(0),
            kind: kind.since(0),
            subtypes: subtypes.since(0),
            host: (!host.is_empty()).then_some(host),
            interface: self.interface.since(0),
            families: self.families,
            port,
            priority,
            weight,
            txt: txt.since(0),
        };
        if !self.has_kind() {
            return Err(Flaw::Kind);
        }
        each(&service);
        Ok(())
    }
}

/// Returns true for a type, such as `_http._tcp`. As avahi, accepts names that RFC 6335 forbids but that are in use: longer than 15
/// bytes, without letters, with underscores.
pub fn is_kind(kind: &[u8]) -> bool {
    let (name, transport) = cut(kind, b'.');
    let [b'_', name @ ..] = name else {
        return false;
    };
    let is_good = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..label::BYTES_MAX).contains(&name.len())
        && name.iter().all(is_good)
        && index_like(b"_tcp _udp", b' ', transport).is_some()
}

/// Returns true for a label of a name: 1 to 63 bytes of UTF-8 without control characters, which a terminal would interpret.
pub fn is_label(label: &[u8]) -> bool {
    (1..=label::BYTES_MAX).contains(&label.len()) && is_clean(label)
}

/// The labels of a host name before `.local`. Without `.local`, the name must be a single label.
pub fn host_labels(name: &[u8]) -> Option<&[u8]> {
    let name = without_dot(name);
    let len = name.len().wrapping_sub(LOCAL.len());
    let labels = match name.split_at_checked(len) {
        Some((labels, end)) if is_like(end, LOCAL) => labels,
        _ if is_single(name) => name,
        _ => return None,
    };
    let is_short = name.len() <= HOST_BYTES_MAX - LOCAL.len();
    (is_short && all(labels, b'.', is_label)).then_some(labels)
}

/// Returns true if a name has a single label.
fn is_single(name: &[u8]) -> bool {
    cut(name, b'.').0.len() == name.len()
}

/// Returns true if `is_good` accepts all parts of a text.
fn all(text: &[u8], separator: u8, is_good: fn(&[u8]) -> bool) -> bool {
    let mut rest = text;
    loop {
        let (part, tail) = cut(rest, separator);
        if !is_good(part) {
            return false;
        }
        if part.len() == rest.len() {
            return true;
        }
        rest = tail;
    }
}

/// Appends bytes preceded by their length. `None`: they do not fit, and nothing is appended.
fn put_behind_len(out: &mut Writer<'_>, bytes: &[u8]) -> Option<()> {
    let before = out.position();
    put_byte(out, u8::try_from(bytes.len()).ok()?);
    out.put(bytes);
    if out.written().is_none() {
        out.truncate(before);
        return None;
    }
    Some(())
}

/// Parses a name and stores it. If `host` is not 0, `%` followed by the byte `host` stands for the host's name. If `host` is `H`,
/// as in systemd's units, `%%` also stands for a `%`, and `%` before another letter is a specifier.
fn put_name(draft: &mut Draft<'_>, text: &[u8], host: u8) -> Result<(), Flaw> {
    // One byte more than a name may have, so that a longer one is detected.
    let mut buffer = [0; label::BYTES_MAX + 1];
    let mut out = Writer::new(&mut buffer);
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let mut byte = *first;
        rest = tail;
        // NUL is the placeholder [`HOST`].
        if byte == 0 {
            return Err(Flaw::Name);
        }
        if byte == b'%' && host != 0 {
            let (next, tail) = tail.split_first().unwrap_or((&0, tail));
            if *next == host {
                byte = HOST;
                rest = tail;
            } else if host == b'H' {
                rest = tail;
                if *next != b'%' {
                    (draft.specifier)(*next, &mut out).ok_or(Flaw::Specifier)?;
                    continue;
                }
            }
        }
        put_byte(&mut out, byte);
    }
    draft.put(Part::Name, out.since(0))
}

#[cfg(test)]
mod tests;
