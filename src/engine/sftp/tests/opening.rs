//! INIT, OPEN, CLOSE, handles, permissions and the log.

use super::*;
use crate::engine::sftp::requests;
use crate::engine::sftp::testing::HANDLE_COUNT;
use crate::vfs::FsError;

const POSIX_RENAME: &[u8] = b"posix-rename@openssh.com";

#[test]
fn version_lists_extensions_in_order() {
    let mut world = World::connected();
    let talk = world.talk(&Packet::init().bytes(), || usize::MAX);
    let golden = b"\x02\0\0\0\x03\
        \0\0\0\x18posix-rename@openssh.com\0\0\0\x011\
        \0\0\0\x13statvfs@openssh.com\0\0\0\x012\
        \0\0\0\x14fstatvfs@openssh.com\0\0\0\x012\
        \0\0\0\x14hardlink@openssh.com\0\0\0\x011\
        \0\0\0\x11fsync@openssh.com\0\0\0\x011\
        \0\0\0\x14lsetstat@openssh.com\0\0\0\x011\
        \0\0\0\x12limits@openssh.com\0\0\0\x011\
        \0\0\0\x17expand-path@openssh.com\0\0\0\x011\
        \0\0\0\x09copy-data\0\0\0\x011\
        \0\0\0\x0ehome-directory\0\0\0\x011\
        \0\0\0\x1eusers-groups-by-id@openssh.com\0\0\0\x011\
        \0\0\0\x0acheck-file\0\0\0\x011\
        \0\0\0\x0fspace-available\0\0\0\x011\
        \0\0\0\x09vendor-id\0\0\0\x29\0\0\0\x08stowaway\0\0\0\x08stowaway\0\0\0\x050.1.0\0\0\0\0\0\0\0\0";
    assert_eq!(
        talk.output[4..].escape_ascii().to_string(),
        golden.escape_ascii().to_string()
    );
    assert_eq!(talk.output[..4], (golden.len() as u32).to_be_bytes());
}

#[test]
fn init_of_any_version_gets_version_3() {
    let mut world = World::connected();
    let golden = world.ask(Packet::init());
    for version in [0, 1, 6, u32::MAX] {
        assert_eq!(world.ask(Packet::new(kind::INIT, version)), golden);
    }
    // INIT may carry extensions of any length; they are ignored.
    let more = Packet::init().string(b"newline").string(&[b'\n'; 100_000]);
    assert_eq!(world.ask(more), golden);
    let vendor = || {
        let packet = Packet::extended(b"vendor-id", 4);
        packet.string(b"whoever").string(b"whatever")
    };
    world.expect_ok(vendor().string(b"1.0").u64(7));
    world.expect_status(vendor(), BadMessage);
}

#[test]
fn open_read_and_close_work() {
    let mut world = World::connected();
    let handle = world.open_handle(open_file(b"hello", open::READ));
    let reply = world.ask(read(&handle, 6, 100));
    assert_eq!((reply.kind, reply.id), (kind::DATA, 8));
    assert_eq!(reply.body, b"\0\0\0\x05world");
    world.expect_status(read(&handle, 11, 1), Eof);
    world.expect_ok(close(&handle));
    world.expect_status(close(&handle), NoSuchFile);
    world.expect_status(read(&handle, 0, 1), Failure);
    world.hang_up();
}

#[test]
fn status_message_matches_openssh() {
    let mut world = World::connected();
    let talk = world.talk(&open_file(b"nothing", open::READ).bytes(), || usize::MAX);
    let golden = b"\0\0\0\x1d\x65\0\0\0\x07\0\0\0\x02\0\0\0\x0cNo such file\0\0\0\0";
    assert_eq!(talk.output, golden);
}

#[test]
fn open_follows_its_flags() {
    use open::{APPEND, CREATE, EXCLUSIVE, READ, TRUNCATE, WRITE};
    for (path, flags, expect, left) in [
        ("hello", READ, Status::Ok, "hello world"),
        ("hello", 0, Status::Ok, "hello world"),
        ("hello", WRITE, Status::Ok, "hello world"),
        ("hello", READ | EXCLUSIVE, Status::Ok, "hello world"),
        ("hello", WRITE | CREATE, Status::Ok, "hello world"),
        ("hello", WRITE | CREATE | EXCLUSIVE, Failure, "hello world"),
        ("hello", WRITE | TRUNCATE, Status::Ok, ""),
        ("hello", READ | TRUNCATE, Status::Ok, ""),
        ("hello", WRITE | CREATE | TRUNCATE, Status::Ok, ""),
        ("hello", READ | WRITE | APPEND, Status::Ok, "hello world"),
        ("new", READ, NoSuchFile, ""),
        ("new", WRITE | TRUNCATE, NoSuchFile, ""),
        ("new", WRITE | CREATE | EXCLUSIVE, Status::Ok, ""),
        ("new", READ | CREATE, Status::Ok, ""),
        ("none/new", WRITE | CREATE, NoSuchFile, ""),
        ("hello/new", WRITE | CREATE, NoSuchFile, ""),
        ("dir", READ, Failure, ""),
        ("", READ, Failure, ""),
        ("fifo", READ, PermissionDenied, ""),
        ("link", READ, NoSuchFile, ""),
    ] {
        let mut world = World::connected();
        let reply = world.ask(open_file(path.as_bytes(), flags));
        if expect == Status::Ok {
            assert_eq!(reply.kind, kind::HANDLE, "{path} {flags}");
            assert_eq!(
                world.content(path.as_bytes()),
                left.as_bytes(),
                "{path} {flags}"
            );
        } else {
            assert_eq!(reply.kind, kind::STATUS, "{path} {flags}");
            assert_eq!(
                reply.body[..4],
                (expect as u32).to_be_bytes(),
                "{path} {flags}"
            );
        }
        world.hang_up();
    }
}

#[test]
fn new_file_gets_requested_mode() {
    let mut world = World::connected();
    for (requested, expect) in [
        (None, 0o666),
        (Some(0o100_640), 0o640),
        (Some(0o4755), 0o4755),
    ] {
        let requested = Attributes {
            mode: requested,
            size: Some(99),
            owner: Some((7, 8)),
            ..Attributes::default()
        };
        let packet = about(kind::OPEN, b"new");
        let flags = open::WRITE | open::CREATE;
        let handle = world.open_handle(packet.u32(flags).attributes(&requested));
        world.expect_ok(close(&handle));
        let stat = world.attributes(about(kind::STAT, b"new"));
        assert_eq!(stat.mode, Some(0o100_000 | expect));
        assert_eq!((stat.size, stat.owner), (Some(0), Some((0, 0))));
        world.expect_ok(about(kind::REMOVE, b"new"));
    }
}

#[test]
fn open_beyond_handle_limit_creates_nothing() {
    let mut world = World::connected();
    let mut open = || world.open_handle(open_file(b"hello", open::READ));
    let handles: Vec<_> = (0..HANDLE_COUNT).map(|_| open()).collect();
    for more in [
        open_file(b"hello", open::READ),
        open_file(b"new", open::WRITE | open::CREATE),
        about(kind::OPENDIR, b"dir"),
    ] {
        world.expect_status(more, Failure);
    }
    world.expect_status(about(kind::STAT, b"new"), NoSuchFile);
    world.expect_ok(close(&handles[3]));
    let again = world.open_handle(about(kind::OPENDIR, b"dir"));
    assert!(
        !handles.contains(&again),
        "a reused slot must have a new handle"
    );
    world.expect_status(read(&handles[3], 0, 1), Failure);
    assert_eq!(world.tree.ram().pinned, HANDLE_COUNT);
    world.hang_up();
}

#[test]
fn repeated_open_and_close_leaks_nothing() {
    let mut world = World::connected();
    for _ in 0..10_000 {
        let handle = world.open_handle(open_file(b"hello", open::READ));
        world.expect_ok(close(&handle));
    }
    assert_eq!(world.tree.ram().pinned, 0);
}

#[test]
fn invalid_handle_status_matches_openssh() {
    let mut world = World::connected();
    let file = world.open_handle(open_file(b"hello", open::READ));
    let dir = world.open_handle(about(kind::OPENDIR, b"dir"));
    let closed = world.open_handle(open_file(b"hello", open::READ));
    world.expect_ok(close(&closed));
    let flipped = |bit: usize| {
        let mut handle = file.clone();
        handle[bit / 8] ^= 1 << (bit % 8);
        handle
    };
    let flipped = (0..file.len() * 8)
        .map(flipped)
        .filter(|handle| *handle != dir);
    let resized = (0..=256).filter(|len| *len != file.len()).flat_map(|len| {
        let mut longer = file.clone();
        longer.resize(len, 0);
        [longer, vec![0xff; len]]
    });
    let unknown: Vec<Vec<u8>> = flipped.chain(resized).chain([closed]).collect();
    let asked = |kind, handle: &[u8]| Packet::new(kind, 5).string(handle);
    for handle in unknown.iter().chain([&dir]) {
        world.expect_status(read(handle, 0, 1), Failure);
        world.expect_status(write(handle, 0, b"x"), Failure);
        world.expect_status(asked(kind::FSTAT, handle), Failure);
        let change = asked(kind::FSETSTAT, handle).attributes(&Attributes::default());
        world.expect_status(change, Failure);
        let extended = |name: &[u8]| Packet::extended(name, 5).string(handle);
        world.expect_status(extended(b"fstatvfs@openssh.com"), Failure);
        world.expect_status(extended(b"fsync@openssh.com"), NoSuchFile);
    }
    for handle in &unknown {
        world.expect_status(close(handle), NoSuchFile);
        world.expect_status(asked(kind::READDIR, handle), Failure);
    }
    world.expect_status(asked(kind::READDIR, &file), Failure);
    for kind in [kind::CLOSE, kind::FSTAT, kind::READDIR] {
        world.expect_status(asked(kind, &[7; 257]), BadMessage);
    }
}

#[test]
fn request_names_match_openssh() {
    let names: Vec<_> = requests()
        .map(|name| core::str::from_utf8(name).unwrap())
        .collect();
    assert_eq!(
        names.join(" "),
        "open close read write lstat fstat setstat fsetstat opendir readdir remove mkdir rmdir realpath stat rename readlink \
         symlink posix-rename statvfs fstatvfs hardlink fsync lsetstat limits expand-path copy-data home-directory \
         users-groups-by-id check-file space-available vendor-id"
    );
}

/// Requests that change nothing.
fn looks(handle: &[u8]) -> Vec<Packet> {
    let path = |kind| about(kind, b"hello");
    vec![
        path(kind::STAT),
        path(kind::LSTAT),
        path(kind::REALPATH),
        about(kind::FSTAT, handle),
        about(kind::OPENDIR, b"dir"),
        open_file(b"hello", open::READ),
        read(handle, 0, 5),
        openssh("statvfs", &[b"."]),
        Packet::extended(b"limits@openssh.com", 1),
    ]
}

/// Requests that change something, except OPEN.
fn changes(handle: &[u8]) -> Vec<Packet> {
    let none = Attributes::default();
    let path = |kind| about(kind, b"dir/inner");
    let two = |name: &[u8]| Packet::extended(name, 1).string(b"dir/inner").string(b"x");
    vec![
        write(handle, 0, b"x"),
        path(kind::SETSTAT).attributes(&none),
        about(kind::FSETSTAT, handle).attributes(&none),
        path(kind::REMOVE),
        about(kind::MKDIR, b"x").attributes(&none),
        about(kind::RMDIR, b"empty"),
        path(kind::RENAME).string(b"x"),
        path(kind::SYMLINK).string(b"x"),
        two(POSIX_RENAME),
        two(b"hardlink@openssh.com"),
        openssh("fsync", &[handle]),
        openssh("lsetstat", &[b"link"]).attributes(&none),
        Packet::extended(b"copy-data", 1)
            .string(handle)
            .u64(0)
            .u64(0)
            .string(handle)
            .u64(0),
    ]
}

#[test]
fn read_only_server_refuses_changes() {
    let mut permits = Permits::default();
    permits.read_only();
    let mut world = World::with_permits(permits, Level::default());
    let version = world.ask(Packet::init());
    for name in [
        POSIX_RENAME,
        b"copy-data",
        b"hardlink@openssh.com",
        b"lsetstat@openssh.com",
    ] {
        assert!(!strings(&version.body).contains(&name));
    }
    let before = world.tree.ram().clone();
    let handle = world.open_handle(open_file(b"hello", open::READ));
    for packet in looks(&handle) {
        assert_ne!(world.ask(packet).kind, kind::STATUS);
    }
    for packet in changes(&handle) {
        world.expect_status(packet, PermissionDenied);
    }
    let changes = |flags: &u32| flags & !(open::READ | open::EXCLUSIVE) != 0;
    for flags in (0..64).filter(changes) {
        for path in [&b"hello"[..], b"new", b"dir/new", b"link", b"dir"] {
            world.expect_status(open_file(path, flags), PermissionDenied);
        }
    }
    world.expect_ok(close(&handle));
    world.hang_up();
    assert!(world.tree.ram().is_like(&before));
}

#[test]
fn denied_requests_are_not_advertised_or_executed() {
    for (deny, allow, advertised) in [
        (&b"stat,posix-rename,check-file"[..], None, 12),
        (b"", Some(&b"lstat,open,limits,vendor-id"[..]), 2),
        (b"limits,stat", Some(b"lstat,stat,limits,vendor-id"), 1),
    ] {
        let mut permits = Permits::default();
        if !deny.is_empty() {
            assert_eq!(permits.deny(deny), Some(()));
        }
        if let Some(allow) = allow {
            assert_eq!(permits.allow_only(allow), Some(()));
        }
        let mut world = World::with_permits(permits, Level::default());
        let version = world.ask(Packet::init());
        assert_eq!(strings(&version.body).len(), 2 * advertised);
        let path = |kind| about(kind, b"hello");
        world.expect_status(path(kind::STAT), PermissionDenied);
        assert_eq!(world.ask(path(kind::LSTAT)).kind, kind::ATTRS);
        let rename = Packet::extended(POSIX_RENAME, 1)
            .string(b"hello")
            .string(b"x");
        world.expect_status(rename, PermissionDenied);
        for name in [&b"check-file"[..], b"check-file-name", b"check-file-handle"] {
            world.expect_status(Packet::extended(name, 1), PermissionDenied);
        }
    }
    let mut permits = Permits::default();
    assert_eq!(permits.deny(b"stat,nothing"), None);
    assert_eq!(permits.allow_only(b"stat@openssh.com"), None);
    assert_eq!(permits, Permits::default());
}

#[test]
fn denied_write_is_skipped_whole() {
    let mut permits = Permits::default();
    permits.deny(b"write").unwrap();
    let mut world = World::with_permits(permits, Level::default());
    let handle = world.open_handle(open_file(b"hello", open::WRITE));
    let both = stream(&[write(&handle, 0, &[7; 200_000]), close(&handle)]);
    let talk = world.talk(&both, || 1000);
    assert_eq!(
        statuses(&talk.output),
        [PermissionDenied, Status::Ok].map(|s| s as u32)
    );
    assert_eq!(world.content(b"hello"), b"hello world");
}

#[test]
fn unknown_request_is_answered_as_unsupported() {
    let mut world = World::connected();
    let known = |kind: &u8| {
        matches!(
            *kind,
            kind::INIT | kind::OPEN..=kind::SYMLINK | kind::EXTENDED
        )
    };
    for kind in (0..=255).filter(|kind| !known(kind)) {
        world.expect_status(Packet::new(kind, 5), Unsupported);
        world.expect_status(Packet::new(kind, 5).raw(&[0xff; 1000]), Unsupported);
    }
    for name in [
        &b""[..],
        b"nothing",
        b"posix-rename",
        b"limits",
        b"copy-data@openssh.com",
        b"open",
        b"@openssh.com",
        b"check-file-",
        b"text-seek",
        b"statvfs@openssh.com\0",
        b"STATVFS@OPENSSH.COM",
        &[b'e'; 30_000],
    ] {
        world.expect_status(Packet::extended(name, 5), Unsupported);
        world.expect_status(Packet::extended(name, 5).raw(&[0xff; 1000]), Unsupported);
    }
}

#[test]
fn backend_error_status_matches_openssh() {
    for (error, status) in [
        (FsError::Permission, PermissionDenied),
        (FsError::NoEntry, NoSuchFile),
        (FsError::Io, Failure),
        (FsError::Access, PermissionDenied),
        (FsError::NotDirectory, NoSuchFile),
        (FsError::Invalid, BadMessage),
        (FsError::NoSpace, Failure),
        (FsError::Quota, Failure),
        (FsError::TooManyLinks, Failure),
        (FsError::TooManyFollowed, NoSuchFile),
        (FsError::NameTooLong, BadMessage),
        (FsError::ReadOnly, Failure),
        (FsError::NotSupported, Unsupported),
        (FsError::Stale, Failure),
        (FsError::TryLater, Failure),
    ] {
        let mut world = World::connected();
        let handle = world.open_handle(open_file(b"hello", open::READ | open::WRITE));
        world.tree.host.io_error.set(Some(error));
        let attributes = Attributes {
            times: Some((1, 2)),
            ..Attributes::default()
        };
        for packet in [
            open_file(b"hello", open::READ),
            about(kind::STAT, b"hello"),
            about(kind::SETSTAT, b"hello").attributes(&attributes),
            about(kind::FSETSTAT, &handle).attributes(&attributes),
            about(kind::REMOVE, b"hello"),
            about(kind::OPENDIR, b"dir"),
            about(kind::READLINK, b"link"),
            read(&handle, 0, 5),
            write(&handle, 0, b"x"),
            openssh("fsync", &[&handle]),
            openssh("fstatvfs", &[&handle]),
        ] {
            world.expect_status(packet, status);
        }
        world.tree.host.io_error.set(None);
        world.expect_ok(close(&handle));
        world.hang_up();
    }
}

#[test]
fn log_level_selects_lines_with_escaped_names() {
    let script = |level| {
        let mut world = World::with_permits(Permits::default(), level);
        let handle = world.open_handle(open_file(b"hello", open::READ));
        world.ask(about(kind::STAT, b"bad\x1bname"));
        world.ask(from_to(kind::RENAME, b"hello", b"there"));
        world.ask(about(kind::REMOVE, &[b'x'; 1000]));
        world.ask(read(&handle, 0, 1));
        world.expect_ok(close(&handle));
        world.sink.lines()
    };
    assert!(script(Level::Quiet).is_empty() && script(Level::Error).is_empty());
    let info = script(Level::Info);
    let opened = "stowaway: open \"hello\" flags READ mode 0666";
    let status = |status| format!("stowaway: sent status {status}");
    assert_eq!(info[0], opened);
    // STAT itself is logged from VERBOSE on only; its failed status is logged from INFO on.
    assert_eq!(info[1], status("No such file"));
    assert_eq!(info[2], r#"stowaway: rename old "hello" new "there""#);
    assert!(info[3].starts_with("stowaway: remove name \"xxx"));
    assert_eq!(info[4], status("Bad message"));
    assert_eq!(info[5], r#"stowaway: close "hello" bytes read 1 written 0"#);
    assert_eq!(info.len(), 6);
    let verbose = script(Level::Verbose);
    assert_eq!(
        verbose[..2],
        ["stowaway: received client version 3", opened]
    );
    assert_eq!(verbose[2], r#"stowaway: stat name "bad\033name""#);
    assert_eq!(verbose.len(), 8);
    let debug = script(Level::Debug);
    assert_eq!(debug[5], status("Success"));
    assert_eq!(debug[8], r#"stowaway: read "hello""#);
}
