//! Tools for SFTP tests and fuzzers: a client's packets, and a server on the model tree without streams.

use super::{Level, LoggedPath, OpenHandle, Permits, Session, Sftp};
use crate::config::{HASHES_BYTES, SFTP_REPLY_BYTES, TALK_INPUT_BYTES};
use crate::engine::Cx;
use crate::engine::service::{Health, Moved, Progress};
pub use crate::engine::testing::driver::Talk;
use crate::engine::testing::driver::{Engine, talk};
use crate::engine::testing::tree::Tree;
use crate::event::Events;
use crate::event::testing::Sink;
use crate::mem::Slots;
use crate::stats::Meter;
use crate::time::{Duration, Instant};
use crate::vfs::Peer;
use crate::wire::sftp::{Attributes, kind};
use crate::wire::{Reader, Writer};
use anyhow::{Result, ensure};

/// Number of handles of a session.
pub const HANDLE_COUNT: usize = 8;
/// UID of the server.
pub const UID: u32 = 1000;

/// A packet of a client, without its length.
#[derive(Clone, Debug)]
pub struct Packet(pub Vec<u8>);

impl Packet {
    /// Creates a packet with this type and id.
    pub fn new(kind: u8, id: u32) -> Self {
        Self([&[kind][..], &id.to_be_bytes()].concat())
    }

    /// INIT, the first packet of a session.
    pub fn init() -> Self {
        Self::new(kind::INIT, 3)
    }

    /// A request of an extension.
    pub fn extended(name: &[u8], id: u32) -> Self {
        Self::new(kind::EXTENDED, id).string(name)
    }

    /// Appends these bytes.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// Appends a 32-bit number.
    pub fn u32(self, word: u32) -> Self {
        self.raw(&word.to_be_bytes())
    }

    /// Appends a 64-bit number.
    pub fn u64(self, words: u64) -> Self {
        self.raw(&words.to_be_bytes())
    }

    /// Appends a string.
    pub fn string(self, bytes: &[u8]) -> Self {
        self.u32(bytes.len() as u32).raw(bytes)
    }

    /// Appends attributes.
    pub fn attributes(self, told: &Attributes) -> Self {
        let mut buffer = [0; 64];
        let mut writer = Writer::new(&mut buffer);
        told.emit(&mut writer);
        let len = writer.written().unwrap();
        self.raw(&buffer[..len])
    }

    /// The packet as it is sent, with its length.
    pub fn bytes(&self) -> Vec<u8> {
        [&(self.0.len() as u32).to_be_bytes()[..], &self.0].concat()
    }
}

/// Concatenates packets in wire format.
pub fn stream<'a>(packets: impl IntoIterator<Item = &'a Packet>) -> Vec<u8> {
    packets.into_iter().flat_map(Packet::bytes).collect()
}

/// One packet of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Packet type.
    pub kind: u8,
    /// The id of the request; for VERSION, the version.
    pub id: u32,
    /// The rest of the packet.
    pub body: Vec<u8>,
}

impl Reply {
    /// Parses the reply strictly, with another implementation. VERSION is not a reply.
    pub fn parse(&self) -> Result<cases::sftp::Reply> {
        let message = [&[self.kind][..], &self.id.to_be_bytes(), &self.body].concat();
        let (_, reply) = cases::sftp::Reply::parse(&message)?;
        match &reply {
            cases::sftp::Reply::Status(_, text) => ensure!(!text.is_empty(), "no message"),
            cases::sftp::Reply::Handle(handle) => ensure!(handle.len() == 4, "a handle's length"),
            cases::sftp::Reply::Name(_) => ensure!(self.body.len() <= 33_000, "a page's size"),
            _ => {}
        }
        Ok(reply)
    }

    /// Fails unless the reply is valid for this packet.
    pub fn check(&self, asked: &Packet) -> Result<()> {
        let kind = asked.0[0];
        if kind == kind::INIT {
            ensure!(self.kind == kind::VERSION, "INIT was answered otherwise");
            return Ok(());
        }
        let mut body = Reader::new(asked.0.get(5..).unwrap_or_default());
        let name = (kind == kind::EXTENDED).then(|| body.string());
        cases::sftp::reply::check(kind, name, &self.parse()?)
    }
}

/// Parses the packets that a server sent. A truncated last one is ignored.
pub fn replies(mut output: &[u8]) -> Vec<Reply> {
    let mut all = Vec::new();
    while let Some((len, rest)) = output.split_first_chunk() {
        let len = u32::from_be_bytes(*len) as usize;
        assert!(len >= 5, "a reply has a type and a number");
        let Some((packet, rest)) = rest.split_at_checked(len) else {
            break;
        };
        all.push(Reply {
            kind: packet[0],
            id: u32::from_be_bytes(packet[1..5].try_into().unwrap()),
            body: packet[5..].to_vec(),
        });
        output = rest;
    }
    all
}

impl Talk {
    /// The replies.
    pub fn replies(&self) -> Vec<Reply> {
        replies(&self.output)
    }
}

/// Memory that a server and its session borrow.
pub struct Memory {
    /// Buffers for passwd, group and the time zone file.
    pub texts: [&'static mut [u8]; 3],
    /// Slots for handles.
    pub handles: Slots<Option<OpenHandle>>,
    /// Paths of the handles.
    pub paths: &'static mut [LoggedPath],
    /// Buffer for the hashes of one check.
    pub hashes: &'static mut [u8],
}

impl Memory {
    /// Memory that is never freed.
    pub fn leaked() -> Self {
        Self {
            texts: [(); 3].map(|()| &mut *vec![0; 4096].leak()),
            handles: Slots::new(HANDLE_COUNT),
            paths: vec![[0; 512]; HANDLE_COUNT].leak(),
            hashes: vec![0; HASHES_BYTES].leak(),
        }
    }
}

/// A server with one session, and the memory they use.
pub struct World {
    /// The files.
    pub tree: Tree,
    /// The messages to the administrator.
    pub sink: Sink,
    events: Events,
    stats: Meter,
    sftp: Sftp,
    session: Session,
    buffer: Vec<u8>,
}

impl World {
    /// A server of this tree.
    pub fn new(tree: Tree, permits: Permits, level: Level, memory: Memory) -> Self {
        let sink = Sink::default();
        Self {
            tree,
            events: Events::new(Box::new(sink.clone())),
            stats: Meter::IDLE,
            sink,
            sftp: Sftp::new(
                permits,
                level,
                UID,
                || (1_000_000_000, 0),
                None,
                memory.texts,
            ),
            session: Session::new(memory.handles, memory.paths, memory.hashes),
            buffer: vec![0; SFTP_REPLY_BYTES],
        }
    }

    /// Limits the output buffer to `len` bytes.
    pub fn limit_output(&mut self, len: usize) {
        self.buffer.truncate(len);
    }

    /// Starts another session.
    pub fn connect(&mut self, memory: Memory) {
        self.session = Session::new(memory.handles, memory.paths, memory.hashes);
    }

    /// Passes `input` in pieces. Returns when it is used up or the connection is closed.
    pub fn talk(&mut self, input: &[u8], piece: impl FnMut() -> usize) -> Talk {
        let mut talk = talk(self, None, input, piece);
        if let Some(transfer) = talk.transfer.take() {
            transfer.abandon(&mut self.tree);
        }
        talk
    }

    fn parts(&mut self) -> (&mut Sftp, &mut Session, Cx<'_>, &mut [u8]) {
        let cx = Cx {
            now: Instant::default(),
            wall: Duration::default(),
            health: Health::Fine,
            peer: Peer::NONE,
            vfs: &mut self.tree,
            events: &mut self.events,
            stats: &mut self.stats,
        };
        (&mut self.sftp, &mut self.session, cx, &mut self.buffer)
    }

    /// Closes the connection.
    pub fn hang_up(&mut self) {
        self.sftp
            .abandon(&mut self.session, &mut self.tree, &mut self.events);
        assert_eq!(self.tree.ram().pinned, 0, "a pin was kept");
    }
}

impl Engine for World {
    const INPUT_BYTES: usize = TALK_INPUT_BYTES;

    fn advance(&mut self, input: &[u8]) -> Progress {
        let (sftp, session, mut cx, output) = self.parts();
        sftp.advance(session, &mut cx, input, output)
    }

    fn moved(&mut self, done: Moved) -> Progress {
        let (sftp, session, mut cx, output) = self.parts();
        sftp.moved(session, &mut cx, done, output)
    }

    fn replies(&mut self, progress: &Progress) -> &[u8] {
        &self.buffer[..progress.produced]
    }

    fn tree(&mut self) -> &mut crate::vfs::Tree {
        &mut self.tree
    }
}
