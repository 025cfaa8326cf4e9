//! Retransmissions: a call that is not idempotent is carried out once, and the reply is the same, byte for byte.

use super::*;
use crate::values::{How, Set};
use nfs3_types::nfs3::nfstime3;
use nfs3_types::nfs3::stable_how::FILE_SYNC;
use nfsstat3::*;

pub(super) const CASES: &[Case] = &[
    ("a retransmitted change is answered from the cache", changes),
    ("an error is repeated, too", error),
    ("another call with the same xid is carried out", same_xid),
    (
        "a retransmitted WRITE or READ is carried out again",
        idempotent,
    ),
];

/// The status in the reply to an NFS call of any procedure.
fn status(reply: &[u8]) -> Result<nfsstat3> {
    match outcome(reply)? {
        (_, Outcome::Success(results)) => crate::replies::status_of(results),
        (_, other) => bail!("answered {other:?}"),
    }
}

fn changes(peer: &mut Peer<'_>) -> Result<()> {
    let (top, hello) = (peer.handle("")?, peer.handle("hello")?);
    let (dir, set) = (&top[..], Set::mode(0o600));
    let nfstime3 { seconds, nseconds } = peer.attr(&hello)?.ctime;
    // SETATTR changes the ctime, and the guard of a second SETATTR would fail.
    peer.server.tick();
    let mut answered = Vec::new();
    for call in [
        Call::set_attr(&hello, set, Some((seconds, nseconds))),
        Call::create(dir, b"created", How::Guarded(set)),
        Call::mkdir(dir, b"made", set),
        Call::symlink(dir, b"new link", Set::default(), b"target"),
        Call::fifo(dir, b"new fifo", set),
        Call::link(&hello, dir, b"second"),
        Call::rename(dir, b"hello", dir, b"moved"),
        Call::remove(dir, b"moved"),
        Call::rmdir(dir, b"empty"),
    ] {
        let about = || format!("{:?}", call.procedure);
        let message = peer.message(&call);
        let first = peer.server.exchange(&message)?;
        ensure!(
            status(&first)? == NFS3_OK,
            "{}: {:?}",
            about(),
            status(&first)?
        );
        peer.server.save()?;
        for _ in 0..3 {
            ensure!(
                peer.server.exchange(&message)? == first,
                "{}: another reply",
                about()
            );
            peer.server.reconnect()?;
        }
        ensure!(
            peer.server.is_as_saved()?,
            "{} was carried out twice",
            about()
        );
        answered.push((message, first));
    }
    // The replies are still cached after other calls were answered.
    for (message, first) in answered {
        ensure!(
            peer.server.exchange(&message)? == first,
            "late: {message:02x?}"
        );
    }
    ensure!(
        peer.server.is_as_saved()?,
        "a late retransmission was carried out"
    );
    Ok(())
}

fn error(peer: &mut Peer<'_>) -> Result<()> {
    let top = peer.handle("")?;
    let message = peer.message(&Call::mkdir(&top, b"hello", Set::mode(0o755)));
    let first = peer.server.exchange(&message)?;
    ensure!(status(&first)? == NFS3ERR_EXIST);
    peer.expect(&Call::remove(&top, b"hello"), NFS3_OK)?;
    ensure!(peer.server.exchange(&message)? == first, "another reply");
    peer.expect(&Call::lookup(&top, b"hello"), NFS3ERR_NOENT)?;
    Ok(())
}

fn same_xid(peer: &mut Peer<'_>) -> Result<()> {
    let top = peer.handle("")?;
    let [one, two] = [b'1', b'2'].map(|last| [&[b'n'; 254][..], &[last]].concat());
    let set = Set::mode(0o755);
    let xid = peer.xid + 1;
    for (call, expect) in [
        // Arguments that differ as a whole, the procedure, and the last byte.
        (Call::remove(&top, b"hello"), NFS3_OK),
        (Call::remove(&top, b"fifo"), NFS3_OK),
        (Call::rmdir(&top, b"fifo"), NFS3ERR_NOENT),
        (Call::mkdir(&top, &one, set), NFS3_OK),
        (Call::mkdir(&top, &two, set), NFS3_OK),
    ] {
        let reply = peer.server.exchange(&call.message(xid, &peer.auth))?;
        ensure!(
            status(&reply)? == expect,
            "{:?}: {:?}",
            call.procedure,
            status(&reply)?
        );
    }
    peer.xid = xid;
    for name in [&b"hello"[..], b"fifo"] {
        peer.expect(&Call::lookup(&top, name), NFS3ERR_NOENT)?;
    }
    for name in [&one, &two] {
        peer.expect(&Call::lookup(&top, name), NFS3_OK)?;
    }
    Ok(())
}

fn idempotent(peer: &mut Peer<'_>) -> Result<()> {
    let hello = peer.handle("hello")?;
    let write = Call::write(&hello, 0, FILE_SYNC, b"J");
    let messages = [write, Call::get_attr(&hello), Call::read(&hello, 0, 100)];
    let messages = messages.map(|call| peer.message(&call));
    let mut replies = Vec::new();
    for message in &messages {
        replies.push(peer.server.exchange(message)?);
    }
    peer.server.tick();
    peer.expect(&Call::write(&hello, 0, FILE_SYNC, b"Cello worlds"), NFS3_OK)?;
    for (message, reply) in messages[1..].iter().zip(&replies[1..]) {
        ensure!(
            peer.server.exchange(message)? != *reply,
            "answered from the cache"
        );
    }
    peer.server.exchange(&messages[0])?;
    ensure!(peer.content(&hello)? == b"Jello worlds");
    Ok(())
}
