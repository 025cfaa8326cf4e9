//! The object at a path: an export's file or directory, a directory above the exports, or the state of the server.

use super::figures::{FILES, FINE, Figures};
use super::{Health, Http, REOPEN, Root, Session};
use crate::engine::Cx;
use crate::event::Event;
use crate::mem::Ends as _;
use crate::text::text;
use crate::vfs::walk::{below, find_for};
use crate::vfs::{Attr, FsError, Node, ObjectType, Peer, Until};
use crate::wire::http::{Decoded, decode};

/// A request was refused, because no rule admits the client.
const MAY_NOT_READ: Event = text!("may not read").warn();

/// The path of the state of the server.
const HEALTH_PATH: &[u8] = b"/healthz";

/// The object at a path.
pub(super) enum Place {
    /// A file or directory of the export with this number, or a directory above exports.
    Object(usize, Node, Attr),
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
        let mut rest = path;
        // If exports are nested, the innermost has the object.
        let export = match self.root {
            Root::Exports => cx.vfs.innermost(&mut rest),
            Root::Single => Some(0),
        };
        let peer = Peer { port: 0, ..cx.peer };
        let mut found = Err(FsError::Stale);
        if let Some(number) = export {
            if number != self.reopened.0 || cx.now >= self.reopened.1 {
                self.reopened = (number, cx.now.after(REOPEN));
                // A failure is found again by the walk.
                let _ = cx.vfs.reopen_for_client(number);
            }
            found = find_for(cx.vfs, number, &peer, rest);
        }
        // Nothing is above the only export, whose top is `/`.
        if found == Err(FsError::Stale) && self.root == Root::Exports {
            found = cx.vfs.above(path, &peer);
        }
        if let (Some(number), Err(_)) = (export, found)
            && cx.vfs.rules(number, &peer) == Err(FsError::Stale)
        {
            let why = text!("not exported to this host");
            cx.report(MAY_NOT_READ, path, why);
        }
        let node = found?;
        let attr = cx.vfs.attr(node)?;
        Ok(Place::Object(export.unwrap_or(0), node, attr))
    }

    /// The rest of `self.path` below the top of an export that contains it.
    pub(super) fn below_export(&self, cx: &Cx<'_>, number: usize) -> &[u8] {
        let path = self.path.head(self.path_len);
        match self.root {
            Root::Exports => below(cx.vfs.path(number).to_bytes(), path).unwrap_or_default(),
            Root::Single => path,
        }
    }

    /// The state of the server in one word.
    pub(super) fn state(&mut self, cx: &mut Cx<'_>) -> &'static str {
        if cx.now >= self.state_at {
            self.state_at = cx.now.after(REOPEN);
            for number in 0..cx.vfs.exports().len() {
                if !cx.vfs.path(number).is_empty() {
                    // A failure is found below.
                    let _ = cx.vfs.reopen_for_client(number);
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
