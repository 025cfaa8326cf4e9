//! Each procedure's successful reply in golden words, and its errors.

use super::calls::{Call, HEADER_BYTES, all_calls, large_calls};
use super::{Bench, VERIFIER, attributes, before, words};
use crate::event::{self, Event};
use crate::vfs::FsError;
use crate::wire::nfs3::Procedure;
use crate::wire::rpc::Reject;
use crate::wire::{mount, portmap};

/// Inode numbers follow from the order in which the tree is created.
const TOP: u32 = 1;
const HELLO: u32 = 2;
const EMPTY: u32 = 7;
const LINK: u32 = 8;

fn top() -> [u32; 21] {
    attributes(2, 0o755, 4096, TOP)
}

fn hello() -> [u32; 21] {
    attributes(1, 0o644, 11, HELLO)
}

/// The call of `procedure` in the list of all calls.
fn sample(bench: &mut Bench, procedure: Procedure) -> Call {
    let name = format!("{procedure:?}");
    let found = all_calls(bench)
        .into_iter()
        .find(|(other, _)| *other == name);
    found.unwrap().1
}

#[track_caller]
fn check(procedure: Procedure, expect: &[&[u32]]) {
    let mut bench = Bench::default();
    let call = sample(&mut bench, procedure);
    bench.check(&call, expect);
}

#[test]
fn null_reply_is_empty() {
    check(Procedure::Null, &[]);
}

#[test]
fn getattr_reply_has_attributes_only() {
    check(Procedure::GetAttr, &[&[0], &hello()]);
}

#[test]
fn lookup_reply_has_handle_object_and_directory() {
    let handle = words(&Bench::default().handle("hello"));
    check(
        Procedure::Lookup,
        &[&[0, 16], &handle, &[1], &hello(), &[1], &top()],
    );
}

#[test]
fn access_grants_only_requested_read_rights() {
    let mut bench = Bench::default();
    for (path, attributes, asked, granted) in [
        ("", top(), 0x3f, 0x03),
        ("", top(), 0x02, 0x02),
        ("", top(), 0x1c, 0x00),
        ("hello", hello(), 0x3f, 0x01),
        ("hello", hello(), 0x20, 0x00),
        ("hello", hello(), u32::MAX, 0x01),
    ] {
        let call = Call::of(Procedure::Access, &bench.handle(path)).word(asked);
        bench.check(&call, &[&[0, 1], &attributes, &[granted]]);
    }
}

#[test]
fn readlink_returns_the_raw_target() {
    let link = attributes(5, 0o777, 11, LINK);
    check(
        Procedure::ReadLink,
        &[&[0, 1], &link, &[11], &words(b"/etc/passwd")],
    );
    let mut bench = Bench::default();
    let long = bench.handle("long link");
    let target = bench.ask(&Call::of(Procedure::ReadLink, &long)).unwrap();
    assert_eq!(target.bytes, [b'l'; 4096]);
}

#[test]
fn read_reply_has_count_eof_and_data() {
    check(
        Procedure::Read,
        &[&[0, 1], &hello(), &[11, 1, 11], &words(b"hello world")],
    );
}

#[test]
fn empty_directory_lists_dot_and_dot_dot() {
    let mut bench = Bench::default();
    let handle = bench.handle("empty");
    let empty = attributes(2, 0o755, 4096, EMPTY);
    let head: &[&[u32]] = &[&[0, 1], &empty, &[0, 0]];
    let dot = [1, 0, EMPTY, 1, 0x2e00_0000, 0, 1];
    let dots = [1, 0, TOP, 2, 0x2e2e_0000, 0, 2];
    let end = [0, 1];
    let names = Call::of(Procedure::ReadDir, &handle).words(&[0, 0, 0, 0, 512]);
    bench.check(&names, &[head, &[&dot, &dots, &end]].concat());
    let objects = Call::of(Procedure::ReadDirPlus, &handle).words(&[0, 0, 0, 0, 512, 512]);
    let no_object = [0, 0];
    bench.check(
        &objects,
        &[head, &[&dot, &no_object, &dots, &no_object, &end]].concat(),
    );
}

#[test]
fn fsstat_fsinfo_and_pathconf_return_space_and_limits() {
    let head: &[&[u32]] = &[&[0, 1], &top()];
    let mut bench = Bench::default();
    let root = bench.tree.root(0).unwrap();
    let stat = bench.tree.statfs(root).unwrap();
    // All values but the last two differ, so a swapped field is detected.
    let words = [
        stat.total_bytes,
        stat.free_bytes,
        stat.available_bytes,
        stat.total_files,
        stat.free_files,
        stat.free_files,
    ]
    .map(|number| [0, number as u32]);
    check(
        Procedure::FsStat,
        &[head, &[words.as_flattened(), &[0]]].concat(),
    );
    let mib = 1 << 20;
    let sizes = [mib, mib, 4096, mib, mib, 4096, 64 << 10];
    let rest = [0x7fff_ffff, 0xffff_ffff, 0, 1, 0x1b];
    check(Procedure::FsInfo, &[head, &[&sizes, &rest]].concat());
    check(
        Procedure::PathConf,
        &[head, &[&[32_000, 255, 1, 1, 0, 1]]].concat(),
    );
}

#[test]
fn commit_of_unchanged_file_succeeds() {
    check(
        Procedure::Commit,
        &[&[0, 1], &before(hello()), &[1], &hello(), &words(&VERIFIER)],
    );
}

/// The words that follow the status of a failed call if its handle is invalid: "no attributes" for each object.
const fn shape_of_failure(procedure: Procedure) -> &'static [u32] {
    match procedure {
        Procedure::Null | Procedure::GetAttr => &[],
        Procedure::SetAttr
        | Procedure::Write
        | Procedure::Create
        | Procedure::MkDir
        | Procedure::SymLink
        | Procedure::MkNod
        | Procedure::Remove
        | Procedure::RmDir
        | Procedure::Commit => &[0, 0],
        Procedure::Rename => &[0, 0, 0, 0],
        Procedure::Link => &[0, 0, 0],
        _ => &[0],
    }
}

/// The call of `procedure` with `handle` as its first handle.
fn with_handle(bench: &mut Bench, procedure: Procedure, handle: &[u8]) -> Call {
    const OWN_BYTES: usize = 4 + 16;
    let Call(sample) = sample(bench, procedure);
    let mut call = Call(sample[..HEADER_BYTES].to_vec()).opaque(handle);
    call.0.extend(&sample[HEADER_BYTES + OWN_BYTES..]);
    call
}

#[test]
fn stale_handle_fails_in_each_procedures_layout() {
    let mut bench = Bench::default();
    let stale = bench.stale_handle();
    for procedure in &Procedure::ALL[1..] {
        let shape = shape_of_failure(*procedure);
        let call = with_handle(&mut bench, *procedure, &stale);
        bench.check(&call, &[&[70], shape]);
        for len in [0, 1, 15, 17, 63, 64] {
            let call = with_handle(&mut bench, *procedure, &vec![9; len]);
            bench.check(&call, &[&[10001], shape]);
        }
        let call = with_handle(&mut bench, *procedure, &[1; 65]);
        assert_eq!(bench.ask(&call), Err(Reject::Arguments), "{procedure:?}");
    }
}

/// NFS status for each error of a backend.
const STATUSES: &[(FsError, u32)] = &[
    (FsError::Permission, 1),
    (FsError::NoEntry, 2),
    (FsError::Io, 5),
    (FsError::Access, 13),
    (FsError::OtherFileSystem, 13),
    (FsError::Exists, 17),
    (FsError::CrossDevice, 18),
    (FsError::NotDirectory, 20),
    (FsError::IsDirectory, 21),
    (FsError::Invalid, 22),
    (FsError::TooLarge, 27),
    (FsError::NoSpace, 28),
    (FsError::ReadOnly, 30),
    (FsError::TooManyLinks, 31),
    (FsError::NameTooLong, 63),
    (FsError::NotEmpty, 66),
    (FsError::Quota, 69),
    (FsError::Stale, 70),
    (FsError::BadHandle, 10001),
    (FsError::BadCookie, 10003),
    (FsError::NotSupported, 10004),
    (FsError::TryLater, 10008),
];

#[test]
fn backend_errors_map_to_statuses_in_every_procedure() {
    let mut bench = Bench::default();
    for (error, status) in STATUSES {
        let handle = bench.handle("hello");
        bench.tree.host.open_error.set(Some(*error));
        for procedure in &Procedure::ALL[1..] {
            let shape = shape_of_failure(*procedure);
            let call = with_handle(&mut bench, *procedure, &handle);
            bench.check(&call, &[&[*status], shape]);
        }
    }
}

#[test]
fn late_failure_reply_has_attributes() {
    let mut bench = Bench::writable();
    let mut calls = all_calls(&mut bench);
    calls.extend(large_calls(&mut bench));
    calls.retain(|(name, _)| {
        let others = ["Null", "GetAttr", "FsInfo", "Mount", "Portmap"];
        !others.iter().any(|start| name.starts_with(start))
    });
    assert_eq!(calls.len(), 29);
    for (error, status) in STATUSES {
        bench.tree.host.io_error.set(Some(*error));
        for (name, call) in &calls {
            let body = bench.ask(call).unwrap();
            // On EACCES, ACCESS succeeds and grants nothing.
            let is_answer = name == "Access" && *error == FsError::Access;
            let status = if is_answer { 0 } else { *status };
            assert_eq!(body.status, status, "{name}");
            assert!(!is_answer || body.words.last() == Some(&0), "{name}");
            assert!(body.attributes.iter().all(Option::is_some), "{name}");
            assert!(body.before.iter().all(Option::is_some), "{name}");
        }
    }
    assert!(bench.tree.ram().is_like(&Bench::default().tree.ram()));
    let is_logged = |event: Event| {
        let lines = bench.sink.lines();
        lines.iter().any(|line| line.contains(event.text.known()))
    };
    assert!(
        is_logged(event::DISK_FAILED)
            && is_logged(event::DISK_FULL)
            && is_logged(event::OTHER_FILE_SYSTEM)
    );
}

#[test]
fn mount_returns_directory_handle_in_both_versions() {
    let mut bench = Bench::default();
    let [top, dir] = ["", "dir"].map(|path| bench.handle(path));
    for (path, handle) in [
        ("/export", &top),
        ("/export/", &top),
        ("//export/./dir", &dir),
    ] {
        let handle = words(handle);
        let call = |version| Call::mount(version, path.as_bytes());
        bench.check(&call(3), &[&[0, 16], &handle, &[1, 1]]);
        bench.check(&call(1), &[&[0], &handle, &[0; 4]]);
    }
    assert_eq!(bench.sink.lines()[0], "stowaway: 192.0.2.7 mounted /export");
}

#[test]
fn unmountable_path_has_its_error() {
    let mut bench = Bench::default();
    let long = [b"/export/", &[b'x'; 256][..]].concat();
    bench.tree.ram().symlink("out", b"/etc");
    bench.tree.ram().symlink("loop", b"dir/../loop");
    for (path, status) in [
        (&b"/exports"[..], 13),
        (b"/", 13),
        (b"", 13),
        (b"export", 13),
        (b"/export/dir/../../etc", 2),
        (b"/export/none", 2),
        (b"/export/fifo", 20),
        (b"/export/hello/x", 20),
        (b"/export/out", 2),
        (b"/export/loop", 10_006),
        (b"/export/d\0r", 22),
        (&long, 63),
    ] {
        for version in [1, 3] {
            bench.check(&Call::mount(version, path), &[&[status]]);
        }
    }
    let lines = bench.sink.lines();
    assert!(lines[0].starts_with("stowaway: 192.0.2.7 may not mount /exports: "));
    assert_eq!(lines.len(), 10, "one peer has ten lines a minute");
    for (len, refused) in [(1024, false), (1025, true)] {
        let answer = bench.ask(&Call::mount(3, &vec![b'/'; len]));
        assert_eq!(answer == Err(Reject::Arguments), refused);
    }
}

#[test]
fn mount_follows_links_inside_the_export() {
    let mut bench = Bench::default();
    for (link, target) in [
        ("current", &b"dir"[..]),
        ("dir/up", b"../hello"),
        ("above", b"../../current/./up"),
        ("absolute", b"/export/current/inner"),
    ] {
        bench.tree.ram().symlink(link, target);
    }
    for (path, expect) in [
        (&b"/export/.."[..], ""),
        (b"/export/current", "dir"),
        (b"/export//current/", "dir"),
        (b"/export/current/..", ""),
        (b"/export/current/up", "hello"),
        (b"/export/above", "hello"),
        (b"/export/absolute", "dir/inner"),
        (b"/export/hello", "hello"),
    ] {
        let handle = bench.handle(expect);
        let body = bench.ask(&Call::mount(3, path)).unwrap();
        assert_eq!((body.status, &body.handle), (0, &handle), "{expect}");
    }
}

#[test]
fn dump_lists_mounts_until_umount() {
    use mount::procedure::{DUMP, EXPORT, UMNT, UMNTALL};
    let mut bench = Bench::default();
    for version in [1, 3] {
        let call = |procedure| Call::new(mount::PROGRAM, version, procedure);
        let list = |bench: &mut Bench| bench.ask(&call(DUMP)).unwrap().names;
        let export = b"/export".to_vec();
        assert_eq!(
            bench.ask(&call(EXPORT)).unwrap().names,
            core::slice::from_ref(&export)
        );
        assert!(list(&mut bench).is_empty());
        for gone in [call(UMNT).opaque(b"/export"), call(UMNTALL)] {
            bench.ask(&Call::mount(version, b"/export/dir")).unwrap();
            bench.ask(&Call::mount(version, b"/export")).unwrap();
            let once = [b"192.0.2.7".to_vec(), export.clone()];
            assert_eq!(list(&mut bench), once);
            bench.check(&gone, &[]);
            assert!(list(&mut bench).is_empty());
        }
        bench.check(&call(UMNT).opaque(b"/nowhere"), &[]);
    }
}

#[test]
fn portmapper_returns_its_table() {
    let mut bench = Bench::default();
    let call = |procedure| Call::new(portmap::PROGRAM, 2, procedure);
    bench.check(&call(3).words(&[100_003, 3, 6, 0]), &[&[2049]]);
    bench.check(&call(3).words(&[100_003, 4, 6, 0]), &[&[0]]);
    let nfs = [1, 100_003, 3, 6, 2049];
    let mount = [1, 100_005, 3, 6, 2049];
    bench.check(&call(4), &[&nfs, &mount, &[0]]);
    bench.check(&call(0), &[]);
}

/// A machine without an operating system repeats a call for which a disk must read something. Only its files are on such disks, and
/// those are read-only.
#[cfg(bare)]
#[test]
fn call_waiting_for_disk_is_answered_alike() {
    let mut waited = 0;
    for (name, call) in all_calls(&mut Bench::default()) {
        let mut bench = Bench::default();
        bench.tree.ram().writable = false;
        let expect = format!("{:?}", bench.ask(&call));
        for waits in 1..4 {
            let mut bench = Bench::default();
            bench.tree.ram().writable = false;
            bench.tree.host.waits_left.set(waits);
            assert_eq!(format!("{:?}", bench.ask(&call)), expect, "{name}");
            waited += u32::from(bench.tree.host.waits_left.take() == 0);
            assert_eq!(bench.tree.ram().pinned, 0, "{name}");
        }
    }
    assert!(waited > 10, "only {waited} calls have waited");
}
