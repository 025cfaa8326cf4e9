//! Paths inside an image: names, "." and "..", symbolic links. What is absolute begins at the image's top.

use super::super::walk::LINK_COUNT_MAX;
use super::super::{FsError, FsResult, Kind};
use super::{Block, Entry, Image};
use crate::config::PATH_BYTES_MAX;

impl<B: Block> Image<'_, B> {
    /// Reads all about what a path leads to; a symbolic link at its end is followed if `follow`.
    pub fn resolve(&mut self, path: &[u8], follow: bool, out: &mut Entry) -> FsResult<()> {
        // What was not walked yet lies at the end of the room. What is put before it takes the place of what was walked.
        let mut room = [0; PATH_BYTES_MAX];
        let mut from = put_before(&mut room, PATH_BYTES_MAX, path)?;
        let (mut at, mut links) = (self.tree.root, 0);
        loop {
            let rest = room.get(from..).unwrap_or_default();
            let Some(start) = rest.iter().position(|byte| *byte != b'/') else {
                self.entry(at, out)?;
                if !rest.is_empty() && out.kind() != Kind::Directory {
                    return Err(FsError::NotDirectory);
                }
                return Ok(());
            };
            let rest = rest.get(start..).unwrap_or_default();
            let end = rest.iter().position(|byte| *byte == b'/');
            let end = end.unwrap_or(rest.len());
            let (name, rest) = rest.split_at_checked(end).unwrap_or_default();
            from = PATH_BYTES_MAX - rest.len();
            self.lookup(at, name, out)?;
            if out.kind() == Kind::SymbolicLink && (follow || !rest.is_empty()) {
                links += 1;
                if links > LINK_COUNT_MAX {
                    return Err(FsError::TooManyFollowed);
                }
                // What is not absolute goes on from where the link is.
                from = put_before(&mut room, from, out.target())?;
                if out.target().starts_with(b"/") {
                    at = self.tree.root;
                }
            } else {
                at = out.id;
            }
        }
    }
}

/// Copies bytes to where they end at `end`; where they begin.
fn put_before(room: &mut [u8], end: usize, bytes: &[u8]) -> FsResult<usize> {
    let from = end.checked_sub(bytes.len()).ok_or(FsError::NameTooLong)?;
    let place = room.get_mut(from..end).unwrap_or_default();
    place.copy_from_slice(bytes);
    Ok(from)
}
