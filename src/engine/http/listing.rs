//! Listings of directories, and of exports: as a page, as JSON or as plain names. Other pages in parts are sent in the same way.
//!
//! A listing that does not fit into one buffer is sent in parts, without a length, and the connection ends after it. The engine keeps
//! only the last name's cookie between parts: the next one reads the directory again.

use super::figures::Figures;
use super::names::Order;
use super::place::is_visible;
use super::reply::{Asked, HEAD_BYTES_MAX, Head, number, say};
use super::{Http, Session, Step};
use crate::engine::Cx;
use crate::mem::{Ends as _, parts};
use crate::text::{Text, text};
use crate::vfs::walk::{below, last};
use crate::vfs::{FsError, FsResult, Name, Node, ObjectType, is_image};
use crate::wire::Writer;
use crate::wire::http::{Method, Request, encode, escape_html, escape_json, write_date};

/// A listing of which a part was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    order: Order,
    /// Cookie of the last name that was sent.
    cookie: u64,
}

/// The start of a page that was sent: where it goes on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sent {
    Names(Listed),
    Figures(Figures),
}

/// The object that is listed.
#[derive(Clone, Copy)]
pub(super) enum Source {
    Directory(Node),
    /// The exports below the path.
    Exports,
    Figures(Figures),
}

/// The form of a listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Html,
    Json,
    /// Names, one a line; those of directories end with "/".
    Plain,
}

impl Form {
    /// The form that a request asks for.
    fn of(request: &Request<'_>) -> Self {
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

    const fn kind(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
            Self::Plain => "text/plain; charset=utf-8",
        }
    }
}

/// A row of a listing.
struct Row<'a> {
    /// A name, or the rest of an export's path.
    name: &'a [u8],
    /// `None`: another file system is mounted there, which has no path.
    kind: Option<ObjectType>,
    /// Length of a file (bytes).
    size: u64,
    /// Time of the last write (seconds since 1970); `None`: unknown.
    modified: Option<i64>,
    /// True if the row is an image whose contents have a path.
    is_image: bool,
}

impl Row<'_> {
    const fn is_directory(&self) -> bool {
        matches!(self.kind, Some(ObjectType::Directory))
    }
}

const PAGE_START: Text = text!(include_str!("page.html"));
const UNSORTED: Text = text!("<p>More than 2,000 names, in the order of the directory.</p>");

/// Longest end of a listing (bytes).
const END_BYTES: usize = 16;

// The text names this limit.
const _: () = assert!(crate::config::HTTP_SORTED_COUNT_MAX == 2000);

impl Http {
    /// Answers a request for a listing, or for another page that may be sent in parts.
    pub(super) fn list(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        asked: &Asked<'_>,
        source: Source,
        out: &mut Writer<'_>,
    ) -> FsResult<Step> {
        let start = out.position();
        let is_first = session.sent.is_none();
        let form = Form::of(asked.request);
        let buffer = out.space();
        let mut body = Writer::new(buffer.tail_mut(HEAD_BYTES_MAX));
        let sent = self.write_part(session.sent, cx, source, form, &mut body)?;
        let kind = match source {
            Source::Figures(page) => page.kind(),
            _ => form.kind(),
        };
        let len = body.position();
        if start > 0 && (sent.is_some() || body.written().is_none()) {
            // Earlier replies leave first: the part needs the buffer.
            return Ok(Step::Continue);
        }
        let closes = asked.closes || sent.is_some() || !is_first;
        if is_first {
            let head = Head {
                kind,
                len: sent.is_none().then_some(len as u64),
                fields: "Cache-Control: no-cache\r\nVary: Accept\r\n",
                ..Head::of(200)
            };
            let asked = Asked { closes, ..*asked };
            self.write_head(&asked, &head, out);
            self.log(
                cx,
                asked.input,
                Some(&asked.request.fields),
                (200, len as u64),
            );
        }
        if asked.request.method == Method::Head {
            session.closes |= closes;
            return Ok(Step::Done);
        }
        let from = HEAD_BYTES_MAX.saturating_sub(out.position() - start);
        let space = out.space();
        space.copy_within(from..(from + len).min(space.len()), 0);
        out.put_ahead(len);
        session.sent = sent;
        session.closes |= sent.is_none() && closes;
        Ok(match sent {
            Some(_) => Step::Continue,
            None => Step::Done,
        })
    }

    /// Writes as much of a listing or page as fits, from the place at which the last part ended. Returns the place at which it goes on;
    /// `None`: it is complete.
    fn write_part(
        &mut self,
        sent: Option<Sent>,
        cx: &mut Cx<'_>,
        source: Source,
        form: Form,
        body: &mut Writer<'_>,
    ) -> FsResult<Option<Sent>> {
        let listed = match sent {
            Some(Sent::Names(listed)) => Some(listed),
            _ => None,
        };
        let listed = match source {
            Source::Directory(dir) => self.list_names(listed, cx, dir, form, body)?,
            Source::Exports => self.list_exports(listed, cx, form, body)?,
            Source::Figures(start) => {
                let from = match sent {
                    Some(Sent::Figures(from)) => from,
                    _ => start,
                };
                return Ok(self.write_figures(cx, from, body).map(Sent::Figures));
            }
        };
        Ok(listed.map(Sent::Names))
    }

    /// Writes the names of a directory, as many as fit. Returns the place at which the listing goes on; `None`: it is complete.
    fn list_names(
        &mut self,
        listed: Option<Listed>,
        cx: &mut Cx<'_>,
        dir: Node,
        form: Form,
        out: &mut Writer<'_>,
    ) -> FsResult<Option<Listed>> {
        let order = match listed {
            None => self.names.begin(cx.vfs, dir)?,
            Some(Listed { order, cookie }) => {
                self.names.resume(cx.vfs, dir, order, cookie)?;
                order
            }
        };
        let path = self.path.head(self.path_len);
        if listed.is_none() {
            start(out, form, path, order);
        }
        let mut last = listed;
        let mut at = 0;
        while let Some((name, cookie)) = self.names.get(at) {
            let found = cx.vfs.lookup(dir, Name::new(name)?);
            let attr = found.and_then(|node| cx.vfs.attr(node));
            if let Err(error) = attr
                && error.stops()
            {
                return Err(error);
            }
            let row = Row {
                name,
                kind: attr.map(|attr| attr.kind).ok(),
                size: attr.map_or(0, |attr| attr.size),
                modified: attr.map(|attr| attr.mtime.secs).ok(),
                is_image: dir.may_enter() && is_image(name),
            };
            at += 1;
            if attr == Err(FsError::NoEntry) {
                continue;
            }
            if !write_row(out, form, path, &row, last.is_none()) {
                return Ok(Some(last.unwrap_or(Listed { order, cookie: 0 })));
            }
            last = Some(Listed { order, cookie });
        }
        if self.names.has_more {
            return Ok(last);
        }
        end(out, form);
        Ok(None)
    }

    /// Writes the exports below the path that the peer may read, as [`Self::list_names`].
    fn list_exports(
        &mut self,
        listed: Option<Listed>,
        cx: &mut Cx<'_>,
        form: Form,
        out: &mut Writer<'_>,
    ) -> FsResult<Option<Listed>> {
        let path = self.path.head(self.path_len);
        let order = Order::Sorted;
        let from = listed.map_or(0, |listed| listed.cookie as usize);
        if listed.is_none() {
            start(out, form, path, order);
        }
        let mut last = listed;
        for number in from..cx.vfs.exports().len() {
            if cx.vfs.path(number).is_empty() || !is_visible(cx, number)? {
                continue;
            }
            let Some(name) = below(path, cx.vfs.path(number).to_bytes()) else {
                continue;
            };
            let name = name.strip_prefix(b"/").unwrap_or(name);
            let row = Row {
                name,
                kind: Some(ObjectType::Directory),
                size: 0,
                modified: None,
                is_image: false,
            };
            if !write_row(out, form, path, &row, last.is_none()) {
                return Ok(Some(last.unwrap_or(Listed { order, cookie: 0 })));
            }
            last = Some(Listed {
                order,
                cookie: number as u64 + 1,
            });
        }
        end(out, form);
        Ok(None)
    }
}

/// Writes the start of a listing of `path`.
fn start(out: &mut Writer<'_>, form: Form, path: &[u8], order: Order) {
    match form {
        Form::Plain => {}
        Form::Json => out.put(b"["),
        Form::Html => {
            say(out, PAGE_START);
            escape_html(out, path);
            out.put(b"</title><h1>");
            escape_html(out, path);
            out.put(b"</h1>");
            if order == Order::Unsorted {
                say(out, UNSORTED);
            }
            out.put(b"<table>");
            if path != b"/" {
                // Without a "/" at its end, the path itself is in the parent.
                let parent = if path.ends_with(b"/") {
                    &b"../"[..]
                } else {
                    b"./"
                };
                out.put(b"<tr><td><a href=\"");
                out.put(parent);
                out.put(b"\">../</a><td><td>");
            }
        }
    }
}

/// Writes the end of a listing.
fn end(out: &mut Writer<'_>, form: Form) {
    match form {
        Form::Plain => {}
        Form::Json => out.put(b"\n]\n"),
        Form::Html => out.put(b"</table>\n"),
    }
}

/// Writes a row of the listing of `path`. Returns false if it does not fit; then nothing is written.
fn write_row(out: &mut Writer<'_>, form: Form, path: &[u8], row: &Row<'_>, is_first: bool) -> bool {
    let before = out.position();
    match form {
        Form::Plain => {
            out.put(row.name);
            out.put(if row.is_directory() { b"/\n" } else { b"\n" });
        }
        Form::Json => write_object(out, row, is_first),
        Form::Html => {
            out.put(b"\n<tr><td>");
            write_link(out, path, row, Target::Itself);
            if row.is_image {
                out.put(b" (");
                write_link(out, path, row, Target::Inside);
                out.put(b")");
            }
            out.put(b"<td>");
            if row.kind == Some(ObjectType::Regular) {
                write_size(out, row.size);
            }
            out.put(b"<td>");
            if let Some(secs) = row.modified {
                // From "Sun, 29 Nov 2026 01:31:07 GMT".
                out.put(write_date(secs).get(5..22).unwrap_or_default());
            }
        }
    }
    // Space for the end.
    let fits = out.written().is_some() && out.space().len() >= END_BYTES;
    if !fits {
        out.truncate(before);
    }
    fits
}

/// The object to which a link of a row leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Itself,
    /// The top of the image.
    Inside,
}

/// Writes a row's link, relative to `path`. What has no path is not a link.
fn write_link(out: &mut Writer<'_>, path: &[u8], row: &Row<'_>, target: Target) {
    let has_path = matches!(
        row.kind,
        Some(ObjectType::Regular | ObjectType::Directory | ObjectType::SymbolicLink)
    );
    let slash: &[u8] = match row.is_directory() || target == Target::Inside {
        true => b"/",
        false => b"",
    };
    if has_path {
        // With "./" before it, a name such as "javascript:x" is no scheme.
        out.put(b"<a href=\"./");
        let dir = last(path);
        if !dir.is_empty() {
            encode(out, dir);
            out.put(b"/");
        }
        for (at, name) in parts(row.name, b'/').enumerate() {
            out.put(if at > 0 { b"/" } else { b"" });
            encode(out, name);
        }
        out.put(slash);
        out.put(b"\">");
    }
    match target {
        Target::Itself => {
            escape_html(out, row.name);
            out.put(slash);
        }
        Target::Inside => out.put(b"contents"),
    }
    if has_path {
        out.put(b"</a>");
    }
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

/// Writes a size with at most four digits: "17 B", "651 KiB", "4.1 GiB".
fn write_size(out: &mut Writer<'_>, size: u64) {
    const UNITS: [&str; 7] = [" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"];
    let mut tenths = u128::from(size) * 10;
    let mut units = UNITS.into_iter();
    let mut unit = units.next();
    while tenths >= 10_240
        && let Some(next) = units.next()
    {
        (tenths, unit) = (tenths / 1024, Some(next));
    }
    number(out, (tenths / 10) as u64);
    if tenths < 100 && unit != Some(" B") {
        out.put(b".");
        number(out, (tenths % 10) as u64);
    }
    out.put(unit.unwrap_or_default().as_bytes());
}
