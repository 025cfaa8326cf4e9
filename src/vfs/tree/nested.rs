//! Exports nested in others, for version 4 of NFS, whose clients look up each name of a path: a name leads into the inner export if
//! the peer may use that. For other protocols, which begin at the innermost export of a path, it is an entry of the outer one.

use super::super::reading::Place;
use super::super::{Detail, DirEntry, FsError, FsResult, Name, Node, Peer, Tree};
use super::sorted::hook;
use crate::mem::Slots;
use core::ops::ControlFlow;

/// The number of the export that has this hook.
fn hooked(exports: &Slots<Place>, hook: u64) -> Option<usize> {
    let mut exports = exports.iter();
    exports.position(|place| place.root.is_some_and(|root| root.hook == hook))
}

impl Tree {
    /// Looks up the top of an export that is nested in that of `dir`, for a request of `peer`. The following calls are carried out with the
    /// server's own rights then. `None`: the name is none, or one that the peer may not use.
    ///
    /// # Errors
    /// As [`Tree::root`] and [`Tree::rules`]; `TryLater`: the export has become missing.
    pub fn lookup_nested(
        &mut self,
        dir: Node,
        name: Name<'_>,
        peer: &Peer,
    ) -> FsResult<Option<Node>> {
        match self.has_nested && !dir.is_above() && !dir.is_inside() {
            true => self.find_nested(dir, name, peer),
            false => Ok(None),
        }
    }

    #[inline(never)] // Servers without nested exports do not pay for it.
    fn find_nested(&mut self, dir: Node, name: Name<'_>, peer: &Peer) -> FsResult<Option<Node>> {
        // Other backends than the host's have no digests, and no exports below.
        let holder = self.backend(dir)?.digest(Some(dir), c"").ok();
        let hook = holder.map(|holder| hook(holder, name.bytes()));
        let Some(number) = hook.and_then(|hook| hooked(&self.exports, hook)) else {
            return Ok(None);
        };
        let rules = match self.rules(number, peer) {
            Err(FsError::Stale | FsError::Permission) => return Ok(None),
            rules => rules?,
        };
        // From here on, calls have the server's own rights, so `dir` is not used any more. An export that has become missing is none
        // for the client's next attempt.
        let _ = self.reopen_for_client(number);
        let top = self.root(number).map_err(|error| match error {
            FsError::Stale => FsError::TryLater,
            error => error,
        });
        Ok(Some(top?.limited(rules.rights())))
    }

    /// Lists a directory as [`Tree::readdir`]. The top of a nested export has no object: the client looks it up.
    pub fn readdir_in_all(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        if !self.has_nested || dir.is_above() || dir.is_inside() {
            return self.readdir(dir, from, detail, each);
        }
        let Ok(holder) = self.backend(dir)?.digest(Some(dir), c"") else {
            return self.readdir(dir, from, detail, each);
        };
        let exports = core::mem::take(&mut self.exports);
        let listed = self.readdir(dir, from, detail, &mut |entry| {
            let hook = hook(holder, entry.name);
            match hooked(&exports, hook) {
                Some(_) => each(&DirEntry {
                    inode: hook,
                    object: None,
                    ..*entry
                }),
                None => each(entry),
            }
        });
        self.exports = exports;
        listed
    }
}
