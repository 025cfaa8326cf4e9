//! Path resolution: one name at a time, through directories and symbolic links, never above the top.
//!
//! Used where a backend cannot resolve a path in one call, and to find an object's true path. Paths and targets of links are as
//! clients write them: absolute ones begin with the root directory's path, others do not exist; ".." at the top is the top.
//! After the name of an ISO image the path continues inside the image, unless a symbolic link led to the image. The path of an
//! image's top directory ends with "/".

use super::{FsError, FsResult, Name, Node, ObjectType, Rules, Tree};
use crate::config::{EXPORT_PATH_BYTES_MAX, HAS_HTTP, HAS_ISO, HAS_NFS, PATH_BYTES_MAX};

/// Most symbolic links followed by one walk, as in Linux.
pub(super) const LINK_COUNT_MAX: u16 = 40;
/// Most names looked up by one walk. Needed because each ".." in a path starts again at the top, so that a short path can cause
/// many lookups.
const STEP_COUNT_MAX: u16 = 4096;

/// Treatment of the last name of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Follow a symbolic link.
    Follow,
    /// Return a symbolic link itself.
    Keep,
    /// Follow a symbolic link; the last name may be absent.
    Absent,
    /// Return a symbolic link itself; the last name may be absent (for O_EXCL).
    New,
}

/// The bytes of a path.
pub type Text = heapless::Vec<u8, PATH_BYTES_MAX>;

/// Size of a walk's buffer for link targets: the longest path plus one byte, so that a full buffer means a truncated target.
pub const BUFFER_BYTES: usize = PATH_BYTES_MAX + 1;

/// A walk, and the true path below the top that it has reached: without links, "." and "..". The text is empty for the top, else
/// each name has a "/" before it.
#[repr(C)] // Frequently used fields first: small offsets make short instructions.
pub struct Path<'a> {
    tree: &'a mut Tree,
    /// The directory in which the walk ended; the top if it ended there.
    pub(super) parent: Node,
    /// The object at which the walk ended. `None`: absent, or the walk is at the top.
    node: Option<Node>,
    step_count: u16,
    link_count: u16,
    /// True if the walk may enter an image that a symbolic link led to.
    pub(super) follows: bool,
    /// True if a "/", "." or ".." after a file is no error, as in the realpath of OpenSSH.
    pub passes_files: bool,
    /// The export at whose top the walk begins; `None`: at the root directory.
    export: Option<usize>,
    /// The rules by which the walk is carried out as the export's anonymous user; `None`: with the server's own rights.
    rules: Option<Rules>,
    text: Text,
}

impl<'a> Path<'a> {
    /// A walk that has not begun.
    pub fn new(tree: &'a mut Tree) -> Self {
        Self {
            tree,
            parent: Node::default(),
            node: None,
            step_count: 0,
            link_count: 0,
            follows: false,
            passes_files: false,
            export: None,
            rules: None,
            text: Text::new(),
        }
    }

    /// The export at whose top the walk begins. Only [`find`] sets one, for NFS.
    fn export(&self) -> Option<usize> {
        self.export.filter(|_| HAS_NFS)
    }

    /// The object at which the walk ended, if it exists.
    pub(super) fn node(&self) -> Option<Node> {
        let top = self.text.is_empty().then_some(self.parent);
        self.node.or(top)
    }

    /// Writes the path as clients write it, truncated to `out`.
    pub fn write(&mut self, out: &mut [u8]) -> usize {
        let export = self.export();
        join(out, top(self.tree, export), &self.text)
    }

    /// The last name; empty for the top.
    pub fn name(&self) -> &[u8] {
        last(&self.text)
    }
}

/// The last name of a path; empty if the path ends with "/" or contains no "/".
pub fn last(text: &[u8]) -> &[u8] {
    let slash = text.iter().rposition(|byte| *byte == b'/');
    slash.and_then(|at| text.get(at + 1..)).unwrap_or_default()
}

/// Resolves the path `below` an export's top, with the server's own rights. Follows symbolic links inside the export, and enters
/// images, also one at the end.
pub fn find(tree: &mut Tree, export: usize, below: &[u8]) -> FsResult<Node> {
    let mut path = Path::new(tree);
    path.export = Some(export);
    path.follows = true;
    path.start_at_top()?;
    path.walk_names(without_slashes(below), &mut [0; BUFFER_BYTES], End::Follow)?;
    match path.enter_image_here(true) {
        Err(FsError::NotDirectory) => {}
        entered => entered?,
    }
    path.node().ok_or(FsError::NoEntry)
}

/// Resolves the path `below` an export's top for a peer without credentials, to read only: as the export's anonymous user. Follows
/// symbolic links inside the export, and enters an image whose name is followed by a "/". The following calls are carried out as
/// that user, too. The peer's port does not matter.
///
/// # Errors
/// `Stale`: no such export, or not for that host; `AwaitsNames`, `TryLater` as [`Tree::rules`].
#[cfg(any(feature = "http", test, fuzzing))]
pub fn find_for(
    tree: &mut Tree,
    export: usize,
    peer: &super::Peer,
    below: &[u8],
) -> FsResult<Node> {
    let peer = super::Peer { port: 0, ..*peer };
    let rules = tree.rules(export, &peer)?;
    let mut path = Path::new(tree);
    path.export = Some(export);
    path.rules = Some(rules);
    path.follows = true;
    path.start_at_top()?;
    path.walk_names(without_slashes(below), &mut [0; BUFFER_BYTES], End::Follow)?;
    path.node().ok_or(FsError::NoEntry)
}

/// A path without the "/"s at its start.
pub fn without_slashes(mut path: &[u8]) -> &[u8] {
    while let [b'/', rest @ ..] = path {
        path = rest;
    }
    path
}

/// Removes and returns the first name of a path; skips empty names and ".".
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
pub fn add(text: &mut Text, bytes: &[u8]) -> FsResult<()> {
    let added = text.extend_from_slice(bytes);
    added.map_err(|_| FsError::NameTooLong)
}

/// Copies bytes to `out` at offset `at`, as far as they fit. Returns the end offset.
#[inline(never)] // −112 bytes: 16 callers.
pub fn put(out: &mut [u8], mut at: usize, bytes: &[u8]) -> usize {
    for byte in bytes {
        if let Some(place) = out.get_mut(at) {
            *place = *byte;
            at += 1;
        }
    }
    at
}

/// Joins the two parts of a path, truncated to `out`; "/" if both are empty. Returns the length.
pub(super) fn join(out: &mut [u8], first: &[u8], second: &[u8]) -> usize {
    let at = put(out, 0, first);
    match put(out, at, second) {
        0 => put(out, 0, b"/"),
        len => len,
    }
}

/// The first `len` bytes of a buffer; empty if the buffer is shorter.
#[inline(never)] // −16 bytes: 11 callers.
pub fn front(buffer: &[u8], len: usize) -> &[u8] {
    buffer.get(..len).unwrap_or_default()
}

/// The rest of `path` below `top`. `None`: `path` is not below `top`, or one of the two is not absolute. Ignores empty names and
/// ".".
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
#[inline(never)] // −59 bytes: seven callers.
pub fn without_slash(path: &[u8]) -> &[u8] {
    match path {
        [before @ .., b'/'] => before,
        path => path,
    }
}

/// As [`below`], but compares bytes: the rest is empty or begins with "/".
pub(super) fn beneath<'a>(top: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let (first, below) = path.split_at_checked(top.len())?;
    (first == top && matches!(below, [] | [b'/', ..])).then_some(below)
}

/// The path at which a walk in this export begins, without a trailing "/": empty for "/".
fn top(tree: &mut Tree, export: Option<usize>) -> &[u8] {
    without_slash(match export {
        Some(number) => tree.path(number).to_bytes(),
        None => tree.root_path(),
    })
}

impl Path<'_> {
    /// Moves the walk to the top.
    fn start_at_top(&mut self) -> FsResult<()> {
        self.text.clear();
        self.node = None;
        self.parent = match (self.export(), &self.rules) {
            (Some(number), Some(rules)) if HAS_HTTP => self.tree.root_to_read(number, rules)?,
            (Some(number), _) => self.tree.root(number)?,
            _ => self.tree.root_dir()?,
        };
        Ok(())
    }

    /// Walks a path that a client sent. A relative path begins in the current directory.
    pub fn walk(&mut self, path: &[u8], buffer: &mut [u8; BUFFER_BYTES], end: End) -> FsResult<()> {
        if path.len() > PATH_BYTES_MAX {
            return Err(FsError::NameTooLong);
        }
        if path.first() != Some(&b'/') {
            let len = self.tree.cwd(buffer)? as usize;
            let (cwd, buffer) = split(buffer, len)?;
            self.walk_names(cwd, buffer, End::Follow)?;
        }
        self.walk_names(path, buffer, end)
    }

    /// Walks a path: an absolute one from the top, a relative one from where the last walk ended.
    pub(super) fn walk_names(
        &mut self,
        mut names: &[u8],
        buffer: &mut [u8],
        end: End,
    ) -> FsResult<()> {
        if let [b'/', ..] = names {
            names = self.below_top(names).ok_or(FsError::NoEntry)?;
            self.start_at_top()?;
        }
        // True if the walk may enter the object if it is an image: no link led to it, or links are allowed.
        let mut direct = self.follows;
        loop {
            self.step_count += 1;
            if self.step_count > STEP_COUNT_MAX {
                return Err(FsError::NameTooLong);
            }
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
                // "", "." and ".." are valid only after a directory, unless the walk passes files.
                if is_separated {
                    let entered = self.enter_image_here(direct);
                    if !self.passes_files {
                        entered?;
                    }
                }
                match name.len() {
                    0 => return Ok(()),
                    1 => continue,
                    _ => {}
                }
                // Walk to the parent from the top, because the directory may have been moved. The parent may be inside an image.
                let text = without_slash(&self.text);
                let len = text.iter().rposition(|byte| *byte == b'/');
                self.text.truncate(len.unwrap_or(0));
                let len = self.write(buffer);
                put(buffer, len, b"/")
            } else {
                match self.step(Name::new(name)?, buffer, end, direct)? {
                    Some(target_len) => target_len,
                    None => {
                        direct = true;
                        continue;
                    }
                }
            };
            let (target, buffer) = split(buffer, target_len)?;
            self.walk_names(target, buffer, end)?;
            direct = self.follows;
        }
    }

    /// The rest of the absolute path `path` below the top of the walk. `None`: `path` is not below the top.
    #[inline(never)] // Not part of `walk_names`, which calls itself: the buffer is large.
    fn below_top<'b>(&mut self, path: &'b [u8]) -> Option<&'b [u8]> {
        let export = self.export();
        if let Some(number) = export {
            // If the export's path contains symbolic links, the absolute target of a link may begin with the export's real path
            // instead.
            let mut buffer = [0; EXPORT_PATH_BYTES_MAX];
            let len = self.tree.real_path(number, &mut buffer);
            let real = below(front(&buffer, len), path);
            if real.is_some() {
                return real;
            }
        }
        beneath(top(self.tree, export), path)
    }

    /// Moves the walk to the object `name` in the directory at which the walk is. If the object is a symbolic link that `end`
    /// follows, the walk stays; the link's target is written to `buffer`, and its length is returned.
    /// With `direct`, the walk may enter the directory if it is an image.
    fn step(
        &mut self,
        name: Name<'_>,
        buffer: &mut [u8],
        end: End,
        direct: bool,
    ) -> FsResult<Option<usize>> {
        let mut dir = self.node.unwrap_or(self.parent);
        let mut found = self.look_up(dir, name);
        if found == Err(FsError::NotDirectory) {
            self.enter_image_here(direct)?;
            dir = self.node.unwrap_or(dir);
            found = self.look_up(dir, name);
        }
        let found = match found {
            Err(FsError::NoEntry) if matches!(end, End::Absent | End::New) => None,
            found => Some(found?),
        };
        if let Some(link) = found
            && matches!(end, End::Follow | End::Absent)
        {
            match self.tree.readlink(link, buffer) {
                Err(FsError::Invalid) => {}
                len => {
                    let target_len = len? as usize;
                    self.link_count += 1;
                    if self.link_count > LINK_COUNT_MAX {
                        return Err(FsError::TooManyFollowed);
                    }
                    return Ok(Some(target_len));
                }
            }
        }
        if self.text.last() != Some(&b'/') {
            add(&mut self.text, b"/")?;
        }
        add(&mut self.text, name.bytes())?;
        (self.parent, self.node) = (dir, found);
        Ok(None)
    }

    /// Looks up a name.
    fn look_up(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        #[cfg(any(feature = "http", test, fuzzing))]
        if self.rules.is_some() {
            return self.tree.lookup_to_read(dir, name);
        }
        match self.export() {
            Some(_) => self.tree.lookup_or_enter(dir, name),
            None => self.tree.lookup(dir, name),
        }
    }

    /// Enters the image file at which the walk is; does nothing at a directory. Fails with `NotDirectory` unless `direct`.
    fn enter_image_here(&mut self, direct: bool) -> FsResult<()> {
        let dir = self.node.unwrap_or(self.parent);
        if self.tree.attr(dir)?.kind == ObjectType::Directory {
            return Ok(());
        }
        if !direct || !HAS_ISO {
            return Err(FsError::NotDirectory);
        }
        let top = self.tree.enter_image(self.parent, Name(last(&self.text)))?;
        self.node = Some(top);
        add(&mut self.text, b"/")
    }
}

/// Splits a buffer after the first `len` bytes. `NameTooLong` if it is full: the bytes may be truncated.
fn split(buffer: &mut [u8], len: usize) -> FsResult<(&[u8], &mut [u8])> {
    if len >= buffer.len() {
        return Err(FsError::NameTooLong);
    }
    let (written, left) = buffer.split_at_mut(len);
    Ok((written, left))
}
