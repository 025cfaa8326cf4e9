//! Proves that a minimised file is, in memory, what the linker wrote: each mapped byte, the entry and each permission, with
//! nothing that can be written to and run, and no page of two segments. Of the headers, which are mapped too, the fields that
//! tell of sections become zero, and data may have fewer bytes in the file where it ends in zeroes. What compiler and linker
//! did is not looked at. The suite `loads` shows the same without any of this code.

use anyhow::{Result, bail, ensure};
use object::elf::{
    EM_AARCH64, EM_ARM, ET_EXEC, FileHeader32, FileHeader64, PF_R, PF_W, PF_X, PT_DYNAMIC,
    PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_NOTE, SHF_ALLOC, SHT_NOTE,
};
use object::read::elf::{FileHeader, ProgramHeader as _, SectionHeader as _};
use object::{Endianness, FileKind, Object as _, ObjectSymbol as _};
use std::ops::Range;

/// Bytes of a page of most processors.
pub(super) const PAGE: u64 = 4096;

/// Bytes of the largest page that a kernel for this machine may have.
const fn page_bytes(machine: u16) -> u64 {
    match machine {
        // A kernel of 64 bits chooses, and runs programs of 32 bits in its own pages.
        EM_AARCH64 | EM_ARM => 65536,
        _ => PAGE,
    }
}

/// Says what is wrong with `file`, which was made of `linked`.
pub(super) fn prove(linked: &[u8], file: &[u8]) -> Result<()> {
    match (FileKind::parse(linked)?, FileKind::parse(file)?) {
        (FileKind::Elf64, FileKind::Elf64) => compare::<FileHeader64<Endianness>>(linked, file),
        (FileKind::Elf32, FileKind::Elf32) => compare::<FileHeader32<Endianness>>(linked, file),
        (was, is) => bail!("it is {is:?}, made of {was:?}"),
    }
}

/// A program header in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) in_file: u64,
    pub(super) in_memory: u64,
}

impl Segment {
    fn pages(&self, page: u64) -> Range<u64> {
        self.address / page..(self.address + self.in_memory).div_ceil(page)
    }

    /// Whether bytes of the file are mapped at all of these addresses.
    fn maps(&self, address: u64, len: u64) -> bool {
        self.kind == PT_LOAD
            && address >= self.address
            && address + len <= self.address + self.in_file
    }
}

/// All of its program headers.
pub(super) fn segments<H: FileHeader<Endian = Endianness>>(
    header: &H,
    elf: &[u8],
) -> Result<Vec<Segment>> {
    let endian = header.endian()?;
    let read = |segment: &H::ProgramHeader| {
        let (offset, in_file) = segment.file_range(endian);
        Segment {
            kind: segment.p_type(endian),
            flags: segment.p_flags(endian),
            offset,
            address: segment.p_vaddr(endian).into(),
            in_file,
            in_memory: segment.p_memsz(endian).into(),
        }
    };
    let segments: Vec<_> = header
        .program_headers(endian, elf)?
        .iter()
        .map(read)
        .collect();
    for segment in &segments {
        let end = segment.offset.checked_add(segment.in_file);
        ensure!(
            end.is_some_and(|end| end <= elf.len() as u64),
            "it ends inside {segment:x?}"
        );
        let end = segment.address.checked_add(segment.in_memory);
        ensure!(end.is_some(), "{segment:x?} ends behind all addresses");
    }
    Ok(segments)
}

/// The byte that is mapped at an address: zero behind what comes from the file.
fn byte(segments: &[Segment], elf: &[u8], address: u64) -> Option<u8> {
    let segment = segments.iter().find(|segment| {
        segment.kind == PT_LOAD
            && (segment.address..segment.address + segment.in_memory).contains(&address)
    })?;
    let at = address - segment.address;
    if at >= segment.in_file {
        return Some(0);
    }
    elf.get(usize::try_from(segment.offset + at).ok()?).copied()
}

/// The program headers of a file that a kernel can start, and that is never written to where it is run.
pub(super) fn sound<H: FileHeader<Endian = Endianness>>(
    is: &H,
    file: &[u8],
) -> Result<Vec<Segment>> {
    let endian = is.endian()?;
    ensure!(
        is.e_type(endian) == ET_EXEC,
        "it is not linked at one address"
    );
    let page = page_bytes(is.e_machine(endian));
    let after = segments(is, file)?;
    let loaded = || after.iter().filter(|segment| segment.kind == PT_LOAD);
    for segment in &after {
        let kind = segment.kind;
        ensure!(
            kind != PT_INTERP && kind != PT_DYNAMIC,
            "it needs a dynamic linker: {segment:x?}"
        );
        ensure!(
            segment.flags & (PF_W | PF_X) != PF_W | PF_X,
            "it can be written to and run: {segment:x?}"
        );
    }
    for segment in loaded() {
        ensure!(
            segment.offset % page == segment.address % page,
            "no page of the file can be mapped there: {segment:x?}"
        );
        ensure!(
            segment.in_file <= segment.in_memory,
            "more is in the file than in memory: {segment:x?}"
        );
        ensure!(
            segment.in_file == segment.in_memory || segment.flags & PF_W > 0,
            "no kernel fills it with zeros: {segment:x?}"
        );
    }
    let mut pages: Vec<_> = loaded().map(|segment| segment.pages(page)).collect();
    pages.sort_by_key(|pages| pages.start);
    for pair in pages.windows(2) {
        ensure!(
            pair[0].end <= pair[1].start,
            "two segments share a page: {pair:x?}"
        );
    }
    let stack = after.iter().find(|segment| segment.kind == PT_GNU_STACK);
    ensure!(
        stack.is_some_and(|stack| stack.flags & PF_X == 0),
        "its stack can be run"
    );
    let entry: u64 = is.e_entry(endian).into();
    let runs = |segment: &Segment| segment.flags == PF_R | PF_X && segment.maps(entry, 1);
    ensure!(
        loaded().any(runs),
        "{entry:x}, where it begins, cannot be run"
    );
    Ok(after)
}

fn compare<H: FileHeader<Endian = Endianness>>(linked: &[u8], file: &[u8]) -> Result<()> {
    let (was, is) = (H::parse(linked)?, H::parse(file)?);
    let endian = is.endian()?;
    ensure!(
        is.e_machine(endian) == was.e_machine(endian)
            && is.e_ident().os_abi == was.e_ident().os_abi,
        "it is for another processor or system"
    );
    let entry: u64 = is.e_entry(endian).into();
    ensure!(
        entry == was.e_entry(endian).into(),
        "it begins elsewhere: {entry:x}"
    );
    let (before, after) = (segments(was, linked)?, sound(is, file)?);

    // What was linked is what is mapped, and nothing else is.
    let same = |one: &Segment, other: &Segment| {
        (one.kind, one.flags, one.address, one.in_memory)
            == (other.kind, other.flags, other.address, other.in_memory)
    };
    for segment in &before {
        ensure!(
            after.iter().any(|other| same(segment, other)),
            "{segment:x?} is lost"
        );
    }
    ensure!(
        before.len() == after.len(),
        "it has other segments than were linked"
    );
    notes(was, linked, &after)?;
    let symbols = object::File::parse(linked)?;
    if let Some(entry) = symbols.symbol_by_name(PVH_ENTRY) {
        pvh(&after, file, entry.address())?;
    }
    for segment in before.iter().filter(|segment| segment.kind == PT_LOAD) {
        for address in segment.address..segment.address + segment.in_file {
            let (one, other) = (byte(&before, linked, address), byte(&after, file, address));
            let at = address - segment.address;
            let may_change = || is_of_sections::<H>(at) || is_length_of_data::<H>(is, &after, at);
            ensure!(
                one == other || segment.offset == 0 && may_change(),
                "the byte at {address:x} changed"
            );
        }
    }
    ensure!(
        is.e_shoff(endian).into() == 0 && is.e_shnum(endian) == 0 && is.e_shstrndx(endian) == 0,
        "it says that it has sections"
    );
    let end = after
        .iter()
        .map(|segment| segment.offset + segment.in_file)
        .max();
    ensure!(
        end == Some(file.len() as u64),
        "something in it is never mapped"
    );
    for (at, byte) in (0..).zip(file) {
        let is_used =
            |segment: &Segment| (segment.offset..segment.offset + segment.in_file).contains(&at);
        ensure!(
            *byte == 0 || after.iter().any(is_used),
            "byte {at:x} is there for nothing"
        );
    }
    Ok(())
}

/// What the entry of a machine without an operating system is called; a file that has none does not boot there.
const PVH_ENTRY: &str = "_start32";

/// A hypervisor finds the entry of a machine: by the only note that is told of, of type 18 (XEN_ELFNOTE_PHYS32_ENTRY), four bytes
/// that Xen owns.
fn pvh(segments: &[Segment], file: &[u8], entry: u64) -> Result<()> {
    let runs = |segment: &Segment| segment.flags == PF_R | PF_X && segment.maps(entry, 1);
    let address = u32::try_from(entry)?;
    ensure!(
        segments.iter().any(runs),
        "the PVH entry at {entry:x} cannot be run"
    );
    let mut notes = segments.iter().filter(|segment| segment.kind == PT_NOTE);
    let bytes = notes.next().and_then(|note| {
        let start = usize::try_from(note.offset).ok()?;
        file.get(start..start + usize::try_from(note.in_file).ok()?)
    });
    let mut wanted = b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0".to_vec();
    wanted.extend(address.to_le_bytes());
    ensure!(
        bytes == Some(&wanted) && notes.next().is_none(),
        "its PVH note is {bytes:x?}, not {wanted:x?}"
    );
    Ok(())
}

/// Whether it is this byte of an ELF header that says where the sections are: it becomes zero.
fn is_of_sections<H: FileHeader>(at: u64) -> bool {
    let places = if size_of::<H>() == size_of::<FileHeader64<Endianness>>() {
        [0x28..0x30, 0x3c..0x40]
    } else {
        [0x20..0x24, 0x30..0x34]
    };
    places.iter().any(|place| place.contains(&at))
}

/// Whether it is this byte of the headers that says how much of what can be written to comes from the file: less, where
/// that ended in zeroes.
fn is_length_of_data<H: FileHeader<Endian = Endianness>>(
    header: &H,
    segments: &[Segment],
    at: u64,
) -> bool {
    let Ok(endian) = header.endian() else {
        return false;
    };
    let (start, each): (u64, u64) = (
        header.e_phoff(endian).into(),
        header.e_phentsize(endian).into(),
    );
    let place = if size_of::<H>() == size_of::<FileHeader64<Endianness>>() {
        0x20..0x28
    } else {
        0x10..0x14
    };
    let writable = |number: u64| {
        let segment = usize::try_from(number).ok().and_then(|at| segments.get(at));
        segment.is_some_and(|segment| segment.kind == PT_LOAD && segment.flags & PF_W > 0)
    };
    at >= start && writable((at - start) / each) && place.contains(&((at - start) % each))
}

/// A kernel or hypervisor that looks for a note finds it: those of the linker are mapped whole, and told of as they were.
fn notes<H: FileHeader<Endian = Endianness>>(
    was: &H,
    linked: &[u8],
    after: &[Segment],
) -> Result<()> {
    let endian = was.endian()?;
    for section in was.section_headers(endian, linked)? {
        let flags: u64 = section.sh_flags(endian).into();
        if section.sh_type(endian) != SHT_NOTE || flags & u64::from(SHF_ALLOC) == 0 {
            continue;
        }
        let (at, len) = (
            section.sh_addr(endian).into(),
            section.sh_size(endian).into(),
        );
        ensure!(
            after.iter().any(|segment| segment.maps(at, len)),
            "the note at {at:x} is lost"
        );
    }
    for note in after.iter().filter(|segment| segment.kind == PT_NOTE) {
        ensure!(
            after.iter().any(|segment| {
                segment.maps(note.address, note.in_memory)
                    && segment.offset + (note.address - segment.address) == note.offset
            }),
            "the note of {note:x?} lies elsewhere in the file"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::minimise::minimise;
    use object::write::elf::{FileHeader as Head, ProgramHeader as Part, SectionHeader, Writer};

    const BASE: u64 = 0x20_0000;
    const NOTE: &[u8] = b"\x04\0\0\0\x04\0\0\0\x03\0\0\0GNU\0note";

    /// What a linker writes: a note, code in the next page, data in the one behind, a section header for each.
    fn linked() -> Vec<u8> {
        linked_with(NOTE)
    }

    fn linked_with(note_bytes: &[u8]) -> Vec<u8> {
        let mut elf = Vec::new();
        let mut out = Writer::new(Endianness::Little, true, &mut elf);
        out.reserve_file_header();
        out.reserve_program_headers(5);
        let note = out.reserve(note_bytes.len(), 4) as u64;
        let code = out.reserve(64, 16) as u64;
        let data = out.reserve(16, 16) as u64;
        let name = out.add_section_name(b".note");
        out.reserve_null_section_index();
        out.reserve_section_index();
        out.reserve_shstrtab_section_index();
        out.reserve_shstrtab();
        out.reserve_section_headers();
        let head = Head {
            os_abi: 0,
            abi_version: 0,
            e_type: ET_EXEC,
            e_machine: object::elf::EM_X86_64,
            e_entry: BASE + PAGE + code,
            e_flags: 0,
        };
        out.write_file_header(&head).unwrap();
        let part = |p_type, p_flags, offset, address, in_file, in_memory| Part {
            p_type,
            p_flags,
            p_offset: offset,
            p_vaddr: address,
            p_paddr: address,
            p_filesz: in_file,
            p_memsz: in_memory,
            p_align: PAGE,
        };
        let len = note_bytes.len() as u64;
        out.write_program_header(&part(PT_LOAD, PF_R, 0, BASE, note + len, note + len));
        out.write_program_header(&part(
            PT_LOAD,
            PF_R | PF_X,
            code,
            BASE + PAGE + code,
            64,
            64,
        ));
        let at = BASE + 2 * PAGE + data;
        out.write_program_header(&part(PT_LOAD, PF_R | PF_W, data, at, 16, 9000));
        out.write_program_header(&part(PT_NOTE, PF_R, note, BASE + note, len, len));
        out.write_program_header(&part(PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 0));
        out.write_align(4);
        out.write(note_bytes);
        out.write_align(16);
        out.write(&[0x90; 64]);
        out.write(&[7; 16]);
        out.write_shstrtab();
        out.write_null_section_header();
        out.write_section_header(&SectionHeader {
            name: Some(name),
            sh_type: SHT_NOTE,
            sh_flags: SHF_ALLOC.into(),
            sh_addr: BASE + note,
            sh_offset: note,
            sh_size: len,
            sh_link: 0,
            sh_info: 0,
            sh_addralign: 4,
            sh_entsize: 0,
        });
        out.write_shstrtab_section_header();
        elf
    }

    /// Where field `at` of program header `number` lies.
    const fn place(number: usize, at: usize) -> usize {
        64 + 56 * number + at
    }
    const KIND: usize = 0;
    const FLAGS: usize = 4;
    const OFFSET: usize = 8;
    const ADDRESS: usize = 16;
    const IN_FILE: usize = 32;

    fn put(file: &mut [u8], at: usize, value: u64) {
        file[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// What is said of the file with this change.
    fn said(change: impl FnOnce(&mut Vec<u8>)) -> String {
        let linked = linked();
        let mut file = minimise(&linked).unwrap();
        change(&mut file);
        prove(&linked, &file).unwrap_err().to_string()
    }

    #[test]
    fn what_was_minimised_is_proven() {
        let linked = linked();
        prove(&linked, &minimise(&linked).unwrap()).unwrap();
    }

    #[test]
    fn nothing_is_written_to_and_run() {
        let text = said(|file| file[place(2, FLAGS)] |= PF_X as u8);
        assert!(text.contains("written to and run"), "{text}");
        let text = said(|file| file[place(4, FLAGS)] |= PF_X as u8);
        assert!(text.contains("written to and run"), "{text}");
        let text = said(|file| file[place(4, FLAGS)] = (PF_R | PF_X) as u8);
        assert!(text.contains("stack can be run"), "{text}");
    }

    #[test]
    fn no_segments_share_a_page() {
        let text = said(|file| {
            // The code one page lower, where the note is: the same place in a page, so it could be mapped.
            let at = place(1, ADDRESS);
            let address = u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
            put(file, at, address - PAGE);
        });
        assert!(text.contains("share a page"), "{text}");
    }

    #[test]
    fn it_begins_where_it_can_be_run() {
        // Both begin there: what the linker was told is wrong.
        for entry in [BASE, BASE + 2 * PAGE + 0x200, 0] {
            let mut linked = linked();
            put(&mut linked, 24, entry);
            let file = minimise(&linked).unwrap();
            let text = prove(&linked, &file).unwrap_err().to_string();
            assert!(text.contains("cannot be run"), "{text}");
        }
        let text = said(|file| put(file, 24, BASE + PAGE));
        assert!(text.contains("begins elsewhere"), "{text}");
    }

    #[test]
    fn no_note_is_lost() {
        let text = said(|file| {
            let at = place(3, OFFSET);
            let offset = u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
            put(file, at, offset - 4);
        });
        assert!(text.contains("note"), "{text}");
        let text = said(|file| file[place(3, KIND)] = 0);
        assert!(text.contains("is lost"), "{text}");
        // The linker's own section lies outside all segments.
        let mut linked = linked();
        let at = place(0, IN_FILE);
        let len = u64::from_le_bytes(linked[at..at + 8].try_into().unwrap());
        for at in [at, at + 8] {
            put(&mut linked, at, len - 8);
        }
        let file = minimise(&linked).unwrap();
        let text = prove(&linked, &file).unwrap_err().to_string();
        assert!(text.contains("note") && text.contains("is lost"), "{text}");
    }

    #[test]
    fn a_hypervisor_finds_the_entry() {
        let entry = (BASE + PAGE) as u32 + 0x178;
        let mut note = b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0".to_vec();
        note.extend(entry.to_le_bytes());
        let found = |note: &[u8], entry: u32| {
            let file = minimise(&linked_with(note)).unwrap();
            let header = FileHeader64::<Endianness>::parse(&*file).unwrap();
            let segments = sound(header, &file).unwrap();
            pvh(&segments, &file, entry.into())
        };
        found(&note, entry).unwrap();
        // Its type, its owner, its length, and where it leads: by one bit each.
        for at in [8, 12, 4, 16] {
            let mut changed = note.clone();
            changed[at] ^= 1;
            let text = found(&changed, entry).unwrap_err().to_string();
            assert!(text.contains("PVH note"), "{text}");
        }
        let text = found(&note[..16], entry).unwrap_err().to_string();
        assert!(text.contains("PVH note"), "{text}");
        let text = found(&note, BASE as u32).unwrap_err().to_string();
        assert!(text.contains("cannot be run"), "{text}");
        // No note is told of at all.
        let mut file = minimise(&linked_with(&note)).unwrap();
        file[place(3, KIND)] = 0;
        let header = FileHeader64::<Endianness>::parse(&*file).unwrap();
        let segments = segments(header, &file).unwrap();
        assert!(pvh(&segments, &file, entry.into()).is_err());
    }

    #[test]
    fn zeroes_at_the_end_may_go_and_nothing_else() {
        let mut linked = linked();
        let full = minimise(&linked).unwrap().len();
        linked[full - 12..full].fill(0);
        let file = minimise(&linked).unwrap();
        assert_eq!(file.len(), full - 12);
        prove(&linked, &file).unwrap();
        // One byte less, and it is not what was linked.
        let mut cut = file[..file.len() - 1].to_vec();
        cut[place(2, IN_FILE)] -= 1;
        let text = prove(&linked, &cut).unwrap_err().to_string();
        assert!(text.contains("changed"), "{text}");
        // All of it can go.
        linked[full - 16..full].fill(0);
        let file = minimise(&linked).unwrap();
        assert_eq!(file.len(), full - 16);
        prove(&linked, &file).unwrap();
    }

    #[test]
    fn no_byte_changes_and_none_is_more() {
        let linked = linked();
        let file = minimise(&linked).unwrap();
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(prove(&linked, &changed).is_err(), "byte {at}");
        }
        let text = said(|file| file.push(0));
        assert!(text.contains("never mapped"), "{text}");
        let text = said(|file| _ = file.pop());
        assert!(text.contains("ends inside"), "{text}");
    }

    #[test]
    fn pages_of_the_file_are_those_of_memory() {
        let text = said(|file| {
            let at = place(2, OFFSET);
            let offset = u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
            put(file, at, offset - 1);
        });
        assert!(text.contains("no page of the file"), "{text}");
        let text = said(|file| put(file, place(1, IN_FILE), 60));
        assert!(text.contains("fills it with zeros"), "{text}");
    }

    #[test]
    fn a_dynamic_linker_is_refused() {
        let elf = std::fs::read("/proc/self/exe").unwrap();
        let text = prove(&elf, &minimise(&elf).unwrap())
            .unwrap_err()
            .to_string();
        assert!(text.contains("one address"), "{text}");
        let text = said(|file| file[place(3, KIND)] = PT_INTERP as u8);
        assert!(text.contains("dynamic linker"), "{text}");
    }
}
