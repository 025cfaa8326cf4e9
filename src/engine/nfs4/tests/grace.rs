//! The grace period after a start, and the records of clients: a double of the disk has the file.

use super::{CLIENTS, ROOT, Server};
use crate::engine::testing::tree::Tree;
use crate::time::Instant;
use crate::vfs::{FileId, FsError};
use crate::wire::nfs4::Status;
use cases::nfs4::opens::{open, read_by};
use cases::nfs4::{Op, bitmap, lookup, op, opaque, with};

const FILE: FileId = FileId(3);
const NOBODY: [u32; 4] = [0; 4];

/// A client of a server: its session and the number of its last request.
struct Client([u32; 4], u32);

/// A server that starts at this time with the records in `content`. Returns the number of clients that may reclaim, too.
fn started(secs: u32, content: &[u8]) -> (Server, u32) {
    let mut server = Server::new();
    server.tree = Tree::writable();
    server.now = Instant::from_ms(u64::from(secs) * 1000);
    *server.tree.host.state.borrow_mut() = content.to_vec();
    let count = server.nfs4.keep_records(FILE, content, 77, server.now);
    (server, count)
}

/// The content of the file of records.
fn content(server: &Server) -> Vec<u8> {
    server.tree.host.state.borrow().clone()
}

fn client(server: &mut Server, name: &str) -> Client {
    let id = server.client(name, 1);
    server.begin(id, 1);
    Client(server.session, 0)
}

/// The status of a request of a client.
fn ask(server: &mut Server, client: &mut Client, ops: &[Op]) -> Status {
    (server.session, server.sequence) = (client.0, client.1);
    client.1 += 1;
    Status(server.next(ops).status as u16)
}

fn complete(server: &mut Server, client: &mut Client) {
    let done = ask(server, client, &[with(op::RECLAIM_COMPLETE, &[0])]);
    assert_eq!(done, Status::OK);
}

/// The status of an operation on a file.
fn of_file(server: &mut Server, client: &mut Client, last: Op) -> Status {
    let ops = [vec![ROOT], lookup("export"), lookup("hello"), last];
    ask(server, client, &ops)
}

/// The status of an OPEN for reading that denies nothing.
fn open_new(server: &mut Server, client: &mut Client) -> Status {
    of_file(server, client, open("o", 1, 0, None))
}

/// The status of an OPEN that reclaims one for reading.
fn reclaim(server: &mut Server, client: &mut Client, deny: u32) -> Status {
    let mut claim = open("o", 1, deny, None);
    *claim.last_mut().unwrap() = 1;
    claim.push(0);
    of_file(server, client, claim)
}

/// The content of the file after these clients have sent RECLAIM_COMPLETE, and one has opened a file.
fn recorded(names: &[&str]) -> Vec<u8> {
    let (mut server, _) = started(9, &[]);
    for name in names {
        let mut own = client(&mut server, name);
        complete(&mut server, &mut own);
        assert_eq!(open_new(&mut server, &mut own), Status::OK);
    }
    content(&server)
}

#[test]
fn recorded_clients_reclaim_before_others_open() {
    let (mut server, count) = started(100, &recorded(&["a", "b"]));
    assert_eq!(count, 2);
    let [mut a, mut b, mut new] = ["a", "b", "new"].map(|name| client(&mut server, name));
    assert_eq!(open_new(&mut server, &mut a), Status::GRACE);
    assert_eq!(reclaim(&mut server, &mut a, 1), Status::OK);
    assert_eq!(reclaim(&mut server, &mut b, 0), Status::RECLAIM_CONFLICT);
    assert_eq!(reclaim(&mut server, &mut new, 0), Status::NO_GRACE);
    complete(&mut server, &mut new);
    complete(&mut server, &mut a);
    let size = [&bitmap(&[4])[..], &[8, 0, 1]].concat();
    let names = ["hello", "new"].map(|name| opaque(name.as_bytes()));
    let export = [vec![ROOT], lookup("export")];
    for ops in [
        &[lookup("hello"), open("o", 1, 0, None)][..],
        &[lookup("hello"), read_by(NOBODY)],
        &[
            lookup("hello"),
            [&[op::SETATTR][..], &NOBODY, &size].concat(),
        ],
        &[with(op::REMOVE, &names[0])],
        &[vec![op::SAVEFH], with(op::RENAME, &names.concat())],
    ] {
        for client in [&mut a, &mut new] {
            let ops = [&export, ops].concat();
            assert_eq!(ask(&mut server, client, &ops), Status::GRACE, "{ops:?}");
        }
    }
    assert_eq!(reclaim(&mut server, &mut a, 0), Status::NO_GRACE);
    complete(&mut server, &mut b);
    // The reclaimed open denies reading.
    assert_eq!(open_new(&mut server, &mut new), Status::SHARE_DENIED);
    assert_eq!(started(200, &content(&server)).1, 3);
}

/// The period ends at 30 s, or five seconds after the last reclaim, at 60 s at the latest. Then records of clients that did not
/// return do not count.
#[test]
fn grace_ends_after_the_lease_or_twice_of_it() {
    for (reclaims_at, ends_at) in [(0, 30), (24, 30), (29, 34), (58, 60)] {
        let (mut server, _) = started(100, &recorded(&["a", "away"]));
        let mut a = client(&mut server, "a");
        let mut new = client(&mut server, "new");
        complete(&mut server, &mut new);
        let at = |server: &mut Server, secs: u64| {
            server.now = Instant::from_ms((100 + secs) * 1000);
        };
        for secs in 0..=reclaims_at {
            at(&mut server, secs);
            assert_eq!(reclaim(&mut server, &mut a, 0), Status::OK, "at {secs} s");
        }
        at(&mut server, ends_at - 1);
        assert_eq!(open_new(&mut server, &mut new), Status::GRACE, "{ends_at}");
        at(&mut server, ends_at);
        assert_eq!(reclaim(&mut server, &mut a, 0), Status::NO_GRACE);
        assert_eq!(started(200, &content(&server)).1, 3);
        assert_eq!(open_new(&mut server, &mut new), Status::OK, "{ends_at}");
        assert_eq!(started(200, &content(&server)).1, 1);
    }
}

/// RECLAIM_COMPLETE of one file system ends neither the reclaims of its client nor the grace period. A client that sends no other has
/// a record when it opens something new, and after the period if it has reclaimed something.
#[test]
fn reclaim_of_one_file_system_goes_on() {
    for (sends_other, opens) in [(true, true), (false, true), (false, false)] {
        let (mut server, _) = started(100, &recorded(&["esx"]));
        let [mut esx, mut new] = ["esx", "new"].map(|name| client(&mut server, name));
        complete(&mut server, &mut new);
        for _ in 0..2 {
            let of_one = with(op::RECLAIM_COMPLETE, &[1]);
            assert_eq!(of_file(&mut server, &mut esx, of_one), Status::OK);
            assert_eq!(reclaim(&mut server, &mut esx, 0), Status::OK);
            assert_eq!(open_new(&mut server, &mut new), Status::GRACE);
            assert_eq!(open_new(&mut server, &mut esx), Status::GRACE);
        }
        match sends_other {
            true => complete(&mut server, &mut esx),
            false => server.now = Instant::from_ms(131_000),
        }
        assert_eq!(reclaim(&mut server, &mut esx, 0), Status::NO_GRACE);
        if opens {
            assert_eq!(open_new(&mut server, &mut esx), Status::OK);
        }
        assert_eq!(open_new(&mut server, &mut new), Status::OK);
        assert_eq!(started(200, &content(&server)).1, 2);
    }
}

/// A stop in the grace period: clients may reclaim that returned, and those that did not.
#[test]
fn second_start_in_grace_awaits_all() {
    let (mut server, _) = started(100, &recorded(&["a", "b"]));
    let mut a = client(&mut server, "a");
    complete(&mut server, &mut a);
    let (mut server, count) = started(200, &content(&server));
    assert_eq!(count, 2);
    let [mut a, mut b] = ["a", "b"].map(|name| client(&mut server, name));
    for client in [&mut a, &mut b] {
        assert_eq!(reclaim(&mut server, client, 0), Status::OK);
        complete(&mut server, client);
    }
    assert_eq!(open_new(&mut server, &mut a), Status::OK);
}

/// The reply to RECLAIM_COMPLETE waits for the record, and that of the first OPEN for the header. If a write fails, both succeed.
#[test]
fn records_are_durable_before_replies() {
    for fails in [None, Some(FsError::NoSpace)] {
        let (mut server, _) = started(100, &[]);
        let mut a = client(&mut server, "a");
        server.session = a.0;
        let host = server.tree.host.clone();
        host.has_threads.set(true);
        host.commit_fails.set(fails);
        let way = [vec![ROOT], lookup("export"), lookup("hello")];
        let done = [with(op::RECLAIM_COMPLETE, &[0])];
        let opened = [&way[..], &[open("o", 1, 0, None)]].concat();
        for (number, ops) in [(1, &done[..]), (2, &opened)] {
            let ops = [&[server.sequence_op(number, 0, 0)], ops].concat();
            let mut output = vec![0; crate::config::REPLY_BYTES];
            let first = server.turn(1, &ops, &mut output);
            assert_eq!(first.is_err(), fails.is_none(), "{first:?}");
            assert_eq!(host.saves.get(), if fails.is_none() { number } else { 0 });
            if fails.is_none() {
                let second = server.turn(1, &ops, &mut output);
                assert_eq!(second.unwrap()[..4], [0; 4]);
                assert_eq!(host.saves.get(), number);
            }
        }
        a.1 = 2;
        assert_eq!(open_new(&mut server, &mut a), Status::OK);
    }
}

/// A client that ends of itself, or whose open another client takes after its lease, has no record.
#[test]
fn ended_clients_lose_their_records() {
    let (mut server, _) = started(100, &[]);
    let id = server.client("gone", 1);
    server.begin(id, 1);
    let mut gone = Client(server.session, 0);
    let [mut silent, mut new] = ["silent", "new"].map(|name| client(&mut server, name));
    for client in [&mut gone, &mut silent, &mut new] {
        complete(&mut server, client);
    }
    let denies = open("o", 1, 3, None);
    assert_eq!(of_file(&mut server, &mut silent, denies), Status::OK);
    assert_eq!(started(200, &content(&server)).1, 3);
    server.ask(&[with(op::DESTROY_SESSION, &gone.0)]);
    assert_eq!(server.ask(&[with(op::DESTROY_CLIENTID, &id)]).status, 0);
    assert_eq!(started(200, &content(&server)).1, 2);
    server.now = Instant::from_ms(140_000);
    assert_eq!(open_new(&mut server, &mut new), Status::OK);
    assert_eq!(started(200, &content(&server)).1, 1);
}

/// DESTROY_CLIENTID does not wait for the loss of a record, but an OPEN after it does, also in the same COMPOUND.
#[test]
fn open_beside_the_end_of_a_client_waits_for_its_record() {
    let (mut server, _) = started(100, &[]);
    let id = server.client("gone", 1);
    server.begin(id, 1);
    let mut gone = Client(server.session, 0);
    let mut new = client(&mut server, "new");
    for client in [&mut gone, &mut new] {
        complete(&mut server, client);
    }
    assert_eq!(open_new(&mut server, &mut new), Status::OK);
    server.ask(&[with(op::DESTROY_SESSION, &gone.0)]);
    let host = server.tree.host.clone();
    host.has_threads.set(true);
    let saves = host.saves.get();
    server.session = new.0;
    let ops = [
        server.sequence_op(new.1 + 1, 0, 0),
        with(op::DESTROY_CLIENTID, &id),
        vec![ROOT],
        lookup("export"),
        lookup("hello"),
        open("o", 1, 0, None),
    ];
    let mut output = vec![0; crate::config::REPLY_BYTES];
    assert!(server.turn(1, &ops, &mut output).is_err());
    assert_eq!(host.saves.get(), saves + 2);
    assert_eq!(server.turn(1, &ops, &mut output).unwrap()[..4], [0; 4]);
    assert_eq!(started(200, &content(&server)).1, 1);
}

/// The denials of a client end with its lease for requests without an open, too, and its record ends with them.
#[test]
fn expired_clients_deny_nothing() {
    let (mut server, _) = started(100, &[]);
    let [mut silent, mut new] = ["silent", "new"].map(|name| client(&mut server, name));
    for client in [&mut silent, &mut new] {
        complete(&mut server, client);
    }
    let denies = open("o", 1, 3, None);
    assert_eq!(of_file(&mut server, &mut silent, denies), Status::OK);
    for (secs, status, count) in [(130, Status::LOCKED, 2), (131, Status::OK, 1)] {
        server.now = Instant::from_ms(secs * 1000);
        assert_eq!(of_file(&mut server, &mut new, read_by(NOBODY)), status);
        assert_eq!(started(200, &content(&server)).1, count);
    }
}

/// Absent clients have all rows of records: a new client has its record when they have lost theirs.
#[test]
fn client_without_a_row_waits_for_its_record() {
    let names: Vec<String> = (0..CLIENTS).map(|number| format!("{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut server, count) = started(100, &recorded(&names));
    assert_eq!(count as usize, CLIENTS);
    let mut new = client(&mut server, "new");
    for (secs, status) in [
        (129, Status::DELAY),
        (130, Status::DELAY),
        (131, Status::OK),
    ] {
        server.now = Instant::from_ms(secs * 1000);
        let done = ask(&mut server, &mut new, &[with(op::RECLAIM_COMPLETE, &[0])]);
        assert_eq!(done, status, "at {secs} s");
    }
    assert_eq!(open_new(&mut server, &mut new), Status::OK);
    assert_eq!(started(200, &content(&server)).1, 1);
}

/// Whichever byte of the file is damaged, or wherever it ends, only whole records of this server count.
#[test]
fn damaged_records_do_not_count() {
    let whole = recorded(&["a", "b"]);
    let places: Vec<usize> = (1..whole.len() / 16)
        .filter(|at| whole[at * 16..][..16] != [0; 16])
        .collect();
    assert_eq!(places.len(), 2);
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        let expect = match at / 16 {
            0 => 0,
            record if places.contains(&record) => 1,
            _ => 2,
        };
        assert_eq!(started(100, &damaged).1, expect, "byte {at}");
        let left = places.iter().filter(|place| (**place + 1) * 16 <= at);
        assert_eq!(started(100, &whole[..at]).1, left.count() as u32);
    }
    let mut other = Server::new();
    assert_eq!(other.nfs4.keep_records(FILE, &whole, 78, other.now), 0);
}

/// A client whose lease has expired loses its record before another one opens the denied file. An OPEN that waits for that begins with the
/// directory again, and makes one change of its state ID.
#[test]
fn open_that_ends_an_expired_client_waits_for_its_record() {
    let (mut server, _) = started(9, &[]);
    let [mut old, mut new] = ["old", "new"].map(|name| client(&mut server, name));
    complete(&mut server, &mut old);
    complete(&mut server, &mut new);
    server.tree.host.has_threads.set(true);
    let way = [vec![ROOT], lookup("export")];
    let by_name = |deny| [&way[..], &[open("o", 1, deny, Some("hello"))]].concat();
    assert_eq!(ask(&mut server, &mut old, &by_name(1)), Status::OK);
    assert_eq!(
        ask(&mut server, &mut new, &by_name(0)),
        Status::SHARE_DENIED
    );
    server.now = Instant::from_ms(100_000);
    assert_eq!(ask(&mut server, &mut new, &[]), Status::OK);
    let saves = server.tree.host.saves.get();
    (server.session, server.sequence) = (new.0, new.1);
    let results = server.next(&by_name(0));
    assert_eq!((results.status, results.last[0]), (0, 1), "{results:?}");
    assert!(server.tree.host.saves.get() > saves);
}
