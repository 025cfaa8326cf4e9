//! Directories as made by VMware, and malformed ones.

use super::super::source::tests::{Place, memory};
use super::*;

/// Returns `PATH NAME` or `PATH ERROR` of each file, sorted, and true if no limit was reached.
fn look(place: &Place) -> (Vec<String>, bool) {
    let mut lines = Vec::new();
    let top = place.path();
    let all = list(&top, &mut |seen| {
        let path = seen.path.strip_prefix(top.to_bytes()).unwrap();
        let path = String::from_utf8_lossy(path).into_owned();
        let read = seen.read(&mut memory()).map(|file| seen.machine(file));
        lines.push(match read {
            Ok(None) => return,
            Ok(Some(machine)) => {
                format!("{path} {}", String::from_utf8_lossy(machine.name.bytes()))
            }
            Err(error) => format!("{path} {error:?}"),
        });
    });
    lines.sort();
    (lines, all.unwrap())
}

#[test]
fn machines_are_found_in_subdirectories() {
    let place = Place::new("vms");
    place.put("here.vmx", "displayName = \"Here\"");
    place.put(
        "nas/nas.vmx",
        "displayName = \"The NAS\"\nguestOS = \"other\"",
    );
    place.put("nas/nas.vmx.bak", "displayName = \"no\"");
    place.put("nas/nas.vmdk", "no");
    place.put("nas/deeper/yes.vmx", "displayName = \"yes\"");
    place.put("1/2/3/4/5/6/deep.vmx", "displayName = \"deep\"");
    place.put("1/2/3/4/5/6/7/no.vmx", "displayName = \"no\"");
    place.put(
        "un named/un named.vmx",
        "#!/usr/bin/vmware\nconfig.version = \"8\"",
    );
    place.put("empty/empty.vmx", "");
    place.put("broken/broken.vmx", [0xff; 300]);
    place.put("two/a.vmx", "displayName = \"a\"");
    place.put("two/b.vmx", "displayName = \"b\"");
    place.put(".snapshot/no.vmx", "displayName = \"no\"");
    place.put("two/.hidden.vmx", "displayName = \"no\"");
    place.put("dir.vmx/c.vmx", "displayName = \"c\"");
    place.put("long/long.vmx", [b'x'; source::FILE_BYTES_MAX + 1]);
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, place.0.join(name)).unwrap();
    };
    link("here.vmx", "link.vmx");
    // Links in the top directory, as for ESXi's datastore labels; and deeper links, which are not followed.
    link("nas", "label");
    link(".", "nas/circle");
    link("nas", "fifo-dir");
    link("gone", "dangling");
    place.fifo("fifo.vmx");
    let (lines, all) = look(&place);
    assert_eq!(
        lines,
        [
            "/1/2/3/4/5/6/deep.vmx deep",
            "/dir.vmx/c.vmx c",
            "/fifo-dir/deeper/yes.vmx yes",
            "/fifo-dir/nas.vmx The NAS",
            "/here.vmx Here",
            "/label/deeper/yes.vmx yes",
            "/label/nas.vmx The NAS",
            &format!("/long/long.vmx {:?}", FsError::TooLarge),
            "/nas/deeper/yes.vmx yes",
            "/nas/nas.vmx The NAS",
            "/two/a.vmx a",
            "/two/b.vmx b",
            "/un named/un named.vmx un named",
        ]
    );
    assert!(all);
}

/// Returns the identity, stamp and path of the only machine.
fn only(place: &Place) -> (u64, u64, Vec<u8>) {
    let mut found = Vec::new();
    list(&place.path(), &mut |seen| {
        found.push((seen.id.0, seen.id.1, seen.path.to_vec()));
    })
    .unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn identity_survives_rename_and_stamp_shows_changes() {
    let place = Place::new("again");
    place.put("a/a.vmx", "displayName = \"a\"");
    let first = only(&place);
    assert_eq!(only(&place), first);
    std::fs::rename(place.0.join("a"), place.0.join("b")).unwrap();
    let moved = only(&place);
    assert_eq!((moved.0, moved.1), (first.0, first.1));
    assert!(moved.2.ends_with(b"/b/a.vmx"));
    place.put("b/a.vmx", "displayName = \"ab\"");
    let changed = only(&place);
    assert!(changed.0 == first.0 && changed.1 != first.1);
}

#[test]
fn machine_limit_ends_the_scan() {
    let place = Place::new("thousand");
    for number in 0..=MACHINE_COUNT_MAX {
        place.put(format!("{}/{number}.vmx", number % 7), "displayName=a");
    }
    let (lines, all) = look(&place);
    assert_eq!((lines.len(), all), (MACHINE_COUNT_MAX, false));
}

#[test]
fn unreadable_directory_fails() {
    let place = Place::new("novms");
    place.put("file", "");
    for (name, error) in [
        ("file", FsError::NotDirectory),
        ("missing", FsError::NoEntry),
    ] {
        let path = std::ffi::CString::new(place.0.join(name).to_str().unwrap()).unwrap();
        assert_eq!(list(&path, &mut |_| {}), Err(error), "{name}");
    }
    assert_eq!(look(&place), (vec![], true));
}
