//! The rows of a listing as a page, as JSON or as plain names, with its start and end. The page's rows have the columns of Apache's
//! listings, which download programs read.

use super::names::{Key, Order};
use super::reply::{number, say};
use crate::mem::{Ends as _, parts};
use crate::text::{Text, text};
use crate::vfs::ObjectType;
use crate::vfs::walk::next_name;
use crate::wire::Writer;
use crate::wire::http::{Request, encode, escape_html, escape_json, write_date, write_minute};

/// The form of a listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Html,
    Json,
    /// Names, one a line; those of directories end with "/".
    Plain,
}

impl Form {
    /// The form that a request asks for.
    pub(super) fn of(request: &Request<'_>) -> Self {
        let mut form = Self::Html;
        for accepted in request.fields.all(b"Accept") {
            for one in parts(accepted, b',') {
                match one.trim_ascii().split(|byte| *byte == b';').next() {
                    Some(b"text/html") => return Self::Html,
                    Some(b"application/json") => form = Self::Json,
                    Some(b"text/plain") if form == Self::Html => form = Self::Plain,
                    _ => {}
                }
            }
        }
        form
    }

    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
            Self::Plain => "text/plain; charset=utf-8",
        }
    }
}

/// A row of a listing.
pub(super) struct Row<'a> {
    pub(super) name: &'a [u8],
    /// The kind of the object, of a symbolic link's target if that has a path. `None`: another file system is mounted there, which
    /// has no path.
    pub(super) kind: Option<ObjectType>,
    /// Length of a file (bytes).
    pub(super) size: u64,
    /// Time of the last write (seconds since 1970); `None`: unknown.
    pub(super) modified: Option<i64>,
    /// True if the row is an image whose contents have a path.
    pub(super) is_image: bool,
}

impl Row<'_> {
    const fn is_directory(&self) -> bool {
        matches!(self.kind, Some(ObjectType::Directory))
    }

    const fn has_path(&self) -> bool {
        matches!(self.kind, Some(ObjectType::Regular | ObjectType::Directory))
    }

    /// The "/" after the name of a directory.
    const fn slash(&self) -> &'static [u8] {
        match self.is_directory() {
            true => b"/",
            false => b"",
        }
    }
}

const PAGE_START: Text = text!(include_str!("page.html"));
const UNSORTED: Text =
    text!("<p>Too many names to sort: they have the order of the directory.</p>");

/// Most bytes of the end of a listing.
const END_BYTES: usize = 16;

/// Writes the start of a listing of `path`, a directory, on this host.
pub(super) fn start(out: &mut Writer<'_>, form: Form, path: &[u8], order: Order, host: &[u8]) {
    match form {
        Form::Plain => {}
        Form::Json => out.put(b"["),
        Form::Html => {
            say(out, PAGE_START);
            escape_html(out, host);
            out.put(b": ");
            escape_html(out, path);
            out.put(b"</title><form id=s></form><h1>");
            breadcrumbs(out, path, host);
            out.put(b"</h1>");
            if order.key == Key::Directory {
                say(out, UNSORTED);
            }
            out.put(b"<table>");
            columns(out, order);
            if path != b"/" {
                out.put(b"<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
            }
        }
    }
}

/// Writes the host's name and the names of a path, each a link to its directory.
fn breadcrumbs(out: &mut Writer<'_>, path: &[u8], host: &[u8]) {
    let (mut rest, mut name) = (path, host);
    // A directory's path ends with "/".
    let mut left = path.iter().skip(1).filter(|byte| **byte == b'/').count();
    loop {
        if left > 0 {
            out.put(b"<a href=\"");
            for _ in 0..left {
                out.put(b"../");
            }
            out.put(b"\">");
        }
        escape_html(out, name);
        out.put(if left > 0 { b"</a>/" } else { b"/" });
        let Some(next) = next_name(&mut rest) else {
            return;
        };
        (name, left) = (next, left - 1);
    }
}

/// Writes the titles of the columns: buttons that sort, because a crawler would follow links.
fn columns(out: &mut Writer<'_>, order: Order) {
    const COLUMNS: [(Key, &str, &str); 3] = [
        (Key::Name, "name", "Name"),
        (Key::Date, "date", "Modified (UTC)"),
        (Key::Size, "size", "Size"),
    ];
    out.put(b"<tr>");
    for (key, value, title) in COLUMNS {
        out.put(b"<th>");
        if order.key != Key::Directory {
            out.put(b"<button form=s name=sort value=");
            // The button of the current order reverses it.
            let reverses = order.key == key && !order.is_reversed;
            out.put(if reverses { b"-" } else { b"" });
            out.put(value.as_bytes());
            out.put(b">");
        }
        out.put(title.as_bytes());
        out.put(b"</th>");
    }
    out.put(b"</tr>\n");
}

/// Writes the end of a listing.
pub(super) fn end(out: &mut Writer<'_>, form: Form) {
    match form {
        Form::Plain => {}
        Form::Json => out.put(b"\n]\n"),
        Form::Html => out.put(b"</table>\n"),
    }
}

/// Writes a row. Returns false if it does not fit; then nothing is written.
pub(super) fn write(out: &mut Writer<'_>, form: Form, row: &Row<'_>, is_first: bool) -> bool {
    let before = out.position();
    match form {
        Form::Plain => {
            out.put(row.name);
            out.put(row.slash());
            out.put(b"\n");
        }
        Form::Json => write_object(out, row, is_first),
        Form::Html => write_cells(out, row),
    }
    // Space for the end.
    let fits = out.written().is_some() && out.space().len() >= END_BYTES;
    if !fits {
        out.truncate(before);
    }
    fits
}

/// Writes a row of the page. What has no path is not a link. The way into an image is a button, which no crawler follows: one name
/// cannot be a file and a directory in a copy.
fn write_cells(out: &mut Writer<'_>, row: &Row<'_>) {
    out.put(b"<tr><td>");
    if row.has_path() {
        out.put(b"<a href=\"");
        encode(out, row.name);
        out.put(row.slash());
        out.put(b"\">");
    }
    escape_html(out, row.name);
    out.put(row.slash());
    if row.has_path() {
        out.put(b"</a>");
    }
    if row.is_image {
        out.put(b" <form action=\"");
        encode(out, row.name);
        out.put(b"/\"><button>contents</button></form>");
    }
    out.put(b"</td><td>");
    if let Some(secs) = row.modified {
        out.put(&write_minute(secs));
        out.put(b"  ");
    }
    out.put(b"</td><td>");
    if row.kind == Some(ObjectType::Regular) {
        write_size(out, row.size);
    }
    out.put(b"</td></tr>\n");
}

/// Writes an element of the JSON array, with nginx's keys.
fn write_object(out: &mut Writer<'_>, row: &Row<'_>, is_first: bool) {
    out.put(if is_first {
        b"\n{\"name\":\""
    } else {
        b",\n{\"name\":\""
    });
    escape_json(out, row.name);
    out.put(b"\",\"type\":\"");
    out.put(match row.kind {
        Some(ObjectType::Regular) => b"file",
        Some(ObjectType::Directory) => b"directory",
        Some(ObjectType::SymbolicLink) => b"link",
        _ => b"other",
    });
    out.put(b"\"");
    if row.has_path() {
        // The name may have bytes that JSON cannot have.
        out.put(b",\"href\":\"");
        encode(out, row.name);
        out.put(row.slash());
        out.put(b"\"");
    }
    if row.is_image {
        out.put(b",\"inside\":true");
    }
    if let Some(secs) = row.modified {
        out.put(b",\"mtime\":\"");
        out.put(&write_date(secs));
        out.put(b"\"");
    }
    if row.kind == Some(ObjectType::Regular) {
        out.put(b",\"size\":");
        number(out, row.size);
    }
    out.put(b"}");
}

/// Writes a size as Apache does: "17 ", "3.0K", "651K", "4.1G".
fn write_size(out: &mut Writer<'_>, size: u64) {
    let mut tenths = u128::from(size) * 10;
    let mut units = b" KMGTPE".as_slice();
    while tenths >= 10_000 && units.len() > 1 {
        (tenths, units) = (tenths / 1024, units.tail(1));
    }
    number(out, (tenths / 10) as u64);
    if tenths < 100 && units.len() < 7 {
        out.put(b".");
        number(out, (tenths % 10) as u64);
    }
    out.put(units.head(1));
}
