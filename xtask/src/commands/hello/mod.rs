//! `cargo xtask hello`: where tiny begins. Two programs that say hello from inside their own headers, and an image of each.
//!
//! An ELF file is what Linux reads of it: `fs/binfmt_elf.c` looks at nine fields of the file's header and at one program
//! header, and nobody says that these may not overlap, or what lies between them. Each program is written here as pieces
//! that claim bytes at an offset. Two pieces may claim the same byte when they agree on it; no byte is left unclaimed.

mod i386;
mod x86_64;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::build::{self, Arch, workspace_root};
use crate::commands::image::description::{Process, Words};
use crate::commands::image::layer::Layer;
use crate::commands::image::{Image, Platform, write_layout};

/// `cargo xtask hello`
#[derive(clap::Args)]
pub struct Args {}

/// What it says.
pub const MESSAGE: &str = "Hello Docker World!\n";

/// Bytes of an image at most: manifest, configuration and layer.
pub const IMAGE_BYTES_MAX: usize = 760;

/// The processors that there is a program for.
pub const ARCHS: [Arch; 2] = [Arch::X86_64, Arch::I686];

/// Bytes of the program at most.
pub const fn bytes_max(arch: Arch) -> usize {
    match arch {
        Arch::X86_64 => 112,
        Arch::I686 => 88,
        // There is none.
        Arch::Aarch64 | Arch::Armv7 => 0,
    }
}

/// Writes programs and image, and shows what each byte is.
pub fn main(_args: Args) -> Result<()> {
    let place = workspace_root().join("target/stowaway/hello");
    for arch in ARCHS {
        println!("{}:\n{}", arch.name(), map(&pieces(arch)?));
    }
    for (arch, path, len) in write_programs(&place)? {
        println!("{} bytes for {}: {}", len, arch.name(), path.display());
    }
    let layout = place.join("oci");
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

/// Writes `<arch>/hello` below a directory: for whom, where and how large.
pub fn write_programs(directory: &Path) -> Result<Vec<(Arch, PathBuf, usize)>> {
    let mut written = Vec::new();
    for arch in ARCHS {
        let bytes = program(arch)?;
        let path = directory.join(arch.name()).join("hello");
        build::put(&path, &bytes)?;
        written.push((arch, path, bytes.len()));
    }
    Ok(written)
}

/// Writes an OCI layout with an image of each program.
pub fn write_images(place: &Path) -> Result<Vec<Image>> {
    let mut images = Vec::new();
    for arch in ARCHS {
        let file = program(arch)?;
        let image = Image::new(
            Platform::of(arch),
            &file,
            Layer::of_tiny_program("hello", &file)?,
            &Process::of("/hello"),
            &Words::new(),
        )?;
        ensure!(
            image.bytes() <= IMAGE_BYTES_MAX,
            "the image of hello for {} weighs {} bytes, and {IMAGE_BYTES_MAX} are the most",
            arch.name(),
            image.bytes()
        );
        images.push(image);
    }
    write_layout(&images, &Words::new(), place)?;
    Ok(images)
}

/// The program for a processor.
pub fn program(arch: Arch) -> Result<Vec<u8>> {
    let bytes = assemble(&pieces(arch)?)?;
    let most = bytes_max(arch);
    ensure!(
        bytes.len() <= most,
        "hello for {} is {} bytes, and {most} are the most",
        arch.name(),
        bytes.len()
    );
    Ok(bytes)
}

fn pieces(arch: Arch) -> Result<Vec<Piece>> {
    match arch {
        Arch::X86_64 => x86_64::pieces(),
        Arch::I686 => i386::pieces(),
        Arch::Aarch64 | Arch::Armv7 => bail!("there is no hello for {}", arch.name()),
    }
}

/// Bytes at an offset of the file, and what they are there.
struct Piece {
    at: usize,
    bytes: Vec<u8>,
    /// A header's field or an instruction.
    what: String,
    why: &'static str,
}

/// A piece of any bytes.
fn piece(at: usize, bytes: impl AsRef<[u8]>, what: &str, why: &'static str) -> Piece {
    Piece {
        at,
        bytes: bytes.as_ref().to_vec(),
        what: what.to_owned(),
        why,
    }
}

/// `jmp short`: two bytes, from one gap to the next.
fn jump(at: usize, to: usize, why: &'static str) -> Result<Piece> {
    // Counted from the instruction's end.
    let distance = i8::try_from(to.cast_signed() - (at + 2).cast_signed())
        .context("the gaps are too far apart")?;
    let bytes = [0xeb, distance.cast_unsigned()];
    Ok(piece(at, bytes, &format!("jmp {to:#04x}"), why))
}

/// The file that the pieces make.
fn assemble(pieces: &[Piece]) -> Result<Vec<u8>> {
    let end = pieces.iter().map(|piece| piece.at + piece.bytes.len());
    let mut claims: Vec<Option<(u8, &str)>> = vec![None; end.max().unwrap_or(0)];
    for piece in pieces {
        for (at, byte) in (piece.at..).zip(&piece.bytes) {
            match claims[at] {
                Some((other, what)) if other != *byte => bail!(
                    "at {at:#04x} {what} wants {other:#04x}, and {} wants {byte:#04x}",
                    piece.what
                ),
                _ => claims[at] = Some((*byte, &piece.what)),
            }
        }
    }
    let unclaimed = claims.iter().position(Option::is_none);
    if let Some(at) = unclaimed {
        bail!("nobody claims the byte at {at:#04x}");
    }
    Ok(claims.into_iter().flatten().map(|(byte, _)| byte).collect())
}

/// A line for each piece, in the order of the file.
fn map(pieces: &[Piece]) -> String {
    let mut sorted: Vec<&Piece> = pieces.iter().collect();
    sorted.sort_by_key(|piece| piece.at);
    let mut text = String::new();
    for piece in sorted {
        let mut hex = String::new();
        for byte in piece.bytes.iter().take(8) {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x} ");
        }
        let more = if piece.bytes.len() > 8 { "…" } else { "" };
        let Piece { at, what, why, .. } = piece;
        let _ = writeln!(text, "  {at:02x}  {hex:<24}{more:<2}{what:<22} {why}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_may_overlap_where_they_agree_and_nowhere_else() -> Result<()> {
        let first = || piece(0, [1, 2, 3], "first", "");
        assert_eq!(
            assemble(&[first(), piece(2, [3, 4], "second", "")])?,
            [1, 2, 3, 4]
        );
        let why = assemble(&[first(), piece(2, [4], "second", "")]).unwrap_err();
        assert_eq!(
            why.to_string(),
            "at 0x02 first wants 0x03, and second wants 0x04"
        );
        let why = assemble(&[first(), piece(4, [5], "second", "")]).unwrap_err();
        assert_eq!(why.to_string(), "nobody claims the byte at 0x03");
        Ok(())
    }

    #[test]
    fn jumps_count_from_their_end() -> Result<()> {
        assert_eq!(jump(10, 12, "")?.bytes, [0xeb, 0]);
        assert_eq!(jump(0x34, 0x0c, "")?.bytes, [0xeb, 0xd6]);
        assert!(jump(0, 130, "").is_err());
        Ok(())
    }
}
