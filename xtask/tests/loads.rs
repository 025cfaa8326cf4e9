//! Each build compares the memory image of the shipped file with that of the linker's output (`build::loader`). Here, that check is
//! run for all architectures, and must detect planted faults.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use xtask::build::loader::{
    Field, Headers, PF_W, PF_X, PT_GNU_STACK, PT_LOAD, PT_NOTE, check, check_pvh,
};
use xtask::build::{self, Arch};

/// The linker's output, and the shipped file made from it.
fn files(arch: Arch) -> Result<(Vec<u8>, Vec<u8>)> {
    let file = fs::read(build::build(arch)?)?;
    Ok((fs::read(build::debug_path(arch))?, file))
}

#[test]
fn shipped_file_and_linked_file_have_equal_memory() -> Result<()> {
    for arch in Arch::ALL {
        let (linked, file) = files(arch)?;
        ensure!(
            file.len() < linked.len(),
            "{arch:?}: the shipped file is not smaller than the linker's output"
        );
        check(arch, &linked, &file).with_context(|| format!("{arch:?}"))?;
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
                with_field(&file, &rx.address, |_| {
                    ro.address.value + rx.offset.value % 4096
                }),
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
            let found = check(arch, &linked, faulty).err();
            let found = found.map_or_else(String::new, |error| format!("{error:#}"));
            ensure!(
                found.contains(expected),
                "{arch:?}: fault {number} was reported as {found:?}, not {expected:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn every_header_byte_counts() -> Result<()> {
    let (linked, file) = files(Arch::X86_64)?;
    for offset in 0..Headers::read(&file)?.len {
        let changed = flipped(&file, offset as u64)?;
        ensure!(
            check(Arch::X86_64, &linked, &changed).is_err(),
            "a change of byte {offset} was not detected"
        );
    }
    let longer = [&*file, b"x"].concat();
    ensure!(
        check(Arch::X86_64, &linked, &longer).is_err(),
        "an additional byte was not detected"
    );
    Ok(())
}

#[test]
fn pvh_note_names_the_entry() -> Result<()> {
    let (linked, file) = files(Arch::X86_64)?;
    let entry = build::pvh_entry(&linked)?.context("the file has no PVH entry")?;
    check_pvh(&file, entry)?;
    let headers = Headers::read(&file)?;
    let note = headers.of_kind(PT_NOTE).next().context("no note")?;
    // The owner's length, the length, the type, the owner, the address.
    for offset in [0, 4, 8, 12, 16] {
        let changed = flipped(&file, note.offset.value + offset)?;
        ensure!(
            check_pvh(&changed, entry).is_err(),
            "a change of byte {offset} of the note was not detected"
        );
    }
    let without = with_field(&file, &note.kind, |_| 0);
    ensure!(check_pvh(&without, entry).is_err(), "no note");
    let short = with_field(&file, &note.in_file, |len| len - 4);
    ensure!(check_pvh(&short, entry).is_err(), "a short note");
    let start = headers.segments[0].address.value;
    ensure!(
        check_pvh(&file, start).is_err(),
        "an entry that is not executable"
    );
    Ok(())
}
