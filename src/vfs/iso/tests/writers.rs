//! Images of odd writers, which must look as on Linux: every name is listed, found, and has its own content.

use super::*;

/// The names, except "." and "..", and the contents of the files in the root directory. Each page of the listing has `each` entries,
/// and another directory is listed between two pages if `between`.
fn contents(bytes: &[u8], each: usize, between: bool) -> Vec<(String, String)> {
    inside(bytes, |image, entry| {
        let (mut found, mut cookie) = (Vec::new(), 0);
        loop {
            let mut page = Vec::new();
            image.reset_budget();
            list(image, image.root(), cookie, entry).unwrap();
            while page.len() < each && image.next(entry).is_ok() {
                page.push((entry.id, entry.name().to_vec(), entry.is_dots()));
                cookie = image.cookie();
            }
            // As for an entry that no longer fits into a reply.
            let _ = image.next(entry);
            if page.is_empty() {
                return found;
            }
            for (id, name, is_dots) in page {
                let text = String::from_utf8(name).unwrap();
                if is_dots {
                    continue;
                }
                walk(image, &text, entry).unwrap();
                assert_eq!(entry.id, id, "{text}");
                let run = image.run(0, entry).unwrap();
                let mut content = vec![0; run.len as usize];
                image.block().read(run.offset, &mut content).unwrap();
                found.push((text, String::from_utf8(content).unwrap()));
            }
            if between {
                list(image, image.root(), 0, entry).unwrap();
                image.next(entry).unwrap();
            }
        }
    })
}

/// An image without Rock Ridge whose root directory in block 20 has files of one byte with these identifiers.
fn plain(ids: &[&[u8]], kind: u8) -> Draft {
    let mut draft = Draft::default();
    draft.descriptor(16, kind, 20);
    draft.descriptor(17, 255, 0);
    let mut records = vec![
        record(b"\0", 20, 2048, 2, &[]),
        record(b"\x01", 20, 2048, 2, &[]),
    ];
    for (number, id) in ids.iter().enumerate() {
        let block = 30 + number as u32;
        draft.put(block, 0, &[b'a' + number as u8]);
        records.push(record(id, block, 1, 0, &[]));
    }
    draft.directory(20, &records);
    draft
}

#[test]
fn equal_names_are_numbered() {
    let long = [0x4e; 220];
    for (kind, ids, names) in [
        (
            1,
            vec![&b"A.;1"[..], b"A;1", b"B.C;1", b"a", b"b/c", b";1", b"."],
            ["a", "a~2", "b.c", "a~3", "b.c~2", "_", "_~2"],
        ),
        (
            2,
            vec![
                b"\0a",
                b"\0a\xd8\0",
                b"\xdc\0\0a",
                b"\0a\0;\x001",
                b"\0b",
                b"\0b\0.",
                b"\xd8\x3d\xde\0",
            ],
            ["a", "a~2", "a~3", "a~4", "b", "b~2", "😀"],
        ),
        (
            2,
            vec![&long, b"\0a", &long, b"\0a", &long, b"\0~\x002", b"\0\0"],
            [
                &"乎".repeat(83),
                "a",
                &["乎".repeat(83), "~2".into()].concat(),
                "a~2",
                &["乎".repeat(83), "~3".into()].concat(),
                "~2",
                "_",
            ],
        ),
    ] {
        let bytes = plain(&ids, kind).0;
        let expect: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(number, name)| {
                (
                    name.to_string(),
                    char::from(b'a' + number as u8).to_string(),
                )
            })
            .collect();
        for each in [1, 2, 3, 100] {
            for between in [false, true] {
                assert_eq!(contents(&bytes, each, between), expect, "{each} {between}");
            }
        }
        inside(&bytes, |image, entry| {
            for name in ["a~1", "a~02", "a~9", "a~", "a~x", "~", "b~4294967298"] {
                assert_eq!(walk(image, name, entry), Err(FsError::NoEntry), "{name}");
            }
        });
    }
}

#[test]
fn records_may_cross_sectors() {
    let mut draft = sample();
    let mut records = vec![
        record(b"\0", 30, 0, 2, &[posix(0o040_755)]),
        record(b"\x01", ROOT, 0, 2, &[]),
    ];
    for number in 0..500 {
        let (id, text) = (format!("F{number:03}.;1"), format!("file {number}"));
        records.push(record(id.as_bytes(), DATA, 5, 0, &[name(&text)]));
    }
    let mut bytes = records.concat();
    let size = bytes.len() as u32;
    bytes[10..18].copy_from_slice(&both(size));
    draft.put(30, 0, &bytes);
    draft.descriptor(16, 1, 30);
    for (each, between) in [(7, false), (90, true), (1000, false)] {
        let found = contents(&draft.0, each, between);
        assert_eq!(found.len(), 500);
        for (number, (name, content)) in found.iter().enumerate() {
            assert_eq!(
                (name, content),
                (&format!("file {number}"), &"hello".into())
            );
        }
    }
    // The image ends in the middle of a record.
    draft.0.truncate(30 * 2048 + 2060);
    inside(&draft.0, |image, entry| {
        assert!(walk(image, "file 20", entry).is_ok());
        assert_eq!(walk(image, "file 400", entry), Err(FsError::Io));
    });
}

#[test]
fn joliet_replaces_empty_rock_ridge() {
    let mut draft = plain(&[b"\0J"], 2);
    let first = draft.0[16 * 2048..17 * 2048].to_vec();
    draft.put(17, 0, &first);
    draft.descriptor(16, 1, 22);
    draft.descriptor(18, 255, 0);
    let rock = [field(b"SP", &[0xbe, 0xef, 0]), field(b"ER", b"\0\0\0\x01")];
    let mut records = vec![
        record(b"\0", 22, 2048, 2, &rock),
        record(b"\x01", 22, 2048, 2, &[]),
    ];
    draft.directory(22, &records);
    assert_eq!(root(&draft.0).unwrap(), [".", "..", "J"]);
    // A Joliet tree that cannot be read, and one with another block size than the primary tree.
    let mut broken = draft.clone();
    broken.0[17 * 2048 + 158] = 200;
    assert_eq!(root(&broken.0).unwrap(), [".", ".."]);
    draft.0[17 * 2048 + 128] = 7;
    assert_eq!(root(&draft.0).unwrap(), [".", "..", "J"]);
    records.push(record(b"A.;1", 30, 1, 0, &[name("Rock")]));
    draft.directory(22, &records);
    assert_eq!(root(&draft.0).unwrap(), [".", "..", "Rock"]);
    // A primary tree that cannot be read.
    draft.0[16 * 2048 + 158] = 200;
    assert_eq!(root(&draft.0).unwrap(), [".", "..", "J"]);
}

#[test]
fn small_blocks_and_high_sierra_are_read() {
    for bits in [9, 10, 11] {
        let scale = 2048 >> bits;
        for sierra in [false, true] {
            let mut draft = Draft::default();
            draft.descriptor(16, 1, 0);
            // An odd block: with small ones, the directory begins in the middle of a sector.
            let dir = 20 * scale + scale / 2;
            let size = 2048_u32;
            let mut records = vec![
                record(b"\0", dir, size, 2, &[]),
                record(b"\x01", dir, size, 2, &[]),
                record(b"SUB", dir, size, 2, &[]),
                record(b"HELLO.TXT;1", 30 * scale + 1, 5, 0, &[]),
            ];
            let mut place = 128;
            if sierra {
                for record in &mut records {
                    (record[24], record[25]) = (record[25], 0);
                }
                let mut descriptor = vec![0; 180];
                descriptor[8..14].copy_from_slice(b"\x01CDROM");
                descriptor.extend(&records[0]);
                draft.put(16, 0, &[0; 2048]);
                draft.put(16, 0, &descriptor);
                place = 136;
            } else {
                draft.put(16, 156, &records[0]);
            }
            draft.put(16, place, &(1_u16 << bits).to_le_bytes());
            let at = (dir as usize) << bits;
            draft.put(0, at, &[0; 4096]);
            draft.put(0, at, &records.concat());
            draft.put(0, (30 * scale as usize + 1) << bits, b"hello");
            assert_eq!(root(&draft.0).unwrap(), [".", "..", "sub", "hello.txt"]);
            assert_eq!(ask(&draft.0, "sub").unwrap().mode, 0o555);
            inside(&draft.0, |image, entry| {
                walk(image, "sub/hello.txt", entry).unwrap();
                let run = image.run(0, entry).unwrap();
                let mut content = [0; 5];
                image.block().read(run.offset, &mut content).unwrap();
                assert_eq!(&content, b"hello");
            });
        }
    }
}
