//! LOCK, LOCKT, LOCKU, and lock states.

use anyhow::{Context, Result, ensure};
use std::collections::HashMap;

use super::opens::{ask, close, on_state, open, read_by, ready};
use super::status::{
    BAD_STATEID, BADXDR, DENIED, GRACE, INVAL, ISDIR, LOCKS_HELD, OK, OLD_STATEID, OPENMODE,
};
use super::{Case, Op, Peer, op, opaque, with};

pub(super) const CASES: &[Case] = &[
    ("LOCK, LOCKT, LOCKU: ranges of owners", ranges),
    ("LOCK: arguments and state IDs", arguments),
    (
        "CSID2, CSID4: LOCK and LOCKU by the current state ID",
        current,
    ),
];

const BOTH: u32 = 3;
const CURRENT: [u32; 4] = [1, 0, 0, 0];
const READ: u32 = 1;
const WRITE: u32 = 2;
const READ_WAITING: u32 = 3;
const WRITE_WAITING: u32 = 4;
const END: u64 = u64::MAX;

fn long(number: u64) -> [u32; 2] {
    [(number >> 32) as u32, number as u32]
}

/// LOCK by an open, as a new lock owner.
pub fn lock_new(kind: u32, (offset, len): (u64, u64), state: [u32; 4], owner: &str) -> Op {
    let head = [&[op::LOCK, kind, 0][..], &long(offset), &long(len), &[1, 0]].concat();
    let owner = opaque(owner.as_bytes());
    [&head[..], &state, &[0, 9, 9], &owner].concat()
}

/// LOCK by a lock state.
pub fn lock(kind: u32, (offset, len): (u64, u64), state: [u32; 4]) -> Op {
    let head = [&[op::LOCK, kind, 0][..], &long(offset), &long(len), &[0]].concat();
    [&head[..], &state, &[0]].concat()
}

fn test(kind: u32, (offset, len): (u64, u64), owner: &str) -> Op {
    let head = [&[op::LOCKT, kind][..], &long(offset), &long(len), &[9, 9]].concat();
    [&head[..], &opaque(owner.as_bytes())].concat()
}

/// LOCKU.
pub fn unlock((offset, len): (u64, u64), state: [u32; 4]) -> Op {
    let range = [long(offset), long(len)].concat();
    on_state(op::LOCKU, &[1, 0], state, &range)
}

/// An action of [`ranges`], with a kind of lock, and a range.
enum Step {
    Lock(u32, u64, u64),
    Test(u32, u64, u64),
    Unlock(u64, u64),
    Free,
    Close,
}

/// The outcome: a status, or the conflicting lock.
enum Outcome {
    Is(u32),
    Denied(u32, u64, u64),
}

fn ranges(peer: &mut Peer<'_>) -> Result<()> {
    use Outcome::{Denied, Is};
    use Step::{Close, Free, Lock, Test, Unlock};
    let mut clients = Vec::new();
    for name in ["one", "two"] {
        ready(peer, name)?;
        let state = ask(peer, "", &[open("o", BOTH, 0, Some("hello"))], OK)?;
        let state: [u32; 4] = state[..4].try_into()?;
        clients.push((peer.session, peer.sequence, state));
    }
    let mut states: HashMap<(usize, &str), [u32; 4]> = HashMap::new();
    for (at, (number, owner, step, outcome)) in [
        (0, "a", Lock(READ, 10, 10), Is(OK)),
        (1, "a", Lock(READ, 0, END), Is(OK)),
        (1, "a", Lock(WRITE, 0, 10), Is(OK)),
        (0, "a", Test(READ, 0, 5), Denied(WRITE, 0, 10)),
        (0, "a", Lock(READ_WAITING, 9, 1), Denied(WRITE, 0, 10)),
        // The rest of the lock for reading.
        (0, "b", Test(WRITE_WAITING, 20, 1), Denied(READ, 10, END)),
        (1, "b", Test(WRITE, 30, 1), Denied(READ, 10, END)),
        (1, "a", Test(WRITE, 20, 1), Is(OK)),
        // Split: 10 to 99, and from 200 on.
        (1, "a", Unlock(100, 100), Is(OK)),
        (0, "a", Lock(WRITE, 100, 100), Is(OK)),
        (0, "a", Lock(WRITE, 100, 101), Denied(READ, 200, END)),
        (0, "b", Lock(WRITE, 150, 1), Denied(WRITE, 100, 100)),
        (0, "a", Free, Is(LOCKS_HELD)),
        (1, "a", Unlock(0, END), Is(OK)),
        (1, "a", Unlock(0, END), Is(OK)),
        (1, "a", Free, Is(OK)),
        (1, "a", Unlock(0, END), Is(BAD_STATEID)),
        // Locks that touch are one.
        (0, "a", Lock(WRITE, 200, 1), Is(OK)),
        (0, "a", Lock(WRITE, 99, 1), Is(OK)),
        (1, "c", Test(READ, 150, 1), Denied(WRITE, 99, 102)),
        // The other kind, in its middle.
        (0, "a", Lock(READ, 120, 10), Is(OK)),
        (1, "c", Lock(READ, 120, 10), Is(OK)),
        (1, "c", Lock(READ, 119, 1), Denied(WRITE, 99, 21)),
        (1, "c", Lock(READ, 130, 1), Denied(WRITE, 130, 71)),
        (0, "a", Lock(WRITE, 0, END), Denied(READ, 120, 10)),
        (1, "c", Unlock(0, END), Is(OK)),
        (0, "a", Lock(WRITE, END - 1, 1), Is(OK)),
        (1, "c", Test(READ, END - 2, 2), Denied(WRITE, END - 1, 1)),
        (0, "a", Lock(WRITE, 0, END), Is(OK)),
        (1, "c", Test(READ, 5, 1), Denied(WRITE, 0, END)),
        // The locks of an open end with it.
        (0, "a", Close, Is(OK)),
        (1, "c", Lock(WRITE, 0, END), Is(OK)),
        (0, "a", Unlock(0, END), Is(BAD_STATEID)),
        (1, "c", Close, Is(OK)),
    ]
    .into_iter()
    .enumerate()
    {
        let (session, sequence, opened) = clients[number];
        (peer.session, peer.sequence) = (session, sequence);
        let state = states.get(&(number, owner)).copied();
        let op = match step {
            Lock(kind, offset, len) => match state {
                Some(state) => lock(kind, (offset, len), state),
                None => lock_new(kind, (offset, len), opened, owner),
            },
            Test(kind, offset, len) => test(kind, (offset, len), owner),
            Unlock(offset, len) => unlock((offset, len), state.context("no state")?),
            Free => on_state(op::FREE_STATEID, &[], state.context("no state")?, &[]),
            Close => close(opened),
        };
        let is_change = matches!(step, Lock(..) | Unlock(..));
        let status = match outcome {
            Is(status) => status,
            Denied(..) => DENIED,
        };
        let about = || format!("step {at}");
        let last = ask(peer, "hello", &[op], status).with_context(about)?;
        clients[number].1 = peer.sequence;
        if let Denied(kind, offset, len) = outcome {
            let expect = [&long(offset)[..], &long(len), &[kind]].concat();
            ensure!(last[..5] == expect, "step {at}: {last:?}");
        } else if is_change && status == OK {
            let next: [u32; 4] = last[..4].try_into()?;
            let first = state.map_or(1, |state| state[0] + 1);
            ensure!(next[0] == first, "step {at}: {next:?} after {state:?}");
            states.insert((number, owner), next);
        }
    }
    Ok(())
}

fn arguments(peer: &mut Peer<'_>) -> Result<()> {
    let client = peer.client("early", 1)?;
    peer.begin(client, 1, &super::FORE)?;
    ask(peer, "hello", &[lock_new(READ, (0, 1), [9; 4], "a")], GRACE)?;
    ready(peer, "owner")?;
    let mut opened = |access| {
        let state = ask(
            peer,
            "",
            &[open(&format!("o{access}"), access, 0, Some("hello"))],
            OK,
        )?;
        anyhow::Ok::<[u32; 4]>(state[..4].try_into()?)
    };
    let (reads, writes) = (opened(1)?, opened(2)?);
    let made = ask(peer, "hello", &[lock_new(READ, (0, 1), reads, "a")], OK)?;
    let state: [u32; 4] = made[..4].try_into()?;
    let at = |difference: u32| {
        [
            state[0].wrapping_add(difference),
            state[1],
            state[2],
            state[3],
        ]
    };
    for (path, op, status) in [
        ("hello", lock_new(READ, (0, 0), reads, "a"), INVAL),
        ("hello", lock_new(READ, (2, END - 1), reads, "a"), INVAL),
        ("hello", lock_new(READ, (2, END - 2), reads, "a"), OK),
        ("hello", lock_new(0, (0, 1), reads, "a"), BADXDR),
        ("hello", lock_new(5, (0, 1), reads, "a"), BADXDR),
        ("hello", lock_new(WRITE, (0, 1), reads, "a"), OPENMODE),
        ("hello", lock_new(READ, (0, 1), writes, "b"), OPENMODE),
        ("hello", lock_new(WRITE, (0, 1), writes, "b"), DENIED),
        (
            "hello",
            lock_new(READ, (0, 1), [1, 2, 3, 4], "b"),
            BAD_STATEID,
        ),
        // A lock state is no open, and an open is no lock state.
        ("hello", lock_new(READ, (0, 1), at(1), "b"), BAD_STATEID),
        ("hello", lock(READ, (0, 1), reads), BAD_STATEID),
        ("hello", unlock((0, 1), reads), BAD_STATEID),
        ("hello", close(at(1)), BAD_STATEID),
        ("hello", lock(READ, (5, 1), at(0)), OLD_STATEID),
        ("hello", lock(READ, (5, 1), at(2)), BAD_STATEID),
        ("hello", lock(WRITE, (5, 1), at(1)), OPENMODE),
        ("big", lock(READ, (5, 1), at(1)), BAD_STATEID),
        ("dir", test(READ, (0, 1), "a"), ISDIR),
        ("link", test(READ, (0, 1), "a"), INVAL),
        ("hello", test(READ, (0, 0), "a"), INVAL),
        ("hello", unlock((0, 0), at(1)), INVAL),
        // Contents are used by lock states, too.
        ("hello", read_by(at(1)), OK),
        (
            "hello",
            with(op::TEST_STATEID, &[&[1][..], &at(1)].concat()),
            OK,
        ),
        ("hello", close(reads), OK),
        ("hello", read_by(at(1)), BAD_STATEID),
    ] {
        ask(peer, path, std::slice::from_ref(&op), status).with_context(|| format!("{op:?}"))?;
    }
    Ok(())
}

fn current(peer: &mut Peer<'_>) -> Result<()> {
    ready(peer, "owner")?;
    let ops = [
        open("o", BOTH, 0, Some("hello")),
        lock_new(WRITE, (0, END), CURRENT, "a"),
        read_by(CURRENT),
        unlock((0, END), CURRENT),
        on_state(op::FREE_STATEID, &[], CURRENT, &[]),
    ];
    ask(peer, "", &ops, OK)?;
    Ok(())
}
