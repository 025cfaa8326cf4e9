//! LOOKUP with every kind of name; READDIR and READDIRPLUS with every page size.

use super::World;
use super::calls::Call;
use super::replies::DirEntry;
use crate::wire::nfs3::Procedure;
use crate::wire::rpc::Reject;
use std::collections::BTreeSet;

const TOO_SMALL: u32 = 10005;
const NOT_DIRECTORY: u32 = 20;
const BAD_COOKIE: u32 = 10003;

#[test]
fn invalid_lookup_names_have_their_errors() {
    let mut world = World::default();
    let [top, many] = ["", "many"].map(|path| world.handle(path));
    for (name, status) in [
        (&b""[..], 13),
        (b"a/b", 22),
        (b"/", 22),
        (b"hel\0lo", 22),
        (b"hello\0", 22),
        (b"Hello", 2),
        (&[b'm'; 255], 2),
        (&[b'm'; 256], 63),
        (&[b'm'; 1024], 63),
    ] {
        let body = world.ask(&Call::lookup(&top, name)).unwrap();
        assert_eq!(body.status, status, "{name:?}");
        assert!(
            body.attributes[0].is_some(),
            "the reply lacks the directory's attributes"
        );
    }
    let too_long = Call::lookup(&top, &[b'm'; 1025]);
    assert_eq!(world.ask(&too_long), Err(Reject::Arguments));
    let longest = Call::lookup(&many, &[b'm'; 255]);
    assert_eq!(world.ask(&longest).unwrap().status, 0);
}

#[test]
fn dot_names_resolve_to_directory_and_parent() {
    let mut world = World::default();
    let [top, dir, hello] = ["", "dir", "hello"].map(|path| world.handle(path));
    for (from, name, to) in [
        (&top, &b"."[..], &top),
        (&top, b"..", &top),
        (&dir, b".", &dir),
        (&dir, b"..", &top),
    ] {
        let attr = world.attributes(to);
        let body = world.ask(&Call::lookup(from, name)).unwrap();
        assert_eq!((body.status, &body.handle), (0, to), "{name:?}");
        assert_eq!(body.attributes[0], Some(attr));
    }
    for name in [&b"."[..], b".."] {
        let body = world.ask(&Call::lookup(&hello, name)).unwrap();
        assert_eq!(body.status, NOT_DIRECTORY);
    }
}

/// READDIR: `count`. READDIRPLUS: `dircount` and `maxcount`.
type Counts = (u32, Option<u32>);

fn page(handle: &[u8], cookie: u64, (names, all): Counts) -> Call {
    let procedure = match all {
        None => Procedure::ReadDir,
        Some(_) => Procedure::ReadDirPlus,
    };
    let call = Call::of(procedure, handle).long(cookie).long(0).word(names);
    match all {
        None => call,
        Some(all) => call.word(all),
    }
}

/// All entries of a directory, page by page. `None` if a page was too small for an entry.
fn list(world: &mut World, path: &str, counts: Counts) -> Option<Vec<DirEntry>> {
    let handle = world.handle(path);
    let mut listed = Vec::new();
    let mut cookie = 0;
    loop {
        let call = page(&handle, cookie, counts);
        let len = world.reply(&call).len();
        let mut body = world.ask(&call).unwrap();
        if body.status == TOO_SMALL {
            assert!(body.attributes[0].is_some());
            return None;
        }
        assert_eq!(body.status, 0);
        let end = body.words[2] == 1;
        match body.entries.last() {
            Some(last) => {
                let limit = counts.1.unwrap_or(counts.0) as usize;
                assert!(len - 28 <= limit, "{} bytes for {limit}", len - 28);
                cookie = last.cookie;
            }
            None => assert!(end, "an empty page that is not the end"),
        }
        listed.append(&mut body.entries);
        if end {
            return Some(listed);
        }
    }
}

/// Lists the directory with every page size. From `suffices` bytes on, no page may be too small.
fn check(suffices: u32, counts: fn(u32) -> Counts) {
    let mut world = World::default();
    let whole = list(&mut world, "many", counts(65_536)).unwrap();
    let names: BTreeSet<&[u8]> = whole.iter().map(|entry| &entry.name[..]).collect();
    assert_eq!((names.len(), whole.len()), (103, 103));
    for size in 0..=600 {
        let listed = list(&mut world, "many", counts(size));
        assert_eq!(listed.is_some(), size >= suffices, "{size} bytes");
        assert!(listed.is_none_or(|listed| listed == whole), "{size} bytes");
    }
}

/// Page bytes for an entry with a name of 255 bytes: attributes, verifier, entry, end. The status (4 bytes) is not included.
const LONGEST_NAME: u32 = 88 + 8 + (24 + 256) + 8;
/// Page bytes for a READDIRPLUS entry: also its attributes and handle. The server counts the status (4 bytes) as well.
const LONGEST_OBJECT: u32 = LONGEST_NAME + (4 + 84) + (4 + 4 + 16);

#[test]
fn readdir_pages_list_every_entry_once() {
    check(LONGEST_NAME + 4, |size| (size, None));
}

#[test]
fn readdirplus_pages_list_every_entry_once() {
    check(LONGEST_OBJECT + 4, |size| (u32::MAX, Some(size)));
}

#[test]
fn small_dircount_never_makes_a_page_empty() {
    check(0, |size| (size, Some(600)));
}

#[test]
fn page_size_is_limited_by_the_server() {
    let mut world = World::default();
    for counts in [(u32::MAX, None), (u32::MAX, Some(u32::MAX))] {
        assert_eq!(list(&mut world, "many", counts).unwrap().len(), 103);
    }
}

#[test]
fn readdirplus_entries_match_lookup() {
    let mut world = World::default();
    let top = world.handle("");
    let entries = list(&mut world, "", (4096, Some(4096))).unwrap();
    assert_eq!(entries.len(), 11);
    for entry in entries {
        if matches!(&entry.name[..], b"." | b"..") {
            assert_eq!((entry.attributes, entry.handle), (None, None));
            continue;
        }
        let found = world.ask(&Call::lookup(&top, &entry.name)).unwrap();
        assert_eq!(Some(found.handle), entry.handle);
        assert_eq!(found.attributes[0], entry.attributes);
        assert_eq!(entry.attributes.unwrap()[14], entry.inode as u32);
    }
}

#[test]
fn unknown_cookie_is_refused() {
    let mut world = World::default();
    let many = world.handle("many");
    for (cookie, status) in [(103, 0), (104, BAD_COOKIE), (u64::MAX, BAD_COOKIE)] {
        for counts in [(1024, None), (1024, Some(1024))] {
            let body = world.ask(&page(&many, cookie, counts)).unwrap();
            assert_eq!((body.status, body.entries.len()), (status, 0));
            assert!(body.attributes[0].is_some());
        }
    }
}
