//! The law of paths: one name at a time, through directories and symbolic links, and never above the top.
//!
//! It is the way of backends that have no quicker one, and tells what an object's true path is. Paths are as clients write
//! them: absolute ones begin with the path of the first export, and outside of that there is nothing. A link that is
//! absolute is such a path too, and ".." at the top stays there.

#[cfg(not(any(test, fuzzing)))]
use super::Vfs as _;
use super::{Files, FsError, FsResult, Kind, Name, Node};
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
pub(super) type Text = heapless::Vec<u8, PATH_BYTES_MAX>;

/// A true path beneath the top: without links, "." and "..". Empty for the top itself, else each name has a "/" before it.
#[derive(Clone, Debug)]
pub struct Path {
    /// The directory that it ended in.
    pub(super) parent: Node,
    node: Option<Node>,
    text: Text,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            parent: Node(0),
            node: None,
            text: Text::new(),
        }
    }
}

impl Path {
    /// The path as clients write it, cut to `out`.
    pub fn write(&self, vfs: &Files, out: &mut [u8]) -> usize {
        join(out, top(vfs), &self.text)
    }

    /// The last name; empty for the top.
    pub fn name(&self) -> &[u8] {
        let slash = self.text.iter().rposition(|byte| *byte == b'/');
        slash
            .and_then(|at| self.text.get(at + 1..))
            .unwrap_or_default()
    }

    /// Becomes a path that is to be walked.
    pub fn begin(&mut self, path: &[u8]) -> FsResult<()> {
        self.text.clear();
        add(&mut self.text, path)
    }

    /// What follows it.
    pub fn go_on(&mut self, path: &[u8]) -> FsResult<()> {
        add(&mut self.text, path)
    }

    #[inline(never)]
    fn push(&mut self, name: &[u8]) -> FsResult<()> {
        add(&mut self.text, b"/")?;
        add(&mut self.text, name)
    }

    fn pop(&mut self) {
        let len = self.text.len().saturating_sub(self.name().len() + 1);
        self.text.truncate(len);
    }
}

/// Appends to a path.
#[inline(never)]
pub(super) fn add(text: &mut Text, bytes: &[u8]) -> FsResult<()> {
    let added = text.extend_from_slice(bytes);
    added.map_err(|_| FsError::NameTooLong)
}

/// Copies bytes to a place in `out`, as far as they fit; where they end.
#[inline(never)]
fn put(out: &mut [u8], mut at: usize, bytes: &[u8]) -> usize {
    for byte in bytes {
        if let Some(place) = out.get_mut(at) {
            *place = *byte;
            at += 1;
        }
    }
    at
}

/// Writes a path of two parts, cut to `out`; nothing is "/".
#[inline(never)]
pub(super) fn join(out: &mut [u8], first: &[u8], second: &[u8]) -> usize {
    let at = put(out, 0, first);
    match put(out, at, second) {
        0 => put(out, 0, b"/"),
        len => len,
    }
}

/// The beginning of a room.
#[inline(never)]
pub(super) fn front(room: &[u8], len: usize) -> &[u8] {
    room.get(..len).unwrap_or_default()
}

/// The path of the first export without the "/" at its end: that of "/" is empty.
fn top(vfs: &Files) -> &'static [u8] {
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
#[repr(C)]
struct Rest {
    from: usize,
    room: [u8; PATH_BYTES_MAX],
}

impl Rest {
    #[inline(never)]
    fn bytes(&self) -> &[u8] {
        self.room.get(self.from..).unwrap_or_default()
    }

    #[inline(never)]
    fn put_before(&mut self, bytes: &[u8]) -> FsResult<()> {
        let from = self.from.checked_sub(bytes.len());
        let from = from.ok_or(FsError::NameTooLong)?;
        put(&mut self.room, from, bytes);
        self.from = from;
        Ok(())
    }

    /// Passes over "/"s; whether there were any.
    #[inline(never)]
    fn skip(&mut self) -> bool {
        let before = self.from;
        while self.bytes().first() == Some(&b'/') {
            self.from += 1;
        }
        self.from != before
    }

    /// The next name, which may be "." or "..", and is empty at the end.
    #[inline(never)]
    fn name(&self) -> &[u8] {
        let rest = self.bytes();
        let len = rest.iter().position(|byte| *byte == b'/');
        front(rest, len.unwrap_or(rest.len()))
    }

    /// An absolute path becomes one beneath the top.
    #[inline(never)]
    fn enter(&mut self, vfs: &Files) -> FsResult<()> {
        self.from = PATH_BYTES_MAX - beneath(top(vfs), self.bytes())?.len();
        Ok(())
    }
}

#[inline(never)]
fn check_directory(vfs: &mut Files, node: Node) -> FsResult<()> {
    match vfs.attr(node)?.kind {
        Kind::Directory => Ok(()),
        _ => Err(FsError::NotDirectory),
    }
}

/// Walks `path`; `done` is the true path of where it led.
pub fn walk(vfs: &mut Files, path: &[u8], end: End, done: &mut Path) -> FsResult<Found> {
    done.begin(path)?;
    done.walk(vfs, end)?;
    Ok(Found {
        parent: done.parent,
        node: done.node,
    })
}

impl Path {
    /// Walks the path as clients write it, which becomes the true path of where it leads.
    #[inline(never)]
    pub fn walk(&mut self, vfs: &mut Files, end: End) -> FsResult<()> {
        let (mut step_count, mut link_count) = (0, 0);
        let mut rest = Rest {
            from: PATH_BYTES_MAX,
            room: [0; PATH_BYTES_MAX],
        };
        let mut target = [0; PATH_BYTES_MAX];
        rest.put_before(&self.text)?;
        if self.text.first() != Some(&b'/') {
            rest.put_before(b"/")?;
            let len = vfs.start(&mut target)?;
            rest.put_before(front(&target, len))?;
        }
        // Each time anew, what is left is an absolute path.
        'anew: loop {
            rest.enter(vfs)?;
            self.text.clear();
            let mut node = vfs.root(0)?;
            self.parent = node;
            loop {
                step_count += 1;
                if step_count > STEP_COUNT_MAX {
                    return Err(FsError::NameTooLong);
                }
                let is_separated = rest.skip();
                let name = rest.name();
                let name_len = name.len();
                if matches!(name, b"" | b"." | b"..") {
                    // These can follow a directory only.
                    if is_separated {
                        check_directory(vfs, node)?;
                    }
                    rest.from += name_len;
                    match name_len {
                        0 => {
                            self.node = Some(node);
                            return Ok(());
                        }
                        1 => continue,
                        _ => {}
                    }
                    self.pop();
                    rest.put_before(&self.text)?;
                    rest.put_before(top(vfs))?;
                    continue 'anew;
                }
                let name = Name::new(name)?;
                let is_last = rest.from + name_len == PATH_BYTES_MAX;
                let found = match vfs.lookup(node, name) {
                    Err(FsError::NoEntry) if is_last && matches!(end, End::Absent | End::New) => {
                        self.push(name.bytes())?;
                        (self.parent, self.node) = (node, None);
                        return Ok(());
                    }
                    found => found?,
                };
                if !(is_last && matches!(end, End::Keep | End::New)) {
                    match vfs.readlink(found, &mut target) {
                        Err(FsError::Invalid) => {}
                        len => {
                            link_count += 1;
                            if link_count > LINK_COUNT_MAX {
                                return Err(FsError::TooManyFollowed);
                            }
                            let target = front(&target, len?);
                            rest.from += name_len;
                            rest.put_before(target)?;
                            if target.first() == Some(&b'/') {
                                continue 'anew;
                            }
                            continue;
                        }
                    }
                }
                self.push(name.bytes())?;
                rest.from += name_len;
                self.parent = node;
                node = found;
            }
        }
    }
}

/// The object at the end of a path.
pub fn resolve(vfs: &mut Files, path: &[u8], follow: bool) -> FsResult<Node> {
    let end = if follow { End::Follow } else { End::Keep };
    let found = walk(vfs, path, end, &mut Path::default())?;
    found.node.ok_or(FsError::NoEntry)
}
