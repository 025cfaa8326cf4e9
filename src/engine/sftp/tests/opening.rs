//! INIT, OPEN, CLOSE, handles, and what may be asked at all.

use super::*;
use crate::engine::sftp::requests;
use crate::engine::sftp::testing::HANDLE_COUNT;
use crate::vfs::FsError;

const POSIX_RENAME: &[u8] = b"posix-rename@openssh.com";

#[test]
fn version_tells_of_the_extensions_in_their_order() {
    let mut world = World::begun();
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
fn any_version_is_answered_by_this_one_and_any_time() {
    let mut world = World::begun();
    let golden = world.ask(Packet::init());
    for version in [0, 1, 6, u32::MAX] {
        assert_eq!(world.ask(Packet::new(kind::INIT, version)), golden);
    }
    // What a client can do besides, as much as it likes.
    let more = Packet::init().string(b"newline").string(&[b'\n'; 100_000]);
    assert_eq!(world.ask(more), golden);
    let vendor = || {
        let packet = Packet::extended(b"vendor-id", 4);
        packet.string(b"whoever").string(b"whatever")
    };
    world.does(vendor().string(b"1.0").u64(7));
    world.refuses(vendor(), Status::BadMessage);
}

#[test]
fn a_file_is_opened_read_and_closed() {
    let mut world = World::begun();
    let handle = world.opens(open_file(b"hello", open::READ));
    let reply = world.ask(read(&handle, 6, 100));
    assert_eq!((reply.kind, reply.id), (kind::DATA, 8));
    assert_eq!(reply.body, b"\0\0\0\x05world");
    world.refuses(read(&handle, 11, 1), Status::Eof);
    world.does(close(&handle));
    world.refuses(close(&handle), Status::NoSuchFile);
    world.refuses(read(&handle, 0, 1), Status::Failure);
    world.hang_up();
}

#[test]
fn a_status_has_openssh_words() {
    let mut world = World::begun();
    let talk = world.talk(&open_file(b"nothing", open::READ).bytes(), || usize::MAX);
    let golden = b"\0\0\0\x1d\x65\0\0\0\x07\0\0\0\x02\0\0\0\x0cNo such file\0\0\0\0";
    assert_eq!(talk.output, golden);
}

#[test]
fn files_are_opened_as_the_flags_say() {
    use open::{APPEND, CREATE, EXCLUSIVE, READ, TRUNCATE, WRITE};
    for (path, flags, expect, left) in [
        ("hello", READ, Status::Ok, "hello world"),
        ("hello", 0, Status::Ok, "hello world"),
        ("hello", WRITE, Status::Ok, "hello world"),
        ("hello", READ | EXCLUSIVE, Status::Ok, "hello world"),
        ("hello", WRITE | CREATE, Status::Ok, "hello world"),
        (
            "hello",
            WRITE | CREATE | EXCLUSIVE,
            Status::Failure,
            "hello world",
        ),
        ("hello", WRITE | TRUNCATE, Status::Ok, ""),
        ("hello", READ | TRUNCATE, Status::Ok, ""),
        ("hello", WRITE | CREATE | TRUNCATE, Status::Ok, ""),
        ("hello", READ | WRITE | APPEND, Status::Ok, "hello world"),
        ("new", READ, Status::NoSuchFile, ""),
        ("new", WRITE | TRUNCATE, Status::NoSuchFile, ""),
        ("new", WRITE | CREATE | EXCLUSIVE, Status::Ok, ""),
        ("new", READ | CREATE, Status::Ok, ""),
        ("none/new", WRITE | CREATE, Status::NoSuchFile, ""),
        ("hello/new", WRITE | CREATE, Status::NoSuchFile, ""),
        ("dir", READ, Status::Failure, ""),
        ("", READ, Status::Failure, ""),
        ("fifo", READ, Status::PermissionDenied, ""),
        ("link", READ, Status::NoSuchFile, ""),
    ] {
        let mut world = World::begun();
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
fn a_new_file_has_the_mode_that_was_asked_for() {
    let mut world = World::begun();
    for (told, expect) in [
        (None, 0o666),
        (Some(0o100_640), 0o640),
        (Some(0o4755), 0o4755),
    ] {
        let told = Attributes {
            mode: told,
            size: Some(99),
            owner: Some((7, 8)),
            ..Attributes::default()
        };
        let packet = Packet::new(kind::OPEN, 1).string(b"new");
        let flags = open::WRITE | open::CREATE;
        let handle = world.opens(packet.u32(flags).attributes(&told));
        world.does(close(&handle));
        let stat = world.attributes(Packet::new(kind::STAT, 1).string(b"new"));
        assert_eq!(stat.mode, Some(0o100_000 | expect));
        assert_eq!((stat.size, stat.owner), (Some(0), Some((0, 0))));
        world.does(Packet::new(kind::REMOVE, 1).string(b"new"));
    }
}

#[test]
fn handles_are_no_more_than_there_may_be_and_nothing_is_made_beyond() {
    let mut world = World::begun();
    let mut open = || world.opens(open_file(b"hello", open::READ));
    let handles: Vec<_> = (0..HANDLE_COUNT).map(|_| open()).collect();
    for more in [
        open_file(b"hello", open::READ),
        open_file(b"new", open::WRITE | open::CREATE),
        Packet::new(kind::OPENDIR, 1).string(b"dir"),
    ] {
        world.refuses(more, Status::Failure);
    }
    world.refuses(
        Packet::new(kind::STAT, 1).string(b"new"),
        Status::NoSuchFile,
    );
    world.does(close(&handles[3]));
    let again = world.opens(Packet::new(kind::OPENDIR, 1).string(b"dir"));
    assert!(
        !handles.contains(&again),
        "a place is another's now, its handle is not"
    );
    world.refuses(read(&handles[3], 0, 1), Status::Failure);
    assert_eq!(world.tree.ram().pinned, HANDLE_COUNT);
    world.hang_up();
}

#[test]
fn ten_thousand_opens_leave_nothing_behind() {
    let mut world = World::begun();
    for _ in 0..10_000 {
        let handle = world.opens(open_file(b"hello", open::READ));
        world.does(close(&handle));
    }
    assert_eq!(world.tree.ram().pinned, 0);
}

#[test]
fn what_is_no_handle_is_answered_as_openssh_does() {
    let mut world = World::begun();
    let file = world.opens(open_file(b"hello", open::READ));
    let dir = world.opens(Packet::new(kind::OPENDIR, 1).string(b"dir"));
    let unknown: [&[u8]; 5] = [
        b"",
        b"\0\0\0",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0\0",
        &[7; 256],
    ];
    let asked = |kind, handle: &[u8]| Packet::new(kind, 5).string(handle);
    for handle in unknown.into_iter().chain([&dir[..]]) {
        world.refuses(read(handle, 0, 1), Status::Failure);
        world.refuses(write(handle, 0, b"x"), Status::Failure);
        world.refuses(asked(kind::FSTAT, handle), Status::Failure);
        let change = asked(kind::FSETSTAT, handle).attributes(&Attributes::default());
        world.refuses(change, Status::Failure);
        let extended = |name: &[u8]| Packet::extended(name, 5).string(handle);
        world.refuses(extended(b"fstatvfs@openssh.com"), Status::Failure);
        world.refuses(extended(b"fsync@openssh.com"), Status::NoSuchFile);
    }
    for handle in unknown {
        world.refuses(close(handle), Status::NoSuchFile);
        world.refuses(asked(kind::READDIR, handle), Status::Failure);
    }
    world.refuses(asked(kind::READDIR, &file), Status::Failure);
    for kind in [kind::CLOSE, kind::FSTAT, kind::READDIR] {
        world.refuses(asked(kind, &[7; 257]), Status::BadMessage);
    }
}

#[test]
fn all_requests_are_listed_as_openssh_lists_its_own() {
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

/// Requests that only look.
fn looks(handle: &[u8]) -> Vec<Packet> {
    let path = |kind| Packet::new(kind, 1).string(b"hello");
    vec![
        path(kind::STAT),
        path(kind::LSTAT),
        path(kind::REALPATH),
        Packet::new(kind::FSTAT, 1).string(handle),
        Packet::new(kind::OPENDIR, 1).string(b"dir"),
        open_file(b"hello", open::READ),
        read(handle, 0, 5),
        Packet::extended(b"statvfs@openssh.com", 1).string(b"."),
        Packet::extended(b"limits@openssh.com", 1),
    ]
}

/// Requests that change something, but for OPEN.
fn changes(handle: &[u8]) -> Vec<Packet> {
    let none = Attributes::default();
    let path = |kind| Packet::new(kind, 1).string(b"dir/inner");
    let two = |name: &[u8]| Packet::extended(name, 1).string(b"dir/inner").string(b"x");
    vec![
        write(handle, 0, b"x"),
        path(kind::SETSTAT).attributes(&none),
        Packet::new(kind::FSETSTAT, 1)
            .string(handle)
            .attributes(&none),
        path(kind::REMOVE),
        Packet::new(kind::MKDIR, 1).string(b"x").attributes(&none),
        Packet::new(kind::RMDIR, 1).string(b"empty"),
        path(kind::RENAME).string(b"x"),
        path(kind::SYMLINK).string(b"x"),
        two(POSIX_RENAME),
        two(b"hardlink@openssh.com"),
        Packet::extended(b"fsync@openssh.com", 1).string(handle),
        Packet::extended(b"lsetstat@openssh.com", 1)
            .string(b"link")
            .attributes(&none),
        Packet::extended(b"copy-data", 1)
            .string(handle)
            .u64(0)
            .u64(0)
            .string(handle)
            .u64(0),
    ]
}

#[test]
fn a_server_for_reading_only_changes_nothing() {
    use open::{APPEND, CREATE, READ, TRUNCATE, WRITE};
    let mut permits = Permits::default();
    permits.read_only();
    let mut world = World::of(permits, Level::default());
    let before = world.tree.ram().clone();
    let handle = world.opens(open_file(b"hello", open::READ));
    for packet in looks(&handle) {
        assert_ne!(world.ask(packet).kind, kind::STATUS);
    }
    for packet in changes(&handle) {
        world.refuses(packet, Status::PermissionDenied);
    }
    for flags in [
        WRITE,
        READ | WRITE,
        APPEND,
        READ | CREATE,
        READ | TRUNCATE,
        CREATE,
    ] {
        for path in [&b"hello"[..], b"new"] {
            world.refuses(open_file(path, flags), Status::PermissionDenied);
        }
    }
    world.does(close(&handle));
    world.hang_up();
    assert!(world.tree.ram().is_like(&before));
}

#[test]
fn what_is_denied_is_neither_advertised_nor_done() {
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
        let mut world = World::of(permits, Level::default());
        let version = world.ask(Packet::init());
        assert_eq!(strings(&version.body).len(), 2 * advertised);
        let path = |kind| Packet::new(kind, 1).string(b"hello");
        world.refuses(path(kind::STAT), Status::PermissionDenied);
        assert_eq!(world.ask(path(kind::LSTAT)).kind, kind::ATTRS);
        let rename = Packet::extended(POSIX_RENAME, 1)
            .string(b"hello")
            .string(b"x");
        world.refuses(rename, Status::PermissionDenied);
        for name in [&b"check-file"[..], b"check-file-name", b"check-file-handle"] {
            world.refuses(Packet::extended(name, 1), Status::PermissionDenied);
        }
    }
    let mut permits = Permits::default();
    assert_eq!(permits.deny(b"stat,nothing"), None);
    assert_eq!(permits.allow_only(b"stat@openssh.com"), None);
    assert_eq!(permits, Permits::default());
}

#[test]
fn a_denied_write_is_passed_by_whole() {
    let mut permits = Permits::default();
    permits.deny(b"write").unwrap();
    let mut world = World::of(permits, Level::default());
    let handle = world.opens(open_file(b"hello", open::WRITE));
    let both = stream(&[write(&handle, 0, &[7; 200_000]), close(&handle)]);
    let talk = world.talk(&both, || 1000);
    assert_eq!(
        statuses(&talk.output),
        [Status::PermissionDenied, Status::Ok].map(|s| s as u32)
    );
    assert_eq!(world.content(b"hello"), b"hello world");
}

#[test]
fn unknown_requests_are_answered_at_once() {
    let mut world = World::begun();
    for kind in [0, 2, 21, 22, 100, 101, 105, 199, 201, 255] {
        world.refuses(Packet::new(kind, 5), Status::Unsupported);
        world.refuses(Packet::new(kind, 5).raw(&[0xff; 1000]), Status::Unsupported);
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
    ] {
        world.refuses(Packet::extended(name, 5), Status::Unsupported);
        world.refuses(
            Packet::extended(name, 5).raw(&[0xff; 1000]),
            Status::Unsupported,
        );
    }
}

#[test]
fn what_the_host_refuses_has_the_status_that_openssh_gives() {
    for (error, status) in [
        (FsError::Permission, Status::PermissionDenied),
        (FsError::NoEntry, Status::NoSuchFile),
        (FsError::Io, Status::Failure),
        (FsError::Access, Status::PermissionDenied),
        (FsError::NotDirectory, Status::NoSuchFile),
        (FsError::Invalid, Status::BadMessage),
        (FsError::NoSpace, Status::Failure),
        (FsError::Quota, Status::Failure),
        (FsError::TooManyLinks, Status::Failure),
        (FsError::TooManyFollowed, Status::NoSuchFile),
        (FsError::NameTooLong, Status::BadMessage),
        (FsError::ReadOnly, Status::Failure),
        (FsError::NotSupported, Status::Unsupported),
        (FsError::Stale, Status::Failure),
        (FsError::TryLater, Status::Failure),
    ] {
        let mut world = World::begun();
        let handle = world.opens(open_file(b"hello", open::READ | open::WRITE));
        world.tree.host.broken.set(Some(error));
        let attributes = Attributes {
            times: Some((1, 2)),
            ..Attributes::default()
        };
        for packet in [
            open_file(b"hello", open::READ),
            Packet::new(kind::STAT, 1).string(b"hello"),
            Packet::new(kind::SETSTAT, 1)
                .string(b"hello")
                .attributes(&attributes),
            Packet::new(kind::FSETSTAT, 1)
                .string(&handle)
                .attributes(&attributes),
            Packet::new(kind::REMOVE, 1).string(b"hello"),
            Packet::new(kind::OPENDIR, 1).string(b"dir"),
            Packet::new(kind::READLINK, 1).string(b"link"),
            read(&handle, 0, 5),
            write(&handle, 0, b"x"),
            Packet::extended(b"fsync@openssh.com", 1).string(&handle),
            Packet::extended(b"fstatvfs@openssh.com", 1).string(&handle),
        ] {
            world.refuses(packet, status);
        }
        world.tree.host.broken.set(None);
        world.does(close(&handle));
        world.hang_up();
    }
}

#[test]
fn a_person_is_told_what_the_level_says_with_names_escaped() {
    let script = |level| {
        let mut world = World::of(Permits::default(), level);
        let handle = world.opens(open_file(b"hello", open::READ));
        world.ask(Packet::new(kind::STAT, 1).string(b"bad\x1bname"));
        world.ask(
            Packet::new(kind::RENAME, 1)
                .string(b"hello")
                .string(b"there"),
        );
        world.ask(Packet::new(kind::REMOVE, 1).string(&[b'x'; 1000]));
        world.ask(read(&handle, 0, 1));
        world.does(close(&handle));
        world.sink.lines()
    };
    assert!(script(Level::Quiet).is_empty() && script(Level::Error).is_empty());
    let info = script(Level::Info);
    let opened = "stowaway: open \"hello\" flags READ mode 0666";
    let status = |status| format!("stowaway: sent status {status}");
    assert_eq!(info[0], opened);
    // Of STAT, which is not logged.
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
