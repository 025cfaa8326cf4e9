//! Calls as a client writes them, built apart from the code that reads them; one of every procedure.

use super::World;
use super::tree::{BIG_BYTES, big_byte};
use crate::wire::nfs3::Procedure;
use crate::wire::{mount, nfs3, portmap};

/// The last fragment's flag in a record mark.
const LAST: u32 = 1 << 31;
/// Bytes of a call before its arguments.
pub const HEADER_BYTES: usize = 16 * 4;

/// A call under construction: what follows the record mark.
#[derive(Clone, Debug)]
pub struct Call(pub Vec<u8>);

/// What a call asks for, read back from its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Comes back in the reply.
    pub xid: u32,
    /// Program, version, procedure.
    pub what: (u32, u32, u32),
}

impl Asked {
    /// `None`: the packet is too short, or no call.
    pub fn of(packet: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = packet.get(at * 4..at * 4 + 4)?;
            Some(u32::from_be_bytes(bytes.try_into().unwrap()))
        };
        (word(1)? == 0).then_some(())?;
        // What is refused before they are read has no program and no procedure.
        let what = [3, 4, 5].map(|at| word(at).unwrap_or(0));
        Some(Self {
            xid: word(0)?,
            what: (what[0], what[1], what[2]),
        })
    }
}

impl Call {
    /// A call with an empty AUTH_SYS credential of "box" and no arguments yet.
    pub fn new(program: u32, version: u32, procedure: u32) -> Self {
        Self(Vec::new())
            .words(&[7, 0, 2, program, version, procedure, 1, 24])
            .word(9)
            .opaque(b"box")
            .words(&[1000, 100, 0, 0, 0])
    }

    /// A call of NFS version 3.
    pub fn nfs(procedure: Procedure) -> Self {
        Self::new(nfs3::PROGRAM, nfs3::VERSION, procedure as u32)
    }

    /// A call of NFS version 3 whose arguments begin with a handle.
    pub fn of(procedure: Procedure, handle: &[u8]) -> Self {
        Self::nfs(procedure).opaque(handle)
    }

    /// READ.
    pub fn read(handle: &[u8], offset: u64, count: u32) -> Self {
        Self::of(Procedure::Read, handle).long(offset).word(count)
    }

    /// WRITE.
    pub fn write(handle: &[u8], offset: u64, stable: u32, data: &[u8]) -> Self {
        Self::of(Procedure::Write, handle)
            .long(offset)
            .words(&[data.len() as u32, stable])
            .opaque(data)
    }

    /// COMMIT of all of a file.
    pub fn commit(handle: &[u8]) -> Self {
        Self::of(Procedure::Commit, handle).long(0).word(0)
    }

    /// LOOKUP.
    pub fn lookup(handle: &[u8], name: &[u8]) -> Self {
        Self::of(Procedure::Lookup, handle).opaque(name)
    }

    /// MNT.
    pub fn mount(version: u32, path: &[u8]) -> Self {
        Self::new(mount::PROGRAM, version, mount::procedure::MNT).opaque(path)
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

    /// Appends a number of 64 bits.
    pub fn long(mut self, long: u64) -> Self {
        self.0.extend(long.to_be_bytes());
        self
    }

    /// Appends variable-length opaque.
    pub fn opaque(mut self, bytes: &[u8]) -> Self {
        self = self.word(bytes.len() as u32);
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// The same call under another xid.
    pub fn xid(mut self, xid: u32) -> Self {
        self.0[..4].copy_from_slice(&xid.to_be_bytes());
        self
    }

    /// The call as one fragment.
    pub fn record(&self) -> Vec<u8> {
        self.fragments(&[])
    }

    /// The call in fragments that end at `cuts` and at its end.
    pub fn fragments(&self, cuts: &[usize]) -> Vec<u8> {
        let mut record = Vec::new();
        let mut from = 0;
        for to in cuts.iter().copied().chain([self.0.len()]) {
            let last = if to == self.0.len() { LAST } else { 0 };
            record.extend(((to - from) as u32 | last).to_be_bytes());
            record.extend(&self.0[from..to]);
            from = to;
        }
        record
    }
}

/// Nothing of an object is to change: no mode, owner, group or size, and times stay.
#[doc(alias = "sattr3")]
pub const NO_CHANGE: &[u32] = &[0, 0, 0, 0, 0, 0];
/// How a WRITE's data is to be kept.
#[doc(alias = "stable_how")]
pub mod stable {
    /// In the file.
    pub const UNSTABLE: u32 = 0;
    /// On disk, and all that is needed to find it.
    pub const DATA_SYNC: u32 = 1;
    /// On disk.
    pub const FILE_SYNC: u32 = 2;
}

/// A call of every procedure that is served, each such that it succeeds, alone or after those before it, where the export
/// may be changed. What does not change anything succeeds anywhere.
pub fn every(world: &mut World) -> Vec<(String, Call)> {
    let [top, file, big, link, many] =
        ["", "hello", "big", "link", "many"].map(|path| world.handle(path));
    let mut calls = Vec::new();
    for procedure in Procedure::ALL {
        let of_top = || Call::of(procedure, &top);
        let of_file = || Call::of(procedure, &file);
        let call = match procedure {
            Procedure::Null => Call::nfs(procedure),
            Procedure::GetAttr => of_file(),
            Procedure::SetAttr => of_file().words(&[1, 0o600, 0, 0, 0, 0, 0]).word(0),
            Procedure::Lookup => of_top().opaque(b"hello"),
            Procedure::Access => of_top().word(0x3f),
            Procedure::ReadLink => Call::of(procedure, &link),
            Procedure::Read => of_file().long(0).word(4096),
            Procedure::Write => Call::write(&file, 0, stable::FILE_SYNC, b"bytes"),
            Procedure::Create => of_top().opaque(b"new").word(0).words(NO_CHANGE),
            Procedure::MkDir => of_top().opaque(b"new directory").words(NO_CHANGE),
            Procedure::SymLink => of_top()
                .opaque(b"new link")
                .words(NO_CHANGE)
                .opaque(b"hello"),
            Procedure::MkNod => of_top().opaque(b"new fifo").word(7).words(NO_CHANGE),
            Procedure::Remove => of_top().opaque(b"fifo"),
            Procedure::RmDir => of_top().opaque(b"empty"),
            Procedure::Rename => of_top().opaque(b"long link").opaque(&top).opaque(b"moved"),
            Procedure::Link => of_file().opaque(&top).opaque(b"linked"),
            Procedure::ReadDir => Call::of(procedure, &many).long(0).long(0).word(2048),
            Procedure::ReadDirPlus => Call::of(procedure, &many)
                .long(0)
                .long(0)
                .words(&[1024, 4096]),
            Procedure::FsStat | Procedure::FsInfo | Procedure::PathConf => of_top(),
            Procedure::Commit => of_file().long(0).word(0),
        };
        calls.push((format!("{procedure:?}"), call));
    }
    let create = |name: &[u8]| Call::of(Procedure::Create, &top).opaque(name);
    let all = &[1, 0o640, 1, 3, 1, 4, 1, 0, 9, 2, 5, 6, 1];
    calls.push((
        "Create guarded".into(),
        create(b"guarded").word(1).words(all),
    ));
    calls.push((
        "Create exclusive".into(),
        create(b"exclusive").word(2).words(&[1 << 31 | 7, 8]),
    ));
    calls.push((
        "MkNod of a device".into(),
        Call::of(Procedure::MkNod, &top)
            .opaque(b"device")
            .word(4)
            .words(NO_CHANGE)
            .words(&[1, 3]),
    ));
    for (how, name) in ["unstable", "for its data"].into_iter().enumerate() {
        let call = Call::write(&file, 11, how as u32, b"more of it");
        calls.push((format!("Write {name}"), call));
    }
    calls.push(("Read at once".into(), Call::read(&big, 1, 65_535)));
    calls.push(("Read by order".into(), Call::read(&big, 1, 131_073)));
    for version in [mount::VERSION_1, mount::VERSION_3] {
        for procedure in 0..6 {
            let call = Call::new(mount::PROGRAM, version, procedure);
            let takes_path = matches!(procedure, mount::procedure::MNT | mount::procedure::UMNT);
            let call = if takes_path {
                call.opaque(b"/export/dir")
            } else {
                call
            };
            calls.push((format!("Mount {version}.{procedure}"), call));
        }
    }
    let portmap = |procedure| Call::new(portmap::PROGRAM, portmap::VERSION, procedure);
    let question = [nfs3::PROGRAM, nfs3::VERSION, 6, 0];
    calls.push(("Portmap null".into(), portmap(0)));
    calls.push(("Portmap port".into(), portmap(3).words(&question)));
    calls.push(("Portmap dump".into(), portmap(4)));
    calls
}

/// Calls whose data does not arrive at once: what is written is `big_byte`'s, so that it makes no difference to readers.
pub fn large(world: &mut World) -> Vec<(String, Call)> {
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

/// The calls in a stream, as far as they are there: what a reader without limits would make of it.
pub fn calls_in(mut stream: &[u8]) -> Vec<Asked> {
    let mut asked = Vec::new();
    let mut packet = Vec::new();
    while let Some((mark, rest)) = stream.split_first_chunk() {
        let mark = u32::from_be_bytes(*mark);
        let len = (mark & 0x7fff_ffff) as usize;
        let (bytes, rest) = rest.split_at(len.min(rest.len()));
        packet.extend(bytes);
        stream = rest;
        if mark >> 31 == 1 {
            asked.extend(Asked::of(&packet));
            packet.clear();
        }
    }
    // What does not end may be answered all the same, if it is long enough.
    asked.extend(Asked::of(&packet));
    asked
}
