//! Output lines for events: in columns, in fields (`-p`) as by avahi-browse(1), or in JSON.

use crate::console::Console;
use crate::console::terminal::{Out, strings};
use crate::engine::mdns::browser::{Event, EventKind};
use crate::engine::mdns::{NameId, Names};
use crate::event::{Marks, Sink as _};
use crate::mem::{Ends as _, parts};
use crate::text::{Text, text, texts};
use crate::wire::label::cut;
use core::net::IpAddr;

/// The form of output.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    #[default]
    /// Columns for people.
    Columns,
    /// Fields with `;` between them (`-p`).
    Fields,
    /// JSON, one object on a line.
    Json,
}

texts! {
    /// The events that are printed; the texts are their names in JSON.
    enum Shown {
        Type => "type",
        Added => "added",
        Removed => "removed",
        Resolved => "resolved",
        Changed => "changed",
    }
}

impl Shown {
    /// Returns the event of this kind; `None`: events of this kind are not printed.
    const fn of(kind: EventKind) -> Option<Self> {
        Some(match kind {
            EventKind::Type => Self::Type,
            EventKind::Added => Self::Added,
            EventKind::Removed => Self::Removed,
            EventKind::Resolved => Self::Resolved,
            EventKind::Changed => Self::Changed,
            _ => return None,
        })
    }
}

/// Width of a service's name on an 80-column terminal (columns).
const NAME_COLUMNS: usize = 45;
/// Width of a type (columns).
const KIND_COLUMNS: usize = 20;
/// Width of an interface's name (columns).
const INTERFACE_COLUMNS: usize = 6;
/// Number of labels in a type, without the domain.
const KIND_LABELS: usize = 2;

/// The labels of a type, without the domain.
pub fn labels(names: &Names, kind: NameId) -> impl Iterator<Item = &[u8]> {
    names.texts(kind).take(KIND_LABELS)
}

/// Common types and their names in avahi's database: each line has a type, a space and the name.
const KINDS: Text = text!(include_str!("kinds.txt"));
/// Length (bytes) of [`KINDS`].
const KINDS_BYTES: usize = include_str!("kinds.txt").len();

/// Without `start`, prints the names of all known types; with `is_plain`, the types themselves. With `start`, replaces the type at
/// that offset of `out` by its name, if the type is known.
pub fn put_kinds(out: &mut Out, start: Option<usize>, is_plain: bool) {
    for line in parts(KINDS.decode(&mut [0; KINDS_BYTES]), b'\n') {
        let (kind, name) = cut(line, b' ');
        match start {
            None => out
                .clear()
                .put(if is_plain { kind } else { name })
                .print_line(),
            Some(start) if out.bytes().tail(start) == kind => {
                out.truncate(start);
                out.put(name);
            }
            Some(_) => {}
        }
    }
}

/// Prints the only domain that is browsed. The interface and the family are any.
pub fn put_domain(out: &mut Out, form: Form) {
    let line = match form {
        Form::Columns => text!("+  n/a  n/a local"),
        Form::Fields => text!("+;;;local"),
        Form::Json => text!("{\"event\":\"domain\",\"domain\":\"local\"}"),
    };
    out.clear().put(line.decode(&mut [0; 64])).print_line();
}

/// Reports on standard error that a service was not resolved in time, in the words of avahi-browse.
pub fn report_unresolved(out: &mut Out, event: &Event<'_>) {
    let names = event.names();
    out.clear()
        .put(b"Failed to resolve service '")
        .safe(names.label(event.name))
        .put(b"' of type '")
        .labels(&mut labels(names, names.parent(event.name)))
        .put(b"' in domain 'local': Timeout reached\n");
    Console.write_line(out.bytes(), Marks::ERROR);
}

/// Returns the address family over which the event's record was received.
pub const fn family(event: &Event<'_>) -> &'static [u8] {
    if event.is_v6 { b"IPv6" } else { b"IPv4" }
}

/// Writes `MARK;INTERFACE;FAMILY;NAME;TYPE`, without the name for the event of a type. Returns the offset of the type.
pub fn put_service(out: &mut Out, mark: u8, interface: &[u8], event: &Event<'_>) -> usize {
    let (names, mut kind) = (event.names(), event.name);
    out.clear().byte(mark).byte(b';').put(interface);
    out.byte(b';').put(family(event)).byte(b';');
    if event.kind != EventKind::Type {
        out.label(names.label(kind)).byte(b';');
        kind = names.parent(kind);
    }
    let start = out.bytes().len();
    out.labels(&mut labels(names, kind));
    start
}

/// Writes an address; one that is link-local with its interface, as in `fe80::1%eth0`.
pub fn put_scoped(out: &mut Out, address: IpAddr, interface: &[u8]) {
    out.address(Some(address));
    if matches!(address, IpAddr::V6(address) if address.is_unicast_link_local()) {
        out.byte(b'%').put(interface);
    }
}

/// Writes the address of the event's host, with its interface if [`Out::has_scopes`].
pub fn put_address(out: &mut Out, interface: &[u8], event: &Event<'_>) {
    match event.address {
        Some(address) if out.has_scopes => put_scoped(out, address, interface),
        address => _ = out.address(address),
    }
}

/// Writes `;local;HOST;ADDRESS;PORT;`.
pub fn put_location(out: &mut Out, interface: &[u8], event: &Event<'_>) {
    out.put(b";local;")
        .labels(&mut event.names().texts(event.host));
    out.byte(b';');
    put_address(out, interface, event);
    out.byte(b';').number(event.port.into()).byte(b';');
}

/// Writes host, address, port and TXT of a service in columns: a line for each.
fn put_resolved_lines(out: &mut Out, interface: &[u8], event: &Event<'_>) {
    out.put(b"\n   hostname = [")
        .labels(&mut event.names().texts(event.host));
    out.put(b"]\n   address = [");
    put_address(out, interface, event);
    out.put(b"]\n   port = [").number(event.port.into());
    out.put(b"]\n   txt = [").texts(event.txt).byte(b']');
}

/// Writes host, address, port and TXT of a service as members of a JSON object.
fn put_resolved_members(out: &mut Out, interface: &[u8], event: &Event<'_>) {
    out.put(b",\"host\":\"")
        .labels(&mut event.names().texts(event.host));
    out.put(b"\",\"address\":\"");
    put_address(out, interface, event);
    out.put(b"\",\"port\":").number(event.port.into());
    out.put(b",\"txt\":[");
    for (index, text) in strings(event.txt).enumerate() {
        out.put(if index == 0 { b"" } else { b"," }).quoted(text);
    }
    out.byte(b']');
}

impl Form {
    /// Writes the line for an event; with `looks_up`, known types are replaced by their names. `None`: the event is not printed.
    pub fn write(
        self,
        out: &mut Out,
        interface: &[u8],
        event: &Event<'_>,
        looks_up: bool,
    ) -> Option<()> {
        const SIGNS: &[u8; 5] = b"++-=!";
        let what = Shown::of(event.kind)?;
        let sign = *SIGNS.get(what as usize).unwrap_or(&b' ');
        let is_resolved = matches!(what, Shown::Resolved | Shown::Changed);
        let names = event.names();
        let family = family(event);
        let (mut kind, mut instance) = (event.name, &b""[..]);
        if what != Shown::Type {
            instance = names.label(event.name);
            kind = names.parent(event.name);
        }
        out.clear();
        match self {
            Self::Fields => {
                let start = put_service(out, sign, interface, event);
                if looks_up {
                    put_kinds(out, Some(start), false);
                }
                if is_resolved {
                    put_location(out, interface, event);
                    out.texts(event.txt);
                } else {
                    out.put(b";local");
                }
            }
            Self::Columns => {
                out.byte(sign).byte(b' ');
                out.pad(2, INTERFACE_COLUMNS.saturating_sub(interface.len()));
                out.put(interface).byte(b' ').put(family).byte(b' ');
                let start = out.bytes().len();
                if what != Shown::Type {
                    out.safe(instance).pad(start, NAME_COLUMNS).byte(b' ');
                }
                let start = out.bytes().len();
                out.labels(&mut labels(names, kind));
                if looks_up {
                    put_kinds(out, Some(start), false);
                }
                out.pad(start, KIND_COLUMNS).put(b" local");
                if is_resolved {
                    put_resolved_lines(out, interface, event);
                }
            }
            Self::Json => {
                out.put(b"{\"event\":")
                    .quoted(what.text().decode(&mut [0; 8]));
                out.put(b",\"interface\":").quoted(interface);
                out.put(b",\"family\":").quoted(family);
                if what != Shown::Type {
                    out.put(b",\"name\":").quoted(instance);
                }
                out.put(b",\"type\":\"").labels(&mut labels(names, kind));
                out.put(b"\",\"domain\":\"local\"");
                if is_resolved {
                    put_resolved_members(out, interface, event);
                }
                out.byte(b'}');
            }
        }
        Some(())
    }
}
