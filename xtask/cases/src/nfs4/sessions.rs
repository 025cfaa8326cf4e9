//! Clients, sessions, slots, and the order of operations.

use super::status::*;
use super::*;

const UPDATES: u32 = 0x4000_0000;
const CONFIRMED: u32 = 0x8000_0000;
const ROOT: u32 = op::PUTROOTFH;

pub(super) const CASES: &[Case] = &[
    ("EID1, EID2, EID4, EID6a to EID6d, EID7: flags", flags),
    (
        "EID5a to EID5h, EID6e to EID6h: other verifiers and users",
        owners,
    ),
    (
        "CSESS3, CSESS5 to CSESS8, CSESS24: sequence numbers",
        create_sequence,
    ),
    (
        "CSESS4: an error of a new client is the same again",
        create_error_again,
    ),
    (
        "CSESS5a, CSESS5b: a session made inside of another, again",
        create_inside,
    ),
    (
        "CSESS9, CSESS10: another user before and after the first session",
        create_user,
    ),
    (
        "CSESS15 to CSESS19: flags, callbacks, RDMA",
        create_arguments,
    ),
    ("CSESS22, CSESS25 to CSESS28: limits", create_limits),
    (
        "a CREATE_SESSION that fails ends no earlier client",
        create_failed,
    ),
    (
        "EID8, CSESS23, DESCID7, DSESS9005: operations that stand alone",
        alone,
    ),
    ("SEQ2, SEQ5, SEQ8, SEQ11, SEQ13: SEQUENCE", sequence),
    (
        "SEQ6, SEQ7: large requests leave the slot as it was",
        large_requests,
    ),
    ("SEQ9a to SEQ9f, SEQ10b: the same request again", again),
    ("COMP1 to COMP5: COMPOUND", compounds),
    ("DSESS1, DSESS9004: DESTROY_SESSION", destroy_session),
    (
        "DESCID1 to DESCID6, DESCID8: DESTROY_CLIENTID",
        destroy_client,
    ),
    ("RECC1, RECC4: RECLAIM_COMPLETE", reclaim),
    ("a connection is bound to the fore channel", bind),
];

/// Fails unless the results have this status.
fn check(results: &Results, status: u32) -> Result<()> {
    ensure!(results.status == status, "{results:?} instead of {status}");
    Ok(())
}

fn flags(peer: &mut Peer<'_>) -> Result<()> {
    for (flags, status) in [
        (0, OK),
        (0x0001_0103, OK),
        (1 << 20, INVAL),
        (CONFIRMED, INVAL),
        (UPDATES, NOENT),
    ] {
        check(&peer.exchange_id("flags", 1, flags)?, status)?;
    }
    for user in [1000, 1001] {
        peer.user = user;
        for verifier in [1, 2] {
            check(&peer.exchange_id("flags", verifier, UPDATES)?, NOENT)?;
        }
    }
    let made = peer.exchange_id("other", 1, 0)?;
    ensure!(made.last[3] == 0x0001_0000, "{made:?}");
    Ok(())
}

fn owners(peer: &mut Peer<'_>) -> Result<()> {
    // Before the first session, each one replaces the record.
    let first = peer.client("owner", 1)?;
    let again = peer.client("owner", 1)?;
    ensure!(first != again, "an unconfirmed record was returned again");
    peer.expect(&[create_session(first, 1, &FORE)], STALE_CLIENTID)?;
    peer.begin(again, 1, &FORE)?;
    let same = peer.exchange_id("owner", 1, 0)?;
    ensure!(
        same.last[..2] == again && same.last[3] & CONFIRMED != 0,
        "{same:?}"
    );
    check(&peer.exchange_id("owner", 1, UPDATES)?, OK)?;
    check(&peer.exchange_id("owner", 2, UPDATES)?, NOT_SAME)?;
    peer.user = 1001;
    for (verifier, flags, status) in [
        (1, UPDATES, PERM),
        (2, UPDATES, PERM),
        (1, 0, CLID_INUSE),
        (2, 0, CLID_INUSE),
    ] {
        check(&peer.exchange_id("owner", verifier, flags)?, status)?;
    }
    peer.user = 1000;
    // The client has restarted: its session lives until the new one begins.
    let next = peer.client("owner", 2)?;
    check(&peer.next(&[])?, OK)?;
    let old = peer.session;
    peer.begin(next, 1, &FORE)?;
    let new = core::mem::replace(&mut peer.session, old);
    check(&peer.next(&[])?, BADSESSION)?;
    peer.session = new;
    check(&peer.again(0, &[])?, OK)
}

fn create_sequence(peer: &mut Peer<'_>) -> Result<()> {
    peer.expect(&[create_session([0, 0], 1, &FORE)], STALE_CLIENTID)?;
    let client = peer.client("owner", 1)?;
    for sequence in [0, 2, u32::MAX] {
        peer.expect(&[create_session(client, sequence, &FORE)], SEQ_MISORDERED)?;
    }
    let first = peer.begin(client, 1, &FORE)?;
    ensure!(
        first[4..6] == [1, 0],
        "sequence number and flags: {first:?}"
    );
    let again = peer.begin(client, 1, &FORE)?;
    ensure!(first == again, "{first:?}, again {again:?}");
    for sequence in [0, 3] {
        peer.expect(&[create_session(client, sequence, &FORE)], SEQ_MISORDERED)?;
    }
    let second = peer.begin(client, 2, &FORE)?;
    ensure!(first[..4] != second[..4], "the same session");
    Ok(())
}

fn create_error_again(peer: &mut Peer<'_>) -> Result<()> {
    let client = peer.client("owner", 1)?;
    for _ in 0..2 {
        peer.expect(&[create_session(client, 0, &FORE)], SEQ_MISORDERED)?;
        peer.user = 1001;
        peer.expect(&[create_session(client, 1, &FORE)], CLID_INUSE)?;
        peer.user = 1000;
    }
    peer.begin(client, 1, &FORE).map(drop)
}

fn create_inside(peer: &mut Peer<'_>) -> Result<()> {
    let client = peer.begun()?;
    let alone = peer.expect(&[create_session(client, 2, &FORE)], OK)?;
    let inside = peer.next(&[create_session(client, 2, &FORE)])?;
    ensure!(inside.last == alone, "{inside:?}, alone {alone:?}");
    let inside = peer.next(&[create_session(client, 3, &FORE)])?;
    let alone = peer.expect(&[create_session(client, 3, &FORE)], OK)?;
    ensure!(inside.last == alone, "{inside:?}, alone {alone:?}");
    Ok(())
}

fn create_user(peer: &mut Peer<'_>) -> Result<()> {
    let client = peer.client("owner", 1)?;
    peer.user = 1001;
    peer.expect(&[create_session(client, 1, &FORE)], CLID_INUSE)?;
    peer.user = 1000;
    peer.begin(client, 1, &FORE)?;
    peer.user = 1001;
    peer.begin(client, 2, &FORE).map(drop)
}

fn create_arguments(peer: &mut Peer<'_>) -> Result<()> {
    let client = peer.client("owner", 1)?;
    let with_end = |sequence: u32, flags: u32, rdma: &[u32], callbacks: &[u32]| {
        let head = [op::CREATE_SESSION, client[0], client[1], sequence, flags];
        [&head[..], &FORE, rdma, &FORE, &[0, 1], callbacks].concat()
    };
    peer.expect(&[with_end(1, 15, &[0], &[0])], INVAL)?;
    let sys = [&[1, 1, 5][..], &opaque(b"box"), &[0, 0, 2, 4, 24]].concat();
    let gss = [&[1, 6, 1][..], &opaque(b"a"), &opaque(b"b")].concat();
    let none = [1, 0];
    for (sequence, callbacks) in (1..).zip([&sys[..], &gss, &none, &[0]]) {
        peer.expect(&[with_end(sequence, 0, &[0], callbacks)], OK)?;
    }
    for callbacks in [&[1, 7][..], &[2, 0], &sys[..4]] {
        peer.expect(&[with_end(5, 0, &[0], callbacks)], BADXDR)?;
    }
    peer.expect(&[with_end(5, 0, &[1, 9], &[0])], OK)?;
    peer.expect(&[with_end(6, 0, &[2, 9, 9], &[0])], BADXDR)
        .map(drop)
}

fn create_limits(peer: &mut Peer<'_>) -> Result<()> {
    let client = peer.client("owner", 1)?;
    for (fore, status) in [
        ([0, 20, 8192, 8192, 8, 1], TOOSMALL),
        ([0, 8192, 0, 8192, 8, 1], TOOSMALL),
        ([0, 8192, 8192, 8192, 0, 1], TOOSMALL),
        ([0, 8192, 8192, 8192, 8, 0], INVAL),
    ] {
        peer.expect(&[create_session(client, 1, &fore)], status)?;
    }
    let granted = peer.begin(client, 1, &[0, u32::MAX, u32::MAX, u32::MAX, 128, 2049])?;
    let limits = &granted[6..12];
    ensure!(limits.iter().all(|limit| *limit < 2 << 20), "{limits:?}");
    ensure!((1..=128).contains(&limits[5]), "{limits:?}");
    // The reply that is kept, and that which is not, may be no longer than agreed.
    peer.begin(client, 2, &[0, 8192, 8192, 10, 8, 8])?;
    peer.sequence = 1;
    check(&peer.again(1, &[])?, REP_TOO_BIG_TO_CACHE)?;
    peer.begin(client, 3, &[0, 8192, 400, 400, 8, 8])?;
    let long = vec![getattr(&[0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 19, 75]); 5];
    check(
        &peer.next(&[&[vec![ROOT]], &long[..]].concat())?,
        REP_TOO_BIG,
    )
}

/// A client that restarted keeps its earlier sessions until it has a new one.
fn create_failed(peer: &mut Peer<'_>) -> Result<()> {
    peer.begun()?;
    let again = peer.client("owner", 2)?;
    for (fore, status) in [
        ([0, 20, 8192, 8192, 8, 1], TOOSMALL),
        ([0, 8192, 8192, 8192, 8, 0], INVAL),
    ] {
        peer.expect(&[create_session(again, 1, &fore)], status)?;
        check(&peer.next(&[vec![ROOT]])?, OK)?;
    }
    let (first, sequence) = (peer.session, peer.sequence);
    peer.begin(again, 1, &FORE)?;
    (peer.session, peer.sequence) = (first, sequence);
    check(&peer.next(&[vec![ROOT]])?, BADSESSION)
}

fn alone(peer: &mut Peer<'_>) -> Result<()> {
    let client = peer.begun()?;
    let destroy = with(op::DESTROY_SESSION, &peer.session);
    for operation in [
        exchange_id("alone", 1, 0),
        create_session(client, 2, &FORE),
        destroy,
        with(op::DESTROY_CLIENTID, &client),
        with(
            op::BIND_CONN_TO_SESSION,
            &[&peer.session[..], &[1, 0]].concat(),
        ),
    ] {
        peer.expect(&[operation, vec![ROOT]], NOT_ONLY_OP)?;
    }
    check(&peer.next(&[vec![ROOT]])?, OK)
}

fn sequence(peer: &mut Peer<'_>) -> Result<()> {
    peer.begun()?;
    peer.expect(&[vec![ROOT]], OP_NOT_IN_SESSION)?;
    let second = peer.sequence_op(2, 0, 0);
    check(&peer.next(&[second])?, SEQUENCE_POS)?;
    let mut other = peer.sequence_op(2, 0, 0);
    other[3] ^= 1;
    peer.expect(&[other], BADSESSION)?;
    for (sequence, slot, highest, status) in [
        (2, 99, 99, BADSLOT),
        (2, 1, 0, BAD_HIGH_SLOT),
        (3, 0, 0, SEQ_MISORDERED),
        (0, 0, 0, SEQ_MISORDERED),
        (0, 1, 1, SEQ_MISORDERED),
        (2, 1, 1, SEQ_MISORDERED),
        (1, 1, 1, OK),
        (2, 0, 0, OK),
    ] {
        let mut operation = peer.sequence_op(sequence, slot, 0);
        operation[7] = highest;
        peer.expect(&[operation], status)?;
    }
    let third = peer.sequence_op(3, 0, 0);
    let results = peer.expect(&[third], OK)?;
    ensure!(
        results[..6] == [&peer.session[..], &[3, 0]].concat(),
        "{results:?}"
    );
    Ok(())
}

fn large_requests(peer: &mut Peer<'_>) -> Result<()> {
    let client = peer.client("owner", 1)?;
    peer.begin(client, 1, &[0, 512, 8192, 512, 8, 8])?;
    for (ops, status) in [
        (vec![vec![ROOT]; 8], TOO_MANY_OPS),
        (vec![vec![ROOT], lookup(&"x".repeat(500))], REQ_TOO_BIG),
    ] {
        peer.sequence = 1;
        check(&peer.again(1, &ops)?, status)?;
    }
    check(&peer.again(1, &[vec![ROOT]])?, OK)
}

fn again(peer: &mut Peer<'_>) -> Result<()> {
    peer.begun()?;
    let reads = [vec![ROOT], getattr(&[1, 20]), vec![op::GETFH]];
    let fails = [lookup("x")];
    let fails_late = [vec![ROOT], lookup("no such name")];
    let illegal = [vec![op::ILLEGAL]];
    let unsupported = [vec![ROOT], vec![op::OPENATTR]];
    for (keep, ops, repeated) in [
        (1, &reads[..], OK),
        (0, &reads, RETRY_UNCACHED_REP),
        (0, &fails, NOFILEHANDLE),
        (1, &fails, NOFILEHANDLE),
        (0, &fails_late, RETRY_UNCACHED_REP),
        (1, &fails_late, NOENT),
        (1, &illegal, OP_ILLEGAL),
        (0, &illegal, OP_ILLEGAL),
        (1, &unsupported, NOTSUPP),
        (0, &[], OK),
        (1, &[], OK),
    ] {
        let first = peer.next_kept(keep, ops)?;
        for _ in 0..2 {
            let again = peer.again(keep, ops)?;
            check(&again, repeated)?;
            if repeated == RETRY_UNCACHED_REP {
                ensure!(
                    again.done == [(op::SEQUENCE, 0), (ROOT, repeated)],
                    "{again:?}"
                );
            } else {
                ensure!(again == first, "{again:?}, first {first:?}");
            }
        }
        check(&peer.again(keep, &[vec![op::SAVEFH]])?, SEQ_FALSE_RETRY)?;
    }
    Ok(())
}

fn compounds(peer: &mut Peer<'_>) -> Result<()> {
    for (tag, status) in [
        (&b""[..], OK),
        ("Müller".as_bytes(), OK),
        (b"\xc0\xc1", INVAL),
        (b"\xf5\xf6\xff", INVAL),
    ] {
        let results = peer.ask_with(tag, 1, &[])?;
        check(&results, status)?;
        ensure!(results.done.is_empty(), "{results:?}");
    }
    for minor in [0, 2, 50] {
        let results = peer.ask_minor(minor, &[vec![ROOT]])?;
        check(&results, MINOR_VERS_MISMATCH)?;
        ensure!(results.done.is_empty(), "{results:?}");
    }
    peer.begun()?;
    for number in [0, 2, 59, 1000, u32::MAX] {
        let results = peer.next(&[vec![number], vec![ROOT]])?;
        check(&results, OP_ILLEGAL)?;
        ensure!(results.done[1].0 == op::ILLEGAL, "{results:?}");
        peer.expect(&[vec![number]], OP_ILLEGAL)?;
    }
    Ok(())
}

fn destroy_session(peer: &mut Peer<'_>) -> Result<()> {
    let client = peer.begun()?;
    let own = with(op::DESTROY_SESSION, &peer.session);
    check(&peer.next(&[own.clone(), vec![ROOT]])?, NOT_ONLY_OP)?;
    check(&peer.next(&[vec![ROOT], own.clone()])?, OK)?;
    check(&peer.next(&[])?, BADSESSION)?;
    peer.expect(&[own], BADSESSION)?;
    let other = peer.begin(client, 2, &FORE)?;
    peer.begin(client, 3, &FORE)?;
    let other = with(op::DESTROY_SESSION, &other[..4]);
    check(&peer.next(&[other.clone(), vec![ROOT]])?, OK)?;
    check(&peer.next(&[other])?, BADSESSION)
}

fn destroy_client(peer: &mut Peer<'_>) -> Result<()> {
    peer.expect(&[vec![op::DESTROY_CLIENTID, 0, 0]], STALE_CLIENTID)?;
    let unconfirmed = peer.client("unconfirmed", 1)?;
    peer.expect(&[with(op::DESTROY_CLIENTID, &unconfirmed)], OK)?;
    let client = peer.begun()?;
    let destroy = with(op::DESTROY_CLIENTID, &client);
    check(
        &peer.next(&[vec![op::DESTROY_CLIENTID, 0, 0]])?,
        STALE_CLIENTID,
    )?;
    check(&peer.next(core::slice::from_ref(&destroy))?, CLIENTID_BUSY)?;
    peer.expect(core::slice::from_ref(&destroy), CLIENTID_BUSY)?;
    let session = with(op::DESTROY_SESSION, &peer.session);
    peer.expect(&[session], OK)?;
    peer.expect(core::slice::from_ref(&destroy), OK)?;
    peer.expect(&[destroy], STALE_CLIENTID).map(drop)
}

fn reclaim(peer: &mut Peer<'_>) -> Result<()> {
    peer.begun()?;
    let of_one = with(op::RECLAIM_COMPLETE, &[1]);
    let of_all = with(op::RECLAIM_COMPLETE, &[0]);
    for (ops, status) in [
        (vec![of_one.clone()], NOFILEHANDLE),
        (peer.way("", &[of_one]), OK),
        (vec![of_all.clone()], OK),
        (vec![of_all], COMPLETE_ALREADY),
    ] {
        check(&peer.next(&ops)?, status)?;
    }
    Ok(())
}

fn bind(peer: &mut Peer<'_>) -> Result<()> {
    peer.begun()?;
    for (direction, status) in [(1, OK), (3, OK), (7, OK), (2, OK), (4, INVAL)] {
        let rest = [&peer.session[..], &[direction, 0]].concat();
        let bound = peer.expect(&[with(op::BIND_CONN_TO_SESSION, &rest)], status)?;
        ensure!(status != OK || bound[4..] == [1, 0], "{bound:?}");
    }
    Ok(())
}
