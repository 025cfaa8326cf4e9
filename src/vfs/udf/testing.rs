//! A builder of UDF images for tests and fuzzers. A hostile image is a valid one with a few bytes changed.

use core::cell::RefCell;

use super::super::iso::testing::Owned;
use super::super::volume::{Block, Run, Volume as _};
use super::super::{FsError, FsResult, ObjectType};
use super::Reader;
use crate::wire::udf::{Place, crc, descriptor, kind};

/// Block size of the images (bytes).
pub const BLOCK: usize = 512;
/// First block of the main and the reserve volume descriptor sequence, and their length (blocks).
pub const SEQUENCES: [u32; 2] = [80, 88];
const SEQUENCE_LEN: u32 = 8;
/// Block of the sparing table.
const TABLE: u32 = 96;
/// First block of the partition, and its length.
pub const START: u32 = 100;
const LEN: u32 = 200;
/// First block of the data, and of the nodes, in the partition.
const DATA: u32 = 60;
/// Blocks of a packet; the packet that is elsewhere; the block of the volume at which it is.
const PACKET: u32 = 4;
const SPARED: u32 = 8;
const INSTEAD: u32 = 290;

/// Kinds of volumes.
pub const KINDS: [Kind; 5] = [
    Kind::Physical,
    Kind::Sparable,
    Kind::Virtual15,
    Kind::Virtual20,
    Kind::Metadata,
];

/// A kind of volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One partition.
    Physical,
    /// A packet is elsewhere.
    Sparable,
    /// Nodes are found by a VAT of UDF 1.50.
    Virtual15,
    /// Nodes are found by a VAT of UDF 2.00.
    Virtual20,
    /// Nodes are in a metadata file with two extents.
    Metadata,
}

/// Writes the tag of a descriptor.
pub fn seal(descriptor: &mut [u8], kind: u16, location: u32) {
    let sum = crc(&descriptor[16..]);
    descriptor[..16].fill(0);
    descriptor[..2].copy_from_slice(&kind.to_le_bytes());
    descriptor[2] = 3;
    descriptor[8..10].copy_from_slice(&sum.to_le_bytes());
    let len = descriptor.len() as u16 - 16;
    descriptor[10..12].copy_from_slice(&len.to_le_bytes());
    descriptor[12..16].copy_from_slice(&location.to_le_bytes());
    descriptor[4] = descriptor[..16]
        .iter()
        .fold(0, |sum, byte| sum.wrapping_add(*byte));
}

fn set(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

/// A short allocation descriptor. Kinds: 0 stored, 1 and 2 not stored, 3 more descriptors.
pub fn short_ad(kind: u32, len: u32, block: u32) -> Vec<u8> {
    [(kind << 30 | len).to_le_bytes(), block.to_le_bytes()].concat()
}

/// A long allocation descriptor.
pub fn long_ad(kind: u32, len: u32, place: Place) -> Vec<u8> {
    let mut ad = short_ad(kind, len, place.block);
    ad.extend(place.partition.to_le_bytes());
    ad.resize(16, 0);
    ad
}

/// A file entry: file type, mode, how the content is described (0 short, 1 long, 3 embedded), its length, descriptors or content.
#[derive(Clone, Default)]
pub struct Node {
    /// File type of the ICB: 4 directory, 5 file, 12 symbolic link.
    pub file_type: u8,
    /// Permissions.
    pub mode: u32,
    /// Form of the descriptors.
    pub form: u16,
    /// Length of the content.
    pub size: u64,
    /// The descriptors, or the content.
    pub descriptors: Vec<u8>,
    /// True for an extended file entry.
    pub is_extended: bool,
    /// Strategy of the ICB: 4, or 4096.
    pub strategy: u16,
}

impl Node {
    /// A node with its content embedded.
    pub fn embedded(file_type: u8, mode: u32, content: &[u8]) -> Self {
        Self {
            file_type,
            mode,
            form: 3,
            size: content.len() as u64,
            descriptors: content.to_vec(),
            is_extended: false,
            strategy: 4,
        }
    }

    /// The block of the ICB at this location.
    pub fn bytes(&self, location: u32) -> Vec<u8> {
        let (late, later) = if self.is_extended { (8, 40) } else { (0, 0) };
        let mut node = vec![0; BLOCK];
        node[20..22].copy_from_slice(&self.strategy.to_le_bytes());
        node[27] = self.file_type;
        node[34..36].copy_from_slice(&self.form.to_le_bytes());
        set(&mut node, 36, 1000);
        set(&mut node, 40, 100);
        let mode = self.mode;
        set(
            &mut node,
            44,
            mode & 7 | (mode & 0o70) << 2 | (mode & 0o700) << 4,
        );
        node[48] = 1;
        node[56..64].copy_from_slice(&self.size.to_le_bytes());
        for at in [
            72 + late,
            84 + late,
            if self.is_extended { 116 } else { 96 },
        ] {
            // Noon of 20 November 2026, UTC.
            node[at..at + 12].copy_from_slice(&[0, 0x10, 0xea, 7, 11, 20, 12, 0, 0, 0, 0, 0]);
        }
        set(&mut node, 172 + later, self.descriptors.len() as u32);
        let at = 176 + later;
        node[at..at + self.descriptors.len()].copy_from_slice(&self.descriptors);
        let kind = if self.is_extended {
            kind::EXTENDED
        } else {
            kind::FILE
        };
        seal(&mut node, kind, location);
        node
    }
}

/// A directory entry. Marks: 1 hidden, 2 directory, 4 deleted, 8 parent.
pub fn entry(name: &[u8], marks: u8, place: Place) -> Vec<u8> {
    let mut entry = vec![0; 38];
    entry[16] = 1;
    (entry[18], entry[19]) = (marks, name.len() as u8);
    entry[20..36].copy_from_slice(&long_ad(0, BLOCK as u32, place));
    entry.extend(name);
    entry.resize(entry.len().next_multiple_of(4), 0);
    seal(&mut entry, kind::NAME, 0);
    entry
}

/// A name in OSTA compressed Unicode.
pub fn name(text: &str) -> Vec<u8> {
    let units: Vec<u16> = text.encode_utf16().collect();
    if units.iter().all(|unit| *unit < 256) {
        let units = units.iter().map(|unit| *unit as u8);
        return [8].into_iter().chain(units).collect();
    }
    let units = units.iter().flat_map(|unit| unit.to_be_bytes());
    [16].into_iter().chain(units).collect()
}

/// A path component of a symbolic link. Kinds: 1 and 2 the root, 3 "..", 4 ".", 5 a name.
pub fn component(kind: u8, text: &str) -> Vec<u8> {
    let name = if text.is_empty() {
        Vec::new()
    } else {
        name(text)
    };
    [&[kind, name.len() as u8, 0, 0], &name[..]].concat()
}

/// An image under construction.
#[derive(Clone)]
pub struct Draft {
    /// The image.
    pub bytes: Vec<u8>,
    kind: Kind,
}

impl Draft {
    /// A volume without a root directory.
    pub fn new(kind: Kind) -> Self {
        let mut draft = Self {
            bytes: vec![0; (START + LEN) as usize * BLOCK],
            kind,
        };
        for (sector, id) in [(16, b"BEA01"), (17, b"NSR03"), (18, b"TEA01")] {
            draft.put(sector * 4, 1, id);
        }
        for start in SEQUENCES {
            draft.put_sequence(start);
        }
        let mut anchor = vec![0; BLOCK];
        for (at, start) in [(16, SEQUENCES[0]), (24, SEQUENCES[1])] {
            set(&mut anchor, at, SEQUENCE_LEN * BLOCK as u32);
            set(&mut anchor, at + 4, start);
        }
        draft.put_descriptor(256, anchor, kind::ANCHOR, 256);
        if kind == Kind::Sparable {
            draft.put_sparing_table(INSTEAD);
        }
        if matches!(kind, Kind::Virtual15 | Kind::Virtual20) {
            let mut vat = match kind {
                Kind::Virtual20 => [&152_u16.to_le_bytes()[..], &[0; 150]].concat(),
                _ => Vec::new(),
            };
            (0..20).for_each(|number| vat.extend(virtual_place(number).to_le_bytes()));
            vat.resize(vat.len() + if kind == Kind::Virtual15 { 36 } else { 0 }, 0);
            let file_type = if kind == Kind::Virtual20 { 248 } else { 0 };
            let node = Node::embedded(file_type, 0, &vat).bytes(LEN - 1);
            draft.put(START + LEN - 1, 0, &node);
        }
        if kind == Kind::Metadata {
            for (block, file_type) in [(1, 250), (2, 251)] {
                let ads = [
                    short_ad(0, 4 * BLOCK as u32, 40),
                    short_ad(0, 30 * BLOCK as u32, 4),
                ];
                let node = Node {
                    size: 34 * BLOCK as u64,
                    form: 0,
                    is_extended: true,
                    descriptors: ads.concat(),
                    ..Node::embedded(file_type, 0, &[])
                };
                draft.put(START + block, 0, &node.bytes(block));
            }
        }
        let mut set_of_files = vec![0; BLOCK];
        set_of_files[400..416].copy_from_slice(&long_ad(0, BLOCK as u32, draft.node_place(1)));
        let place = draft.node_place(0);
        let at = draft.block_of(place);
        draft.put_descriptor(at, set_of_files, kind::FILE_SET, 0);
        draft
    }

    fn put_sequence(&mut self, start: u32) {
        let mut maps = vec![1, 6, 1, 0, 7, 0];
        let mut second = vec![0; 64];
        second[..2].copy_from_slice(&[2, 64]);
        second[38] = 7;
        let id: &[u8] = match self.kind {
            Kind::Physical => &[],
            Kind::Sparable => {
                second[40] = PACKET as u8;
                second[42] = 1;
                set(&mut second, 44, BLOCK as u32);
                set(&mut second, 48, TABLE);
                maps.clear();
                b"*UDF Sparable Partition"
            }
            Kind::Virtual15 | Kind::Virtual20 => {
                second[28..30].copy_from_slice(match self.kind {
                    Kind::Virtual15 => &[0x50, 1],
                    _ => &[0, 2],
                });
                b"*UDF Virtual Partition"
            }
            Kind::Metadata => {
                set(&mut second, 40, 1);
                set(&mut second, 44, 2);
                set(&mut second, 48, u32::MAX);
                b"*UDF Metadata Partition"
            }
        };
        second[5..5 + id.len()].copy_from_slice(id);
        let count = u32::from(!maps.is_empty()) + u32::from(!id.is_empty());
        if !id.is_empty() {
            maps.extend(second);
        }
        let mut volume = vec![0; BLOCK];
        set(&mut volume, 16, 2);
        set(&mut volume, 212, BLOCK as u32);
        volume[248..264].copy_from_slice(&long_ad(0, BLOCK as u32, self.node_place(0)));
        set(&mut volume, 264, maps.len() as u32);
        set(&mut volume, 268, count);
        volume[440..440 + maps.len()].copy_from_slice(&maps);
        self.put_descriptor(start, volume, kind::LOGICAL, start);
        // A descriptor with a lower number does not count.
        for (block, number, first) in [(start + 1, 4, START), (start + 2, 3, 1)] {
            let mut partition = vec![0; BLOCK];
            set(&mut partition, 16, number);
            partition[22] = 7;
            set(&mut partition, 188, first);
            set(&mut partition, 192, LEN);
            self.put_descriptor(block, partition, kind::PARTITION, block);
        }
        self.put_descriptor(start + 3, vec![0; BLOCK], kind::END, start + 3);
    }

    /// Writes bytes at an offset from the start of a block of the volume; extends the image if needed.
    pub fn put(&mut self, block: u32, offset: usize, bytes: &[u8]) {
        let at = block as usize * BLOCK + offset;
        let end = (at + bytes.len()).next_multiple_of(BLOCK);
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn put_descriptor(&mut self, block: u32, mut bytes: Vec<u8>, kind: u16, location: u32) {
        seal(&mut bytes, kind, location);
        self.put(block, 0, &bytes);
    }

    /// Writes the sparing table, by which a packet is at the block `instead` of the volume.
    pub fn put_sparing_table(&mut self, instead: u32) {
        let mut table = vec![0; BLOCK];
        table[17..35].copy_from_slice(b"*UDF Sparing Table");
        table[48] = 2;
        set(&mut table, 56, SPARED);
        set(&mut table, 60, instead);
        set(&mut table, 64, u32::MAX);
        self.put_descriptor(TABLE, table, kind::SPARING, TABLE);
    }

    /// The place of node `number`: 0 is the file set, 1 the root directory.
    pub fn node_place(&self, number: u32) -> Place {
        let partition = match self.kind {
            Kind::Physical | Kind::Sparable => 0,
            _ => 1,
        };
        Place {
            partition,
            block: number,
        }
    }

    /// The block of the volume at a place.
    pub fn block_of(&self, place: Place) -> u32 {
        let block = place.block;
        match (self.kind, place.partition) {
            (Kind::Sparable, 0) if block / PACKET * PACKET == SPARED => INSTEAD + block - SPARED,
            (_, 0) => START + block,
            (Kind::Metadata, _) if block < 4 => START + 40 + block,
            (Kind::Metadata, _) => START + block,
            (_, _) => START + virtual_place(block),
        }
    }

    /// Writes node `number`.
    pub fn put_node(&mut self, number: u32, node: &Node) {
        let block = self.block_of(self.node_place(number));
        self.put(block, 0, &node.bytes(number));
    }

    /// Sets the length of the partition (blocks).
    pub fn resize_partition(&mut self, len: u32) {
        for block in SEQUENCES.map(|block| block + 1) {
            let at = block as usize * BLOCK;
            let mut partition = self.bytes[at..at + BLOCK].to_vec();
            set(&mut partition, 192, len);
            self.put_descriptor(block, partition, kind::PARTITION, block);
        }
    }

    /// Writes bytes at a block of the partition's data.
    pub fn put_data(&mut self, block: u32, bytes: &[u8]) {
        self.put(START + DATA + block, 0, bytes);
    }
}

/// The block of the partition that has a block of the virtual partition.
const fn virtual_place(number: u32) -> u32 {
    10 + 2 * number
}

/// A long allocation descriptor of the partition's data.
pub fn data_ad(kind: u32, len: u32, block: u32) -> Vec<u8> {
    long_ad(
        kind,
        len,
        Place {
            partition: 0,
            block: DATA + block,
        },
    )
}

/// Names in the root directory of [`sample`], in order.
pub const NAMES: [&str; 9] = [
    ".",
    "..",
    "Hello World",
    "link",
    "sub",
    "a name that goes on",
    "large",
    "rr_moved",
    "deep",
];

/// A volume that contains each kind of object once: the tree of the sample of ISO 9660.
pub fn sample(kind: Kind) -> Draft {
    let mut draft = Draft::new(kind);
    let place = |number| draft.node_place(number);
    let parent = |number| entry(b"", 10, place(number));
    let named = |text: &str, number| entry(&name(text), 0, place(number));
    let root = [
        parent(1),
        named("Hello World", 2),
        entry(&name(&"gone".repeat(30)), 4, place(15)),
        named("link", 3),
        named("sub", 4),
        entry(&name("hidden"), 1, place(2)),
        named("a name that goes on", 6),
        named("large", 7),
        named("rr_moved", 8),
        named("deep", 9),
    ]
    .concat();
    let target = [component(5, "sub"), component(5, "file")].concat();
    // The descriptors of "large" go on in another block, and the root directory crosses blocks.
    let more = data_ad(0, 7, 8);
    let large = [data_ad(0, 2048, 2), data_ad(3, BLOCK as u32, 10)].concat();
    let mut extents = vec![0; BLOCK];
    set(&mut extents, 20, more.len() as u32);
    extents[24..24 + more.len()].copy_from_slice(&more);
    let file = |mode, size, descriptors: Vec<u8>| Node {
        form: 1,
        size,
        descriptors,
        is_extended: mode == 0o444,
        ..Node::embedded(5, mode, &[])
    };
    let nodes = [
        Node {
            form: 1,
            size: root.len() as u64,
            descriptors: [
                data_ad(0, BLOCK as u32, 20),
                data_ad(0, root.len() as u32 - BLOCK as u32, 22),
            ]
            .concat(),
            ..Node::embedded(4, 0o755, &[])
        },
        file(0o644, 5, data_ad(0, 5, 2)),
        Node::embedded(12, 0, &target),
        Node::embedded(4, 0o711, &[parent(1), named("file", 5)].concat()),
        Node::embedded(5, 0o640, b"hell"),
        file(0o600, 3, data_ad(0, 3, 2)),
        file(0o444, 2055, large),
        Node::embedded(4, 0o755, &parent(1)),
        Node::embedded(4, 0o700, &[parent(1), named("end", 10)].concat()),
        Node::embedded(5, 0o644, b"hello"),
    ];
    for (number, node) in (1..).zip(&nodes) {
        draft.put_node(number, node);
    }
    let (first, second) = root.split_at(BLOCK);
    draft.put_data(20, first);
    draft.put_data(22, second);
    draft.put_data(2, b"hello");
    draft.put_data(8, b"the end");
    seal(&mut extents, kind::EXTENTS, DATA + 10);
    draft.put_data(10, &extents);
    draft
}

/// Returns the image with some bytes changed, each by its offset and new value. Where a descriptor was valid, its checksums are
/// corrected, so that readers accept it.
pub fn changed(image: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = image.to_vec();
    for (at, value) in changes {
        bytes[*at] = *value;
        let start = at / BLOCK * BLOCK;
        let [old, new] = [image, &bytes].map(|image| &image[start..start + BLOCK]);
        let field = |at| u32::from_le_bytes(*old[at..].first_chunk().unwrap());
        let is_valid = descriptor(old, field(12)).is_some();
        if is_valid && at - start >= 16 {
            let sum = crc(&new[16..]).to_le_bytes();
            let tag = &mut bytes[start..start + 16];
            tag[8..10].copy_from_slice(&sum);
            tag[4] = 0;
            tag[4] = tag.iter().fold(0, |sum, byte| sum.wrapping_add(*byte));
        }
    }
    bytes
}

/// Opens an image. `Err`: the error of [`Reader::open`].
pub fn open<B: Block + Copy>(block: B) -> FsResult<(Reader<B>, u64)> {
    let mut reader = Reader::new(block);
    reader.open(block)?;
    let root = reader.root();
    Ok((reader, root))
}

thread_local! {
    /// The reader of all explored images, because its memory is never freed.
    static EXPLORER: RefCell<Reader<Owned>> = RefCell::new(Reader::new(Owned(Vec::new())));
}

/// Lists an image a few levels deep and reads the start of every file. Returns the number of entries. Errors are ignored: the
/// caller tests that nothing panics or loops.
pub fn explore(bytes: &[u8]) -> u32 {
    EXPLORER.with_borrow_mut(|reader| match reader.open(Owned(bytes.to_vec())) {
        Ok(()) => explore_with(reader, bytes.len() as u64),
        Err(_) => 0,
    })
}

fn explore_with(reader: &mut Reader<Owned>, image_len: u64) -> u32 {
    let mut dirs = vec![reader.root()];
    let mut count = 0;
    while let Some(dir) = dirs.pop() {
        let mut cookie = 0;
        // Continue from the cookie of the previous entry.
        loop {
            reader.reset_budget();
            if count == 200
                || reader
                    .select(dir)
                    .and_then(|()| reader.list(cookie))
                    .is_err()
            {
                break;
            }
            let Ok(listed) = reader.next() else {
                break;
            };
            count += 1;
            assert!(listed.cookie > cookie);
            cookie = listed.cookie;
            let name = reader.name().to_vec();
            assert!(!name.is_empty() && !name.contains(&0) && !name.contains(&b'/'));
            if matches!(&name[..], b"." | b"..") || reader.select(listed.id).is_err() {
                continue;
            }
            let attr = reader.attr(7);
            match reader.run(1) {
                Ok(Run { len: 0, .. }) | Err(_) => {}
                Ok(run) if run.is_hole() => {}
                Ok(run) => {
                    let end = run.offset + run.len;
                    assert!(run.len <= attr.size && end <= image_len);
                }
            }
            let checked = reader.check_content();
            assert!(matches!(checked, Ok(()) | Err(FsError::Io)));
            if attr.kind == ObjectType::Directory {
                dirs.push(listed.id);
            }
        }
    }
    count
}
