//! Locks of clients that ask for more than their share: rows that are left for others, and rows that are free again.

use super::{ROOT, Server, Tree};
use crate::time::Instant;

use crate::wire::nfs4::Status;
use cases::nfs4::changes::on_names;
use cases::nfs4::locks::{lock, lock_new, unlock};
use cases::nfs4::opens::{close, open};
use cases::nfs4::{Op, lookup, op, with};
use core::net::{Ipv4Addr, Ipv6Addr};

const READ: u32 = 1;
const STALE: u32 = 70;
/// The bytes that a lock covers that is to be split.
const MIDDLE: (u64, u64) = (1 << 20, 1 << 20);
/// Rows for locks.
const ROWS: u32 = 16 * super::CLIENTS as u32;

/// A client of its own address: its session, the number of its last request, and the state IDs of its open and of its locks, each
/// with the most recent sequence number.
struct Client {
    peer: Ipv6Addr,
    session: [u32; 4],
    sequence: u32,
    opened: [u32; 4],
    locked: [u32; 4],
}

impl Client {
    /// A client that has opened a file, and locked a byte of its own.
    fn new(server: &mut Server, number: u8) -> Self {
        server.peer = Ipv4Addr::new(198, 51, 100, number).to_ipv6_mapped();
        let id = server.client(&format!("client {number}"), 1);
        server.begin(id, 1);
        let mut client = Self {
            peer: server.peer,
            session: server.session,
            sequence: 0,
            opened: [0; 4],
            locked: [0; 4],
        };
        let done = with(op::RECLAIM_COMPLETE, &[0]);
        assert_eq!(client.ask(server, done).0, Status::OK);
        let opened = client.ask(server, open("o", READ, 0, None)).1;
        client.opened[1..].copy_from_slice(&opened[1..4]);
        let byte = (2 * u64::from(number), 1);
        let locked = client.ask(server, lock_new(READ, byte, client.opened, "o"));
        client.locked[1..].copy_from_slice(&locked.1[1..4]);
        client
    }

    /// The status and the words of an operation on the file.
    fn ask(&mut self, server: &mut Server, last: Op) -> (Status, Vec<u32>) {
        (server.session, server.sequence, server.peer) = (self.session, self.sequence, self.peer);
        self.sequence += 1;
        let results = server.next(&[vec![ROOT], lookup("export"), lookup("hello"), last]);
        (Status(results.status as u16), results.last)
    }

    fn lock(&mut self, server: &mut Server, range: (u64, u64)) -> Status {
        self.ask(server, lock(READ, range, self.locked)).0
    }

    fn unlock(&mut self, server: &mut Server, range: (u64, u64)) -> Status {
        self.ask(server, unlock(range, self.locked)).0
    }

    /// Makes locks, by LOCK or by splitting one, until that is delayed. Returns how many were made.
    fn flood(&mut self, server: &mut Server, splits: bool) -> u32 {
        if splits {
            assert_eq!(self.lock(server, MIDDLE), Status::OK);
        }
        for number in 0.. {
            let at = 100 + 2 * u64::from(number);
            let status = match splits {
                true => self.unlock(server, (MIDDLE.0 + at, 1)),
                false => self.lock(server, (at, 1)),
            };
            if status == Status::DELAY {
                return number + u32::from(splits);
            }
            assert_eq!(status, Status::OK);
        }
        unreachable!()
    }
}

/// The number of locks.
fn count(server: &Server) -> u32 {
    server.nfs4.tables.lock_counts()[0]
}

/// However an address makes its locks, as many rows as it has are left. It can always end or trim its own locks.
#[test]
fn address_has_at_most_half_of_the_locks() {
    for splits in [false, true] {
        let mut server = Server::new();
        let [mut flood, mut other] = [1, 2].map(|number| Client::new(&mut server, number));
        let made = flood.flood(&mut server, splits);
        assert!((ROWS / 2 - 3..=ROWS / 2 + 1).contains(&made), "{made}");
        for at in 0..40 {
            assert_eq!(other.lock(&mut server, (1000 + 2 * at, 1)), Status::OK);
        }
        // A part of a lock, and a whole one.
        assert_eq!(flood.lock(&mut server, (50, 2)), Status::DELAY);
        let before = count(&server);
        if splits {
            assert_eq!(flood.unlock(&mut server, (MIDDLE.0, 50)), Status::OK);
            assert_eq!(count(&server), before);
        }
        assert_eq!(flood.unlock(&mut server, (2, 1)), Status::OK);
        assert_eq!(count(&server), before - 1);
    }
}

/// Rows of a client that floods are free after LOCKU or CLOSE, and for others that need them when its lease has expired.
#[test]
fn rows_of_a_flood_are_free_again() {
    for ending in 0..3 {
        let mut server = Server::new();
        let mut other = Client::new(&mut server, 2);
        let mut floods = [3, 4].map(|number| Client::new(&mut server, number));
        for flood in &mut floods {
            flood.flood(&mut server, false);
        }
        assert!(count(&server) > ROWS / 2);
        for flood in &mut floods {
            let ends = match ending {
                0 => unlock((0, u64::MAX), flood.locked),
                1 => close(flood.opened),
                _ => vec![op::GETFH],
            };
            assert_eq!(flood.ask(&mut server, ends).0, Status::OK);
        }
        if ending == 2 {
            server.now = Instant::from_ms(100_000);
        } else {
            assert_eq!(count(&server), 1);
        }
        assert_eq!(other.flood(&mut server, false), ROWS / 2);
        assert_eq!(count(&server), ROWS / 2 + 1);
    }
}

/// A client cannot close a file that was removed: PUTFH fails. Its opens and locks end then.
#[test]
fn opens_of_a_removed_file_end() {
    let mut server = Server::new();
    server.tree = Tree::writable();
    let mut client = Client::new(&mut server, 1);
    let (_, handle) = client.ask(&mut server, vec![op::GETFH]);
    let removed = server.next(&[
        vec![ROOT],
        lookup("export"),
        on_names(op::REMOVE, &["hello"]),
    ]);
    assert_eq!(removed.status, 0);
    assert_eq!(
        (server.nfs4.tables.open_counts()[0], count(&server)),
        (2, 1)
    );
    let found = server.next(&[with(op::PUTFH, &handle)]);
    assert_eq!(found.status, STALE);
    assert_eq!(
        (server.nfs4.tables.open_counts()[0], count(&server)),
        (0, 0)
    );
}
