//! The engines over the model tree: bytes in, bytes out. No sockets, no sleeping.
//!
//! [`World`] plays the driver; [`calls`] is the client; [`replies`] reads as strictly as the RFCs write.

pub mod calls;
mod changing;
mod listing;
mod mutations;
mod procedures;
pub mod random;
mod reading;
mod records;
mod replaying;
pub mod replies;
pub mod tree;
mod writing;

use super::rpc::{Programs, Service, Session};
use super::{Cx, Order, Progress, State, Stream as _};
use crate::config::{REPLAY_BYTES, REPLY_BYTES, REQUEST_BYTES};
use crate::event::Events;
use crate::event::tests::Sink;
use crate::time::Instant;
use crate::vfs::{Caller, FsError, FsResult, Name, Right, Vfs as _};
use crate::wire::nfs3::Procedure;
use crate::wire::portmap::{Mapping, Transport};
use crate::wire::rpc::Reject;
use crate::wire::{mount, nfs3};
use calls::{Asked, Call};
use core::net::{Ipv4Addr, Ipv6Addr};
use replies::{Attributes, Before, Body};
use tree::Tree;

const PEER: Ipv6Addr = Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped();
/// Other than anything that a reply is full of.
const VERIFIER: [u8; 8] = *b"verifier";
/// The programs with all that they need.
pub struct World {
    tree: Tree,
    programs: Programs,
    /// Who asks.
    peer: Ipv6Addr,
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
    /// Waits for more than there was of the stream.
    pub order: Option<Order>,
}

/// The programs as one server offers them, with so much room for replies that may be asked for again.
pub fn programs(replay_bytes: usize) -> Programs {
    let mut programs = Programs::new(VERIFIER, vec![0; replay_bytes].leak());
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
    /// A server that nobody has asked yet, for reading only. It remembers no replies, so every call is carried out.
    fn default() -> Self {
        let sink = Sink::default();
        Self {
            tree: Tree::default(),
            programs: programs(0),
            peer: PEER,
            events: Events::new(Box::new(sink.clone())),
            sink,
            buffer: vec![0; REPLY_BYTES],
        }
    }
}

impl World {
    /// The same with a tree that can be written to.
    pub fn writable() -> Self {
        let mut world = Self::default();
        world.tree.ram.writable = true;
        world
    }

    /// The same, and it remembers its replies.
    pub fn remembering() -> Self {
        Self {
            programs: programs(REPLAY_BYTES),
            ..Self::writable()
        }
    }

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
            peer: self.peer,
            vfs: &mut self.tree,
            events: &mut self.events,
        };
        self.programs
            .advance(session, &mut cx, input, &mut self.buffer)
    }

    fn done(&mut self, session: &mut Session, order: Order, result: FsResult<()>) -> Progress {
        let mut cx = Cx {
            now: Instant::default(),
            peer: self.peer,
            vfs: &mut self.tree,
            events: &mut self.events,
        };
        self.programs
            .done(session, &mut cx, order, result, &mut self.buffer)
    }

    /// Plays the driver: gives `input` in pieces, carries out orders, and stops where the engine does.
    fn talk(&mut self, session: &mut Session, input: &[u8], piece: impl FnMut() -> usize) -> Talk {
        self.go_on(session, None, input, piece)
    }

    /// The same after the stream ended in the middle of an order.
    fn go_on(
        &mut self,
        session: &mut Session,
        order: Option<Order>,
        input: &[u8],
        mut piece: impl FnMut() -> usize,
    ) -> Talk {
        let mut talk = Talk::default();
        let mut given = 0;
        let mut left = order.map(|order| Progress {
            consumed: 0,
            produced: 0,
            order: Some(order),
            state: State::NeedOutput,
        });
        loop {
            let window = &input[talk.consumed..given];
            let mut progress = left.take().unwrap_or_else(|| self.advance(session, window));
            assert!(progress.consumed <= window.len());
            talk.turns += 1;
            talk.consumed += progress.consumed;
            let before = talk.output.len();
            talk.output.extend(&self.buffer[..progress.produced]);
            let ordered = progress.order.is_some();
            while let Some(mut order) = progress.order.take() {
                assert_eq!(progress.state, State::NeedOutput);
                if matches!(order, Order::Store { .. }) {
                    assert_eq!(
                        talk.consumed, given,
                        "what was received already is passed by"
                    );
                }
                let Some(result) = self.carry_out(&mut order, input, &mut talk, &mut piece) else {
                    talk.order = Some(order);
                    return talk;
                };
                given = given.max(talk.consumed);
                progress = self.done(session, order, result);
                assert_eq!(progress.consumed, 0);
                talk.output.extend(&self.buffer[..progress.produced]);
            }
            match progress.state {
                State::Closed(why) => {
                    talk.closed = Some(why);
                    return talk;
                }
                _ if ordered => {}
                State::NeedOutput => {
                    assert!(
                        talk.output.len() > before,
                        "an empty output did not suffice"
                    );
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

    /// What came of an order; `None` if the stream has no more for it.
    fn carry_out(
        &mut self,
        order: &mut Order,
        input: &[u8],
        talk: &mut Talk,
        piece: &mut dyn FnMut() -> usize,
    ) -> Option<FsResult<()>> {
        match order {
            Order::Send { file, offset, len } => {
                let start = talk.output.len();
                talk.output.resize(start + *len as usize, 0);
                let got = self.tree.read(file, *offset, &mut talk.output[start..]);
                assert_eq!(got, Ok(*len as usize), "more was promised than there is");
                Some(Ok(()))
            }
            Order::Sync { file } => Some(self.tree.sync(file)),
            Order::Store { file, offset, len } => {
                assert!(*len > 0, "an order for nothing");
                while *len > 0 {
                    let left = input.len() - talk.consumed;
                    let here = piece().clamp(1, *len as usize).min(left);
                    if here < *len as usize {
                        // The driver waits, and serves others meanwhile.
                        self.programs.interrupted();
                    }
                    if here == 0 {
                        return None;
                    }
                    let bytes = &input[talk.consumed..][..here];
                    let written = self.tree.write(file, *offset, bytes);
                    talk.consumed += here;
                    *offset += here as u64;
                    *len -= here as u32;
                    if written.is_err() {
                        return Some(written);
                    }
                }
                Some(Ok(()))
            }
        }
    }

    /// The connection is gone.
    fn hang_up(&mut self, mut session: Session, order: Option<Order>) {
        if let Some(order) = order {
            order.abandon(&mut self.tree);
        }
        self.programs.abandon(&mut session, &mut self.tree);
    }

    /// Gives a whole stream to a new connection.
    fn send(&mut self, input: &[u8]) -> Talk {
        self.send_in(input, || usize::MAX)
    }

    /// The same in pieces; then the connection is gone.
    fn send_in(&mut self, input: &[u8], piece: impl FnMut() -> usize) -> Talk {
        let mut session = Self::session();
        let mut talk = self.talk(&mut session, input, piece);
        self.hang_up(session, talk.order.take());
        talk
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

    /// What GETATTR tells.
    fn attributes(&mut self, handle: &[u8]) -> Attributes {
        let told = self.ask(&Call::of(Procedure::GetAttr, handle)).unwrap();
        told.attributes[0].unwrap()
    }

    /// Asks, and checks that what is told of these objects, before and after, is what they were and are.
    #[track_caller]
    fn ask_around(&mut self, call: &Call, handles: &[&[u8]]) -> Body {
        let was: Vec<_> = handles
            .iter()
            .map(|handle| Some(before(self.attributes(handle))))
            .collect();
        let body = self.ask(call).unwrap();
        let now: Vec<_> = handles
            .iter()
            .map(|handle| Some(self.attributes(handle)))
            .collect();
        assert_eq!(body.before, was);
        assert!(body.attributes.ends_with(&now), "{body:?}, but {now:?}");
        body
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
fn attributes(kind: u32, mode: u32, size: u64, inode: u32) -> Attributes {
    let [high, low] = [(size >> 32) as u32, size as u32];
    // Small files are stored in a chunk.
    let used = if kind == 1 { 4096 } else { low };
    let [secs, nanos] = [1_000_000_000, 123_456_789];
    [
        kind, mode, 1, 1000, 100, high, low, 0, used, 0, 0, 0, 7, 0, inode, secs, nanos, secs,
        nanos, secs, nanos,
    ]
}

/// What is told of an object from before a change.
fn before(attributes: Attributes) -> Before {
    [5, 6, 17, 18, 19, 20].map(|at| attributes[at])
}

/// All that a small file has in it.
fn content(world: &mut World, path: &str) -> Vec<u8> {
    let handle = world.handle(path);
    let node = world.tree.open(&handle, &Caller::default()).unwrap();
    let pin = world.tree.pin(node, Some(Right::Read)).unwrap();
    let mut out = vec![0; 2 << 20];
    let len = world.tree.read(&pin, 0, &mut out).unwrap();
    world.tree.unpin(pin);
    out.truncate(len);
    out
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
    let order = progress.order.expect("an order");
    assert!(matches!(order, Order::Send { .. }));
    let progress = world.done(&mut session, order, Err(FsError::Io));
    assert!(matches!(progress.state, State::Closed(_)));
    assert_eq!(progress.produced, 0);
}
