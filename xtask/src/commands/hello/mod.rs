//! `cargo xtask hello`: two minimal programs whose code is inside the ELF headers, and a container image of each.
//!
//! Linux (`fs/binfmt_elf.c`) reads seven fields of the ELF header and one program header. The two headers may overlap, and unread
//! fields may hold code. x86_64.txt and i386.txt list the pieces of the programs, each with its bytes and file offset. Pieces may
//! overlap where their bytes are equal; every byte of the file must belong to a piece.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use crate::build::pieces::assemble;
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
        println!("{}:\n{}", arch.name(), pieces(arch)?);
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
    let bytes = assemble(pieces(arch)?)?;
    let limit = bytes_max(arch);
    ensure!(
        bytes.len() <= limit,
        "hello for {} has {} bytes; the limit is {limit}",
        arch.name(),
        bytes.len()
    );
    Ok(bytes)
}

/// The pieces of a program: a line each with the offset and the bytes in hexadecimal, the header field or instruction, and why.
fn pieces(arch: Arch) -> Result<&'static str> {
    match arch {
        Arch::X86_64 => Ok(include_str!("x86_64.txt")),
        Arch::I686 => Ok(include_str!("i386.txt")),
        Arch::Aarch64 | Arch::Armv7 => bail!("no hello program exists for {}", arch.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_overlap_only_where_bytes_are_equal() -> Result<()> {
        let with = |second| {
            assemble(&format!(
                "# comment\n00 | 01 02 03 | first | why\n{second}\n"
            ))
        };
        assert_eq!(with("02 | 03 04 | second")?, [1, 2, 3, 4]);
        let why = with("02 | 04 | second").unwrap_err();
        assert_eq!(
            why.to_string(),
            "offset 0x02: first requires 0x03, second requires 0x04"
        );
        let why = with("04 | 04 | second").unwrap_err();
        assert_eq!(why.to_string(), "offset 0x03: the byte belongs to no piece");
        Ok(())
    }
}
