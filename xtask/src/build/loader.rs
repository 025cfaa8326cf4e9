//! Checks that the minimised executable has the memory image of the linked one: maps both as Linux does (fs/binfmt_elf.c,
//! `load_elf_binary`), with every page size of the architecture.
//!
//! Shares neither code nor crates with `minimise`: parses the header bytes itself, as elf.h defines them.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};

use super::Arch;

pub const PT_LOAD: u64 = 1;
pub const PT_DYNAMIC: u64 = 2;
pub const PT_INTERP: u64 = 3;
pub const PT_NOTE: u64 = 4;
pub const PT_GNU_STACK: u64 = 0x6474_e551;
pub const PF_X: u64 = 1;
pub const PF_W: u64 = 2;
pub const PF_R: u64 = 4;

/// The page sizes (bytes) of kernels for this architecture.
const fn pages(arch: Arch) -> &'static [u64] {
    match arch {
        Arch::X86_64 | Arch::I686 => &[4096],
        // A 64-bit kernel can be built with any of these page sizes, and runs 32-bit programs with the same size.
        Arch::Aarch64 | Arch::Armv7 => &[4096, 16384, 65536],
    }
}

/// Fails unless `file` has the memory image of `linked`, no section headers, and no bytes that are not mapped.
pub fn check(arch: Arch, linked: &[u8], file: &[u8]) -> Result<()> {
    for page in pages(arch) {
        load(linked, *page)?.compare(&load(file, *page)?)?;
    }
    let headers = Headers::read(file)?;
    let sections = headers.sections.iter().cloned();
    ensure!(
        sections.flatten().all(|at| file[at] == 0),
        "the ELF header has fields for sections"
    );
    let loaded: Vec<_> = headers.of_kind(PT_LOAD).map(Segment::range).collect();
    let end = loaded.iter().map(|range| range.end).max();
    ensure!(
        end == Some(file.len() as u64),
        "the file continues after the last mapped byte"
    );
    let is_mapped = |at| loaded.iter().any(|range| range.contains(&at));
    let unused = (0..)
        .zip(file)
        .find(|(at, byte)| **byte != 0 && !is_mapped(*at));
    ensure!(unused.is_none(), "a byte is not mapped: {unused:x?}");
    Ok(())
}

/// Fails unless the file's only note is the one by which a hypervisor finds `entry`, the PVH entry: type 18
/// (XEN_ELFNOTE_PHYS32_ENTRY) of the owner Xen.
pub fn check_pvh(file: &[u8], entry: u64) -> Result<()> {
    let headers = Headers::read(file)?;
    let runs = |segment: &Segment| {
        let address = segment.address.value;
        segment.flags.value == PF_R | PF_X
            && (address..address + segment.in_file.value).contains(&entry)
    };
    ensure!(
        headers.of_kind(PT_LOAD).any(runs),
        "the PVH entry {entry:x} is not in an executable segment"
    );
    let notes: Vec<_> = headers.of_kind(PT_NOTE).map(Segment::range).collect();
    let [note] = &notes[..] else {
        bail!("{} PVH notes instead of one", notes.len());
    };
    let mut expected = b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0".to_vec();
    expected.extend(u32::try_from(entry)?.to_le_bytes());
    let bytes = file.get(usize::try_from(note.start)?..usize::try_from(note.end)?);
    ensure!(
        bytes == Some(&expected),
        "the PVH note is {bytes:x?}, not {expected:x?}"
    );
    Ok(())
}

/// Byte ranges of header fields for one ELF class.
struct Layout {
    /// In the ELF header: e_entry, e_phoff, e_phentsize and e_phnum.
    head: [Range<usize>; 4],
    /// Fields about sections, which no kernel reads. The first range is e_shoff, the second e_shnum and e_shstrndx.
    sections: [Range<usize>; 2],
    /// Size (bytes) of the ELF header.
    header: usize,
    /// Size (bytes) of a program header.
    size: usize,
    /// In a program header: p_type, p_flags, p_offset, p_vaddr, p_filesz and p_memsz.
    part: [Range<usize>; 6],
}

const ELF32: Layout = Layout {
    head: [24..28, 28..32, 42..44, 44..46],
    sections: [32..36, 48..52],
    header: 52,
    size: 32,
    part: [0..4, 24..28, 4..8, 8..12, 16..20, 20..24],
};

const ELF64: Layout = Layout {
    head: [24..32, 32..40, 54..56, 56..58],
    sections: [40..48, 60..64],
    header: 64,
    size: 56,
    part: [0..4, 4..8, 8..16, 16..24, 32..40, 40..48],
};

/// The value of a header field, and its byte range in the file.
#[derive(Clone, Debug)]
pub struct Field {
    pub value: u64,
    pub range: Range<usize>,
}

fn field(file: &[u8], range: Range<usize>) -> Field {
    let bytes = file[range.clone()].iter().rev();
    let value = bytes.fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Field { value, range }
}

/// A program header.
#[derive(Clone, Debug)]
pub struct Segment {
    pub kind: Field,
    pub flags: Field,
    pub offset: Field,
    pub address: Field,
    pub in_file: Field,
    pub in_memory: Field,
}

impl Segment {
    /// The segment's bytes in the file.
    pub fn range(&self) -> Range<u64> {
        self.offset.value..self.offset.value.saturating_add(self.in_file.value)
    }
}

/// The parsed headers.
pub struct Headers {
    pub machine: u64,
    pub entry: Field,
    /// Byte ranges of the fields about sections.
    sections: [Range<usize>; 2],
    pub segments: Vec<Segment>,
    /// Length (bytes) of the ELF header and the program headers, which follow it directly.
    pub len: usize,
}

impl Headers {
    /// Parses the headers of an executable.
    pub fn read(file: &[u8]) -> Result<Self> {
        // The last three bytes are EI_CLASS, EI_DATA and EI_VERSION.
        let layout = match file.get(..7) {
            Some(b"\x7fELF\x01\x01\x01") => ELF32,
            Some(b"\x7fELF\x02\x01\x01") => ELF64,
            start => {
                bail!("the file begins with {start:x?}, which is not a known ELF identification")
            }
        };
        let [entry, table, size, count] = layout.head.map(|range| field(file, range));
        ensure!(field(file, 16..18).value == 2, "e_type is not ET_EXEC");
        ensure!(size.value == layout.size as u64, "e_phentsize is {size:?}");
        let segment = |start: usize| {
            let part = layout.part.clone();
            let [kind, flags, offset, address, in_file, in_memory] =
                part.map(|part| field(file, start + part.start..start + part.end));
            Segment {
                kind,
                flags,
                offset,
                address,
                in_file,
                in_memory,
            }
        };
        let (table, count) = (usize::try_from(table.value)?, usize::try_from(count.value)?);
        let len = table + count * layout.size;
        ensure!(
            table == layout.header && file.len() >= len,
            "the program headers are not directly after the ELF header"
        );
        let starts = (table..).step_by(layout.size);
        Ok(Self {
            machine: field(file, 18..20).value,
            entry,
            sections: layout.sections,
            segments: starts.take(count).map(segment).collect(),
            len,
        })
    }

    /// The program headers of one type.
    pub fn of_kind(&self, kind: u64) -> impl Iterator<Item = &Segment> {
        let all = self.segments.iter();
        all.filter(move |segment| segment.kind.value == kind)
    }
}

/// The initial memory of a process: address, flags and bytes of each segment.
pub struct Image {
    machine: u64,
    entry: u64,
    stack: u64,
    parts: Vec<(u64, u64, Vec<u8>)>,
}

/// Maps a file with a page size of `page` bytes.
pub fn load(file: &[u8], page: u64) -> Result<Image> {
    let headers = Headers::read(file)?;
    let mut dynamic = headers
        .of_kind(PT_INTERP)
        .chain(headers.of_kind(PT_DYNAMIC));
    ensure!(dynamic.next().is_none(), "the file needs a dynamic loader");
    let stack = headers.of_kind(PT_GNU_STACK).next();
    let stack = stack.map_or(PF_X, |stack| stack.flags.value);
    ensure!(stack & PF_X == 0, "the stack is executable");
    // The headers are in the mapped memory, too. Fields that may differ between the two files are zeroed: those about sections, and
    // p_filesz of writable segments, because the shipped file omits their zeros at the end. The memory of the segments is compared
    // instead.
    let mut bytes = file.to_vec();
    headers
        .sections
        .iter()
        .for_each(|range| bytes[range.clone()].fill(0));
    for segment in headers.of_kind(PT_LOAD) {
        if segment.flags.value & PF_W != 0 {
            bytes[segment.in_file.range.clone()].fill(0);
        }
    }
    let mut parts = Vec::new();
    // Number of the first page after the previous segment.
    let mut free = 0;
    for segment in headers.of_kind(PT_LOAD) {
        parts.push(map(&bytes, page, free, segment)?);
        free = (segment.address.value + segment.in_memory.value).div_ceil(page);
    }
    let entry = headers.entry.value;
    let has_entry = |(address, flags, bytes): &(u64, u64, Vec<u8>)| {
        flags & PF_X != 0 && (*address..address + bytes.len() as u64).contains(&entry)
    };
    ensure!(
        parts.iter().any(has_entry),
        "the entry point {entry:x} is not in an executable segment"
    );
    Ok(Image {
        machine: headers.machine,
        entry,
        stack,
        parts,
    })
}

/// Maps a segment, as `elf_load` does.
fn map(file: &[u8], page: u64, free: u64, segment: &Segment) -> Result<(u64, u64, Vec<u8>)> {
    let (flags, address) = (segment.flags.value, segment.address.value);
    let (offset, in_file) = (segment.offset.value, segment.in_file.value);
    let in_memory = segment.in_memory.value;
    // Larger values would overflow below.
    ensure!(
        address < 1 << 47 && in_memory < 1 << 30,
        "the segment ends beyond all addresses"
    );
    ensure!(
        address / page >= free,
        "the segment shares a page with the previous one"
    );
    ensure!(
        offset % page == address % page,
        "offset and address differ within a page"
    );
    let can_write = flags & PF_W != 0;
    ensure!(
        !can_write || flags & PF_X == 0,
        "the segment is writable and executable"
    );
    ensure!(in_file <= in_memory, "p_filesz is larger than p_memsz");
    ensure!(
        in_file == in_memory || can_write,
        "a read-only segment has p_memsz larger than p_filesz"
    );
    let (start, len) = (usize::try_from(offset)?, usize::try_from(in_file)?);
    let bytes = file
        .get(start..start.saturating_add(len))
        .context("the file ends before the segment")?;
    let mut bytes = bytes.to_vec();
    bytes.resize(usize::try_from(in_memory)?, 0);
    Ok((address, flags, bytes))
}

impl Image {
    /// Returns an error that names the first difference.
    pub fn compare(&self, other: &Self) -> Result<()> {
        ensure!(self.machine == other.machine, "the machine differs");
        ensure!(self.entry == other.entry, "the entry point differs");
        ensure!(self.stack == other.stack, "the stack flags differ");
        ensure!(
            self.parts.len() == other.parts.len(),
            "the number of segments differs"
        );
        let pairs = || self.parts.iter().zip(&other.parts);
        for (part, other_part) in pairs() {
            ensure!(part.0 == other_part.0, "the address differs: {:x}", part.0);
            ensure!(
                part.1 == other_part.1,
                "the permissions differ at {:x}",
                part.0
            );
            ensure!(
                part.2.len() == other_part.2.len(),
                "the length differs at {:x}",
                part.0
            );
        }
        // The first segment includes the headers, so all their other fields are compared too.
        for ((address, _, bytes), (_, _, other_bytes)) in pairs() {
            let difference = bytes
                .iter()
                .zip(other_bytes)
                .position(|(byte, other_byte)| byte != other_byte);
            ensure!(
                difference.is_none(),
                "a byte differs, {difference:x?} after {address:x}"
            );
        }
        Ok(())
    }
}
