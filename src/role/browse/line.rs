//! What is printed of an event: for people, for programs as avahi-browse does it, or in JSON.

use super::super::Console;
use super::super::terminal_safe::{Out, strings};
use crate::engine::mdns::browser::{Event, What};
use crate::event::Sink as _;
use crate::mem::{Ends as _, parts};
use crate::text::{Text, text, texts};
use crate::wire::label::cut;

/// How it is printed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Form {
    #[default]
    Columns,
    Fields,
    Json,
}

texts! {
    /// What is printed, as JSON has it.
    enum Shown {
        Type => "type",
        Added => "added",
        Removed => "removed",
        Resolved => "resolved",
        Changed => "changed",
    }
}

/// Columns of a service's name, as on a terminal of 80.
const NAME_COLUMNS: usize = 45;
/// Columns of a type.
const KIND_COLUMNS: usize = 20;
/// Columns of an interface's name.
const INTERFACE_COLUMNS: usize = 6;
/// Labels of a type, which the domain follows.
pub(super) const KIND_LABELS: usize = 2;

/// What avahi's database calls the types that are common: a type, a blank, and its name.
const KINDS: Text = text!(include_str!("kinds.txt"));
/// Bytes of all that.
const KINDS_BYTES: usize = include_str!("kinds.txt").len();

/// Prints what types are called, or, if it is to be plain, which types these are. If there is one already behind the first
/// `begun` bytes, only that gives way to what it is called.
pub(super) fn put_kinds(out: &mut Out, begun: Option<usize>, is_plain: bool) {
    for line in parts(KINDS.decode(&mut [0; KINDS_BYTES]), b'\n') {
        let (kind, name) = cut(line, b' ');
        match begun {
            None => out.begin().put(if is_plain { kind } else { name }).end(),
            Some(begun) if out.bytes().tail(begun) == kind => {
                out.cut(begun);
                out.put(name);
            }
            Some(_) => {}
        }
    }
}

/// Says on standard error, as avahi-browse does, that a service could not be resolved.
pub(super) fn tell_unresolved(out: &mut Out, event: &Event<'_>) {
    let names = event.names();
    out.begin()
        .put(b"Failed to resolve service '")
        .safe(names.label(event.name))
        .put(b"' of type '")
        .labels(names, names.parent(event.name), KIND_LABELS)
        .put(b"' in domain 'local': Timeout reached\n");
    Console.take(out.bytes());
}

/// The family by which something was heard.
pub(super) const fn family(event: &Event<'_>) -> &'static [u8] {
    if event.is_v6 { b"IPv6" } else { b"IPv4" }
}

impl Form {
    /// Writes what happened, if that is to be printed: with what the type is called, if it `looks_up` that.
    pub(super) fn write(
        self,
        out: &mut Out,
        interface: &[u8],
        event: &Event<'_>,
        looks_up: bool,
    ) -> Option<()> {
        const SIGNS: &[u8; 5] = b"++-=!";
        let what = match event.what {
            What::Type => Shown::Type,
            What::Added => Shown::Added,
            What::Removed => Shown::Removed,
            What::Resolved => Shown::Resolved,
            What::Changed => Shown::Changed,
            _ => return None,
        };
        let sign = *SIGNS.get(what as usize).unwrap_or(&b' ');
        let is_resolved = matches!(what, Shown::Resolved | Shown::Changed);
        let names = event.names();
        let family = family(event);
        let (mut kind, mut instance) = (event.name, &b""[..]);
        if what != Shown::Type {
            instance = names.label(event.name);
            kind = names.parent(event.name);
        }
        let put_kind = |out: &mut Out| {
            let begun = out.len();
            out.labels(names, kind, KIND_LABELS);
            if looks_up {
                put_kinds(out, Some(begun), false);
            }
        };
        out.begin();
        match self {
            Self::Fields => {
                out.byte(sign).byte(b';').put(interface).byte(b';');
                out.put(family).byte(b';');
                if what != Shown::Type {
                    out.label(instance).byte(b';');
                }
                put_kind(out);
                out.put(b";local");
                if is_resolved {
                    out.byte(b';').name(names, event.host).byte(b';');
                    out.address(event.address).byte(b';');
                    out.number(event.port.into()).byte(b';').texts(event.txt);
                }
            }
            Self::Columns => {
                out.byte(sign).byte(b' ');
                out.fill(2, INTERFACE_COLUMNS.saturating_sub(interface.len()));
                out.put(interface).byte(b' ').put(family).byte(b' ');
                let begun = out.len();
                if what != Shown::Type {
                    out.safe(instance).fill(begun, NAME_COLUMNS).byte(b' ');
                }
                let begun = out.len();
                put_kind(out);
                out.fill(begun, KIND_COLUMNS).put(b" local");
                if is_resolved {
                    out.put(b"\n   hostname = [").name(names, event.host);
                    out.put(b"]\n   address = [").address(event.address);
                    out.put(b"]\n   port = [").number(event.port.into());
                    out.put(b"]\n   txt = [").texts(event.txt).byte(b']');
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
                out.put(b",\"type\":\"").labels(names, kind, KIND_LABELS);
                out.put(b"\",\"domain\":\"local\"");
                if is_resolved {
                    out.put(b",\"host\":\"").name(names, event.host);
                    out.put(b"\",\"address\":\"").address(event.address);
                    out.put(b"\",\"port\":").number(event.port.into());
                    out.put(b",\"txt\":[");
                    for (at, text) in strings(event.txt).enumerate() {
                        out.put(if at == 0 { b"" } else { b"," }).quoted(text);
                    }
                    out.byte(b']');
                }
                out.byte(b'}');
            }
        }
        Some(())
    }
}
