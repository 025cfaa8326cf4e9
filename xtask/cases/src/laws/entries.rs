//! Names: LOOKUP, REMOVE, RMDIR, RENAME and LINK, with every kind of name and object.

use super::*;
use crate::values::handle;
use nfsstat3::*;

pub(super) const CASES_OF_LOOKUP: &[Case] = &[
    ("invalid LOOKUP names have their errors", look_up),
    ("`.` and `..` are directory and parent", look_up_dots),
];
pub(super) const CASES: &[Case] = &[
    ("REMOVE and RMDIR check the object's type", remove),
    ("RENAME replaces an object of its kind", rename),
    ("LINK accepts anything but a directory", link),
];

fn look_up(peer: &mut Peer<'_>) -> Result<()> {
    let [top, dir, many] = ["", "dir", "many"].map(|path| peer.handle(path));
    let (top, dir, many) = (top?, dir?, many?);
    for (name, status) in [
        (&b""[..], NFS3ERR_ACCES),
        (b"a/b", NFS3ERR_INVAL),
        (b"/", NFS3ERR_INVAL),
        (b"dir/inner", NFS3ERR_INVAL),
        (b"../hello", NFS3ERR_INVAL),
        (b"dir/../hello", NFS3ERR_INVAL),
        (b"hel\0lo", NFS3ERR_INVAL),
        (b"hello\0", NFS3ERR_INVAL),
        (b"\0", NFS3ERR_INVAL),
        (b"Hello", NFS3ERR_NOENT),
        (&[b'm'; 255], NFS3ERR_NOENT),
        (&[b'm'; 256], NFS3ERR_NAMETOOLONG),
        (&[b'm'; 1024], NFS3ERR_NAMETOOLONG),
    ] {
        for dir in [&top, &dir] {
            let body = peer.expect(&Call::lookup(dir, name), status)?;
            ensure!(
                body.attributes[0].is_some(),
                "{name:?}: no attributes of the directory"
            );
        }
    }
    peer.expect_garbage(&Call::lookup(&top, &[b'm'; 1025]))?;
    // The length of the handle or of the name exceeds the record.
    for len in [65_u32, 1000, 0x7fff_ffff, 0xffff_fffd, 0xffff_ffff] {
        let no_handle = Call::get_attr(&top).procedure;
        peer.expect_garbage(&Call::new(no_handle, &len).append(&[0; 16]))?;
        let name = Call::new(Call::lookup(&top, b"").procedure, &handle(&top));
        peer.expect_garbage(&name.append(&len).append(b"hello\0\0\0"))?;
    }
    peer.expect(&Call::lookup(&many, &[b'm'; 255]), NFS3_OK)?;
    Ok(())
}

fn look_up_dots(peer: &mut Peer<'_>) -> Result<()> {
    let [top, dir, hello] = ["", "dir", "hello"].map(|path| peer.handle(path));
    let (root, top, dir, hello) = (peer.root.clone(), top?, dir?, hello?);
    for (from, name, to) in [
        (&root, &b"."[..], &root),
        (&root, b"..", &root),
        (&top, b".", &top),
        (&dir, b".", &dir),
        (&dir, b"..", &top),
    ] {
        let attr = peer.attributes(to)?;
        let body = peer.expect(&Call::lookup(from, name), NFS3_OK)?;
        ensure!(body.handle == *to, "{name:?} has another handle");
        ensure!(body.attributes[0] == Some(attr));
    }
    for name in [&b"."[..], b"..", b"x"] {
        peer.expect(&Call::lookup(&hello, name), NFS3ERR_NOTDIR)?;
    }
    Ok(())
}

fn remove(peer: &mut Peer<'_>) -> Result<()> {
    let [top, hello, link] = ["", "hello", "link"].map(|path| peer.handle(path));
    let (top, hello, link) = (top?, hello?, link?);
    for call in [Call::remove(&link, b"x"), Call::rmdir(&link, b"x")] {
        peer.change(&call, &[&link], NFS3ERR_NOTDIR)?;
    }
    let long = [b'n'; 256];
    for (name, removed, removed_as_directory) in [
        (&b"none"[..], NFS3ERR_NOENT, NFS3ERR_NOENT),
        (b".", NFS3ERR_INVAL, NFS3ERR_INVAL),
        (b"..", NFS3ERR_INVAL, NFS3ERR_INVAL),
        (b"", NFS3ERR_ACCES, NFS3ERR_ACCES),
        (b"dir/inner", NFS3ERR_INVAL, NFS3ERR_INVAL),
        (b"hello\0", NFS3ERR_INVAL, NFS3ERR_INVAL),
        (&long, NFS3ERR_NAMETOOLONG, NFS3ERR_NAMETOOLONG),
        (b"dir", NFS3ERR_ISDIR, NFS3ERR_NOTEMPTY),
    ] {
        peer.change(&Call::remove(&top, name), &[&top], removed)?;
        peer.change(&Call::rmdir(&top, name), &[&top], removed_as_directory)?;
    }
    let longer = [b'n'; 1025];
    for call in [
        Call::remove(&top, &longer),
        Call::rmdir(&top, &longer),
        Call::rename(&top, &longer, &top, b"x"),
        Call::rename(&top, b"hello", &top, &longer),
        Call::link(&hello, &top, &longer),
    ] {
        peer.expect_garbage(&call)?;
    }
    peer.change(&Call::remove(&top, b"empty"), &[&top], NFS3ERR_ISDIR)?;
    for status in [NFS3_OK, NFS3ERR_NOENT] {
        for name in [&b"hello"[..], b"link", b"fifo"] {
            if status == NFS3_OK {
                peer.change(&Call::rmdir(&top, name), &[&top], NFS3ERR_NOTDIR)?;
            }
            peer.change(&Call::remove(&top, name), &[&top], status)?;
        }
        peer.change(&Call::rmdir(&top, b"empty"), &[&top], status)?;
    }
    peer.expect(&Call::get_attr(&hello), NFS3ERR_STALE)?;
    Ok(())
}

fn rename(peer: &mut Peer<'_>) -> Result<()> {
    let inner = peer.handle("dir/inner")?;
    let long = [b'n'; 256];
    let same = Call::rename(&peer.top, b"hello", &peer.top, b"hello");
    let top = peer.top.clone();
    peer.expect_no_change(&same, &[&top, &top])?;
    for (from, name, to, new_name, status) in [
        ("", &b"dir"[..], "dir", &b"x"[..], NFS3ERR_INVAL),
        ("", b"empty", "", b"dir", NFS3ERR_NOTEMPTY),
        ("", b"hello", "", b"dir", NFS3ERR_ISDIR),
        ("", b"dir", "", b"hello", NFS3ERR_NOTDIR),
        ("", b"none", "", b"hello", NFS3ERR_NOENT),
        ("", b".", "", b"x", NFS3ERR_INVAL),
        ("", b"..", "", b"x", NFS3ERR_INVAL),
        ("", b"hello", "", b"..", NFS3ERR_INVAL),
        ("", b"", "", b"x", NFS3ERR_ACCES),
        ("", b"hello", "", b"", NFS3ERR_ACCES),
        ("", b"hello", "", b"a/b", NFS3ERR_INVAL),
        ("", b"dir/inner", "", b"x", NFS3ERR_INVAL),
        ("", b"hello\0", "", b"x", NFS3ERR_INVAL),
        ("", b"hello", "", b"\0", NFS3ERR_INVAL),
        ("", b"hello", "", &long, NFS3ERR_NAMETOOLONG),
        ("", &long, "", b"x", NFS3ERR_NAMETOOLONG),
        ("", b"hello", "link", b"x", NFS3ERR_NOTDIR),
        ("hello", b"x", "", b"x", NFS3ERR_NOTDIR),
        ("", b"hello", "", b"new", NFS3_OK),
        ("", b"new", "dir", b"inner", NFS3_OK),
        ("", b"fifo", "dir", b"inner", NFS3_OK),
        ("dir", b"inner", "", b"inner", NFS3_OK),
        ("dir", b"inner", "", b"inner", NFS3ERR_NOENT),
        ("", b"dir", "empty", b"dir", NFS3_OK),
        ("empty", b"dir", "", b"dir", NFS3_OK),
        ("", b"dir", "", b"empty", NFS3_OK),
    ] {
        let (from, to) = (peer.handle(from)?, peer.handle(to)?);
        let moved = peer.expect(&Call::lookup(&from, name), NFS3_OK);
        let call = Call::rename(&from, name, &to, new_name);
        peer.change(&call, &[&from, &to], status)?;
        if status == NFS3_OK {
            let found = peer.expect(&Call::lookup(&to, new_name), NFS3_OK)?;
            let (found, moved) = (peer.attr(&found.handle)?, moved?.attr(0)?);
            ensure!(found.fileid == moved.fileid, "another object was renamed");
        }
    }
    peer.expect(&Call::get_attr(&inner), NFS3ERR_STALE)?;
    Ok(())
}

fn link(peer: &mut Peer<'_>) -> Result<()> {
    for (path, into, name, status) in [
        ("hello", "dir", &b"linked"[..], NFS3_OK),
        ("hello", "dir", b"linked", NFS3ERR_EXIST),
        ("fifo", "", b"linked fifo", NFS3_OK),
        ("link", "", b"linked link", NFS3_OK),
        ("dir", "", b"linked dir", NFS3ERR_PERM),
        ("big", "hello", b"x", NFS3ERR_NOTDIR),
    ] {
        let (object, into) = (peer.handle(path)?, peer.handle(into)?);
        let was = peer.attr(&object)?.nlink;
        let body = peer.change(&Call::link(&object, &into, name), &[&into], status)?;
        let attr = body.attributes[0].context("no attributes")?;
        ensure!(attr == peer.attributes(&object)?, "{path}");
        ensure!(attr[2] == was + u32::from(status == NFS3_OK), "{path}");
    }
    ensure!(peer.handle("hello")? == peer.handle("dir/linked")? || !peer.is_privileged);
    Ok(())
}
