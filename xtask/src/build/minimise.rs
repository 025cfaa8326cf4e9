//! Strips the linked executable to the bytes that the kernel maps.
//!
//! Removes section headers, symbols, DWARF and the defmt table. Also removes trailing zeros of the last writable segment: the
//! kernel zero-fills from `p_filesz` to `p_memsz`. Addresses and segments do not change.

use anyhow::{Context as _, Result, bail};
use object::elf::{
    FileHeader32, FileHeader64, PF_W, PT_LOAD, ProgramHeader32, ProgramHeader64, SHN_UNDEF,
};
use object::read::elf::{FileHeader, ProgramHeader as _};
use object::{Endianness, FileKind, U16, U32, U64, pod};

/// Returns the linked executable `elf` without the parts that the kernel does not map.
pub(super) fn minimise(elf: &[u8]) -> Result<Vec<u8>> {
    let truncated = || anyhow::anyhow!("the ELF header is truncated");
    match FileKind::parse(elf)? {
        FileKind::Elf64 => {
            let mut file = mapped::<FileHeader64<Endianness>>(elf)?;
            let (header, _) = pod::from_bytes_mut::<FileHeader64<Endianness>>(&mut file)
                .map_err(|()| truncated())?;
            header.e_shoff = U64::new(Endianness::Little, 0);
            header.e_shnum = U16::new(Endianness::Little, 0);
            header.e_shstrndx = U16::new(Endianness::Little, SHN_UNDEF);
            if let Some(trim) = zeroes_at_end::<FileHeader64<Endianness>>(&file)? {
                let (header, _) =
                    pod::from_bytes_mut::<ProgramHeader64<Endianness>>(&mut file[trim.header..])
                        .map_err(|()| truncated())?;
                header.p_filesz = U64::new(Endianness::Little, trim.in_file);
                file.truncate(trim.end);
            }
            Ok(file)
        }
        FileKind::Elf32 => {
            let mut file = mapped::<FileHeader32<Endianness>>(elf)?;
            let (header, _) = pod::from_bytes_mut::<FileHeader32<Endianness>>(&mut file)
                .map_err(|()| truncated())?;
            header.e_shoff = U32::new(Endianness::Little, 0);
            header.e_shnum = U16::new(Endianness::Little, 0);
            header.e_shstrndx = U16::new(Endianness::Little, SHN_UNDEF);
            if let Some(trim) = zeroes_at_end::<FileHeader32<Endianness>>(&file)? {
                let (header, _) =
                    pod::from_bytes_mut::<ProgramHeader32<Endianness>>(&mut file[trim.header..])
                        .map_err(|()| truncated())?;
                header.p_filesz = U32::new(Endianness::Little, u32::try_from(trim.in_file)?);
                file.truncate(trim.end);
            }
            Ok(file)
        }
        other => bail!("the linked file is {other:?}, not an ELF executable"),
    }
}

/// Length of the part of an executable that ends with the last byte mapped by a segment.
pub(super) fn mapped_len(elf: &[u8]) -> Result<u64> {
    let mapped = match FileKind::parse(elf)? {
        FileKind::Elf64 => mapped::<FileHeader64<Endianness>>(elf)?,
        FileKind::Elf32 => mapped::<FileHeader32<Endianness>>(elf)?,
        other => bail!("the linked file is {other:?}, not an ELF executable"),
    };
    Ok(mapped.len() as u64)
}

/// The changes by which trailing zeros of the last segment are removed from a file.
struct Trim {
    /// Offset of the last segment's program header.
    header: usize,
    /// New `p_filesz` of that segment.
    in_file: u64,
    /// New length of the file.
    end: usize,
}

/// Finds trailing zeros in the last segment. They need not be in the file, because the kernel zero-fills a segment after
/// `p_filesz`. Returns None if the last segment is not writable.
fn zeroes_at_end<H: FileHeader<Endian = Endianness>>(file: &[u8]) -> Result<Option<Trim>> {
    let header = H::parse(file)?;
    let endian = header.endian()?;
    let mut header_offset = usize::try_from(header.e_phoff(endian).into())?;
    for segment in header.program_headers(endian, file)? {
        let (offset, size) = segment.file_range(endian);
        let bytes = usize::try_from(offset)?..file.len();
        let is_last = size > 0 && offset + size == file.len() as u64;
        if is_last && segment.p_type(endian) == PT_LOAD && segment.p_flags(endian).contains(PF_W) {
            let bytes = file
                .get(bytes)
                .context("the file ends before its last segment")?;
            let in_file = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            return Ok(Some(Trim {
                header: header_offset,
                in_file: in_file as u64,
                end: file.len() - bytes.len() + in_file,
            }));
        }
        header_offset += usize::from(header.e_phentsize(endian));
    }
    Ok(None)
}

/// Returns the bytes of the file up to the last one that a segment maps.
fn mapped<H: FileHeader<Endian = Endianness>>(elf: &[u8]) -> Result<Vec<u8>> {
    let header = H::parse(elf)?;
    let endian = header.endian()?;
    let mut end = 0;
    for segment in header.program_headers(endian, elf)? {
        let (offset, size) = segment.file_range(endian);
        end = end.max(offset.saturating_add(size));
    }
    let headers = header.e_phoff(endian).into()
        + u64::from(header.e_phnum(endian)) * u64::from(header.e_phentsize(endian));
    if end < headers {
        bail!("no segment contains the program headers");
    }
    Ok(elf
        .get(..usize::try_from(end)?)
        .context("the file ends inside a segment")?
        .to_vec())
}
