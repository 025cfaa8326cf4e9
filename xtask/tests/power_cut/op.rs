//! The load's calls as values.

use xtask::clients::nfs::{How, Set, stable_how};

/// Number of an object during a load. The root is 0; an object gets the number of the call that creates it.
pub type Id = usize;

/// A call that changes something, with the parts of the reply that matter.
#[derive(Clone, Debug)]
pub enum Op {
    /// CREATE, MKDIR, SYMLINK or MKNOD. An UNCHECKED CREATE may find an existing file; `new` is then unused.
    Make {
        dir: Id,
        name: String,
        new: Id,
        what: New,
    },
    /// REMOVE or RMDIR.
    Remove {
        dir: Id,
        name: String,
        is_dir: bool,
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
        committed: stable_how,
        data: Vec<u8>,
    },
    /// With a `count` of 0, the range extends to the end of the file.
    Commit {
        file: Id,
        offset: usize,
        count: usize,
    },
}

/// A new object: the kind of CREATE, a mode, or a link's target.
#[derive(Clone, Debug)]
pub enum New {
    File(How),
    Directory(u32),
    SymLink(String),
    Fifo(u32),
}

impl Op {
    /// Returns true if the call creates object `id`, or changes its data, attributes, link count or entries. REMOVE, RMDIR and
    /// RENAME count for the directories only, not for the removed or renamed object.
    pub fn concerns(&self, id: Id) -> bool {
        match self {
            Self::Make { dir, new, .. } => [dir, new].contains(&&id),
            Self::Remove { dir, .. } => *dir == id,
            Self::Rename { from, to, .. } => [from, to].contains(&&id),
            Self::Link { file, dir, .. } => [file, dir].contains(&&id),
            Self::SetAttr { object, .. } => *object == id,
            Self::Write { file, .. } | Self::Commit { file, .. } => *file == id,
        }
    }
}
