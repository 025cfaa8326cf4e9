//! Conditions and ranges of a request for a file. RFC 9110 sections 13 and 14.

use super::reply::{Head, Tag};
use crate::vfs::{Attr, FileTime};
use crate::wire::http::{Comparison, Parts, Request, lists_tag, parse_date, ranges};

/// The validators of a file.
pub(super) struct Validators {
    pub(super) tag: Tag,
    /// The number in `tag`.
    pub(super) version: u64,
    /// Time of the last write (seconds since 1970).
    pub(super) modified: i64,
}

/// The verdict of a request's conditions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// They hold, or there are none.
    Proceed,
    /// The client has the file already: status 304.
    NotModified,
    /// One does not hold: status 412.
    Failed,
}

impl Validators {
    /// The validators of a file. `space` identifies its export, or the image that it is in. The tag changes with each change of
    /// the file, also if its mtime was set back, because that changes the ctime.
    pub(super) fn of(attr: &Attr, space: u64) -> Self {
        let FileTime { secs, nanos } = attr.mtime;
        let parts = [
            space,
            attr.inode,
            attr.size,
            secs as u64,
            nanos.into(),
            attr.ctime.secs as u64,
            attr.ctime.nanos.into(),
        ];
        let mut mixed = 0_u64;
        for part in parts {
            mixed = (mixed.rotate_left(29) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed ^= mixed >> 32;
        }
        let mut tag = [b'"'; 18];
        for (place, shift) in tag.iter_mut().skip(1).zip((0..u64::BITS).step_by(4)) {
            let digit = (mixed >> shift & 0xf) as u8;
            *place = if digit < 10 {
                b'0' + digit
            } else {
                b'a' - 10 + digit
            };
        }
        Self {
            tag,
            version: mixed,
            modified: secs,
        }
    }

    /// The head of a reply for the file.
    pub(super) fn head(&self, status: u16) -> Head<'_> {
        Head {
            tag: Some(&self.tag),
            modified: Some(self.modified),
            ..Head::of(status)
        }
    }

    /// Evaluates the conditions of a request, in the order of RFC 9110 section 13.2.2.
    pub(super) fn verdict(&self, request: &Request<'_>, wall_secs: i64) -> Verdict {
        let fields = &request.fields;
        let date = |name: &[u8]| {
            fields
                .get(name)
                .and_then(|text| parse_date(text, wall_secs))
        };
        if fields.get(b"If-Match").is_some() {
            if !lists_tag(fields.all(b"If-Match"), &self.tag, Comparison::Strong) {
                return Verdict::Failed;
            }
        } else if date(b"If-Unmodified-Since").is_some_and(|date| self.modified > date) {
            return Verdict::Failed;
        }
        let is_known = match fields.get(b"If-None-Match") {
            Some(_) => lists_tag(fields.all(b"If-None-Match"), &self.tag, Comparison::Weak),
            None => date(b"If-Modified-Since").is_some_and(|date| self.modified <= date),
        };
        match is_known {
            true => Verdict::NotModified,
            false => Verdict::Proceed,
        }
    }

    /// The parts of the file, of `size` bytes, that the request asks for. `None`: the whole file.
    pub(super) fn parts(&self, request: &Request<'_>, size: u64, wall_secs: i64) -> Option<Parts> {
        let fields = &request.fields;
        let asked = fields.get(b"Range")?;
        let is_same = match fields.get(b"If-Range") {
            None => true,
            Some([b'"', ..]) => fields.get(b"If-Range") == Some(&self.tag),
            // A date is strong only if the file cannot be written again in its second. RFC 9110 section 8.8.2.2.
            Some(date) => {
                self.modified < wall_secs && parse_date(date, wall_secs) == Some(self.modified)
            }
        };
        is_same.then(|| ranges(asked, size)).flatten()
    }
}
