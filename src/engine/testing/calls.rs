//! NFS, MOUNT and portmap calls as a client encodes them: valid ones of every procedure, laid out by `nfs3_types`, and arbitrary
//! words.

use super::Bench;
use super::tree::{BIG_BYTES, big_byte};
use crate::wire::nfs3;
use crate::wire::nfs3::Procedure;
use cases::calls::{Auth, Call as Request, Objects, fragments, head};

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
pub fn all_calls(bench: &mut Bench) -> Vec<(String, Call)> {
    let [top, file, big, link, many] =
        ["", "hello", "big", "link", "many"].map(|path| bench.handle(path));
    let objects = Objects {
        top,
        file,
        big,
        link,
        many,
        path: b"/export/dir".to_vec(),
    };
    let calls = objects.calls().into_iter();
    calls.map(|(name, call)| (name, call.into())).collect()
}

/// Calls with more data than arrives at once. Each WRITE writes the bytes that the file "big" already has there, so that later
/// READs return the same data.
pub fn large_calls(bench: &mut Bench) -> Vec<(String, Call)> {
    let big = bench.handle("big");
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
