//! A sample of every request, valid in the sample directory; requests with a given path or handle.

use anyhow::Result;
use xtask::clients::sftp::calls::Handle;
use xtask::clients::sftp::{Attrs, Ids, Request, Sftp, open};

/// Handles of objects in the sample.
pub(super) struct Opened {
    /// `small`, open for reading and writing.
    pub(super) file: Handle,
    /// `other`, open for reading and writing.
    pub(super) other: Handle,
    /// The sample directory.
    pub(super) dir: Handle,
}

impl Opened {
    pub(super) fn new(client: &mut Sftp) -> Result<Self> {
        Ok(Self {
            file: client.open_both("small")?,
            other: client.open_both("other")?,
            dir: client.open_dir(".")?,
        })
    }

    /// Every request at least once. Later requests change objects that earlier requests need.
    pub(super) fn requests(&self) -> Vec<Request<'_>> {
        let (file, other, dir) = (&self.file[..], &self.other[..], &self.dir[..]);
        let name = b"new".as_slice();
        let attrs = Attrs {
            size: Some(3),
            owner: None,
            mode: Some(0o644),
            times: Some((1, 2)),
            extended: vec![(b"name".to_vec(), b"data".to_vec())],
        };
        let mut all = vec![
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
            Request::HomeDirectory(b"root"),
            Request::UsersGroupsById(Ids(&[0, 1, 65_534]), Ids(&[0, 7])),
            Request::SpaceAvailable(b"small"),
            Request::VendorId {
                vendor: b"vendor",
                product: b"product",
                version: b"version",
                build: 7,
            },
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
        ];
        for (name, object) in [
            ("check-file-name", b"large".as_slice()),
            ("check-file-handle", file),
            ("check-file", file),
        ] {
            all.push(Request::check(name, object, b"sha256,md5"));
        }
        all
    }
}

/// Every request that takes a path, with `path` in each position.
pub(super) fn with_path(path: &[u8]) -> Vec<Request<'_>> {
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
