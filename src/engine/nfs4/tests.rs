//! An NFS 4.1 server on the model tree: COMPOUNDs in, results out.

use super::super::testing::{Bench, calls, calls::Call as V3, connections, replies, tree::Tree};
use super::{Nfs4, Terms, Waiting, word_count};
use crate::config::READ_INLINE_BYTES;
use crate::engine::Cx;
use crate::engine::rpc::connections::{Connection, Connections};
use crate::engine::rpc::{Request, Unanswered};
use crate::engine::service::Health;
use crate::event::{Events, testing::Sink};
use crate::mem;
use crate::stats::Meter;
use crate::time::{Duration, Instant};
use crate::vfs::recent::{self, Recent};
use crate::vfs::{FsError, Patience, Peer, Until};
use crate::wire::nfs3::Procedure;
use crate::wire::nfs4::Status;
use crate::wire::rpc::{Call, emit_head};
use crate::wire::{Reader, Writer};
use cases::nfs4::{
    FORE, Op, Peer as Client, Results, bitmap, cases, compound, create_session, exchange_id,
    getattr, lookup, op, opaque, opens::open, read, readdir, with,
};
use core::net::{Ipv4Addr, Ipv6Addr};

mod grace;
mod locks;
mod streams;

const CLIENTS: usize = 16;

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
    /// Length of the arguments that have not arrived (bytes).
    follows: u32,
}

impl Server {
    fn new() -> Self {
        let connections = connections();
        let words = mem::words(word_count(CLIENTS));
        Self {
            tree: Tree::default(),
            nfs4: Nfs4::new(words, [5, 6], connections, None, 2, true),
            connection: connections.open(0),
            connections,
            now: Instant::from_ms(1000),
            peer: Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped(),
            user: 1000,
            session: [0; 4],
            sequence: 0,
            waiting: None,
            follows: 0,
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
        Results::parse(&self.bytes(1, ops)).unwrap()
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
        let mut args = compound(minor, ops);
        args.truncate(args.len() - self.follows as usize);
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
            follows: Some(self.follows),
            reached: None,
            connection: self.connection,
            patience: Patience::Now,
        };
        let waiting = &mut self.waiting;
        let terms = Terms {
            read_bytes_max: READ_INLINE_BYTES,
            verifier: 9,
        };
        let nfs4 = &mut self.nfs4;
        match nfs4.answer(&mut cx, &mut request, waiting, &terms, &mut None) {
            Ok(_) => Ok(reply.since(28).to_vec()),
            Err(Unanswered::Again(until)) => Err(until),
            Err(_) => panic!("rejected"),
        }
    }
}

const ROOT: u32 = op::PUTROOTFH;

/// A server with version 4.1.
fn bench() -> Bench {
    let mut bench = Bench::writable();
    let words = mem::words(word_count(CLIENTS));
    bench.offer_version_4(words);
    bench
}

/// The table of cases. Whichever operation of a COMPOUND stops first, the results are the same.
#[test]
fn cases_hold_if_any_operation_stops_once() {
    for stops_after in [None, Some(0), Some(1), Some(2), Some(5)] {
        for (name, case) in cases() {
            let mut bench = bench();
            let mut exchange = |message: &[u8]| {
                bench.tree.host.stops_after.set(stops_after);
                let reply = bench.reply(&calls::Call(message.to_vec()));
                assert_eq!(bench.tree.ram().pinned, 0, "a pin was kept");
                Ok(reply)
            };
            let done = case(&mut Client::new(&mut exchange, "/export", "case", 0));
            assert!(
                done.is_ok(),
                "{name}, stopped after {stops_after:?}: {done:?}"
            );
        }
    }
}

/// Limits that the server grants, and those that Linux asks for.
#[test]
fn limits_are_granted() {
    let mut server = Server::new();
    let client = server.client("owner", 1);
    let made = server.ask(&[create_session(client, 1, &FORE)]);
    assert_eq!(made.last[6..12], [0, 1 << 20, 1 << 20, 1024, 16, 32]);
    server.begin(client, 2);
    // A reply that is too long to be kept.
    server.sequence += 1;
    let path = [vec![ROOT], lookup("export"), lookup("big")];
    let long = [&path[..], &[read(0, 0, 4000)]].concat();
    let results = server.again(1, &long);
    assert_eq!(results.status, u32::from(Status::REP_TOO_BIG_TO_CACHE.0));
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
            cookie = reader.u64();
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

/// 12,500 clients with 100,000 sessions from three addresses, which use many slots with kept replies, take the places of each other.
/// The client that was there is answered at once, and so is each newcomer.
#[test]
fn floods_leave_other_clients_alone() {
    let mut server = Server::begun();
    let (honest, mut sequence) = (server.session, 0);
    let at = |last| Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped();
    for number in 0..12_500_u32 {
        server.peer = Ipv4Addr::new(198, 51, 100, (number % 3) as u8).to_ipv6_mapped();
        server.now = Instant::from_ms(2000 + u64::from(number));
        let client = server.client(&format!("flood {number}"), 1);
        for count in 1..=if number % 9 == 0 { 0 } else { 9 } {
            let made = server.ask(&[create_session(client, count, &FORE)]);
            if count == 9 {
                assert_eq!(made.status, u32::from(Status::NOSPC.0));
                break;
            }
            assert_eq!(made.status, 0, "{number}, session {count}");
            server.session.copy_from_slice(&made.last[..4]);
            let used = server.sequence_op(1, number * 7 % 8, 1);
            let status = server.ask(&[used, vec![ROOT]]).status;
            assert!(
                [0, u32::from(Status::DELAY.0)].contains(&status),
                "{status}"
            );
        }
        if number % 100 == 0 {
            (server.peer, server.session) = (at(7), honest);
            sequence += 1;
            let op = server.sequence_op(sequence, 0, 1);
            assert_eq!(server.ask(&[op, vec![ROOT]]).status, 0, "{number}");
            server.peer = at(8);
            let client = server.client("newcomer", number);
            server.begin(client, 1);
            let op = server.sequence_op(1, 7, 1);
            assert_eq!(server.ask(&[op, vec![ROOT]]).status, 0, "{number}");
        }
    }
    server.peer = at(8);
    let client = server.client("newcomer", 1 << 20);
    server.begin(client, 1);
    // A client that is not confirmed in time is forgotten.
    let late = server.client("late", 1);
    server.now = Instant::from_ms(60_000);
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

/// Clients of two addresses that open whatever they can leave a quarter of the table to others. Their opens end when others need
/// the rows after the lease.
#[test]
fn opens_are_bounded_and_return() {
    let mut server = Server::new();
    let delay = u32::from(Status::DELAY.0);
    let begin = |server: &mut Server, name: &str, last: u8| {
        server.peer = Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped();
        let client = server.client(name, 1);
        server.begin(client, 1);
        server.next(&[with(op::RECLAIM_COMPLETE, &[0])]);
    };
    let opens = |server: &mut Server, count: u32| -> u32 {
        let of = |owner: u32| open(&owner.to_string(), 1, 0, Some("hello"));
        let way = [vec![ROOT], lookup("export")];
        (0..count)
            .filter(|owner| {
                let status = server.next(&[&way[..], &[of(*owner)]].concat()).status;
                assert!([0, delay].contains(&status), "{status}");
                status == 0
            })
            .count() as u32
    };
    let most = CLIENTS as u32 * 16;
    let mut sum = 0;
    for number in 0..8 {
        begin(&mut server, &format!("flood {number}"), number % 2);
        sum += opens(&mut server, 1000);
    }
    assert!((most / 2..=most * 3 / 4 + 1).contains(&sum), "{sum}");
    begin(&mut server, "honest", 7);
    assert_eq!(opens(&mut server, 30), 30);
    server.now = Instant::from_ms(40_000);
    begin(&mut server, "late", 8);
    assert_eq!(opens(&mut server, most), most / 2 + 1);
}

/// If the sync of a reply fails, the first operation that reports something as durable has failed and is the last one, also in the kept
/// reply. A READ after a change is not sent before the sync.
#[test]
fn failed_syncs_turn_the_first_promise_into_an_error() {
    let mut bench = bench();
    let sync_fails = core::cell::Cell::new(None);
    let mut exchange = |message: &[u8]| {
        bench.tree.host.commit_fails.set(sync_fails.get());
        Ok(bench.reply(&calls::Call(message.to_vec())))
    };
    let mut peer = Client::new(&mut exchange, "/export", "syncs", 0);
    peer.begun().unwrap();
    let io = FsError::Io;
    let create = |name: &str| [&[op::CREATE, 2][..], &opaque(name.as_bytes()), &[0, 0]].concat();
    let write =
        |stable: u32| [&[op::WRITE, 0, 0, 0, 0, 0, 0, stable][..], &opaque(b"data")].concat();
    let set_mode = [&[op::SETATTR, 0, 0, 0, 0][..], &bitmap(&[33]), &[4, 0o600]].concat();
    for (path, ops, expect) in [
        (
            "",
            vec![getattr(&[1]), create("one"), getattr(&[1])],
            vec![(op::GETATTR, 0), (op::CREATE, 5)],
        ),
        (
            "hello",
            vec![set_mode, vec![op::GETFH]],
            vec![(op::SETATTR, 5)],
        ),
        (
            "hello",
            vec![write(0), write(2), getattr(&[4])],
            vec![(op::WRITE, 0), (op::WRITE, 5)],
        ),
        (
            "hello",
            vec![write(0), getattr(&[4])],
            vec![(op::WRITE, 0), (op::GETATTR, 0)],
        ),
    ] {
        let way = peer.way(path, &ops);
        sync_fails.set(Some(io));
        let first = peer.next_kept(1, &way).unwrap();
        let after = way.len() - ops.len() + 1;
        assert_eq!(first.done[after..], expect, "{first:?}");
        for fails in [Some(io), None] {
            sync_fails.set(fails);
            assert_eq!(peer.again(1, &way).unwrap(), first);
        }
    }
    let way = peer.way("big", &[write(2), read(0, 0, 1 << 20)]);
    let results = peer.next(&way).unwrap();
    assert_eq!((results.status, results.reads[0].0), (0, READ_INLINE_BYTES));
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
        let mut bench = bench();
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
        let results = Results::parse(&reply[24..]).unwrap();
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
        open("a", 1, 2, Some("hello")),
        open("a", 3, 3, None),
        with(op::CLOSE, &[0, 1, 0, 0, 0]),
        with(op::OPEN_DOWNGRADE, &[1, 0, 0, 0, 0, 1, 2]),
        with(op::FREE_STATEID, &[1, 0, 0, 0]),
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

/// Two changes within one tick of the clock, as another server of the same files sees them.
#[test]
fn changes_of_one_ctime_have_different_attributes() {
    let words = mem::words(recent::WORD_COUNT);
    let (mut bench, mut other) = (Bench::writable(), Server::begun());
    bench.tree.recent = Recent(words);
    other.tree.recent = Recent(words);
    let [top, hello, dir] = ["", "hello", "dir"].map(|path| bench.handle(path));
    let names = |call: V3, old: &[u8], new: &[u8]| call.opaque(old).opaque(new);
    let changes = [
        (V3::write(&hello, 0, 0, b"J"), [0, 1, 0]),
        (V3::write(&hello, 0, 0, b"K"), [0, 1, 0]),
        (
            V3::of(Procedure::SetAttr, &hello).words(&[1, 0o600, 0, 0, 0, 0, 0, 0]),
            [0, 1, 0],
        ),
        (
            V3::of(Procedure::MkDir, &top).opaque(b"new").words(&[0; 6]),
            [1, 0, 0],
        ),
        (V3::of(Procedure::RmDir, &top).opaque(b"new"), [1, 0, 0]),
        (
            names(V3::of(Procedure::Link, &hello), &dir, b"more"),
            [0, 1, 1],
        ),
        (V3::of(Procedure::Remove, &dir).opaque(b"more"), [0, 0, 1]),
        (
            names(V3::of(Procedure::Rename, &top).opaque(b"fifo"), &dir, b"x"),
            [1, 0, 1],
        ),
        (V3::commit(&hello), [0; 3]),
        (V3::lookup(&top, b"hello"), [0; 3]),
    ];
    let mut look = || {
        [&top, &hello, &dir].map(|handle| {
            let put = with(op::PUTFH, &opaque(handle));
            other.next(&[put, getattr(&[3])]).last
        })
    };
    let mut seen = vec![look()];
    for (call, changed) in changes {
        assert_eq!(bench.reply(&call)[24..28], [0; 4], "{call:?}");
        let now = look();
        for (at, changed) in changed.into_iter().enumerate() {
            let mut before = seen.iter().map(|all| &all[at]);
            match changed {
                0 => assert_eq!(before.next_back(), Some(&now[at]), "{at} {call:?}"),
                _ => assert!(!before.any(|was| *was == now[at]), "{at} {call:?}"),
            }
        }
        seen.push(now);
    }
}

/// Slots that a client does not use are freed when blocks run short, and are granted again later.
#[test]
fn unused_slots_are_freed_when_blocks_run_short() {
    let mut server = Server::begun();
    // Thirty-two blocks of four slots: a session may have as many slots as blocks are free.
    for (sequence, slot, highest, expect) in [
        (1, 0, 0, Ok([31, 30])),
        (1, 31, 31, Ok([31, 29])),
        (1, 16, 31, Ok([31, 28])),
        (1, 8, 31, Ok([31, 27])),
        // The client uses slot 28 or a later one: it stays.
        (2, 0, 28, Ok([31, 27])),
        // The block of slots 28 to 31 is freed.
        (3, 0, 27, Ok([27, 27])),
        (2, 31, 31, Err(Status::BADSLOT)),
        // One more block is free now, so a slot is granted again. It begins with 1.
        (2, 8, 8, Ok([28, 28])),
        (2, 28, 28, Err(Status::SEQ_MISORDERED)),
        (1, 28, 28, Ok([28, 27])),
        (3, 8, 8, Ok([27, 27])),
        (2, 16, 16, Ok([28, 28])),
        (2, 31, 31, Err(Status::BADSLOT)),
    ] {
        let rest = [&server.session[..], &[sequence, slot, highest, 1]].concat();
        let results = server.ask(&[with(op::SEQUENCE, &rest)]);
        let found = match results.status {
            0 => Ok([results.last[6], results.last[7]]),
            status => Err(Status(status as u16)),
        };
        assert_eq!(found, expect, "request {sequence} of slot {slot}");
    }
}
