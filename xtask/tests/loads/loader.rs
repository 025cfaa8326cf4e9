//! Maps an executable as Linux does (fs/binfmt_elf.c, `load_elf_binary`), for a kernel with pages of any size.
//!
//! It shares no code with what builds the file, nor a crate: it reads the headers' bytes itself, as elf.h lays them out.

use anyhow::{Context as _, Result, bail, ensure};
use std::ops::Range;

pub const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
pub const PT_GNU_STACK: u64 = 0x6474_e551;
pub const PF_X: u64 = 1;
pub const PF_W: u64 = 2;

/// Where the fields of a class' headers lie.
struct Layout {
    /// Of the ELF header: e_entry, e_phoff, e_phentsize and e_phnum.
    head: [Range<usize>; 4],
    /// e_shoff; e_shnum and e_shstrndx: of sections, which no kernel reads.
    sections: [Range<usize>; 2],
    /// Bytes of a program header.
    size: usize,
    /// Of that: p_type, p_flags, p_offset, p_vaddr, p_filesz and p_memsz.
    part: [Range<usize>; 6],
}

const ELF32: Layout = Layout {
    head: [24..28, 28..32, 42..44, 44..46],
    sections: [32..36, 48..52],
    size: 32,
    part: [0..4, 24..28, 4..8, 8..12, 16..20, 20..24],
};

const ELF64: Layout = Layout {
    head: [24..32, 32..40, 54..56, 56..58],
    sections: [40..48, 60..64],
    size: 56,
    part: [0..4, 4..8, 8..16, 16..24, 32..40, 40..48],
};

/// A number in a header, and where it lies in the file.
#[derive(Clone, Debug)]
pub struct Field {
    pub value: u64,
    pub place: Range<usize>,
}

fn field(file: &[u8], place: Range<usize>) -> Field {
    let bytes = file[place.clone()].iter().rev();
    let value = bytes.fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Field { value, place }
}

/// A program header.
#[derive(Clone, Debug)]
pub struct Segment {
    kind: u64,
    pub flags: Field,
    pub offset: Field,
    pub address: Field,
    pub in_file: Field,
    pub in_memory: Field,
}

/// All that the headers say.
pub struct Headers {
    machine: u64,
    pub entry: Field,
    sections: [Range<usize>; 2],
    segments: Vec<Segment>,
}

impl Headers {
    pub fn read(file: &[u8]) -> Result<Self> {
        // EI_CLASS, EI_DATA and EI_VERSION.
        let layout = match file.get(..7) {
            Some(b"\x7fELF\x01\x01\x01") => ELF32,
            Some(b"\x7fELF\x02\x01\x01") => ELF64,
            start => bail!("it begins with {start:x?}"),
        };
        let [entry, table, size, count] = layout.head.map(|place| field(file, place));
        ensure!(field(file, 16..18).value == 2, "it is not ET_EXEC");
        ensure!(size.value == layout.size as u64, "e_phentsize is {size:?}");
        let segment = |start: usize| {
            let part = layout.part.clone();
            let [kind, flags, offset, address, in_file, in_memory] =
                part.map(|part| field(file, start + part.start..start + part.end));
            Segment {
                kind: kind.value,
                flags,
                offset,
                address,
                in_file,
                in_memory,
            }
        };
        let (table, count) = (table.value.try_into()?, count.value.try_into()?);
        let starts = (table..).step_by(layout.size);
        Ok(Self {
            machine: field(file, 18..20).value,
            entry,
            sections: layout.sections,
            segments: starts.take(count).map(segment).collect(),
        })
    }

    /// Those of one kind.
    pub fn all(&self, kind: u64) -> impl Iterator<Item = &Segment> {
        let all = self.segments.iter();
        all.filter(move |segment| segment.kind == kind)
    }
}

/// What a process has when it starts: its segments' addresses, flags and bytes.
pub struct Image {
    machine: u64,
    entry: u64,
    stack: u64,
    parts: Vec<(u64, u64, Vec<u8>)>,
}

/// Maps a file into pages of `page` bytes.
pub fn load(file: &[u8], page: u64) -> Result<Image> {
    let headers = Headers::read(file)?;
    let mut other = headers.all(PT_INTERP).chain(headers.all(PT_DYNAMIC));
    ensure!(other.next().is_none(), "another program would load it");
    let stack = headers.all(PT_GNU_STACK).next();
    let stack = stack.map_or(PF_X, |stack| stack.flags.value);
    ensure!(stack & PF_X == 0, "its stack can be run");
    // These lie in the headers, which are mapped too, and may differ: what tells of sections, and how many bytes of a
    // segment with zeroes at its end are in the file. What the latter leads to is compared.
    let mut bytes = file.to_vec();
    headers
        .sections
        .iter()
        .for_each(|place| bytes[place.clone()].fill(0));
    for segment in headers.all(PT_LOAD) {
        if segment.flags.value & PF_W != 0 {
            bytes[segment.in_file.place.clone()].fill(0);
        }
    }
    let mut parts = Vec::new();
    // The first page that is free.
    let mut free = 0;
    for segment in headers.all(PT_LOAD) {
        parts.push(map(&bytes, page, free, segment)?);
        free = (segment.address.value + segment.in_memory.value).div_ceil(page);
    }
    let entry = headers.entry.value;
    let begins = |(address, flags, bytes): &(u64, u64, Vec<u8>)| {
        flags & PF_X != 0 && (*address..address + bytes.len() as u64).contains(&entry)
    };
    ensure!(parts.iter().any(begins), "{entry:x} cannot be run");
    Ok(Image {
        machine: headers.machine,
        entry,
        stack,
        parts,
    })
}

/// As `elf_load` does.
fn map(file: &[u8], page: u64, free: u64, segment: &Segment) -> Result<(u64, u64, Vec<u8>)> {
    let (flags, address) = (segment.flags.value, segment.address.value);
    let (offset, in_file) = (segment.offset.value, segment.in_file.value);
    let in_memory = segment.in_memory.value;
    ensure!(address / page >= free, "it shares a page");
    ensure!(offset % page == address % page, "no page fits there");
    let can_write = flags & PF_W != 0;
    ensure!(!can_write || flags & PF_X == 0, "it is written to and run");
    ensure!(in_file <= in_memory, "it is larger than its memory");
    ensure!(in_file == in_memory || can_write, "nothing zeroes its end");
    let (start, len) = (usize::try_from(offset)?, usize::try_from(in_file)?);
    let bytes = file.get(start..start + len).context("the file ends")?;
    let mut bytes = bytes.to_vec();
    bytes.resize(usize::try_from(in_memory)?, 0);
    Ok((address, flags, bytes))
}

impl Image {
    /// Says what differs.
    pub fn compare(&self, other: &Self) -> Result<()> {
        ensure!(self.machine == other.machine, "another machine");
        ensure!(self.entry == other.entry, "another entry");
        ensure!(self.stack == other.stack, "another stack");
        ensure!(self.parts.len() == other.parts.len(), "other segments");
        let pairs = || self.parts.iter().zip(&other.parts);
        for (one, other) in pairs() {
            ensure!(one.0 == other.0, "another address: {:x}", one.0);
            ensure!(one.1 == other.1, "another permission at {:x}", one.0);
            ensure!(one.2.len() == other.2.len(), "another end: {:x}", one.0);
        }
        // Of the headers too, so whatever else they say.
        for ((address, _, one), (_, _, other)) in pairs() {
            let at = one.iter().zip(other).position(|(one, other)| one != other);
            ensure!(at.is_none(), "another byte, {at:x?} behind {address:x}");
        }
        Ok(())
    }
}
