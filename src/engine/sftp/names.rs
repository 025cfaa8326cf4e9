//! REMOVE, MKDIR, RMDIR, RENAME, SYMLINK, posix-rename@openssh.com and hardlink@openssh.com.

use super::attributes::MODE_MASK;
use super::requests::Ask;
use super::status::{Fault, Outcome};
use super::{Request, Sftp};
use crate::vfs::{FsError, FsResult, Kind, Make, Name, Node, Vfs as _};

/// The mode of a directory for which none is asked.
const DIRECTORY_MODE: u32 = 0o777;

impl<'a> Request<'a, '_> {
    /// The directory that a path leads to; the name that it ends with is `last` then. A "/" behind that is for what is a
    /// directory, or is to be one.
    #[inline(never)]
    fn parent(&mut self, path: &'a [u8], directory: bool) -> FsResult<Node> {
        let mut whole = path;
        while let [before @ .., b'/'] = whole {
            whole = before;
        }
        let mut parent = whole;
        while let [before @ .., last] = parent
            && *last != b'/'
        {
            parent = before;
        }
        let name = whole.get(parent.len()..).unwrap_or_default();
        // These are there, and stay what they are.
        if matches!(name, b"" | b"." | b"..") {
            return Err(FsError::IsDirectory);
        }
        if whole.len() < path.len() && !directory {
            return Err(FsError::NotDirectory);
        }
        self.last = Some(Name::new(name)?);
        if parent.is_empty() {
            parent = b".";
        }
        self.vfs.resolve(parent, true)
    }
}

impl Sftp {
    #[inline(never)]
    pub(super) fn change_names(&mut self, request: &mut Request<'_, '_>, ask: Ask) -> Outcome {
        let (path, other) = (request.path, request.other);
        // What is there under another name, or is to be another's.
        let mut first = None;
        let mut old = None;
        match ask {
            Ask::HardLink => first = Some(request.vfs.resolve(path, false)?),
            Ask::Rename | Ask::PosixRename => {
                first = Some(request.parent(path, true)?);
                old = request.last;
            }
            _ => {}
        }
        // What is of a file needs no such thing as a directory's name.
        let directory = !matches!(ask, Ask::Remove | Ask::SymbolicLink | Ask::HardLink);
        let removes = matches!(ask, Ask::Remove | Ask::RemoveDirectory);
        let makes = ask == Ask::MakeDirectory;
        let dir = request.parent(if removes || makes { path } else { other }, directory)?;
        let name = request.last.ok_or(Fault::Failure)?;
        let vfs = &mut *request.vfs;
        if let Some(first) = first {
            if let Some(old) = old
                && (path.ends_with(b"/") || other.ends_with(b"/"))
            {
                let node = vfs.lookup(first, old)?;
                if vfs.attr(node)?.kind != Kind::Directory {
                    return Err(Fault::Missing);
                }
            }
            return Ok(match old {
                // RENAME takes no name away.
                Some(old) => vfs.rename(first, old, dir, name, ask == Ask::PosixRename),
                None => vfs.link(first, dir, name),
            }?);
        }
        if removes {
            return Ok(vfs.remove(dir, name, directory)?);
        }
        let mut mode = None;
        let make = if makes {
            mode = Some(request.attributes.mode.unwrap_or(DIRECTORY_MODE) & MODE_MASK);
            Make::Directory
        } else if path.is_empty() {
            return Err(Fault::Missing);
        } else {
            // First what it leads to, then its name: the draft has it the other way round, OpenSSH and all clients this way.
            Make::Link(path)
        };
        Ok(vfs.make(dir, name, make, mode)?)
    }
}
