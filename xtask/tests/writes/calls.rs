//! Calls that change something, in short.

use xtask::clients::nfs::{How, Nfs, Node, Set};

pub(super) fn set_attr(object: &[u8], set: Set) -> Nfs<'_> {
    let guard = None;
    Nfs::SetAttr { object, set, guard }
}

pub(super) fn create<'a>(dir: &'a [u8], name: &'a [u8], how: How) -> Nfs<'a> {
    Nfs::Create { dir, name, how }
}

pub(super) fn mkdir<'a>(dir: &'a [u8], name: &'a [u8], set: Set) -> Nfs<'a> {
    Nfs::MkDir { dir, name, set }
}

pub(super) fn symlink<'a>(dir: &'a [u8], name: &'a [u8], target: &'a [u8]) -> Nfs<'a> {
    let set = Set::default();
    Nfs::SymLink {
        dir,
        name,
        set,
        target,
    }
}

pub(super) fn fifo<'a>(dir: &'a [u8], name: &'a [u8], set: Set) -> Nfs<'a> {
    let node = Node::Fifo(set);
    Nfs::MkNod { dir, name, node }
}

pub(super) fn remove<'a>(dir: &'a [u8], name: &'a [u8]) -> Nfs<'a> {
    Nfs::Remove { dir, name }
}

pub(super) fn rmdir<'a>(dir: &'a [u8], name: &'a [u8]) -> Nfs<'a> {
    Nfs::RmDir { dir, name }
}

pub(super) fn rename<'a>(
    from: &'a [u8],
    from_name: &'a [u8],
    to: &'a [u8],
    to_name: &'a [u8],
) -> Nfs<'a> {
    Nfs::Rename {
        from,
        from_name,
        to,
        to_name,
    }
}

pub(super) fn link<'a>(file: &'a [u8], dir: &'a [u8], name: &'a [u8]) -> Nfs<'a> {
    Nfs::Link { file, dir, name }
}

/// COMMIT of the whole file.
pub(super) fn commit(file: &[u8]) -> Nfs<'_> {
    Nfs::Commit {
        file,
        offset: 0,
        count: 0,
    }
}
