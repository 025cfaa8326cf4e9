//! A sample of every request, valid in the tree of the table; requests with a given path or handle.

use super::{Attrs, Ids, Reply, Request, open};
use anyhow::{Result, bail};

/// Handles of objects in the tree, opened in this order.
pub struct Opened {
    /// `small`, open for reading and writing.
    pub file: Vec<u8>,
    /// `other`, open for reading and writing.
    pub other: Vec<u8>,
    /// The tree's directory.
    pub dir: Vec<u8>,
    /// `small`, open for reading.
    pub read: Vec<u8>,
    /// `small`, open for writing.
    pub write: Vec<u8>,
    /// `small`, open for appending.
    pub append: Vec<u8>,
    /// A handle that was closed.
    pub closed: Vec<u8>,
}

impl Opened {
    pub fn new(ask: impl FnMut(&Request<'_>) -> Result<Reply>) -> Result<Self> {
        Self::with_flags(u32::MAX, ask)
    }

    /// Handles of a read-only server: all are open for reading.
    pub fn read_only(ask: impl FnMut(&Request<'_>) -> Result<Reply>) -> Result<Self> {
        Self::with_flags(open::READ, ask)
    }

    fn with_flags(mask: u32, mut ask: impl FnMut(&Request<'_>) -> Result<Reply>) -> Result<Self> {
        let mut handle = |request: &Request<'_>| match ask(request)? {
            Reply::Handle(handle) => Ok(handle),
            reply => bail!("{request:?} was answered {reply:?}"),
        };
        let mut file = |path, flags| handle(&Request::Open(path, flags & mask, Attrs::default()));
        const BOTH: u32 = open::READ | open::WRITE;
        let (small, other) = (file(b"small", BOTH)?, file(b"other", BOTH)?);
        let (read, write) = (file(b"small", open::READ)?, file(b"small", open::WRITE)?);
        let append = file(b"small", open::WRITE | open::APPEND)?;
        let (dir, closed) = (
            handle(&Request::OpenDir(b"."))?,
            handle(&Request::OpenDir(b"sub"))?,
        );
        ask(&Request::Close(&closed))?;
        Ok(Self {
            file: small,
            other,
            dir,
            read,
            write,
            append,
            closed,
        })
    }

    /// The handle of this name.
    pub fn handle(&self, name: &str) -> &[u8] {
        match name {
            "file" => &self.file,
            "other" => &self.other,
            "dir" => &self.dir,
            "read" => &self.read,
            "write" => &self.write,
            "append" => &self.append,
            "closed" => &self.closed,
            _ => panic!("{name} is no handle"),
        }
    }

    /// The handles that are open.
    pub fn all(&self) -> [&Vec<u8>; 6] {
        [
            &self.file,
            &self.other,
            &self.dir,
            &self.read,
            &self.write,
            &self.append,
        ]
    }

    /// Closes the handles.
    pub fn close(&self, mut ask: impl FnMut(&Request<'_>) -> Result<Reply>) -> Result<()> {
        self.all()
            .into_iter()
            .try_for_each(|handle| ask(&Request::Close(handle)).map(drop))
    }

    /// Every request at least once. Later requests change objects that earlier requests need.
    pub fn requests(&self) -> Vec<Request<'_>> {
        let (file, other, dir) = (&self.file[..], &self.other[..], &self.dir[..]);
        let name = b"new".as_slice();
        let attrs = Attrs {
            size: Some(3),
            owner: None,
            mode: Some(0o644),
            times: Some((1, 2)),
            extended: vec![(b"name".to_vec(), b"data".to_vec())],
        };
        vec![
            Request::RealPath(b"sub/.."),
            Request::Stat(b"small"),
            Request::LStat(b"link"),
            Request::FStat(file),
            Request::Read(file, 0, 4096),
            Request::ReadLink(b"link"),
            Request::ReadDir(dir),
            Request::OpenDir(b"sub"),
            Request::StatVfs(b"small"),
            Request::FStatVfs(file),
            Request::Limits,
            Request::ExpandPath(b"~/small"),
            Request::HomeDirectory(b""),
            Request::UsersGroupsById(Ids(&[0, 1, 65_534]), Ids(&[0, 7])),
            Request::SpaceAvailable(b"small"),
            Request::VendorId {
                vendor: b"vendor",
                product: b"product",
                version: b"version",
                build: 7,
            },
            Request::check("check-file-name", b"large", b"sha256,md5"),
            Request::check("check-file-handle", file, b"sha256,md5"),
            Request::check("check-file", file, b"sha256,md5"),
            Request::Extended(b"no-such-extension@example.com", b"data"),
            Request::Other(99, b"data"),
            Request::Open(name, open::READ | open::WRITE | open::CREATE, attrs.clone()),
            Request::Write(file, 2, b"some data"),
            Request::FSync(file),
            Request::SetStat(b"other", attrs.clone()),
            Request::FSetStat(other, attrs.clone()),
            Request::LSetStat(b"link", Attrs::times(3, 4)),
            Request::CopyData {
                from: file,
                offset: 1,
                len: 3,
                to: other,
                to_offset: 2,
            },
            Request::MkDir(b"made", Attrs::mode(0o755)),
            Request::RmDir(b"empty"),
            Request::SymLink(b"small", b"symlink"),
            Request::HardLink(b"small", b"hard"),
            Request::Rename(b"large", b"renamed"),
            Request::PosixRename(b"sub/inner", b"other"),
            Request::Remove(b"small"),
            Request::Close(other),
        ]
    }
}

/// Every request that takes a path, with `path` in each position.
pub fn with_path(path: &[u8]) -> Vec<Request<'_>> {
    let free = b"free".as_slice();
    let mut all = vec![
        Request::Open(path, open::READ, Attrs::default()),
        Request::Open(
            path,
            open::WRITE | open::CREATE | open::TRUNCATE,
            Attrs::default(),
        ),
        Request::LStat(path),
        Request::Stat(path),
        Request::SetStat(path, Attrs::times(1, 2)),
        Request::SetStat(path, Attrs::mode(0o700)),
        Request::SetStat(path, Attrs::size(1)),
        Request::LSetStat(path, Attrs::times(1, 2)),
        Request::OpenDir(path),
        Request::MkDir(path, Attrs::default()),
        Request::RealPath(path),
        Request::ReadLink(path),
        Request::StatVfs(path),
        Request::ExpandPath(path),
        Request::SpaceAvailable(path),
        Request::check("check-file-name", path, b"md5"),
        Request::SymLink(b"small", path),
        Request::HardLink(path, free),
        Request::HardLink(b"small", path),
        Request::Rename(path, free),
        Request::Rename(b"other", path),
    ];
    all.extend([
        Request::PosixRename(path, free),
        Request::PosixRename(b"other", path),
        Request::RmDir(path),
        Request::Remove(path),
    ]);
    all
}
