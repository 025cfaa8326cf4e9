//! A server on the model tree without sockets: bytes in, bytes out. The test plays the driver.

use super::calls::{CallId, calls_in};
use super::driver::{Engine, Talk, talk};
use super::replies;
use super::tree::Tree;
use crate::config::{DATAGRAM_BYTES, DRC_BYTES, REPLY_BYTES, REQUEST_BYTES, SHARED_BYTES};
use crate::engine::Cx;
use crate::engine::programs::{ProgramSet, Programs, Session};
use crate::engine::rpc::connections::{Connections, word_count};
use crate::engine::service::{Health, Promise};
use crate::engine::service::{Io, Moved, Progress, Transfer};
use crate::event::Events;
use crate::event::testing::Sink;
use crate::stats::Meter;
use crate::time::{Duration, Instant};
use crate::vfs::{self, Job, Name, Peer, Scope, Submitted};
use crate::wire::portmap::{Mapping, Transport};
use crate::wire::{mount, nfs3, portmap};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::sync::atomic::AtomicU32;

/// The server's address.
const REACHED: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const PEER: Ipv6Addr = Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped();
/// A write verifier that differs from the other contents of replies.
pub const VERIFIER: [u8; 8] = *b"verifier";
/// The engine's programs, and everything they need.
pub struct Bench {
    /// The files.
    pub tree: Tree,
    pub(in crate::engine) programs: Programs,
    /// The client's address.
    pub peer: Ipv6Addr,
    /// The client's port.
    pub port: u16,
    /// The time.
    pub now: Instant,
    /// The messages to the administrator.
    pub sink: Sink,
    pub(in crate::engine) events: Events,
    pub(in crate::engine) stats: Meter,
    pub(in crate::engine) buffer: Vec<u8>,
    /// The place of an unfinished reply in the buffer.
    pub(in crate::engine) held: core::ops::Range<usize>,
}

/// Creates the programs with a portmapper table, and with `memory` for the duplicate request cache.
pub fn programs(memory: &'static mut [u8]) -> Programs {
    // Without a cache, provide only the memory for the verifiers of exclusive CREATEs, which is always needed.
    let memory = match memory {
        [] => vec![0; SHARED_BYTES - DRC_BYTES].leak(),
        memory => memory,
    };
    let mut programs = Programs::new(VERIFIER, memory, false, None, connections());
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

/// Connections of one server.
pub fn connections() -> Connections {
    let words = |count| (0..count).map(|_| AtomicU32::default()).collect::<Vec<_>>();
    Connections::new(words(word_count(1, 16)).leak(), words(1).leak(), 0)
}

/// A socket that serves every program.
pub const EVERYTHING: ProgramSet = DATAGRAMS.and(ProgramSet::NFS);
/// A socket that serves datagrams.
const DATAGRAMS: ProgramSet = ProgramSet::MOUNT.and(ProgramSet::PORTMAP);

impl Default for Bench {
    /// A new, read-only server. It has no duplicate request cache, so every call is carried out.
    fn default() -> Self {
        Self::new(Tree::default(), &mut [])
    }
}

/// Checks that each answer belongs to one of the calls, in their order. Only CALLIT may be left unanswered.
fn check_order(answers: &[&[u8]], asked: &[CallId]) -> Result<(), String> {
    let [answer, answers_after @ ..] = answers else {
        return Ok(());
    };
    let [call, calls_after @ ..] = asked else {
        return Err("more answers than calls".into());
    };
    let checked = replies::parse(answer, *call)
        .map_err(|why| format!("{why} in the answer to {call:?}: {answer:02x?}"))
        .and_then(|_| check_order(answers_after, calls_after));
    match call.procedure {
        (portmap::PROGRAM, _, portmap::procedure::CALLIT) => {
            checked.or_else(|_| check_order(answers, calls_after))
        }
        _ => checked,
    }
}

impl Bench {
    /// A server of this tree, with zeroed `memory` for the duplicate request cache.
    pub fn new(tree: Tree, memory: &'static mut [u8]) -> Self {
        let sink = Sink::default();
        Self {
            tree,
            programs: programs(memory),
            peer: PEER,
            port: 700,
            now: Instant::default(),
            events: Events::new(Box::new(sink.clone())),
            stats: Meter::IDLE,
            sink,
            buffer: vec![0; REPLY_BYTES],
            held: 0..0,
        }
    }

    /// A server of a tree that can be written to.
    pub fn writable() -> Self {
        Self::new(Tree::writable(), &mut [])
    }

    /// Offers NFS 4.1, too, with tables in `words` of [`word_count`](crate::engine::nfs4::word_count), which are zeros.
    pub fn offer_version_4(&mut self, words: &'static [AtomicU32]) {
        self.programs.offer_version_4(words, [5, 6], 2, true);
    }

    /// A writable server with a duplicate request cache.
    pub fn with_reply_cache() -> Self {
        Self::new(Tree::writable(), vec![0; SHARED_BYTES].leak())
    }

    /// Returns the handle of the object at `path`.
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

    /// The session of a new connection, which takes the place of the last one.
    pub(in crate::engine) fn session(&self) -> Session {
        self.programs.open(0, EVERYTHING)
    }

    /// The context of a call, and the other parts of a server.
    fn parts(&mut self) -> (Cx<'_>, &mut Programs, &mut [u8]) {
        let cx = Cx {
            now: self.now,
            wall: Duration::default(),
            health: Health::Fine,
            peer: Peer {
                address: self.peer,
                port: self.port,
            },
            vfs: &mut self.tree,
            events: &mut self.events,
            stats: &mut self.stats,
        };
        (cx, &mut self.programs, &mut self.buffer)
    }

    /// Passes `input` in pieces, after the rest of a transfer. Returns when it is used up or the connection is closed.
    #[cfg(test)]
    pub(in crate::engine) fn talk(
        &mut self,
        session: &mut Session,
        transfer: Option<Transfer>,
        input: &[u8],
        piece: impl FnMut() -> usize,
    ) -> Talk {
        talk(&mut self.with(session), transfer, input, piece)
    }

    /// The server with this session.
    pub(in crate::engine) const fn with<'a>(
        &'a mut self,
        session: &'a mut Session,
    ) -> OneSession<'a> {
        OneSession {
            bench: self,
            session,
        }
    }

    /// Closes the connection.
    pub(in crate::engine) fn hang_up(&mut self, mut session: Session, transfer: Option<Transfer>) {
        if let Some(transfer) = transfer {
            transfer.abandon(&mut self.tree);
        }
        self.programs.abandon(&mut session, &mut self.tree);
    }

    /// Sends a whole stream in pieces on a new connection, and closes it.
    pub fn send_pieces(&mut self, input: &[u8], piece: impl FnMut() -> usize) -> Talk {
        let mut session = self.session();
        let mut talk = talk(&mut self.with(&mut session), None, input, piece);
        self.hang_up(session, talk.transfer.take());
        talk
    }

    /// Sends arbitrary bytes as a stream, and as a datagram. Fails if a reply is malformed or out of order, or if a file is still
    /// pinned afterwards.
    pub fn send_any_bytes(&mut self, input: &[u8], piece: impl FnMut() -> usize) -> Talk {
        let talk = self.send_pieces(input, piece);
        let asked = calls_in(input);
        let answers = replies::records(&talk.output).unwrap();
        check_order(&answers, &asked).unwrap();
        let packet = input.get(4..).unwrap_or_default();
        if let Some(answer) = self.datagram(packet) {
            let asked = CallId::of(packet).expect("only a call is answered");
            let _ = replies::parse(&answer, asked).unwrap();
        }
        assert_eq!(self.tree.ram().pinned, 0, "a pin was kept");
        talk
    }

    /// Sends a call as a datagram to 198.51.100.1. Returns the reply.
    pub fn datagram(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = vec![0; DATAGRAM_BYTES];
        let (mut cx, programs, _) = self.parts();
        let len = programs.answer(DATAGRAMS, &mut cx, Some(REACHED), packet, &mut buffer)?;
        buffer.truncate(len);
        Some(buffer)
    }
}

/// A server with one of its sessions.
pub(in crate::engine) struct OneSession<'a> {
    bench: &'a mut Bench,
    session: &'a mut Session,
}

impl Engine for OneSession<'_> {
    const INPUT_BYTES: usize = REQUEST_BYTES;

    fn advance(&mut self, input: &[u8]) -> Progress {
        let place = core::mem::take(&mut self.bench.held);
        let held = place.len();
        let (mut cx, programs, output) = self.bench.parts();
        output.copy_within(place, 0);
        let io = Io {
            input,
            output,
            held,
        };
        let progress = programs.advance(self.session, &mut cx, io);
        let end = progress.produced + progress.held;
        self.bench.held = progress.produced..end;
        progress
    }

    fn moved(&mut self, done: Moved) -> Progress {
        let place = core::mem::take(&mut self.bench.held);
        let held = place.len();
        let (mut cx, programs, output) = self.bench.parts();
        output.copy_within(place, 0);
        let io = Io {
            input: &[],
            output,
            held,
        };
        let progress = programs.moved(self.session, &mut cx, done, io);
        let end = progress.produced + progress.held;
        self.bench.held = progress.produced..end;
        progress
    }

    fn replies(&mut self, progress: &Progress) -> &[u8] {
        let mut produced = progress.produced;
        if progress.promise != Promise::Nothing {
            let Submitted::Done(synced) = self.bench.tree.submit(Job::Sync(Scope::Promised)) else {
                panic!("nothing waits here");
            };
            let (mut cx, programs, buffer) = self.bench.parts();
            produced = programs.settle(&mut cx, &mut buffer[..produced], synced);
        }
        &self.bench.buffer[..produced]
    }

    fn tree(&mut self) -> &mut vfs::Tree {
        &mut self.bench.tree
    }
}
