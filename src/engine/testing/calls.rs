//! NFS, MOUNT and portmap calls as a client encodes them: valid ones of every procedure, laid out by `nfs3_types`, and arbitrary
//! words.

use super::World;
use super::tree::{BIG_BYTES, big_byte};
use crate::wire::nfs3;
use crate::wire::nfs3::Procedure;
use cases::calls::{Auth, Call as Request, fragments, head};
use cases::nfs3_types::nfs3::{mknoddata3, stable_how};
use cases::values::{How, Set, SetTime, device};

/// Length of a call before its arguments (bytes).
pub const HEADER_BYTES: usize = 16 * 4;

/// A call under construction, without its record mark.
#[derive(Clone, Debug)]
pub struct Call(pub Vec<u8>);

/// The identity of a call, parsed from its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallId {
    /// Transaction id, which the reply repeats.
    pub xid: u32,
    /// Program, version, procedure.
    pub procedure: (u32, u32, u32),
}

impl CallId {
    /// Returns `None` if the packet is too short or not a call.
    pub fn of(packet: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = packet.get(at * 4..at * 4 + 4)?;
            Some(u32::from_be_bytes(bytes.try_into().unwrap()))
        };
        (word(1)? == 0).then_some(())?;
        // A truncated call, which the server rejects, may lack program and procedure. They are 0 then.
        let procedure = [3, 4, 5].map(|at| word(at).unwrap_or(0));
        Some(Self {
            xid: word(0)?,
            procedure: (procedure[0], procedure[1], procedure[2]),
        })
    }
}

fn auth() -> Auth {
    Auth::sys(b"box", 1000, 100, &[])
}

impl From<Request<'_>> for Call {
    fn from(request: Request<'_>) -> Self {
        Self(request.message(7, &auth()))
    }
}

impl Call {
    /// A call of any procedure, without arguments.
    pub fn new(program: u32, version: u32, procedure: u32) -> Self {
        Self(head(7, 2, (program, version, procedure), &auth()))
    }

    /// A call of NFSv3.
    pub fn nfs(procedure: Procedure) -> Self {
        Self::new(nfs3::PROGRAM, nfs3::VERSION, procedure as u32)
    }

    /// A call of NFSv3 whose first argument is a handle.
    pub fn of(procedure: Procedure, handle: &[u8]) -> Self {
        Self::nfs(procedure).opaque(handle)
    }

    /// READ.
    pub fn read(handle: &[u8], offset: u64, count: u32) -> Self {
        Request::read(handle, offset, count).into()
    }

    /// WRITE.
    pub fn write(handle: &[u8], offset: u64, stable: u32, data: &[u8]) -> Self {
        Request::write_of(handle, offset, data.len() as u32, stable, data).into()
    }

    /// COMMIT of the whole file.
    pub fn commit(handle: &[u8]) -> Self {
        Request::commit(handle, 0, 0).into()
    }

    /// LOOKUP.
    pub fn lookup(handle: &[u8], name: &[u8]) -> Self {
        Request::lookup(handle, name).into()
    }

    /// MNT.
    pub fn mount(version: u32, path: &[u8]) -> Self {
        let mut request = Request::mount(path);
        request.procedure.1 = version;
        request.into()
    }

    /// Appends a word.
    pub fn word(self, word: u32) -> Self {
        self.words(&[word])
    }

    /// Appends words.
    pub fn words(mut self, words: &[u32]) -> Self {
        self.0
            .extend(words.iter().flat_map(|word| word.to_be_bytes()));
        self
    }

    /// Appends a 64-bit number.
    pub fn long(mut self, long: u64) -> Self {
        self.0.extend(long.to_be_bytes());
        self
    }

    /// Appends variable-length opaque data.
    pub fn opaque(mut self, bytes: &[u8]) -> Self {
        self = self.word(bytes.len() as u32);
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Replaces the xid.
    pub fn xid(mut self, xid: u32) -> Self {
        self.0[..4].copy_from_slice(&xid.to_be_bytes());
        self
    }

    /// The call as one fragment.
    pub fn record(&self) -> Vec<u8> {
        self.fragments(&[])
    }

    /// The call as a record whose fragments end at `cuts` and at the call's end.
    pub fn fragments(&self, cuts: &[usize]) -> Vec<u8> {
        fragments(&self.0, cuts)
    }
}

/// Attributes that change nothing: no mode, owner, group, size or times.
#[doc(alias = "sattr3")]
pub const NO_CHANGE: &[u32] = &[0, 0, 0, 0, 0, 0];
/// Values of a WRITE's `stable` argument.
#[doc(alias = "stable_how")]
pub mod stable {
    /// Need not be on disk when the reply is sent.
    pub const UNSTABLE: u32 = 0;
    /// On disk, with the metadata needed to read it.
    pub const DATA_SYNC: u32 = 1;
    /// On disk, with all metadata.
    pub const FILE_SYNC: u32 = 2;
}

/// A call of every procedure. Each succeeds on a writable export, alone or after those before it. Calls that change nothing succeed
/// on any export.
pub fn all_calls(world: &mut World) -> Vec<(String, Call)> {
    let [top, file, big, link, many] =
        ["", "hello", "big", "link", "many"].map(|path| world.handle(path));
    let none = Set::default();
    let mut calls = Vec::new();
    for procedure in Procedure::ALL {
        let call = match procedure {
            Procedure::Null => Request::null(),
            Procedure::GetAttr => Request::get_attr(&file),
            Procedure::SetAttr => Request::set_attr(&file, Set::mode(0o600), None),
            Procedure::Lookup => Request::lookup(&top, b"hello"),
            Procedure::Access => Request::access(&top, 0x3f),
            Procedure::ReadLink => Request::read_link(&link),
            Procedure::Read => Request::read(&file, 0, 4096),
            Procedure::Write => Request::write(&file, 0, stable_how::FILE_SYNC, b"bytes"),
            Procedure::Create => Request::create(&top, b"new", How::Unchecked(none)),
            Procedure::MkDir => Request::mkdir(&top, b"new directory", none),
            Procedure::SymLink => Request::symlink(&top, b"new link", none, b"hello"),
            Procedure::MkNod => Request::fifo(&top, b"new fifo", none),
            Procedure::Remove => Request::remove(&top, b"fifo"),
            Procedure::RmDir => Request::rmdir(&top, b"empty"),
            Procedure::Rename => Request::rename(&top, b"long link", &top, b"moved"),
            Procedure::Link => Request::link(&file, &top, b"linked"),
            Procedure::ReadDir => Request::read_dir(&many, 0, [0; 8], 2048),
            Procedure::ReadDirPlus => Request::read_dir_plus(&many, 0, [0; 8], 1024, 4096),
            Procedure::FsStat => Request::fs_stat(&top),
            Procedure::FsInfo => Request::fs_info(&top),
            Procedure::PathConf => Request::path_conf(&top),
            Procedure::Commit => Request::commit(&file, 0, 0),
        };
        calls.push((format!("{procedure:?}"), call));
    }
    let all = Set {
        mode: Some(0o640),
        uid: Some(3),
        gid: Some(4),
        size: Some(9),
        atime: SetTime::Client(5, 6),
        mtime: SetTime::Server,
    };
    let verifier = [0x80, 0, 0, 7, 0, 0, 0, 8];
    let path = b"/export/dir";
    let null = mknoddata3::NF3CHR(device(none, 1, 3));
    let write = |stable| Request::write(&file, 11, stable, b"more of it");
    let more = [
        (
            "Create guarded",
            Request::create(&top, b"guarded", How::Guarded(all)),
        ),
        (
            "Create exclusive",
            Request::create(&top, b"exclusive", How::Exclusive(verifier)),
        ),
        ("MkNod of a device", Request::mknod(&top, b"device", null)),
        ("Write unstable", write(stable_how::UNSTABLE)),
        ("Write for its data", write(stable_how::DATA_SYNC)),
        ("Read at once", Request::read(&big, 1, 65_535)),
        ("Read by order", Request::read(&big, 1, 131_073)),
        ("Portmap null", Request::portmap_null()),
        (
            "Portmap port",
            Request::get_port(nfs3::PROGRAM, nfs3::VERSION, 6),
        ),
        ("Portmap dump", Request::portmap_dump()),
    ];
    calls.extend(more.map(|(name, call)| (name.into(), call)));
    for call in [
        Request::mount_null(),
        Request::mount(path),
        Request::mount_dump(),
        Request::unmount(path),
        Request::unmount_all(),
        Request::exports(),
    ] {
        let number = call.procedure.2;
        calls.push((format!("Mount 1.{number}"), call.clone().version_1()));
        calls.push((format!("Mount 3.{number}"), call));
    }
    let calls = calls.into_iter();
    calls.map(|(name, call)| (name, call.into())).collect()
}

/// Calls with more data than arrives at once. Each WRITE writes the bytes that the file "big" already has there, so that later
/// READs return the same data.
pub fn large_calls(world: &mut World) -> Vec<(String, Call)> {
    let big = world.handle("big");
    let data: Vec<u8> = (0..BIG_BYTES).map(big_byte).collect();
    let write = |from: usize, to: usize, how| Call::write(&big, from as u64, how, &data[from..to]);
    [
        ("Write a page more", write(4096, 20_481, stable::UNSTABLE)),
        ("Write much", write(1, 150_000, stable::UNSTABLE)),
        ("Write all", write(0, BIG_BYTES, stable::FILE_SYNC)),
    ]
    .map(|(name, call)| (name.into(), call))
    .into()
}

/// The calls in a stream of records, as a reader without limits parses them.
pub fn calls_in(mut stream: &[u8]) -> Vec<CallId> {
    let mut asked = Vec::new();
    let mut packet = Vec::new();
    while let Some((mark, rest)) = stream.split_first_chunk() {
        let mark = u32::from_be_bytes(*mark);
        let len = (mark & 0x7fff_ffff) as usize;
        let (bytes, rest) = rest.split_at(len.min(rest.len()));
        packet.extend(bytes);
        stream = rest;
        if mark >> 31 == 1 {
            asked.extend(CallId::of(&packet));
            packet.clear();
        }
    }
    // An unfinished record counts as well: the server may answer it before its end.
    asked.extend(CallId::of(&packet));
    asked
}
