//! The law of paths: one name at a time, through directories and symbolic links, and never above the top.
//!
//! It is the way of backends that have no quicker one, and tells what an object's true path is. Paths are as clients write
//! them: absolute ones begin with the path of the first export, and outside of that there is nothing. A link that is
//! absolute is such a path too, and ".." at the top stays there.

use super::{FsError, FsResult, Kind, Name, Node, Vfs};
use crate::config::PATH_BYTES_MAX;

/// Symbolic links on one way, as in Linux.
pub(super) const LINK_COUNT_MAX: usize = 40;
/// Names looked up on one way: ".." begins anew at the top.
const STEP_COUNT_MAX: usize = 4096;

/// What to do at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// A symbolic link there is followed.
    Follow,
    /// A symbolic link there is what is looked for.
    Keep,
    /// A symbolic link there is followed, and nothing need be there.
    Absent,
    /// Nothing should be there; a symbolic link there is what is found.
    New,
}

/// Where a path led.
#[derive(Debug)]
pub struct Found {
    /// The directory that it ended in; the top for the top itself.
    pub parent: Node,
    /// What it ended at, if that is there.
    pub node: Option<Node>,
}

/// Bytes that make up a path.
type Text = heapless::Vec<u8, PATH_BYTES_MAX>;

/// A true path beneath the top: without links, "." and "..". Empty for the top itself, else each name has a "/" before it.
#[derive(Clone, Debug, Default)]
pub struct Path(Text);

impl Path {
    /// The path as clients write it, cut to `out`.
    pub fn write(&self, vfs: &dyn Vfs, out: &mut [u8]) -> usize {
        let top = top(vfs);
        let whole = top.iter().chain(&self.0);
        let len = out
            .iter_mut()
            .zip(whole)
            .map(|(to, from)| *to = *from)
            .count();
        match out.first_mut() {
            Some(first) if len == 0 => {
                *first = b'/';
                1
            }
            _ => len,
        }
    }

    /// The last name; empty for the top.
    pub fn name(&self) -> &[u8] {
        self.0
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default()
    }

    fn push(&mut self, name: &[u8]) -> FsResult<()> {
        let fits = self.0.push(b'/').is_ok() && self.0.extend_from_slice(name).is_ok();
        if fits {
            Ok(())
        } else {
            Err(FsError::NameTooLong)
        }
    }

    fn pop(&mut self) {
        let len = self.0.len().saturating_sub(self.name().len() + 1);
        self.0.truncate(len);
    }
}

/// The path of the first export without the "/" at its end: that of "/" is empty.
fn top(vfs: &dyn Vfs) -> &'static [u8] {
    let top = vfs.exports().first().map_or(&b""[..], |export| export.path);
    top.strip_suffix(b"/").unwrap_or(top)
}

/// What of an absolute path lies beneath the top.
pub(super) fn beneath<'a>(top: &[u8], path: &'a [u8]) -> FsResult<&'a [u8]> {
    match path.strip_prefix(top) {
        Some(below @ ([] | [b'/', ..])) => Ok(below),
        _ => Err(FsError::NoEntry),
    }
}

/// What of a path was not walked yet. What is put before it takes the room of what was walked.
pub(super) struct Rest {
    room: [u8; PATH_BYTES_MAX],
    from: usize,
}

impl Rest {
    /// Nothing. Zeros that are a constant would lie in the file.
    #[inline(always)]
    pub(super) const fn end() -> Self {
        Self {
            room: [0; PATH_BYTES_MAX],
            from: PATH_BYTES_MAX,
        }
    }

    fn bytes(&self) -> &[u8] {
        self.room.get(self.from..).unwrap_or_default()
    }

    /// Has a path walked before this, to where this begins.
    #[inline(never)]
    pub(super) fn put_before(&mut self, bytes: &[u8]) -> FsResult<()> {
        let from = self.from.checked_sub(bytes.len());
        let from = from.ok_or(FsError::NameTooLong)?;
        if let Some(room) = self.room.get_mut(from..self.from) {
            room.copy_from_slice(bytes);
        }
        self.from = from;
        Ok(())
    }

    /// Walks the "/"s at the beginning; whether there were any.
    fn skip_separators(&mut self) -> bool {
        let count = self
            .bytes()
            .iter()
            .take_while(|byte| **byte == b'/')
            .count();
        self.from += count;
        count > 0
    }

    /// The next name, which may be "." or ".."; empty at the end.
    fn name(&self) -> &[u8] {
        self.bytes()
            .split(|byte| *byte == b'/')
            .next()
            .unwrap_or_default()
    }

    /// An absolute path becomes one beneath the top.
    fn enter(&mut self, vfs: &dyn Vfs) -> FsResult<()> {
        self.from = PATH_BYTES_MAX - beneath(top(vfs), self.bytes())?.len();
        Ok(())
    }

    /// Walks it; `done` is the true path of where it led.
    #[inline(never)]
    pub(super) fn walk(mut self, vfs: &mut dyn Vfs, end: End, done: &mut Path) -> FsResult<Found> {
        let mut target = [0; PATH_BYTES_MAX];
        done.0.clear();
        let top = vfs.root(0)?;
        let (mut parent, mut node, mut links) = (top, top, 0);
        for _ in 0..STEP_COUNT_MAX {
            let separated = self.skip_separators();
            let name = self.name();
            if separated && (name.len() < 3 && name.iter().all(|byte| *byte == b'.')) {
                // Nothing, "." and ".." can follow a directory only.
                if vfs.attr(node)?.kind != Kind::Directory {
                    return Err(FsError::NotDirectory);
                }
            }
            let len = name.len();
            match name {
                b"" => {
                    return Ok(Found {
                        parent,
                        node: Some(node),
                    });
                }
                b"." => {
                    self.from += len;
                    continue;
                }
                b".." => {
                    self.from += len;
                    done.pop();
                    self.put_before(&done.0)?;
                    done.0.clear();
                    (parent, node) = (top, top);
                    continue;
                }
                _ => {}
            }
            let found = vfs.lookup(node, Name::new(name)?);
            let is_last = self.bytes().len() == len;
            if found == Err(FsError::NoEntry) && is_last && matches!(end, End::Absent | End::New) {
                done.push(name)?;
                return Ok(Found {
                    parent: node,
                    node: None,
                });
            }
            let found = found?;
            if !(is_last && matches!(end, End::Keep | End::New)) {
                match vfs.readlink(found, &mut target) {
                    Err(FsError::Invalid) => {}
                    len_of_target => {
                        links += 1;
                        if links > LINK_COUNT_MAX {
                            return Err(FsError::TooManyFollowed);
                        }
                        self.from += len;
                        let target = target.get(..len_of_target?).unwrap_or_default();
                        self.put_before(target)?;
                        if target.first() == Some(&b'/') {
                            self.enter(vfs)?;
                            done.0.clear();
                            (parent, node) = (top, top);
                        }
                        continue;
                    }
                }
            }
            done.push(name)?;
            self.from += len;
            (parent, node) = (node, found);
        }
        Err(FsError::NameTooLong)
    }
}

/// Walks `path`; `done` is the true path of where it led.
pub fn walk(vfs: &mut dyn Vfs, path: &[u8], end: End, done: &mut Path) -> FsResult<Found> {
    let mut rest = Rest::end();
    rest.put_before(path)?;
    if path.first() != Some(&b'/') {
        rest.put_before(b"/")?;
        let mut start = [0; PATH_BYTES_MAX];
        let len = vfs.start(&mut start)?;
        rest.put_before(start.get(..len).unwrap_or_default())?;
    }
    rest.enter(vfs)?;
    rest.walk(vfs, end, done)
}

/// The object at the end of a path.
pub fn resolve(vfs: &mut dyn Vfs, path: &[u8], follow: bool) -> FsResult<Node> {
    let end = if follow { End::Follow } else { End::Keep };
    let found = walk(vfs, path, end, &mut Path::default())?;
    found.node.ok_or(FsError::NoEntry)
}
