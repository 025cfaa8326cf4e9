//! Hostile images, and numbers and cookies that the server never returned.

use super::*;

/// The sample with one record of the root directory changed.
fn changed(name: &str, change: impl FnOnce(&mut Vec<u8>, usize)) -> Vec<u8> {
    let mut bytes = sample().0;
    let id = inside(&bytes, |image, entry| {
        list(image, image.root(), 0, entry).unwrap();
        let mut at = image.cookie();
        while image.next(entry).is_ok() && entry.name() != name.as_bytes() {
            at = image.cookie();
        }
        image.root() + at
    });
    change(&mut bytes, id as usize);
    bytes
}

#[test]
fn unknown_object_numbers_are_stale() {
    let bytes = sample().0;
    inside(&bytes, |image, entry| {
        // Every object in the image, and other bytes that look like a record.
        let good: Vec<u64> = (0..bytes.len() as u64)
            .filter(|id| image.entry(*id, entry).is_ok())
            .collect();
        assert!(good.len() < 100);
        for path in [
            "",
            "Hello World",
            "link",
            "sub",
            "sub/file",
            "large",
            "deep/end",
        ] {
            walk(image, path, entry).unwrap();
            assert!(good.contains(&entry.id), "{path}");
        }
        for id in [bytes.len() as u64, 1 << 40, u64::MAX - 1, u64::MAX] {
            assert_eq!(image.entry(id, entry), Err(FsError::Stale));
            assert_eq!(list(image, id, 0, entry), Err(FsError::Stale));
        }
    });
}

#[test]
fn unknown_cookie_continues_with_the_next_entry() {
    inside(&sample().0, |image, entry| {
        let dir = image.root();
        let mut places = Vec::new();
        list(image, dir, 0, entry).unwrap();
        while image.next(entry).is_ok() {
            places.push(image.cookie());
        }
        for from in (0..3 * S).chain([1 << 40, u64::MAX]) {
            image.reset_budget();
            list(image, dir, from, entry).unwrap();
            let next = image.next(entry).map(|()| image.cookie());
            let expected = places.iter().find(|place| **place > from);
            assert_eq!(next, expected.copied().ok_or(FsError::NoEntry), "{from}");
        }
    });
}

#[test]
fn malformed_records_are_errors() {
    // Byte 0 is the record's length: 33 and 1 are too short. Byte 32 is the name's length: 250 exceeds the record, 0 is invalid.
    for (at, value) in [(0, 33), (0, 1), (32, 250), (32, 0)] {
        let bytes = changed("link", |bytes, id| bytes[id + at] = value);
        assert_eq!(root(&bytes), Err(FsError::Io), "{at} {value}");
        // Entries before the damaged record are still found.
        assert!(ask(&bytes, "Hello World").is_ok());
    }
    // A record length of 0 skips the rest of the sector, so entries after it are not listed.
    let bytes = changed("link", |bytes, id| bytes[id] = 0);
    assert_eq!(root(&bytes).unwrap(), NAMES[..3]);
    // The directory's size includes the next sector, whose bytes are not a record.
    let bytes = changed(".", |bytes, id| {
        bytes[id + 10..id + 18].copy_from_slice(&both(2 * SECTOR as u32))
    });
    assert_eq!(root(&bytes).unwrap()[..9], NAMES);
    let mut crossing = sample();
    crossing.put(ROOT, SECTOR as usize - 10, &[40]);
    let at = changed("link", |bytes, id| bytes.truncate(id)).len();
    let mut bytes = crossing.0;
    bytes[at] = 0;
    assert_eq!(root(&bytes).unwrap(), NAMES[..3]);
}

#[test]
fn only_damage_to_the_position_is_an_error() {
    // The big-endian halves of block, size and mode, and the length of PX, whose fields then end early.
    for (at, value) in [(6, 1), (9, 1), (14, 1), (46, 1), (44, 0), (44, 200)] {
        let bytes = changed("Hello World", |bytes, id| {
            assert_eq!(&bytes[id + 42..id + 44], b"PX");
            bytes[id + at] = value;
        });
        let name = if at == 44 { "hello" } else { "Hello World" };
        assert_eq!(root(&bytes).unwrap()[2..4], [name, "link"]);
        assert_eq!(ask(&bytes, name).unwrap().size, 5);
        assert!(ask(&bytes, "sub/file").is_ok());
    }
    // An interleaved file is listed, with its attributes, but not read.
    let bytes = changed("Hello World", |bytes, id| bytes[id + 27] = 1);
    inside(&bytes, |image, entry| {
        walk(image, "Hello World", entry).unwrap();
        assert_eq!(entry.attr(7).size, 5);
        assert_eq!(image.run(0, entry), Err(FsError::Io));
    });
    // The mode says that a file is a directory.
    let bytes = changed("Hello World", |bytes, id| {
        bytes[id + 46..id + 54].copy_from_slice(&both(0o040_755));
    });
    let attr = ask(&bytes, "Hello World").unwrap();
    assert_eq!((attr.kind, attr.mode), (ObjectType::Regular, 0o755));
    // The position of a relocated directory is missing.
    let bytes = changed("deep", |bytes, id| {
        let at = bytes[id..].windows(2).position(|pair| pair == b"CL");
        bytes[id + at.unwrap() + 2] = 4;
    });
    assert_eq!(root(&bytes).unwrap(), NAMES);
    assert_eq!(ask(&bytes, "deep"), Err(FsError::Io));
}

#[test]
fn extent_beyond_end_is_listed_but_not_readable() {
    for block in [0x7fff_ffff, u32::MAX, 40] {
        let bytes = changed("Hello World", |bytes, id| {
            bytes[id + 2..id + 10].copy_from_slice(&both(block));
        });
        inside(&bytes, |image, entry| {
            walk(image, "Hello World", entry).unwrap();
            assert_eq!(entry.attr(7).size, 5);
            assert_eq!(image.run(0, entry), Err(FsError::Io));
        });
        let bytes = changed("sub", |bytes, id| {
            bytes[id + 2..id + 10].copy_from_slice(&both(block));
        });
        assert_eq!(root(&bytes).unwrap(), NAMES);
        assert_eq!(ask(&bytes, "sub"), Err(FsError::Stale));
        assert!(ask(&bytes, "sub/file").is_err());
    }
    // A directory whose extent is a file's contents is an error. One whose extent is its own parent is a harmless loop.
    let bytes = changed("sub", |bytes, id| {
        bytes[id + 2..id + 10].copy_from_slice(&both(DATA))
    });
    assert!(ask(&bytes, "sub").is_err());
    let bytes = changed("sub", |bytes, id| {
        bytes[id + 2..id + 10].copy_from_slice(&both(ROOT))
    });
    assert!(ask(&bytes, "sub/sub/sub/sub/Hello World").is_ok());
    // The extent (CL) of the relocated directory is a file's contents, its own parent, or beyond the image. Only the parent is
    // accepted.
    for (block, expect) in [(DATA, false), (ROOT, true), (u32::MAX, false)] {
        let bytes = changed("deep", |bytes, id| {
            let offset = bytes[id..]
                .windows(2)
                .position(|pair| pair == b"CL")
                .unwrap()
                + id
                + 4;
            bytes[offset..offset + 8].copy_from_slice(&both(block));
        });
        assert_eq!(ask(&bytes, "deep").is_ok(), expect, "{block}");
    }
}

#[test]
fn looping_continuation_areas_are_bounded() {
    // A loop, zeros after a field, and areas beyond the image or across the end of a sector.
    for (next, name) in [
        (more(AREAS, 100, 28), "a name "),
        (more(AREAS, 100, 2048 - 100), "long"),
        (more(u32::MAX, 0, 28), "a name "),
        (more(40, 0, 28), "a name "),
        (more(AREAS, 2040, 28), "a name "),
    ] {
        let mut bytes = changed("a name that goes on", |bytes, id| {
            let at = bytes[id..].windows(2).position(|pair| pair == b"CE");
            bytes[id + at.unwrap()..][..28].copy_from_slice(&next);
        });
        let area = AREAS as usize * SECTOR as usize + 100;
        bytes[area..area + 28].copy_from_slice(&more(AREAS, 100, 28));
        inside(&bytes, |image, entry| {
            assert_eq!(names(image, image.root()).unwrap().len(), NAMES.len());
            image.block().reads = 0;
            assert_eq!(walk(image, name, entry), Ok(()), "{name}");
            assert!(image.block().reads < 100, "{} reads", image.block().reads);
        });
    }
}

#[test]
fn lookup_work_is_bounded() {
    // A lookup stops at the limit in an empty directory of 4 GiB, and in a directory whose entries each have a loop of continuation
    // areas.
    let bytes = changed(".", |bytes, id| {
        bytes[id + 10..id + 18].copy_from_slice(&both(u32::MAX - 2047));
    });
    let asked = sized(&bytes, 1 << 43, |image, entry| {
        list(image, image.root(), 0, entry).unwrap();
        assert_eq!(image.lookup(b"none", entry), Err(FsError::Io));
        let bound = IMAGE_LOOK_COUNT_MAX as u32;
        assert!(
            image.block().reads <= bound,
            "{} reads",
            image.block().reads
        );
    });
    assert_eq!(asked, Ok(()));
    let mut draft = sample();
    let mut circle = [more(AREAS, 0, 2048), field(b"ST", b"")].concat();
    circle.resize(2048, 0);
    draft.put(AREAS, 0, &circle);
    let mut records = vec![
        record(b"\0", ROOT, 0, 2, &[]),
        record(b"\x01", ROOT, 0, 2, &[]),
    ];
    for number in 0..40_000 {
        let id = format!("{number}");
        records.push(record(id.as_bytes(), DATA, 1, 0, &[more(AREAS, 0, 2048)]));
    }
    let size = draft.directory(30, &records);
    draft.put(30, 10, &both(size));
    draft.put(30, 2, &both(30));
    draft.descriptor(16, 1, 30);
    inside(&draft.0, |image, entry| {
        image.block().reads = 0;
        list(image, image.root(), 0, entry).unwrap();
        assert_eq!(image.lookup(b"none", entry), Err(FsError::Io));
        let reads = image.block().reads;
        assert!(reads <= IMAGE_LOOK_COUNT_MAX as u32, "{reads} reads");
    });
}

#[test]
fn truncated_image_never_panics() {
    let bytes = sample().0;
    for len in (0..bytes.len())
        .step_by(SECTOR as usize)
        .chain(16 * SECTOR as usize..bytes.len())
    {
        explore(&bytes[..len]);
    }
    // The image ends before the contents of its files: entries are listed, but their contents cannot be read.
    let end = (DATA * SECTOR_BYTES) as usize;
    inside(&bytes[..end], |image, entry| {
        assert_eq!(names(image, image.root()).unwrap(), NAMES);
        walk(image, "Hello World", entry).unwrap();
        assert_eq!(image.run(0, entry), Err(FsError::Io));
    });
}

#[test]
fn changed_bytes_never_panic() {
    let bytes = sample().0;
    let whole = explore(&bytes);
    let mut other = bytes.clone();
    let start = 16 * SECTOR as usize;
    for at in start..(DATA * SECTOR_BYTES) as usize {
        if at >= start + 256 && at % SECTOR as usize > 1100 {
            continue;
        }
        for value in [0, 0xff, bytes[at] ^ 0x80] {
            other[at] = value;
            assert!(explore(&other) <= 200.max(whole));
        }
        other[at] = bytes[at];
    }
}
