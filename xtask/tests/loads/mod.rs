//! The file that ships has in memory what was linked, as a second reader finds it that shares no code with the build.

mod loader;

use anyhow::{Context as _, Result, ensure};
use loader::{Field, Headers, PF_W, PF_X, PT_GNU_STACK, PT_LOAD, load};
use std::fs;
use xtask::build::{self, Arch};

/// Bytes of a page, of each kernel for this processor.
const fn pages(arch: Arch) -> &'static [u64] {
    match arch {
        Arch::X86_64 | Arch::I686 => &[4096],
        // A kernel of 64 bits chooses, and runs programs of 32 bits in its own pages.
        Arch::Aarch64 | Arch::Armv7 => &[4096, 16384, 65536],
    }
}

/// What the linker wrote, and the file that was made of it.
fn files(arch: Arch) -> Result<(Vec<u8>, Vec<u8>)> {
    let file = fs::read(build::build(arch)?)?;
    Ok((fs::read(build::debug_path(arch))?, file))
}

/// Maps both into pages of each size.
fn compare(arch: Arch, linked: &[u8], file: &[u8]) -> Result<()> {
    pages(arch)
        .iter()
        .try_for_each(|page| load(linked, *page)?.compare(&load(file, *page)?))
}

#[test]
fn what_is_in_memory_is_what_was_linked() -> Result<()> {
    for arch in Arch::ALL {
        let (linked, file) = files(arch)?;
        ensure!(file.len() < linked.len(), "{arch:?}: nothing was left out");
        compare(arch, &linked, &file).with_context(|| format!("{arch:?}"))?;
    }
    Ok(())
}

/// The file with one number changed.
fn with(file: &[u8], field: &Field, change: impl FnOnce(u64) -> u64) -> Vec<u8> {
    let mut file = file.to_vec();
    let bytes = change(field.value).to_le_bytes();
    file[field.place.clone()].copy_from_slice(&bytes[..field.place.len()]);
    file
}

/// The file with one bit changed.
fn flipped(file: &[u8], at: u64) -> Result<Vec<u8>> {
    let mut file = file.to_vec();
    file[usize::try_from(at)?] ^= 1;
    Ok(file)
}

#[test]
fn planted_faults_are_found() -> Result<()> {
    for arch in Arch::ALL {
        let (linked, file) = files(arch)?;
        let headers = Headers::read(&file)?;
        let [ro, rx, rw] = &headers.all(PT_LOAD).collect::<Vec<_>>()[..] else {
            anyhow::bail!("{arch:?}: it has other segments than three");
        };
        let stack = headers
            .all(PT_GNU_STACK)
            .next()
            .context("it says nothing of its stack")?;
        let last = file.len() as u64 - 1;
        let faults = [
            ("another byte", flipped(&file, ro.in_file.value - 1)?),
            ("another byte", flipped(&file, rx.offset.value)?),
            ("another byte", flipped(&file, last)?),
            // One that no kernel looks at is mapped, too.
            ("another byte", flipped(&file, 8)?),
            ("another machine", flipped(&file, 18)?),
            ("another entry", with(&file, &headers.entry, |at| at + 4)),
            (
                "cannot be run",
                with(&file, &headers.entry, |_| ro.address.value),
            ),
            ("another permission", with(&file, &ro.flags, |_| 0)),
            (
                "is written to and run",
                with(&file, &rx.flags, |flags| flags | PF_W),
            ),
            (
                "is written to and run",
                with(&file, &rw.flags, |flags| flags | PF_X),
            ),
            (
                "stack can be run",
                with(&file, &stack.flags, |flags| flags | PF_X),
            ),
            ("another address", with(&file, &rw.address, |at| at + 65536)),
            (
                "shares a page",
                with(&file, &rx.address, |_| ro.address.value + rx.offset.value),
            ),
            ("another end", with(&file, &rw.in_memory, |len| len - 1)),
            ("another end", with(&file, &rw.in_memory, |len| len + 1)),
            // The last byte that is in the file is not zero.
            ("another byte", with(&file, &rw.in_file, |len| len - 1)),
            ("the file ends", with(&file, &rw.in_file, |len| len + 1)),
            ("the file ends", file[..file.len() - 1].to_vec()),
        ];
        for (number, (expected, faulty)) in faults.iter().enumerate() {
            let found = compare(arch, &linked, faulty).err();
            let found = found.map_or_else(String::new, |error| format!("{error:#}"));
            ensure!(
                found.contains(expected),
                "{arch:?}: fault {number} is {found:?}, not {expected:?}"
            );
        }
    }
    Ok(())
}
