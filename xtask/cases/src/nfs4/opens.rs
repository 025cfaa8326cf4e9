//! Opens: share reservations, state IDs and the current state ID, for reading.

use super::status::*;
use super::*;

const ROOT: u32 = op::PUTROOTFH;
const READ: u32 = 1;
const WRITE: u32 = 2;
const BOTH: u32 = 3;
const NONE: u32 = 0;
/// All words of a state ID that is special.
const CURRENT: [u32; 4] = [1, 0, 0, 0];
const INVALID: [u32; 4] = [u32::MAX, 0, 0, 0];

pub(super) const CASES: &[Case] = &[
    (
        "OPEN7, OPEN8, OPEN30, OPEN31: kinds, names, modes and claims",
        statuses,
    ),
    ("OPDG1 to OPDG11, TSID, FSID: shares and state IDs", shares),
    ("CSID1 to CSID10: the current state ID", current),
    ("RECC3: an open before RECLAIM_COMPLETE", before_reclaim),
    ("a client with opens stays", opens_are_state),
];

/// OPEN without creation by this owner, of a name or of the current object.
pub fn open(owner: &str, access: u32, deny: u32, name: Option<&str>) -> Op {
    let head = with(op::OPEN, &[0, access, deny, 9, 9]);
    let claim = match name {
        Some(name) => with(0, &opaque(name.as_bytes())),
        None => vec![4],
    };
    [&head[..], &opaque(owner.as_bytes()), &[0], &claim].concat()
}

/// An operation on a state ID, with what follows it.
pub fn on_state(number: u32, before: &[u32], state: [u32; 4], after: &[u32]) -> Op {
    [&[number], before, &state[..], after].concat()
}

/// CLOSE.
pub fn close(state: [u32; 4]) -> Op {
    on_state(op::CLOSE, &[0], state, &[])
}

/// READ of 100 bytes.
pub fn read_by(state: [u32; 4]) -> Op {
    on_state(op::READ, &[], state, &[0, 0, 100])
}

/// OPEN_DOWNGRADE.
pub fn downgrade(state: [u32; 4], access: u32, deny: u32) -> Op {
    on_state(op::OPEN_DOWNGRADE, &[], state, &[0, access, deny])
}

/// A client that has sent RECLAIM_COMPLETE.
pub(super) fn ready(peer: &mut Peer<'_>, owner: &str) -> Result<[u32; 2]> {
    let client = peer.client(owner, 1)?;
    peer.begin(client, 1, &FORE)?;
    let done = peer.next(&[with(op::RECLAIM_COMPLETE, &[0])])?;
    ensure!(done.status == OK, "{done:?}");
    Ok(client)
}

/// The words of the last result of a COMPOUND that ends with this status, in which `path` is the current object.
pub(super) fn ask(peer: &mut Peer<'_>, path: &str, then: &[Op], status: u32) -> Result<Vec<u32>> {
    let way = peer.way(path, then);
    let results = peer.next(&way)?;
    ensure!(
        results.status == status,
        "{results:?} for {then:?} at {path}, not {status}"
    );
    Ok(results.last)
}

fn statuses(peer: &mut Peer<'_>) -> Result<()> {
    ready(peer, "owner")?;
    let named = |name| open("a", READ, NONE, Some(name));
    let claim = |number: u32| {
        let mut op = open("a", READ, NONE, None);
        *op.last_mut().unwrap_or(&mut 0) = number;
        op
    };
    for (path, op, status) in [
        ("", named("hello"), OK),
        ("hello", open("a", READ, NONE, None), OK),
        ("", named("none"), NOENT),
        ("", named("dir"), ISDIR),
        ("", named("link"), SYMLINK),
        ("", named("fifo"), SYMLINK),
        ("", named(""), INVAL),
        ("", named("a/b"), BADCHAR),
        ("hello", named("x"), NOTDIR),
        ("dir", open("a", READ, NONE, None), ISDIR),
        ("link", open("a", READ, NONE, None), SYMLINK),
        ("hello", open("a", NONE, NONE, None), INVAL),
        ("hello", open("a", READ, 4, None), INVAL),
        ("hello", open("a", READ | 4, NONE, None), INVAL),
        ("hello", open("a", READ | 0x0400, NONE, None), OK),
        ("hello", open("a", READ | 0x0100, NONE, None), OK),
        ("hello", open(&"o".repeat(1025), READ, NONE, None), BADXDR),
        ("hello", claim(1), NO_GRACE),
        ("hello", claim(2), NOTSUPP),
        ("hello", claim(7), BADXDR),
        ("hello", close([0; 4]), BAD_STATEID),
        ("hello", close(INVALID), BAD_STATEID),
        ("hello", close(CURRENT), BAD_STATEID),
        ("hello", read_by([1, 2, 3, 4]), BAD_STATEID),
        ("hello", downgrade([1, 2, 3, 4], READ, NONE), BAD_STATEID),
        (
            "",
            on_state(op::FREE_STATEID, &[], [1, 2, 3, 4], &[]),
            BAD_STATEID,
        ),
    ] {
        ask(peer, path, &[op], status)?;
    }
    Ok(())
}

/// A step of [`shares`]: what an owner does with the open that it holds.
enum Step {
    /// Access and denial.
    Open(u32, u32),
    Downgrade(u32, u32),
    Read,
    Close,
    /// By a state ID whose sequence number is that many higher.
    ReadAt(i32),
    /// READ by these words.
    ReadBy([u32; 4]),
    /// READ of another file.
    ReadOther,
    Test(u32),
    Free,
}

fn shares(peer: &mut Peer<'_>) -> Result<()> {
    use Step::{Close, Downgrade, Free, Open, Read, ReadAt, ReadBy, ReadOther, Test};
    ready(peer, "owner")?;
    let mut states = std::collections::HashMap::new();
    for (number, (owner, step, status)) in [
        ("a", Open(READ, NONE), OK),
        ("a", Read, OK),
        ("a", ReadAt(0), OK),
        ("a", ReadAt(1), BAD_STATEID),
        ("a", ReadOther, BAD_STATEID),
        ("a", Test(OK), OK),
        ("a", Free, LOCKS_HELD),
        ("a", Open(READ, WRITE), OK),
        ("a", ReadAt(-1), OLD_STATEID),
        ("b", Open(READ, NONE), OK),
        ("b", Open(READ, READ), SHARE_DENIED),
        ("a", Downgrade(READ, NONE), OK),
        // A downgrade takes no bits back.
        ("a", Downgrade(READ, WRITE), INVAL),
        ("a", Downgrade(READ, READ), INVAL),
        ("a", Downgrade(WRITE, NONE), INVAL),
        ("a", Downgrade(NONE, NONE), INVAL),
        ("b", Read, OK),
        ("a", Close, OK),
        ("a", Read, BAD_STATEID),
        ("a", Close, BAD_STATEID),
        ("a", Test(BAD_STATEID), OK),
        ("b", Close, OK),
        ("c", Open(READ, READ), OK),
        ("d", Open(READ, NONE), SHARE_DENIED),
        ("d", ReadBy([0; 4]), LOCKED),
        ("d", ReadBy([u32::MAX; 4]), OK),
        ("c", Read, OK),
        ("c", Close, OK),
        ("d", ReadBy([0; 4]), OK),
        ("d", Open(READ, NONE), OK),
        ("d", Close, OK),
        ("e", Open(BOTH, BOTH), OK),
        ("e", Open(BOTH, BOTH), OK),
        ("e", Read, OK),
        ("f", Open(READ, NONE), SHARE_DENIED),
        ("e", Close, OK),
        ("g", Open(WRITE, NONE), OK),
        // Clients read the rest of a page that they write.
        ("g", Read, OK),
        ("g", Close, OK),
    ]
    .into_iter()
    .enumerate()
    {
        let state = states.get(owner).copied().unwrap_or([0; 4]);
        let [sequence, rest @ ..] = state;
        let other = |sequence| {
            [[sequence].as_slice(), &rest]
                .concat()
                .try_into()
                .unwrap_or([9; 4])
        };
        let opens = matches!(step, Open(..) | Downgrade(..));
        let (path, op) = match step {
            Open(access, deny) => ("dir/inner", open(owner, access, deny, None)),
            Downgrade(access, deny) => ("dir/inner", downgrade(state, access, deny)),
            Read => ("dir/inner", read_by(other(0))),
            ReadAt(more) => (
                "dir/inner",
                read_by(other(sequence.wrapping_add_signed(more))),
            ),
            ReadBy(state) => ("dir/inner", read_by(state)),
            ReadOther => ("big", read_by(state)),
            Close => ("dir/inner", close(state)),
            Test(_) => ("", on_state(op::TEST_STATEID, &[1], state, &[])),
            Free => ("", on_state(op::FREE_STATEID, &[], state, &[])),
        };
        let last = ask(peer, path, &[op], status).with_context(|| format!("step {number}"))?;
        if opens && status == OK {
            let next: [u32; 4] = last[..4].try_into()?;
            let is_next = next[1..] == rest && next[0] == sequence + 1;
            ensure!(is_next || next[0] == 1, "{next:?} after {state:?}");
            states.insert(owner, next);
        }
        match step {
            Test(expect) => ensure!(last == [1, expect], "step {number}: {last:?}"),
            Close if status == OK => ensure!(last == INVALID, "step {number}: {last:?}"),
            _ => {}
        }
    }
    Ok(())
}

fn current(peer: &mut Peer<'_>) -> Result<()> {
    ready(peer, "owner")?;
    let (opens, reads) = (open("a", READ, NONE, Some("hello")), read_by(CURRENT));
    let by_handle = open("a", READ, NONE, None);
    let (save, restore) = (vec![op::SAVEFH], vec![op::RESTOREFH]);
    let closes = close(CURRENT);
    for (path, ops, status) in [
        ("", vec![opens.clone(), reads.clone(), closes.clone()], OK),
        ("hello", vec![by_handle.clone(), closes.clone()], OK),
        ("hello", vec![reads.clone()], BAD_STATEID),
        (
            "",
            vec![opens.clone(), closes.clone(), closes.clone()],
            BAD_STATEID,
        ),
        (
            "hello",
            vec![by_handle.clone(), save.clone(), vec![ROOT], reads.clone()],
            BAD_STATEID,
        ),
        (
            "hello",
            vec![
                by_handle.clone(),
                save,
                vec![ROOT],
                restore,
                reads,
                closes.clone(),
            ],
            OK,
        ),
        (
            "hello",
            vec![by_handle, downgrade(CURRENT, READ, NONE), closes],
            OK,
        ),
    ] {
        ask(peer, path, &ops, status)?;
    }
    Ok(())
}

fn before_reclaim(peer: &mut Peer<'_>) -> Result<()> {
    peer.begun()?;
    let by_name = open("a", READ, NONE, Some("hello"));
    ask(peer, "", std::slice::from_ref(&by_name), GRACE)?;
    ask(peer, "", &[with(op::RECLAIM_COMPLETE, &[1])], OK)?;
    ask(peer, "", &[by_name], OK)?;
    ask(peer, "", &[with(op::RECLAIM_COMPLETE, &[0])], OK)?;
    ask(peer, "", &[with(op::RECLAIM_COMPLETE, &[1])], OK)?;
    ask(
        peer,
        "",
        &[with(op::RECLAIM_COMPLETE, &[0])],
        COMPLETE_ALREADY,
    )?;
    Ok(())
}

/// Opens outlive a session, and end with the client, by its restart, too.
fn opens_are_state(peer: &mut Peer<'_>) -> Result<()> {
    let client = ready(peer, "owner")?;
    let denies = open("a", BOTH, BOTH, None);
    let state = ask(peer, "big", std::slice::from_ref(&denies), OK)?;
    let state: [u32; 4] = state[..4].try_into()?;
    let session = peer.session;
    peer.expect(&[with(op::DESTROY_SESSION, &session)], OK)?;
    peer.expect(&[with(op::DESTROY_CLIENTID, &client)], CLIENTID_BUSY)?;
    peer.begin(client, 2, &FORE)?;
    ask(peer, "big", &[read_by(state)], OK)?;
    // Another client.
    let first = peer.session;
    ready(peer, "other")?;
    ask(peer, "big", &[read_by(state)], BAD_STATEID)?;
    ask(peer, "big", &[close(state)], BAD_STATEID)?;
    ask(peer, "big", std::slice::from_ref(&denies), SHARE_DENIED)?;
    let (second, sequence) = (peer.session, peer.sequence);
    // The first one restarts.
    let again = peer.client("owner", 2)?;
    peer.begin(again, 1, &FORE)?;
    (peer.session, peer.sequence) = (second, sequence);
    ask(peer, "big", &[denies], OK)?;
    (peer.session, peer.sequence) = (first, 1);
    // Its old session ended, when the new one was made.
    let gone = peer.next(&[vec![ROOT]])?;
    ensure!(gone.status == BADSESSION, "{gone:?}");
    Ok(())
}
