//! An NFS 4.1 server on the model tree: COMPOUNDs in, results out.

use super::super::testing::{Bench, calls, connections, replies, tree::Tree};
use super::{Nfs4, Waiting, word_count};
use crate::engine::Cx;
use crate::engine::rpc::connections::{Connection, Connections};
use crate::engine::rpc::{Request, Unanswered};
use crate::engine::service::Health;
use crate::event::{Events, testing::Sink};
use crate::mem;
use crate::stats::Meter;
use crate::time::{Duration, Instant};
use crate::vfs::{Patience, Peer, Until};
use crate::wire::nfs4::{Status, operation as op};
use crate::wire::rpc::{Call, emit_head};
use crate::wire::{Reader, Writer};
use core::net::{Ipv4Addr, Ipv6Addr};

const CLIENTS: usize = 16;

/// The words of an operation.
type Op = Vec<u32>;

fn opaque(bytes: &[u8]) -> Vec<u32> {
    let mut words = vec![bytes.len() as u32];
    words.extend(bytes.chunks(4).map(|chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u32::from_be_bytes(word)
    }));
    words
}

fn with(number: u32, rest: &[u32]) -> Op {
    [&[number], rest].concat()
}

fn lookup(name: &str) -> Op {
    with(op::LOOKUP, &opaque(name.as_bytes()))
}

fn bitmap(numbers: &[u32]) -> Vec<u32> {
    let mut words = vec![3, 0, 0, 0];
    for number in numbers {
        words[1 + *number as usize / 32] |= 1 << (number % 32);
    }
    words
}

fn getattr(numbers: &[u32]) -> Op {
    with(op::GETATTR, &bitmap(numbers))
}

fn readdir(cookie: u32, bytes_max: u32, numbers: &[u32]) -> Op {
    let head = [op::READDIR, 0, cookie, 0, 0, 0, bytes_max];
    [&head[..], &bitmap(numbers)].concat()
}

fn read(state: u32, offset: u32, count: u32) -> Op {
    vec![op::READ, state, state, state, state, 0, offset, count]
}

fn exchange_id(owner: &str, verifier: u32, flags: u32) -> Op {
    let head = [op::EXCHANGE_ID, 0, verifier];
    [&head[..], &opaque(owner.as_bytes()), &[flags, 0, 0]].concat()
}

fn create_session(client: [u32; 2], sequence: u32, fore: &[u32; 6]) -> Op {
    let head = [op::CREATE_SESSION, client[0], client[1], sequence, 3];
    let callbacks = [0x4000_0000, 1, 0];
    [&head[..], fore, &[0], fore, &[0], &callbacks].concat()
}

/// The limits that Linux asks for, with twice its operations.
const FORE: [u32; 6] = [0, 1 << 20, 1 << 20, 7584, 16, 64];

/// The results of a COMPOUND.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Results {
    status: u32,
    tag: Vec<u8>,
    /// Number and status of each operation.
    done: Vec<(u32, u32)>,
    /// The words of the last result, after its status.
    last: Vec<u32>,
}

/// The rest of `reader` as words.
fn rest(reader: &Reader<'_>) -> Vec<u32> {
    let words = reader.rest().as_chunks().0.iter();
    words.map(|word| u32::from_be_bytes(*word)).collect()
}

/// Skips a successful result.
fn skip(number: u32, reader: &mut Reader<'_>) {
    let words = match number {
        op::ACCESS => 2,
        op::SEQUENCE => 9,
        op::GETFH | op::READLINK => {
            reader.opaque(4096);
            0
        }
        op::GETATTR => {
            for _ in 0..reader.u32() {
                reader.u32();
            }
            reader.opaque(4096);
            0
        }
        op::READ => {
            reader.u32();
            reader.opaque(1 << 20);
            0
        }
        op::READDIR => {
            reader.u64();
            while reader.flag() {
                reader.u64();
                reader.opaque(255);
                skip(op::GETATTR, reader);
            }
            1
        }
        op::SECINFO | op::SECINFO_NO_NAME => 2,
        _ => 0,
    };
    reader.take(words * 4);
}

impl Results {
    fn parse(bytes: &[u8]) -> Self {
        let mut reader = Reader::new(bytes);
        let status = reader.u32();
        let tag = reader.opaque(1024).to_vec();
        let count = reader.u32();
        let (mut done, mut last) = (Vec::new(), Vec::new());
        for at in 1..=count {
            let (number, status) = (reader.u32(), reader.u32());
            done.push((number, status));
            if at == count {
                last = rest(&reader);
            } else {
                assert_eq!(status, 0, "an operation after one that failed");
                skip(number, &mut reader);
            }
        }
        assert_eq!(reader.check(), Ok(()), "{done:?}");
        Self {
            status,
            tag,
            done,
            last,
        }
    }
}

struct Server {
    tree: Tree,
    nfs4: Nfs4,
    connections: Connections,
    connection: Connection,
    now: Instant,
    peer: Ipv6Addr,
    user: u32,
    session: [u32; 4],
    /// The sequence number of the last request of slot 0.
    sequence: u32,
    waiting: Option<Waiting>,
}

impl Server {
    fn new() -> Self {
        let connections = connections();
        let words = mem::words(word_count(CLIENTS));
        Self {
            tree: Tree::default(),
            nfs4: Nfs4::new(words, [5, 6], connections, None, 2),
            connection: connections.open(0),
            connections,
            now: Instant::from_ms(1000),
            peer: Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped(),
            user: 1000,
            session: [0; 4],
            sequence: 0,
            waiting: None,
        }
    }

    /// A server with a session.
    fn begun() -> Self {
        let mut server = Self::new();
        let client = server.client("owner", 1);
        server.begin(client, 1);
        server
    }

    /// The ID of a new client.
    fn client(&mut self, owner: &str, verifier: u32) -> [u32; 2] {
        let results = self.ask(&[exchange_id(owner, verifier, 0)]);
        assert_eq!(results.status, 0);
        [results.last[0], results.last[1]]
    }

    /// Makes a session, and uses it from now on.
    fn begin(&mut self, client: [u32; 2], sequence: u32) {
        let results = self.ask(&[create_session(client, sequence, &FORE)]);
        assert_eq!(results.status, 0);
        self.session.copy_from_slice(&results.last[..4]);
        self.sequence = 0;
    }

    fn sequence_op(&self, sequence: u32, slot: u32, keep: u32) -> Op {
        with(
            op::SEQUENCE,
            &[&self.session[..], &[sequence, slot, slot, keep]].concat(),
        )
    }

    /// Sends the next request of slot 0.
    fn next(&mut self, ops: &[Op]) -> Results {
        self.sequence += 1;
        self.again(0, ops)
    }

    /// Sends a request of slot 0 with the last sequence number.
    fn again(&mut self, keep: u32, ops: &[Op]) -> Results {
        let head = self.sequence_op(self.sequence, 0, keep);
        self.ask(&[&[head], ops].concat())
    }

    fn ask(&mut self, ops: &[Op]) -> Results {
        Results::parse(&self.bytes(1, ops))
    }

    /// The results, once the COMPOUND has waited for all that it waits for.
    fn bytes(&mut self, minor: u32, ops: &[Op]) -> Vec<u8> {
        let mut output = vec![0; crate::config::REPLY_BYTES];
        loop {
            match self.turn(minor, ops, &mut output) {
                Ok(results) => return results,
                Err(until) => assert!(matches!(until, Until::Job(_) | Until::Turn), "{until:?}"),
            }
        }
    }

    /// One turn of a COMPOUND.
    fn turn(&mut self, minor: u32, ops: &[Op], output: &mut [u8]) -> Result<Vec<u8>, Until> {
        let head = [3, 0x7461_6700, minor, ops.len() as u32];
        let args: Vec<u8> = [&head[..], &ops.concat()]
            .concat()
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect();
        let mut group = Vec::new();
        for word in [1, 0, self.user, 100, 0_u32] {
            group.extend(word.to_be_bytes());
        }
        let header: Vec<u8> = [7, 0, 2, 100_003, 4, 1, 1, 20]
            .iter()
            .flat_map(|word: &u32| word.to_be_bytes())
            .chain(group)
            .chain([0; 8])
            .collect();
        let mut call = Call::default();
        call.parse(&mut Reader::new(&header)).unwrap();
        let (mut events, mut stats) = (Events::new(Box::new(Sink::default())), Meter::IDLE);
        let mut cx = Cx {
            now: self.now,
            wall: Duration::default(),
            health: Health::Fine,
            peer: Peer {
                address: self.peer,
                port: 700,
            },
            vfs: &mut self.tree,
            events: &mut events,
            stats: &mut stats,
        };
        let mut reply = Writer::new(output);
        reply.u32(0);
        emit_head(&mut reply, 7);
        let mut request = Request {
            call,
            args: Reader::new(&args),
            reply: &mut reply,
            follows: Some(0),
            reached: None,
            connection: self.connection,
            patience: Patience::Now,
        };
        match self.nfs4.answer(&mut cx, &mut request, &mut self.waiting) {
            Ok(_) => Ok(reply.since(28).to_vec()),
            Err(Unanswered::Again(until)) => Err(until),
            Err(_) => panic!("rejected"),
        }
    }
}

const ROOT: u32 = op::PUTROOTFH;

/// The statuses of the last operation of COMPOUNDs after SEQUENCE.
#[test]
fn operations_have_their_statuses() {
    let path = |names: &[&str]| -> Vec<Op> {
        let names = names.iter().map(|name| lookup(name));
        [vec![ROOT], lookup("export")]
            .into_iter()
            .chain(names)
            .collect()
    };
    let after = |names: &[&str], last: Op| [path(names), vec![last]].concat();
    let root_then = |last: Op| vec![vec![ROOT], lookup("export"), last];
    let word = |word: u32| vec![word];
    for (ops, status) in [
        (vec![], Status::OK),
        (path(&["dir", "inner"]), Status::OK),
        (path(&["none"]), Status::NOENT),
        (path(&[""]), Status::INVAL),
        (path(&["."]), Status::BADNAME),
        (path(&[".."]), Status::BADNAME),
        (path(&["a/b"]), Status::BADCHAR),
        (path(&[&"x".repeat(256)]), Status::NAMETOOLONG),
        (path(&["hello", "x"]), Status::NOTDIR),
        (path(&["link", "x"]), Status::SYMLINK),
        (vec![vec![ROOT], word(op::LOOKUPP)], Status::NOENT),
        (root_then(word(op::LOOKUPP)), Status::OK),
        (after(&[], word(op::LOOKUPP)), Status::OK),
        (vec![vec![ROOT], lookup("none")], Status::NOENT),
        (vec![vec![ROOT], readdir(0, 1000, &[1, 19])], Status::OK),
        (vec![vec![ROOT], read(0, 0, 1)], Status::ISDIR),
        (vec![vec![ROOT], word(op::READLINK)], Status::INVAL),
        (vec![vec![ROOT], with(op::ACCESS, &[0x3f])], Status::OK),
        (
            vec![vec![ROOT], with(op::SECINFO_NO_NAME, &[1])],
            Status::NOENT,
        ),
        (after(&["dir"], word(op::LOOKUPP)), Status::OK),
        (after(&["hello"], word(op::LOOKUPP)), Status::NOTDIR),
        (vec![lookup("hello")], Status::NOFILEHANDLE),
        (vec![word(op::GETFH)], Status::NOFILEHANDLE),
        (vec![word(op::RESTOREFH)], Status::NOFILEHANDLE),
        (vec![word(op::SAVEFH)], Status::NOFILEHANDLE),
        (
            root_then(with(op::PUTFH, &opaque(b"no handle"))),
            Status::BADHANDLE,
        ),
        (
            root_then(with(op::PUTFH, &opaque(&[1; 100]))),
            Status::BADHANDLE,
        ),
        (root_then(with(op::PUTFH, &[200])), Status::BADXDR),
        (root_then(getattr(&[1, 90])), Status::OK),
        (root_then(getattr(&[48])), Status::INVAL),
        (root_then(with(op::ACCESS, &[0x3f])), Status::OK),
        (after(&["link"], word(op::READLINK)), Status::OK),
        (after(&["hello"], word(op::READLINK)), Status::INVAL),
        (after(&["hello"], read(0, 0, 100)), Status::OK),
        (after(&["hello"], read(u32::MAX, 0, 100)), Status::OK),
        (after(&["hello"], read(1, 0, 100)), Status::BAD_STATEID),
        (after(&["dir"], read(0, 0, 100)), Status::ISDIR),
        (after(&["link"], read(0, 0, 100)), Status::SYMLINK),
        (after(&["fifo"], read(0, 0, 100)), Status::WRONG_TYPE),
        (after(&["hello"], readdir(0, 1000, &[])), Status::NOTDIR),
        (root_then(readdir(0, 1000, &[1])), Status::OK),
        (root_then(readdir(0, 20, &[1])), Status::TOOSMALL),
        (root_then(readdir(2, 1000, &[1])), Status::BAD_COOKIE),
        (root_then(readdir(0, 1000, &[54])), Status::INVAL),
        (root_then(with(op::SECINFO, &opaque(b"hello"))), Status::OK),
        (
            root_then(with(op::SECINFO, &opaque(b"none"))),
            Status::NOENT,
        ),
        (root_then(with(op::SECINFO_NO_NAME, &[0])), Status::OK),
        (root_then(with(op::SECINFO_NO_NAME, &[1])), Status::OK),
        (root_then(with(op::SECINFO_NO_NAME, &[2])), Status::BADXDR),
        (vec![with(op::RECLAIM_COMPLETE, &[1])], Status::NOFILEHANDLE),
        (root_then(with(op::RECLAIM_COMPLETE, &[1])), Status::OK),
        (vec![with(op::RECLAIM_COMPLETE, &[0])], Status::OK),
        (
            vec![with(op::RECLAIM_COMPLETE, &[0])],
            Status::COMPLETE_ALREADY,
        ),
        (vec![with(op::TEST_STATEID, &[1, 0, 0, 0, 0])], Status::OK),
        (root_then(word(4)), Status::BAD_STATEID),
        (vec![word(4)], Status::NOFILEHANDLE),
        (root_then(word(18)), Status::NOTSUPP),
        (root_then(word(op::SETATTR)), Status::NOTSUPP),
        (root_then(word(2)), Status::OP_ILLEGAL),
        (root_then(word(59)), Status::OP_ILLEGAL),
        (root_then(word(u32::MAX)), Status::OP_ILLEGAL),
        (vec![word(ROOT); 16], Status::TOO_MANY_OPS),
    ] {
        let mut server = Server::begun();
        if status == Status::COMPLETE_ALREADY {
            server.next(&ops);
        }
        let results = server.next(&ops);
        let (number, last) = *results.done.last().unwrap();
        let expect = u32::from(status.0);
        assert_eq!((results.status, last), (expect, expect), "{ops:?}");
        assert_eq!(results.tag, b"tag");
        if status == Status::OP_ILLEGAL {
            assert_eq!(number, op::ILLEGAL);
        }
        assert_eq!(server.tree.ram().pinned, 0);
    }
}

#[test]
fn compounds_begin_with_a_sequence() {
    let mut server = Server::begun();
    let sequence = server.sequence_op(1, 0, 0);
    let minor = |server: &mut Server, minor| Results::parse(&server.bytes(minor, &[vec![ROOT]]));
    for wrong in [0, 2] {
        let results = minor(&mut server, wrong);
        assert_eq!(results.status, u32::from(Status::MINOR_VERS_MISMATCH.0));
        assert_eq!((results.tag, results.done), (b"tag".to_vec(), vec![]));
    }
    for (ops, status) in [
        (vec![], Status::OK),
        (vec![vec![ROOT]], Status::OP_NOT_IN_SESSION),
        (vec![vec![2]], Status::OP_ILLEGAL),
        (
            vec![exchange_id("a", 1, 0), vec![ROOT]],
            Status::NOT_ONLY_OP,
        ),
        (
            vec![sequence.clone(), sequence.clone()],
            Status::SEQUENCE_POS,
        ),
        (
            vec![vec![op::DESTROY_CLIENTID, 0, 0]],
            Status::STALE_CLIENTID,
        ),
        (
            vec![vec![op::DESTROY_SESSION, 0, 0, 0, 0]],
            Status::BADSESSION,
        ),
    ] {
        let results = server.ask(&ops);
        assert_eq!(results.status, u32::from(status.0), "{ops:?}");
    }
}

/// The client IDs and errors of EXCHANGE_ID: RFC 8881 section 18.35.4.
#[test]
fn exchange_id_knows_restarted_clients() {
    const UPDATES: u32 = 0x4000_0000;
    const CONFIRMED: u32 = 0x8001_0000;
    let mut server = Server::new();
    let asked = |server: &mut Server, verifier, flags| {
        let results = server.ask(&[exchange_id("owner", verifier, flags)]);
        let words = (results.last.get(1).copied(), results.last.get(3).copied());
        (results.status, words)
    };
    let failed = |status: Status| (u32::from(status.0), (None, None));
    assert_eq!(asked(&mut server, 1, UPDATES), failed(Status::NOENT));
    assert_eq!(asked(&mut server, 1, 1 << 20), failed(Status::INVAL));
    let (_, (first, flags)) = asked(&mut server, 1, 0);
    assert_eq!(flags, Some(0x1_0000));
    let (_, (id, _)) = asked(&mut server, 1, 0);
    assert_ne!(id, first, "an unconfirmed client is replaced");
    let stale = server.ask(&[create_session([5, first.unwrap()], 1, &FORE)]);
    assert_eq!(stale.status, u32::from(Status::STALE_CLIENTID.0));
    server.begin([5, id.unwrap()], 1);
    assert_eq!(asked(&mut server, 1, 0), (0, (id, Some(CONFIRMED))));
    assert_eq!(asked(&mut server, 1, UPDATES), (0, (id, Some(CONFIRMED))));
    assert_eq!(asked(&mut server, 2, UPDATES), failed(Status::NOT_SAME));
    server.user = 1001;
    assert_eq!(asked(&mut server, 1, UPDATES), failed(Status::PERM));
    assert_eq!(asked(&mut server, 1, 0), failed(Status::CLID_INUSE));
    server.user = 1000;
    let (status, (next, flags)) = asked(&mut server, 2, 0);
    assert_eq!((status, flags), (0, Some(0x1_0000)));
    assert_eq!(
        server.next(&[]).status,
        0,
        "the old session lives until then"
    );
    let old = server.session;
    server.begin([5, next.unwrap()], 1);
    let new = core::mem::replace(&mut server.session, old);
    assert_eq!(server.next(&[]).status, u32::from(Status::BADSESSION.0));
    server.session = new;
    assert_eq!(server.again(0, &[]).status, 0);
}

#[test]
fn sessions_are_created_once_and_destroyed() {
    let mut server = Server::new();
    let id = server.client("owner", 1);
    let status = |server: &mut Server, op: Op| {
        let results = server.ask(&[op]);
        (Status(results.status as u16), results.last)
    };
    for (sequence, fore, expect) in [
        (0, FORE, Status::SEQ_MISORDERED),
        (2, FORE, Status::SEQ_MISORDERED),
        (1, [0, 20, 1000, 100, 8, 1], Status::TOOSMALL),
        (1, [0, 1000, 20, 100, 8, 1], Status::TOOSMALL),
        (1, [0, 1000, 1000, 100, 0, 1], Status::TOOSMALL),
        (1, [0, 1000, 1000, 100, 8, 0], Status::INVAL),
    ] {
        let (failed, _) = status(&mut server, create_session(id, sequence, &fore));
        assert_eq!(failed, expect, "{fore:?}");
    }
    let (made, first) = status(&mut server, create_session(id, 1, &FORE));
    assert_eq!(made, Status::OK);
    // Sequence number, no flags; then the limits granted.
    assert_eq!(first[4..12], [1, 0, 0, 8192, 73_724, 1024, 16, 32]);
    assert_eq!(
        status(&mut server, create_session(id, 1, &FORE)),
        (Status::OK, first.clone())
    );
    let (_, second) = status(&mut server, create_session(id, 2, &FORE));
    assert_ne!(first[..4], second[..4]);
    let destroy = |id: &[u32]| with(op::DESTROY_SESSION, &id[..4]);
    let client = with(op::DESTROY_CLIENTID, &id);
    assert_eq!(status(&mut server, client.clone()).0, Status::CLIENTID_BUSY);
    assert_eq!(status(&mut server, destroy(&first)).0, Status::OK);
    assert_eq!(status(&mut server, destroy(&first)).0, Status::BADSESSION);
    // In its own COMPOUND, the last operation.
    server.session.copy_from_slice(&second[..4]);
    let results = server.next(&[destroy(&second), vec![ROOT]]);
    assert_eq!(results.status, u32::from(Status::NOT_ONLY_OP.0));
    let bind = server.ask(&[with(
        op::BIND_CONN_TO_SESSION,
        &[&second[..4], &[7, 0]].concat(),
    )]);
    assert_eq!((bind.status, &bind.last[4..]), (0, &[1, 0][..]));
    assert_eq!(server.next(&[destroy(&second)]).status, 0);
    assert_eq!(status(&mut server, client.clone()).0, Status::OK);
    assert_eq!(status(&mut server, client).0, Status::STALE_CLIENTID);
}

/// The replies to repeated requests. Those that SEQUENCE refuses leave the slot as it was.
#[test]
fn repeated_requests_get_the_same_reply() {
    let mut server = Server::begun();
    let of = |status: Status| u32::from(status.0);
    let ops = [vec![ROOT], getattr(&[1, 20]), vec![op::GETFH]];
    // Kept; not kept; a failure of the second operation, and of a later one; SEQUENCE alone.
    let fails = [lookup("x")];
    let fails_late = [vec![ROOT], lookup("export"), lookup("none")];
    for (keep, ops, repeated) in [
        (1, &ops[..], Status::OK),
        (0, &ops[..], Status::RETRY_UNCACHED_REP),
        (0, &fails, Status::NOFILEHANDLE),
        (1, &fails, Status::NOFILEHANDLE),
        (0, &fails_late, Status::RETRY_UNCACHED_REP),
        (1, &fails_late, Status::NOENT),
        (0, &[], Status::OK),
    ] {
        server.sequence += 1;
        let first = server.again(keep, ops);
        for _ in 0..2 {
            let again = server.again(keep, ops);
            assert_eq!(again.status, of(repeated), "{ops:?}");
            if repeated == Status::RETRY_UNCACHED_REP {
                assert_eq!(again.done, [(53, 0), (ROOT, of(repeated))]);
            } else {
                assert_eq!(again, first);
            }
        }
        assert_eq!(
            server.again(keep, &[vec![op::SAVEFH]]).status,
            of(Status::SEQ_FALSE_RETRY)
        );
        let before = server.sequence;
        for (sequence, status) in [
            (before + 2, Status::SEQ_MISORDERED),
            (before - 1, Status::SEQ_MISORDERED),
        ] {
            let op = server.sequence_op(sequence, 0, 0);
            assert_eq!(server.ask(&[op]).status, of(status));
        }
        for (slot, highest, status) in [(99, 99, Status::BADSLOT), (1, 0, Status::BAD_HIGH_SLOT)] {
            let mut op = server.sequence_op(before + 1, slot, 0);
            op[7] = highest;
            assert_eq!(server.ask(&[op]).status, of(status));
        }
    }
    // The first request of a slot has the number 1.
    for (sequence, status) in [
        (0, Status::SEQ_MISORDERED),
        (2, Status::SEQ_MISORDERED),
        (1, Status::OK),
    ] {
        let op = server.sequence_op(sequence, 3, 0);
        assert_eq!(server.ask(&[op]).status, of(status));
    }
    // A reply that is too long to be kept.
    server.sequence += 1;
    let long = [
        vec![ROOT],
        lookup("export"),
        lookup("big"),
        read(0, 0, 4000),
    ];
    let results = server.again(1, &long);
    assert_eq!(results.status, of(Status::REP_TOO_BIG_TO_CACHE));
    assert_eq!(server.again(1, &long), results);
}

/// Every attribute of a file, in the order of their numbers.
#[test]
fn attributes_are_those_of_the_object() {
    let mut server = Server::begun();
    let all: Vec<u32> = (0..76)
        .filter(|number| ![48, 54].contains(number))
        .collect();
    let path = [vec![ROOT], lookup("export"), lookup("hello")];
    let handle = server.next(&[&path[..], &[vec![op::GETFH]]].concat()).last;
    let results = server.next(&[&path[..], &[getattr(&all)]].concat());
    let time = [0, 1_000_000_000, 123_456_789];
    let change = 1_000_000_000_123_456_789_u64;
    let fsid = [0, 7, 0, 7];
    let supported = [3, 0xf8fb_2fff, 0x00f9_be3a, 0x800];
    let text = |text: &str| opaque(text.as_bytes());
    let values = [
        &supported[..],
        &[1, 0, (change >> 32) as u32, change as u32, 0, 11, 1, 1, 0],
        &fsid,
        &[0, 30, 0, 0, 0, 1],
        &handle,
    ]
    .concat();
    let mask_len = 4;
    let found = &results.last[mask_len + 1..];
    assert_eq!(found[..4], supported);
    assert_eq!(found[..values.len()], values, "{found:x?}");
    assert_eq!(results.last[mask_len] as usize, found.len() * 4);
    for (number, expect) in [
        (20, vec![0, 2]),
        (33, vec![0o644]),
        (36, text("1000")),
        (37, text("100")),
        (47, time.to_vec()),
        (51, vec![0, 0, 1]),
        (55, vec![0, 2]),
        (29, vec![255]),
        (3, vec![(change >> 32) as u32, change as u32]),
        (8, fsid.to_vec()),
    ] {
        let results = server.next(&[&path[..], &[getattr(&[number])]].concat());
        let words = results.last[0] as usize;
        assert_eq!(results.last[words + 2..], expect, "attribute {number}");
        let mut value = bitmap(&[number]);
        value.push(expect.len() as u32 * 4);
        value.extend(expect);
        for (op, status) in [(op::VERIFY, Status::OK), (op::NVERIFY, Status::SAME)] {
            let ops = [&path[..], &[with(op, &value)]].concat();
            assert_eq!(server.next(&ops).status, u32::from(status.0), "{number}");
        }
        *value.last_mut().unwrap() ^= 1;
        for (op, status) in [(op::VERIFY, Status::NOT_SAME), (op::NVERIFY, Status::OK)] {
            let ops = [&path[..], &[with(op, &value)]].concat();
            assert_eq!(server.next(&ops).status, u32::from(status.0), "{number}");
        }
    }
}

/// The names and inode numbers of a directory, in pages.
fn list(server: &mut Server, name: &str, bytes_max: u32, numbers: &[u32]) -> Vec<(Vec<u8>, usize)> {
    let (mut cookie, mut names) = (0, Vec::new());
    loop {
        let ops = [
            vec![ROOT],
            lookup("export"),
            lookup(name),
            readdir(cookie, bytes_max, numbers),
        ];
        let results = server.next(&ops);
        assert_eq!(results.status, 0);
        let bytes: Vec<u8> = results
            .last
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect();
        assert!(bytes.len() <= bytes_max as usize);
        let mut reader = Reader::new(&bytes);
        reader.u64();
        while reader.flag() {
            cookie = reader.u64() as u32;
            let name = reader.opaque(255).to_vec();
            let bits: u32 = (0..reader.u32()).map(|_| reader.u32().count_ones()).sum();
            names.push((name, bits as usize));
            reader.opaque(1000);
        }
        let is_end = reader.flag();
        assert_eq!((reader.check(), reader.rest()), (Ok(()), &[][..]));
        if is_end {
            return names;
        }
    }
}

#[test]
fn listings_have_every_name_once() {
    let mut server = Server::begun();
    for (bytes_max, numbers) in [
        (400, &[11, 20, 55][..]),
        (1000, &[1, 3, 8, 19, 20, 36]),
        (1 << 20, &[1, 11, 19]),
        (3000, &[]),
    ] {
        let names = list(&mut server, "many", bytes_max, numbers);
        assert_eq!(names.len(), 101);
        assert!(
            names
                .iter()
                .all(|(name, bits)| name[0] != b'.' && *bits == numbers.len())
        );
        let mut unique: Vec<_> = names.iter().map(|(name, _)| name).collect();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), 101);
        assert_eq!(list(&mut server, "empty", bytes_max, numbers), []);
    }
}

/// A COMPOUND that stops at any operation of the file system goes on there. If its connection closes first, the next one carries
/// the request out.
#[test]
fn stopped_compounds_go_on_where_they_stopped() {
    let ops = [
        vec![ROOT],
        lookup("export"),
        lookup("dir"),
        vec![op::SAVEFH],
        lookup("inner"),
        getattr(&[1, 4, 20, 42]),
        with(op::RECLAIM_COMPLETE, &[0]),
        read(0, 0, 100),
        vec![op::RESTOREFH],
        with(op::ACCESS, &[0x3f]),
        readdir(0, 1000, &[1, 19]),
        vec![op::LOOKUPP],
        vec![op::GETFH],
    ];
    let begun = || {
        let mut server = Server::new();
        let client = server.client("owner", 1);
        let made = server.ask(&[create_session(client, 1, &FORE)]);
        server.session.copy_from_slice(&made.last[..4]);
        server
    };
    let expect = begun().next(&ops);
    assert_eq!((expect.status, expect.done.len()), (0, 14));
    for stops_after in 0..40 {
        let mut server = begun();
        server.tree.host.stops_after.set(Some(stops_after));
        assert_eq!(server.next(&ops), expect, "stopped after {stops_after}");
        assert_eq!(server.tree.ram().pinned, 0);
        let mut server = begun();
        server.tree.host.stops_after.set(Some(stops_after));
        let all = [&[server.sequence_op(1, 0, 1)], &ops[..]].concat();
        let mut output = vec![0; crate::config::REPLY_BYTES];
        let Err(_) = server.turn(1, &all, &mut output) else {
            assert!(stops_after > 5);
            continue;
        };
        // Another connection gets no reply while the first one is open.
        let waiting = server.waiting.take().unwrap();
        let first = core::mem::replace(&mut server.connection, server.connections.open(1));
        let busy = server.ask(&all);
        assert_eq!(busy.status, u32::from(Status::DELAY.0));
        server.connections.close(first);
        server.nfs4.abandon(&waiting, &mut server.tree);
        assert_eq!(server.tree.ram().pinned, 0);
        let results = server.ask(&all);
        if results.status == 0 {
            assert_eq!(results, expect, "stopped after {stops_after}");
            assert_eq!(server.ask(&all), expect);
        } else {
            // RECLAIM_COMPLETE was carried out before.
            assert_eq!(results.status, u32::from(Status::COMPLETE_ALREADY.0));
        }
    }
}

/// Clients from one address do not take the places of others.
#[test]
fn floods_leave_other_clients_alone() {
    let mut server = Server::begun();
    let honest = server.session;
    for number in 0..200 {
        server.peer = Ipv4Addr::new(198, 51, 100, 9).to_ipv6_mapped();
        server.now = Instant::from_ms(2000 + number);
        let client = server.client(&format!("flood {number}"), 1);
        if number % 3 > 0 {
            let made = server.ask(&[create_session(client, 1, &FORE)]);
            assert_eq!(made.status, 0, "{number}");
        }
    }
    server.session = honest;
    assert_eq!(server.next(&[vec![ROOT]]).status, 0);
    server.peer = Ipv4Addr::new(192, 0, 2, 8).to_ipv6_mapped();
    let client = server.client("newcomer", 1);
    server.begin(client, 1);
    assert_eq!(server.next(&[vec![ROOT]]).status, 0);
    // A client that is not confirmed in time is forgotten.
    let late = server.client("late", 1);
    server.now = Instant::from_ms(40_000);
    let stale = server.ask(&[create_session(late, 1, &FORE)]);
    assert_eq!(stale.status, u32::from(Status::STALE_CLIENTID.0));
    // Sessions of one client.
    let statuses: Vec<u32> = (2..12)
        .map(|sequence| {
            server
                .ask(&[create_session(client, sequence, &FORE)])
                .status
        })
        .collect();
    assert_eq!(statuses[..7], [0; 7]);
    assert_eq!(statuses[7], u32::from(Status::NOSPC.0));
}

/// The way to the exports: fileids, file systems, and the parents.
#[test]
fn root_is_above_the_exports() {
    let mut server = Server::begun();
    let mut facts = |ops: &[Op]| {
        let ops = [ops, &[getattr(&[8, 20, 55])]].concat();
        let results = server.next(&ops);
        assert_eq!(results.status, 0, "{ops:?}");
        // After two words of the mask, its count and the length.
        results.last[4..].to_vec()
    };
    let root = facts(&[vec![ROOT]]);
    let top = facts(&[vec![ROOT], lookup("export")]);
    let dir = facts(&[vec![ROOT], lookup("export"), lookup("dir")]);
    assert_eq!(root[..4], [0; 4]);
    assert_ne!(top[..4], root[..4]);
    assert_eq!(top[..4], dir[..4]);
    for object in [&root, &top, &dir] {
        assert_ne!(object[4..6], [0, 0]);
        assert_ne!(object[6..8], [0, 0]);
    }
    let up = |count| {
        let up = core::iter::repeat_n(vec![op::LOOKUPP], count);
        let down = [vec![ROOT], lookup("export"), lookup("dir")];
        down.into_iter().chain(up).collect::<Vec<_>>()
    };
    assert_eq!(facts(&up(1)), top);
    assert_eq!(facts(&up(2)), root);
    let names = list(&mut server, "many", 5000, &[8, 20, 55]);
    assert_eq!(names.len(), 101);
}

/// A stream of calls over one connection: whichever operation stops first, and whatever fits the output, the replies are the same.
#[test]
fn calls_of_a_connection_are_answered_whole() {
    let record = |ops: &[Op]| {
        let call = calls::Call::new(100_003, 4, 1);
        let call = call.opaque(b"").words(&[1, ops.len() as u32]);
        call.words(&ops.concat()).record()
    };
    let session = [5, 6, 32, 16];
    let path = |name| [vec![ROOT], lookup("export"), lookup(name)];
    let get = getattr(&[1, 3, 4, 8, 20, 33, 36, 42]);
    let requests = [
        [&path("hello")[..], &[read(0, 0, 100), get.clone()]].concat(),
        [&path("many")[..], &[readdir(0, 20_000, &[1, 19, 33])]].concat(),
        [&path("big")[..], &[read(0, 0, 1 << 20), get.clone()]].concat(),
        [&path("hello")[..], &[read(0, 3, 100), vec![op::GETFH]]].concat(),
    ];
    let mut stream = Vec::new();
    for (number, request) in (1..).zip(&requests) {
        let head = [&session[..], &[number, 0, 0, 0]].concat();
        let sequence = with(op::SEQUENCE, &head);
        stream.extend(record(&[&[sequence], &request[..]].concat()));
    }
    let answers = |stops_after, piece: usize| {
        let mut bench = Bench::default();
        let words = mem::words(word_count(CLIENTS));
        bench.programs.offer_version_4(words, [5, 6], 2, true);
        let begin = [
            record(&[exchange_id("owner", 1, 0)]),
            record(&[create_session([5, 16], 1, &FORE)]),
        ];
        let talk = bench.send_pieces(&begin.concat(), || usize::MAX);
        let begun = replies::records(&talk.output).unwrap();
        assert!(begun.iter().all(|reply| reply[24..28] == [0; 4]));
        bench.tree.host.stops_after.set(stops_after);
        let talk = bench.send_pieces(&stream, || piece);
        assert_eq!((talk.closed, bench.tree.ram().pinned), (None, 0));
        talk.output
    };
    let expect = answers(None, usize::MAX);
    let all = replies::records(&expect).unwrap();
    assert_eq!(all.len(), requests.len());
    for (reply, request) in all.iter().zip(&requests) {
        let results = Results::parse(&reply[24..]);
        assert_eq!((results.status, results.done.len()), (0, request.len() + 1));
    }
    for stops_after in 0..40 {
        assert_eq!(
            answers(Some(stops_after), 1 + 31 * stops_after as usize),
            expect
        );
    }
}

/// Damaged COMPOUNDs are answered, and take nothing from others.
#[test]
fn damaged_compounds_do_no_harm() {
    let mut seed = 7_u64;
    let mut random = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut server = Server::begun();
    let sequence = server.sequence_op(1, 0, 1);
    let session = &server.session.to_vec()[..];
    let whole = [
        vec![ROOT],
        lookup("export"),
        lookup("big"),
        vec![op::GETFH],
        vec![op::SAVEFH],
        vec![op::RESTOREFH],
        vec![op::LOOKUPP],
        getattr(&[0, 1, 3, 8, 19, 36, 42, 55, 75]),
        readdir(0, 4000, &[1, 11, 19, 20]),
        read(0, 5, 5000),
        with(op::PUTFH, &opaque(&[1; 32])),
        with(op::ACCESS, &[63]),
        with(op::SECINFO, &opaque(b"hello")),
        with(op::VERIFY, &[&bitmap(&[1])[..], &[4, 2]].concat()),
        with(op::TEST_STATEID, &[2, 0, 0, 0, 0, 1, 2, 3, 4]),
        with(op::RECLAIM_COMPLETE, &[0]),
        with(op::BIND_CONN_TO_SESSION, &[session, &[3, 0]].concat()),
        with(op::DESTROY_SESSION, session),
        exchange_id("other", 3, 0),
        create_session([5, 16], 2, &FORE),
        vec![op::DESTROY_CLIENTID, 5, 16],
    ];
    for number in 0..30_000 {
        let mut ops = Vec::new();
        let mut head = sequence.clone();
        head[5] = number;
        head[6] = random(3) as u32;
        if random(8) > 0 {
            ops.push(head);
        }
        for _ in 0..random(6) {
            ops.push(whole[random(whole.len())].clone());
        }
        for _ in 0..random(3) {
            if let Some(op) = ops.last_mut().filter(|op| !op.is_empty()) {
                let at = random(op.len());
                match random(5) {
                    0 => op.truncate(at),
                    1 => op[at] ^= 1 << random(32),
                    2 => op[at] = random(70) as u32,
                    3 => op[at] = u32::MAX,
                    _ => op.push(random(4) as u32),
                }
            }
        }
        server.now = Instant::from_ms(1000 + u64::from(number));
        server.bytes(1, &ops);
        assert_eq!(server.tree.ram().pinned, 0);
    }
    let client = server.client("after", 1);
    server.begin(client, 1);
    assert_eq!(server.next(&[vec![ROOT]]).status, 0);
}
