//! Tests with images of each kind of volume, valid and damaged.

use super::testing::*;
use super::*;

/// Selects the object at a path.
fn walk<B: Block>(reader: &mut Reader<B>, root: u64, path: &str) -> FsResult<()> {
    reader.reset_budget();
    reader.select(root)?;
    for name in path.split_terminator('/') {
        reader.list(0)?;
        let id = loop {
            let listed = reader.next()?;
            if reader.name() == name.as_bytes() {
                break listed.id;
            }
        };
        reader.select(id)?;
    }
    Ok(())
}

fn names<B: Block>(reader: &mut Reader<B>, from: u64) -> FsResult<Vec<String>> {
    let mut names = Vec::new();
    reader.list(from)?;
    loop {
        match reader.next() {
            Err(FsError::NoEntry) => return Ok(names),
            next => next?,
        };
        names.push(String::from_utf8(reader.name().to_vec()).unwrap());
    }
}

/// The content of the selected file, by parts that begin at `offset`.
fn content(reader: &mut Reader<&[u8]>, mut offset: u64) -> FsResult<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let run = reader.run(offset)?;
        if run.len == 0 {
            return Ok(content);
        }
        let mut part = vec![0; run.len as usize];
        if !run.is_hole() {
            reader.block.read(run.offset, &mut part)?;
        }
        offset += run.len;
        content.extend(part);
    }
}

/// Reads the file at a path of the sample in which `change` changed something.
fn read(change: impl FnOnce(&mut Draft), path: &str) -> FsResult<Vec<u8>> {
    let mut draft = sample(Kind::Physical);
    change(&mut draft);
    let (mut reader, root) = open(&draft.bytes[..])?;
    walk(&mut reader, root, path)?;
    reader.check_content()?;
    content(&mut reader, 0)
}

#[test]
fn volumes_of_each_kind_are_read_completely() {
    for kind in KINDS {
        let bytes = sample(kind).bytes;
        let (mut reader, root) = open(&bytes[..]).unwrap();
        assert_eq!(names(&mut reader, 0), Ok(NAMES.map(str::to_owned).to_vec()));
        for (path, kind, mode, nlink, size) in [
            ("", ObjectType::Directory, 0o755, 2, 584),
            ("Hello World", ObjectType::Regular, 0o644, 1, 5),
            ("link", ObjectType::SymbolicLink, 0o777, 1, 8),
            ("sub", ObjectType::Directory, 0o711, 2, 84),
            ("sub/../sub/file", ObjectType::Regular, 0o640, 1, 4),
            ("a name that goes on", ObjectType::Regular, 0o600, 1, 3),
            ("large", ObjectType::Regular, 0o444, 1, 2055),
            ("deep/end", ObjectType::Regular, 0o644, 1, 5),
        ] {
            assert_eq!(walk(&mut reader, root, path), Ok(()), "{path}");
            let attr = reader.attr(7);
            assert_eq!(
                (attr.kind, attr.mode, attr.nlink),
                (kind, mode, nlink),
                "{path}"
            );
            assert_eq!(
                (attr.size, attr.uid, attr.gid, attr.fsid),
                (size, 1000, 100, 7)
            );
            let noon = FileTime {
                secs: 1_795_176_000,
                nanos: 0,
            };
            assert_eq!((attr.mtime, attr.atime, attr.ctime), (noon, noon, noon));
        }
        walk(&mut reader, root, "link").unwrap();
        assert_eq!(reader.target(), b"sub/file");
        assert_eq!(reader.run(0), Err(FsError::Invalid));
        walk(&mut reader, root, "large").unwrap();
        let whole = content(&mut reader, 0).unwrap();
        assert_eq!(
            (whole.len(), &whole[..5], &whole[2048..]),
            (2055, &b"hello"[..], &b"the end"[..])
        );
        for offset in [2054, 2048, 2047, 0, 2055, u64::MAX] {
            let rest = whole.get(offset as usize..).unwrap_or_default();
            assert_eq!(
                content(&mut reader, offset).as_deref(),
                Ok(rest),
                "{offset}"
            );
        }
        for (path, error) in [
            ("none", FsError::NoEntry),
            ("gone", FsError::NoEntry),
            ("hidden", FsError::NoEntry),
            ("Hello World/x", FsError::NotDirectory),
        ] {
            assert_eq!(walk(&mut reader, root, path), Err(error), "{path}");
        }
        assert_eq!(explore(&bytes), 17, "{kind:?}");
    }
}

#[test]
fn volume_is_found_by_any_intact_descriptor() {
    let image = sample(Kind::Physical);
    let opened = |draft: &Draft| open(&draft.bytes[..]).map(drop);
    let anchor = image.bytes[256 * BLOCK..][..BLOCK].to_vec();
    for block in [299, 298, 297, 149, 43, 41] {
        let mut draft = image.clone();
        draft.put(256, 0, &[0; BLOCK]);
        assert_eq!(opened(&draft), Err(FsError::NotSupported));
        let mut anchor = anchor.clone();
        seal(&mut anchor, 2, block);
        draft.put(block, 0, &anchor);
        assert_eq!(opened(&draft), Ok(()), "{block}");
    }
    // Each byte of the main sequence is in a checksum; the reserve sequence replaces it.
    for at in (0..4 * BLOCK).step_by(61) {
        let mut draft = image.clone();
        let at = SEQUENCES[0] as usize * BLOCK + at;
        draft.bytes[at] ^= 0x40;
        assert_eq!(opened(&draft), Ok(()), "{at}");
        draft.put(SEQUENCES[1], 0, &[0; BLOCK]);
        draft.put(SEQUENCES[0], 0, &[0; BLOCK]);
        assert_eq!(opened(&draft), Err(FsError::Io));
    }
    // The mirror replaces a damaged metadata file.
    let mut draft = sample(Kind::Metadata);
    draft.put(START + 1, 20, &[0xff]);
    assert_eq!(explore(&draft.bytes), 17);
    draft.put(START + 2, 20, &[0xff]);
    assert_eq!(opened(&draft), Err(FsError::Io));
    let mut draft = image;
    draft.put(17 * 4, 1, b"NSR04");
    assert_eq!(opened(&draft), Err(FsError::Invalid));
}

#[test]
fn contents_have_holes_and_several_forms() {
    let of = |node: Node| read(|draft| draft.put_node(2, &node), "Hello World");
    let node = |form, size, descriptors: &[Vec<u8>]| Node {
        form,
        size,
        descriptors: descriptors.concat(),
        ..Node::embedded(5, 0o644, &[])
    };
    let block = BLOCK as u32;
    let zeros = [0; BLOCK];
    let hello = [&b"hello"[..], &[0; BLOCK - 5]].concat();
    for kind in [1, 2] {
        let read = of(node(
            1,
            1029,
            &[data_ad(kind, block, 2), data_ad(0, block + 5, 1)],
        ));
        assert_eq!(read, Ok([&zeros[..], &zeros, b"hello"].concat()));
    }
    // An extent between others ends within a block: the rest of the block belongs to the file.
    let uneven = [
        data_ad(0, 300, 2),
        data_ad(0, block, 1),
        data_ad(0, block, 2),
    ];
    let read_uneven = of(node(1, 1029, &uneven));
    assert_eq!(read_uneven, Ok([&hello[..], &zeros, b"hello"].concat()));
    // The part after the last extent is not stored, as on Linux.
    let read_short = of(node(0, 1024, &[short_ad(0, block, 62)]));
    assert_eq!(read_short, Ok([&hello[..], &zeros].concat()));
    let extended = [short_ad(0, block, block), short_ad(0, block, 62)].concat();
    let extended = [&extended[..12], &62_u32.to_le_bytes(), &[0; 4]].concat();
    assert_eq!(of(node(2, 512, &[extended])), Ok(hello));
    // An extent outside of the partition, or the image; a partition that is not there.
    for descriptors in [
        short_ad(0, 512, 200),
        short_ad(0, 512, u32::MAX),
        [
            short_ad(0, 512, 62),
            short_ad(0, 512, 199),
            short_ad(0, 512, 200),
        ]
        .concat(),
    ] {
        assert_eq!(of(node(0, 1536, &[descriptors])), Err(FsError::Io));
    }
    let place = Place {
        partition: 1,
        block: 62,
    };
    assert_eq!(of(node(1, 5, &[long_ad(0, 5, place)])), Err(FsError::Io));
    assert_eq!(of(node(4, 5, &[])), Err(FsError::Io));
    assert_eq!(
        of(Node {
            size: 6,
            ..Node::embedded(5, 0, b"hello")
        }),
        Err(FsError::Io)
    );
    let special = Node::embedded(6, 0, &[]);
    assert_eq!(of(special), Err(FsError::Io));
}

/// The start of an image, followed by zeros.
#[derive(Clone, Copy)]
struct Long<'a>(&'a [u8], u64);

impl Block for Long<'_> {
    fn read(&mut self, offset: u64, out: &mut [u8]) -> FsResult<()> {
        let rest = self.0.tail(offset as usize);
        let (stored, zeros) = out.split_at_mut(rest.len().min(out.len()));
        stored.copy_from_slice(&rest[..stored.len()]);
        zeros.fill(0);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.1
    }
}

#[test]
fn file_beyond_4_gib_has_several_extents() {
    let mut draft = sample(Kind::Physical);
    let part = 0x3fff_fe00_u64;
    let blocks = part as u32 / BLOCK as u32;
    let ads = (0..5).map(|number| short_ad(0, part as u32, 150 + number * blocks));
    let node = Node {
        form: 0,
        size: 5 * part - 7,
        descriptors: ads.collect::<Vec<_>>().concat(),
        ..Node::embedded(5, 0o644, &[])
    };
    draft.put_node(2, &node);
    draft.resize_partition(6 * blocks);
    let mut image = Long(&draft.bytes, 5 * part + (1 << 20));
    let (mut reader, root) = open(image).unwrap();
    walk(&mut reader, root, "Hello World").unwrap();
    assert_eq!(reader.attr(7).size, node.size);
    let start = u64::from(START + 150) * BLOCK as u64;
    for offset in [0, 4 << 30, part - 1, part, node.size - 1, 1] {
        let run = reader.run(offset).unwrap();
        assert_eq!(run.offset, start + offset);
        assert_eq!(run.len, (part - offset % part).min(node.size - offset));
    }
    assert_eq!(reader.check_content(), Ok(()));
    // The image ends within the last extent.
    image.1 -= 1 << 21;
    let (mut reader, root) = open(image).unwrap();
    walk(&mut reader, root, "Hello World").unwrap();
    assert_eq!(reader.check_content(), Err(FsError::Io));
    assert_eq!(reader.run(node.size - 1), Err(FsError::Io));
    assert!(reader.run(0).is_ok());
}

#[test]
fn packet_spared_beyond_image_is_unreadable() {
    let mut draft = sample(Kind::Sparable);
    // Blocks 4 to 15; the packet of blocks 8 to 11 is elsewhere.
    let len = 12 * BLOCK as u32;
    let node = Node {
        form: 0,
        size: len.into(),
        descriptors: short_ad(0, len, 4),
        ..Node::embedded(5, 0o644, &[])
    };
    draft.put_node(5, &node);
    let mut check = |instead: u32| {
        draft.put_sparing_table(instead);
        let (mut reader, root) = open(&draft.bytes[..])?;
        walk(&mut reader, root, "sub/file")?;
        reader.check_content()
    };
    assert_eq!(check(290), Ok(()));
    assert_eq!(check(1000), Err(FsError::Io));
}

#[test]
fn loops_end() {
    // Descriptors that go on in their own block, in which nothing else is.
    let read_loop = read(
        |draft| {
            let mut extents = vec![0; BLOCK];
            let next = data_ad(3, BLOCK as u32, 10);
            extents[20] = next.len() as u8;
            extents[24..24 + next.len()].copy_from_slice(&next);
            seal(&mut extents, 258, 70);
            draft.put_data(10, &extents);
        },
        "large",
    );
    assert_eq!(read_loop, Err(FsError::Io));
    // An indirect entry that refers to itself; a directory that contains itself.
    let mut draft = sample(Kind::Physical);
    let chained = Node {
        strategy: 4096,
        ..Node::embedded(5, 0o644, b"old")
    };
    draft.put_node(20, &chained);
    let mut indirect = vec![0; BLOCK];
    indirect[36..52].copy_from_slice(&long_ad(0, 512, draft.node_place(20)));
    seal(&mut indirect, 259, 21);
    draft.put(START + 21, 0, &indirect);
    let (mut reader, root) = open(&draft.bytes[..]).unwrap();
    reader.reset_budget();
    assert_eq!(reader.select(20), Err(FsError::Io));
    indirect[36..52].copy_from_slice(&long_ad(0, 512, draft.node_place(5)));
    seal(&mut indirect, 259, 21);
    draft.put(START + 21, 0, &indirect);
    let (mut reader, _) = open(&draft.bytes[..]).unwrap();
    assert_eq!(reader.select(20), Ok(()));
    assert_eq!(content(&mut reader, 0), Ok(b"hell".to_vec()));
    let itself = [
        entry(b"", 10, draft.node_place(4)),
        entry(&name("me"), 2, draft.node_place(4)),
    ];
    draft.put_node(4, &Node::embedded(4, 0o755, &itself.concat()));
    let (mut reader, _) = open(&draft.bytes[..]).unwrap();
    assert_eq!(walk(&mut reader, root, "sub/me/me/../me"), Ok(()));
    assert_eq!(explore(&draft.bytes), 200);
}

#[test]
fn cookies_continue_the_listing() {
    let mut draft = sample(Kind::Physical);
    let mut bytes = entry(b"", 10, draft.node_place(1));
    (0..900).for_each(|number| {
        bytes.extend(entry(
            &name(&format!("file {number}")),
            0,
            draft.node_place(5),
        ));
    });
    let node = Node {
        form: 0,
        size: bytes.len() as u64,
        descriptors: short_ad(0, bytes.len() as u32, 220),
        ..Node::embedded(4, 0o755, &[])
    };
    draft.put(START + 220, 0, &bytes);
    draft.put_node(4, &node);
    draft.resize_partition(1000);
    let (mut reader, root) = open(&draft.bytes[..]).unwrap();
    walk(&mut reader, root, "sub").unwrap();
    let mut all = Vec::new();
    reader.list(0).unwrap();
    while let Ok(listed) = reader.next() {
        all.push((
            listed.cookie,
            String::from_utf8(reader.name().to_vec()).unwrap(),
        ));
    }
    assert_eq!(all.len(), 902);
    for (at, (cookie, _)) in all.iter().enumerate().step_by(7) {
        for from in [*cookie, cookie + 1] {
            reader.reset_budget();
            let rest = names(&mut reader, from).unwrap();
            assert!(
                rest.iter().eq(all[at + 1..].iter().map(|(_, name)| name)),
                "{from}"
            );
        }
    }
    for from in [1 << 40, u64::MAX] {
        assert_eq!(names(&mut reader, from), Ok(Vec::new()));
    }
}

#[test]
fn names_are_as_on_linux() {
    let decoded = |stored: &[u8]| {
        let mut out = [0; NAME_BYTES_MAX];
        let len = udf::decode(stored, &mut out);
        String::from_utf8(out[..len].to_vec()).unwrap()
    };
    for same in [
        "a",
        "Gr\u{fc}\u{df}e",
        "\u{65e5}\u{672c}.txt",
        "\u{1f600}.tar.gz",
        "...",
        ".a",
        "a.",
        "a b",
    ] {
        assert_eq!(decoded(&name(same)), same);
    }
    // Illegal characters become one "_", and a checksum of the stored name precedes the extension.
    for (stored, shown) in [
        (&b"\x08a/\0b.txt"[..], "a_b#4D6F.txt"),
        (b"\x08.", ".#2462"),
        (b"\x08..", "..#7B06"),
        (b"\x08a/b", "a_b#0F0B"),
        (b"\x10\xd8\0\0a", "_#DCF6"),
        (b"\x10\0a\xdc\0", "a_#6C1D"),
        (b"\x10\0", "#0000"),
        (b"\x08", "#0000"),
        (b"", "#0000"),
        (b"\xffabc", "#0000"),
    ] {
        let crc_of = stored.get(1..).unwrap_or_default();
        let shown = match shown.split_once('#') {
            Some((base, rest)) if !shown.contains("#0000") => {
                format!("{base}#{:04X}{}", udf::crc(crc_of), &rest[4..])
            }
            _ => shown.to_owned(),
        };
        assert_eq!(decoded(stored), shown);
    }
    let long = decoded(&[&[16][..], &[0x65, 0xe5].repeat(120), &[0, b'.', 0, b'c']].concat());
    assert!(long.starts_with('\u{65e5}') && long.ends_with(".c") && long.len() <= NAME_BYTES_MAX);
    assert_eq!(long.len(), 82 * 3 + 5 + 2);
    assert_eq!(udf::crc(b"\x70\x6a\x77"), 0x3299);
    let bytes: Vec<u8> = (0..200_u32)
        .map(|number| ((number * number) >> 3) as u8)
        .collect();
    for len in 0..bytes.len() {
        let by_bits = bytes[..len].iter().fold(0_u16, |sum, byte| {
            (0..8).fold(sum ^ u16::from(*byte) << 8, |sum, _| match sum >> 15 {
                1 => sum << 1 ^ 0x1021,
                _ => sum << 1,
            })
        });
        assert_eq!(udf::crc(&bytes[..len]), by_bits, "{len}");
    }
}

#[test]
fn targets_are_as_on_linux() {
    let path = |components: &[Vec<u8>]| {
        let mut out = [0; 64];
        let len = udf::target(&components.concat(), &mut out)?;
        Some(String::from_utf8(out[..len].to_vec()).unwrap())
    };
    let (root, up, here) = (component(2, ""), component(3, ""), component(4, ""));
    let name = |text| component(5, text);
    assert_eq!(
        path(&[root.clone(), name("usr"), name("lib")]).as_deref(),
        Some("/usr/lib")
    );
    assert_eq!(
        path(&[up.clone(), here, up, name("x")]).as_deref(),
        Some("../.././x".replace("./x", "x").as_str()).map(|_| ".././../x")
    );
    assert_eq!(path(&[root]).as_deref(), Some("/"));
    assert_eq!(path(&[]).as_deref(), Some(""));
    assert_eq!(path(&[name(&"x".repeat(40)), name(&"y".repeat(40))]), None);
    assert_eq!(path(&[vec![5, 9, 0, 0]]), None);
    assert_eq!(path(&[vec![5]]), None);
}

#[test]
fn changed_bytes_never_panic() {
    let mut state = 7_u32;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize
    };
    for kind in KINDS {
        let image = sample(kind).bytes;
        let used = 64 * BLOCK;
        let count = if cfg!(debug_assertions) { 30 } else { 4000 };
        for _ in 0..count {
            let changes: Vec<_> = (0..1 + random() % 4)
                .map(|_| (used + random() % (image.len() - used), random() as u8))
                .collect();
            explore(&changed(&image, &changes));
        }
    }
}
