//! Servers that share memory are killed while they use both locks.

use crate::config::LOOP_COUNT_MAX;
use crate::drive::platform::host::loops::{Layout, SharedState};
use crate::engine::rpc::connections::{Connection, Connections, word_count};
use crate::engine::rpc::drc::{DuplicateRequestCache, Key, Lookup};
use crate::engine::rpc::lock::ServerLock;
use crate::engine::rpc::regions::Regions;
use crate::sys::linux::process;
use crate::time::Instant;
use crate::vfs::Peer;
use crate::wire::rpc::Call;
use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use core::time::Duration;
use std::time::Instant as Clock;

const SERVERS: usize = LOOP_COUNT_MAX as usize;
const LAYOUT: Layout = Layout {
    word_count: word_count(SERVERS, 1),
    byte_count: crate::config::SHARED_BYTES,
};

fn key(xid: u32) -> Key {
    let peer = Peer {
        address: Ipv4Addr::new(198, 18, 0, xid as u8 % 4).to_ipv6_mapped(),
        port: 700,
    };
    let call = Call {
        xid,
        ..Call::default()
    };
    Key::new((&peer, Connection::NONE), Instant::from_ms(0), &call, b"")
}

/// The reply to a call: any mixture of two is recognised.
fn reply(xid: u32) -> [u8; 280] {
    core::array::from_fn(|at| (xid.wrapping_add(at as u32).wrapping_mul(0x9e37_79b9) >> 24) as u8)
}

/// A lock, and two words that only its owner accesses: the numbers of times that it was acquired and released. A killed owner leaves
/// a difference of 1.
struct Guarded<'a>(&'a [AtomicU32], Option<&'a dyn ServerLock>);

impl Guarded<'_> {
    /// Calls `access` with a lock. Returns false if another server owned it meanwhile.
    fn access(&self, [acquire, release]: [fn(&dyn ServerLock); 2], access: impl FnOnce()) -> bool {
        let Some(lock) = self.1 else {
            access();
            return true;
        };
        acquire(lock);
        let [begun, ended] = [0, 1].map(|at| self.0[at].load(Relaxed));
        let own = begun.wrapping_add(1);
        self.0[0].store(own, Relaxed);
        access();
        let is_alone = begun.wrapping_sub(ended) <= 1 && self.0[0].load(Relaxed) == own;
        self.0[1].store(own, Relaxed);
        release(lock);
        is_alone
    }
}

const CHANGES: [fn(&dyn ServerLock); 2] = [|lock| lock.acquire(), |lock| lock.release()];
const TABLES: [fn(&dyn ServerLock); 2] =
    [|lock| lock.acquire_tables(), |lock| lock.release_tables()];

/// Answers calls, most of them retransmissions of another server's, until the process is killed. `words` has an error flag, a word
/// that counts the calls of each server, and two words for each lock.
fn serve(state: SharedState, words: &'static [AtomicU32]) -> ! {
    let (flag, counts) = words.split_first().unwrap();
    let (counts, locked) = counts.split_at(SERVERS);
    let joined = state.join().unwrap();
    let lock: &'static dyn ServerLock = joined.lock.unwrap();
    let regions = Regions::open(joined.memory, Some(lock));
    let connections = Connections::new(joined.words, joined.lives, joined.number);
    let mut drc = DuplicateRequestCache::new(regions.replies, true, connections);
    let tables = Guarded(&locked[..2], Some(lock));
    let mut random = joined.number as u32;
    loop {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let xid = random >> 20;
        let mut is_right = true;
        // Each third call is answered without the lock of changes.
        let changes = Guarded(&locked[2..], (!xid.is_multiple_of(3)).then_some(lock));
        let is_alone = changes.access(CHANGES, || {
            let mut call = None;
            let mut is_whole = true;
            is_right &= tables.access(TABLES, || match drc.lookup(key(xid)) {
                Lookup::New(new) => call = Some(new),
                Lookup::Reply { results, .. } => is_whole = results == reply(xid),
            });
            is_right &= is_whole;
            if let Some(call) = call.filter(|_| changes.1.is_some()) {
                is_right &= tables.access(TABLES, || _ = drc.is_done(&call, || true));
                is_right &= tables.access(TABLES, || drc.insert(&call, &reply(xid)));
            }
        });
        if !is_right || !is_alone {
            flag.store(1, Relaxed);
        }
        counts[joined.number].fetch_add(1, Relaxed);
    }
}

/// Each reply that is found is whole, no two servers own a lock at once, and the others go on when one is killed.
#[test]
fn killed_servers_leave_tables_and_locks_consistent() {
    const KILLS: u32 = 500;
    let words = crate::sys::linux::shared::share_counters::<16>().unwrap();
    let counts = &words[1..=SERVERS];
    let mut pids = [None; SERVERS];
    let mut state = SharedState::new(LOOP_COUNT_MAX, LAYOUT);
    assert!(state.as_ref().unwrap().loop_count > 1);
    let mut start = |number: usize| {
        if let child @ Some(_) = process::fork().unwrap() {
            return child;
        }
        // In the child's copy only.
        let mut own = state.take().unwrap();
        own.number = number as u32;
        serve(own, words)
    };
    let end = |child| {
        process::send_signal(child, process::Signal::Kill);
        while process::reap(child).is_none() {
            std::thread::sleep(Duration::from_micros(50));
        }
    };
    for (number, pid) in pids.iter_mut().enumerate() {
        *pid = start(number);
    }
    let mut seed = 1u32;
    for round in 0..KILLS {
        let before = [0, 1, 2, 3].map(|at| counts[at].load(Relaxed));
        let begun = Clock::now();
        while (0..SERVERS).any(|at| counts[at].load(Relaxed) == before[at]) {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "a server waits after {round} kills"
            );
            std::thread::sleep(Duration::from_micros(50));
        }
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        std::thread::sleep(Duration::from_micros((seed >> 22).into()));
        let number = (seed >> 8) as usize % SERVERS;
        end(pids[number].take().unwrap());
        pids[number] = start(number);
        assert_eq!(
            words[0].load(Relaxed),
            0,
            "a table is inconsistent after {round} kills"
        );
    }
    pids.into_iter().flatten().for_each(end);
}
