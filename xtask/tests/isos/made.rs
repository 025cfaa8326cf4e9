//! Images of odd writers: images of xorriso and genisoimage in which bytes were changed to what such writers store.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result};
use xtask::machines::iso::write_image;

/// An image: its name, the command that writes it, the names of its files, and the change of its bytes after that.
struct Made {
    name: &'static str,
    program: &'static [&'static str],
    files: &'static [&'static str],
    change: fn(&mut Vec<u8>) -> Result<()>,
}

const ROCK: &[&str] = &["xorriso", "-as", "mkisofs", "-quiet", "-R"];
const BOTH: &[&str] = &["xorriso", "-as", "mkisofs", "-quiet", "-R", "-J"];
const WIDE: &[&str] = &[
    "xorriso",
    "-as",
    "mkisofs",
    "-quiet",
    "--norock",
    "-J",
    "-joliet-utf16",
];
const PLAIN: &[&str] = &["genisoimage", "-quiet"];
const FILES: &[&str] = &["Hello.txt", "b.txt"];
/// Position of the primary volume descriptor, and of the root directory's record in it.
const PRIMARY: usize = 16 * 2048;
const ROOT: usize = PRIMARY + 156;

const MADE: [Made; 10] = [
    Made {
        name: "no-big-endian.iso",
        program: ROCK,
        files: FILES,
        change: |bytes| {
            let at = record(bytes, b"HELLO.TXT;1")?;
            let px = at + field(&bytes[at..], b"PX")?;
            for half in [
                PRIMARY + 130,
                ROOT + 6,
                ROOT + 14,
                at + 6,
                at + 14,
                px + 8,
                px + 16,
            ] {
                bytes[half] ^= 0x55;
            }
            Ok(())
        },
    },
    // The length of TF exceeds the record: Linux shows the name of the identifier.
    Made {
        name: "stray-bytes.iso",
        program: ROCK,
        files: FILES,
        change: |bytes| change_field(bytes, b"TF", 2, 200),
    },
    Made {
        name: "name-with-nul.iso",
        program: ROCK,
        files: FILES,
        change: |bytes| change_field(bytes, b"NM", 12, 0),
    },
    Made {
        name: "name-of-nul.iso",
        program: ROCK,
        files: FILES,
        change: |bytes| change_field(bytes, b"NM", 5, 0),
    },
    Made {
        name: "host-name.iso",
        program: ROCK,
        files: FILES,
        change: |bytes| change_field(bytes, b"NM", 4, 0x20),
    },
    Made {
        name: "empty-rock-ridge.iso",
        program: BOTH,
        files: FILES,
        change: |bytes| {
            let root = root(bytes);
            let third = records(bytes, root.clone())
                .nth(2)
                .context("an empty root")?;
            bytes[third..root.end].fill(0);
            Ok(())
        },
    },
    Made {
        name: "joliet-utf-16.iso",
        program: WIDE,
        files: &["\u{1f600}.txt", "\u{1f601}.txt", "\u{20bb7}", "x"],
        change: |_| Ok(()),
    },
    Made {
        name: "no-terminator.iso",
        program: PLAIN,
        files: FILES,
        change: |bytes| {
            bytes[PRIMARY + 2048] = 7;
            Ok(())
        },
    },
    Made {
        name: "blocks-of-1024.iso",
        program: PLAIN,
        files: FILES,
        change: |bytes| {
            let all: Vec<usize> = records(bytes, root(bytes)).chain([ROOT]).collect();
            for at in all {
                let block = number(bytes, at + 2) * 2;
                bytes[at + 2..at + 6].copy_from_slice(&(block as u32).to_le_bytes());
            }
            bytes[PRIMARY + 128..PRIMARY + 132].copy_from_slice(&[0, 4, 4, 0]);
            Ok(())
        },
    },
    Made {
        name: "high-sierra.iso",
        program: PLAIN,
        files: FILES,
        change: |bytes| {
            let all: Vec<usize> = records(bytes, root(bytes)).chain([ROOT]).collect();
            for at in all {
                (bytes[at + 24], bytes[at + 25]) = (bytes[at + 25], 0);
            }
            let old = bytes[PRIMARY..PRIMARY + 2048].to_vec();
            let new = &mut bytes[PRIMARY..PRIMARY + 2048];
            new.fill(0);
            new[8..15].copy_from_slice(b"\x01CDROM\x01");
            new[88..96].copy_from_slice(&old[80..88]);
            new[136..140].copy_from_slice(&[0, 8, 8, 0]);
            new[180..214].copy_from_slice(&old[156..190]);
            Ok(())
        },
    },
];

/// The names of the images.
pub fn names() -> impl Iterator<Item = &'static str> {
    MADE.iter().map(|made| made.name)
}

/// Makes the images in `directory`.
pub fn all(directory: &Path) -> Result<()> {
    for made in &MADE {
        let tree = tempfile::tempdir()?;
        for name in made.files {
            fs::write(tree.path().join(name), name)?;
        }
        let image = directory.join(made.name);
        write_image(made.program, tree.path(), &image)?;
        let mut bytes = fs::read(&image)?;
        (made.change)(&mut bytes).context(made.name)?;
        fs::write(image, bytes)?;
    }
    Ok(())
}

fn number(bytes: &[u8], at: usize) -> usize {
    let number = bytes[at..at + 4].iter().rev();
    number.fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// The root directory in the primary tree.
fn root(bytes: &[u8]) -> Range<usize> {
    let start = number(bytes, ROOT + 2) * 2048;
    start..start + number(bytes, ROOT + 10)
}

/// The positions of the records of a directory that has one sector.
fn records(bytes: &[u8], directory: Range<usize>) -> impl Iterator<Item = usize> {
    let next = |at: &usize| Some(at + usize::from(bytes[*at]));
    let all = std::iter::successors(Some(directory.start), next);
    all.take_while(move |at| *at < directory.end && bytes[*at] != 0)
}

/// The position of the record with this identifier in the root directory.
fn record(bytes: &[u8], id: &[u8]) -> Result<usize> {
    let mut all = records(bytes, root(bytes));
    let found = all.find(|at| bytes[at + 33..].starts_with(id));
    found.with_context(|| format!("no record of {}", id.escape_ascii()))
}

fn field(record: &[u8], name: &[u8; 2]) -> Result<usize> {
    let found = record.windows(2).position(|pair| pair == name);
    found.with_context(|| format!("no field {}", name.escape_ascii()))
}

/// Changes one byte of a Rock Ridge field of the file Hello.txt.
fn change_field(bytes: &mut [u8], name: &[u8; 2], at: usize, value: u8) -> Result<()> {
    let record = record(bytes, b"HELLO.TXT;1")?;
    let field = field(&bytes[record..], name)?;
    bytes[record + field + at] = value;
    Ok(())
}
