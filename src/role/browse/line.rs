//! What is printed of an event: for people, for programs as avahi-browse does it, or in JSON.

use super::super::print;
use crate::engine::mdns::browser::{Event, What};
use crate::engine::mdns::{NameId, Names};
use crate::event::Line;
use crate::text::{Ends as _, Text};
use crate::wire::dns::escape::{LABEL_TEXT_BYTES_MAX, escape};
use crate::wire::label::{is_control, letter};
use crate::wire::txt::Strings;
use core::net::IpAddr;

/// How it is printed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Form {
    #[default]
    Columns,
    Fields,
    Json,
}

/// Between the columns of a text.
const NAME_COLUMNS: usize = 45;

impl Form {
    /// Prints what happened.
    #[inline(never)]
    pub(super) fn print(self, interface: &[u8], event: &Event<'_>) {
        match self {
            Self::Json => self.print_json(interface, event),
            _ => self.print_line(interface, event),
        }
    }

    fn print_line(self, interface: &[u8], event: &Event<'_>) {
        let is_resolved = matches!(event.what, What::Resolved | What::Changed);
        let sign = match event.what {
            What::Type | What::Added => b'+',
            What::Resolved => b'=',
            What::Changed => b'!',
            What::Removed => b'-',
            _ => return,
        };
        let mut out = Out::default();
        let names = event.names();
        let family: &[u8] = if event.is_v6 { b"IPv6" } else { b"IPv4" };
        let (mut kind, mut kind_room) = (event.name, [0; 2 * LABEL_TEXT_BYTES_MAX]);
        let mut instance: &[u8] = b"";
        if event.what != What::Type {
            instance = names.label(event.name);
            kind = names.parent(event.name);
        }
        let kind = type_text(names, kind, &mut kind_room);
        if self == Self::Fields {
            out.byte(sign)
                .byte(b';')
                .put(interface)
                .byte(b';')
                .put(family)
                .byte(b';');
            if event.what != What::Type {
                out.label(instance).byte(b';');
            }
            out.put(kind).put(b";local");
            if is_resolved {
                out.byte(b';').name(names, event.host).byte(b';');
                out.address(event.address).byte(b';');
                out.number(event.port).byte(b';').texts(event.txt);
            }
        } else {
            out.byte(sign)
                .byte(b' ')
                .right(interface, 6)
                .byte(b' ')
                .put(family)
                .byte(b' ');
            let begun = out.len;
            if event.what != What::Type {
                out.safe(instance);
                out.fill(begun + NAME_COLUMNS);
                out.byte(b' ');
            }
            let begun = out.len;
            out.put(kind).fill(begun + 20);
            out.put(b" local");
            if is_resolved {
                out.put(b"\n   hostname = [").name(names, event.host);
                out.put(b"]\n   address = [").address(event.address);
                out.put(b"]\n   port = [").number(event.port);
                out.put(b"]\n   txt = [").texts(event.txt).byte(b']');
            }
        }
        out.end();
    }

    fn print_json(self, interface: &[u8], event: &Event<'_>) {
        const WORDS: Text = Text::row(&["type", "added", "removed", "resolved", "changed"]);
        let word = match event.what {
            What::Type => 0,
            What::Added => 1,
            What::Removed => 2,
            What::Resolved => 3,
            What::Changed => 4,
            _ => return,
        };
        let names = event.names();
        let (mut kind, mut kind_room) = (event.name, [0; 2 * LABEL_TEXT_BYTES_MAX]);
        let mut out = Out::default();
        out.put(b"{\"event\":").quoted(WORDS.plus(word).bytes());
        out.put(b",\"interface\":").quoted(interface);
        out.put(if event.is_v6 {
            b",\"family\":\"IPv6\""
        } else {
            b",\"family\":\"IPv4\""
        });
        if event.what != What::Type {
            out.put(b",\"name\":").quoted(names.label(event.name));
            kind = names.parent(event.name);
        }
        out.put(b",\"type\":")
            .quoted(type_text(names, kind, &mut kind_room));
        out.put(b",\"domain\":\"local\"");
        if matches!(event.what, What::Resolved | What::Changed) {
            let mut host = Out::default();
            host.name(names, event.host);
            out.put(b",\"host\":").quoted(host.bytes());
            out.put(b",\"address\":\"").address(event.address);
            out.put(b"\",\"port\":")
                .number(event.port)
                .put(b",\"txt\":[");
            for (at, text) in strings(event.txt).enumerate() {
                out.put(if at == 0 { b"" } else { b"," }).quoted(text);
            }
            out.byte(b']');
        }
        out.byte(b'}').end();
    }
}

/// Bytes of the longest line: every byte of a text may become four.
const OUT_BYTES: usize = 8 << 10;

/// What is being printed. What has no room is left out.
struct Out {
    len: usize,
    bytes: [u8; OUT_BYTES],
}

impl Default for Out {
    fn default() -> Self {
        Self {
            len: 0,
            bytes: [0; OUT_BYTES],
        }
    }
}

impl Out {
    fn bytes(&self) -> &[u8] {
        self.bytes.head(self.len)
    }

    #[inline(never)]
    fn byte(&mut self, byte: u8) -> &mut Self {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
        self
    }

    #[inline(never)]
    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        bytes.iter().for_each(|byte| _ = self.byte(*byte));
        self
    }

    /// Up to a column, with blanks.
    fn fill(&mut self, end: usize) -> &mut Self {
        while self.len < end {
            self.byte(b' ');
        }
        self
    }

    /// In so many columns, at their end.
    fn right(&mut self, text: &[u8], columns: usize) -> &mut Self {
        self.fill(self.len + columns.saturating_sub(text.len()));
        self.put(text)
    }

    /// A label as avahi prints it.
    fn label(&mut self, label: &[u8]) -> &mut Self {
        let mut room = [0; LABEL_TEXT_BYTES_MAX];
        let len = escape(label, &mut room);
        self.put(room.head(len))
    }

    /// A text of somebody else: letters are themselves, and all that a terminal might obey is a number.
    fn safe(&mut self, text: &[u8]) -> &mut Self {
        let mut rest = text;
        while let Some(first) = rest.first() {
            let len = letter(rest);
            if len == 0 || is_control(rest) {
                let digits = [first / 100, first / 10 % 10, first % 10].map(|digit| digit | b'0');
                self.byte(b'\\').put(&digits);
                rest = rest.tail(1);
                continue;
            }
            if matches!(first, b'"' | b'\\') {
                self.byte(b'\\');
            }
            self.put(rest.head(len));
            rest = rest.tail(len);
        }
        self
    }

    /// A name whose labels have dots between them.
    fn name(&mut self, names: &Names, name: NameId) -> &mut Self {
        for (at, label) in names.labels(name).enumerate() {
            if at > 0 {
                self.byte(b'.');
            }
            self.label(label.bytes);
        }
        self
    }

    fn address(&mut self, address: Option<IpAddr>) -> &mut Self {
        let mut line = Line::default();
        let text = match address {
            None => return self,
            Some(IpAddr::V4(address)) => line.address(address.to_ipv6_mapped()),
            Some(IpAddr::V6(address)) => line.address(address),
        };
        self.put(text.bytes())
    }

    fn number(&mut self, number: u16) -> &mut Self {
        self.put(Line::default().number(number.into()).bytes())
    }

    /// The strings of a TXT record.
    fn texts(&mut self, txt: &[u8]) -> &mut Self {
        for (at, text) in strings(txt).enumerate() {
            self.put(if at == 0 { b"\"" } else { b" \"" })
                .safe(text)
                .byte(b'"');
        }
        self
    }

    /// A text in JSON.
    fn quoted(&mut self, text: &[u8]) -> &mut Self {
        self.byte(b'"');
        let mut rest = text;
        while let Some(first) = rest.first() {
            let len = letter(rest);
            if len == 0 || is_control(rest) {
                self.put(b"\\u00");
                for digit in [first >> 4, first & 15] {
                    self.put(b"0123456789abcdef".tail(digit.into()).head(1));
                }
                rest = rest.tail(1);
            } else {
                if matches!(first, b'"' | b'\\') {
                    self.byte(b'\\');
                }
                self.put(rest.head(len));
                rest = rest.tail(len);
            }
        }
        self.byte(b'"')
    }

    fn end(&mut self) {
        self.len = self.len.min(OUT_BYTES - 1);
        self.byte(b'\n');
        print(self.bytes());
    }
}

/// The strings of a TXT record that say something.
fn strings(txt: &[u8]) -> impl Iterator<Item = &[u8]> {
    Strings(txt).filter(|text| !text.is_empty())
}

/// The labels of a type, without the domain.
fn type_text<'a>(
    names: &Names,
    kind: NameId,
    room: &'a mut [u8; 2 * LABEL_TEXT_BYTES_MAX],
) -> &'a [u8] {
    let mut len = 0;
    for label in names.labels(kind).take(2) {
        if len > 0
            && let Some(place) = room.get_mut(len)
        {
            *place = b'.';
            len += 1;
        }
        len += escape(label.bytes, room.tail_mut(len));
    }
    room.head(len)
}
