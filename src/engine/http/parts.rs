//! The parts of a file in a reply: the whole file, a range, or several as multipart/byteranges. RFC 9110 sections 14.6 and 15.3.7.2.
//!
//! After a transfer of one of several parts, the engine looks at the request again, and the reply goes on with the next part. A
//! connection keeps only the index of that part, and the version of the file, which must still be the same.

use super::conditions::Validators;
use super::place::NoObject;
use super::reply::{Asked, Extent, Head, content_range, type_field};
use super::{Http, Sent, Session, Step};
use crate::config::READ_INLINE_BYTES;
use crate::engine::Cx;
use crate::engine::service::{Transfer, Way};
use crate::mem::Ends as _;
use crate::vfs::{FsResult, Patience, Pin, Stop};
use crate::wire::Writer;
use crate::wire::http::{Method, Part, content_type};

/// Longest head of a part, and longest end of a reply (bytes).
const PART_HEAD_BYTES_MAX: usize = 256;

/// The start of a reply with several parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentParts {
    /// Index of the next part.
    next: usize,
    /// The file's [`Validators::version`].
    version: u64,
}

/// The text between several parts.
struct Frame<'a> {
    /// The digits of the file's tag. No part contains them by chance, and a change of the file changes the tag.
    boundary: &'a [u8],
    /// Content-Type of each part.
    kind: &'a str,
    /// Length of the file (bytes).
    size: u64,
}

impl Frame<'_> {
    /// Writes the frame before a part; without a part, the end.
    fn write(&self, out: &mut Writer<'_>, part: Option<&Part>) {
        out.put(b"\r\n--");
        out.put(self.boundary);
        let Some(&(from, to)) = part else {
            return out.put(b"--\r\n");
        };
        type_field(out, self.kind);
        let size = self.size;
        content_range(out, Extent { from, to, size });
        out.put(b"\r\n\r\n");
    }

    /// Length of a body with these parts (bytes). Needs space in `out`, and writes nothing.
    fn body_len(&self, parts: &[Part], out: &mut Writer<'_>) -> u64 {
        let before = out.position();
        let mut len = 0;
        for index in 0..=parts.len() {
            let part = parts.get(index);
            self.write(out, part);
            len += (out.position() - before) as u64 + part.map_or(0, |part| part.1 - part.0);
            out.truncate(before);
        }
        len
    }
}

impl Http {
    /// Sends these parts of a file, one at least if the reply begins. `head` lacks what follows from them. Only [`Step::Send`] keeps the
    /// pin.
    pub(super) fn send_parts(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        asked: &Asked<'_>,
        (file, known, size): (&Pin, &Validators, u64),
        (mut head, parts): (Head<'_>, &[Part]),
        out: &mut Writer<'_>,
    ) -> Result<Step, NoObject> {
        let [_, boundary @ .., _] = &known.tag;
        head.kind = content_type(self.path.head(self.path_len));
        let mut frame = None;
        if let &[(from, to)] = parts {
            head.range = (head.status == 206).then_some(Extent { from, to, size });
            head.len = Some(to - from);
        } else {
            let several = Frame {
                boundary,
                kind: head.kind,
                size,
            };
            head.kind = "multipart/byteranges; boundary=";
            head.boundary = boundary;
            head.len = Some(several.body_len(parts, out));
            frame = Some(several);
        }
        let version = known.version;
        let sent = match session.sent {
            None => SentParts { next: 0, version },
            Some(Sent::Parts(sent)) if sent.version == version && frame.is_some() => sent,
            // The file was changed.
            Some(_) => return Err(NoObject::Status(404)),
        };
        let before = out.position();
        let is_first = session.sent.is_none();
        if is_first {
            self.write_head(asked, &head, out);
        }
        let step = match asked.request.method {
            Method::Head => Ok(Step::Done),
            _ => write_parts(session, cx, (file, frame.as_ref()), (sent, parts), out),
        };
        if step.is_err() {
            out.truncate(before);
        } else if is_first {
            let done = (head.status, head.len.unwrap_or(0));
            self.log(cx, asked.input, Some(&asked.request.fields), done);
        }
        Ok(step?)
    }
}

/// Writes the parts from `sent` on, until one needs a transfer, or the output is full. While several are left, `session.sent` has the
/// next.
fn write_parts(
    session: &mut Session,
    cx: &mut Cx<'_>,
    (file, frame): (&Pin, Option<&Frame<'_>>),
    (mut sent, parts): (SentParts, &[Part]),
    out: &mut Writer<'_>,
) -> FsResult<Step> {
    loop {
        let part = parts.get(sent.next);
        if let Some(frame) = frame {
            if out.space().len() < PART_HEAD_BYTES_MAX {
                session.sent = Some(Sent::Parts(sent));
                return Ok(Step::Continue);
            }
            frame.write(out, part);
        }
        let Some(&(offset, end)) = part else {
            session.sent = None;
            return Ok(Step::Done);
        };
        let len = end - offset;
        sent.next += 1;
        if !read_here(cx, file, offset, len, out)? {
            session.sent = frame.map(|_| Sent::Parts(sent));
            return Ok(Step::Send(Transfer {
                offset,
                len,
                file: file.lend(),
                way: Way::ToPeer,
            }));
        }
    }
}

/// Reads a part of a file to the end of the output, if that is short and in memory. Returns true if all of it was read.
fn read_here(
    cx: &mut Cx<'_>,
    file: &Pin,
    from: u64,
    len: u64,
    out: &mut Writer<'_>,
) -> FsResult<bool> {
    if len == 0 {
        return Ok(true);
    }
    if len > u64::from(READ_INLINE_BYTES) {
        return Ok(false);
    }
    let len = len as usize;
    let space = out.ahead(0, len);
    if space.is_empty() {
        return Ok(false);
    }
    match cx.vfs.read_with(file, from, space, Patience::Now) {
        Ok(got) if got as usize == len => {
            out.put_ahead(len);
            Ok(true)
        }
        // The transfer waits for the disk, or finds that the file became shorter.
        Ok(_) | Err(Stop::Again(_)) => Ok(false),
        Err(Stop::Failed(error)) => Err(error),
    }
}
