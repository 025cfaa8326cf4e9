//! STAT, LSTAT, FSTAT, SETSTAT, FSETSTAT, lsetstat@openssh.com, REALPATH, READLINK, expand-path@openssh.com, home-directory.

use super::*;

const PASSWD: &[u8] =
    b"root:x:0:0::/root:/bin/sh\nme:x:1000:100::/export/dir:/bin/sh\nyou:x:1001:100::dir:\n";

impl World {
    /// A server whose tree has passwd and group files.
    fn with_accounts() -> Self {
        let world = Self::connected();
        world.add_accounts(PASSWD, b"root:x:0:\nusers:x:100:\n");
        world
    }

    /// The path in the reply to a packet.
    #[track_caller]
    fn path(&mut self, packet: Packet) -> String {
        let reply = self.ask(packet);
        assert_eq!(reply.kind, kind::NAME, "{reply:?}");
        assert_eq!(reply.body[..4], [0, 0, 0, 1]);
        let (names, attributes) = reply.body[4..].split_at(reply.body.len() - 8);
        assert_eq!(attributes, [0; 4]);
        let names = strings(names);
        assert_eq!((names.len(), names[0]), (2, names[1]));
        String::from_utf8(names[0].to_vec()).unwrap()
    }
}

#[test]
fn attributes_have_golden_bytes() {
    let mut world = World::connected();
    let expected = |mode: u32, times: u32| Attributes {
        size: Some(11),
        owner: Some((1000, 100)),
        mode: Some(mode),
        times: Some((times, times)),
    };
    assert_eq!(
        world.attributes(about(kind::STAT, b"hello")),
        expected(0o100_644, 1_000_000_000)
    );
    let handle = world.open_handle(open_file(b"hello", open::READ));
    let fstat = about(kind::FSTAT, &handle);
    let reply = world.ask(fstat);
    assert_eq!(
        reply.body,
        b"\0\0\0\x0f\0\0\0\0\0\0\0\x0b\0\0\x03\xe8\0\0\0\x64\0\0\x81\xa4\x3b\x9a\xca\0\x3b\x9a\xca\0"
    );
    for (path, mode) in [
        (&b"dir"[..], 0o040_755),
        (b"", 0o040_755),
        (b"/export/dir/..", 0o040_755),
        (b"fifo", 0o010_600),
    ] {
        assert_eq!(world.attributes(about(kind::STAT, path)).mode, Some(mode));
    }
    let link = world.attributes(about(kind::LSTAT, b"link"));
    assert_eq!((link.mode, link.size), (Some(0o120_777), Some(11)));
    world.expect_status(about(kind::STAT, b"link"), NoSuchFile);
    world.expect_status(about(kind::LSTAT, b"hello/"), NoSuchFile);
    world.expect_status(about(kind::STAT, b"/etc/passwd"), NoSuchFile);
}

#[test]
fn setstat_changes_only_given_attributes() {
    let change = |size, owner, mode, times| Attributes {
        size,
        owner,
        mode,
        times,
    };
    for by_handle in [false, true] {
        let mut world = World::connected();
        let handle = world.open_handle(open_file(b"hello", open::WRITE));
        let ask = |given: &Attributes| {
            let (kind, object) = if by_handle {
                (kind::FSETSTAT, &handle[..])
            } else {
                (kind::SETSTAT, &b"hello"[..])
            };
            about(kind, object).attributes(given)
        };
        for given in [
            change(Some(5), None, None, None),
            change(None, Some((7, 8)), None, None),
            change(None, None, Some(0o4711), None),
            change(None, None, None, Some((1, u32::MAX))),
            change(Some(0), Some((9, 10)), Some(0o600), Some((2, 3))),
        ] {
            let before = world.attributes(about(kind::STAT, b"hello"));
            world.expect_ok(ask(&given));
            let after = world.attributes(about(kind::STAT, b"hello"));
            assert_eq!(after.size, given.size.or(before.size));
            assert_eq!(after.owner, given.owner.or(before.owner));
            assert_eq!(
                after.mode,
                given.mode.map(|mode| 0o100_000 | mode).or(before.mode)
            );
            if given.times.is_some() {
                assert_eq!(after.times, given.times);
            }
        }
        // A UID or GID of all ones leaves the owner as it is.
        world.expect_ok(ask(&change(None, Some((u32::MAX, 11)), None, None)));
        assert_eq!(
            world.attributes(about(kind::STAT, b"hello")).owner,
            Some((9, 11))
        );
        world.expect_ok(ask(&Attributes::default()));
        for size in [1 << 63, u64::MAX] {
            world.expect_status(ask(&change(Some(size), None, None, None)), BadMessage);
        }
    }
}

#[test]
fn setstat_size_needs_a_writable_file() {
    let mut world = World::connected();
    let size = Attributes {
        size: Some(3),
        ..Attributes::default()
    };
    world.expect_status(about(kind::SETSTAT, b"dir").attributes(&size), Failure);
    world.expect_status(about(kind::SETSTAT, b"none").attributes(&size), NoSuchFile);
    world.expect_status(
        openssh("lsetstat", &[b"hello"]).attributes(&size),
        BadMessage,
    );
    let handle = world.open_handle(open_file(b"hello", open::READ));
    let packet = about(kind::FSETSTAT, &handle).attributes(&size);
    world.expect_status(packet, BadMessage);
    assert_eq!(world.content(b"hello"), b"hello world");
    assert_eq!(world.tree.ram().pinned, 1);
}

#[test]
fn only_lsetstat_changes_the_link_itself() {
    let mut world = World::connected();
    let times = Attributes {
        times: Some((5, 6)),
        ..Attributes::default()
    };
    world.expect_status(about(kind::SETSTAT, b"link").attributes(&times), NoSuchFile);
    world.expect_ok(openssh("lsetstat", &[b"link"]).attributes(&times));
    assert_eq!(
        world.attributes(about(kind::LSTAT, b"link")).times,
        Some((5, 6))
    );
    let mode = Attributes {
        mode: Some(0o600),
        ..Attributes::default()
    };
    world.expect_status(
        openssh("lsetstat", &[b"link"]).attributes(&mode),
        Unsupported,
    );
    world.expect_ok(openssh("lsetstat", &[b"hello"]).attributes(&mode));
    assert_eq!(
        world.attributes(about(kind::LSTAT, b"hello")).mode,
        Some(0o100_600)
    );
}

#[test]
fn realpath_matches_openssh() {
    let mut world = World::connected();
    world.tree.ram().symlink("to dir", b"dir");
    world.tree.ram().symlink("dangling", b"dir/gone");
    world.tree.ram().symlink("loop", b"loop");
    for (path, expect) in [
        ("", "/export"),
        (".", "/export"),
        ("/export", "/export"),
        ("/export/../..", "/export"),
        ("dir/../hello", "/export/hello"),
        ("to dir/inner", "/export/dir/inner"),
        ("./dir//.//inner", "/export/dir/inner"),
        ("nothing", "/export/nothing"),
        ("dir/nothing", "/export/dir/nothing"),
        ("dangling", "/export/dir/gone"),
    ] {
        assert_eq!(
            world.path(about(kind::REALPATH, path.as_bytes())),
            expect,
            "{path}"
        );
        assert_eq!(
            world.path(openssh("expand-path", &[path.as_bytes()])),
            expect,
            "{path}"
        );
    }
    for path in [
        "nothing/",
        "nothing/x",
        "hello/x",
        "loop",
        "/",
        "/elsewhere",
    ] {
        world.expect_status(about(kind::REALPATH, path.as_bytes()), NoSuchFile);
        world.expect_status(openssh("expand-path", &[path.as_bytes()]), NoSuchFile);
    }
}

#[test]
fn readlink_reads_symbolic_links_only() {
    let mut world = World::connected();
    assert_eq!(world.path(about(kind::READLINK, b"link")), "/etc/passwd");
    // The longest target on Linux; the reply holds it twice.
    assert_eq!(
        world.path(about(kind::READLINK, b"long link")),
        "l".repeat(4096)
    );
    world.expect_status(about(kind::READLINK, b"hello"), BadMessage);
    world.expect_status(about(kind::READLINK, b""), BadMessage);
    world.expect_status(about(kind::READLINK, b"none"), NoSuchFile);
}

#[test]
fn tilde_expands_to_start_or_home_directory() {
    let mut world = World::with_accounts();
    for (path, expect) in [
        ("~", "/export"),
        ("~/", "/export"),
        ("~/dir/inner", "/export/dir/inner"),
        ("~//new", "/export/new"),
        ("~me", "/export/dir"),
        ("~me/inner", "/export/dir/inner"),
        ("~you/inner", "/export/dir/inner"),
        ("x/~", ""),
        ("~nobody", ""),
        ("~root", ""),
        ("~me/x/y", ""),
    ] {
        let packet = openssh("expand-path", &[path.as_bytes()]);
        if expect.is_empty() {
            world.expect_status(packet, NoSuchFile);
        } else {
            assert_eq!(world.path(packet), expect, "{path}");
        }
    }
    let long = [&b"~me/"[..], &[b'x'; 5000]].concat();
    world.expect_status(openssh("expand-path", &[&long]), BadMessage);
    // REALPATH does not expand `~`.
    assert_eq!(world.path(about(kind::REALPATH, b"~")), "/export/~");
}

#[test]
fn home_directory_returns_the_passwd_entry() {
    let home = |name: &[u8]| Packet::extended(b"home-directory", 3).string(name);
    let mut world = World::with_accounts();
    assert_eq!(world.path(home(b"root")), "/root");
    assert_eq!(world.path(home(b"me")), "/export/dir");
    assert_eq!(world.path(home(b"")), "/export/dir");
    world.expect_status(home(b"nobody"), Failure);
    let mut without = World::connected();
    assert_eq!(without.path(home(b"")), "/export");
    without.expect_status(home(b"root"), Failure);
}
