//! Floods from three addresses: clients with sessions, opens, and locks. The tables do not grow, and others are answered meanwhile.

use anyhow::{Context, Result, ensure};
use cases::calls::{Auth, head};
use cases::nfs4::locks::{lock, lock_new, unlock};
use cases::nfs4::opens::{close, open, read_by};
use cases::nfs4::{
    FORE, Op, Peer, Results, compound, create_session, exchange_id, getattr, op, status, with,
};
use cases::replies::{Outcome, outcome};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};
use xtask::clients::nfs::{Client, first_xid, record};
use xtask::machines::server::{Server, ServerOptions, public_dir};
use xtask::machines::wait_for;

use super::{exchange, offering};

/// Clients of a flood from one address, and the sessions of each.
const FLOOD_CLIENT_COUNT: u32 = 4200;
const FLOOD_SESSION_COUNT: u32 = 8;

/// Sends calls together, each with one operation, and returns their results.
fn ask_all(client: &mut Client, ops: &[Op]) -> Result<Vec<Results>> {
    let calls = ops.iter().map(|op| {
        let mut message = head(0, 2, (100_003, 4, 1), &Auth::root());
        message.extend(compound(1, std::slice::from_ref(op)));
        record(&message)
    });
    client.send(&calls.collect::<Vec<_>>().concat())?;
    let mut receive = |_: &Op| match outcome(client.receive()?.context("closed")?)? {
        (_, Outcome::Success(results)) => Results::parse(results),
        (_, refused) => anyhow::bail!("{refused:?}"),
    };
    ops.iter().map(&mut receive).collect()
}

/// Makes clients with sessions from one address, and one call in each session, whose reply is to be kept. Returns the number of
/// sessions that were made, and of these calls that were answered.
fn flood(server: SocketAddr, source: Ipv4Addr) -> Result<[u32; 2]> {
    let (mut client, mut counts) = (Client::connect_from(source, server)?, [0; 2]);
    for first in (0..FLOOD_CLIENT_COUNT).step_by(10) {
        let owners = (first..first + 10).map(|number| format!("{source} {number}"));
        let ops: Vec<_> = owners.map(|owner| exchange_id(&owner, 1, 0)).collect();
        let mut sessions = Vec::new();
        for made in ask_all(&mut client, &ops)? {
            ensure!(made.status == status::OK, "EXCHANGE_ID: {made:?}");
            let id = [made.last[0], made.last[1]];
            sessions
                .extend((1..=FLOOD_SESSION_COUNT).map(|number| create_session(id, number, &FORE)));
        }
        let mut calls = Vec::new();
        for made in ask_all(&mut client, &sessions)? {
            match made.status {
                status::OK => calls.push(with(
                    op::SEQUENCE,
                    &[&made.last[..4], &[1, 0, 0, 1]].concat(),
                )),
                status::DELAY | status::STALE_CLIENTID => {}
                _ => anyhow::bail!("CREATE_SESSION: {made:?}"),
            }
        }
        counts[0] += calls.len() as u32;
        for answered in ask_all(&mut client, &calls)? {
            match answered.status {
                status::OK => counts[1] += 1,
                status::DELAY | status::BADSESSION => {}
                _ => anyhow::bail!("SEQUENCE: {answered:?}"),
            }
        }
    }
    Ok(counts)
}

/// 12,600 clients and 100,800 sessions of three addresses. The tables do not grow, a client of another address keeps its session, and
/// it and new clients of its address are answered soon.
#[test]
fn flood_leaves_room_for_others() -> Result<()> {
    let directory = public_dir()?;
    let top = directory.path().display().to_string();
    let server = Server::start(offering("3,4.1", &[directory.path()])?)?;
    let mut connection = server.connect()?;
    let mut exchange = |message: &[u8]| exchange(&mut connection, message);
    let mut honest = Peer::new(&mut exchange, &top, "honest", first_xid());
    honest.begun()?;
    let ops = [honest.top.clone(), vec![getattr(&[4])]].concat();
    let before = server.anonymous_kib()?;
    let mut longest = Duration::ZERO;
    let floods: Vec<_> = (2..5)
        .map(|last| {
            let server = server.nfs();
            std::thread::spawn(move || flood(server, Ipv4Addr::new(127, 0, 0, last)))
        })
        .collect();
    let mut round = 0;
    while floods.iter().any(|flood| !flood.is_finished()) {
        let start = Instant::now();
        let results = honest.next(&ops)?;
        ensure!(results.status == status::OK, "{results:?}");
        if round % 20 == 0 {
            let mut connection = server.connect()?;
            let mut exchange = |message: &[u8]| self::exchange(&mut connection, message);
            let name = format!("late {round}");
            Peer::new(&mut exchange, &top, &name, first_xid()).begun()?;
        }
        longest = longest.max(start.elapsed());
        round += 1;
        sleep(Duration::from_millis(20));
    }
    for flood in floods {
        let counts = flood.join().expect("a flood panicked")?;
        let least = FLOOD_CLIENT_COUNT * FLOOD_SESSION_COUNT / 2;
        ensure!(counts.iter().all(|count| *count > least), "{counts:?}");
    }
    let grown_kib = server.anonymous_kib()?.saturating_sub(before);
    println!("longest wait {longest:?} of {round}, {grown_kib} KiB");
    ensure!(longest < Duration::from_secs(5), "waited for {longest:?}");
    ensure!(grown_kib < 4 << 10, "memory grew by {grown_kib} KiB");
    Ok(())
}

/// Opens or locks that each address of a flood asks for.
const FLOOD_STATE_COUNT: usize = 34_000;
/// The tables of opens and of locks have as many rows each.
const ROW_COUNT: usize = 16_384;
/// The time within which all floods end after the first one.
const FLOOD_MAX: Duration = Duration::from_secs(20);
/// The rows of both have 1,280 KiB.
const GROWN_KIB_MAX: u64 = 1536;
const CURRENT: [u32; 4] = [1, 0, 0, 0];
const READ: u32 = 1;
const WRITE: u32 = 2;
const ALL: (u64, u64) = (0, u64::MAX);

/// A way to fill the tables of opens and locks. All of it is of one file.
struct Flood {
    /// The operation of which many are made.
    made: u32,
    /// The operations that come first. The last one returns a state ID.
    first: fn() -> Vec<Op>,
    /// The operations of a request, by the number of those that succeeded before it, and the state ID.
    next: fn(usize, [u32; 4]) -> Vec<Op>,
    /// The operations that free all rows of a table, and use some again.
    last: fn([u32; 4]) -> Vec<Op>,
}

fn opened() -> Vec<Op> {
    vec![open("one", READ, 0, None)]
}

/// A LOCK of this range, by the lock owner of [`CURRENT`].
fn locked(range: (u64, u64)) -> Vec<Op> {
    [opened(), vec![lock_new(READ, range, CURRENT, "one")]].concat()
}

/// Ends all locks, and makes one.
fn lock_again(state: [u32; 4]) -> Vec<Op> {
    vec![unlock(ALL, state), lock(READ, MIDDLE, state)]
}

/// Opens, each by another owner.
const OPENS: Flood = Flood {
    made: op::OPEN,
    first: opened,
    next: |number, _| {
        let owner = |more: usize| open(&format!("{number} {more}"), READ, 0, None);
        (0..14).map(owner).collect()
    },
    last: |_| Vec::new(),
};

/// Locks of single bytes that do not touch, by one owner.
const RANGES: Flood = Flood {
    made: op::LOCK,
    first: || locked((0, 1)),
    next: |number, state| {
        let byte = |more: usize| lock(READ, (2 * (number + more) as u64 + 2, 1), state);
        (0..14).map(byte).collect()
    },
    last: lock_again,
};

/// The bytes that [`HOLES`] locks.
const MIDDLE: (u64, u64) = (1 << 40, 1 << 40);

/// One lock, of which single bytes are unlocked: each adds a lock.
const HOLES: Flood = Flood {
    made: op::LOCKU,
    first: || locked(MIDDLE),
    next: |number, state| {
        let hole = |more: usize| unlock((MIDDLE.0 + 2 * (number + more) as u64 + 1, 1), state);
        (0..14).map(hole).collect()
    },
    last: lock_again,
};

/// One lock each of many lock owners, by one open.
const LOCK_OWNERS: Flood = Flood {
    made: op::LOCK,
    first: opened,
    next: |number, state| {
        let owner = |more: usize| lock_new(READ, ALL, state, &format!("{number} {more}"));
        (0..14).map(owner).collect()
    },
    last: |state| [vec![close(state)], locked(ALL)].concat(),
};

/// One lock each of many owners, which have opened the file themselves.
const OWNERS: Flood = Flood {
    made: op::LOCK,
    first: opened,
    next: |number, _| {
        let owner = |more: usize| {
            let (name, byte) = (format!("{number} {more}"), (number + more) as u64);
            let locked = lock_new(READ, (byte, 1), CURRENT, &name);
            [open(&name, READ, 0, None), locked]
        };
        (0..7).flat_map(owner).collect()
    },
    last: |_| Vec::new(),
};

/// Asks for much state of a file from one address. Returns how many operations made some, and how many requests were delayed.
fn flood_state(
    server: SocketAddr,
    source: Ipv4Addr,
    top: &str,
    flood: &Flood,
    ended: &AtomicUsize,
) -> Result<[usize; 2]> {
    let mut connection = Client::connect_from(source, server)?;
    let mut exchange = |message: &[u8]| exchange(&mut connection, message);
    let mut peer = Peer::new(&mut exchange, top, &source.to_string(), first_xid());
    peer.begun()?;
    peer.next(&[with(op::RECLAIM_COMPLETE, &[0])])?;
    let way = peer.way("file", &[vec![op::GETFH]]);
    let put = with(op::PUTFH, &peer.next(&way)?.last);
    let mut ask = |ops: Vec<Op>| peer.next(&[vec![put.clone()], ops].concat());
    let first = ask((flood.first)())?;
    ensure!(first.status == status::OK, "{first:?}");
    // With the sequence number 0, a state ID is the most recent one.
    let state = [0, first.last[1], first.last[2], first.last[3]];
    let (mut asked, mut counts) = (0, [0; 2]);
    while asked < FLOOD_STATE_COUNT {
        let ops = (flood.next)(counts[0], state);
        asked += ops.iter().filter(|op| op[0] == flood.made).count();
        let results = ask(ops)?;
        ensure!(
            [status::OK, status::DELAY].contains(&results.status),
            "{results:?}"
        );
        counts[1] += usize::from(results.status != status::OK);
        let made = |done: &&(u32, u32)| **done == (flood.made, status::OK);
        counts[0] += results.done.iter().filter(made).count();
    }
    // No flood uses rows that another one has freed.
    ended.fetch_add(1, Relaxed);
    let all_ended = || Ok((ended.load(Relaxed) == 3).then_some(()));
    wait_for(FLOOD_MAX, all_ended)?.context("another flood goes on")?;
    let again = ask((flood.last)(state))?;
    ensure!(again.status == status::OK, "{again:?}");
    Ok(counts)
}

/// Has three addresses ask for 102,000 opens or locks. Meanwhile a client of another address makes a request of these operations
/// on the file, which must succeed within a second. They must fill more than half of the table.
fn check_beside(floods: [&'static Flood; 3], honest: &[Op]) -> Result<()> {
    let directory = public_dir()?;
    let (file, top) = (directory.path().join("file"), directory.path().display());
    std::fs::write(&file, "text")?;
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666))?;
    let top = top.to_string();
    let server = Server::start(ServerOptions {
        exports: vec![format!("{top}:rw")],
        ..offering("3,4.1", &[])?
    })?;
    let before = server.anonymous_kib()?;
    let ended = Arc::new(AtomicUsize::new(0));
    let floods: Vec<_> = (2..)
        .zip(floods)
        .map(|(last, flood)| {
            let (server, top, ended) = (server.nfs(), top.clone(), ended.clone());
            let source = Ipv4Addr::new(127, 0, 0, last);
            std::thread::spawn(move || flood_state(server, source, &top, flood, &ended))
        })
        .collect();
    let mut connection = server.connect()?;
    let mut exchange = |message: &[u8]| exchange(&mut connection, message);
    let mut peer = Peer::new(&mut exchange, &top, "honest", first_xid());
    peer.begun()?;
    peer.next(&[with(op::RECLAIM_COMPLETE, &[0])])?;
    let ops = peer.way("file", honest);
    let mut longest = Duration::ZERO;
    while floods.iter().any(|flood| !flood.is_finished()) {
        let start = Instant::now();
        let results = peer.next(&ops)?;
        ensure!(results.status == status::OK, "{results:?}");
        longest = longest.max(start.elapsed());
        sleep(Duration::from_millis(10));
    }
    let mut counts = Vec::new();
    for flood in floods {
        counts.push(flood.join().expect("a flood panicked")?);
    }
    let grown_kib = server.anonymous_kib()?.saturating_sub(before);
    println!("{counts:?}, longest wait {longest:?}, {grown_kib} KiB");
    let made: usize = counts.iter().map(|[made, _]| made).sum();
    ensure!((ROW_COUNT / 2..ROW_COUNT).contains(&made), "{counts:?}");
    ensure!(
        counts.iter().all(|[_, delayed]| *delayed > 1000),
        "{counts:?}"
    );
    ensure!(longest < Duration::from_secs(1), "waited for {longest:?}");
    ensure!(grown_kib < GROWN_KIB_MAX, "memory grew by {grown_kib} KiB");
    Ok(())
}

#[test]
fn opens_leave_room_for_others() -> Result<()> {
    let honest = [open("one", READ, 0, None), read_by(CURRENT), close(CURRENT)];
    check_beside([&OPENS; 3], &honest)
}

#[test]
fn locks_leave_room_for_others() -> Result<()> {
    let honest = |kind, at| {
        vec![
            open("one", READ | WRITE, 0, None),
            vec![op::SAVEFH],
            lock_new(kind, (at, 1), CURRENT, "one"),
            unlock((at, 1), CURRENT),
            vec![op::RESTOREFH],
            close(CURRENT),
        ]
    };
    check_beside([&RANGES, &HOLES, &OWNERS], &honest(WRITE, 1 << 50))?;
    check_beside([&LOCK_OWNERS; 3], &honest(READ, 0))
}
