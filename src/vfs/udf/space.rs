//! Where the blocks of partitions and the contents of files are in an image.

use super::super::volume::{Block, Run};
use super::{FsError, FsResult, Reader};
use crate::wire::udf::{self, Ad, Form, MapKind, Place};

/// Where the content of a file is: by allocation descriptors, or in their place.
#[derive(Clone, Copy, Default)]
pub(super) struct Content {
    /// Offset of the descriptors in the image.
    pub(super) at: u64,
    /// Length of the content.
    pub(super) size: u64,
    /// Length of the descriptors.
    pub(super) len: u32,
    /// Partition of the extents, unless their descriptors name one.
    pub(super) partition: u16,
    pub(super) form: Form,
}

/// A position in the allocation descriptors of a file.
#[derive(Clone, Copy, Default)]
pub(super) struct Cursor {
    /// Offset in the image of the next descriptor, and length of those from there.
    at: u64,
    left: u32,
    /// True if the extent is stored in the image.
    is_stored: bool,
    /// The extent of the last descriptor: offset in the file, length, and place.
    before: u64,
    len: u64,
    place: Place,
}

impl Content {
    /// The position before the first descriptor.
    pub(super) const fn start(&self) -> Cursor {
        Cursor {
            at: self.at,
            left: self.len,
            is_stored: false,
            before: 0,
            len: 0,
            place: Place {
                partition: 0,
                block: 0,
            },
        }
    }
}

/// A partition.
#[derive(Clone, Copy)]
pub(super) struct Space {
    pub(super) kind: MapKind,
    /// Index of the partition that has the blocks, if this one is `Virtual` or `Metadata`.
    pub(super) base: u16,
    /// Packet length (blocks), and block of the sparing table, if this one is `Sparable`.
    pub(super) packet_len: u16,
    pub(super) table: Option<u32>,
    /// First block in the image, and length (blocks).
    pub(super) start: u32,
    pub(super) len: u32,
}

impl<B: Block> Reader<B> {
    /// The part of the image from a block of a partition to where contiguous blocks end. With `is_base`, only for partitions whose
    /// blocks need no file to be found.
    pub(super) fn resolve(&mut self, place: Place, is_base: bool) -> FsResult<Run> {
        let space = self.layout.space(place.partition).ok_or(FsError::Io)?;
        let (block, shift) = (place.block, self.layout.shift);
        let left = space.len.saturating_sub(block);
        if left == 0 {
            return Err(FsError::Io);
        }
        let run = |block: u64, count: u32| Run {
            offset: block << shift,
            len: u64::from(count) << shift,
        };
        let here = u64::from(space.start) + u64::from(block);
        match space.kind {
            MapKind::Physical => Ok(run(here, left)),
            MapKind::Sparable => {
                let Some(table) = space.table else {
                    return Ok(run(here, left));
                };
                let within = block & (u32::from(space.packet_len) - 1);
                let at = u64::from(table) << shift;
                let unit = self.layout.block_bytes();
                let table = self.tables.fetch(&mut self.block, at, unit)?;
                Ok(match udf::spared(table, block - within) {
                    (Some(packet), _) => run(
                        u64::from(packet) + u64::from(within),
                        u32::from(space.packet_len) - within,
                    ),
                    (None, next) => run(here, left.min(next.saturating_sub(block).max(1))),
                })
            }
            MapKind::Virtual15 | MapKind::Virtual20 if !is_base => {
                self.resolve_virtual(space.base, block)
            }
            MapKind::Metadata if !is_base => self.resolve_metadata(block),
            _ => Err(FsError::Io),
        }
    }

    /// Looks up a block in the VAT.
    fn resolve_virtual(&mut self, base: u16, block: u32) -> FsResult<Run> {
        let (vat, start) = (self.layout.files[0], self.layout.vat_start);
        let at = u64::from(start) + 4 * u64::from(block);
        if block >= self.layout.vat_count {
            return Err(FsError::Io);
        }
        let run = self.find(&vat, &mut vat.start(), at, true)?;
        let unit = self.layout.block_bytes();
        let bytes = self.tables.fetch(&mut self.block, run.offset, unit)?;
        let number = bytes.first_chunk().ok_or(FsError::Io)?;
        let place = Place {
            partition: base,
            block: u32::from_le_bytes(*number),
        };
        let mut run = self.resolve(place, true)?;
        run.len = unit as u64;
        Ok(run)
    }

    /// Finds a block in the metadata file, or else in its mirror.
    fn resolve_metadata(&mut self, block: u32) -> FsResult<Run> {
        let shift = self.layout.shift;
        let (first, run) = self.extent;
        let past = u64::from(block.wrapping_sub(first)) << shift;
        if past < run.len {
            return Ok(Run {
                offset: run.offset + past,
                len: run.len - past,
            });
        }
        for file in self.layout.files {
            match self.find(&file, &mut file.start(), u64::from(block) << shift, true) {
                Ok(run) if !run.is_hole() && run.len > 0 => {
                    self.extent = (block, run);
                    return Ok(run);
                }
                Err(error) if error.stops() => return Err(error),
                _ => {}
            }
        }
        Err(FsError::Io)
    }

    /// The contiguous part at `offset` of a file. `cursor` is a position in its descriptors. With `is_table`, the file is part of the
    /// structure of a partition.
    pub(super) fn find(
        &mut self,
        content: &Content,
        cursor: &mut Cursor,
        offset: u64,
        is_table: bool,
    ) -> FsResult<Run> {
        let left = content.size.saturating_sub(offset);
        if left == 0 {
            return Ok(Run::default());
        }
        if content.form == Form::Embedded {
            return Ok(Run {
                offset: content.at + offset,
                len: left,
            });
        }
        // A block of the file is in the extent in which its first byte is, even if the extent ends within the block: Linux writes
        // such extents between others.
        let rest_of_block = self.layout.block_bytes() as u64 - 1;
        let within = offset & rest_of_block;
        let start = offset - within;
        if start < cursor.before {
            *cursor = content.start();
        }
        while start - cursor.before >= cursor.len {
            self.step(content, cursor, is_table)?;
        }
        let past = start - cursor.before;
        let blocks = (cursor.len - past).saturating_add(rest_of_block) & !rest_of_block;
        let mut run = Run {
            offset: Run::HOLE,
            len: left.min(blocks - within),
        };
        if cursor.is_stored {
            let shift = self.layout.shift;
            let block = u32::try_from(u64::from(cursor.place.block) + (past >> shift));
            let place = Place {
                block: block.map_err(|_| FsError::Io)?,
                ..cursor.place
            };
            let found = self.resolve(place, is_table)?;
            run.offset = found.offset + within;
            let rest = self.block.size().saturating_sub(run.offset);
            run.len = run.len.min(found.len.saturating_sub(within)).min(rest);
            if run.len == 0 {
                return Err(FsError::Io);
            }
        }
        Ok(run)
    }

    /// Checks that the content of a file is inside the image.
    ///
    /// # Errors
    /// `Io`: a part is not.
    pub(super) fn check_extents(&mut self, content: &Content) -> FsResult<()> {
        let (mut cursor, mut offset) = (content.start(), 0);
        while offset < content.size {
            // An extent in a partition with tables can be in many places.
            self.look()?;
            offset += self.find(content, &mut cursor, offset, false)?.len;
        }
        Ok(())
    }

    /// Moves to the next extent of a file. After the last follows one without end that is not stored, as on Linux.
    fn step(&mut self, content: &Content, cursor: &mut Cursor, is_table: bool) -> FsResult<()> {
        self.look()?;
        cursor.before += cursor.len;
        cursor.len = 0;
        let (bytes, unit) = (Ad::bytes(content.form), self.layout.block_bytes());
        let window = match is_table {
            true => &mut self.tables,
            false => &mut self.nodes,
        };
        let mut ad = None;
        if let Some(left) = cursor.left.checked_sub(bytes) {
            let rest = window.fetch(&mut self.block, cursor.at, unit)?;
            ad = Ad::parse(rest, content.form, content.partition);
            cursor.at += u64::from(bytes);
            cursor.left = left;
        }
        let Some(ad) = ad else {
            (cursor.left, cursor.is_stored) = (0, false);
            cursor.len = u64::MAX - cursor.before;
            return Ok(());
        };
        if ad.kind != 3 {
            cursor.is_stored = ad.kind == 0;
            (cursor.len, cursor.place) = (ad.len.into(), ad.place);
            return Ok(());
        }
        let at = self.resolve(ad.place, is_table)?.offset;
        let window = match is_table {
            true => &mut self.tables,
            false => &mut self.nodes,
        };
        let block = window.fetch(&mut self.block, at, unit)?;
        let (start, len) = udf::extent_descriptors(block).ok_or(FsError::Io)?;
        (cursor.at, cursor.left) = (at + u64::from(start), len);
        Ok(())
    }
}
