//! Listings of directories. Other pages in parts are sent in the same way.
//!
//! A listing that does not fit into one buffer is sent in chunks, to a client of HTTP/1.0 without a length. After each part other
//! connections have their turns. The engine keeps only the place in the listing between parts: the next one reads the directory
//! again. If that fails the connection ends without the last chunk, so that the client knows that the listing is incomplete.

use super::access_log::UNKNOWN_LEN;
use super::figures::Figures;
use super::names::{Key, Order, State};
use super::reply::{Asked, HEAD_BYTES_MAX, Head};
use super::rows::{self, Form, Row};
use super::{Http, Sent, Session, Step};
use crate::engine::Cx;
use crate::mem::Ends as _;
use crate::vfs::walk::{self, add, find_for};
use crate::vfs::{Attr, FsError, FsResult, Name, Node, ObjectType, is_image};
use crate::wire::Writer;
use crate::wire::http::{Method, Version};

/// A listing in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    order: Order,
    /// Number of the listing.
    serial: u32,
    /// The last name that was sent: its cookie in the order of the directory, else its hash.
    mark: u64,
    /// The position of the next name among those that were read.
    position: u16,
    /// True once names were read.
    is_begun: bool,
    /// True once the names are in their order.
    is_sorted: bool,
    /// True once the head of the reply was sent.
    pub(super) has_head: bool,
    /// True once a row was sent.
    has_rows: bool,
}

/// The object that is listed.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// A directory, of the export with this number or above the exports.
    Directory(usize, Node),
    Figures(Figures),
}

/// Length of a chunk's head, "0abcd" and CR LF, of the end of its data, and of the last chunk (bytes). RFC 9112 section 7.1.
const CHUNK_HEAD_BYTES: usize = 7;
const CHUNK_END: &[u8] = b"\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Most objects whose attributes are read in one turn before the names are sorted, half as many as for the rows of a part: other
/// clients wait meanwhile. A symbolic link costs a walk.
const READ_COUNT: usize = 256;

const FIELDS: &str = "Cache-Control: no-cache\r\nVary: Accept\r\n";
const CHUNKED_FIELDS: &str =
    "Transfer-Encoding: chunked\r\nCache-Control: no-cache\r\nVary: Accept\r\n";

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
        let before = session.sent;
        let is_first = !before.is_some_and(|sent| sent.has_head());
        let form = Form::of(asked.request);
        let order = Order::of(asked.request.query);
        // Space before the part for its head, and after it for the ends of the chunks.
        let lead = match is_first {
            true => HEAD_BYTES_MAX + CHUNK_HEAD_BYTES,
            false => CHUNK_HEAD_BYTES,
        };
        let buffer = out.space().tail_mut(lead);
        let room = buffer
            .len()
            .saturating_sub(CHUNK_END.len() + LAST_CHUNK.len());
        let mut body = Writer::new(buffer.head_mut(room));
        let is_complete =
            self.write_part(&mut session.sent, cx, source, (form, order), &mut body)?;
        let len = body.position();
        if start > 0 && (!is_complete || body.written().is_none()) {
            // Earlier replies leave first: the part needs the buffer.
            session.sent = before;
            return Ok(Step::Continue);
        }
        let is_partial = !is_complete || !is_first;
        let is_chunked = is_partial && asked.request.version == Version::Http11;
        let closes = asked.closes || is_partial && !is_chunked;
        if is_first {
            let kind = match source {
                Source::Figures(page) => page.kind(),
                _ => form.kind(),
            };
            let len = (!is_partial).then_some(len as u64);
            self.write_list_head(cx, &Asked { closes, ..*asked }, (kind, len), out);
        }
        if asked.request.method == Method::Head {
            session.end(closes);
            return Ok(Step::Done);
        }
        put_part(out, start + lead, len, is_chunked && len > 0);
        if let Some(Sent::Names(listed)) = &mut session.sent {
            listed.has_head = true;
        }
        if !is_complete {
            return Ok(Step::Continue);
        }
        if is_chunked {
            out.put(LAST_CHUNK);
        }
        session.end(closes);
        Ok(Step::Done)
    }

    /// Writes the head of a listing of this type and length, and its line of the log. `None`: the length is unknown.
    fn write_list_head(
        &mut self,
        cx: &mut Cx<'_>,
        asked: &Asked<'_>,
        (kind, len): (&str, Option<u64>),
        out: &mut Writer<'_>,
    ) {
        let is_chunked = len.is_none() && asked.request.version == Version::Http11;
        let head = Head {
            kind,
            len,
            fields: if is_chunked { CHUNKED_FIELDS } else { FIELDS },
            ..Head::of(200)
        };
        self.write_head(asked, &head, out);
        let fields = Some(&asked.request.fields);
        self.log(cx, asked.input, fields, (200, len.unwrap_or(UNKNOWN_LEN)));
    }

    /// Writes as much of a listing or page as fits, from the place at which the last part ended, which is kept in `sent`. Returns true if
    /// it is complete.
    ///
    /// # Errors
    /// `Stale`: the object of an earlier part was of another kind.
    fn write_part(
        &mut self,
        sent: &mut Option<Sent>,
        cx: &mut Cx<'_>,
        source: Source,
        (form, order): (Form, Order),
        body: &mut Writer<'_>,
    ) -> FsResult<bool> {
        let listed = match (*sent, source) {
            (None, Source::Figures(from)) | (Some(Sent::Figures(from)), Source::Figures(_)) => {
                *sent = self.write_figures(cx, from, body).map(Sent::Figures);
                return Ok(sent.is_none());
            }
            (None, _) => None,
            (Some(Sent::Names(listed)), _) => Some(listed),
            _ => return Err(FsError::Stale),
        };
        let Source::Directory(number, dir) = source else {
            return Err(FsError::Stale);
        };
        let mut part = Part {
            listed: listed.unwrap_or(Listed {
                order,
                serial: self.names.next_serial(),
                mark: 0,
                position: 0,
                is_begun: false,
                is_sorted: false,
                has_head: false,
                has_rows: false,
            }),
            form,
        };
        // Links are followed while the names are written: the directory's node must stay valid.
        let dir = cx.vfs.pin(dir, None)?;
        let is_complete = self.list_names(&mut part, cx, (number, dir.node()), body);
        cx.vfs.unpin(dir);
        // After a stop, too: the attributes that were read stay with the names.
        *sent = Some(Sent::Names(part.listed));
        is_complete
    }

    /// Writes the names of a directory, as many as fit. Returns true if the listing is complete.
    fn list_names(
        &mut self,
        part: &mut Part,
        cx: &mut Cx<'_>,
        (number, dir): (usize, Node),
        out: &mut Writer<'_>,
    ) -> FsResult<bool> {
        self.prepare(part, cx, (number, dir))?;
        self.start(part, out);
        let mut position = usize::from(part.listed.position);
        let may_search = cx.vfs.may_search(dir)?;
        let mut last = None;
        let mut is_full = false;
        let mut left = 2 * READ_COUNT;
        while let Some(index) = self.names.at(position) {
            if part.form != Form::Plain || self.is_unsettled(index) {
                if left == 0 {
                    is_full = true;
                    break;
                }
                left -= 1;
                match self.read_attr(cx, (number, dir), index, may_search) {
                    // The rows before it are sent meanwhile.
                    Err(error) if error.stops() && last.is_some() => {
                        is_full = true;
                        break;
                    }
                    done => done?,
                }
            }
            let entry = self.names.entry(index).map(|entry| *entry);
            let entry = entry.ok_or(FsError::Io)?;
            let is_file = entry.kind == Some(ObjectType::Regular);
            let row = Row {
                name: self.names.name(index),
                kind: entry.kind,
                size: entry.size,
                modified: entry.modified,
                is_image: is_file && dir.may_enter() && is_image(self.names.name(index)),
            };
            if entry.state != State::Removed {
                is_full = !rows::write(out, part.form, &row, !part.listed.has_rows);
                if is_full {
                    break;
                }
                part.listed.has_rows = true;
            }
            (position, last) = (position + 1, Some((index, entry.cookie)));
        }
        if let Some((index, cookie)) = last {
            part.listed.mark = match part.listed.order.key {
                Key::Directory => cookie,
                _ => self.names.hash(index),
            };
        }
        part.listed.position = position as u16;
        let is_complete = !is_full && !self.names.has_more;
        if is_complete {
            rows::end(out, part.form);
        }
        Ok(is_complete)
    }

    /// Reads the names for a part, unless they are there, and sorts them if there are not too many.
    ///
    /// # Errors
    /// `AwaitsTurn`: many attributes must be read first.
    fn prepare(&mut self, part: &mut Part, cx: &mut Cx<'_>, dir: (usize, Node)) -> FsResult<()> {
        let listed = &mut part.listed;
        let is_kept = listed.is_begun && self.names.serial == listed.serial;
        let position = usize::from(listed.position);
        if is_kept && listed.is_sorted && self.names.at(position).is_some() {
            return Ok(());
        }
        let goes_on = is_kept && !listed.is_sorted;
        // If another listing has read its names meanwhile, the attributes are read at once: else the two could hinder each other without
        // end.
        let mut left = match goes_on || !listed.is_begun {
            true => READ_COUNT,
            false => usize::MAX,
        };
        if !goes_on {
            let from = match listed.order.key {
                Key::Directory => listed.mark,
                _ => 0,
            };
            self.names.read(cx.vfs, dir.1, from)?;
            (self.names.serial, listed.is_begun) = (listed.serial, true);
            if self.names.has_more && listed.order.key != Key::Directory {
                if listed.has_head {
                    // The client has the first names in another order.
                    return Err(FsError::TryLater);
                }
                listed.order.key = Key::Directory;
            }
            if listed.order.key == Key::Directory {
                (listed.position, listed.is_sorted) = (0, true);
                return Ok(());
            }
        }
        let by_attr = matches!(listed.order.key, Key::Date | Key::Size);
        let may_search = cx.vfs.may_search(dir.1)?;
        for index in 0..self.names.count() {
            if self.is_unsettled(index) || by_attr && self.is_listed(index) {
                left = left.checked_sub(1).ok_or(FsError::AwaitsTurn)?;
                self.read_attr(cx, dir, index, may_search)?;
            }
        }
        self.names.sort(listed.order);
        listed.is_sorted = true;
        if position > 0 {
            listed.position = self.names.after(listed.mark, position) as u16;
        }
        Ok(())
    }

    /// Returns true if the attributes of an object were not read yet.
    fn is_listed(&mut self, index: usize) -> bool {
        let entry = self.names.entry(index);
        entry.is_some_and(|entry| entry.state == State::Listed)
    }

    /// Returns true if it is not known whether an object is listed as a directory: it is a symbolic link, or its kind is unknown.
    fn is_unsettled(&mut self, index: usize) -> bool {
        let kind = self.names.entry(index).and_then(|entry| entry.kind);
        self.is_listed(index) && matches!(kind, None | Some(ObjectType::SymbolicLink))
    }

    /// Reads the attributes of a listed object, of a symbolic link those of its target. A link without a target that has a path keeps
    /// its kind, and has no size.
    fn read_attr(
        &mut self,
        cx: &mut Cx<'_>,
        (number, dir): (usize, Node),
        index: usize,
        may_search: bool,
    ) -> FsResult<()> {
        let Some(entry) = self.names.entry(index).map(|entry| *entry) else {
            return Ok(());
        };
        if entry.state != State::Listed {
            return Ok(());
        }
        let name = Name::new(self.names.name(index))?;
        let mut is_link = entry.kind == Some(ObjectType::SymbolicLink);
        let mut attr = match (may_search, is_link) {
            (false, _) => Err(FsError::Access),
            (true, true) => self.follow(cx, number, name),
            (true, false) => cx.vfs.entry_attr(dir, name, entry.id),
        };
        if let Ok(Attr {
            kind: ObjectType::SymbolicLink,
            ..
        }) = attr
        {
            attr = self.follow(cx, number, name);
            is_link = true;
        }
        let Some(entry) = self.names.entry(index) else {
            return Ok(());
        };
        entry.state = State::Read;
        match &attr {
            Ok(attr) => entry.set(attr),
            Err(error) if error.stops() => return Err(*error),
            Err(error @ (FsError::Io | FsError::Cut | FsError::TryLater)) => return Err(*error),
            Err(_) if is_link => entry.kind = Some(ObjectType::SymbolicLink),
            Err(FsError::NoEntry) => entry.state = State::Removed,
            Err(FsError::Access | FsError::Permission | FsError::OtherFileSystem) => {
                entry.kind = None;
            }
            Err(error) => return Err(*error),
        }
        Ok(())
    }

    /// The attributes of the target of a link in the current directory.
    fn follow(&self, cx: &mut Cx<'_>, number: usize, name: Name<'_>) -> FsResult<Attr> {
        let mut path = walk::Text::new();
        add(&mut path, self.below_export(cx, number))?;
        add(&mut path, name.bytes())?;
        let peer = cx.peer;
        let node = find_for(cx.vfs, number, &peer, &path)?;
        cx.vfs.attr(node)
    }

    /// Writes the start of a listing, if this is its first part.
    fn start(&self, part: &Part, out: &mut Writer<'_>) {
        if !part.listed.has_head {
            let path = self.path.head(self.path_len);
            rows::start(out, part.form, path, part.listed.order, self.host);
        }
    }
}

/// A part of a listing while it is written.
struct Part {
    /// Where the part begins, then where it ended.
    listed: Listed,
    form: Form,
}

/// Appends `len` bytes that were written ahead, at `position`, as a chunk or unchanged. The head is shorter than the space for
/// it.
fn put_part(out: &mut Writer<'_>, position: usize, len: usize, is_chunk: bool) {
    if is_chunk {
        write_chunk_head(out, len);
    }
    let from = position.saturating_sub(out.position());
    if from > 0 {
        let space = out.space();
        space.copy_within(from..(from + len).min(space.len()), 0);
    }
    out.put_ahead(len);
    if is_chunk {
        out.put(CHUNK_END);
    }
}

/// Writes the head of a chunk with `len` bytes of data.
fn write_chunk_head(out: &mut Writer<'_>, len: usize) {
    for shift in [16, 12, 8, 4, 0] {
        let digit = (len >> shift & 0xf) as u8;
        out.put(&[match digit {
            0..=9 => b'0' + digit,
            _ => b'a' - 10 + digit,
        }]);
    }
    out.put(b"\r\n");
}
