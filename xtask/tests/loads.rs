//! Each build compares the memory image of the shipped file with that of the linker's output (`build::loader`). Here, that check is
//! run for all architectures, and must detect changed bytes.

use anyhow::{Context as _, Result, ensure};
use object::elf::{PT_LOAD, PT_NOTE};
use std::fs;
use xtask::build::loader::{Headers, check, check_pvh};
use xtask::build::{self, Arch};

/// The linker's output, and the shipped file made from it.
fn files(arch: Arch) -> Result<(Vec<u8>, Vec<u8>)> {
    let file = fs::read(build::build(arch)?)?;
    Ok((fs::read(build::debug_path(arch))?, file))
}

/// A copy of the file with bit 0 of the byte at `offset` flipped.
fn flipped(file: &[u8], offset: usize) -> Vec<u8> {
    let mut file = file.to_vec();
    file[offset] ^= 1;
    file
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

#[test]
fn each_header_byte_and_segment_is_checked() -> Result<()> {
    for arch in Arch::ALL {
        let (linked, file) = files(arch)?;
        let headers = Headers::read(&file)?;
        let mut offsets: Vec<usize> = (0..headers.len).collect();
        for segment in headers.of_kind(PT_LOAD) {
            offsets.push(usize::try_from(segment.offset + segment.in_file)? - 1);
        }
        for offset in offsets {
            ensure!(
                check(arch, &linked, &flipped(&file, offset)).is_err(),
                "{arch:?}: a change of byte {offset} was not detected"
            );
        }
        for other in [&[&*file, b"x"].concat(), &file[..file.len() - 1]] {
            ensure!(check(arch, &linked, other).is_err(), "{arch:?}: the length");
        }
    }
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
        let changed = flipped(&file, usize::try_from(note.offset)? + offset);
        ensure!(
            check_pvh(&changed, entry).is_err(),
            "a change of byte {offset} of the note was not detected"
        );
    }
    let start = headers.segments[0].address;
    ensure!(
        check_pvh(&file, start).is_err(),
        "an entry that is not executable"
    );
    Ok(())
}
