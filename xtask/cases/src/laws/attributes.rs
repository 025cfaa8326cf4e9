//! SETATTR: each attribute, the guard, and errors.

use super::*;
use crate::values::{Set, SetTime};
use nfs3_types::nfs3::nfstime3;
use nfsstat3::*;

pub(super) const CASES: &[Case] = &[
    ("SETATTR sets what is given and nothing else", set_each),
    ("SETATTR of nothing has no effect", set_nothing),
    ("a size truncates the file or adds zeros", set_size),
    ("SETATTR requires a matching guard", guard),
    ("SETATTR refuses invalid attributes", refuse),
];

/// SETATTR with these times.
fn times(atime: SetTime, mtime: SetTime) -> Set {
    Set {
        atime,
        mtime,
        ..Set::default()
    }
}

fn set_each(peer: &mut Peer<'_>) -> Result<()> {
    let owner = |uid, gid| Set {
        uid,
        gid,
        ..Set::default()
    };
    let (keep, client) = (SetTime::Keep, SetTime::Client);
    let owners = [
        owner(Some(3), None),
        owner(None, Some(4)),
        owner(Some(5), Some(6)),
    ];
    let common = [
        times(client(5, 6), keep),
        times(keep, client(u32::MAX - 1, 999_999_999)),
        times(client(1_700_000_001, 123_456_789), client(1_600_000_000, 1)),
        times(client(0, 0), client(1, 1)),
        times(client(3_000_000_000, 1), client(7, 999_999_998)),
    ];
    // The kernel clears setuid and setgid bits when the owner changes, so modes are set later. Bits above 07777 are ignored.
    let modes = [0, 0o777, 0o7777, 0o4755, 0o2755, 0o1777, u32::MAX, 0o640].map(Set::mode);
    let together = Set {
        mode: Some(0o4711),
        size: Some(1),
        ..times(client(9, 10), client(77, 7))
    };
    let sized = Set {
        size: Some(4),
        ..times(keep, client(78, 8))
    };
    for path in ["hello", "empty", "link"] {
        let object = peer.handle(path)?;
        let owners = owners.iter().filter(|_| peer.is_privileged);
        let modes = modes.iter().filter(|_| path != "link");
        let files = [Set::size(4), Set::size(7), sized, together];
        let files = files.iter().filter(|_| path == "hello");
        let all = owners.chain(&common).chain(modes).chain(files);
        for set in all.copied().collect::<Vec<_>>() {
            set_one(peer, &object, set).with_context(|| format!("{path} {set:?}"))?;
        }
        for is_set in [[true, false], [false, true], [true, true]] {
            set_to_now(peer, &object, is_set).with_context(|| format!("{path} {is_set:?}"))?;
        }
    }
    Ok(())
}

/// SETATTR changes the given attributes and ctime, and no other.
fn set_one(peer: &mut Peer<'_>, object: &[u8], set: Set) -> Result<()> {
    let was = peer.attr(object)?;
    peer.server.tick();
    let call = Call::set_attr(object, set, None);
    let now = peer.change(&call, &[object], NFS3_OK)?.attr(0)?;
    let given = |set, was| match set {
        SetTime::Client(seconds, nanoseconds) => time((seconds, nanoseconds)),
        _ => was,
    };
    let mut expect = fattr3 {
        mode: set.mode.map_or(was.mode, |mode| mode & 0o7777),
        uid: set.uid.unwrap_or(was.uid),
        gid: set.gid.unwrap_or(was.gid),
        size: set.size.unwrap_or(was.size),
        used: now.used,
        atime: given(set.atime, was.atime),
        mtime: given(set.mtime, was.mtime),
        ctime: now.ctime,
        ..was.clone()
    };
    if set.size.is_some() && set.mtime == SetTime::Keep {
        ensure!(now.mtime != was.mtime, "{now:?}");
        expect.mtime = now.mtime;
    }
    ensure!(pack(&now) == pack(&expect), "{now:?} after {was:?}");
    ensure!(pack(&now.ctime) > pack(&was.ctime), "the old ctime");
    Ok(())
}

/// SETATTR sets atime, mtime or both to the server's time.
fn set_to_now(peer: &mut Peer<'_>, object: &[u8], is_set: [bool; 2]) -> Result<()> {
    let was = peer.attr(object)?;
    let [atime, mtime] = is_set.map(|is_set| match is_set {
        true => SetTime::Server,
        false => SetTime::Keep,
    });
    peer.server.tick();
    let call = Call::set_attr(object, times(atime, mtime), None);
    let attr = peer.change(&call, &[object], NFS3_OK)?.attr(0)?;
    // The file system's clock sets all three times, but may read ctime later.
    for (time, is_set) in [attr.atime, attr.mtime].into_iter().zip(is_set) {
        let is_now = time.seconds.abs_diff(attr.ctime.seconds) < 2;
        ensure!(!is_set || is_now, "{attr:?}");
    }
    ensure!(is_set[1] || attr.mtime == was.mtime, "{attr:?}");
    Ok(())
}

fn set_nothing(peer: &mut Peer<'_>) -> Result<()> {
    let hello = peer.handle("hello")?;
    let call = Call::set_attr(&hello, Set::default(), None);
    peer.expect_no_change(&call, &[&hello])?;
    // Linux takes a UID or GID of all ones as "no change".
    let ones = Set {
        uid: Some(u32::MAX),
        gid: Some(u32::MAX),
        ..Set::default()
    };
    peer.expect_no_change(&Call::set_attr(&hello, ones, None), &[&hello])?;
    Ok(())
}

fn set_size(peer: &mut Peer<'_>) -> Result<()> {
    let hello = peer.handle("hello")?;
    for (size, content) in [
        (4, &b"hell"[..]),
        (4, b"hell"),
        (6, b"hell\0\0"),
        (0, b""),
        (3, b"\0\0\0"),
    ] {
        let call = Call::set_attr(&hello, Set::size(size), None);
        let attr = peer.change(&call, &[&hello], NFS3_OK)?.attr(0)?;
        ensure!(
            attr.size == size && peer.content(&hello)? == content,
            "{size}: {attr:?}"
        );
    }
    let call = Call::set_attr(&hello, Set::size(5 << 30), None);
    ensure!(peer.change(&call, &[&hello], NFS3_OK)?.attr(0)?.size == 5 << 30);
    Ok(())
}

fn guard(peer: &mut Peer<'_>) -> Result<()> {
    let hello = peer.handle("hello")?;
    let nfstime3 { seconds, nseconds } = peer.attr(&hello)?.ctime;
    let call = |guard| Call::set_attr(&hello, Set::size(4), Some(guard));
    for wrong in [
        (0, 0),
        (seconds, nseconds ^ 1),
        (seconds - 1, nseconds),
        (seconds + 1, nseconds),
    ] {
        peer.change(&call(wrong), &[&hello], NFS3ERR_NOT_SYNC)?;
    }
    peer.server.tick();
    peer.change(&call((seconds, nseconds)), &[&hello], NFS3_OK)?;
    ensure!(peer.content(&hello)? == b"hell");
    peer.change(&call((seconds, nseconds)), &[&hello], NFS3ERR_NOT_SYNC)?;
    Ok(())
}

fn refuse(peer: &mut Peer<'_>) -> Result<()> {
    for (path, size, status) in [
        ("dir", 0, NFS3ERR_ISDIR),
        ("fifo", 0, NFS3ERR_INVAL),
        ("hello", 1 << 63, NFS3ERR_FBIG),
        ("hello", u64::MAX, NFS3ERR_FBIG),
    ] {
        let object = peer.handle(path)?;
        peer.change(
            &Call::set_attr(&object, Set::size(size), None),
            &[&object],
            status,
        )?;
    }
    let hello = peer.handle("hello")?;
    // Two of these values are UTIME_NOW and UTIME_OMIT for utimensat(2).
    for nanoseconds in [1_000_000_000, 0x3fff_ffff, 0x3fff_fffe, u32::MAX] {
        let (keep, wrong) = (SetTime::Keep, SetTime::Client(5, nanoseconds));
        for (atime, mtime) in [(wrong, keep), (keep, wrong)] {
            let set = Set {
                atime,
                mtime,
                ..Set::default()
            };
            peer.change(&Call::set_attr(&hello, set, None), &[&hello], NFS3ERR_INVAL)?;
        }
    }
    Ok(())
}
