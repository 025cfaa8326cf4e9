//! The pseudo root: a directory of the exports that a peer may see, for clients that begin above them. The names are the exports'
//! paths without the leading "/". Nothing in it can be changed.

use super::super::{
    Attr, Backend, DirEntry, FileTime, FsError, FsResult, FsStat, Name, Node, ObjectType,
    OpenFlags, Peer, Pin, Rights, Tree,
};
use core::ffi::CStr;
use core::ops::ControlFlow;

/// The pseudo root. No descriptor of the backend `User` has this number.
pub(super) const ROOT: Node = Node::of_number(Backend::User, Rights::NONE, Node::NUMBER_MAX);

impl Tree {
    /// The top of an export, with the rights of this peer.
    ///
    /// # Errors
    /// `Access`: the export's rules refuse the peer; else as [`Tree::root`].
    pub fn enter(&mut self, export: usize, peer: &Peer) -> FsResult<Node> {
        let rules = self.rules(export, peer).map_err(|error| match error {
            FsError::Stale | FsError::Permission | FsError::TryLater => FsError::Access,
            error => error,
        })?;
        Ok(self.root(export)?.limited(rules.rights()))
    }

    /// Looks up an export's top in the pseudo root, for the current request's peer.
    pub(super) fn lookup_export(&mut self, name: Name<'_>) -> FsResult<Node> {
        let number = self
            .exports()
            .iter()
            .position(|export| export.is_exported() && name_of(export.path) == name.bytes());
        let peer = self.peer.unwrap_or(Peer::NONE);
        self.enter(number.ok_or(FsError::NoEntry)?, &peer)
    }

    /// Lists the pseudo root for the current request's peer.
    pub(super) fn list_exports(
        &mut self,
        from: u64,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        let peer = self.peer.unwrap_or(Peer::NONE);
        let mut number = from as usize;
        while number < self.exports().len() {
            let top = self.enter(number, &peer);
            if let Err(error) = top
                && error.stops()
            {
                return Err(error);
            }
            let is_seen = top != Err(FsError::Access);
            let attr = top.and_then(|top| self.attr(top));
            let name = name_of(self.path(number));
            number += 1;
            let entry = DirEntry {
                name,
                cookie: number as u64,
                inode: number as u64,
                kind: Some(ObjectType::Directory),
                id: 0,
                object: attr.as_ref().ok().map(|attr| (attr, None)),
            };
            if is_seen && each(&entry).is_break() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The name of an export in the pseudo root.
fn name_of(path: &CStr) -> &[u8] {
    let path = path.to_bytes();
    path.strip_prefix(b"/").unwrap_or(path)
}

/// The pseudo root's attributes.
pub(super) const fn attr() -> Attr {
    const NEVER: FileTime = FileTime { secs: 0, nanos: 0 };
    Attr {
        kind: ObjectType::Directory,
        mode: 0o555,
        nlink: 1,
        uid: 0,
        gid: 0,
        size: 0,
        used: 0,
        rdev: (0, 0),
        fsid: 0,
        inode: 0,
        atime: NEVER,
        mtime: NEVER,
        ctime: NEVER,
    }
}

/// The pseudo root's space: none.
pub(super) fn statfs() -> FsStat {
    FsStat {
        read_only: true,
        name_bytes_max: 255,
        ..FsStat::default()
    }
}

/// Opens the pseudo root (".") for listing, or a name in it that no export has.
pub(super) fn open(name: &[u8], how: &OpenFlags) -> FsResult<Pin> {
    match (name, how.has(OpenFlags::DIRECTORY)) {
        (b".", true) => Ok(Pin {
            node: ROOT,
            user: 0,
        }),
        (b".", false) => Err(FsError::IsDirectory),
        // A name in the pseudo root is an export, so creating a name here would create an export.
        _ => Err(FsError::ReadOnly),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::ram::{Ram, TAG};
    use super::super::super::{Client, Detail, ExportRoot};
    use super::*;
    use crate::mem;
    use crate::wire::exports::{Hosts, Rules};
    use core::net::Ipv6Addr;

    const FRIEND: Ipv6Addr = Ipv6Addr::LOCALHOST;
    const STRANGER: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

    /// A tree without a backend that resolves paths: `/open` for all hosts, `/gone` without a top, `/private` for one host.
    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.add(Backend::Ram, mem::leak(Ram::model(b"/open")));
        let one = Client {
            hosts: Hosts::Network {
                address: FRIEND,
                bits: 128,
            },
            rules: Rules::DEFAULT,
        };
        let everyone = Client::everyone(Rules::DEFAULT);
        for (path, client, tag) in [
            (&b"/open"[..], everyone, TAG),
            (b"/gone", everyone, TAG + 1),
            (b"/private", one, TAG + 2),
        ] {
            let root = ExportRoot::fixed(Backend::Ram, tag, false);
            tree.export(path, &[client], root).unwrap();
        }
        tree
    }

    fn peer(address: Ipv6Addr) -> Peer {
        Peer { address, port: 700 }
    }

    /// The names that a peer sees from a cookie on, with true for those that have attributes.
    fn list(tree: &mut Tree, address: Ipv6Addr, from: u64) -> Vec<(String, bool)> {
        tree.act_as_process(&peer(address));
        let mut names = Vec::new();
        let ended = tree.readdir(ROOT, from, Detail::Objects, &mut |entry| {
            let name = String::from_utf8(entry.name.to_vec()).unwrap();
            names.push((name, entry.object.is_some()));
            ControlFlow::Continue(())
        });
        assert_eq!(ended, Ok(true));
        names
    }

    #[test]
    fn peer_sees_the_exports_that_it_may_enter() {
        let mut tree = tree();
        let [open, gone, private] = [("open", true), ("gone", false), ("private", false)]
            .map(|(name, has)| (name.into(), has));
        let all = [open, gone, private];
        assert_eq!(list(&mut tree, FRIEND, 0), all);
        assert_eq!(list(&mut tree, FRIEND, 1), all[1..]);
        assert_eq!(list(&mut tree, STRANGER, 0), all[..2]);
        let lookup = |tree: &mut Tree, name: &[u8]| tree.lookup(ROOT, Name::new(name).unwrap());
        assert_eq!(lookup(&mut tree, b"private"), Err(FsError::Access));
        assert_eq!(lookup(&mut tree, b"gone"), Err(FsError::Stale));
        assert_eq!(lookup(&mut tree, b"none"), Err(FsError::NoEntry));
        let top = tree.enter(0, &peer(STRANGER)).unwrap();
        assert_eq!(lookup(&mut tree, b"open"), Ok(top));
        assert!(!top.may_change());
        assert_eq!(tree.enter(2, &peer(STRANGER)), Err(FsError::Access));
    }

    #[test]
    fn paths_lead_from_pseudo_root_into_exports() {
        let mut tree = tree();
        tree.act_as_process(&peer(FRIEND));
        let kind = |tree: &mut Tree, path| tree.attr_at(path, true).map(|attr| attr.kind);
        for path in [&b"/"[..], b".", b"/open", b"/open/.."] {
            assert_eq!(kind(&mut tree, path), Ok(ObjectType::Directory));
        }
        assert_eq!(kind(&mut tree, b"/none"), Err(FsError::NoEntry));
        assert!(tree.statfs(ROOT).unwrap().read_only);
        let directory = |bits| OpenFlags { bits, create: None };
        let pin = tree
            .open_at(b"/", &directory(OpenFlags::DIRECTORY))
            .unwrap();
        assert_eq!(pin.node(), ROOT);
        tree.unpin(pin);
        let refused = tree.open_at(b"/", &directory(OpenFlags::READ));
        assert_eq!(refused, Err(FsError::IsDirectory));
        let new = OpenFlags {
            bits: OpenFlags::WRITE,
            create: Some(0o644),
        };
        assert_eq!(tree.open_at(b"/new", &new), Err(FsError::ReadOnly));
        let name = Name::new(b"open").unwrap();
        assert_eq!(
            tree.remove(ROOT, name, super::super::Kind::Directory),
            Err(FsError::ReadOnly)
        );
    }
}
