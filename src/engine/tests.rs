//! The engines over the model tree: bytes in, bytes out. No sockets, no sleeping.
//!
//! [`World`] plays the driver; [`calls`] is the client; [`replies`] reads as strictly as the RFCs write.

pub mod calls;
mod listing;
mod mutations;
mod procedures;
pub mod random;
mod reading;
mod records;
pub mod replies;
pub mod tree;

use super::rpc::{Programs, Service, Session};
use super::{Cx, Order, Progress, State, Stream as _};
use crate::config::{REPLY_BYTES, REQUEST_BYTES};
use crate::event::Events;
use crate::event::tests::Sink;
use crate::time::Instant;
use crate::vfs::{FsError, FsResult, Name, Vfs as _};
use crate::wire::portmap::{Mapping, Transport};
use crate::wire::rpc::Reject;
use crate::wire::{mount, nfs3};
use calls::{Asked, Call};
use core::net::{Ipv4Addr, Ipv6Addr};
use replies::Body;
use tree::Tree;

const PEER: Ipv6Addr = Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped();
/// Other than anything that a reply is full of.
const VERIFIER: [u8; 8] = *b"verifier";
/// The programs with all that they need.
pub struct World {
    tree: Tree,
    programs: Programs,
    /// What a person was told.
    pub sink: Sink,
    events: Events,
    buffer: Vec<u8>,
}

/// What came of a stream of requests.
#[derive(Debug, Default)]
pub struct Talk {
    /// All that was sent.
    pub output: Vec<u8>,
    /// Why the connection was closed.
    pub closed: Option<&'static str>,
    /// Bytes of the input that were used up.
    pub consumed: usize,
    /// Calls of the engine.
    pub turns: usize,
}

/// The programs as one server offers them.
pub fn programs() -> Programs {
    let mut programs = Programs::new(VERIFIER);
    for (program, version) in [(nfs3::PROGRAM, nfs3::VERSION), (mount::PROGRAM, 3)] {
        let mapping = Mapping {
            program,
            version,
            transport: Transport::Tcp,
            port: 2049,
        };
        programs.mappings.push(mapping).unwrap();
    }
    programs
}

/// A socket through which all programs are reached.
pub const EVERYTHING: Service = Service {
    nfs: true,
    mount: true,
    portmap: true,
};

impl Default for World {
    /// A server that nobody has asked yet.
    fn default() -> Self {
        let sink = Sink::default();
        Self {
            tree: Tree::default(),
            programs: programs(),
            events: Events::new(Box::new(sink.clone())),
            sink,
            buffer: vec![0; REPLY_BYTES],
        }
    }
}

impl World {
    /// The handle of the object at `path`.
    pub fn handle(&mut self, path: &str) -> Vec<u8> {
        let top = self.tree.root(0);
        let node = path
            .split('/')
            .filter(|name| !name.is_empty())
            .try_fold(top.unwrap(), |dir, name| {
                self.tree.lookup(dir, Name::new(name.as_bytes())?)
            });
        self.tree.handle(node.unwrap()).unwrap().bytes().to_vec()
    }

    /// The handle of a file that was removed since.
    fn stale_handle(&mut self) -> Vec<u8> {
        self.tree.ram.file("gone", b"");
        let handle = self.handle("gone");
        self.tree.ram.unlink("gone");
        handle
    }

    fn session() -> Session {
        Session::new(EVERYTHING)
    }

    fn advance(&mut self, session: &mut Session, input: &[u8]) -> Progress {
        let mut cx = Cx {
            now: Instant::default(),
            peer: PEER,
            vfs: &mut self.tree,
            events: &mut self.events,
        };
        self.programs
            .advance(session, &mut cx, input, &mut self.buffer)
    }

    fn done(&mut self, session: &mut Session, result: FsResult<u64>) -> Progress {
        let mut cx = Cx {
            now: Instant::default(),
            peer: PEER,
            vfs: &mut self.tree,
            events: &mut self.events,
        };
        self.programs
            .done(session, &mut cx, result, &mut self.buffer)
    }

    /// Plays the driver: gives `input` in pieces, carries out orders, and stops where the engine does.
    fn talk(
        &mut self,
        session: &mut Session,
        input: &[u8],
        mut piece: impl FnMut() -> usize,
    ) -> Talk {
        let mut talk = Talk::default();
        let mut given = 0;
        loop {
            let window = &input[talk.consumed..given];
            let progress = self.advance(session, window);
            let (consumed, produced) = (progress.consumed, progress.produced);
            assert!(consumed <= window.len() && produced <= REPLY_BYTES);
            talk.turns += 1;
            talk.consumed += consumed;
            talk.output.extend(&self.buffer[..produced]);
            let ordered = progress.order.is_some();
            if let Some(order) = progress.order {
                assert_eq!(progress.state, State::NeedOutput);
                self.carry_out(session, order, &mut talk.output);
            }
            match progress.state {
                State::Closed(why) => {
                    talk.closed = Some(why);
                    return talk;
                }
                State::NeedOutput => {
                    assert!(produced > 0 || ordered, "an empty output did not suffice");
                }
                State::NeedInput if given == input.len() => return talk,
                State::NeedInput => {
                    let held = given - talk.consumed;
                    assert!(held < REQUEST_BYTES, "a full input did not suffice");
                    let more = piece().clamp(1, REQUEST_BYTES - held);
                    given = (given + more).min(input.len());
                }
            }
        }
    }

    fn carry_out(&mut self, session: &mut Session, order: Order, output: &mut Vec<u8>) {
        let Order::Send { file, offset, len } = order;
        let start = output.len();
        output.resize(start + len as usize, 0);
        let got = self
            .tree
            .read(file.node(), offset, &mut output[start..])
            .unwrap();
        assert_eq!(got, len as usize, "more was promised than there is");
        self.tree.unpin(file);
        let progress = self.done(session, Ok(len.into()));
        assert_eq!(progress.state, State::NeedInput);
        output.extend(&self.buffer[..progress.produced]);
    }

    /// Gives a whole stream to a new connection.
    fn send(&mut self, input: &[u8]) -> Talk {
        self.talk(&mut Self::session(), input, || REQUEST_BYTES)
    }

    /// The whole reply to `call`, which must be all that happens.
    fn reply(&mut self, call: &Call) -> Vec<u8> {
        let record = call.record();
        let talk = self.send(&record);
        assert_eq!((talk.closed, talk.consumed), (None, record.len()));
        let replies = replies::records(&talk.output).unwrap();
        assert_eq!(replies.len(), 1);
        replies[0].to_vec()
    }

    /// The results of `call`, strictly read.
    fn ask(&mut self, call: &Call) -> Result<Body, Reject> {
        let asked = Asked::of(&call.0).unwrap();
        replies::parse(&self.reply(call), asked).unwrap()
    }

    /// Compares the words after the reply's header.
    #[track_caller]
    fn check(&mut self, call: &Call, expect: &[&[u32]]) {
        let reply = self.reply(call);
        let asked = Asked::of(&call.0).unwrap();
        replies::parse(&reply, asked).unwrap().unwrap();
        let words: Vec<u32> = reply
            .chunks(4)
            .map(|word| u32::from_be_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(words[..6], [asked.xid, 1, 0, 0, 0, 0]);
        assert_eq!(words[6..], expect.concat());
    }
}

/// The attributes that the model tells.
fn attributes(kind: u32, mode: u32, size: u64, inode: u32) -> [u32; 21] {
    let [high, low] = [(size >> 32) as u32, size as u32];
    // Small files are stored in a chunk.
    let used = if kind == 1 { 4096 } else { low };
    let [secs, nanos] = [1_000_000_000, 123_456_789];
    [
        kind, mode, 1, 1000, 100, high, low, 0, used, 0, 0, 0, 7, 0, inode, secs, nanos, secs,
        nanos, secs, nanos,
    ]
}

/// Bytes as words, padded.
fn words(bytes: &[u8]) -> Vec<u32> {
    let word = |chunk: &[u8]| {
        (0..4).fold(0, |word, at| {
            word << 8 | u32::from(*chunk.get(at).unwrap_or(&0))
        })
    };
    bytes.chunks(4).map(word).collect()
}

/// An error of the disk under an order has no place in the reply, which was promised already.
#[test]
fn an_order_that_fails_closes_the_connection() {
    let mut world = World::default();
    let big = world.handle("big");
    let mut session = World::session();
    let progress = world.advance(&mut session, &Call::read(&big, 0, 100_000).record());
    let Some(Order::Send { file, .. }) = progress.order else {
        panic!("no order: {progress:?}");
    };
    world.tree.unpin(file);
    let progress = world.done(&mut session, Err(FsError::Io));
    assert!(matches!(progress.state, State::Closed(_)));
    assert_eq!(progress.produced, 0);
}
