//! Checks that the minimised executable has the memory image of the linked one, and that Linux maps it (fs/binfmt_elf.c,
//! `load_elf_binary`) with every page size of the architecture.

use anyhow::{Context as _, Result, bail, ensure};
use object::elf::{
    ET_EXEC, FileHeader32, FileHeader64, Ident, Machine, PF_R, PF_W, PF_X, PT_DYNAMIC,
    PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_NOTE, ProgramFlags, ProgramType, SHN_UNDEF,
};
use object::read::elf::{FileHeader, ProgramHeader as _};
use object::{Endianness, FileKind};

use super::Arch;

/// The page sizes (bytes) of kernels for this architecture.
const fn pages(arch: Arch) -> &'static [u64] {
    match arch {
        Arch::X86_64 | Arch::I686 => &[4096],
        // A 64-bit kernel can be built with any of these page sizes, and runs 32-bit programs with the same size.
        Arch::Aarch64 | Arch::Armv7 => &[4096, 16384, 65536],
    }
}

/// A program header.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub kind: ProgramType,
    pub flags: ProgramFlags,
    pub offset: u64,
    pub address: u64,
    pub in_file: u64,
    pub in_memory: u64,
}

impl Segment {
    /// The segment's bytes in the file.
    pub fn bytes<'a>(&self, file: &'a [u8]) -> Result<&'a [u8]> {
        let start = usize::try_from(self.offset)?;
        let end = start.saturating_add(usize::try_from(self.in_file)?);
        file.get(start..end)
            .context("the file ends before the segment")
    }
}

/// The parsed headers of an executable.
pub struct Headers {
    pub machine: Machine,
    pub entry: u64,
    pub segments: Vec<Segment>,
    /// Length (bytes) of the ELF header and the program headers, which follow it directly.
    pub len: usize,
    /// All fields that a minimised file has in common with the linked one.
    common: Vec<u64>,
    /// True if the fields about sections, which no kernel reads, are zero.
    is_stripped: bool,
}

impl Headers {
    pub fn read(file: &[u8]) -> Result<Self> {
        match FileKind::parse(file)? {
            FileKind::Elf64 => Self::of::<FileHeader64<Endianness>>(file),
            FileKind::Elf32 => Self::of::<FileHeader32<Endianness>>(file),
            other => bail!("the file is {other:?}, not an ELF executable"),
        }
    }

    fn of<H: FileHeader<Endian = Endianness>>(file: &[u8]) -> Result<Self> {
        let header = H::parse(file)?;
        let endian = header.endian()?;
        ensure!(
            header.e_type(endian) == ET_EXEC,
            "e_type is {:?}",
            header.e_type(endian)
        );
        let (head, entry) = (size_of::<H>(), header.e_entry(endian).into());
        ensure!(
            header.e_phoff(endian).into() == head as u64,
            "the program headers are not directly after the ELF header"
        );
        let ident = file.iter().take(size_of::<Ident>());
        let mut common: Vec<u64> = ident.map(|byte| u64::from(*byte)).collect();
        common.extend([u64::from(header.e_machine(endian).0), entry]);
        common.extend([header.e_version(endian), header.e_flags(endian).0].map(u64::from));
        let sizes = [header.e_ehsize(endian), header.e_shentsize(endian)];
        common.extend(sizes.map(u64::from));
        let mut segments = Vec::new();
        for part in header.program_headers(endian, file)? {
            let segment = Segment {
                kind: part.p_type(endian),
                flags: part.p_flags(endian),
                offset: part.p_offset(endian).into(),
                address: part.p_vaddr(endian).into(),
                in_file: part.p_filesz(endian).into(),
                in_memory: part.p_memsz(endian).into(),
            };
            common.extend([segment.kind.0, segment.flags.0].map(u64::from));
            common.extend([segment.offset, segment.address, segment.in_memory]);
            common.extend([part.p_paddr(endian), part.p_align(endian)].map(Into::into));
            // A minimised file omits the zeros at the end of the writable segment.
            if segment.kind != PT_LOAD || !segment.flags.contains(PF_W) {
                common.push(segment.in_file);
            }
            segments.push(segment);
        }
        Ok(Self {
            machine: header.e_machine(endian),
            entry,
            len: head + segments.len() * usize::from(header.e_phentsize(endian)),
            segments,
            common,
            is_stripped: header.e_shoff(endian).into() == 0
                && header.e_shnum(endian) == 0
                && header.e_shstrndx(endian) == SHN_UNDEF,
        })
    }

    /// The program headers of one type.
    pub fn of_kind(&self, kind: ProgramType) -> impl Iterator<Item = &Segment> {
        let all = self.segments.iter();
        all.filter(move |segment| segment.kind == kind)
    }

    /// Fails unless a kernel with pages of `page` bytes maps the file: no dynamic loader, no executable stack, no memory that is
    /// writable and executable, no page of two segments, an entry that is executable.
    pub fn check_mapping(&self, page: u64) -> Result<()> {
        let mut dynamic = self.of_kind(PT_INTERP).chain(self.of_kind(PT_DYNAMIC));
        ensure!(dynamic.next().is_none(), "the file needs a dynamic loader");
        let stack = self.of_kind(PT_GNU_STACK).next();
        ensure!(
            stack.is_some_and(|stack| !stack.flags.contains(PF_X)),
            "the stack is executable"
        );
        // Number of the first page after the previous segment.
        let mut free = 0;
        for segment in self.of_kind(PT_LOAD) {
            let can_write = segment.flags.contains(PF_W);
            // Larger values would overflow below.
            let is_small = segment.address < 1 << 47 && segment.in_memory < 1 << 30;
            ensure!(
                is_small,
                "a segment ends beyond all addresses: {segment:x?}"
            );
            ensure!(
                segment.address / page >= free,
                "a segment shares a page with the previous one: {segment:x?}"
            );
            ensure!(
                segment.offset % page == segment.address % page,
                "offset and address differ within a page: {segment:x?}"
            );
            ensure!(
                !can_write || !segment.flags.contains(PF_X),
                "a segment is writable and executable: {segment:x?}"
            );
            ensure!(
                segment.in_file == segment.in_memory
                    || can_write && segment.in_file < segment.in_memory,
                "p_filesz and p_memsz do not fit: {segment:x?}"
            );
            free = (segment.address + segment.in_memory).div_ceil(page);
        }
        self.check_executable(self.entry)
    }

    /// Fails unless `address` is in an executable segment.
    fn check_executable(&self, address: u64) -> Result<()> {
        let has_address = |segment: &Segment| {
            segment.flags == PF_R | PF_X
                && (segment.address..segment.address + segment.in_file).contains(&address)
        };
        ensure!(
            self.of_kind(PT_LOAD).any(has_address),
            "the entry {address:x} is not in an executable segment"
        );
        Ok(())
    }
}

/// Fails unless `file` has the memory image of `linked`, no section headers, and no bytes that are not mapped.
pub fn check(arch: Arch, linked: &[u8], file: &[u8]) -> Result<()> {
    let (before, headers) = (Headers::read(linked)?, Headers::read(file)?);
    for page in pages(arch) {
        headers.check_mapping(*page)?;
    }
    ensure!(before.common == headers.common, "a header field differs");
    ensure!(
        headers.is_stripped,
        "the ELF header has fields for sections"
    );
    let mut unmapped = file.to_vec();
    let pairs = before.of_kind(PT_LOAD).zip(headers.of_kind(PT_LOAD));
    for (before, segment) in pairs {
        // The headers are compared above.
        let skipped = headers.len.saturating_sub(usize::try_from(segment.offset)?);
        let memory = |segment: &Segment, file| -> Result<Vec<u8>> {
            let mut bytes = segment.bytes(file)?.to_vec();
            bytes.resize(usize::try_from(segment.in_memory)?, 0);
            Ok(bytes.split_off(skipped.min(bytes.len())))
        };
        ensure!(
            memory(before, linked)? == memory(segment, file)?,
            "a byte differs in the segment at {:x}",
            segment.address
        );
        let start = usize::try_from(segment.offset)?;
        unmapped[start..start + usize::try_from(segment.in_file)?].fill(0);
    }
    ensure!(
        unmapped.iter().all(|byte| *byte == 0),
        "a byte is not mapped"
    );
    let ends = headers.of_kind(PT_LOAD);
    let end = ends.map(|segment| segment.offset + segment.in_file).max();
    ensure!(
        end == Some(file.len() as u64),
        "the file continues after the last mapped byte"
    );
    Ok(())
}

/// Fails unless the file's only note is the one by which a hypervisor finds `entry`, the PVH entry: type 18
/// (XEN_ELFNOTE_PHYS32_ENTRY) of the owner Xen.
pub fn check_pvh(file: &[u8], entry: u64) -> Result<()> {
    let headers = Headers::read(file)?;
    headers.check_executable(entry)?;
    let notes: Vec<_> = headers.of_kind(PT_NOTE).collect();
    let [note] = &notes[..] else {
        bail!("{} PVH notes instead of one", notes.len());
    };
    let mut expected = b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0".to_vec();
    expected.extend(u32::try_from(entry)?.to_le_bytes());
    let bytes = note.bytes(file)?;
    ensure!(
        bytes == expected,
        "the PVH note is {bytes:x?}, not {expected:x?}"
    );
    Ok(())
}
