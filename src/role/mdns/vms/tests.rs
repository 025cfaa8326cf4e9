//! Directories as made by VMware, and malformed ones.

use super::super::source::tests::{TestDir, memory};
use super::*;

/// Returns `PATH NAME` or `PATH ERROR` of each file, sorted, and true if no limit was reached.
fn look(test_dir: &TestDir) -> (Vec<String>, bool) {
    let mut lines = Vec::new();
    let top = test_dir.path();
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
    let test_dir = TestDir::new("vms");
    test_dir.put("here.vmx", "displayName = \"Here\"");
    test_dir.put(
        "nas/nas.vmx",
        "displayName = \"The NAS\"\nguestOS = \"other\"",
    );
    test_dir.put("nas/nas.vmx.bak", "displayName = \"no\"");
    test_dir.put("nas/nas.vmdk", "no");
    test_dir.put("nas/deeper/yes.vmx", "displayName = \"yes\"");
    test_dir.put("1/2/3/4/5/6/deep.vmx", "displayName = \"deep\"");
    test_dir.put("1/2/3/4/5/6/7/no.vmx", "displayName = \"no\"");
    test_dir.put(
        "un named/un named.vmx",
        "#!/usr/bin/vmware\nconfig.version = \"8\"",
    );
    test_dir.put("empty/empty.vmx", "");
    test_dir.put("broken/broken.vmx", [0xff; 300]);
    test_dir.put("two/a.vmx", "displayName = \"a\"");
    test_dir.put("two/b.vmx", "displayName = \"b\"");
    test_dir.put(".snapshot/no.vmx", "displayName = \"no\"");
    test_dir.put("two/.hidden.vmx", "displayName = \"no\"");
    test_dir.put("dir.vmx/c.vmx", "displayName = \"c\"");
    test_dir.put("long/long.vmx", [b'x'; source::FILE_BYTES_MAX + 1]);
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, test_dir.0.join(name)).unwrap();
    };
    link("here.vmx", "link.vmx");
    // Links in the top directory are followed, because ESXi's datastore labels are such links; deeper links are not followed.
    link("nas", "label");
    link(".", "nas/circle");
    link("nas", "fifo-dir");
    link("gone", "dangling");
    test_dir.fifo("fifo.vmx");
    let (lines, all) = look(&test_dir);
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
fn only(test_dir: &TestDir) -> (u64, u64, Vec<u8>) {
    let mut found = Vec::new();
    list(&test_dir.path(), &mut |seen| {
        found.push((seen.id.0, seen.id.1, seen.path.to_vec()));
    })
    .unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn identity_survives_rename_and_stamp_shows_changes() {
    let test_dir = TestDir::new("again");
    test_dir.put("a/a.vmx", "displayName = \"a\"");
    let first = only(&test_dir);
    assert_eq!(only(&test_dir), first);
    std::fs::rename(test_dir.0.join("a"), test_dir.0.join("b")).unwrap();
    let moved = only(&test_dir);
    assert_eq!((moved.0, moved.1), (first.0, first.1));
    assert!(moved.2.ends_with(b"/b/a.vmx"));
    test_dir.put("b/a.vmx", "displayName = \"ab\"");
    let changed = only(&test_dir);
    assert!(changed.0 == first.0 && changed.1 != first.1);
}

#[test]
fn machine_limit_ends_the_scan() {
    let test_dir = TestDir::new("thousand");
    for number in 0..=MACHINE_COUNT_MAX {
        test_dir.put(format!("{}/{number}.vmx", number % 7), "displayName=a");
    }
    let (lines, all) = look(&test_dir);
    assert_eq!((lines.len(), all), (MACHINE_COUNT_MAX, false));
}

#[test]
fn unreadable_directory_fails() {
    let test_dir = TestDir::new("novms");
    test_dir.put("file", "");
    for (name, error) in [
        ("file", FsError::NotDirectory),
        ("missing", FsError::NoEntry),
    ] {
        let path = std::ffi::CString::new(test_dir.0.join(name).to_str().unwrap()).unwrap();
        assert_eq!(list(&path, &mut |_| {}), Err(error), "{name}");
    }
    assert_eq!(look(&test_dir), (vec![], true));
}
