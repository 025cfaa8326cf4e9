//! Hosts of several kinds, each a small tree of files.

use super::super::source::tests::{TestDir, memory};
use super::*;
use std::io::{Seek as _, Write as _};

const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";
const RAW_UUID: [u8; 16] = *b"\x33\x22\x11\0\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff";

/// Formats vendor, product, serial number and UUID.
fn shown(hardware: &HardwareId) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut buffer = [0; Uuid::TEXT_BYTES];
    let mut out = Writer::new(&mut buffer);
    if let Some(uuid) = hardware.uuid {
        uuid.emit(&mut out);
    }
    let uuid = text(out.since(0));
    let words = hardware.words.each_ref().map(|word| text(word.bytes()));
    format!("{}, {}", words.join(", "), uuid)
}

fn find(test_dir: &TestDir, is_private: bool) -> String {
    let root = Directory::open(&test_dir.path()).unwrap();
    let mut hardware = HardwareId::default();
    hardware.find(&root, is_private, &mut memory());
    shown(&hardware)
}

/// Makes an SMBIOS type 1 structure (system information) with these strings.
fn table(strings: [&str; 3]) -> Vec<u8> {
    let mut bytes = vec![1, 27, 1, 0, 1, 2, 0, 3];
    bytes.extend(RAW_UUID);
    bytes.extend([6, 0, 0]);
    for string in strings {
        bytes.extend(string.as_bytes());
        bytes.push(0);
    }
    bytes.push(0);
    bytes
}

/// Makes an SMBIOS 3.2 entry point for a table of `len` bytes at `address`.
fn entry(address: u64, len: usize) -> Vec<u8> {
    let mut bytes = b"_SM3_\0\x18\x03\x02\0\x01\0".to_vec();
    bytes.extend((len as u32).to_le_bytes());
    bytes.extend(address.to_le_bytes());
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[5] = sum.wrapping_neg();
    bytes
}

#[test]
fn smbios_tables_come_first() {
    let test_dir = TestDir::new("tables");
    let table = table(["Dell Inc.", "PowerEdge R640", "ABC1234"]);
    test_dir.put(
        "sys/firmware/dmi/tables/smbios_entry_point",
        entry(0, table.len()),
    );
    test_dir.put("sys/firmware/dmi/tables/DMI", &table);
    test_dir.put("sys/class/dmi/id/sys_vendor", "Other\n");
    assert_eq!(find(&test_dir, false), "Dell Inc., PowerEdge R640, , ");
    assert_eq!(
        find(&test_dir, true),
        format!("Dell Inc., PowerEdge R640, ABC1234, {UUID}")
    );
    // Vendor and serial number in the table are fillers ("Default string", "None"), so they are read from the files with single
    // fields.
    test_dir.put(
        "sys/firmware/dmi/tables/DMI",
        self::table(["Default string", "Box", "None"]),
    );
    test_dir.put("sys/class/dmi/id/product_serial", " S-1 \n");
    assert_eq!(find(&test_dir, true), format!("Other, Box, S-1, {UUID}"));
}

#[test]
fn sysfs_fields_are_read_without_tables() {
    let test_dir = TestDir::new("fields");
    test_dir.put("sys/class/dmi/id/sys_vendor", "QEMU\n");
    test_dir.put(
        "sys/class/dmi/id/product_name",
        "Standard PC (Q35 + ICH9, 2009)\n",
    );
    test_dir.put("sys/class/dmi/id/product_serial", "Not Specified\n");
    test_dir.put("sys/class/dmi/id/product_uuid", format!("{UUID}\n"));
    let public = "QEMU, Standard PC (Q35 + ICH9, 2009), , ";
    assert_eq!(find(&test_dir, false), public);
    assert_eq!(find(&test_dir, true), format!("{public}{UUID}"));
}

#[test]
fn devicetree_model_and_serial_are_read() {
    for (model, expect) in [
        (
            "Raspberry Pi 4 Model B Rev 1.4\0",
            "Raspberry Pi, Raspberry Pi 4 Model B Rev 1.4",
        ),
        ("Hardkernel ODROID-C2\0", "Hardkernel, Hardkernel ODROID-C2"),
        ("Unknown\0", ", "),
        ("Board\0", "Board, Board"),
        ("\0", ", "),
    ] {
        let test_dir = TestDir::new("tree");
        test_dir.put("proc/device-tree/model", model);
        test_dir.put("proc/device-tree/serial-number", "10000000abcdef01\0");
        assert_eq!(find(&test_dir, false), format!("{expect}, , "), "{model}");
        let private = format!("{expect}, 10000000abcdef01, ");
        assert_eq!(find(&test_dir, true), private, "{model}");
    }
}

#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
fn dev_mem_is_searched_without_sysfs() {
    let test_dir = TestDir::new("memory");
    let table = table(["VMware, Inc.", "VMware7,1", "VMware-56 4d"]);
    for address in [0xe_0000, 0x1_4000_0000] {
        test_dir.put("dev/mem", "");
        let mut memory = std::fs::File::create(test_dir.0.join("dev/mem")).unwrap();
        for (at, bytes) in [(0xf_5a10, &entry(address, table.len())), (address, &table)] {
            memory.seek(std::io::SeekFrom::Start(at)).unwrap();
            memory.write_all(bytes).unwrap();
        }
        assert_eq!(find(&test_dir, false), "VMware, Inc., VMware7,1, , ");
        assert_eq!(
            find(&test_dir, true),
            format!("VMware, Inc., VMware7,1, VMware-56 4d, {UUID}")
        );
    }
    // If sysfs has tables, /dev/mem must not be read.
    test_dir.put("sys/firmware/dmi/tables/smbios_entry_point", entry(0, 0));
    test_dir.put("sys/firmware/dmi/tables/DMI", "");
    assert_eq!(find(&test_dir, true), ", , , ");
}

#[test]
fn missing_or_malformed_data_is_ignored() {
    let test_dir = TestDir::new("nobody");
    assert_eq!(find(&test_dir, true), ", , , ");
    test_dir.put("dev/mem", [0xff; 100]);
    test_dir.put("sys/firmware/dmi/tables/smbios_entry_point", "_SM3_");
    test_dir.put("sys/firmware/dmi/tables/DMI", [1; 100]);
    test_dir.put("sys/class/dmi/id/sys_vendor/inside", "a directory");
    test_dir.put("sys/class/dmi/id/product_uuid", "none");
    test_dir.put("proc/device-tree/model", "");
    assert_eq!(find(&test_dir, true), ", , , ");
    // The entry point in /dev/mem is valid, but the address of the table is not: nothing is found.
    test_dir.put(
        "dev/mem",
        [vec![0; 0xf_0000], entry(u64::MAX - 5, 5)].concat(),
    );
    assert_eq!(find(&test_dir, true), ", , , ");
}

#[test]
fn long_words_and_control_bytes_are_cleaned() {
    let test_dir = TestDir::new("clean");
    test_dir.put("sys/class/dmi/id/sys_vendor", " A\x1b[2J\tB \n");
    test_dir.put("sys/class/dmi/id/product_name", "xy".repeat(50_000));
    assert_eq!(
        find(&test_dir, false),
        format!("A [2J B, {}x, , ", "xy".repeat(31))
    );
}

#[test]
fn hwid_option_is_parsed() {
    let check = |text: &str, expect: Option<&str>| {
        let mut hardware = HardwareId::default();
        let found = hardware.parse(text.as_bytes()).map(|()| shown(&hardware));
        assert_eq!(found.as_deref(), expect, "{text}");
    };
    check("Acme,Box", Some("Acme, Box, , "));
    check(",Box", Some(", Box, , "));
    check("Acme,Box,S1", Some("Acme, Box, S1, "));
    let whole = format!("Acme, Box, S1, {UUID}");
    check(&format!("Acme,Box,S1,{UUID}"), Some(&whole));
    check(r"VMware\, Inc.,a\\b,,", Some(r"VMware, Inc., a\b, , "));
    for bad in [
        "",
        "Acme",
        "Acme,",
        "Acme,Box,S1,x",
        "Acme,Box,,,",
        r"Acme,Bo\x",
    ] {
        check(bad, None);
    }
    check(&format!("A,B,C,{UUID},more"), None);
}
