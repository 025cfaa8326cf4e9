//! REMOVE, MKDIR, RMDIR, RENAME, SYMLINK, posix-rename@openssh.com and hardlink@openssh.com.

use super::Exchange;
use super::attributes::MODE_MASK;
use super::requests::Operation;
use super::status::{Fault, Outcome, done};
use crate::mem::Ends as _;
use crate::vfs::{CreateWhat, FsError, Kind, Name, ObjectType, SetAttr, Target};

/// The mode of a new directory if the client requests none.
pub(super) const DIRECTORY_MODE: u32 = 0o777;

impl<'a> Exchange<'a> {
    /// Resolves the parent directory of a path and stores the path's last name. A trailing "/" is an error unless `directory`: the
    /// object is, or will be, a directory.
    fn parent(&mut self, path: &'a [u8], directory: bool) -> Outcome {
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
        let name = Name::new(whole.tail(parent.len()));
        // "", "." and ".." exist and cannot be changed.
        if matches!(
            name,
            Err(FsError::Access | FsError::Exists | FsError::Invalid)
        ) {
            return Err(FsError::IsDirectory.into());
        }
        if whole.len() < path.len() && !directory {
            return Err(FsError::NotDirectory.into());
        }
        self.request.last_name = Some(name?);
        if parent.is_empty() {
            parent = b".";
        }
        self.resolve(parent, true)
    }

    /// Answers REMOVE, MKDIR, RMDIR, RENAME, SYMLINK, posix-rename@openssh.com and hardlink@openssh.com.
    pub(super) fn change_names(&mut self) -> Outcome {
        let operation = self.request.operation;
        // REMOVE, SYMLINK and hardlink@openssh.com reject a path with a trailing "/".
        let directory = !matches!(
            operation,
            Operation::Remove | Operation::SymbolicLink | Operation::HardLink
        );
        if operation == Operation::HardLink {
            self.resolve(self.request.path, false)?;
        } else if operation != Operation::SymbolicLink {
            self.parent(self.request.path, directory)?;
        }
        // For hardlink@openssh.com: the existing object. For RENAME: the parent directory of the existing object, and its name.
        let (first, old) = (self.request.node, self.request.last_name);
        if !matches!(
            operation,
            Operation::Remove | Operation::MakeDirectory | Operation::RemoveDirectory
        ) {
            self.parent(self.request.other, directory)?;
        }
        let (Some(old), Some(name)) = (old.or(self.request.last_name), self.request.last_name)
        else {
            return Err(Fault::FAILURE);
        };
        let (dir, vfs) = (self.request.node, &mut *self.vfs);
        let make = match operation {
            Operation::Remove | Operation::RemoveDirectory => {
                let kind = match operation {
                    Operation::Remove => Kind::Other,
                    _ => Kind::Directory,
                };
                return done(vfs.remove(dir, name, kind));
            }
            Operation::HardLink => return done(vfs.link(first, dir, name)),
            Operation::MakeDirectory => CreateWhat::Directory,
            Operation::SymbolicLink if self.request.path.is_empty() => return Err(Fault::MISSING),
            // The target comes first, then the link's path: OpenSSH and all clients use this order, not the draft's.
            Operation::SymbolicLink => CreateWhat::Link(self.request.path),
            _ => {
                if self.request.path.ends_with(b"/") || self.request.other.ends_with(b"/") {
                    let node = vfs.lookup(first, old)?;
                    if vfs.attr(node)?.kind != ObjectType::Directory {
                        return Err(Fault::MISSING);
                    }
                }
                let target = match operation {
                    Operation::PosixRename => Target::Replace,
                    _ => Target::Keep,
                };
                return done(vfs.rename(first, old, dir, name, target));
            }
        };
        // A new directory gets only its mode from the request, a symbolic link no attribute.
        let mode = self.request.attributes.mode.unwrap_or(DIRECTORY_MODE);
        let attributes = SetAttr {
            mode: directory.then_some(mode & MODE_MASK),
            ..SetAttr::default()
        };
        done(vfs.create(dir, name, make, &attributes).map(drop))
    }
}
