//! Finds the file system of an image: anchor, volume descriptors, partitions, root directory.

use super::super::volume::{Block, Run, Volume as _};
use super::space::{Content, Space};
use super::{FsError, FsResult, ObjectType, Reader, id_of};
use crate::wire::udf::{self, MAP_COUNT_MAX, Map, MapKind, Place, kind};

/// Sector size of the volume recognition area (bytes), its first sector, and the sector before which it ends.
const SECTOR_BYTES: usize = 2048;
const SECTORS: core::ops::Range<u64> = 16..100;
/// Blocks that may be the anchor, as on Linux: block 256, or near the end (negative: from the end), or block 512 if the medium is not
/// closed.
static ANCHORS: [i16; 12] = [
    256, -1, -257, -2, -258, -3, -259, -151, -407, -153, -409, 512,
];
/// Most volume descriptor pointers that are followed, as on Linux.
const POINTER_COUNT_MAX: u32 = 64;
/// Blocks at the end of a volume that may have the VAT, as on Linux.
const VAT_PLACES: u32 = 4;

/// The structure of a volume.
#[derive(Clone, Copy)]
pub struct Layout {
    root: Place,
    spaces: [Space; MAP_COUNT_MAX],
    /// The VAT; or the metadata file and its mirror.
    pub(super) files: [Content; 2],
    /// Offset of the first entry in the VAT, and their count.
    pub(super) vat_start: u32,
    pub(super) vat_count: u32,
    /// Binary logarithm of the block size.
    pub(super) shift: u8,
}

impl Layout {
    /// No volume.
    pub const EMPTY: Self = Self {
        root: Place {
            partition: 0,
            block: 0,
        },
        spaces: [Space {
            kind: MapKind::Unknown,
            base: 0,
            packet_len: 0,
            table: None,
            start: 0,
            len: 0,
        }; MAP_COUNT_MAX],
        files: [Content {
            at: 0,
            size: 0,
            len: 0,
            partition: 0,
            form: udf::Form::Short,
        }; 2],
        vat_start: 0,
        vat_count: 0,
        shift: 0,
    };

    /// ID of the root directory.
    pub const fn root(&self) -> u64 {
        id_of(self.root)
    }

    /// Length of the volume in bytes. 0: unknown, because the partition of a disc with a VAT is as long as the medium.
    pub(super) fn volume_bytes(&self) -> u64 {
        let mut end = 0;
        for space in &self.spaces {
            if matches!(space.kind, MapKind::Virtual15 | MapKind::Virtual20) {
                return 0;
            }
            end = end.max(u64::from(space.start) + u64::from(space.len));
        }
        end << self.shift
    }

    /// Block size.
    pub(super) const fn block_bytes(&self) -> usize {
        1 << self.shift
    }

    /// The partition with this map.
    pub(super) fn space(&self, partition: u16) -> Option<Space> {
        self.spaces.get(usize::from(partition)).copied()
    }

    /// Returns true if there is such a block.
    pub(super) fn contains(&self, place: Place) -> bool {
        let space = self.space(place.partition);
        space.is_some_and(|space| place.block < space.len)
    }
}

impl<B: Block> Reader<B> {
    /// Finds the file system of an image and selects its root directory.
    ///
    /// # Errors
    /// `Invalid`: no UDF file system; `NotSupported`: no volume descriptors where they are expected; `Io`: they are damaged.
    #[inline(never)] // −48 bytes: one caller, whose frame stays small.
    pub fn open(&mut self, block: B) -> FsResult<()> {
        self.layout = Layout::EMPTY;
        self.replace_block(block);
        self.reset_budget();
        self.check_announced()?;
        let mut fault = FsError::NotSupported;
        for shift in 9..=12 {
            self.layout.shift = shift;
            let count = u32::try_from(self.block.size() >> shift).unwrap_or(u32::MAX);
            let last = count.saturating_sub(1);
            for place in ANCHORS {
                let number = match u32::try_from(place) {
                    Ok(number) => number,
                    Err(_) => count.saturating_sub(place.unsigned_abs().into()),
                };
                match self.open_at(number, last) {
                    Ok(()) => return Ok(()),
                    Err(error) if error.stops() => return Err(error),
                    Err(FsError::Io) => fault = FsError::Io,
                    Err(_) => {}
                }
            }
        }
        Err(fault)
    }

    /// Looks for the announcement of UDF among the descriptors at the start of the image.
    fn check_announced(&mut self) -> FsResult<()> {
        let mut unknown_count = 0;
        for sector in SECTORS {
            let at = sector * SECTOR_BYTES as u64;
            let bytes = match self.nodes.fetch(&mut self.block, at, SECTOR_BYTES) {
                Err(error) if error.stops() => return Err(error),
                bytes => bytes.unwrap_or_default(),
            };
            match udf::has_udf(bytes) {
                Some(true) => return Ok(()),
                Some(false) => unknown_count = 0,
                // With blocks of 4,096 bytes, every other sector is unused.
                None if unknown_count == 1 => break,
                None => unknown_count = 1,
            }
        }
        Err(FsError::Invalid)
    }

    /// Opens the volume with the anchor in this block.
    fn open_at(&mut self, number: u32, last: u32) -> FsResult<()> {
        let (at, unit) = (
            u64::from(number) << self.layout.shift,
            self.layout.block_bytes(),
        );
        let block = match self.nodes.fetch(&mut self.block, at, unit) {
            Err(error) if !error.stops() => return Err(FsError::NotSupported),
            block => block?,
        };
        let sequences = udf::anchor(block, number).ok_or(FsError::NotSupported)?;
        let mut opened = Err(FsError::Io);
        for sequence in sequences {
            opened = self.open_volume(sequence, last);
            if !matches!(opened, Err(error) if !error.stops()) {
                break;
            }
        }
        opened
    }

    /// Passes the descriptors of a sequence to `each`.
    fn for_each_descriptor(
        &mut self,
        (mut number, len): (u32, u32),
        each: &mut dyn FnMut(u16, &[u8], &udf::Head),
    ) -> FsResult<()> {
        let (shift, unit) = (self.layout.shift, self.layout.block_bytes());
        let (mut left, mut pointers_left) = (len >> shift, POINTER_COUNT_MAX);
        while left > 0 {
            left -= 1;
            self.look()?;
            let at = u64::from(number) << shift;
            let block = match self.nodes.fetch(&mut self.block, at, unit) {
                Err(error) if !error.stops() => break,
                block => block?,
            };
            let (Some(kind), Some(head)) = (udf::descriptor(block, number), block.first_chunk())
            else {
                break;
            };
            match kind {
                kind::POINTER if pointers_left > 0 => {
                    let (next, len) = udf::next_sequence(head);
                    (number, left) = (next, len >> shift);
                    pointers_left -= 1;
                    continue;
                }
                kind::POINTER | kind::END => break,
                kind => each(kind, block, head),
            }
            number = number.wrapping_add(1);
        }
        Ok(())
    }

    /// Opens the volume that a sequence describes. Of several descriptors of the same kind, the one with the highest number prevails.
    #[inline(never)] // −34 bytes: one caller, whose frame stays small.
    fn open_volume(&mut self, sequence: (u32, u32), last: u32) -> FsResult<()> {
        let mut volume = None;
        let mut highest = 0;
        self.for_each_descriptor(sequence, &mut |kind, block, head| {
            let number = udf::sequence_number(head);
            if kind == kind::LOGICAL && number >= highest {
                highest = number;
                volume = udf::logical_volume(block);
            }
        })?;
        let (file_set, maps) = volume.ok_or(FsError::Io)?;
        let mut spaces = Layout::EMPTY.spaces;
        let mut highest = [0; MAP_COUNT_MAX];
        self.for_each_descriptor(sequence, &mut |kind, _, head| {
            if kind != kind::PARTITION {
                return;
            }
            let (number, found) = (udf::sequence_number(head), udf::partition(head));
            for ((space, map), highest) in spaces.iter_mut().zip(&maps).zip(&mut highest) {
                if map.number == found.number && number >= *highest {
                    *highest = number;
                    (space.start, space.len) = (found.start, found.len);
                    space.kind = map.kind;
                }
            }
        })?;
        self.layout = Layout {
            shift: self.layout.shift,
            spaces,
            ..Layout::EMPTY
        };
        for (index, map) in maps.iter().enumerate() {
            self.open_partition(index, map, &maps, last)?;
        }
        let at = self.resolve(file_set, false)?.offset;
        let unit = self.layout.block_bytes();
        let block = self.nodes.fetch(&mut self.block, at, unit)?;
        let root = udf::root_directory(block, file_set.block);
        self.layout.root = root.ok_or(FsError::Io)?;
        self.select(self.layout.root())?;
        match ObjectType::of_mode(self.entry.mode) {
            ObjectType::Directory => Ok(()),
            _ => Err(FsError::Io),
        }
    }

    /// Finds the tables of a partition.
    fn open_partition(&mut self, index: usize, map: &Map, maps: &[Map], last: u32) -> FsResult<()> {
        let unit = self.layout.block_bytes();
        let is_base = |other: &Map| {
            other.number == map.number
                && matches!(other.kind, MapKind::Physical | MapKind::Sparable)
        };
        let base = maps.iter().position(is_base).unwrap_or(0) as u16;
        let start = self.layout.space(base).map_or(0, |space| space.start);
        let mut table = None;
        match map.kind {
            MapKind::Unknown | MapKind::Physical => {}
            MapKind::Sparable => {
                if !map.packet_len.is_power_of_two() {
                    return Err(FsError::Io);
                }
                for number in map.tables {
                    let at = u64::from(number) << self.layout.shift;
                    let block = match self.tables.fetch(&mut self.block, at, unit) {
                        Err(error) if error.stops() => return Err(error),
                        block => block.unwrap_or_default(),
                    };
                    if udf::is_sparing_table(block, number) {
                        table = Some(number);
                        break;
                    }
                }
            }
            MapKind::Virtual15 | MapKind::Virtual20 => {
                let places =
                    (0..VAT_PLACES).map(|back| last.wrapping_sub(start).wrapping_sub(back));
                for block in places {
                    let content = self.open_table(base, block)?;
                    if content.size > 0 && self.entry.is_table {
                        self.open_vat(content, map.kind)?;
                        break;
                    }
                }
            }
            MapKind::Metadata => {
                let [file, mirror, ..] = map.tables;
                self.layout.files = [self.open_table(base, file)?, self.open_table(base, mirror)?];
            }
        }
        if let Some(space) = self.layout.spaces.get_mut(index) {
            (space.base, space.packet_len, space.table) = (base, map.packet_len, table);
        }
        Ok(())
    }

    /// The content of a file of a partition's structure; empty if there is no such file.
    fn open_table(&mut self, partition: u16, block: u32) -> FsResult<Content> {
        match self.read_entry(Place { partition, block }) {
            Err(error) if error.stops() => Err(error),
            content => Ok(content.unwrap_or_default()),
        }
    }

    /// Finds the entries of a VAT.
    fn open_vat(&mut self, vat: Content, kind: MapKind) -> FsResult<()> {
        // The older form ends with an identifier and the place of the previous VAT.
        let (mut start, mut tail) = (0, 36);
        if kind == MapKind::Virtual20 {
            let Run { offset, .. } = self.find(&vat, &mut vat.start(), 0, true)?;
            let unit = self.layout.block_bytes();
            let bytes = self.tables.fetch(&mut self.block, offset, unit)?;
            let len = bytes.first_chunk().ok_or(FsError::Io)?;
            (start, tail) = (u16::from_le_bytes(*len).into(), 0);
        }
        let [file, _] = &mut self.layout.files;
        *file = vat;
        self.layout.vat_start = start;
        let entries = vat.size.saturating_sub(u64::from(start) + tail) / 4;
        self.layout.vat_count = u32::try_from(entries).unwrap_or(u32::MAX);
        Ok(())
    }
}
