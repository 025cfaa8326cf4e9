//! Good images, and what their enemies make of them.

use super::super::FileTime;
use super::trial::*;
use super::*;

const S: u64 = SECTOR;

/// Opens an image and has `with` ask it.
fn inside<T>(bytes: &[u8], with: impl FnOnce(&mut Image<'_, Counted<'_>>, &mut Entry) -> T) -> T {
    sized(bytes, bytes.len() as u64, with).unwrap()
}

fn sized<T>(
    bytes: &[u8],
    size: u64,
    with: impl FnOnce(&mut Image<'_, Counted<'_>>, &mut Entry) -> T,
) -> FsResult<T> {
    let mut window = vec![0xaa; 3 * SECTOR as usize + 100];
    let mut block = Counted::new(bytes);
    block.size = size;
    let mut image = Image::new(block, &mut window);
    let mut entry = Entry::new();
    image.open(&mut entry)?;
    Ok(with(&mut image, &mut entry))
}

/// Begins to list.
fn begin(
    image: &mut Image<'_, Counted<'_>>,
    dir: u64,
    from: u64,
    entry: &mut Entry,
) -> FsResult<Listing> {
    let mut listing = Listing::default();
    image.list(dir, from, &mut listing, entry)?;
    Ok(listing)
}

fn list(image: &mut Image<'_, Counted<'_>>, dir: u64) -> FsResult<Vec<String>> {
    let mut entry = Entry::new();
    let mut listing = begin(image, dir, 0, &mut entry)?;
    let mut names = Vec::new();
    while image.next(&mut listing, &mut entry)? {
        names.push(String::from_utf8_lossy(entry.name()).into_owned());
    }
    Ok(names)
}

fn root(bytes: &[u8]) -> FsResult<Vec<String>> {
    inside(bytes, |image, _| list(image, image.root()))
}

/// The sample with the root's record of this name changed.
fn changed(name: &str, change: impl FnOnce(&mut Vec<u8>, usize)) -> Vec<u8> {
    let mut bytes = sample().0;
    let id = inside(&bytes, |image, entry| {
        let mut listing = begin(image, image.root(), 0, entry).unwrap();
        let mut at = listing.at;
        while image.next(&mut listing, entry).unwrap() && entry.name() != name.as_bytes() {
            at = listing.at;
        }
        at
    });
    change(&mut bytes, id as usize);
    bytes
}

/// What is said of a path, and how many reads it took.
fn ask(bytes: &[u8], path: &str) -> FsResult<Attr> {
    inside(bytes, |image, entry| {
        image.resolve(path.as_bytes(), true, entry)?;
        Ok(entry.attr())
    })
}

#[test]
fn everything_is_where_it_belongs() {
    let bytes = sample().0;
    assert_eq!(root(&bytes), Ok(NAMES.map(str::to_owned).to_vec()));
    inside(&bytes, |image, entry| {
        assert_eq!(image.root(), u64::from(ROOT) * S);
        let list = list(image, u64::from(MOVED[0]) * S).unwrap();
        assert_eq!(list, [".", ".."]);
        for (path, kind, mode, size) in [
            ("", Kind::Directory, 0o755, 2048),
            ("/", Kind::Directory, 0o755, 2048),
            ("Hello World", Kind::Regular, 0o644, 5),
            ("link", Kind::Regular, 0o640, 4),
            ("sub", Kind::Directory, 0o711, 2048),
            ("sub/", Kind::Directory, 0o711, 2048),
            ("sub/./..//sub/file", Kind::Regular, 0o640, 4),
            ("a name that goes on", Kind::Regular, 0o600, 3),
            ("large", Kind::Regular, 0o444, 2055),
            ("deep", Kind::Directory, 0o700, 2048),
            ("deep/end", Kind::Regular, 0o644, 5),
            ("deep/../sub", Kind::Directory, 0o711, 2048),
            ("../..", Kind::Directory, 0o755, 2048),
        ] {
            assert_eq!(
                image.resolve(path.as_bytes(), true, entry),
                Ok(()),
                "{path}"
            );
            let attr = entry.attr();
            assert_eq!(
                (attr.kind, attr.mode, attr.size),
                (kind, mode, size),
                "{path}"
            );
            assert_eq!((attr.uid, attr.gid, attr.nlink), (1000, 100, 1));
            let noon = FileTime {
                secs: 1_795_176_000,
                nanos: 0,
            };
            assert_eq!((attr.mtime, attr.atime, attr.ctime), (noon, noon, noon));
            let (id, attr) = (entry.id, entry.attr());
            image.entry(id, entry).unwrap();
            assert_eq!(entry.attr(), attr);
            assert_eq!(attr.inode, id >> 5);
        }
        image.resolve(b"link", false, entry).unwrap();
        assert_eq!(
            (entry.attr().kind, entry.attr().size),
            (Kind::SymbolicLink, 8)
        );
        assert_eq!(entry.target(), b"sub/file");
        assert_eq!(
            image.run(entry.id, 0, &mut Entry::new()),
            Err(FsError::Invalid)
        );
        for (path, error) in [
            ("none", FsError::NoEntry),
            ("Hello World/x", FsError::NotDirectory),
            ("Hello World/", FsError::NotDirectory),
            ("hello world", FsError::NoEntry),
        ] {
            assert_eq!(
                image.resolve(path.as_bytes(), true, entry),
                Err(error),
                "{path}"
            );
        }
        let long = [b'x'; 5000];
        assert_eq!(image.resolve(&long, true, entry), Err(FsError::NameTooLong));
    });
    assert_eq!(explore(&bytes), 17);
}

#[test]
fn bytes_of_files_are_found_across_extents() {
    inside(&sample().0, |image, entry| {
        let data = u64::from(DATA) * S;
        image.resolve(b"large", true, entry).unwrap();
        let id = entry.id;
        for (offset, at, len) in [
            (0, data, 2048),
            (2047, data + 2047, 1),
            (2048, data + 2 * S, 7),
            (2054, data + 2 * S + 6, 1),
        ] {
            assert_eq!(image.run(id, offset, entry), Ok(Run { at, len }));
        }
        for offset in [2055, 2056, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(image.run(id, offset, entry).unwrap().len, 0);
        }
        assert_eq!(image.run(image.root(), 0, entry), Err(FsError::IsDirectory));
    });
}

#[test]
fn files_of_more_than_4_gib_have_several_extents() {
    let mut draft = sample();
    let size = 0xffff_f800_u32;
    let part = |block, size, flags| {
        record(
            b"HUGE.;1",
            block,
            size,
            flags,
            &[posix(0o100_444), name("huge")],
        )
    };
    let blocks = size / SECTOR as u32;
    // So many before it that its extents are told in two sectors.
    let mut records = vec![
        record(b"\0", ROOT, 4096, 2, &[posix(0o040_755)]),
        record(b"\x01", ROOT, 4096, 2, &[posix(0o040_755)]),
    ];
    while records.iter().map(Vec::len).sum::<usize>() < 1850 {
        let id = format!("A{}.;1", records.len());
        records.push(record(id.as_bytes(), DATA, 1, 0, &[]));
    }
    records.extend([
        part(DATA, size, 0x80),
        part(DATA + blocks, size, 0x80),
        part(DATA + 2 * blocks, 5000, 0),
    ]);
    records.push(record(b"LAST.;1", DATA, 1, 0, &[]));
    assert_eq!(draft.directory(ROOT, &records), 4096);
    // What stood in the next sector is not looked for.
    let total = 2 * u64::from(size) + 5000;
    let image_size = u64::from(DATA) * S + total;
    let asked = sized(&draft.0, image_size, |image, entry| {
        image.resolve(b"huge", true, entry).unwrap();
        assert_eq!(entry.attr().size, total);
        let id = entry.id;
        let data = u64::from(DATA) * S;
        for offset in [0, 1, 4 << 30, (8 << 30) + 1, total - 1] {
            let run = image.run(id, offset, entry).unwrap();
            assert_eq!(run.at, data + offset);
            assert!(run.len > 0 && offset + run.len <= total);
        }
        assert_eq!(image.run(id, total, entry).unwrap().len, 0);
        // One entry, and one more behind it.
        let names = list(image, image.root()).unwrap();
        assert_eq!(names[names.len() - 2..], ["huge", "last"]);
        // It may be gone on from behind each.
        let mut listing = begin(image, image.root(), 0, entry).unwrap();
        let mut seen = Vec::new();
        while image.next(&mut listing, entry).unwrap() {
            seen.push(String::from_utf8_lossy(entry.name()).into_owned());
            listing = begin(image, image.root(), listing.cookie(), entry).unwrap();
        }
        assert_eq!(seen, names);
    });
    assert_eq!(asked, Ok(()));
    // It ends within the second extent.
    let asked = sized(&draft.0, image_size - (4 << 30), |image, entry| {
        image.resolve(b"huge", true, entry).unwrap();
        let id = entry.id;
        let rest = image.run(id, u64::from(size), entry).unwrap().len;
        assert!(rest < u64::from(size));
        assert_eq!(
            image.run(id, u64::from(size) + rest, entry),
            Err(FsError::Io)
        );
        assert_eq!(image.run(id, total - 1, entry), Err(FsError::Io));
    });
    assert_eq!(asked, Ok(()));
}

#[test]
fn without_rock_ridge_there_is_joliet_and_else_plain_names() {
    let mut draft = Draft::default();
    draft.descriptor(16, 1, 20);
    draft.descriptor(17, 255, 0);
    let size = SECTOR as u32;
    let dots = |block| {
        vec![
            record(b"\0", block, size, 2, &[]),
            record(b"\x01", block, size, 2, &[]),
        ]
    };
    let mut records = dots(20);
    records.push(record(b"READ_ME.TXT;1", 22, 5, 0, &[]));
    records.push(record(b"READ_ME.TXT;1", 22, 5, 4, &[]));
    records.push(record(b"DIR", 20, size, 2, &[]));
    draft.directory(20, &records);
    draft.put(22, 0, b"hello");
    assert_eq!(root(&draft.0).unwrap(), [".", "..", "read_me.txt", "dir"]);
    let attr = ask(&draft.0, "read_me.txt").unwrap();
    assert_eq!(
        (attr.mode, attr.uid, attr.gid, attr.nlink),
        (0o555, 0, 0, 1)
    );
    assert_eq!(ask(&draft.0, "dir").unwrap().mode, 0o555);
    // A directory that is its own parent's is no danger: paths end.
    assert_eq!(ask(&draft.0, "dir/dir/dir/read_me.txt").unwrap().size, 5);
    let mut records = dots(21);
    let wide: Vec<u8> = "Read Mé.txt;1"
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    records.push(record(&wide, 22, 5, 0, &[name("not this")]));
    draft.directory(21, &records);
    draft.descriptor(17, 2, 21);
    draft.descriptor(18, 255, 0);
    assert_eq!(root(&draft.0).unwrap(), [".", "..", "Read Mé.txt"]);
    // With Rock Ridge, its tree comes first.
    let fields = [field(b"SP", &[0xbe, 0xef, 0]), field(b"ER", b"\0\0\0\x01")];
    draft.put(20, 0, &record(b"\0", 20, size, 2, &fields));
    let second = record(b"\x01", 20, size, 2, &[]);
    let at = draft.0[20 * SECTOR as usize] as usize;
    draft.put(20, at, &second);
    draft.put(
        20,
        at + second.len(),
        &record(b"A.;1", 22, 5, 0, &[name("Rock")]),
    );
    draft.put(20, at + second.len() + 34 + 4 + 9, &[0; 100]);
    assert_eq!(root(&draft.0).unwrap(), [".", "..", "Rock"]);
}

#[test]
fn what_is_no_image_or_only_udf_is_named_so() {
    let open = |bytes: &[u8]| sized(bytes, bytes.len() as u64, |_, _| ());
    assert_eq!(open(&[]), Err(FsError::Invalid));
    assert_eq!(open(&[0; 100_000]), Err(FsError::Invalid));
    assert_eq!(
        open(&sample().0[..16 * SECTOR as usize]),
        Err(FsError::Invalid)
    );
    let mut udf = Draft::default();
    for (block, id) in [(16, b"\0BEA01"), (17, b"\0NSR03"), (18, b"\0TEA01")] {
        udf.put(block, 0, id);
    }
    assert_eq!(open(&udf.0), Err(FsError::NotSupported));
    // As Windows' images are: one file says what it is.
    let mut windows = sample();
    for (block, id) in [(18, b"\0BEA01"), (19, b"\0NSR02")] {
        windows.put(block, 0, id);
    }
    // With files of its own, it is shown.
    assert_eq!(open(&windows.0), Ok(()));
    let size = SECTOR as u32;
    windows.put(ROOT, 0, &[0; SECTOR as usize]);
    let mut records = vec![
        record(b"\0", ROOT, size, 2, &[]),
        record(b"\x01", ROOT, size, 2, &[]),
    ];
    windows.directory(ROOT, &records);
    assert_eq!(open(&windows.0), Err(FsError::NotSupported));
    records.push(record(b"README.TXT;1", DATA, 5, 0, &[]));
    windows.directory(ROOT, &records);
    assert_eq!(open(&windows.0), Err(FsError::NotSupported));
    records.push(record(b"SETUP.EXE;1", DATA, 5, 0, &[]));
    windows.directory(ROOT, &records);
    assert_eq!(open(&windows.0), Ok(()));
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
            assert!(begin(image, id, 0, entry).is_err());
            assert!(image.run(id, u64::MAX, entry).is_err());
        }
    });
}

#[test]
fn cookies_from_outside_are_places_or_none() {
    inside(&sample().0, |image, entry| {
        let dir = image.root();
        let mut places = vec![0];
        let mut listing = begin(image, dir, 0, entry).unwrap();
        while image.next(&mut listing, entry).unwrap() {
            places.push(listing.cookie());
        }
        let end = *places.last().unwrap();
        for from in (0..3 * S).chain([1 << 40, u64::MAX]) {
            match begin(image, dir, from, entry) {
                Ok(mut listing) => {
                    assert!(places.contains(&from) || from >= S, "{from}");
                    let more = image.next(&mut listing, entry);
                    assert_eq!(more, Ok(from < end), "{from}");
                }
                Err(error) => {
                    assert_eq!(error, FsError::BadCookie);
                    assert!(!places.contains(&from), "{from}");
                }
            }
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
            image.resolve(b"Hello World", true, entry).unwrap();
            assert_eq!(entry.attr().size, 5);
            assert_eq!(image.run(entry.id, 0, &mut Entry::new()), Err(FsError::Io));
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
fn links_that_lead_in_a_circle_end() {
    let bytes = changed("link", |bytes, id| {
        let len = bytes[id] as usize;
        let link = target(&["link", "fil"]);
        let place = bytes[id..id + len]
            .windows(2)
            .position(|pair| pair == b"SL")
            .unwrap();
        bytes[id + place..id + place + link.len()].copy_from_slice(&link);
    });
    assert_eq!(ask(&bytes, "link"), Err(FsError::TooManyFollowed));
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
            assert_eq!(list(image, image.root()).unwrap().len(), NAMES.len());
            image.block().reads = 0;
            assert_eq!(image.resolve(b"a name ", true, entry), Err(FsError::Io));
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
        assert_eq!(image.lookup(image.root(), b"none", entry), Err(FsError::Io));
        let bound = 2 * IMAGE_WORK_BYTES / SECTOR_BYTES;
        assert!(image.block().reads < bound, "{} reads", image.block().reads);
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
        assert_eq!(image.lookup(image.root(), b"none", entry), Err(FsError::Io));
        assert!(
            image.block().reads < 100_000,
            "{} reads",
            image.block().reads
        );
    });
}

#[test]
fn a_directory_of_ten_thousand_is_read_once() {
    let mut draft = sample();
    let mut records = vec![
        record(b"\0", 30, 0, 2, &[posix(0o040_755)]),
        record(b"\x01", 30, 0, 2, &[]),
    ];
    for number in 0..10_000 {
        let (id, text) = (
            format!("F{number:06}.;1"),
            format!("a file of a directory, {number}"),
        );
        records.push(record(
            id.as_bytes(),
            DATA,
            1,
            0,
            &[posix(0o100_644), name(&text)],
        ));
    }
    let size = draft.directory(30, &records);
    draft.put(30, 10, &both(size));
    draft.descriptor(16, 1, 30);
    let mut window = vec![0; crate::config::IMAGE_WINDOW_BYTES];
    let mut image = Image::new(Counted::new(&draft.0), &mut window);
    let mut entry = Entry::new();
    image.open(&mut entry).unwrap();
    image.block().reads = 0;
    image
        .lookup(30 * S, b"a file of a directory, 9999", &mut entry)
        .unwrap();
    let most = size / crate::config::IMAGE_WINDOW_BYTES as u32 * 5 / 4 + 3;
    assert!(image.block().reads <= most, "{} reads", image.block().reads);
    // In pages of 50, as clients do: not quadratic.
    image.block().reads = 0;
    let (mut cookie, mut count) = (0, 0);
    loop {
        let mut listing = begin(&mut image, 30 * S, cookie, &mut entry).unwrap();
        let mut page = 0;
        while page < 50 && image.next(&mut listing, &mut entry).unwrap() {
            page += 1;
        }
        count += page;
        if page == 0 {
            break;
        }
        cookie = listing.cookie();
    }
    assert_eq!(count, 10_002);
    assert!(image.block().reads < 1000, "{} reads", image.block().reads);
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
        assert_eq!(list(image, image.root()).unwrap(), NAMES);
        image.resolve(b"Hello World", true, entry).unwrap();
        assert_eq!(image.run(entry.id, 0, &mut Entry::new()), Err(FsError::Io));
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

#[test]
fn one_window_is_enough_for_many_images() {
    let first = sample().0;
    let mut second = sample();
    second.put(
        SUB,
        0,
        &record(b"\0", SUB, SECTOR as u32, 2, &[posix(0o040_500)]),
    );
    inside(&first, |image, entry| {
        image.resolve(b"sub/file", true, entry).unwrap();
        let tree = image.tree();
        let before = image.turn_to(Counted::new(second.0.leak()), tree);
        assert_eq!(before.bytes.len(), first.len());
        image.resolve(b"sub", true, entry).unwrap();
        assert_eq!(entry.attr().mode, 0o500);
    });
}
