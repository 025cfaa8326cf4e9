//! Directories as made by VMware, and malformed ones.

use super::super::source::tests::{TestDir, memory};
use super::*;
use crate::wire::txt::Strings;
use core::fmt::Write as _;

/// A machine that a scan has found: its identity and stamp, and the values of its TXT record.
#[derive(Debug)]
struct Machine {
    id: Id,
    name: String,
    txt: Vec<String>,
}

/// Scans below `top` for a host whose lists are below `root`. Also returns true if no limit was reached.
fn scan_at(root: &TestDir, top: &CStr, known: &[Id]) -> Result<(Vec<Machine>, bool), Errno> {
    let mut found = Vec::new();
    let root = Directory::open(&root.path()).unwrap();
    let is_known = |id| known.contains(&id);
    let mut add = |record: &[u8]| {
        let machine = Found::parse(record).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        found.push(Machine {
            id: machine.id,
            name: text(machine.name),
            txt: Strings(machine.txt).map(text).collect(),
        });
    };
    let all = scan(&root, top, true, &mut memory(), &is_known, &mut add)?;
    Ok((found, all))
}

/// Returns `PATH NAME` of each machine in the order in which they are found, and true if no limit was reached. The host has no
/// lists.
fn look(test_dir: &TestDir) -> (Vec<String>, bool) {
    let top = test_dir.path();
    let (machines, all) = scan_at(&TestDir::new("no-lists"), &top, &[]).unwrap();
    let line = |machine: Machine| {
        let path = machine.txt[0].strip_prefix("path=").unwrap();
        let path = path.strip_prefix(top.to_str().unwrap()).unwrap();
        format!("{path} {}", machine.name)
    };
    (machines.into_iter().map(line).collect(), all)
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
    let (mut lines, all) = look(&test_dir);
    lines.sort();
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
fn only(test_dir: &TestDir) -> (u64, u64, String) {
    let root = TestDir::new("only-lists");
    let (mut machines, _) = scan_at(&root, &test_dir.path(), &[]).unwrap();
    assert_eq!(machines.len(), 1);
    let machine = machines.remove(0);
    (machine.id.0, machine.id.1, machine.txt[0].clone())
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
    assert!(moved.2.ends_with("/b/a.vmx"));
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
    for (name, error) in [("file", Errno::NOTDIR), ("missing", Errno::NOENT)] {
        let path = std::ffi::CString::new(test_dir.0.join(name).to_str().unwrap()).unwrap();
        let result = scan_at(&test_dir, &path, &[]);
        assert_eq!(result.map(|_| ()), Err(error), "{name}");
    }
    assert_eq!(look(&test_dir), (vec![], true));
}

const UUID: &str = "564d8a1c-5e2f-3b4c-9d0e-1f2a3b4c5d6e";

#[test]
fn unchanged_machines_are_passed_on_without_content() {
    let (root, test_dir) = (TestDir::new("known-lists"), TestDir::new("known"));
    test_dir.put("a.vmx", "displayName = \"a\"");
    let (machines, _) = scan_at(&root, &test_dir.path(), &[]).unwrap();
    let id = machines[0].id;
    let (machines, _) = scan_at(&root, &test_dir.path(), &[id]).unwrap();
    assert_eq!((machines[0].id, machines[0].name.as_str()), (id, ""));
}

/// A datastore's label is a link, its UUID a directory; their order in the directory is arbitrary.
#[test]
fn path_by_label_comes_first() {
    let test_dir = TestDir::new("labels");
    for number in 0..20 {
        test_dir.put(format!("uuid-{number}/a/a.vmx"), "displayName = \"a\"");
        let (target, label) = (format!("uuid-{number}"), format!("label-{number}"));
        std::os::unix::fs::symlink(target, test_dir.0.join(label)).unwrap();
    }
    let (lines, _) = look(&test_dir);
    assert!(
        lines[..20].iter().all(|line| line.starts_with("/label-")),
        "{lines:?}"
    );
    assert!(
        lines[20..].iter().all(|line| line.starts_with("/uuid-")),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 40);
}

#[test]
fn only_machines_registered_with_esxi_are_found() {
    let (root, test_dir) = (TestDir::new("esxi-lists"), TestDir::new("esxi"));
    let mut list = "<ConfigRoot>\n".to_string();
    // The list is longer than the buffer.
    for number in 0..1000 {
        let file = format!("store/{number}/{number}.vmx");
        test_dir.put(&file, format!("displayName = \"vm {number}\""));
        if number % 2 == 0 {
            let path = test_dir
                .0
                .join("label")
                .join(format!("{number}/{number}.vmx"));
            writeln!(list, "  <ConfigEntry id=\"{number:04}\">\n    <objID>{number}</objID>\n    <vmxCfgPath>{}</vmxCfgPath>\n  </ConfigEntry>", path.display()).unwrap();
        }
    }
    list += "  <ConfigEntry><vmxCfgPath>/nowhere/a.vmx</vmxCfgPath></ConfigEntry>\n</ConfigRoot>\n";
    assert!(list.len() > source::FILE_BYTES_MAX);
    std::os::unix::fs::symlink("store", test_dir.0.join("label")).unwrap();
    test_dir.put("store/4/4.vmx.lck", "");
    let scanned = |list: &str| {
        root.put("etc/vmware/hostd/vmInventory.xml", list);
        scan_at(&root, &test_dir.path(), &[]).unwrap().0
    };
    let found = scanned(&list);
    // Each is found by the label and by the directory's own name.
    assert_eq!(found.len(), 1000);
    for machine in found {
        let number: u32 = machine.name[3..].parse().unwrap();
        assert!(number.is_multiple_of(2));
        let is_running = machine.txt.contains(&"state=running".to_string());
        assert_eq!(is_running, number == 4);
    }
    assert_eq!(scanned("<ConfigRoot/>\n").len(), 0);
}

#[test]
fn power_state_changes_the_stamp() {
    let test_dir = TestDir::new("power");
    test_dir.put("a.vmx", "displayName = \"a\"");
    let stopped = only(&test_dir);
    test_dir.put("a.vmx.lck", "");
    let running = only(&test_dir);
    assert!(stopped.0 == running.0 && stopped.1 != running.1);
}

#[test]
fn machines_of_libvirt_and_proxmox_are_found() {
    let (root, test_dir) = (TestDir::new("host-lists"), TestDir::new("host"));
    test_dir.put("a.vmx", "displayName = \"no\"");
    let lines = || {
        let (mut machines, all) = scan_at(&root, &test_dir.path(), &[]).unwrap();
        assert!(all);
        // The first of several files of a machine counts.
        let mut ids = std::collections::HashSet::new();
        machines.retain(|machine| ids.insert(machine.id.0));
        let line = |machine: &Machine| format!("{} {}", machine.name, machine.txt.join(" "));
        let mut lines: Vec<_> = machines.iter().map(line).collect();
        lines.sort();
        (lines, machines)
    };
    // A host on which libvirt is installed and has no machines.
    root.put("etc/libvirt/qemu/networks/default.xml", "<network/>");
    root.put("etc/libvirt/qemu/broken.xml", "<domain>");
    let (found, _) = lines();
    assert_eq!(found.len(), 1);
    let domain =
        |name: &str| format!("<domain type='kvm'><name>{name}</name><uuid>{UUID}</uuid></domain>");
    let status = |name: &str| {
        format!(
            "<domstatus state='running' pid='7'>{}</domstatus>",
            domain(name)
        )
    };
    root.put("etc/libvirt/qemu/web.xml", domain("web"));
    root.put("etc/libvirt/qemu/db.xml", domain("db"));
    root.put("run/libvirt/qemu/web.xml", status("web"));
    root.put("run/libvirt/qemu/transient.xml", status("transient"));
    root.put(
        "etc/pve/qemu-server/100.conf",
        format!("name: mail\nsmbios1: uuid={UUID}\n"),
    );
    root.put("etc/pve/qemu-server/101.conf", "memory: 512\n");
    root.put("run/qemu-server/100.pid", "7\n");
    let (found, machines) = lines();
    assert_eq!(
        found,
        [
            "101 path=/etc/pve/qemu-server/101.conf".to_string(),
            format!("db path=/etc/libvirt/qemu/db.xml uuid={UUID}"),
            format!("mail path=/etc/pve/qemu-server/100.conf state=running uuid={UUID}"),
            format!("transient path=/run/libvirt/qemu/transient.xml state=running uuid={UUID}"),
            format!("web path=/run/libvirt/qemu/web.xml state=running uuid={UUID}"),
        ]
    );
    // The machine has one identity, whether it runs or not.
    std::fs::remove_file(root.0.join("run/libvirt/qemu/web.xml")).unwrap();
    let (_, stopped) = lines();
    let id = |machines: &[Machine]| machines.iter().find(|it| it.name == "web").unwrap().id;
    let (running, stopped) = (id(&machines), id(&stopped));
    assert!(running.0 == stopped.0 && running.1 != stopped.1);
}
