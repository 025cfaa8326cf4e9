//! REMOVE, MKDIR, RMDIR, RENAME, SYMLINK, posix-rename@openssh.com, hardlink@openssh.com.

use super::*;

fn mkdir(path: &[u8]) -> Packet {
    about(kind::MKDIR, path).attributes(&Attributes::default())
}

impl World {
    /// Returns true if an object has this name. Symbolic links are not followed.
    #[track_caller]
    fn has(&mut self, path: &[u8]) -> bool {
        self.ask(about(kind::LSTAT, path)).kind == kind::ATTRS
    }
}

#[test]
fn mkdir_rmdir_and_remove_work() {
    let mut world = World::connected();
    for path in [&b"new"[..], b"dir/new", b"/export/dir/other", b"slash///"] {
        world.expect_ok(mkdir(path));
        world.expect_status(mkdir(path), Failure);
        let attr = world.attributes(about(kind::STAT, path));
        assert_eq!(attr.mode, Some(0o040_777));
        world.expect_ok(about(kind::RMDIR, path));
        world.expect_status(about(kind::RMDIR, path), NoSuchFile);
    }
    world.expect_ok(about(kind::REMOVE, b"dir/inner"));
    assert!(!world.has(b"dir/inner"));
    // REMOVE of a symbolic link removes the link.
    world.expect_ok(about(kind::REMOVE, b"link"));
    let mode = Attributes {
        mode: Some(0o040_1750),
        ..Attributes::default()
    };
    world.expect_ok(about(kind::MKDIR, b"new").attributes(&mode));
    assert_eq!(
        world.attributes(about(kind::STAT, b"new")).mode,
        Some(0o041_750)
    );
    world.hang_up();
}

#[test]
fn refused_mkdir_rmdir_and_remove_change_nothing() {
    let mut world = World::connected();
    let before = world.tree.ram().clone();
    for path in [
        &b""[..],
        b".",
        b"..",
        b"/",
        b"dir/.",
        b"dir/..",
        b"./",
        b"/export/",
    ] {
        let status = if path == b"/export/" {
            NoSuchFile
        } else {
            Failure
        };
        world.expect_status(mkdir(path), status);
        world.expect_status(about(kind::REMOVE, path), status);
        world.expect_status(about(kind::RMDIR, path), status);
    }
    for (packet, status) in [
        (mkdir(b"hello"), Failure),
        (mkdir(b"hello/x"), NoSuchFile),
        (mkdir(b"none/x"), NoSuchFile),
        (mkdir(b"/elsewhere"), NoSuchFile),
        (mkdir(&[b'x'; 256]), BadMessage),
        (mkdir(&[b'x'; 5000]), BadMessage),
        (mkdir(&b"x/".repeat(3000)), BadMessage),
        (mkdir(b"a\0b"), BadMessage),
        (about(kind::REMOVE, b"dir"), Failure),
        (about(kind::REMOVE, b"hello/"), NoSuchFile),
        (about(kind::REMOVE, b"none"), NoSuchFile),
        (about(kind::RMDIR, b"hello"), NoSuchFile),
        (about(kind::RMDIR, b"dir"), Failure),
        (about(kind::RMDIR, b"link"), NoSuchFile),
    ] {
        world.expect_status(packet, status);
    }
    assert!(world.tree.ram().is_like(&before));
}

#[test]
fn rename_keeps_existing_target_and_posix_rename_replaces() {
    let mut world = World::connected();
    world.expect_ok(from_to(kind::RENAME, b"hello", b"dir/there"));
    assert_eq!(world.content(b"dir/there"), b"hello world");
    world.expect_ok(from_to(kind::RENAME, b"dir", b"moved/"));
    world.expect_ok(from_to(kind::RENAME, b"link", b"moved/link"));
    for (from, to, status) in [
        (&b"moved/there"[..], &b"moved/inner"[..], Failure),
        (b"moved/there", b"moved/there", Failure),
        (b"moved/there", b"empty", Failure),
        (b"moved", b"empty", Failure),
        (b"moved", b"moved/link", Failure),
        (b"moved", b"moved/within", BadMessage),
        (b"none", b"new", NoSuchFile),
        (b"empty", b"none/new", NoSuchFile),
        (b".", b"new", Failure),
        (b"empty", b"..", Failure),
        (b"big/", b"new", NoSuchFile),
        (b"big", b"new/", NoSuchFile),
    ] {
        world.expect_status(from_to(kind::RENAME, from, to), status);
    }
    world.expect_ok(openssh("posix-rename", &[b"moved/there", b"moved/inner"]));
    assert_eq!(world.content(b"moved/inner"), b"hello world");
    assert!(!world.has(b"moved/there"));
    world.expect_ok(openssh("posix-rename", &[b"moved", b"empty"]));
    assert_eq!(world.content(b"empty/inner"), b"hello world");
    world.expect_status(openssh("posix-rename", &[b"empty", b"many"]), Failure);
    world.expect_status(openssh("posix-rename", &[b"big", b"many"]), Failure);
    world.expect_status(openssh("posix-rename", &[b"many", b"big"]), NoSuchFile);
}

#[test]
fn symlink_takes_the_target_first() {
    let mut world = World::connected();
    world.expect_ok(from_to(kind::SYMLINK, b"dir/inner", b"new"));
    assert_eq!(world.content(b"new"), b"inner");
    let reply = world.ask(about(kind::READLINK, b"new"));
    assert_eq!(
        reply.body,
        b"\0\0\0\x01\0\0\0\x09dir/inner\0\0\0\x09dir/inner\0\0\0\0"
    );
    // The target need not exist, nor be inside the tree.
    world.expect_ok(from_to(kind::SYMLINK, b"//no/such/../thing/", b"dir/odd"));
    for (target, path, status) in [
        (&b"x"[..], &b"hello"[..], Failure),
        (b"x", b"new", Failure),
        (b"", b"another", NoSuchFile),
        (b"x\0", b"another", BadMessage),
        (b"x", b"another/", NoSuchFile),
        (b"x", b"none/another", NoSuchFile),
        (b"x", b"", Failure),
    ] {
        world.expect_status(from_to(kind::SYMLINK, target, path), status);
    }
}

#[test]
fn hard_link_adds_a_name() {
    let mut world = World::connected();
    world.expect_ok(openssh("hardlink", &[b"hello", b"dir/also"]));
    world.expect_ok(about(kind::REMOVE, b"hello"));
    assert_eq!(world.content(b"dir/also"), b"hello world");
    // A hard link to a symbolic link.
    world.expect_ok(openssh("hardlink", &[b"link", b"link too"]));
    assert_eq!(
        world.ask(about(kind::READLINK, b"link too")).kind,
        kind::NAME
    );
    for (from, to, status) in [
        (&b"dir"[..], &b"new"[..], PermissionDenied),
        (b"none", b"new", NoSuchFile),
        (b"big", b"dir/also", Failure),
        (b"big", b"none/new", NoSuchFile),
        (b"big", b"new/", NoSuchFile),
    ] {
        world.expect_status(openssh("hardlink", &[from, to]), status);
    }
}
