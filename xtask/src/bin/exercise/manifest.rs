//! `exercise manifest DIR`: prints a line for each file and directory below DIR, with the attributes that must survive a server
//! restart.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

/// `exercise manifest`
#[derive(clap::Args)]
pub struct Args {
    directory: PathBuf,
}

/// Prints one line for each object below the directory, sorted: path and type, for a file also mode, links, size, SHA-256.
pub fn main(args: Args) -> Result<()> {
    for line in lines(&args.directory)? {
        println!("{line}");
    }
    Ok(())
}

fn lines(directory: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for entry in WalkDir::new(directory).min_depth(1) {
        let entry = entry?;
        let path = entry.path();
        let of = entry.metadata()?;
        let name = path.strip_prefix(directory)?.display().to_string();
        let (mode, links) = (of.mode() & 0o7777, of.nlink());
        lines.push(if of.is_dir() {
            directory_line(&name)
        } else if of.is_symlink() {
            symlink_line(&name, &fs::read_link(path)?.display().to_string())
        } else if of.is_file() {
            let content = fs::read(path).with_context(|| format!("cannot read {name}"))?;
            file_line(&name, mode, links, &content)
        } else {
            special_line(&name)
        });
    }
    lines.sort();
    Ok(lines)
}

/// The line of a directory.
pub fn directory_line(name: &str) -> String {
    format!("{name} directory")
}

/// The line of a symbolic link.
pub fn symlink_line(name: &str, target: &str) -> String {
    format!("{name} symlink to {target}")
}

/// The line of a regular file.
pub fn file_line(name: &str, mode: u32, links: u64, content: &[u8]) -> String {
    let sum = sum(content);
    format!(
        "{name} file {mode:04o} links {links} {} bytes {sum}",
        content.len()
    )
}

/// The SHA-256 of `content` in hexadecimal.
pub fn sum(content: &[u8]) -> String {
    let bytes = Sha256::digest(content);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The line of a fifo, a socket or a device.
pub fn special_line(name: &str) -> String {
    format!("{name} special")
}
