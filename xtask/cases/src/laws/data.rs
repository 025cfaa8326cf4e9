//! WRITE and COMMIT: contents, counts, offsets, and objects that are no files.

use super::*;
use crate::values::Set;
use nfs3_types::nfs3::{mknoddata3, stable_how};
use nfsstat3::*;
use stable_how::*;

pub(super) const CASES: &[Case] = &[
    ("WRITE stores its data at its offset", write),
    ("WRITE with wrong counts stores nothing", wrong_counts),
    ("WRITE and COMMIT refuse offsets beyond 63 bits", far),
    ("WRITE and COMMIT refuse other objects", other_objects),
    ("an empty WRITE has no effect", write_nothing),
];

fn write(peer: &mut Peer<'_>) -> Result<()> {
    let hello = peer.handle("hello")?;
    let mut expect = b"hello world".to_vec();
    let large: Vec<u8> = (0..200_000).map(|at| big_byte(at + 7)).collect();
    for how in [UNSTABLE, DATA_SYNC, FILE_SYNC] {
        for (offset, data) in [(0, &b"J"[..]), (9, b"lds"), (4093, b"far"), (11, &large)] {
            let call = Call::write(&hello, offset, how, data);
            let body = peer.change(&call, &[&hello], NFS3_OK)?;
            let stored = if how == UNSTABLE { UNSTABLE } else { FILE_SYNC };
            ensure!(
                body.words[..2] == [data.len() as u32, stored as u32],
                "{body:?}"
            );
            let (from, to) = (offset as usize, offset as usize + data.len());
            expect.resize(expect.len().max(to), 0);
            expect[from..to].copy_from_slice(data);
            ensure!(
                peer.content(&hello)? == expect,
                "{} bytes at {offset}",
                data.len()
            );
        }
        let commit = peer.change(&Call::commit(&hello, 0, 0), &[&hello], NFS3_OK)?;
        let again = Call::write(&hello, 0, how, b"J");
        let body = peer.change(&again, &[&hello], NFS3_OK)?;
        ensure!(
            body.words[2..] == commit.words,
            "another verifier: {body:?}"
        );
    }
    Ok(())
}

fn wrong_counts(peer: &mut Peer<'_>) -> Result<()> {
    let hello = peer.handle("hello")?;
    let how = FILE_SYNC as u32;
    for (count, how, data) in [
        (4, how, &b"12345"[..]),
        (6, how, b"12345"),
        (0, how, b"12345"),
        (5, 3, b"12345"),
        (5, 1 << 31, b"12345"),
        (5, u32::MAX, b"12345"),
        (u32::MAX, how, b"12345"),
        (1 << 20, how, b"12345"),
        (4, how, b""),
        (65_536, how, &[b'x'; 65_535]),
        (65_535, how, &[b'x'; 65_536]),
        (1 << 16, how, &[b'x'; 1 << 18]),
    ] {
        peer.expect_garbage(&Call::write_of(&hello, 0, count, how, data))?;
    }
    // The data is shorter than its length.
    for (claimed, actual) in [(8, 4), (5, 4), (9, 8), (1 << 20, 4), (20_000, 19_996)] {
        peer.expect_garbage(&of_length(&hello, claimed, &vec![b'x'; actual]))?;
    }
    // Surplus bytes after the data are ignored, as in any other call.
    for (claimed, actual) in [(4, 8), (3, 8), (4, 400), (0, 4)] {
        let data = vec![b'x'; actual];
        let call = of_length(&hello, claimed, &data);
        let was = peer.content(&hello)?;
        let mut expect = was.clone();
        expect[..claimed as usize].fill(b'x');
        peer.ask(&call)?;
        let now = peer.content(&hello)?;
        ensure!(
            now == expect || now == was,
            "{claimed} of {actual} bytes: {now:?}"
        );
    }
    for more in [1, 3, 4096] {
        let data = vec![b'x'; (1 << 20) + more];
        peer.change(
            &Call::write(&hello, 0, FILE_SYNC, &data),
            &[&hello],
            NFS3ERR_INVAL,
        )?;
    }
    Ok(())
}

/// A WRITE whose data has the length `claimed`, and whose record ends with `data`.
fn of_length<'a>(file: &[u8], claimed: u32, data: &'a [u8]) -> Call<'a> {
    let mut call = Call::write_of(file, 0, claimed, FILE_SYNC as u32, b"");
    call.arguments.truncate(call.arguments.len() - 4);
    let call = call.append(&claimed);
    Call { data, ..call }
}

fn far(peer: &mut Peer<'_>) -> Result<()> {
    const LAST: u64 = i64::MAX as u64;
    let hello = peer.handle("hello")?;
    for (offset, len) in [
        // The last writable byte is at 2^63 - 2, so that every size fits a signed 64-bit number.
        (LAST, 1),
        (LAST - 3, 4),
        (LAST + 1, 0),
        (LAST + 1, 1),
        (u64::MAX, 0),
        (u64::MAX, 1),
        (u64::MAX - 3, 4),
        (LAST - 65_535, 1 << 16),
        (LAST - 65_534, 1 << 16),
        (u64::MAX - 10, 1 << 20),
    ] {
        for how in [UNSTABLE, FILE_SYNC] {
            let data = vec![b'x'; len];
            peer.change(
                &Call::write(&hello, offset, how, &data),
                &[&hello],
                NFS3ERR_FBIG,
            )?;
        }
    }
    // The range in COMMIT is a hint: the server syncs the whole file.
    for (offset, count) in [(LAST, u32::MAX), (u64::MAX, 1), (5, 0), (0, u32::MAX)] {
        let status = peer
            .ask(&Call::commit(&hello, offset, count))?
            .map(|body| body.status());
        let status = status.context("GARBAGE_ARGS")??;
        let is_valid = matches!(status, NFS3_OK | NFS3ERR_INVAL | NFS3ERR_FBIG);
        ensure!(is_valid, "COMMIT at {offset:#x}: {status:?}");
    }
    ensure!(peer.content(&hello)? == b"hello world");
    Ok(())
}

fn other_objects(peer: &mut Peer<'_>) -> Result<()> {
    let top = peer.handle("")?;
    let set = Set::mode(0o666);
    let mut made = vec![("socket", mknoddata3::NF3SOCK(set.into()))];
    if peer.is_privileged {
        // /dev/full, and a block device without a driver: the server must not open either.
        let device = |major, minor| crate::values::device(set, major, minor);
        made.push(("full", mknoddata3::NF3CHR(device(1, 7))));
        made.push(("disk", mknoddata3::NF3BLK(device(240, 0))));
    }
    let mut names = vec!["", "dir", "link", "fifo"];
    for (name, what) in made {
        peer.expect(&Call::mknod(&top, name.as_bytes(), what), NFS3_OK)?;
        names.push(name);
    }
    let long = vec![b'x'; 100_000];
    for name in names {
        let is_directory = matches!(name, "" | "dir");
        let status = if is_directory {
            NFS3ERR_ISDIR
        } else {
            NFS3ERR_INVAL
        };
        let object = peer.handle(name)?;
        for data in [&b"data"[..], b"", &long] {
            for how in [UNSTABLE, FILE_SYNC] {
                peer.change(&Call::write(&object, 0, how, data), &[&object], status)?;
            }
        }
        peer.change(&Call::commit(&object, 0, 0), &[&object], status)?;
        let body = peer.expect(&Call::read(&object, 0, 10), status)?;
        ensure!(body.attributes[0].is_some(), "READ of {name}");
    }
    Ok(())
}

fn write_nothing(peer: &mut Peer<'_>) -> Result<()> {
    let hello = peer.handle("hello")?;
    for offset in [0, 3, 11, 12, 1 << 40, i64::MAX as u64] {
        for how in [UNSTABLE, DATA_SYNC, FILE_SYNC] {
            peer.server.tick();
            let call = Call::write(&hello, offset, how, b"");
            let body = peer.expect_no_change(&call, &[&hello])?;
            ensure!(body.words[0] == 0, "{body:?}");
        }
    }
    Ok(())
}
