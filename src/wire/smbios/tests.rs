//! SMBIOS tables as firmware provides them, and damaged ones.

use super::*;

const UUID: [u8; 16] = [
    0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
];

/// A structure with these fields after its header, and these strings.
fn structure(kind: u8, fields: &[u8], strings: &[&str]) -> Vec<u8> {
    let mut bytes = vec![kind, fields.len() as u8 + 4, kind, 0];
    bytes.extend(fields);
    for string in strings {
        bytes.extend(string.as_bytes());
        bytes.push(0);
    }
    if strings.is_empty() {
        bytes.push(0);
    }
    bytes.push(0);
    bytes
}

fn system(strings: &[&str], uuid: [u8; 16]) -> Vec<u8> {
    let fields = [&[1, 2, 3, 4][..], &uuid, &[6, 0, 0]].concat();
    structure(1, &fields, strings)
}

fn board(strings: &[&str]) -> Vec<u8> {
    structure(2, &[1, 2, 3, 4, 5, 9, 0, 0, 0, 10, 0], strings)
}

/// A table with the structures BIOS, system, baseboard, chassis and end of table.
fn table(strings: &[&str], uuid: [u8; 16]) -> Vec<u8> {
    [
        structure(0, &[1, 2, 0, 0xe8, 3, 0xff], &["BIOS vendor", "1.0"]),
        structure(3, &[1, 3, 2, 3, 4], &["Case maker", "v", "case-7", "tag"]),
        board(&["Board maker", "X11", "v", "board-7"]),
        system(strings, uuid),
        structure(127, &[], &[]),
    ]
    .concat()
}

fn check(table: &[u8], expect: [&str; 3]) {
    let found = Hardware::parse(table, (3, 2));
    assert_eq!(found.words, expect.map(str::as_bytes));
}

#[test]
fn smbios_type_1_is_parsed() {
    let table = table(&["Dell Inc.", "PowerEdge R640", "v", "ABC1234"], UUID);
    check(&table, ["Dell Inc.", "PowerEdge R640", "ABC1234"]);
    let new = Hardware::parse(&table, (2, 6)).uuid.unwrap();
    let text = Uuid::parse(b"00112233-4455-6677-8899-aabbccddeeff");
    assert_eq!(Some(new), text);
    // Before SMBIOS 2.6 the UUID bytes are not swapped.
    assert_eq!(Hardware::parse(&table, (2, 5)).uuid, Some(Uuid(UUID)));
}

#[test]
fn board_values_replace_missing_system_values() {
    let filler = [
        "To Be Filled By O.E.M.",
        "System Product Name",
        "v",
        "Default string",
    ];
    let unknown = table(&filler, [0; 16]);
    check(&unknown, ["Board maker", "X11", "board-7"]);
    assert_eq!(Hardware::parse(&unknown, (3, 2)).uuid, None);
    let unknown = table(&["  ", "Real", "v", "00000000"], [0xff; 16]);
    check(&unknown, ["Board maker", "Real", "board-7"]);
    assert_eq!(Hardware::parse(&unknown, (3, 2)).uuid, None);
    let case = [
        system(&["Not Specified", "None", "v", "."], UUID),
        board(&["Default string", "Default string", "Default string", "x"]),
        structure(3, &[1, 3, 2, 3, 4], &["Case maker", "v", "case-7", "tag"]),
    ];
    // The chassis type is not used as the product.
    check(&case.concat(), ["Case maker", "", "case-7"]);
}

#[test]
fn filler_values_are_recognised_in_any_case() {
    for text in [
        "",
        " ",
        "To be filled by O.E.M.",
        "DEFAULT STRING",
        "Not Specified ",
        "0000",
        "xxxxxxx",
        "...",
        "None",
        "0123456789",
        "System Serial Number",
    ] {
        assert!(is_filler(text.as_bytes()), "{text}");
    }
    for text in [
        "Dell Inc.",
        "VMware, Inc.",
        "Default string 2",
        "01",
        "QEMU",
    ] {
        assert!(!is_filler(text.as_bytes()), "{text}");
    }
}

#[test]
fn prefixes_and_mutations_never_panic() {
    let mut table = table(&["Dell Inc.", "PowerEdge R640", "v", "ABC1234"], UUID);
    for len in 0..table.len() {
        Hardware::parse(&table[..len], (3, 2));
    }
    for at in 0..table.len() {
        let old = table[at];
        for byte in [0, 1, 2, 3, 4, 0x7f, 0x80, 0xff] {
            table[at] = byte;
            Hardware::parse(&table, (3, 2));
        }
        table[at] = old;
    }
    // Structures shorter than a header, and numbers of strings that do not exist: the values must be empty.
    check(&[1, 0, 0, 0, 0, 0].repeat(10_000), ["", "", ""]);
    check(&[0; 65536], ["", "", ""]);
    check(&system(&["Only one"], UUID), ["Only one", "", ""]);
    check(&system(&[], UUID), ["", "", ""]);
}

/// Sets the checksum byte at `at` so that the sum of all bytes is 0.
fn sum_up(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[at] = sum.wrapping_neg();
}

fn entry_2() -> Vec<u8> {
    let mut bytes =
        b"_SM_\0\x1f\x02\x08\x00\x01\0\0\0\0\0\0_DMI_\0\x34\x12\x00\x00\x0e\0\x20\0\x28".to_vec();
    sum_up(&mut bytes[16..], 5);
    sum_up(&mut bytes, 4);
    bytes
}

fn entry_3() -> Vec<u8> {
    let mut bytes = b"_SM3_\0\x18\x03\x02\0\x01\0\x00\x10\0\0\x00\0\0\x80\x01\0\0\0".to_vec();
    sum_up(&mut bytes, 5);
    bytes
}

#[test]
fn both_entry_points_are_found() {
    let expect = [
        (entry_2(), (2, 8), 0xe_0000, 0x1234),
        (entry_3(), (3, 2), 0x1_8000_0000, 0x1000),
    ];
    for (bytes, version, address, len) in expect {
        let entry = EntryPoint {
            version,
            address,
            len,
        };
        assert_eq!(EntryPoint::parse(&bytes), Some(entry));
        for place in [0, 16, 0x5000, AREA_BYTES - 32] {
            let mut memory = vec![0xff; AREA_BYTES];
            // The entry point is at `place`. If there is space before it, add one with a wrong checksum, and an anchor without an
            // entry point; the search must skip both.
            memory[place..][..bytes.len()].copy_from_slice(&bytes);
            if place > 16 {
                memory[..bytes.len()].copy_from_slice(&bytes);
                memory[8] ^= 1;
                memory[16..20].copy_from_slice(b"_SM_");
            }
            assert_eq!(EntryPoint::find(&memory), Some(entry), "{place}");
        }
        // An entry point at an offset that is no multiple of 16 must not be found.
        let mut memory = vec![0; 64];
        memory[8..][..bytes.len()].copy_from_slice(&bytes);
        assert_eq!(EntryPoint::find(&memory), None);
    }
}

#[test]
fn altered_entry_point_is_rejected() {
    for mut bytes in [entry_2(), entry_3()] {
        for len in 0..bytes.len() {
            assert_eq!(EntryPoint::parse(&bytes[..len]), None, "{len}");
        }
        for at in 0..bytes.len() {
            bytes[at] ^= 0x10;
            assert_eq!(EntryPoint::parse(&bytes), None, "{at}");
            bytes[at] ^= 0x10;
        }
    }
}
