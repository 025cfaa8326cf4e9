//! Output lines for events: in columns, in fields (`-p`) as by avahi-browse(1), or in JSON.

use super::super::Console;
use super::super::terminal_safe::{Out, strings};
use crate::engine::mdns::browser::{Event, EventKind};
use crate::event::Sink as _;
use crate::mem::{Ends as _, parts};
use crate::text::{Text, text, texts};
use crate::wire::label::cut;

/// The form of output.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Form {
    #[default]
    Columns,
    Fields,
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

/// The lines of each form. A capital letter stands for a field: E event, I interface, F family, N name, K type, H host, A address,
/// P port, T TXT. S starts a part for services only, R one for resolved services only; U ends such a part.
const COLUMNS: Text =
    text!("E I F SN UK localR\n   hostname = [H]\n   address = [A]\n   port = [P]\n   txt = [T]");
const FIELDS: Text = text!("E;I;F;SN;UK;localR;H;A;P;T");
const JSON: Text = text!(
    "{\"event\":E,\"interface\":I,\"family\":FS,\"name\":NU,\"type\":\"K\",\"domain\":\"local\"R,\"host\":\"H\",\"address\":\"A\",\"port\":P,\"txt\":[T]U}"
);
/// Length (bytes) of the longest of them, rounded up.
const TEMPLATE_BYTES: usize = 160;

/// Width of a service's name on an 80-column terminal (columns).
const NAME_COLUMNS: usize = 45;
/// Width of a type (columns).
const KIND_COLUMNS: usize = 20;
/// Width of an interface's name (columns).
const INTERFACE_COLUMNS: usize = 6;
/// Number of labels in a type, without the domain.
pub(super) const KIND_LABELS: usize = 2;

/// Common types and their names in avahi's database: each line has a type, a space and the name.
const KINDS: Text = text!(include_str!("kinds.txt"));
/// Length (bytes) of [`KINDS`].
const KINDS_BYTES: usize = include_str!("kinds.txt").len();

/// Without `start`, prints the names of all known types; with `is_plain`, the types themselves. With `start`, replaces the type at
/// that offset of `out` by its name, if the type is known.
pub(super) fn put_kinds(out: &mut Out, start: Option<usize>, is_plain: bool) {
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

/// Reports on standard error that a service was not resolved in time, in the words of avahi-browse.
pub(super) fn report_unresolved(out: &mut Out, event: &Event<'_>) {
    let names = event.names();
    out.clear()
        .put(b"Failed to resolve service '")
        .safe(names.label(event.name))
        .put(b"' of type '")
        .labels(names, names.parent(event.name), KIND_LABELS)
        .put(b"' in domain 'local': Timeout reached\n");
    Console.write_line(out.bytes());
}

/// Returns the address family over which the event's record was received.
pub(super) const fn family(event: &Event<'_>) -> &'static [u8] {
    if event.is_v6 { b"IPv6" } else { b"IPv4" }
}

impl Form {
    /// Writes a text as it is or, in JSON, as a string.
    #[inline(never)]
    fn put(self, out: &mut Out, text: &[u8]) {
        match self {
            Self::Json => out.quoted(text),
            _ => out.put(text),
        };
    }

    /// Writes the line for an event; with `looks_up`, known types are replaced by their names. `None`: the event is not printed.
    pub(super) fn write(
        self,
        out: &mut Out,
        interface: &[u8],
        event: &Event<'_>,
        looks_up: bool,
    ) -> Option<()> {
        const SIGNS: &[u8; 5] = b"++-=!";
        let what = match event.kind {
            EventKind::Type => Shown::Type,
            EventKind::Added => Shown::Added,
            EventKind::Removed => Shown::Removed,
            EventKind::Resolved => Shown::Resolved,
            EventKind::Changed => Shown::Changed,
            _ => return None,
        };
        let names = event.names();
        let (mut kind, mut instance) = (event.name, &b""[..]);
        if what != Shown::Type {
            instance = names.label(event.name);
            kind = names.parent(event.name);
        }
        let template = match self {
            Self::Columns => COLUMNS,
            Self::Fields => FIELDS,
            Self::Json => JSON,
        };
        let mut is_on = true;
        out.clear();
        for byte in template.decode(&mut [0; TEMPLATE_BYTES]) {
            let start = out.len();
            match byte {
                b'S' => is_on = what != Shown::Type,
                b'R' => is_on = matches!(what, Shown::Resolved | Shown::Changed),
                b'U' => is_on = true,
                _ if !is_on => {}
                b'E' if self == Self::Json => self.put(out, what.text().decode(&mut [0; 8])),
                b'E' => _ = out.byte(*SIGNS.get(what as usize).unwrap_or(&b' ')),
                b'I' => {
                    if self == Self::Columns {
                        out.pad(start, INTERFACE_COLUMNS.saturating_sub(interface.len()));
                    }
                    self.put(out, interface);
                }
                b'F' => self.put(out, family(event)),
                b'N' => match self {
                    Self::Columns => _ = out.safe(instance).pad(start, NAME_COLUMNS),
                    Self::Fields => _ = out.label(instance),
                    Self::Json => self.put(out, instance),
                },
                b'K' => {
                    out.labels(names, kind, KIND_LABELS);
                    if looks_up && self != Self::Json {
                        put_kinds(out, Some(start), false);
                    }
                    if self == Self::Columns {
                        out.pad(start, KIND_COLUMNS);
                    }
                }
                b'H' => _ = out.name(names, event.host),
                b'A' => _ = out.address(event.address),
                b'P' => _ = out.number(event.port.into()),
                b'T' if self == Self::Json => {
                    for (index, text) in strings(event.txt).enumerate() {
                        out.put(if index == 0 { b"" } else { b"," }).quoted(text);
                    }
                }
                b'T' => _ = out.texts(event.txt),
                byte => _ = out.byte(*byte),
            }
        }
        Some(())
    }
}
