//! One method per SFTP request: sends it and returns the result. A STATUS other than success is returned as an error of type
//! [`Status`].

use super::reply::decode_strictly;
use super::{
    AccountNames, Attrs, Ids, Limits, NameEntry, READ_MAX, Reply, Request, Sftp, Space, StatVfs,
    Status, Sums, failed_status, open,
};
use anyhow::{Context, Result, bail};
use cases::ssh_encoding::{Decode, Encode, Error};

/// A handle, as the server sent it.
pub type Handle = Vec<u8>;

/// Declares a method per request. Arguments are the request's fields, strings first; the result is parsed according to the expected
/// reply.
macro_rules! calls {
    ($($call:ident = $request:ident($($string:ident),* $(; $($field:ident: $type:ty),*)?) -> $reply:ident $result:ty;)*) => {
        impl Sftp {
            $(
                #[doc = stringify!($request)]
                pub fn $call(&mut self, $($string: impl AsRef<[u8]>,)* $($($field: $type),*)?) -> Result<$result> {
                    $(let $string = $string.as_ref();)*
                    self.$reply(&Request::$request($($string,)* $($($field),*)?))
                }
            )*
        }
    };
}

calls! {
    open = Open(path; flags: u32, attrs: Attrs) -> handle Handle;
    close = Close(handle) -> ok ();
    read = Read(handle; offset: u64, len: u32) -> data Option<Vec<u8>>;
    write_at = Write(handle; offset: u64, data: &[u8]) -> ok ();
    lstat = LStat(path) -> attrs Attrs;
    fstat = FStat(handle) -> attrs Attrs;
    stat = Stat(path) -> attrs Attrs;
    set_stat = SetStat(path; attrs: Attrs) -> ok ();
    set_fstat = FSetStat(handle; attrs: Attrs) -> ok ();
    open_dir = OpenDir(path) -> handle Handle;
    read_dir = ReadDir(handle) -> names Option<Vec<NameEntry>>;
    remove = Remove(path) -> ok ();
    mkdir = MkDir(path; attrs: Attrs) -> ok ();
    rmdir = RmDir(path) -> ok ();
    real_path = RealPath(path) -> name Vec<u8>;
    rename = Rename(from, to) -> ok ();
    read_link = ReadLink(path) -> name Vec<u8>;
    symlink = SymLink(target, link) -> ok ();
    posix_rename = PosixRename(from, to) -> ok ();
    stat_vfs = StatVfs(path) -> extended StatVfs;
    fstat_vfs = FStatVfs(handle) -> extended StatVfs;
    hard_link = HardLink(from, to) -> ok ();
    fsync = FSync(handle) -> ok ();
    set_lstat = LSetStat(path; attrs: Attrs) -> ok ();
    expand_path = ExpandPath(path) -> name Vec<u8>;
    home_directory = HomeDirectory(user) -> name Vec<u8>;
    space = SpaceAvailable(path) -> extended Space;
}

impl Sftp {
    /// OPEN for reading.
    pub fn open_read(&mut self, path: impl AsRef<[u8]>) -> Result<Handle> {
        self.open(path, open::READ, Attrs::default())
    }

    /// OPEN for reading and writing.
    pub fn open_both(&mut self, path: impl AsRef<[u8]>) -> Result<Handle> {
        self.open(path, open::READ | open::WRITE, Attrs::default())
    }

    /// OPEN for writing. Creates the file, or truncates an existing one.
    pub fn create(&mut self, path: impl AsRef<[u8]>) -> Result<Handle> {
        let flags = open::WRITE | open::CREATE | open::TRUNCATE;
        self.open(path, flags, Attrs::mode(0o644))
    }

    /// Sends copy-data for `len` bytes. A `len` of 0 copies from `offset` to the end of the file.
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

    /// Sends limits@openssh.com and returns the server's limits.
    pub fn limits(&mut self) -> Result<Limits> {
        self.extended(&Request::Limits)
    }

    /// Sends users-groups-by-id@openssh.com and returns the names of the users and groups.
    pub fn account_names(&mut self, users: &[u32], groups: &[u32]) -> Result<AccountNames> {
        let request = Request::UsersGroupsById(Ids(users), Ids(groups));
        AccountNames::parse(&self.extension(&request)?)
    }

    /// check-file-name: one hash per block of a file, or with a `block_len` of 0 one hash of the range.
    pub fn check_name(
        &mut self,
        path: impl AsRef<[u8]>,
        algorithms: &str,
        range: (u64, u64),
        block_len: u32,
    ) -> Result<Sums> {
        let path = path.as_ref();
        self.check("check-file-name", path, algorithms, range, block_len)
    }

    /// check-file-handle: as [`Self::check_name`], for an open file.
    pub fn check_handle(
        &mut self,
        handle: &[u8],
        algorithms: &str,
        range: (u64, u64),
        block_len: u32,
    ) -> Result<Sums> {
        self.check("check-file-handle", handle, algorithms, range, block_len)
    }

    fn check(
        &mut self,
        name: &'static str,
        object: &[u8],
        algorithms: &str,
        (offset, len): (u64, u64),
        block_len: u32,
    ) -> Result<Sums> {
        let data = self.extension(&Request::CheckFile {
            name,
            object,
            algorithms: algorithms.as_bytes(),
            offset,
            len,
            block_len,
        })?;
        Sums::parse(&data, name.as_bytes())
    }

    /// Sends a request and returns the status of its reply. None if the status is OK or the reply has another type.
    pub fn error_status(&mut self, request: &Request<'_>) -> Result<Option<Status>> {
        let status = self.exchange(request)?.status();
        Ok(status.filter(|&status| status != Status::OK))
    }

    /// Sends a request whose reply must be STATUS OK.
    pub fn ok(&mut self, request: &Request<'_>) -> Result<()> {
        match self.exchange(request)? {
            Reply::Status(Status::OK, _) => Ok(()),
            reply => unexpected(request, reply),
        }
    }

    /// Sends a request whose reply must be a handle.
    pub fn handle(&mut self, request: &Request<'_>) -> Result<Handle> {
        match self.exchange(request)? {
            Reply::Handle(handle) => Ok(handle),
            reply => unexpected(request, reply),
        }
    }

    /// Sends a request whose reply must be DATA. None at the end of the file.
    fn data(&mut self, request: &Request<'_>) -> Result<Option<Vec<u8>>> {
        match self.exchange(request)? {
            Reply::Data(data) => Ok(Some(data)),
            Reply::Status(Status::EOF, _) => Ok(None),
            reply => unexpected(request, reply),
        }
    }

    /// Sends a request whose reply must be NAME. None at the end of the directory.
    fn names(&mut self, request: &Request<'_>) -> Result<Option<Vec<NameEntry>>> {
        match self.exchange(request)? {
            Reply::Name(entries) => Ok(Some(entries)),
            Reply::Status(Status::EOF, _) => Ok(None),
            reply => unexpected(request, reply),
        }
    }

    fn attrs(&mut self, request: &Request<'_>) -> Result<Attrs> {
        match self.exchange(request)? {
            Reply::Attrs(attrs) => Ok(attrs),
            reply => unexpected(request, reply),
        }
    }

    fn name(&mut self, request: &Request<'_>) -> Result<Vec<u8>> {
        match self.exchange(request)? {
            Reply::Name(mut entries) => Ok(entries
                .pop()
                .context("the server sent a NAME without entries")?
                .name),
            reply => unexpected(request, reply),
        }
    }

    fn extended<T: Decode<Error = Error> + Encode>(&mut self, request: &Request<'_>) -> Result<T> {
        decode_strictly(&self.extension(request)?)
    }

    fn extension(&mut self, request: &Request<'_>) -> Result<Vec<u8>> {
        match self.exchange(request)? {
            Reply::Extended(data) => Ok(data),
            reply => unexpected(request, reply),
        }
    }

    /// Lists all entries of a directory.
    pub fn list(&mut self, path: impl AsRef<[u8]>) -> Result<Vec<NameEntry>> {
        let handle = self.open_dir(path)?;
        let mut all = Vec::new();
        while let Some(entries) = self.read_dir(&handle)? {
            all.extend(entries);
        }
        self.close(&handle)?;
        Ok(all)
    }

    /// Reads a whole file, by READs of [`READ_MAX`] bytes.
    pub fn read_file(&mut self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let handle = self.open_read(path)?;
        let mut all = Vec::new();
        while let Some(data) = self.read(&handle, all.len() as u64, READ_MAX)? {
            all.extend(data);
        }
        self.close(&handle)?;
        Ok(all)
    }

    /// Creates or truncates a file and writes `data`, by WRITEs of at most [`READ_MAX`] bytes.
    pub fn write_file(&mut self, path: impl AsRef<[u8]>, data: &[u8]) -> Result<()> {
        let handle = self.create(path)?;
        let mut offset = 0;
        for part in data.chunks(READ_MAX as usize) {
            self.write_at(&handle, offset, part)?;
            offset += part.len() as u64;
        }
        self.close(&handle)
    }

    /// Returns true if an object of this name exists. A failure other than NO_SUCH_FILE is an error.
    pub fn exists(&mut self, path: impl AsRef<[u8]>) -> Result<bool> {
        match failed_status(self.lstat(path))? {
            None => Ok(true),
            Some(Status::NO_SUCH_FILE) => Ok(false),
            Some(status) => Err(status.into()),
        }
    }
}

/// Returns the error for a valid reply that is not the expected success: a STATUS of failure or another type of reply.
fn unexpected<T>(request: &Request<'_>, reply: Reply) -> Result<T> {
    match reply {
        Reply::Status(status, text) if status != Status::OK => Err(anyhow::Error::new(status)
            .context(format!("the server answered '{text}' to {request:?}"))),
        reply => bail!("the server answered {reply:?} to {request:?}"),
    }
}
