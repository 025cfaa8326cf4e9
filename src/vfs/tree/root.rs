//! The pseudo root: the directories above the exports, made of the names in the exports' paths, for clients that begin above them.
//! A peer sees a directory only while he may use an export below it; the export `/` is the root itself. Nothing can be changed.
//!
//! `Tree::sorted` has the exports in the order of their paths, so those below a directory follow each other: a look-up is a binary
//! search, and no request needs memory. The node of a directory has the index of the first of them, and the length of the
//! directory's path.

use super::super::walk::{beneath, without_slash};
use super::super::{
    Attr, Detail, DirEntry, FileTime, FsError, FsResult, FsStat, Handle, Name, Node, ObjectType,
    OpenFlags, Peer, Pin, Tree, handle,
};
use crate::config::{EXPORT_PATH_BYTES_MAX, HAS_NFS4};
use crate::mem::{Ends as _, FNV_START, fnv1a, nth};
use core::ops::ControlFlow;

/// Bits of the number of a directory's node for the length of its path.
const LEN_BITS: u32 = EXPORT_PATH_BYTES_MAX.ilog2();
pub(super) const ROOT: Node = Node::above(0);
/// Cookies up to this one have no entry: Linux' client of NFS 4 makes "." and ".." of them. RFC 8881 section 18.23.3.
const COOKIES_RESERVED: u64 = 2;

impl Node {
    /// Index in `Tree::sorted` of the first export whose path begins with the directory's.
    const fn first(self) -> usize {
        (self.above_number() >> LEN_BITS) as usize
    }

    /// Length of the directory's path (bytes); 0: the root.
    const fn path_len(self) -> usize {
        (self.above_number() & ((1 << LEN_BITS) - 1)) as usize
    }

    const fn of_path(first: usize, len: usize) -> Self {
        Self::above((first << LEN_BITS | len) as u32)
    }
}

/// The directories and exports by their paths.
impl Tree {
    /// The path of the export at an index of `sorted`, as [`Self::path_of`].
    fn path_at(&self, at: usize) -> &[u8] {
        let number = self.sorted.get(at);
        number.map_or(b"", |number| self.path_of(*number))
    }

    /// The path of a directory; empty for the root.
    fn path_above(&self, dir: Node) -> &[u8] {
        self.path_at(dir.first()).head(dir.path_len())
    }

    /// The path below a directory of the export at an index of `sorted`. `None`: it is not below the directory.
    fn rest(&self, dir: Node, at: usize) -> Option<&[u8]> {
        self.sorted.get(at)?;
        beneath(self.path_above(dir), self.path_at(at))
    }

    /// The export that has the path of a directory.
    fn export_at(&self, dir: Node) -> Option<usize> {
        let number = self.sorted.get(dir.first())?;
        let is_it = self.path_of(*number).len() == dir.path_len();
        is_it.then_some(usize::from(*number))
    }

    /// The index in `sorted` of the first export below a directory.
    fn start(&self, dir: Node) -> usize {
        dir.first() + usize::from(self.export_at(dir).is_some())
    }

    /// The parent of a directory; the root is its own.
    pub(super) fn parent_above(&self, dir: Node) -> Node {
        let path = self.path_above(dir);
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let path = path.head(slash.unwrap_or(0));
        Node::of_path(self.place_of(path), path.len())
    }

    /// The inode number of the directory that an export covers. `None`: the export is the root.
    pub(super) fn covered_by_export(&self, number: usize) -> Option<u64> {
        let path = self.path_of(number as u16);
        (!path.is_empty()).then(|| inode(path))
    }

    /// A number that differs for each server, and that a restart keeps: by the key of handles. Without a key, by the first export.
    pub fn identity(&self) -> u64 {
        let mut tag = 0;
        if self.key == handle::Key::default() {
            let first = self.exports.iter().find_map(|place| place.root);
            tag = first.map_or(0, |root| root.tag);
        }
        handle::mac(&self.key, &tag.to_le_bytes())
    }

    /// The handle of a directory.
    pub(super) fn handle_above(&self, dir: Node) -> Handle {
        handle::above(&self.key, self.path_above(dir))
    }
}

/// The directories as the peer of the current request sees them.
impl Tree {
    /// Begins a request of `peer` at the root: the export `/`, if it is for the peer, else the directory above all exports.
    ///
    /// # Errors
    /// As [`Tree::rules`].
    pub fn root_for(&mut self, peer: &Peer) -> FsResult<Node> {
        self.peer = *peer;
        self.enter(ROOT)
    }

    /// Begins a request of `peer` in the directory at `path` above exports. The path has no empty name.
    ///
    /// # Errors
    /// `NoEntry`: there is none, or the peer may use no export below it; `AwaitsNames` as [`Tree::rules`].
    pub fn above(&mut self, path: &[u8], peer: &Peer) -> FsResult<Node> {
        self.peer = *peer;
        let path = without_slash(path);
        let dir = Node::of_path(self.place_of(path), path.len());
        match self.path_above(dir) == path {
            true => self.see(dir),
            false => Err(FsError::NoEntry),
        }
    }

    /// Opens the directory of a handle for a request of `peer`.
    ///
    /// # Errors
    /// `BadHandle`: another handle; `Stale`: the directory is gone, or the peer may use no export below it; `AwaitsNames` as [`Tree::rules`].
    #[inline(never)] // Calls for objects in an export do not pay for it.
    pub(super) fn open_above(&mut self, bytes: &[u8], peer: &Peer) -> FsResult<Node> {
        self.peer = *peer;
        let len = handle::above_len(bytes).ok_or(FsError::BadHandle)?;
        // Without an export, there is still the root.
        for first in 0..self.sorted.len().max(1) {
            let dir = Node::of_path(first, len);
            if self.handle_above(dir).bytes() == bytes {
                return self.see(dir).map_err(|error| match error {
                    FsError::NoEntry => FsError::Stale,
                    error => error,
                });
            }
        }
        Err(FsError::Stale)
    }

    /// The directory above the top of an export, or above a directory above exports; `None`: that is the root.
    pub(super) fn above_top(&mut self, dir: Node, top: Option<usize>) -> FsResult<Option<Node>> {
        let mut dir = dir;
        if let Some(number) = top {
            let path = self.path_of(number as u16);
            dir = Node::of_path(self.place_of(path), path.len());
        }
        match dir == ROOT {
            true => Ok(None),
            false => self.enter(self.parent_above(dir)).map(Some),
        }
    }

    /// Looks up a directory or an export's top. An export that is missing, or is not for the peer, is only a way to those below it.
    #[inline(never)] // Calls for objects in an export do not pay for it.
    pub(super) fn lookup_above(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        let mut at = dir.first();
        while let Some(rest) = self.rest(dir, at) {
            if nth(rest, b'/', 1) == name.bytes() {
                let len = dir.path_len() + 1 + name.bytes().len();
                let dir = Node::of_path(at, len);
                if let Some(number) = self.export_at(dir) {
                    self.reopen_for_peer(number);
                }
                return self.enter(dir);
            }
            at += 1;
        }
        Err(FsError::NoEntry)
    }

    /// Enters the export that has the path of a directory, or returns the directory.
    pub(super) fn enter(&mut self, dir: Node) -> FsResult<Node> {
        if let Some(number) = self.export_at(dir) {
            match self.enter_export(number) {
                Err(FsError::Stale | FsError::Permission) => {}
                entered => return entered,
            }
        }
        self.see(dir)
    }

    /// The top of an export for the peer.
    ///
    /// # Errors
    /// As [`Tree::root`] and [`Tree::rules`].
    fn enter_export(&mut self, number: usize) -> FsResult<Node> {
        let peer = self.peer;
        let rules = self.rules(number, &peer)?;
        Ok(self.root(number)?.limited(rules.rights()))
    }

    /// Returns a directory if the peer sees it, else `NoEntry`.
    fn see(&mut self, dir: Node) -> FsResult<Node> {
        match self.next_usable(dir, self.start(dir)) {
            Err(FsError::NoEntry) if dir == ROOT => Ok(dir),
            usable => usable.map(|_| dir),
        }
    }

    /// The index in `sorted` of the next export, from the index `at` on, that has the path of `dir` or is below it, and that the peer
    /// may use.
    ///
    /// # Errors
    /// `NoEntry`: there is none; `AwaitsNames` as [`Tree::rules`].
    fn next_usable(&mut self, dir: Node, mut at: usize) -> FsResult<usize> {
        let peer = self.peer;
        while self.rest(dir, at).is_some() {
            let number = self.sorted.get(at).map_or(0, |number| usize::from(*number));
            match self.rules(number, &peer) {
                Err(error) if error.stops() => return Err(error),
                Err(_) => at += 1,
                Ok(_) => return Ok(at),
            }
        }
        Err(FsError::NoEntry)
    }

    /// The attributes of a directory. Its times are a hash of the paths below it that the peer sees: they change with them.
    #[inline(never)] // Calls for objects in an export do not pay for it.
    pub(super) fn attr_above(&mut self, dir: Node) -> FsResult<Attr> {
        let (mut at, mut hash) = (self.start(dir), FNV_START);
        loop {
            match self.next_usable(dir, at) {
                Err(FsError::NoEntry) => break,
                usable => at = usable?,
            }
            hash = fnv1a(hash.wrapping_add(1), self.path_at(at));
            at += 1;
        }
        let time = FileTime {
            secs: 0,
            nanos: hash as u32 % 1_000_000_000,
        };
        Ok(Attr {
            kind: ObjectType::Directory,
            mode: 0o555,
            nlink: 1,
            uid: 0,
            gid: 0,
            size: 0,
            used: 0,
            rdev: (0, 0),
            fsid: 0,
            inode: inode(self.path_above(dir)),
            atime: time,
            mtime: time,
            ctime: time,
        })
    }

    /// Lists a directory, as [`super::Vfs::readdir`]. An export that cannot be opened has no attributes.
    #[inline(never)] // Calls for objects in an export do not pay for it.
    pub(super) fn list_above(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        let mut at = from.saturating_sub(COOKIES_RESERVED) as usize;
        at = at.max(self.start(dir));
        while let Some(rest) = self.rest(dir, at) {
            let name_len = nth(rest, b'/', 1).len();
            let start = dir.path_len() + 1;
            let child = Node::of_path(at, start + name_len);
            let usable = self.next_usable(child, at);
            while self.rest(child, at).is_some() {
                at += 1;
            }
            match usable {
                // A longer name can be neither looked up nor opened.
                Ok(_) if name_len <= 255 => {}
                Ok(_) | Err(FsError::NoEntry) => continue,
                Err(error) => return Err(error),
            }
            let mut handle = None;
            let attr = match detail {
                Detail::Names => Err(FsError::NoEntry),
                Detail::Objects => self.enter(child).and_then(|node| {
                    if HAS_NFS4 {
                        handle = self.handle(node).ok();
                    }
                    self.attr(node)
                }),
            };
            if let Err(error) = attr
                && error.stops()
            {
                return Err(error);
            }
            let path = self.path_above(child);
            let entry = DirEntry {
                name: path.tail(start),
                cookie: at as u64 + COOKIES_RESERVED,
                inode: inode(path),
                kind: Some(ObjectType::Directory),
                id: 0,
                object: attr.as_ref().ok().map(|attr| (attr, handle.as_ref())),
            };
            if each(&entry).is_break() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The inode number of the directory at a path: a hash, but never 0, which clients take for a removed file.
fn inode(path: &[u8]) -> u64 {
    fnv1a(FNV_START, path).max(1)
}

/// The space of the pseudo root: none.
pub(super) fn statfs() -> FsStat {
    FsStat {
        read_only: true,
        name_bytes_max: 255,
        ..FsStat::default()
    }
}

/// Opens the directory `dir` (".") for listing, or a name in it that no export has.
pub(super) fn open(dir: Node, name: &[u8], how: &OpenFlags) -> FsResult<Pin> {
    match (name, how.has(OpenFlags::DIRECTORY)) {
        (b".", true) => Ok(Pin { node: dir, user: 0 }),
        (b".", false) => Err(FsError::IsDirectory),
        // A name above the exports is a part of an export's path, so creating a name here would create an export.
        _ => Err(FsError::ReadOnly),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::ram::{Ram, TAG};
    use super::super::super::{Access, Backend, Caller, Client, ExportRoot, Kind, Room, SetAttr};
    use super::*;
    use crate::mem;
    use crate::wire::exports::{Hosts, Rules};
    use core::net::Ipv6Addr;

    const FRIEND: Peer = peer(Ipv6Addr::LOCALHOST);
    const STRANGER: Peer = peer(Ipv6Addr::UNSPECIFIED);

    const fn peer(address: Ipv6Addr) -> Peer {
        Peer { address, port: 700 }
    }

    /// Hosts of an export: only FRIEND for a path that ends with `!`, which is left out.
    fn client(path: &[u8]) -> (&[u8], Client<'static>) {
        let hosts = Hosts::Network {
            address: FRIEND.address,
            bits: 128,
        };
        let rules = Rules::DEFAULT;
        match path.strip_suffix(b"!") {
            Some(path) => (path, Client { hosts, rules }),
            None => (path, Client::everyone(rules)),
        }
    }

    /// A tree of exports, see [`client`]. The first is open, the others are missing.
    fn tree_of(paths: &[&[u8]]) -> Tree {
        let mut tree = Tree::default();
        tree.add(Backend::Ram, mem::leak(Ram::model(b"/")));
        let room = Room {
            paths: paths.len(),
            entries: paths.len(),
            names: 0,
            bytes: paths.iter().map(|path| path.len() + 1).sum(),
        };
        tree.reserve(&room);
        replace(&mut tree, paths);
        tree.exports[0].root = Some(ExportRoot::fixed(Backend::Ram, TAG, false));
        tree
    }

    fn replace(tree: &mut Tree, paths: &[&[u8]]) {
        for path in paths {
            let (path, client) = client(path);
            assert_eq!(tree.add_client(path, &client), Some(true));
        }
        tree.replace_clients(&mut |_, _, _| ());
    }

    /// All names below the root that a peer sees by look-ups and listings; "=" after those of exports that are open.
    fn walk(tree: &mut Tree, peer: &Peer) -> String {
        let root = tree.root_for(peer).unwrap();
        let mut out = String::new();
        list(tree, root, peer, &mut out);
        out
    }

    fn list(tree: &mut Tree, dir: Node, peer: &Peer, out: &mut String) {
        let handle = tree.handle(dir).unwrap();
        let (mut from, mut inodes) = (0, vec![tree.attr(dir).unwrap().inode]);
        loop {
            let mut found = None;
            let ended = tree.readdir(dir, from, Detail::Objects, &mut |entry| {
                let attr = entry.object.map(|(attr, _)| *attr);
                found = Some((entry.name.to_vec(), entry.inode, attr));
                from = entry.cookie;
                ControlFlow::Break(())
            });
            let Some((name, inode, attr)) = found else {
                assert_eq!(ended, Ok(true));
                return;
            };
            assert!(inode != 0 && !inodes.contains(&inode) && from > 2);
            inodes.push(inode);
            out.push_str(&format!(" {}", name.escape_ascii()));
            let node = tree.lookup(dir, Name::new(&name).unwrap());
            assert_eq!(node.is_ok(), attr.is_some());
            let Ok(node) = node else { continue };
            assert_eq!(tree.attr(node).ok(), attr);
            if !node.is_above() {
                out.push('=');
                continue;
            }
            // Each level is found again by its handle, as its parent is.
            let Attr {
                inode: own, mode, ..
            } = tree.attr(node).unwrap();
            assert_eq!((own, mode, tree.parent(node)), (inode, 0o555, Ok(dir)));
            out.push('(');
            list(tree, node, peer, out);
            out.push(')');
            assert_eq!(open(tree, &handle, peer), Ok(dir));
        }
    }

    fn open(tree: &mut Tree, handle: &Handle, peer: &Peer) -> FsResult<Node> {
        tree.open(handle.padded(), &Caller::ANONYMOUS, peer)
    }

    #[test]
    fn peer_sees_the_ways_to_its_exports() {
        let long = [b"/long/".to_vec(), vec![b'n'; 256]].concat();
        for (paths, friend, stranger) in [
            // Exports that are missing are listed, too.
            (
                &[&b"/srv/a"[..], b"/srv/b!", b"/home!"][..],
                " home srv( a= b)",
                " srv( a=)",
            ),
            (
                &[b"/a!", b"/a/b", b"/a.x", b"/a/b/c"],
                " a= a.x",
                " a( b( c)) a.x",
            ),
            // A missing export is only a way to others.
            (&[b"/x!", b"/a", b"/a/b!"], " a( b) x=", " a"),
            (&[b"/!", b"/srv"], "", " srv"),
            (
                &[b"/srv/\xff\n", &long],
                " long() srv( \\xff\\n=)",
                " long() srv( \\xff\\n=)",
            ),
        ] {
            let mut tree = tree_of(paths);
            let root = tree.root_for(&FRIEND).unwrap();
            assert_eq!(root.is_above(), paths[0] != b"/!");
            if root.is_above() {
                assert_eq!(walk(&mut tree, &FRIEND), friend);
            }
            assert_eq!(walk(&mut tree, &STRANGER), stranger);
        }
    }

    #[test]
    fn innermost_export_has_a_path_by_whole_names() {
        let tree = tree_of(&[b"/srv", b"/srv/iso/deep", b"/srv/iso/deep!x"]);
        let all = tree_of(&[b"/", b"/srv"]);
        for (tree, path, expect) in [
            (&tree, "/srv", Some((0, ""))),
            (&tree, "//srv/./x/y", Some((0, "./x/y"))),
            (&tree, "/srv/iso", Some((0, "iso"))),
            (&tree, "/srv/iso//deep/z", Some((1, "z"))),
            (&tree, "/srv/../etc", Some((0, "../etc"))),
            (&tree, "/srvx", None),
            (&tree, "/", None),
            (&tree, "srv", None),
            (&all, "/srvx", Some((0, "/srvx"))),
            (&all, "/srv/x", Some((1, "x"))),
        ] {
            let mut rest = path.as_bytes();
            let found = tree.innermost(&mut rest).map(|number| (number, rest));
            assert_eq!(
                found,
                expect.map(|(number, rest)| (number, rest.as_bytes())),
                "{path}"
            );
        }
    }

    #[test]
    fn handles_survive_a_restart_and_times_change_with_the_names() {
        let handle_of = |tree: &mut Tree, path: &[u8]| {
            let node = tree.above(path, &FRIEND).unwrap();
            (tree.handle(node).unwrap(), tree.attr(node).unwrap())
        };
        let mut tree = tree_of(&[b"/srv/a", b"/srv/b!", b"/home/c!", b"/x"]);
        let [root, srv, home] =
            [&b"/"[..], b"/srv/", b"/home"].map(|path| handle_of(&mut tree, path));
        assert!(root.0.bytes().len() == 32 && root.0 != srv.0 && srv.0 != home.0);
        // The numbers of the exports and their places among the sorted ones differ after the restart.
        let mut tree = tree_of(&[b"/a", b"/home/c!", b"/srv/b!", b"/srv/a"]);
        for (path, (handle, attr)) in [(&b"/srv"[..], srv), (b"/home", home)] {
            assert_eq!(handle_of(&mut tree, path), (handle, attr));
            let node = open(&mut tree, &handle, &FRIEND).unwrap();
            assert_eq!(tree.attr(node), Ok(attr));
        }
        let (_, other) = handle_of(&mut tree, b"/");
        assert!(other.inode == root.1.inode && other.ctime != root.1.ctime);
        assert_eq!(open(&mut tree, &home.0, &STRANGER), Err(FsError::Stale));
        replace(&mut tree, &[b"/a", b"/home!"]);
        assert_eq!(open(&mut tree, &srv.0, &FRIEND), Err(FsError::Stale));
        assert_eq!(open(&mut tree, &home.0, &FRIEND), Err(FsError::Stale));
        let mut forged = srv.0;
        for at in 0..32 {
            let mut bytes = *forged.bytes().first_chunk::<32>().unwrap();
            bytes[at] ^= 1;
            assert!(tree.open(&bytes, &Caller::ANONYMOUS, &FRIEND).is_err());
        }
        forged = Handle::EMPTY;
        forged.push(&[3, 0, 0]);
        assert_eq!(open(&mut tree, &forged, &FRIEND), Err(FsError::BadHandle));
    }

    #[test]
    fn thousands_of_exports_are_listed_and_found() {
        let paths: Vec<_> = (0..4000)
            .map(|number| format!("/srv/{}/{number}", number % 1999))
            .collect();
        let paths: Vec<_> = paths.iter().map(|path| path.as_bytes()).collect();
        let mut tree = tree_of(&paths);
        let dir = tree.above(b"/srv", &FRIEND).unwrap();
        let mut count = 0;
        let ended = tree.readdir(dir, 0, Detail::Objects, &mut |entry| {
            count += usize::from(entry.object.is_some());
            ControlFlow::Continue(())
        });
        assert_eq!((ended, count), (Ok(true), 1999));
        for (number, path) in paths.iter().enumerate() {
            let mut rest = *path;
            assert_eq!(tree.innermost(&mut rest), Some(number));
        }
    }

    #[test]
    fn directories_above_exports_are_only_read() {
        let mut tree = tree_of(&[b"/srv/a", b"/gone"]);
        tree.act_as_process(&FRIEND);
        let kind = |tree: &mut Tree, path| tree.attr_at(path, true).map(|attr| attr.kind);
        for path in [
            &b"/"[..],
            b".",
            b"/srv",
            b"/srv/a",
            b"/srv/a/../.",
            b"srv/..",
        ] {
            assert_eq!(kind(&mut tree, path), Ok(ObjectType::Directory));
        }
        for path in [&b"/none"[..], b"/gone", b"/srv/none", b"/sr"] {
            assert_eq!(kind(&mut tree, path), Err(FsError::NoEntry));
        }
        let directory = |bits| OpenFlags { bits, create: None };
        for path in [&b"/"[..], b"/srv"] {
            let pin = tree
                .open_at(path, &directory(OpenFlags::DIRECTORY))
                .unwrap();
            let dir = pin.node();
            assert!(dir.is_above() && tree.statfs(dir).unwrap().read_only);
            tree.unpin(pin);
            let refused = tree.open_at(path, &directory(OpenFlags::READ));
            assert_eq!(refused, Err(FsError::IsDirectory));
            let pin = tree.pin(dir, None).unwrap();
            assert_eq!(pin.node(), dir);
            tree.unpin(pin);
            let accesses = [Access::Read, Access::Execute, Access::Write];
            let may = accesses.map(|access| tree.access(dir, access));
            assert_eq!(may, [Ok(()), Ok(()), Err(FsError::Access)]);
            let name = Name::new(b"a").unwrap();
            let removed = tree.remove(dir, name, Kind::Directory);
            let changed = tree.set_attr(dir, &SetAttr::default());
            assert_eq!([removed, changed], [Err(FsError::ReadOnly); 2]);
        }
        let new = OpenFlags {
            bits: OpenFlags::WRITE,
            create: Some(0o644),
        };
        for path in [&b"/new"[..], b"/srv/new"] {
            assert_eq!(tree.open_at(path, &new), Err(FsError::ReadOnly));
        }
        let top = tree.resolve(b"/srv/a", true).unwrap();
        assert!(!top.is_above() && !top.may_change());
    }
}
