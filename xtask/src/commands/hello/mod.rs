//! `cargo xtask hello`: two minimal programs whose code is inside the ELF headers, and a container image of each.
//!
//! Linux (`fs/binfmt_elf.c`) reads seven fields of the ELF header and one program header. The two headers may overlap, and unread
//! fields may hold code. A program is a list of pieces, each with its bytes and file offset. Pieces may overlap where their bytes
//! are equal; every byte of the file must belong to a piece.

mod i386;
mod x86_64;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::build::{self, Arch, workspace_root};
use crate::commands::image::description::{Annotations, Process};
use crate::commands::image::layer::Layer;
use crate::commands::image::{Image, Platform, write_layout};

/// `cargo xtask hello`
#[derive(clap::Args)]
pub struct Args {}

/// The text that both programs print.
pub const MESSAGE: &str = "Hello Docker World!\n";

/// Size limit of an image in bytes: manifest, configuration and layer.
pub const IMAGE_BYTES_MAX: usize = 760;

/// The architectures with a hello program.
pub const ARCHS: [Arch; 2] = [Arch::X86_64, Arch::I686];

/// Size limit of the hello program for `arch` in bytes. 0: no program exists for `arch`.
pub const fn bytes_max(arch: Arch) -> usize {
    match arch {
        Arch::X86_64 => 112,
        Arch::I686 => 88,
        Arch::Aarch64 | Arch::Armv7 => 0,
    }
}

/// Writes programs and images, and prints the meaning of each byte.
pub fn main(_args: Args) -> Result<()> {
    let directory = workspace_root().join("target/stowaway/hello");
    for arch in ARCHS {
        println!("{}:\n{}", arch.name(), map(&pieces(arch)?));
    }
    for (arch, path, len) in write_programs(&directory)? {
        println!("{} bytes for {}: {}", len, arch.name(), path.display());
    }
    let layout = directory.join("oci");
    for image in write_images(&layout)? {
        println!(
            "{} bytes of image for {}: manifest {}, configuration {}, layer {}",
            image.bytes(),
            image.platform.name(),
            image.manifest.len(),
            image.config.len(),
            image.layer.compressed.len()
        );
    }
    println!("{}", layout.display());
    Ok(())
}

/// Writes `<arch>/hello` below `directory`; returns architecture, path and size in bytes of each program.
pub fn write_programs(directory: &Path) -> Result<Vec<(Arch, PathBuf, usize)>> {
    let mut written = Vec::new();
    for arch in ARCHS {
        let bytes = program(arch)?;
        let path = directory.join(arch.name()).join("hello");
        build::replace_file(&path, &bytes)?;
        written.push((arch, path, bytes.len()));
    }
    Ok(written)
}

/// Writes an OCI layout with an image of each program to `layout`.
pub fn write_images(layout: &Path) -> Result<Vec<Image>> {
    let mut images = Vec::new();
    for arch in ARCHS {
        let file = program(arch)?;
        let image = Image::new(
            Platform::for_arch(arch),
            &file,
            Layer::of_tiny_program("hello", &file)?,
            &Process::for_program("/hello"),
            &Annotations::new(),
        )?;
        ensure!(
            image.bytes() <= IMAGE_BYTES_MAX,
            "the image of hello for {} has {} bytes; the limit is {IMAGE_BYTES_MAX}",
            arch.name(),
            image.bytes()
        );
        images.push(image);
    }
    write_layout(&images, &Annotations::new(), layout)?;
    Ok(images)
}

/// The program for an architecture.
pub fn program(arch: Arch) -> Result<Vec<u8>> {
    let bytes = assemble(&pieces(arch)?)?;
    let limit = bytes_max(arch);
    ensure!(
        bytes.len() <= limit,
        "hello for {} has {} bytes; the limit is {limit}",
        arch.name(),
        bytes.len()
    );
    Ok(bytes)
}

fn pieces(arch: Arch) -> Result<Vec<Piece>> {
    match arch {
        Arch::X86_64 => x86_64::pieces(),
        Arch::I686 => i386::pieces(),
        Arch::Aarch64 | Arch::Armv7 => bail!("no hello program exists for {}", arch.name()),
    }
}

/// Bytes at a file offset, and their meaning.
struct Piece {
    offset: usize,
    bytes: Vec<u8>,
    /// The header field or the instruction that these bytes represent.
    what: String,
    why: &'static str,
}

fn piece(offset: usize, bytes: impl AsRef<[u8]>, what: &str, why: &'static str) -> Piece {
    Piece {
        offset,
        bytes: bytes.as_ref().to_vec(),
        what: what.to_owned(),
        why,
    }
}

/// `jmp short` (two bytes) at `offset` to the offset `target`.
fn jump(offset: usize, target: usize, why: &'static str) -> Result<Piece> {
    // The displacement is relative to the end of the instruction.
    let distance = i8::try_from(target.cast_signed() - (offset + 2).cast_signed())
        .context("the target of a short jmp is farther than 127 bytes")?;
    let bytes = [0xeb, distance.cast_unsigned()];
    Ok(piece(offset, bytes, &format!("jmp {target:#04x}"), why))
}

/// Merges the pieces into one file. Fails if two pieces have different bytes at one offset, or if a byte belongs to no piece.
fn assemble(pieces: &[Piece]) -> Result<Vec<u8>> {
    let end = pieces.iter().map(|piece| piece.offset + piece.bytes.len());
    let mut claims: Vec<Option<(u8, &str)>> = vec![None; end.max().unwrap_or(0)];
    for piece in pieces {
        for (offset, byte) in (piece.offset..).zip(&piece.bytes) {
            match claims[offset] {
                Some((other, what)) if other != *byte => bail!(
                    "offset {offset:#04x}: {what} requires {other:#04x}, {} requires {byte:#04x}",
                    piece.what
                ),
                _ => claims[offset] = Some((*byte, &piece.what)),
            }
        }
    }
    let unclaimed = claims.iter().position(Option::is_none);
    if let Some(offset) = unclaimed {
        bail!("offset {offset:#04x}: the byte belongs to no piece");
    }
    Ok(claims.into_iter().flatten().map(|(byte, _)| byte).collect())
}

/// A line for each piece, in file order.
fn map(pieces: &[Piece]) -> String {
    let mut sorted: Vec<&Piece> = pieces.iter().collect();
    sorted.sort_by_key(|piece| piece.offset);
    let mut text = String::new();
    for piece in sorted {
        let mut hex = String::new();
        for byte in piece.bytes.iter().take(8) {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x} ");
        }
        let more = if piece.bytes.len() > 8 { "…" } else { "" };
        let Piece {
            offset, what, why, ..
        } = piece;
        let _ = writeln!(text, "  {offset:02x}  {hex:<24}{more:<2}{what:<22} {why}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_overlap_only_where_bytes_are_equal() -> Result<()> {
        let first = || piece(0, [1, 2, 3], "first", "");
        assert_eq!(
            assemble(&[first(), piece(2, [3, 4], "second", "")])?,
            [1, 2, 3, 4]
        );
        let why = assemble(&[first(), piece(2, [4], "second", "")]).unwrap_err();
        assert_eq!(
            why.to_string(),
            "offset 0x02: first requires 0x03, second requires 0x04"
        );
        let why = assemble(&[first(), piece(4, [5], "second", "")]).unwrap_err();
        assert_eq!(why.to_string(), "offset 0x03: the byte belongs to no piece");
        Ok(())
    }

    #[test]
    fn jump_is_relative_to_instruction_end() -> Result<()> {
        assert_eq!(jump(10, 12, "")?.bytes, [0xeb, 0]);
        assert_eq!(jump(0x34, 0x0c, "")?.bytes, [0xeb, 0xd6]);
        assert!(jump(0, 130, "").is_err());
        Ok(())
    }
}
