//! REMOVE, MKDIR, RMDIR, RENAME, SYMLINK, posix-rename@openssh.com and hardlink@openssh.com.

use super::attributes::MODE_MASK;
use super::requests::Ask;
use super::status::Outcome;
use super::{Request, Sftp};
use crate::vfs::{Change, FsError, FsResult, Make, Name, Node, Vfs};

/// The mode of a directory for which none is asked.
const DIRECTORY_MODE: u32 = 0o777;

/// The directory and the name that a path ends with. A "/" behind that is for what is a directory, or is to be one.
#[inline(never)]
fn place<'a>(vfs: &mut dyn Vfs, path: &'a [u8], directory: bool) -> FsResult<(Node, Name<'a>)> {
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
    let name = Name::new(name)?;
    if parent.is_empty() {
        parent = b".";
    }
    Ok((vfs.resolve(parent, true)?, name))
}

impl Sftp {
    #[inline(never)]
    pub(super) fn change_names(&mut self, request: &mut Request<'_, '_>, ask: Ask) -> Outcome {
        let (path, other, vfs) = (request.path, request.other, &mut *request.vfs);
        // What is of a file needs no such thing as a directory's name.
        let directory = !matches!(ask, Ask::Remove | Ask::SymbolicLink | Ask::HardLink);
        let last = match ask {
            Ask::Remove | Ask::RemoveDirectory | Ask::MakeDirectory => path,
            _ => other,
        };
        let mut old = None;
        if ask == Ask::HardLink {
            old = Some(vfs.resolve(path, false)?);
        }
        let mut from = None;
        if matches!(ask, Ask::Rename | Ask::PosixRename) {
            from = Some(place(vfs, path, true)?);
        }
        let (dir, name) = place(vfs, last, directory)?;
        let mut change = Change::default();
        let make = match (ask, old, from) {
            (_, Some(node), _) => return Ok(vfs.link(node, dir, name)?),
            // RENAME takes no name away.
            (_, _, Some((from, old))) => {
                return Ok(vfs.rename(from, old, dir, name, ask == Ask::PosixRename)?);
            }
            (Ask::MakeDirectory, ..) => {
                change.mode = Some(request.attributes.mode.unwrap_or(DIRECTORY_MODE) & MODE_MASK);
                Make::Directory
            }
            (Ask::SymbolicLink, ..) if path.is_empty() => return Err(FsError::NoEntry.into()),
            // First what it leads to, then its name: the draft has it the other way round, OpenSSH and all clients this way.
            (Ask::SymbolicLink, ..) => Make::Link(path),
            _ => return Ok(vfs.remove(dir, name, directory)?),
        };
        vfs.create(dir, name, make, &change)?;
        Ok(())
    }
}
