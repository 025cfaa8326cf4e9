//! The object at a path: an export's file or directory, a list of exports, or the state of the server.

use super::figures::{FILES, FINE, Figures};
use super::{Health, Http, REOPEN, Root, Session};
use crate::engine::Cx;
use crate::event;
use crate::mem::Ends as _;
use crate::text::text;
use crate::vfs::walk::{below, find_for};
use crate::vfs::{Attr, FsError, FsResult, Node, ObjectType, Peer, Until};
use crate::wire::http::{Decoded, decode};

/// The path of the state of the server.
const HEALTH_PATH: &[u8] = b"/healthz";

/// The object at a path.
pub(super) enum Place {
    /// A file or directory of the export with this number.
    Object(usize, Node, Attr),
    /// A list of the exports below the path.
    Exports,
    /// A page of the server's figures.
    Figures(Figures),
    /// The state of the server: a status and a word.
    State(u16, &'static str),
}

impl Place {
    /// The kind of an object.
    pub(super) const fn kind(&self) -> Option<ObjectType> {
        match self {
            Self::Object(_, _, attr) => Some(attr.kind),
            _ => None,
        }
    }
}

/// The reason why a request gets no object.
pub(super) enum NoObject {
    /// The status of the reply.
    Status(u16),
    /// The status is 500: the disk failed, or the image is cut.
    Failed(FsError),
    /// Nothing was done: the request is to be looked at again after this event.
    Again(Until),
}

impl From<FsError> for NoObject {
    fn from(error: FsError) -> Self {
        if let Some(until) = error.until() {
            return Self::Again(until);
        }
        if matches!(error, FsError::Io | FsError::Cut) {
            return Self::Failed(error);
        }
        Self::Status(match error {
            FsError::Access | FsError::Permission => 403,
            FsError::TryLater => 503,
            _ => 404,
        })
    }
}

impl Http {
    /// Finds the object at a path that is still percent-encoded. `self.path` then begins with the decoded path, which is
    /// `self.path_len` bytes long.
    pub(super) fn find(
        &mut self,
        session: &Session,
        cx: &mut Cx<'_>,
        raw: &[u8],
    ) -> Result<Place, NoObject> {
        self.path_len = match decode(raw, self.path) {
            Decoded::Path(path) => path.len(),
            Decoded::Absent => return Err(NoObject::Status(404)),
            Decoded::Malformed => return Err(NoObject::Status(400)),
        };
        if self.path.head(self.path_len) == HEALTH_PATH {
            let word = self.state(cx);
            return Ok(Place::State(if word == FINE { 200 } else { 503 }, word));
        }
        let found = match session.listener {
            FILES => self.find_object(cx),
            _ => Err(NoObject::Status(404)),
        };
        let path = self.path.head(self.path_len);
        let page = self.figures.find(session.listener, cx.peer.address, path);
        match (found, page) {
            (Err(NoObject::Status(404)), Some(page)) => Ok(Place::Figures(page)),
            (found, _) => found,
        }
    }

    /// Finds the object of the exports at `self.path`.
    fn find_object(&mut self, cx: &mut Cx<'_>) -> Result<Place, NoObject> {
        let path = self.path.head(self.path_len);
        // The export, and the length of the path below its top.
        let mut best: Option<(usize, usize)> = None;
        let mut has_exports = path == b"/";
        for number in 0..cx.vfs.exports().len() {
            let top = cx.vfs.path(number).to_bytes();
            if top.is_empty() {
                continue;
            }
            let len = self.below_export(cx, number).map(<[u8]>::len);
            match (len, best) {
                // If exports are nested, the innermost has the object.
                (Some(len), Some((_, other))) if len >= other => {}
                (Some(len), _) => best = Some((number, len)),
                (None, _) => has_exports |= below(path, top).is_some() && is_visible(cx, number)?,
            }
        }
        let Some((number, _)) = best else {
            let place = has_exports.then_some(Place::Exports);
            return place.ok_or(NoObject::Status(404));
        };
        if cx.vfs.reopens && (number != self.reopened.0 || cx.now >= self.reopened.1) {
            self.reopened = (number, cx.now.after(REOPEN));
            // A failure is found again by the walk.
            let _ = cx.vfs.reopen_export(number);
        }
        let peer = cx.peer;
        let rest = self.below_export(cx, number).unwrap_or_default();
        let found = find_for(cx.vfs, number, &peer, rest);
        let is_refused = matches!(found, Err(error) if error != FsError::TryLater);
        if is_refused && !is_visible(cx, number)? {
            let why = text!("not exported to this host");
            cx.report(event::MAY_NOT_READ, self.path.head(self.path_len), why);
        }
        let node = found?;
        let attr = cx.vfs.attr(node)?;
        Ok(Place::Object(number, node, attr))
    }

    /// The rest of `self.path` below the top of an export; `None`: it is not below that.
    pub(super) fn below_export(&self, cx: &Cx<'_>, number: usize) -> Option<&[u8]> {
        let path = self.path.head(self.path_len);
        match self.root {
            Root::Exports => below(cx.vfs.path(number).to_bytes(), path),
            Root::Single => Some(path),
        }
    }

    /// The state of the server in one word.
    pub(super) fn state(&mut self, cx: &mut Cx<'_>) -> &'static str {
        if cx.vfs.reopens && cx.now >= self.state_at {
            self.state_at = cx.now.after(REOPEN);
            for number in 0..cx.vfs.exports().len() {
                if !cx.vfs.path(number).is_empty() {
                    // A failure is found below.
                    let _ = cx.vfs.reopen_export(number);
                }
            }
        }
        match cx.health {
            Health::Role => "role",
            Health::Disk => "disk",
            _ if cx.vfs.exports().iter().any(|export| export.is_missing()) => "export",
            Health::Fine => FINE,
        }
    }
}

/// Returns true if the peer may read an export.
pub(super) fn is_visible(cx: &mut Cx<'_>, number: usize) -> FsResult<bool> {
    let peer = Peer { port: 0, ..cx.peer };
    match cx.vfs.rules(number, &peer) {
        Err(error) if error.stops() => Err(error),
        rules => Ok(rules.is_ok()),
    }
}
