//! NFS 4.1: a COMPOUND belongs to its slot. It is carried out once, whichever of its operations stops, whether or not its connection
//! lives, and its reply is the answer to a retry at any loop.

use super::{AT, At, MOMENT, Serving, limits, with_loop};
use crate::config::{COMPOUND_HELD_BYTES, REQUEST_BYTES, SHARED_BYTES};
use crate::drive::service::{Limits, Served};
use crate::engine::nfs4::word_count;
use crate::engine::programs::Programs;
use crate::engine::rpc::connections::{self, Connections};
use crate::engine::sessions::Rpc;
use crate::engine::testing::{EVERYTHING, VERIFIER, replies, tree::Tree};
use crate::event::testing::Sink;
use crate::mem;
use crate::net::sim::{Peer, Sim};
use crate::vfs::JobId;
use cases::calls::{Auth, head, record};
use cases::nfs4::{self, FORE, Op, Results, create_session, exchange_id, getattr, op, status};

/// Two loops that serve the same files and clients.
struct Loops {
    tree: Tree,
    loops: [(Sim, Serving<Rpc>); 2],
    xid: u32,
}

impl Loops {
    fn new() -> Self {
        let lives: &[_] = mem::words(2);
        let open = mem::words(connections::word_count(2, 16));
        let tables = mem::words(word_count(8));
        let loops = [0, 1].map(|index| {
            let memory = vec![0; SHARED_BYTES].leak();
            let connections = Connections::new(open, lives, index);
            let mut programs = Programs::new(VERIFIER, memory, false, None, connections);
            programs.offer_version_4(tables, [5, 6], 4, true);
            let mut service = Rpc::new(programs, 8);
            service.set_service(0, EVERYTHING);
            let limits = Limits {
                held_bytes: COMPOUND_HELD_BYTES,
                held_count: 4,
                ..limits(8, REQUEST_BYTES)
            };
            let server = Serving {
                service,
                served: Served::new(&limits),
                server: At(AT, None),
            };
            (Sim::new(1), server)
        });
        let mut all = Self {
            tree: Tree::default(),
            loops,
            xid: 0,
        };
        for (sim, server) in &mut all.loops {
            with_loop(sim, &mut all.tree, &mut [server], &Sink::default(), |all| {
                assert_eq!(all.start(), Ok(()));
            });
        }
        all
    }

    /// Runs a loop for a moment.
    fn run(&mut self, at: usize) {
        let (sim, server) = &mut self.loops[at];
        sim.allow(MOMENT);
        with_loop(
            sim,
            &mut self.tree,
            &mut [server],
            &Sink::default(),
            |all| {
                all.turns();
            },
        );
    }

    /// Sends a COMPOUND to a loop by a new connection.
    fn send(&mut self, at: usize, ops: &[Op]) -> Peer {
        self.xid += 1;
        let auth = Auth::sys(b"box", 1000, 100, &[]);
        let mut message = head(self.xid, 2, (100_003, 4, 1), &auth);
        message.extend(nfs4::compound(1, ops));
        let sim = &self.loops[at].0;
        let peer = sim.connect(AT);
        sim.send(peer, &record(&message));
        self.run(at);
        peer
    }

    /// The results that a peer has received, without the header of the reply.
    fn results(&self, at: usize, peer: Peer) -> Option<Vec<u8>> {
        let sent = self.loops[at].0.read_sent(peer);
        let all = replies::records(&sent).unwrap();
        all.first().map(|reply| reply[24..].to_vec())
    }

    /// Makes a COMPOUND. Returns its results.
    fn ask(&mut self, at: usize, ops: &[Op]) -> Vec<u8> {
        let peer = self.send(at, ops);
        let results = self.results(at, peer).unwrap();
        self.loops[at].0.hang_up(peer);
        self.run(at);
        results
    }

    /// Makes a session. Returns its ID.
    fn begin(&mut self) -> Vec<u32> {
        let parsed = |bytes: Vec<u8>| Results::parse(&bytes).unwrap().last;
        let client = parsed(self.ask(0, &[exchange_id("owner", 1, 0)]));
        let client = [client[0], client[1]];
        parsed(self.ask(0, &[create_session(client, 1, &FORE)]))[..4].to_vec()
    }
}

/// A COMPOUND that uses files in most of its operations. Its reply is short enough to be kept.
fn request(session: &[u32], keep: u32) -> Vec<Op> {
    let lookup = nfs4::lookup;
    vec![
        nfs4::with(op::SEQUENCE, &[session, &[1, 0, 0, keep]].concat()),
        vec![op::PUTROOTFH],
        lookup("export"),
        lookup("dir"),
        vec![op::SAVEFH],
        lookup("inner"),
        getattr(&[1, 4, 20, 42]),
        nfs4::with(op::RECLAIM_COMPLETE, &[0]),
        nfs4::read(0, 0, 100),
        vec![op::RESTOREFH],
        nfs4::with(op::ACCESS, &[0x3f]),
        nfs4::readdir(0, 300, &[1, 20]),
        vec![op::LOOKUPP],
        vec![op::GETFH],
    ]
}

#[test]
fn stopped_compound_is_answered_at_another_loop() {
    let mut whole = Loops::new();
    let session = whole.begin();
    let expect = whole.ask(0, &request(&session, 1));
    assert_eq!(Results::parse(&expect).unwrap().done.len(), 14);
    let mut stops = 0;
    // The connection is killed before its job has ended, so that the loop sees it, or with it.
    for (after, sees_end) in (0..60).flat_map(|after| [(after, false), (after, true)]) {
        let mut all = Loops::new();
        let session = all.begin();
        let ops = request(&session, 1);
        all.tree.host.stops_after.set(Some(after));
        let peer = all.send(0, &ops);
        if all.results(0, peer).is_some() {
            continue;
        }
        stops += 1;
        all.loops[0].0.hang_up(peer);
        if sees_end {
            all.run(0);
        }
        let status = |bytes: Vec<u8>| Results::parse(&bytes).unwrap().status;
        assert_eq!(status(all.ask(1, &ops)), status::DELAY, "{after}");
        let destroy = nfs4::with(op::DESTROY_SESSION, &session);
        assert_eq!(
            status(all.ask(1, core::slice::from_ref(&destroy))),
            status::DELAY
        );
        all.tree.end_job(JobId::DISKS);
        all.run(0);
        for at in [1, 0, 1] {
            assert!(all.ask(at, &ops) == expect, "stopped after {after}");
        }
        assert_eq!(status(all.ask(1, &[destroy])), status::OK);
        assert_eq!(all.tree.ram().pinned, 0);
        for (sim, server) in &mut all.loops {
            assert_eq!(server.served.held.holders().count(), 0);
            assert_eq!(sim.open_count(), 1);
        }
    }
    assert!(stops >= 2 * 8, "{stops}");
}
