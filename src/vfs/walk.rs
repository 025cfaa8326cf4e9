//! The rules of paths: one name at a time, through directories and symbolic links, and never above the top.
//!
//! It is the way of backends that have no quicker one, and tells what an object's true path is. Paths are as clients write
//! them: absolute ones begin with that of the root directory, and outside of that there is nothing. A link that is
//! absolute is such a path too, and ".." at the top stays there. A path that goes on behind the name of an image goes on inside
//! it, unless a link led to the image; its top is written with a "/" at the end.

use super::{FsError, FsResult, Kind, Name, Node, Tree};
use crate::config::PATH_BYTES_MAX;

/// Symbolic links on one way, as in Linux.
pub(super) const LINK_COUNT_MAX: u16 = 40;
/// Names looked up on one way: ".." begins again at the top.
const STEP_COUNT_MAX: u16 = 4096;

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

/// Bytes that make up a path.
pub type Text = heapless::Vec<u8, PATH_BYTES_MAX>;

/// Bytes that a walk needs: links on the way are kept there. One more than a path has, so that what fills it was cut.
pub const BUFFER_BYTES: usize = PATH_BYTES_MAX + 1;

/// A walk, and the true path that it led to, beneath the top: without links, "." and "..". Empty for the top itself, else each
/// name has a "/" before it.
#[repr(C)] // What is used most lies first, where short instructions reach it.
pub struct Path<'a> {
    tree: &'a mut Tree,
    /// The directory that it ended in; the top for the top itself.
    pub(super) parent: Node,
    /// What it ended at, if that is there; in the beginning it is the top.
    node: Option<Node>,
    step_count: u16,
    link_count: u16,
    /// Whether links may lead to images that it goes through.
    pub(super) follows: bool,
    /// The export at whose top it begins; `None`: at the root directory.
    export: Option<usize>,
    text: Text,
}

impl<'a> Path<'a> {
    /// None yet.
    #[inline(never)]
    pub fn new(tree: &'a mut Tree) -> Self {
        Self {
            tree,
            parent: Node::default(),
            node: None,
            step_count: 0,
            link_count: 0,
            follows: false,
            export: None,
            text: Text::new(),
        }
    }

    /// What it led to, if that is there.
    pub(super) fn node(&self) -> Option<Node> {
        let top = self.text.is_empty().then_some(self.parent);
        self.node.or(top)
    }

    /// The path as clients write it, cut to `out`.
    #[inline(never)]
    pub fn write(&mut self, out: &mut [u8]) -> usize {
        join(out, self.top(), &self.text)
    }

    /// The last name; empty for the top.
    pub fn name(&self) -> &[u8] {
        last(&self.text)
    }
}

/// The last name of a path; empty when that ends with a "/", or has none.
#[inline(never)]
fn last(text: &[u8]) -> &[u8] {
    let slash = text.iter().rposition(|byte| *byte == b'/');
    slash.and_then(|at| text.get(at + 1..)).unwrap_or_default()
}

/// The object `below` the top of an export, through symbolic links that lead nowhere else, as the server itself. Images on the
/// way are entered, also that at its end.
#[inline(never)]
pub fn find(tree: &mut Tree, export: usize, mut below: &[u8]) -> FsResult<Node> {
    let mut path = Path::new(tree);
    path.export = Some(export);
    path.follows = true;
    path.begin()?;
    while let [b'/', rest @ ..] = below {
        below = rest;
    }
    path.go_on(below, &mut [0; BUFFER_BYTES], End::Follow)?;
    match path.go_in(true) {
        Err(FsError::NotDirectory) => {}
        entered => entered?,
    }
    path.node().ok_or(FsError::NoEntry)
}

/// Takes the first name off a path; empty ones and "." mean nothing.
pub fn next_name<'a>(path: &mut &'a [u8]) -> Option<&'a [u8]> {
    while !path.is_empty() {
        let end = path
            .iter()
            .position(|byte| *byte == b'/')
            .unwrap_or(path.len());
        let (name, rest) = path.split_at_checked(end)?;
        *path = rest.get(1..).unwrap_or_default();
        if !matches!(name, b"" | b".") {
            return Some(name);
        }
    }
    None
}

/// Appends to a path.
#[inline(never)]
pub fn add(text: &mut Text, bytes: &[u8]) -> FsResult<()> {
    let added = text.extend_from_slice(bytes);
    added.map_err(|_| FsError::NameTooLong)
}

/// Copies bytes to a place in `out`, as far as they fit; where they end.
#[inline(never)]
pub fn put(out: &mut [u8], mut at: usize, bytes: &[u8]) -> usize {
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

/// The first bytes of a buffer.
#[inline(always)]
pub fn front(buffer: &[u8], len: usize) -> &[u8] {
    buffer.get(..len).unwrap_or_default()
}

/// What of `path` lies below `top`, if it does. Both are absolute, or there is nothing; empty names and "." mean nothing.
#[inline(never)]
pub fn below<'a>(top: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let (mut top, mut rest) = (top, path);
    if top.first() != Some(&b'/') || rest.first() != Some(&b'/') {
        return None;
    }
    while let Some(wanted) = next_name(&mut top) {
        if next_name(&mut rest)? != wanted {
            return None;
        }
    }
    Some(rest)
}

/// A path without the "/" at its end.
#[inline(never)]
pub fn ended(path: &[u8]) -> &[u8] {
    match path {
        [before @ .., b'/'] => before,
        path => path,
    }
}

/// What of an absolute path lies beneath the top, if it does.
#[inline(never)]
pub(super) fn beneath<'a>(top: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let (first, below) = path.split_at_checked(top.len())?;
    (first == top && matches!(below, [] | [b'/', ..])).then_some(below)
}

impl Path<'_> {
    /// The path of where it begins without the "/" at its end: that of "/" is empty.
    #[inline(never)]
    fn top(&mut self) -> &'static [u8] {
        let export = self
            .export
            .and_then(|number| self.tree.exports().get(number));
        ended(match export {
            Some(export) => export.path,
            None => self.tree.root_path(),
        })
    }

    /// Begins again.
    fn begin(&mut self) -> FsResult<()> {
        self.text.clear();
        self.node = None;
        self.parent = match self.export {
            Some(number) => self.tree.root(number)?,
            None => self.tree.root_dir()?,
        };
        Ok(())
    }

    /// Walks a path as clients write it.
    pub fn walk(&mut self, path: &[u8], buffer: &mut [u8; BUFFER_BYTES], end: End) -> FsResult<()> {
        if path.len() > PATH_BYTES_MAX {
            return Err(FsError::NameTooLong);
        }
        if path.first() != Some(&b'/') {
            let len = self.tree.cwd(buffer)? as usize;
            let (cwd, buffer) = split(buffer, len)?;
            self.go_on(cwd, buffer, End::Follow)?;
        }
        self.go_on(path, buffer, end)
    }

    /// Walks a path that is absolute, or begins where the last one has led.
    #[inline(never)]
    pub(super) fn go_on(&mut self, mut names: &[u8], buffer: &mut [u8], end: End) -> FsResult<()> {
        if let [b'/', ..] = names {
            // An export whose path is a link's has another one.
            let export = self
                .export
                .and_then(|number| self.tree.exports().get(number));
            let real = export.and_then(|export| below(export.top.real, names));
            names = real
                .or_else(|| beneath(self.top(), names))
                .ok_or(FsError::NoEntry)?;
            self.begin()?;
        }
        // Whether the last name was that of the object itself.
        let mut direct = self.follows;
        loop {
            self.step_count += 1;
            if self.step_count > STEP_COUNT_MAX {
                return Err(FsError::NameTooLong);
            }
            let mut dir = self.node.unwrap_or(self.parent);
            let mut is_separated = false;
            while let [b'/', behind @ ..] = names {
                (names, is_separated) = (behind, true);
            }
            let (whole, mut is_dots) = (names, true);
            while let [byte, behind @ ..] = names
                && *byte != b'/'
            {
                (names, is_dots) = (behind, is_dots && *byte == b'.');
            }
            let name = front(whole, whole.len() - names.len());
            let end = if names.is_empty() { end } else { End::Follow };
            let target_len = if is_dots && name.len() < 3 {
                // These can follow a directory only.
                if is_separated {
                    self.go_in(direct)?;
                }
                match name.len() {
                    0 => return Ok(()),
                    1 => continue,
                    _ => {}
                }
                // Again from the top: where the directory lies may have changed. It may be an image.
                let text = ended(&self.text);
                let len = text.iter().rposition(|byte| *byte == b'/');
                self.text.truncate(len.unwrap_or(0));
                let len = self.write(buffer);
                put(buffer, len, b"/")
            } else {
                let name = Name::new(name)?;
                let mut found = self.tree.lookup(dir, name);
                if found == Err(FsError::NotDirectory) {
                    self.go_in(direct)?;
                    dir = self.node.unwrap_or(dir);
                    found = self.tree.lookup(dir, name);
                }
                let found = match found {
                    Err(FsError::NoEntry) if matches!(end, End::Absent | End::New) => None,
                    found => Some(found?),
                };
                let mut target_len = None;
                if let Some(link) = found
                    && matches!(end, End::Follow | End::Absent)
                {
                    match self.tree.readlink(link, buffer) {
                        Err(FsError::Invalid) => {}
                        len => target_len = Some(len?),
                    }
                }
                let Some(target_len) = target_len else {
                    if self.text.last() != Some(&b'/') {
                        add(&mut self.text, b"/")?;
                    }
                    add(&mut self.text, name.bytes())?;
                    (self.parent, self.node) = (dir, found);
                    direct = true;
                    continue;
                };
                self.link_count += 1;
                if self.link_count > LINK_COUNT_MAX {
                    return Err(FsError::TooManyFollowed);
                }
                target_len as usize
            };
            let (target, buffer) = split(buffer, target_len)?;
            self.go_on(target, buffer, end)?;
            direct = self.follows;
        }
    }

    /// Goes on inside an image, if it may be entered and there is no directory to go on at.
    #[inline(never)]
    fn go_in(&mut self, direct: bool) -> FsResult<()> {
        let dir = self.node.unwrap_or(self.parent);
        if self.tree.attr(dir)?.kind == Kind::Directory {
            return Ok(());
        }
        if !direct {
            return Err(FsError::NotDirectory);
        }
        let top = self.tree.enter_image(self.parent, Name(last(&self.text)))?;
        self.node = Some(top);
        add(&mut self.text, b"/")
    }
}

/// What was written to a buffer, and what is left of that.
fn split(buffer: &mut [u8], len: usize) -> FsResult<(&[u8], &mut [u8])> {
    if len >= buffer.len() {
        return Err(FsError::NameTooLong);
    }
    let (written, left) = buffer.split_at_mut(len);
    Ok((written, left))
}
