//! Each request that there is, in a form that succeeds or fails for a good reason, and its parts.

use anyhow::Result;
use xtask::clients::sftp::calls::Handle;
use xtask::clients::sftp::{Attrs, Request, Sftp, open};

/// Handles of what is open in the sample.
pub(super) struct Opened {
    /// `small`, for both.
    pub(super) file: Handle,
    /// `other`, for both.
    pub(super) other: Handle,
    /// The sample itself.
    pub(super) dir: Handle,
}

impl Opened {
    pub(super) fn new(client: &mut Sftp) -> Result<Self> {
        let both = open::READ | open::WRITE;
        Ok(Self {
            file: client.open("small", both, Attrs::default())?,
            other: client.open("other", both, Attrs::default())?,
            dir: client.open_dir(".")?,
        })
    }

    /// Every request, once at least. Those that come late change what the early ones need.
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
            Request::RealPath { path: b"sub/.." },
            Request::Stat { path: b"small" },
            Request::LStat { path: b"link" },
            Request::FStat { handle: file },
            Request::Read {
                handle: file,
                offset: 0,
                len: 4096,
            },
            Request::ReadLink { path: b"link" },
            Request::ReadDir { handle: dir },
            Request::OpenDir { path: b"sub" },
            Request::StatVfs { path: b"small" },
            Request::FStatVfs { handle: file },
            Request::Limits,
            Request::ExpandPath { path: b"~/small" },
            Request::HomeDirectory { user: b"root" },
            Request::UsersGroupsById {
                users: &[0, 1, 65_534],
                groups: &[0, 7],
            },
            Request::SpaceAvailable { path: b"small" },
            Request::VendorId {
                vendor: b"vendor",
                product: b"product",
                version: b"version",
                build: 7,
            },
            Request::Extended {
                name: b"no-such-extension@example.com",
                data: b"data",
            },
            Request::Other {
                kind: 99,
                data: b"data",
            },
            Request::Open {
                path: name,
                flags: open::READ | open::WRITE | open::CREATE,
                attrs: attrs.clone(),
            },
            Request::Write {
                handle: file,
                offset: 2,
                data: b"some data",
            },
            Request::FSync { handle: file },
            Request::SetStat {
                path: b"other",
                attrs: attrs.clone(),
            },
            Request::FSetStat {
                handle: other,
                attrs: attrs.clone(),
            },
            Request::LSetStat {
                path: b"link",
                attrs: Attrs::times(3, 4),
            },
            Request::CopyData {
                from: file,
                offset: 1,
                len: 3,
                to: other,
                to_offset: 2,
            },
            Request::MkDir {
                path: b"made",
                attrs: Attrs::mode(0o755),
            },
            Request::RmDir { path: b"empty" },
            Request::SymLink {
                target: b"small",
                link: b"symlink",
            },
            Request::HardLink {
                from: b"small",
                to: b"hard",
            },
            Request::Rename {
                from: b"large",
                to: b"renamed",
            },
            Request::PosixRename {
                from: b"sub/inner",
                to: b"other",
            },
            Request::Remove { path: b"small" },
            Request::Close { handle: other },
        ];
        for (name, object) in [
            ("check-file-name", b"large".as_slice()),
            ("check-file-handle", file),
            ("check-file", file),
        ] {
            all.push(Request::CheckFile {
                name,
                object,
                algorithms: b"sha256,md5",
                offset: 0,
                len: 0,
                block_len: 0,
            });
        }
        all
    }
}

/// Every request that takes a path, with this one in each of its places.
pub(super) fn with_path(path: &[u8]) -> Vec<Request<'_>> {
    let free = b"free".as_slice();
    let mut all = vec![
        Request::Open {
            path,
            flags: open::READ,
            attrs: Attrs::default(),
        },
        Request::Open {
            path,
            flags: open::WRITE | open::CREATE | open::TRUNCATE,
            attrs: Attrs::default(),
        },
        Request::LStat { path },
        Request::Stat { path },
        Request::SetStat {
            path,
            attrs: Attrs::times(1, 2),
        },
        Request::SetStat {
            path,
            attrs: Attrs::mode(0o700),
        },
        Request::SetStat {
            path,
            attrs: Attrs::size(1),
        },
        Request::LSetStat {
            path,
            attrs: Attrs::times(1, 2),
        },
        Request::OpenDir { path },
        Request::MkDir {
            path,
            attrs: Attrs::default(),
        },
        Request::RealPath { path },
        Request::ReadLink { path },
        Request::StatVfs { path },
        Request::ExpandPath { path },
        Request::SpaceAvailable { path },
        Request::CheckFile {
            name: "check-file-name",
            object: path,
            algorithms: b"md5",
            offset: 0,
            len: 0,
            block_len: 0,
        },
        Request::SymLink {
            target: b"small",
            link: path,
        },
        Request::HardLink {
            from: path,
            to: free,
        },
        Request::HardLink {
            from: b"small",
            to: path,
        },
        Request::Rename {
            from: path,
            to: free,
        },
        Request::Rename {
            from: b"other",
            to: path,
        },
    ];
    all.extend([
        Request::PosixRename {
            from: path,
            to: free,
        },
        Request::PosixRename {
            from: b"other",
            to: path,
        },
        Request::RmDir { path },
        Request::Remove { path },
    ]);
    all
}

/// Every request that takes a handle, with this one in each of its places; `good` is one of a file.
pub(super) fn with_handle<'a>(handle: &'a [u8], good: &'a [u8]) -> Vec<Request<'a>> {
    let copy = |from, to| Request::CopyData {
        from,
        offset: 0,
        len: 0,
        to,
        to_offset: 0,
    };
    let check = |name| Request::CheckFile {
        name,
        object: handle,
        algorithms: b"md5",
        offset: 0,
        len: 0,
        block_len: 0,
    };
    vec![
        Request::Close { handle },
        Request::Read {
            handle,
            offset: 0,
            len: 100,
        },
        Request::Read {
            handle,
            offset: 0,
            len: 250_000,
        },
        Request::Write {
            handle,
            offset: 0,
            data: b"data",
        },
        Request::Write {
            handle,
            offset: 0,
            data: &[0; 100_000],
        },
        Request::FStat { handle },
        Request::FSetStat {
            handle,
            attrs: Attrs::mode(0o600),
        },
        Request::FSetStat {
            handle,
            attrs: Attrs::size(0),
        },
        Request::ReadDir { handle },
        Request::FStatVfs { handle },
        Request::FSync { handle },
        copy(handle, good),
        copy(good, handle),
        copy(handle, handle),
        check("check-file"),
        check("check-file-handle"),
    ]
}
