//! Heads of replies.

use super::Http;
use crate::text::Text;
use crate::wire::Writer;
use crate::wire::http::{DATE_BYTES, Request, encode, reason, write_date, write_type};

/// Longest head of a reply with a body of an error (bytes).
pub(super) const HEAD_BYTES_MAX: usize = 1280;

/// Longest query that a redirection repeats (bytes).
const QUERY_BYTES_MAX: usize = 128;

/// Longest of our texts (bytes).
const TEXT_BYTES: usize = 2048;

/// A strong entity tag, with its quotes.
pub(super) type Tag = [u8; 18];

/// The part of a file that a reply has.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    /// Offset of the first byte.
    pub(super) from: u64,
    /// Offset after the last byte.
    pub(super) to: u64,
    /// Length of the file (bytes).
    pub(super) size: u64,
}

/// A request, as far as a reply needs it.
pub(super) struct Asked<'a> {
    pub(super) request: &'a Request<'a>,
    /// The input from the request on.
    pub(super) input: &'a [u8],
    /// True if the connection ends after the reply.
    pub(super) closes: bool,
}

/// The head of a reply.
pub(super) struct Head<'a> {
    pub(super) status: u16,
    /// Content-Type, for [`write_type`]; empty: none.
    pub(super) kind: &'a str,
    /// The end of Content-Type.
    pub(super) boundary: &'a [u8],
    /// Content-Length (bytes). `None`: the body ends with the connection, or there is none.
    pub(super) len: Option<u64>,
    /// Content-Range, for the statuses 206 and 416.
    pub(super) range: Option<Extent>,
    /// ETag.
    pub(super) tag: Option<&'a Tag>,
    /// Last-Modified (seconds since 1970).
    pub(super) modified: Option<i64>,
    /// Location: a directory's name, and the query of the request.
    pub(super) location: Option<(&'a [u8], &'a [u8])>,
    /// Further field lines.
    pub(super) fields: &'a str,
}

impl Head<'_> {
    /// A head without optional fields.
    pub(super) const fn of(status: u16) -> Self {
        Self {
            status,
            kind: "",
            boundary: b"",
            len: None,
            range: None,
            tag: None,
            modified: None,
            location: None,
            fields: "",
        }
    }

    /// Writes the head. `wall_secs`: the time of the reply. With `closes` the connection ends after the reply.
    pub(super) fn write(&self, out: &mut Writer<'_>, wall_secs: i64, closes: bool) {
        out.put(b"HTTP/1.1 ");
        number(out, self.status.into());
        out.put(b" ");
        out.put(reason(self.status).as_bytes());
        date_field(out, b"\r\nDate: ", wall_secs);
        if !self.kind.is_empty() {
            type_field(out, self.kind);
            out.put(self.boundary);
        }
        if let Some(len) = self.len {
            out.put(b"\r\nContent-Length: ");
            number(out, len);
        }
        if let Some(extent) = self.range {
            content_range(out, extent);
        }
        if let Some(tag) = self.tag {
            out.put(b"\r\nAccept-Ranges: bytes\r\nETag: ");
            out.put(tag);
        }
        // A time in the future would make caches keep the file too long.
        if let Some(modified) = self.modified.filter(|secs| *secs <= wall_secs) {
            date_field(out, b"\r\nLast-Modified: ", modified);
        }
        if let Some((name, query)) = self.location {
            // Relative, because a client behind a proxy knows the server by another name.
            out.put(b"\r\nLocation: ");
            encode(out, name);
            out.put(b"/");
            if matches!(query.len(), 1..=QUERY_BYTES_MAX) {
                out.put(b"?");
                out.put(query);
            }
        }
        out.put(b"\r\n");
        out.put(self.fields.as_bytes());
        // HTTP/1.1 keeps connections without a word, but httrack closes those that do not say so.
        out.put(b"Connection: ");
        out.put(if closes { &b"close"[..] } else { b"keep-alive" });
        out.put(b"\r\n");
        out.put(b"\r\n");
    }
}

impl Http {
    /// Writes the head of a reply.
    pub(super) fn write_head(&self, asked: &Asked<'_>, head: &Head<'_>, out: &mut Writer<'_>) {
        head.write(out, self.wall_secs, asked.closes);
    }
}

/// Writes one of our texts.
pub(super) fn say(out: &mut Writer<'_>, text: Text) {
    out.put(text.decode(&mut [0; TEXT_BYTES]));
}

/// Writes the field Content-Type, after the end of a line.
pub(super) fn type_field(out: &mut Writer<'_>, kind: &str) {
    out.put(b"\r\nContent-Type: ");
    write_type(out, kind);
}

/// Writes the field Content-Range, after the end of a line.
pub(super) fn content_range(out: &mut Writer<'_>, Extent { from, to, size }: Extent) {
    out.put(b"\r\nContent-Range: bytes ");
    if from < to {
        number(out, from);
        out.put(b"-");
        number(out, to - 1);
    } else {
        out.put(b"*");
    }
    out.put(b"/");
    number(out, size);
}

fn date_field(out: &mut Writer<'_>, name: &[u8], secs: i64) {
    out.put(name);
    let date: [u8; DATE_BYTES] = write_date(secs);
    out.put(&date);
}

/// Writes a number in decimal.
pub(super) fn number(out: &mut Writer<'_>, number: u64) {
    let mut digits = [0; 20];
    let (mut rest, mut at) = (number, digits.len());
    for place in digits.iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
        at -= 1;
        if rest == 0 {
            break;
        }
    }
    out.put(digits.get(at..).unwrap_or_default());
}
