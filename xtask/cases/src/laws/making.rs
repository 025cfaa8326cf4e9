//! CREATE, MKDIR, SYMLINK, MKNOD: objects, attributes, and errors.

use super::*;
use crate::values::{How, Set, SetTime, device, entry};
use nfs3_types::nfs3::mknoddata3::*;
use nfs3_types::nfs3::sattr3;
use nfsstat3::*;

pub(super) const CASES: &[Case] = &[
    ("a created object has the requested attributes", attributes),
    ("every creating call refuses invalid names", names),
    ("any other bytes are a name", any_names),
    ("CREATE keeps an existing object", create_again),
    ("MKNOD refuses other types", mknod),
    ("SYMLINK accepts any target of 1 to 4095 bytes", symlink),
];

/// The target of symbolic links.
const TARGET: &[u8] = b"/any\xff where";

/// Calls that create `name` with the attributes `set`, one for each type of object that the server can create. Each is paired with
/// that type.
fn makers<'a>(peer: &Peer<'_>, dir: &[u8], name: &'a [u8], set: Set) -> Vec<(u32, Call<'a>)> {
    let mut makers = vec![
        (1, Call::create(dir, name, How::Guarded(set))),
        (1, Call::create(dir, name, How::Unchecked(set))),
        (2, Call::mkdir(dir, name, set)),
        (5, Call::symlink(dir, name, set, TARGET)),
        (6, Call::mknod(dir, name, NF3SOCK(set.into()))),
        (7, Call::fifo(dir, name, set)),
    ];
    if peer.is_privileged {
        let (block, character) = (device(set, 259, 70_000), device(set, 1, 3));
        makers.push((3, Call::mknod(dir, name, NF3BLK(block))));
        makers.push((4, Call::mknod(dir, name, NF3CHR(character))));
    }
    makers
}

fn attributes(peer: &mut Peer<'_>) -> Result<()> {
    let (dir, hello) = (peer.handle("dir")?, peer.handle("hello")?);
    let caller = peer.attr(&hello)?;
    let all = Set {
        mode: Some(0o640),
        uid: peer.is_privileged.then_some(3),
        gid: peer.is_privileged.then_some(4),
        atime: SetTime::Client(5, 6),
        mtime: SetTime::Client(7, 8),
        ..Set::default()
    };
    for set in [Set::default(), all] {
        for number in 0..makers(peer, &dir, b"", set).len() {
            let name = format!("new {number} {:?}", set.mode);
            let (kind, call) = makers(peer, &dir, name.as_bytes(), set).remove(number);
            let body = peer.change(&call, &[&dir], NFS3_OK)?;
            let found = peer.expect(&Call::lookup(&dir, name.as_bytes()), NFS3_OK)?;
            ensure!(body.handle == found.handle, "{name}");
            // The check of a new directory on the host reads the directory, which may change its atime.
            let without_atime = |body: &Body| {
                body.attributes[0].map(|mut words| {
                    words[15..17].fill(0);
                    words
                })
            };
            ensure!(without_atime(&body) == without_atime(&found), "{name}");
            let attr = body.attr(0)?;
            ensure!(attr.type_ as u32 == kind, "{name}: {attr:?}");
            // The mode of a symbolic link has no effect.
            let has_mode = kind == 5 || set.mode.is_none_or(|mode| mode == attr.mode);
            ensure!(has_mode, "{name}: {attr:?}");
            let owner = (set.uid.unwrap_or(caller.uid), set.gid.unwrap_or(caller.gid));
            ensure!((attr.uid, attr.gid) == owner, "{name}: {attr:?}");
            let times = (attr.atime, attr.mtime) == (time((5, 6)), time((7, 8)));
            ensure!(times == set.mode.is_some(), "{name}: {attr:?}");
            let rdev = match kind {
                3 => [259, 70_000],
                4 => [1, 3],
                _ => [0, 0],
            };
            ensure!(
                [attr.rdev.specdata1, attr.rdev.specdata2] == rdev,
                "{name}: {attr:?}"
            );
            if kind == 5 {
                let target = peer.expect(&Call::read_link(&found.handle), NFS3_OK)?;
                ensure!(target.bytes == TARGET);
            }
        }
    }
    // A size attribute creates a file of zeros.
    let call = Call::create(&dir, b"sized", How::Guarded(Set::size(5)));
    let sized = peer.change(&call, &[&dir], NFS3_OK)?.handle;
    ensure!(peer.content(&sized)? == [0; 5]);
    Ok(())
}

fn names(peer: &mut Peer<'_>) -> Result<()> {
    let (top, file, set) = (peer.handle("")?, peer.handle("hello")?, Set::default());
    for (name, status) in [
        (&b"dir"[..], NFS3ERR_EXIST),
        (b"link", NFS3ERR_EXIST),
        (b"fifo", NFS3ERR_EXIST),
        (b".", NFS3ERR_EXIST),
        (b"..", NFS3ERR_EXIST),
        (b"", NFS3ERR_ACCES),
        (b"a/b", NFS3ERR_INVAL),
        (b"/absolute", NFS3ERR_INVAL),
        (b"../escape", NFS3ERR_INVAL),
        (b"trailing/", NFS3ERR_INVAL),
        (b"a\0b", NFS3ERR_INVAL),
        (b"hello\0", NFS3ERR_INVAL),
        (&[b'n'; 256], NFS3ERR_NAMETOOLONG),
        (&[b'n'; 1024], NFS3ERR_NAMETOOLONG),
    ] {
        for (_, call) in makers(peer, &top, name, set) {
            peer.change(&call, &[&top], status)?;
        }
        for call in [
            Call::create(&top, name, How::Unchecked(Set::size(0))),
            Call::create(&top, name, How::Exclusive([0; 8])),
            Call::create(&top, name, How::Exclusive(*b"verifier")),
        ] {
            peer.change(&call, &[&top], status)?;
        }
        let body = peer.change(&Call::link(&file, &top, name), &[&top], status)?;
        ensure!(body.attributes.len() == 2);
    }
    for (_, call) in makers(peer, &file, b"new", set) {
        peer.change(&call, &[&file], NFS3ERR_NOTDIR)?;
    }
    for (_, call) in makers(peer, &top, &[b'n'; 1025], set) {
        peer.expect_garbage(&call)?;
    }
    Ok(())
}

fn any_names(peer: &mut Peer<'_>) -> Result<()> {
    let (top, hello) = (peer.handle("")?, peer.handle("hello")?);
    for name in [&[b'n'; 255][..], &[0xff; 255], b" ", b"...", b"\n"] {
        for call in [
            Call::create(&top, name, How::Guarded(Set::default())),
            Call::remove(&top, name),
            Call::mkdir(&top, name, Set::mode(0o755)),
            Call::rmdir(&top, name),
            Call::symlink(&top, name, Set::default(), b"target"),
            Call::remove(&top, name),
            Call::link(&hello, &top, name),
            Call::remove(&top, name),
        ] {
            peer.change(&call, &[&top], NFS3_OK)?;
        }
        for call in [
            Call::rename(&top, b"hello", &top, name),
            Call::rename(&top, name, &top, b"hello"),
        ] {
            peer.change(&call, &[&top, &top], NFS3_OK)?;
        }
    }
    Ok(())
}

fn create_again(peer: &mut Peer<'_>) -> Result<()> {
    let (top, hello) = (peer.handle("")?, peer.handle("hello")?);
    let unchecked = |set| Call::create(&top, b"hello", How::Unchecked(set));
    // All attributes but the size are ignored for an existing file.
    let all = Set {
        mode: Some(0o640),
        atime: SetTime::Client(5, 6),
        mtime: SetTime::Client(7, 8),
        ..Set::default()
    };
    for set in [Set::default(), all] {
        let there = peer.attributes(&hello)?;
        let body = peer.expect_no_change(&unchecked(set), &[&top])?;
        ensure!(body.handle == hello && body.attributes[0] == Some(there));
    }
    for how in [
        How::Guarded(Set::size(0)),
        How::Guarded(all),
        How::Exclusive([0; 8]),
        How::Exclusive(*b"verifier"),
    ] {
        peer.change(&Call::create(&top, b"hello", how), &[&top], NFS3ERR_EXIST)?;
    }
    for (_, call) in makers(peer, &top, b"hello", Set::default()) {
        if call.procedure.2 != 8 {
            peer.change(&call, &[&top], NFS3ERR_EXIST)?;
        }
    }
    let exclusive = |verifier| Call::create(&top, b"exclusive", How::Exclusive(verifier));
    let made = peer
        .change(&exclusive(*b"verifier"), &[&top], NFS3_OK)?
        .handle;
    let again = peer.expect_no_change(&exclusive(*b"verifier"), &[&top])?;
    ensure!(again.handle == made, "another file");
    peer.change(&exclusive(*b"Verifier"), &[&top], NFS3ERR_EXIST)?;
    for (size, content) in [(4, &b"hell"[..]), (0, b"")] {
        let set = Set {
            mode: Some(0o600),
            ..Set::size(size)
        };
        let body = peer.change(&unchecked(set), &[&top], NFS3_OK)?;
        ensure!(body.handle == hello && peer.content(&hello)? == content);
    }
    ensure!(peer.attr(&hello)?.mode == 0o644);
    let mut call = Call::create(&top, b"hello", How::Unchecked(Set::default()));
    call.arguments = pack(&entry(&top, b"hello"));
    peer.expect_garbage(&call.append(&3_u32).append(&sattr3::from(Set::default())))
}

fn mknod(peer: &mut Peer<'_>) -> Result<()> {
    let top = peer.handle("")?;
    let call = |kind: u32| Call::mknod_of(&top, b"new", kind).append(&sattr3::from(Set::default()));
    for kind in [1, 2, 5] {
        peer.change(&call(kind), &[&top], NFS3ERR_BADTYPE)?;
    }
    for kind in [0, 8, u32::MAX] {
        peer.expect_garbage(&call(kind))?;
    }
    Ok(())
}

fn symlink(peer: &mut Peer<'_>) -> Result<()> {
    let top = peer.handle("")?;
    let call =
        |name: &'static [u8], target: &[u8]| Call::symlink(&top, name, Set::default(), target);
    let long = b"x/".repeat(2047);
    for target in [
        b"t",
        &b"file"[..],
        b"../../..",
        "ü\n".as_bytes(),
        &long,
        &[b't'; 4095],
    ] {
        let link = peer.change(&call(b"new", target), &[&top], NFS3_OK)?.handle;
        ensure!(peer.expect(&Call::read_link(&link), NFS3_OK)?.bytes == target);
        peer.change(&Call::remove(&top, b"new"), &[&top], NFS3_OK)?;
    }
    peer.expect_garbage(&call(b"new", &[b't'; 4098]))
}
