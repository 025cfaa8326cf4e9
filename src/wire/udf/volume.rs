//! Descriptors of volumes: ECMA-167 parts 2 and 3, UDF 2.2.

use super::{Head, Place, descriptor, head, kind, place_at, u16_at, u32_at};

/// Returns `Some(true)` for a descriptor of the volume recognition area that announces UDF, `Some(false)` for another one, `None`
/// if `sector` has no such descriptor.
pub fn has_udf(sector: &[u8]) -> Option<bool> {
    let [_, id @ .., _] = sector.first_chunk::<7>()?;
    match id {
        b"NSR02" | b"NSR03" => Some(true),
        b"BEA01" | b"BOOT2" | b"CD001" | b"CDW02" => Some(false),
        _ => None,
    }
}

/// The volume descriptor sequences that an anchor names, main and reserve: first block and length (bytes) of each.
pub fn anchor(block: &[u8], location: u32) -> Option<[(u32, u32); 2]> {
    let head = head(block, location, kind::ANCHOR)?;
    let extent = |at| (u32_at(head, at + 4), u32_at(head, at));
    Some([extent(16), extent(24)])
}

/// The number that decides which of several volume descriptors of the same kind prevails.
pub fn sequence_number(head: &Head) -> u32 {
    u32_at(head, 16)
}

/// The sequence that continues with another extent, from a volume descriptor pointer: first block and length (bytes).
pub fn next_sequence(head: &Head) -> (u32, u32) {
    (u32_at(head, 24), u32_at(head, 20))
}

/// A partition descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Partition {
    /// The number by which maps refer to the partition.
    pub number: u16,
    /// First block.
    pub start: u32,
    /// Length (blocks).
    pub len: u32,
}

/// Reads a partition descriptor.
pub fn partition(head: &Head) -> Partition {
    Partition {
        number: u16_at(head, 22),
        start: u32_at(head, 188),
        len: u32_at(head, 192),
    }
}

/// Partition maps of a volume that are read. Real volumes have at most three.
pub const MAP_COUNT_MAX: usize = 4;

/// How blocks of a partition are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapKind {
    /// An unknown kind of partition, or no map.
    Unknown,
    /// Blocks are at their places.
    Physical,
    /// As `Physical`, but a table says where defect packets are instead.
    Sparable,
    /// A table has the place of each block: the VAT of UDF 1.50, which has no header.
    Virtual15,
    /// The VAT of UDF 2.00 and later.
    Virtual20,
    /// The blocks are those of a file.
    Metadata,
}

/// A partition map.
#[derive(Clone, Copy, Debug)]
pub struct Map {
    /// Number of the partition that it maps.
    pub number: u16,
    /// Kind.
    pub kind: MapKind,
    /// Length of a packet (blocks), if `Sparable`.
    pub packet_len: u16,
    /// The blocks of the copies of the table (`Sparable`), or of the ICBs of the metadata file and its mirror (`Metadata`).
    pub tables: [u32; 4],
}

impl Map {
    /// No map.
    pub const NONE: Self = Self {
        number: 0,
        kind: MapKind::Unknown,
        packet_len: 0,
        tables: [u32::MAX; 4],
    };

    fn read(bytes: &[u8]) -> Self {
        let mut map = Self::NONE;
        if let [1, 6, _, _, number @ ..] = bytes
            && let Ok(number) = number.try_into()
        {
            map.number = u16::from_le_bytes(number);
            map.kind = MapKind::Physical;
        } else if let [2, 64, _, _, _, id @ ..] = bytes
            && let Some(bytes) = bytes.first_chunk::<64>()
        {
            map.number = u16_at(bytes, 38);
            map.kind = if id.starts_with(b"*UDF Virtual Partition") {
                match u16_at(bytes, 28) {
                    ..0x200 => MapKind::Virtual15,
                    _ => MapKind::Virtual20,
                }
            } else if id.starts_with(b"*UDF Sparable Partition") {
                map.packet_len = u16_at(bytes, 40);
                for (number, table) in map.tables.iter_mut().enumerate() {
                    if number < usize::from(u16_at(bytes, 42) as u8) {
                        *table = u32_at(bytes, 48 + 4 * number);
                    }
                }
                MapKind::Sparable
            } else if id.starts_with(b"*UDF Metadata Partition") {
                let [file, mirror, ..] = &mut map.tables;
                (*file, *mirror) = (u32_at(bytes, 40), u32_at(bytes, 44));
                MapKind::Metadata
            } else {
                MapKind::Unknown
            };
        }
        map
    }
}

/// Reads a logical volume descriptor: the place of the file set descriptor, and the partition maps.
pub fn logical_volume(block: &[u8]) -> Option<(Place, [Map; MAP_COUNT_MAX])> {
    let head = block.first_chunk::<440>()?;
    let mut rest = block.get(440..)?;
    rest = rest.get(..u32_at(head, 264) as usize)?;
    let mut maps = [Map::NONE; MAP_COUNT_MAX];
    for map in maps.iter_mut().take(u32_at(head, 268) as usize) {
        let [_, len, ..] = *rest else {
            return None;
        };
        let (bytes, tail) = rest.split_at_checked(len.into())?;
        rest = tail;
        *map = Map::read(bytes);
    }
    Some((place_at(head, 252), maps))
}

/// The place of the root directory's ICB, from a file set descriptor.
pub fn root_directory(block: &[u8], location: u32) -> Option<Place> {
    let head = head(block, location, kind::FILE_SET)?;
    Some(place_at(head, 404))
}

/// Returns true if `block` is a sparing table.
pub fn is_sparing_table(block: &[u8], location: u32) -> bool {
    descriptor(block, location) == Some(kind::SPARING)
        && block
            .get(17..)
            .is_some_and(|id| id.starts_with(b"*UDF Sparing Table"))
}

/// Looks up a packet, by its first block, in a sparing table. Returns the block of the volume at which it is instead, and the next
/// packet in the table. Packets in the table are in ascending order.
pub fn spared(table: &[u8], packet: u32) -> (Option<u32>, u32) {
    const UNUSED: u32 = 0xffff_fff0;
    let (head, entries) = table.split_first_chunk::<56>().unwrap_or((&[0; 56], &[]));
    let mut found = None;
    let (entries, _) = entries.as_chunks::<8>();
    for entry in entries.iter().take(u16_at(head, 48).into()) {
        match u32_at(entry, 0) {
            original if original == packet => found = Some(u32_at(entry, 4)),
            original @ ..UNUSED if original < packet => {}
            original => return (found, original),
        }
    }
    (found, u32::MAX)
}
