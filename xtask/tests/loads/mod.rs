//! The memory image of the shipped file must equal that of the linker's output, according to a loader that shares no code with the
//! build.

mod loader;

use anyhow::{Context as _, Result, ensure};
use loader::{Field, Headers, PF_W, PF_X, PT_GNU_STACK, PT_LOAD, load};
use std::fs;
use xtask::build::{self, Arch};

/// The page sizes (bytes) of kernels for this architecture.
const fn pages(arch: Arch) -> &'static [u64] {
    match arch {
        Arch::X86_64 | Arch::I686 => &[4096],
        // A 64-bit kernel can be built with any of these page sizes, and runs 32-bit programs with the same size.
        Arch::Aarch64 | Arch::Armv7 => &[4096, 16384, 65536],
    }
}

/// The linker's output, and the shipped file made from it.
fn files(arch: Arch) -> Result<(Vec<u8>, Vec<u8>)> {
    let file = fs::read(build::build(arch)?)?;
    Ok((fs::read(build::debug_path(arch))?, file))
}

/// Maps both files with each page size and compares the images.
fn compare(arch: Arch, linked: &[u8], file: &[u8]) -> Result<()> {
    pages(arch)
        .iter()
        .try_for_each(|page| load(linked, *page)?.compare(&load(file, *page)?))
}

#[test]
fn shipped_file_and_linked_file_have_equal_memory() -> Result<()> {
    for arch in Arch::ALL {
        let (linked, file) = files(arch)?;
        ensure!(
            file.len() < linked.len(),
            "{arch:?}: the shipped file is not smaller than the linker's output"
        );
        compare(arch, &linked, &file).with_context(|| format!("{arch:?}"))?;
    }
    Ok(())
}

/// A copy of the file with one header field changed.
fn with_field(file: &[u8], field: &Field, change: impl FnOnce(u64) -> u64) -> Vec<u8> {
    let mut file = file.to_vec();
    let bytes = change(field.value).to_le_bytes();
    file[field.range.clone()].copy_from_slice(&bytes[..field.range.len()]);
    file
}

/// A copy of the file with bit 0 of the byte at `offset` flipped.
fn flipped(file: &[u8], offset: u64) -> Result<Vec<u8>> {
    let mut file = file.to_vec();
    file[usize::try_from(offset)?] ^= 1;
    Ok(file)
}

#[test]
fn modified_files_are_detected() -> Result<()> {
    for arch in Arch::ALL {
        let (linked, file) = files(arch)?;
        let headers = Headers::read(&file)?;
        let [ro, rx, rw] = &headers.of_kind(PT_LOAD).collect::<Vec<_>>()[..] else {
            anyhow::bail!("{arch:?}: the file does not have three segments");
        };
        let stack = headers
            .of_kind(PT_GNU_STACK)
            .next()
            .context("the file has no PT_GNU_STACK")?;
        let last = file.len() as u64 - 1;
        let faults = [
            ("byte differs", flipped(&file, ro.in_file.value - 1)?),
            ("byte differs", flipped(&file, rx.offset.value)?),
            ("byte differs", flipped(&file, last)?),
            // Byte 8 (EI_ABIVERSION) is mapped, so its change must be detected although no kernel reads it.
            ("byte differs", flipped(&file, 8)?),
            ("machine differs", flipped(&file, 18)?),
            (
                "entry point differs",
                with_field(&file, &headers.entry, |entry| entry + 4),
            ),
            (
                "not in an executable segment",
                with_field(&file, &headers.entry, |_| ro.address.value),
            ),
            ("permissions differ", with_field(&file, &ro.flags, |_| 0)),
            (
                "is writable and executable",
                with_field(&file, &rx.flags, |flags| flags | PF_W),
            ),
            (
                "is writable and executable",
                with_field(&file, &rw.flags, |flags| flags | PF_X),
            ),
            (
                "stack is executable",
                with_field(&file, &stack.flags, |flags| flags | PF_X),
            ),
            (
                "address differs",
                with_field(&file, &rw.address, |address| address + 65536),
            ),
            (
                "shares a page",
                with_field(&file, &rx.address, |_| ro.address.value + rx.offset.value),
            ),
            (
                "length differs",
                with_field(&file, &rw.in_memory, |len| len - 1),
            ),
            (
                "length differs",
                with_field(&file, &rw.in_memory, |len| len + 1),
            ),
            // A smaller p_filesz drops the last byte of the segment's data, which is not zero.
            (
                "byte differs",
                with_field(&file, &rw.in_file, |len| len - 1),
            ),
            (
                "the file ends",
                with_field(&file, &rw.in_file, |len| len + 1),
            ),
            ("the file ends", file[..file.len() - 1].to_vec()),
        ];
        for (number, (expected, faulty)) in faults.iter().enumerate() {
            let found = compare(arch, &linked, faulty).err();
            let found = found.map_or_else(String::new, |error| format!("{error:#}"));
            ensure!(
                found.contains(expected),
                "{arch:?}: fault {number} was reported as {found:?}, not {expected:?}"
            );
        }
    }
    Ok(())
}
