//! Images that somebody made to do harm, and questions that somebody made up.

use super::*;

/// The sample with the root's record of this name changed.
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
fn numbers_from_outside_name_what_is_there_or_nothing() {
    let bytes = sample().0;
    inside(&bytes, |image, entry| {
        let mut good = 0;
        for id in 0..bytes.len() as u64 {
            good += u32::from(image.entry(id, entry).is_ok());
        }
        // Every record that has its form, also the second of a large file; and each directory by its own.
        assert_eq!(good, 11);
        for id in [bytes.len() as u64, 1 << 40, u64::MAX - 1, u64::MAX] {
            assert_eq!(image.entry(id, entry), Err(FsError::Stale));
            assert_eq!(list(image, id, 0, entry), Err(FsError::Stale));
        }
    });
}

#[test]
fn cookies_from_outside_lead_to_what_follows_them() {
    inside(&sample().0, |image, entry| {
        let dir = image.root();
        let mut places = Vec::new();
        list(image, dir, 0, entry).unwrap();
        while image.next(entry).is_ok() {
            places.push(image.cookie());
        }
        for from in (0..3 * S).chain([1 << 40, u64::MAX]) {
            image.begin();
            list(image, dir, from, entry).unwrap();
            let next = image.next(entry).map(|()| image.cookie());
            let behind = places.iter().find(|place| **place > from);
            assert_eq!(next, behind.copied().ok_or(FsError::NoEntry), "{from}");
        }
    });
}

#[test]
fn records_must_have_their_form() {
    // Shorter than one can be, across the sector's end, with a name that does not fit.
    for (at, value) in [(0, 33), (0, 1), (32, 250), (32, 0)] {
        let bytes = changed("link", |bytes, id| bytes[id + at] = value);
        assert_eq!(root(&bytes), Err(FsError::Io), "{at} {value}");
        // What is before it is still there.
        assert!(ask(&bytes, "Hello World").is_ok());
    }
    // Without a length, the rest of the sector has none.
    let bytes = changed("link", |bytes, id| bytes[id] = 0);
    assert_eq!(root(&bytes).unwrap(), NAMES[..3]);
    // The directory goes on in the next sector, which begins with no record.
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
fn damaged_entries_are_listed_and_no_more() {
    for (at, what) in [
        (2, "block"),
        (9, "block"),
        (10, "size"),
        (27, "gaps"),
        (46, "mode"),
    ] {
        let bytes = changed("Hello World", |bytes, id| bytes[id + at] ^= 1);
        assert_eq!(root(&bytes).unwrap(), NAMES, "{what}");
        assert_eq!(ask(&bytes, "Hello World"), Err(FsError::Io), "{what}");
        assert!(ask(&bytes, "sub/file").is_ok());
    }
    // A file that says it is a directory.
    let bytes = changed("Hello World", |bytes, id| {
        let px = id + 42;
        assert_eq!(&bytes[px..px + 2], b"PX");
        bytes[px + 4..px + 12].copy_from_slice(&both(0o040_755));
    });
    assert_eq!(ask(&bytes, "Hello World"), Err(FsError::Io));
    assert_eq!(ask(&bytes, "Hello World/x"), Err(FsError::Io));
}

#[test]
fn extents_beyond_the_end_can_be_listed_but_not_read() {
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
    // A directory that is another file's content, or its own parent.
    let bytes = changed("sub", |bytes, id| {
        bytes[id + 2..id + 10].copy_from_slice(&both(DATA))
    });
    assert!(ask(&bytes, "sub").is_err());
    let bytes = changed("sub", |bytes, id| {
        bytes[id + 2..id + 10].copy_from_slice(&both(ROOT))
    });
    assert!(ask(&bytes, "sub/sub/sub/sub/Hello World").is_ok());
    // A moved directory that is nowhere, or where it was moved from.
    for (block, expect) in [(DATA, false), (ROOT, true), (u32::MAX, false)] {
        let bytes = changed("deep", |bytes, id| {
            let place = bytes[id..]
                .windows(2)
                .position(|pair| pair == b"CL")
                .unwrap()
                + id
                + 4;
            bytes[place..place + 8].copy_from_slice(&both(block));
        });
        assert_eq!(ask(&bytes, "deep").is_ok(), expect, "{block}");
    }
}

#[test]
fn fields_that_go_on_in_a_circle_or_nowhere_end() {
    let area = AREAS as usize * SECTOR as usize + 100;
    for next in [
        more(AREAS, 100, 28),
        more(AREAS, 100, 2048 - 100),
        more(u32::MAX, 0, 28),
        more(40, 0, 28),
        more(AREAS, 2040, 28),
    ] {
        let mut bytes = sample().0;
        bytes[area..area + next.len()].copy_from_slice(&next);
        inside(&bytes, |image, entry| {
            assert_eq!(names(image, image.root()).unwrap().len(), NAMES.len());
            image.block().reads = 0;
            assert_eq!(walk(image, "a name ", entry), Err(FsError::Io));
            assert!(image.block().reads < 100, "{} reads", image.block().reads);
        });
    }
}

#[test]
fn every_question_ends_after_a_bounded_amount_of_work() {
    // A directory of 4 GiB of nothing, and one of entries that each go round in a circle of areas.
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
    let mut circle = more(AREAS, 0, 2048);
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
fn images_may_end_anywhere() {
    let bytes = sample().0;
    for len in (0..bytes.len())
        .step_by(SECTOR as usize)
        .chain(16 * SECTOR as usize..bytes.len())
    {
        explore(&bytes[..len]);
    }
    // What is there is still shown.
    let end = (DATA * SECTOR_BYTES) as usize;
    inside(&bytes[..end], |image, entry| {
        assert_eq!(names(image, image.root()).unwrap(), NAMES);
        walk(image, "Hello World", entry).unwrap();
        assert_eq!(image.run(0, entry), Err(FsError::Io));
    });
}

#[test]
fn every_byte_may_be_any_other() {
    let bytes = sample().0;
    let whole = explore(&bytes);
    let mut other = bytes.clone();
    let start = 16 * SECTOR as usize;
    for at in start..(DATA * SECTOR_BYTES) as usize {
        if at >= start + 256 && at % SECTOR as usize > 1100 {
            continue;
        }
        for value in [0, 1, 0x7f, 0xff, bytes[at] ^ 0x80] {
            other[at] = value;
            assert!(explore(&other) <= 200.max(whole));
        }
        other[at] = bytes[at];
    }
}
