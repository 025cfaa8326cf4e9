//! The load's calls as values.

use std::fmt;

use xtask::clients::nfs::{How, Set, stable_how};

/// Number of an object during a load. The root is 0; an object gets the number of the call that creates it.
pub type Id = usize;

/// A call that changes something, with the parts of the reply that matter.
#[derive(Clone)]
pub enum Op {
    /// With `Unchecked`, `name` may exist; `new` is then unused.
    Create {
        dir: Id,
        name: String,
        new: Id,
        how: How,
    },
    MkDir {
        dir: Id,
        name: String,
        new: Id,
        mode: u32,
    },
    SymLink {
        dir: Id,
        name: String,
        new: Id,
        target: String,
    },
    Fifo {
        dir: Id,
        name: String,
        new: Id,
        mode: u32,
    },
    Remove {
        dir: Id,
        name: String,
    },
    RmDir {
        dir: Id,
        name: String,
    },
    Rename {
        from: Id,
        from_name: String,
        to: Id,
        to_name: String,
    },
    Link {
        file: Id,
        dir: Id,
        name: String,
    },
    SetAttr {
        object: Id,
        set: Set,
    },
    Write {
        file: Id,
        offset: usize,
        data: Vec<u8>,
        committed: stable_how,
    },
    /// With a `count` of 0, the range extends to the end of the file.
    Commit {
        file: Id,
        offset: usize,
        count: usize,
    },
}

impl Op {
    /// Returns true if the call creates object `id`, or changes its data, attributes, link count or entries. REMOVE, RMDIR and
    /// RENAME count for the directories only, not for the removed or renamed object.
    pub fn concerns(&self, id: Id) -> bool {
        match self {
            Self::Create { dir, new, .. }
            | Self::MkDir { dir, new, .. }
            | Self::SymLink { dir, new, .. }
            | Self::Fifo { dir, new, .. } => [dir, new].contains(&&id),
            Self::Remove { dir, .. } | Self::RmDir { dir, .. } => *dir == id,
            Self::Rename { from, to, .. } => [from, to].contains(&&id),
            Self::Link { file, dir, .. } => [file, dir].contains(&&id),
            Self::SetAttr { object, .. } => *object == id,
            Self::Write { file, .. } | Self::Commit { file, .. } => *file == id,
        }
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create {
                dir,
                name,
                new,
                how,
            } => write!(f, "CREATE {dir}/{name} as {new}, {how:?}"),
            Self::MkDir {
                dir,
                name,
                new,
                mode,
            } => write!(f, "MKDIR {dir}/{name} as {new}, mode {mode:o}"),
            Self::SymLink {
                dir,
                name,
                new,
                target,
            } => {
                write!(f, "SYMLINK {dir}/{name} as {new}, {} bytes", target.len())
            }
            Self::Fifo {
                dir,
                name,
                new,
                mode,
            } => write!(f, "MKNOD {dir}/{name} as {new}, mode {mode:o}"),
            Self::Remove { dir, name } => write!(f, "REMOVE {dir}/{name}"),
            Self::RmDir { dir, name } => write!(f, "RMDIR {dir}/{name}"),
            Self::Rename {
                from,
                from_name,
                to,
                to_name,
            } => {
                write!(f, "RENAME {from}/{from_name} to {to}/{to_name}")
            }
            Self::Link { file, dir, name } => write!(f, "LINK {file} to {dir}/{name}"),
            Self::SetAttr { object, set } => write!(f, "SETATTR {object}, {set:?}"),
            Self::Write {
                file,
                offset,
                data,
                committed,
            } => {
                write!(
                    f,
                    "WRITE {file} at {offset}, {} bytes, {committed:?}",
                    data.len()
                )
            }
            Self::Commit {
                file,
                offset,
                count,
            } => write!(f, "COMMIT {file} at {offset}, {count} bytes"),
        }
    }
}
