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
fn status_message_matches_openssh() {
    let mut world = World::connected();
    let talk = world.talk(&open_file(b"nothing", open::READ).bytes(), || usize::MAX);
    let golden = b"\0\0\0\x1d\x65\0\0\0\x07\0\0\0\x02\0\0\0\x0cNo such file\0\0\0\0";
    assert_eq!(talk.output, golden);
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

#[test]
fn read_only_server_advertises_and_opens_no_changes() {
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
    let changes = |flags: &u32| flags & !(open::READ | open::EXCLUSIVE) != 0;
    for flags in (0..64).filter(changes) {
        for path in [&b"hello"[..], b"new", b"dir/new", b"link", b"dir"] {
            world.expect_status(open_file(path, flags), PermissionDenied);
        }
    }
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
