//! A call for each request: sends it, waits, and gives what was asked for; a `Status` that says otherwise is the error.

use super::{
    AccountNames, Attrs, Entry, Limits, READ_MAX, Reply, Request, Sftp, Space, StatVfs, Status,
    Sums, failure, open,
};
use anyhow::{Context, Result, bail};

/// A handle, as the server gave it.
pub type Handle = Vec<u8>;

impl Sftp {
    /// OPEN.
    pub fn open(&mut self, path: impl AsRef<[u8]>, flags: u32, attrs: Attrs) -> Result<Handle> {
        let path = path.as_ref();
        self.handle(&Request::Open { path, flags, attrs })
    }

    /// OPEN for reading.
    pub fn open_read(&mut self, path: impl AsRef<[u8]>) -> Result<Handle> {
        self.open(path, open::READ, Attrs::default())
    }

    /// OPEN for writing what did not exist, or is cut to nothing.
    pub fn create(&mut self, path: impl AsRef<[u8]>) -> Result<Handle> {
        let flags = open::WRITE | open::CREATE | open::TRUNCATE;
        self.open(path, flags, Attrs::mode(0o644))
    }

    /// CLOSE.
    pub fn close(&mut self, handle: &[u8]) -> Result<()> {
        self.ok(&Request::Close { handle })
    }

    /// READ: None at the end of the file.
    pub fn read(&mut self, handle: &[u8], offset: u64, len: u32) -> Result<Option<Vec<u8>>> {
        let request = Request::Read {
            handle,
            offset,
            len,
        };
        match self.exchange(&request)? {
            Reply::Data(data) => Ok(Some(data)),
            Reply::Status(Status::EOF, _) => Ok(None),
            other => unexpected(&request, other),
        }
    }

    /// WRITE.
    pub fn write_at(&mut self, handle: &[u8], offset: u64, data: &[u8]) -> Result<()> {
        self.ok(&Request::Write {
            handle,
            offset,
            data,
        })
    }

    /// LSTAT.
    pub fn lstat(&mut self, path: impl AsRef<[u8]>) -> Result<Attrs> {
        let path = path.as_ref();
        self.attrs(&Request::LStat { path })
    }

    /// FSTAT.
    pub fn fstat(&mut self, handle: &[u8]) -> Result<Attrs> {
        self.attrs(&Request::FStat { handle })
    }

    /// STAT.
    pub fn stat(&mut self, path: impl AsRef<[u8]>) -> Result<Attrs> {
        let path = path.as_ref();
        self.attrs(&Request::Stat { path })
    }

    /// SETSTAT.
    pub fn set_stat(&mut self, path: impl AsRef<[u8]>, attrs: Attrs) -> Result<()> {
        let path = path.as_ref();
        self.ok(&Request::SetStat { path, attrs })
    }

    /// FSETSTAT.
    pub fn set_fstat(&mut self, handle: &[u8], attrs: Attrs) -> Result<()> {
        self.ok(&Request::FSetStat { handle, attrs })
    }

    /// OPENDIR.
    pub fn open_dir(&mut self, path: impl AsRef<[u8]>) -> Result<Handle> {
        let path = path.as_ref();
        self.handle(&Request::OpenDir { path })
    }

    /// READDIR: None at the end of the directory.
    pub fn read_dir(&mut self, handle: &[u8]) -> Result<Option<Vec<Entry>>> {
        let request = Request::ReadDir { handle };
        match self.exchange(&request)? {
            Reply::Name(entries) => Ok(Some(entries)),
            Reply::Status(Status::EOF, _) => Ok(None),
            other => unexpected(&request, other),
        }
    }

    /// REMOVE.
    pub fn remove(&mut self, path: impl AsRef<[u8]>) -> Result<()> {
        let path = path.as_ref();
        self.ok(&Request::Remove { path })
    }

    /// MKDIR.
    pub fn mkdir(&mut self, path: impl AsRef<[u8]>, attrs: Attrs) -> Result<()> {
        let path = path.as_ref();
        self.ok(&Request::MkDir { path, attrs })
    }

    /// RMDIR.
    pub fn rmdir(&mut self, path: impl AsRef<[u8]>) -> Result<()> {
        let path = path.as_ref();
        self.ok(&Request::RmDir { path })
    }

    /// REALPATH.
    pub fn real_path(&mut self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let path = path.as_ref();
        self.name(&Request::RealPath { path })
    }

    /// RENAME, which replaces nothing.
    pub fn rename(&mut self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        self.ok(&Request::Rename { from, to })
    }

    /// READLINK.
    pub fn read_link(&mut self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let path = path.as_ref();
        self.name(&Request::ReadLink { path })
    }

    /// SYMLINK: `link` that points to `target`.
    pub fn symlink(&mut self, target: impl AsRef<[u8]>, link: impl AsRef<[u8]>) -> Result<()> {
        let (target, link) = (target.as_ref(), link.as_ref());
        self.ok(&Request::SymLink { target, link })
    }

    /// posix-rename@openssh.com.
    pub fn posix_rename(&mut self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        self.ok(&Request::PosixRename { from, to })
    }

    /// statvfs@openssh.com.
    pub fn stat_vfs(&mut self, path: impl AsRef<[u8]>) -> Result<StatVfs> {
        let path = path.as_ref();
        StatVfs::parse(&self.extended(&Request::StatVfs { path })?)
    }

    /// fstatvfs@openssh.com.
    pub fn fstat_vfs(&mut self, handle: &[u8]) -> Result<StatVfs> {
        StatVfs::parse(&self.extended(&Request::FStatVfs { handle })?)
    }

    /// hardlink@openssh.com.
    pub fn hard_link(&mut self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        self.ok(&Request::HardLink { from, to })
    }

    /// fsync@openssh.com.
    pub fn fsync(&mut self, handle: &[u8]) -> Result<()> {
        self.ok(&Request::FSync { handle })
    }

    /// lsetstat@openssh.com.
    pub fn set_lstat(&mut self, path: impl AsRef<[u8]>, attrs: Attrs) -> Result<()> {
        let path = path.as_ref();
        self.ok(&Request::LSetStat { path, attrs })
    }

    /// limits@openssh.com.
    pub fn limits(&mut self) -> Result<Limits> {
        Limits::parse(&self.extended(&Request::Limits)?)
    }

    /// expand-path@openssh.com.
    pub fn expand_path(&mut self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let path = path.as_ref();
        self.name(&Request::ExpandPath { path })
    }

    /// copy-data of `len` bytes, or with 0 of all from `offset` on.
    pub fn copy_data(
        &mut self,
        (from, offset): (&[u8], u64),
        len: u64,
        (to, to_offset): (&[u8], u64),
    ) -> Result<()> {
        self.ok(&Request::CopyData {
            from,
            offset,
            len,
            to,
            to_offset,
        })
    }

    /// home-directory.
    pub fn home_directory(&mut self, user: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let user = user.as_ref();
        self.name(&Request::HomeDirectory { user })
    }

    /// users-groups-by-id@openssh.com.
    pub fn account_names(&mut self, users: &[u32], groups: &[u32]) -> Result<AccountNames> {
        AccountNames::parse(&self.extended(&Request::UsersGroupsById { users, groups })?)
    }

    /// check-file-name: the sums of a file's blocks, or with a `block_len` of 0 of all.
    pub fn check_name(
        &mut self,
        path: impl AsRef<[u8]>,
        algorithms: &str,
        (offset, len): (u64, u64),
        block_len: u32,
    ) -> Result<Sums> {
        self.check(
            "check-file-name",
            path.as_ref(),
            algorithms,
            (offset, len),
            block_len,
        )
    }

    /// check-file-handle: the same for an open file.
    pub fn check_handle(
        &mut self,
        handle: &[u8],
        algorithms: &str,
        (offset, len): (u64, u64),
        block_len: u32,
    ) -> Result<Sums> {
        self.check(
            "check-file-handle",
            handle,
            algorithms,
            (offset, len),
            block_len,
        )
    }

    fn check(
        &mut self,
        name: &'static str,
        object: &[u8],
        algorithms: &str,
        (offset, len): (u64, u64),
        block_len: u32,
    ) -> Result<Sums> {
        let data = self.extended(&Request::CheckFile {
            name,
            object,
            algorithms: algorithms.as_bytes(),
            offset,
            len,
            block_len,
        })?;
        Sums::parse(&data, name.as_bytes())
    }

    /// space-available.
    pub fn space(&mut self, path: impl AsRef<[u8]>) -> Result<Space> {
        let path = path.as_ref();
        Space::parse(&self.extended(&Request::SpaceAvailable { path })?)
    }

    /// The status that a request is answered with; None when it gets what it asked for, be it `OK`.
    pub fn told(&mut self, request: &Request<'_>) -> Result<Option<Status>> {
        let status = self.exchange(request)?.status();
        Ok(status.filter(|&status| status != Status::OK))
    }

    /// A request that must be answered OK.
    pub fn ok(&mut self, request: &Request<'_>) -> Result<()> {
        match self.exchange(request)? {
            Reply::Status(Status::OK, _) => Ok(()),
            other => unexpected(request, other),
        }
    }

    /// A request that must be answered with a handle.
    pub fn handle(&mut self, request: &Request<'_>) -> Result<Handle> {
        match self.exchange(request)? {
            Reply::Handle(handle) => Ok(handle),
            other => unexpected(request, other),
        }
    }

    fn attrs(&mut self, request: &Request<'_>) -> Result<Attrs> {
        match self.exchange(request)? {
            Reply::Attrs(attrs) => Ok(attrs),
            other => unexpected(request, other),
        }
    }

    fn name(&mut self, request: &Request<'_>) -> Result<Vec<u8>> {
        match self.exchange(request)? {
            Reply::Name(mut entries) => Ok(entries.pop().context("no name")?.name),
            other => unexpected(request, other),
        }
    }

    fn extended(&mut self, request: &Request<'_>) -> Result<Vec<u8>> {
        match self.exchange(request)? {
            Reply::Extended(data) => Ok(data),
            other => unexpected(request, other),
        }
    }

    /// The names in a directory, to its end, with what the server says of each.
    pub fn list(&mut self, path: impl AsRef<[u8]>) -> Result<Vec<Entry>> {
        let handle = self.open_dir(path)?;
        let mut all = Vec::new();
        while let Some(entries) = self.read_dir(&handle)? {
            all.extend(entries);
        }
        self.close(&handle)?;
        Ok(all)
    }

    /// All of a file, by READs as long as they may be.
    pub fn read_file(&mut self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let handle = self.open_read(path)?;
        let mut all = Vec::new();
        while let Some(data) = self.read(&handle, all.len() as u64, READ_MAX)? {
            all.extend(data);
        }
        self.close(&handle)?;
        Ok(all)
    }

    /// A new file with `data`, by WRITEs as long as they may be.
    pub fn write_file(&mut self, path: impl AsRef<[u8]>, data: &[u8]) -> Result<()> {
        let handle = self.create(path)?;
        let mut offset = 0;
        for part in data.chunks(READ_MAX as usize) {
            self.write_at(&handle, offset, part)?;
            offset += part.len() as u64;
        }
        self.close(&handle)
    }

    /// Whether anything of this name is there; any failure but NO_SUCH_FILE is an error.
    pub fn exists(&mut self, path: impl AsRef<[u8]>) -> Result<bool> {
        match failure(self.lstat(path))? {
            None => Ok(true),
            Some(Status::NO_SUCH_FILE) => Ok(false),
            Some(other) => Err(other.into()),
        }
    }
}

/// What came was well formed, and no success of this request.
fn unexpected<T>(request: &Request<'_>, reply: Reply) -> Result<T> {
    match reply {
        Reply::Status(status, text) if status != Status::OK => {
            Err(anyhow::Error::new(status).context(format!("'{text}', to {request:?}")))
        }
        other => bail!("{other:?} to {request:?}"),
    }
}
