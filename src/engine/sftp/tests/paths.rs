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
    let reply = world.ask(about(kind::STAT, b"hello"));
    assert_eq!(
        reply.body,
        b"\0\0\0\x0f\0\0\0\0\0\0\0\x0b\0\0\x03\xe8\0\0\0\x64\0\0\x81\xa4\x3b\x9a\xca\0\x3b\x9a\xca\0"
    );
}

#[test]
fn setstat_changes_owners() {
    let mut world = World::connected();
    let handle = world.open_handle(open_file(b"hello", open::WRITE));
    for packet in [
        about(kind::SETSTAT, b"hello"),
        about(kind::FSETSTAT, &handle),
        openssh("lsetstat", &[b"hello"]),
    ] {
        // A UID or GID of all ones leaves the owner as it is.
        for (owner, expect) in [((7, 8), (7, 8)), ((u32::MAX, 11), (7, 11))] {
            let owner = Attributes {
                owner: Some(owner),
                ..Attributes::default()
            };
            world.expect_ok(packet.clone().attributes(&owner));
            let seen = world.attributes(about(kind::STAT, b"hello"));
            assert_eq!((seen.owner, seen.size), (Some(expect), Some(11)));
        }
    }
}

#[test]
fn paths_outside_the_export_are_not_found() {
    let mut world = World::connected();
    assert_eq!(
        world.path(about(kind::REALPATH, b"/export/../..")),
        "/export"
    );
    for path in ["/", "/elsewhere", "/etc/passwd"] {
        let path = path.as_bytes();
        for packet in [
            about(kind::REALPATH, path),
            about(kind::STAT, path),
            about(kind::OPENDIR, path),
            about(kind::REMOVE, path),
            about(kind::MKDIR, path).attributes(&Attributes::default()),
        ] {
            let status = match (path, packet.0[0]) {
                (b"/", kind::REMOVE | kind::MKDIR) => Failure,
                _ => NoSuchFile,
            };
            world.expect_status(packet, status);
        }
    }
}

#[test]
fn longest_target_is_read() {
    let mut world = World::connected();
    // The longest target on Linux; the reply holds it twice.
    let target = world.path(about(kind::READLINK, b"long link"));
    assert_eq!(target, "l".repeat(4096));
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
