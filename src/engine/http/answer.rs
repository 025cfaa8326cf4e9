//! The choice of the reply: the object at a path, or an error.

use super::conditions::{Validators, Verdict};
use super::listing::Source;
use super::place::{NoObject, Place};
use super::reply::{Asked, Extent, Head};
use super::{Http, Sent, Session, Step};
use crate::engine::Cx;
use crate::event;
use crate::mem::Ends as _;
use crate::text::Text;
use crate::vfs::walk::{last, put};
use crate::vfs::{Access, Attr, FsError, ObjectType, Pin};
use crate::wire::Writer;
use crate::wire::http::{Method, reason};

const ALLOW: &str = "Allow: GET, HEAD, OPTIONS\r\n";

/// Reports an error of the host's disk, or of an image.
pub(super) fn report(cx: &mut Cx<'_>, error: FsError) {
    if matches!(error, FsError::Io | FsError::Cut) {
        cx.report_failure(error);
    }
}

impl Http {
    /// Answers a request that could not be parsed. The connection ends.
    pub(super) fn refuse(
        &mut self,
        cx: &mut Cx<'_>,
        input: &[u8],
        status: u16,
        out: &mut Writer<'_>,
    ) {
        let body = reason(status);
        let head = Head {
            kind: "text/plain",
            len: Some(body.len() as u64 + 1),
            ..Head::of(status)
        };
        head.write(out, self.wall_secs, true);
        out.put(body.as_bytes());
        out.put(b"\n");
        self.log(cx, input, None, (status, body.len() as u64 + 1));
    }

    /// Answers a request. There is space for [`HEAD_BYTES_MAX`](super::reply::HEAD_BYTES_MAX) bytes.
    pub(super) fn answer(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        asked: &Asked<'_>,
        out: &mut Writer<'_>,
    ) -> Step {
        let answered = match asked.request.method {
            Method::Unknown => Err(NoObject::Status(501)),
            Method::Other => Err(NoObject::Status(405)),
            Method::Options => {
                return self.write_line(cx, asked, Head::of(200), reason(200), out);
            }
            Method::Get | Method::Head => self.read(session, cx, asked, out),
        };
        match answered {
            Ok(step) => step,
            Err(refusal) => {
                let status = match refusal {
                    NoObject::Status(status) => status,
                    NoObject::Failed(error) => {
                        report(cx, error);
                        500
                    }
                    NoObject::Again(until) => return Step::Again(until),
                };
                if session.sent.take().is_some_and(|sent| sent.has_head()) {
                    return Step::Cut;
                }
                self.write_line(cx, asked, Head::of(status), reason(status), out)
            }
        }
    }

    /// Answers GET or HEAD.
    fn read(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        asked: &Asked<'_>,
        out: &mut Writer<'_>,
    ) -> Result<Step, NoObject> {
        let found = self.find(session, cx, asked.request.path);
        if matches!(found, Err(NoObject::Status(404)))
            && let Some(step) = self.answer_script(cx, asked, out)
        {
            return Ok(step);
        }
        let place = found?;
        let is_listing =
            matches!(place, Place::Figures(_)) || place.kind() == Some(ObjectType::Directory);
        let sends_file = |sent| matches!(sent, Sent::Parts(_));
        if session
            .sent
            .is_some_and(|sent| sends_file(sent) == is_listing)
        {
            // A directory was replaced by a file while it was listed, or a file by a directory.
            return Err(FsError::Stale.into());
        }
        let path = self.path.head(self.path_len);
        if is_listing && !path.ends_with(b"/") && !matches!(place, Place::Figures(_)) {
            let mut name = [0; 255];
            let len = put(&mut name, 0, last(path));
            let head = Head {
                location: Some((name.head(len), asked.request.query)),
                ..Head::of(301)
            };
            return Ok(self.write_line(cx, asked, head, reason(301), out));
        }
        Ok(match place {
            Place::State(status, word) => self.write_line(cx, asked, Head::of(status), word, out),
            Place::Figures(page) => self.list(session, cx, asked, Source::Figures(page), out)?,
            Place::Object(export, node, attr) => match attr.kind {
                ObjectType::Regular => {
                    // Before the conditions: they count only if the user may read the file. RFC 9110 section 13.2.1.
                    let file = cx.vfs.pin(node, Some(Access::Read))?;
                    let step = self.send(session, cx, asked, (export, &file, &attr), out);
                    if !matches!(step, Ok(Step::Send(_))) {
                        cx.vfs.unpin(file);
                    }
                    step?
                }
                ObjectType::Directory => {
                    self.list(session, cx, asked, Source::Directory(export, node), out)?
                }
                // A FIFO or a device is never opened.
                _ => return Err(NoObject::Status(404)),
            },
        })
    }

    /// Writes a reply whose body is one line, even to an error: shim waits for the body of a reply without one.
    fn write_line(
        &mut self,
        cx: &mut Cx<'_>,
        asked: &Asked<'_>,
        head: Head<'_>,
        body: &str,
        out: &mut Writer<'_>,
    ) -> Step {
        let len = body.len() as u64 + 1;
        let status = head.status;
        let head = Head {
            kind: "text/plain",
            len: Some(len),
            fields: match status {
                405 => ALLOW,
                200 if asked.request.method == Method::Options => ALLOW,
                503 => "Retry-After: 1\r\nCache-Control: no-store\r\n",
                _ => "Cache-Control: no-store\r\n",
            },
            ..head
        };
        self.write_head(asked, &head, out);
        if asked.request.method != Method::Head {
            out.put(body.as_bytes());
            out.put(b"\n");
        }
        self.log(cx, asked.input, Some(&asked.request.fields), (status, len));
        Step::Done
    }

    /// Answers a request for a file. Only [`Step::Send`] keeps the pin.
    fn send(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        asked: &Asked<'_>,
        (export, file, attr): (usize, &Pin, &Attr),
        out: &mut Writer<'_>,
    ) -> Result<Step, NoObject> {
        let tag = cx.vfs.exports().get(export).and_then(|export| export.root);
        let space = match file.node().is_inside() {
            true => attr.fsid,
            false => tag.map_or(0, |root| root.tag.into()),
        };
        let (request, size) = (asked.request, attr.size);
        let known = Validators::of(attr, space);
        if session.sent.is_none() {
            match known.verdict(request, self.wall_secs) {
                Verdict::Proceed => {}
                Verdict::Failed => return Err(NoObject::Status(412)),
                Verdict::NotModified => {
                    self.write_head(asked, &known.head(304), out);
                    self.log(cx, asked.input, Some(&request.fields), (304, 0));
                    return Ok(Step::Done);
                }
            }
            if cx.vfs.finds_compressed(file.node()) {
                cx.report(event::COMPRESSED, b"", Text::NOTHING);
            }
        }
        let ranges = known.parts(request, size, self.wall_secs);
        let (status, parts) = match &ranges {
            None => (200, &[(0, size)][..]),
            Some(parts) => (206, parts.all()),
        };
        if parts.is_empty() && session.sent.is_none() {
            let (from, to) = (0, 0);
            let head = Head {
                range: Some(Extent { from, to, size }),
                ..Head::of(416)
            };
            return Ok(self.write_line(cx, asked, head, reason(416), out));
        }
        let head = known.head(status);
        self.send_parts(session, cx, asked, (file, &known, size), (head, parts), out)
    }
}
