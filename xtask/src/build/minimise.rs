//! Makes the file that ships out of the file that was linked: what the kernel maps, and not a byte more.
//!
//! Section headers, symbols, DWARF and the defmt table go; addresses and segments stay as the linker laid them.

use anyhow::{Context as _, Result, bail};
use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader as _};
use object::{Endianness, FileKind, U16, U32, U64, pod};

/// The part of a linked executable that is mapped, as an executable of its own.
pub(super) fn minimise(elf: &[u8]) -> Result<Vec<u8>> {
    let broken = || anyhow::anyhow!("its ELF header is cut off");
    match FileKind::parse(elf)? {
        FileKind::Elf64 => {
            let mut file = mapped::<FileHeader64<Endianness>>(elf)?;
            let (header, _) = pod::from_bytes_mut::<FileHeader64<Endianness>>(&mut file)
                .map_err(|()| broken())?;
            header.e_shoff = U64::new(Endianness::Little, 0);
            header.e_shnum = U16::new(Endianness::Little, 0);
            header.e_shstrndx = U16::new(Endianness::Little, 0);
            Ok(file)
        }
        FileKind::Elf32 => {
            let mut file = mapped::<FileHeader32<Endianness>>(elf)?;
            let (header, _) = pod::from_bytes_mut::<FileHeader32<Endianness>>(&mut file)
                .map_err(|()| broken())?;
            header.e_shoff = U32::new(Endianness::Little, 0);
            header.e_shnum = U16::new(Endianness::Little, 0);
            header.e_shstrndx = U16::new(Endianness::Little, 0);
            Ok(file)
        }
        other => bail!("it is {other:?}, not an ELF executable"),
    }
}

/// Everything up to the last byte that a segment uses.
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
        bail!("no segment holds its program headers");
    }
    Ok(elf
        .get(..usize::try_from(end)?)
        .context("it ends inside a segment")?
        .to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::Object as _;

    #[test]
    fn segments_stay_and_everything_else_goes() -> Result<()> {
        let elf = std::fs::read("/proc/self/exe")?;
        let file = minimise(&elf)?;
        let (before, after) = (object::File::parse(&*elf)?, object::File::parse(&*file)?);
        assert!(file.len() < elf.len());
        assert_eq!(before.entry(), after.entry());
        assert_eq!(before.segments().count(), after.segments().count());
        // The file's own header lies in the first segment, and is what changes.
        let header = size_of::<FileHeader64<Endianness>>();
        assert!(elf[header..file.len()] == file[header..], "bytes differ");
        assert_eq!(after.sections().count(), 0);
        Ok(())
    }

    #[test]
    fn what_is_cut_off_or_no_executable_is_refused() -> Result<()> {
        let elf = std::fs::read("/proc/self/exe")?;
        assert!(minimise(&elf[..1 << 16]).is_err());
        assert!(minimise(b"#!/bin/sh\nexit 0\n").is_err());
        Ok(())
    }
}
