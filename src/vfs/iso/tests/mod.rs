//! Tests with valid images. Those with damaged ones are in `hostile`.

mod hostile;
mod writers;

use super::super::FileTime;
use super::testing::*;
use super::*;

const S: u64 = SECTOR;

/// Opens an image and passes it to `with`.
fn inside<T>(bytes: &[u8], with: impl FnOnce(&mut Image<Counted<'_>>, &mut IsoEntry) -> T) -> T {
    sized(bytes, bytes.len() as u64, with).unwrap()
}

fn sized<T>(
    bytes: &[u8],
    size: u64,
    with: impl FnOnce(&mut Image<Counted<'_>>, &mut IsoEntry) -> T,
) -> FsResult<T> {
    let mut block = Counted::new(bytes);
    block.size = size;
    let mut image = image(block);
    let mut entry = IsoEntry::new();
    image.open(&mut entry)?;
    Ok(with(&mut image, &mut entry))
}

fn names(image: &mut Image<Counted<'_>>, dir: u64) -> FsResult<Vec<String>> {
    let mut entry = IsoEntry::new();
    list(image, dir, 0, &mut entry)?;
    let mut names = Vec::new();
    loop {
        match image.next(&mut entry) {
            Err(FsError::NoEntry) => return Ok(names),
            next => next?,
        }
        names.push(String::from_utf8_lossy(entry.name()).into_owned());
    }
}

fn root(bytes: &[u8]) -> FsResult<Vec<String>> {
    inside(bytes, |image, _| names(image, image.root()))
}

/// The attributes of the object at a path.
fn ask(bytes: &[u8], path: &str) -> FsResult<Attr> {
    inside(bytes, |image, entry| {
        walk(image, path, entry)?;
        Ok(entry.attr(7))
    })
}

#[test]
fn sample_image_is_read_completely() {
    let bytes = sample().0;
    assert_eq!(root(&bytes), Ok(NAMES.map(str::to_owned).to_vec()));
    inside(&bytes, |image, entry| {
        assert_eq!(image.root(), u64::from(ROOT) * S);
        let moved = names(image, u64::from(MOVED[0]) * S).unwrap();
        assert_eq!(moved, [".", ".."]);
        for (path, kind, mode, size) in [
            ("", ObjectType::Directory, 0o755, 2048),
            ("Hello World", ObjectType::Regular, 0o644, 5),
            ("link", ObjectType::SymbolicLink, 0o777, 8),
            ("sub", ObjectType::Directory, 0o711, 2048),
            ("sub/.", ObjectType::Directory, 0o711, 2048),
            ("sub/./../sub/file", ObjectType::Regular, 0o640, 4),
            ("a name that goes on", ObjectType::Regular, 0o600, 3),
            ("large", ObjectType::Regular, 0o444, 2055),
            ("deep", ObjectType::Directory, 0o700, 2048),
            ("deep/end", ObjectType::Regular, 0o644, 5),
            ("deep/../sub", ObjectType::Directory, 0o711, 2048),
            ("../..", ObjectType::Directory, 0o755, 2048),
        ] {
            assert_eq!(walk(image, path, entry), Ok(()), "{path}");
            let attr = entry.attr(7);
            assert_eq!(
                (attr.kind, attr.mode, attr.size),
                (kind, mode, size),
                "{path}"
            );
            assert_eq!(
                (attr.uid, attr.gid, attr.nlink, attr.fsid),
                (1000, 100, 1, 7)
            );
            let noon = FileTime {
                secs: 1_795_176_000,
                nanos: 0,
            };
            assert_eq!((attr.mtime, attr.atime, attr.ctime), (noon, noon, noon));
            let (id, attr) = (entry.id, entry.attr(7));
            image.entry(id, entry).unwrap();
            assert_eq!(entry.attr(7), attr);
            assert_eq!(attr.inode, id >> 5);
        }
        walk(image, "link", entry).unwrap();
        assert_eq!(entry.target(), b"sub/file");
        assert_eq!(image.run(0, entry), Err(FsError::Invalid));
        for (path, error) in [
            ("none", FsError::NoEntry),
            ("Hello World/x", FsError::NotDirectory),
            ("link/file", FsError::NotDirectory),
            ("hello world", FsError::NoEntry),
        ] {
            assert_eq!(walk(image, path, entry), Err(error), "{path}");
        }
    });
    assert_eq!(explore(&bytes), 17);
}

#[test]
fn file_runs_cross_extents() {
    inside(&sample().0, |image, entry| {
        let data = u64::from(DATA) * S;
        walk(image, "large", entry).unwrap();
        for (offset, at, len) in [
            (0, data, 2048),
            (2047, data + 2047, 1),
            (2048, data + 2 * S, 7),
            (2054, data + 2 * S + 6, 1),
        ] {
            assert_eq!(image.run(offset, entry), Ok(Run { offset: at, len }));
        }
        for offset in [2055, 2056, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(image.run(offset, entry).unwrap().len, 0);
        }
        walk(image, "", entry).unwrap();
        assert_eq!(image.run(0, entry), Err(FsError::IsDirectory));
    });
}

#[test]
fn file_beyond_4_gib_has_several_extents() {
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
    // Add enough entries before "huge" that the records of its extents are in two sectors.
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
    // The image needs none of the file's data: the test checks only names, sizes and offsets.
    let total = 2 * u64::from(size) + 5000;
    let image_size = u64::from(DATA) * S + total;
    let asked = sized(&draft.0, image_size, |image, entry| {
        walk(image, "huge", entry).unwrap();
        assert_eq!(entry.attr(7).size, total);
        let data = u64::from(DATA) * S;
        for offset in [0, 1, 4 << 30, (8 << 30) + 1, total - 1] {
            let run = image.run(offset, entry).unwrap();
            assert_eq!(run.offset, data + offset);
            assert!(run.len > 0 && offset + run.len <= total);
        }
        assert_eq!(image.run(total, entry).unwrap().len, 0);
        // "huge" is listed once, although it has three records; "last" follows.
        let names = names(image, image.root()).unwrap();
        assert_eq!(names[names.len() - 2..], ["huge", "last"]);
        // The listing can continue after each entry.
        list(image, image.root(), 0, entry).unwrap();
        let mut seen = Vec::new();
        while image.next(entry).is_ok() {
            seen.push(String::from_utf8_lossy(entry.name()).into_owned());
            let cookie = image.cookie();
            list(image, image.root(), cookie, entry).unwrap();
        }
        assert_eq!(seen, names);
    });
    assert_eq!(asked, Ok(()));
    // The image ends within the second extent: contents before its end are readable, those after it are not.
    let asked = sized(&draft.0, image_size - (4 << 30), |image, entry| {
        walk(image, "huge", entry).unwrap();
        let rest = image.run(u64::from(size), entry).unwrap().len;
        assert!(rest < u64::from(size));
        assert_eq!(image.run(u64::from(size) + rest, entry), Err(FsError::Io));
        assert_eq!(image.run(total - 1, entry), Err(FsError::Io));
    });
    assert_eq!(asked, Ok(()));
}

#[test]
fn joliet_or_plain_names_replace_missing_rock_ridge() {
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
    // A directory that is its own parent (a loop) is harmless, because every path is finite.
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
    // If the primary tree has Rock Ridge fields, it is used instead of the Joliet tree.
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
fn non_images_and_udf_only_images_are_refused() {
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
    // Windows writes UDF images with a single ISO 9660 file, which says that the files are in UDF.
    let mut windows = sample();
    for (block, id) in [(18, b"\0BEA01"), (19, b"\0NSR02")] {
        windows.put(block, 0, id);
    }
    // A UDF image whose ISO 9660 tree has other files than a readme is accepted.
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
fn large_directory_is_read_once() {
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
    let mut image = image(Counted::new(&draft.0));
    let mut entry = IsoEntry::new();
    image.open(&mut entry).unwrap();
    image.block().reads = 0;
    let last = b"a file of a directory, 9999";
    list(&mut image, 30 * S, 0, &mut entry).unwrap();
    image.lookup(last, &mut entry).unwrap();
    let sectors = size / SECTOR_BYTES;
    let reads = image.block().reads;
    assert!(reads <= sectors + 1, "{reads} reads");
    // Reading the attributes of each entry reads no more sectors than reading the names.
    image.block().reads = 0;
    image.reset_budget();
    list(&mut image, 30 * S, 0, &mut entry).unwrap();
    while image.next(&mut entry).is_ok() {
        image.entry(entry.id, &mut entry).unwrap();
    }
    let reads = image.block().reads;
    assert!(reads <= sectors + 2, "{reads} reads");
    // Listing in pages of 50 entries, as clients do, takes linear time.
    image.block().reads = 0;
    let (mut cookie, mut count) = (0, 0);
    loop {
        image.reset_budget();
        list(&mut image, 30 * S, cookie, &mut entry).unwrap();
        let mut page = 0;
        while page < 50 && image.next(&mut entry).is_ok() {
            page += 1;
        }
        count += page;
        if page == 0 {
            break;
        }
        cookie = image.cookie();
    }
    assert_eq!(count, 10_002);
    let reads = image.block().reads;
    assert!(reads <= sectors + 2 * (10_002 / 50 + 2), "{reads} reads");
}

#[test]
fn several_images_share_one_window() {
    let first = sample().0;
    let mut second = sample();
    second.put(
        SUB,
        0,
        &record(b"\0", SUB, SECTOR as u32, 2, &[posix(0o040_500)]),
    );
    inside(&first, |image, entry| {
        walk(image, "sub/file", entry).unwrap();
        let layout = image.layout();
        image.switch_to(Counted::new(second.0.leak()), layout);
        walk(image, "sub", entry).unwrap();
        assert_eq!(entry.attr(7).mode, 0o500);
    });
}
