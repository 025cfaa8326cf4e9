//! An inventory of a directory tree: one line per object with its attributes and a hash of its contents. Two views of a tree are
//! equal if their inventories are.
//!
//! Columns, separated by tabs: path, kind, mode, links, owner, size, blocks, device, atime, mtime, ctime, content.

use std::fs::{self, File, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

/// The attributes and contents of one object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// The type, as a letter of `find -printf %y`.
    pub kind: char,
    /// The permission bits, without the type.
    pub mode: u32,
    /// Number of hard links.
    pub links: u64,
    /// UID and GID.
    pub owner: (u32, u32),
    /// Size in bytes.
    pub size: u64,
    /// atime and mtime in seconds since 1970, with a fraction unless that is zero.
    pub times: [String; 2],
    /// The target of a symbolic link, the hash of a regular file ([`sum`]), or empty.
    pub content: String,
    /// Attributes that not every protocol has: blocks, device number, ctime.
    pub more: Option<[String; 3]>,
}

impl Object {
    /// The object's line. Attributes that are missing are dashes.
    pub fn line(&self, path: &[u8]) -> String {
        let [blocks, device, changed] =
            self.more.clone().unwrap_or(["-", "-", "-"].map(Into::into));
        let [read, written] = &self.times;
        format!(
            "{}\t{}\t{:04o}\t{}\t{}:{}\t{}\t{blocks}\t{device}\t{read}\t{written}\t{changed}\t{}",
            path.escape_ascii(),
            self.kind,
            self.mode,
            self.links,
            self.owner.0,
            self.owner.1,
            self.size,
            self.content,
        )
    }
}

/// Returns the line with its attributes in [`Object::more`] replaced by dashes.
pub fn without_more(line: &str) -> String {
    let columns = line.split('\t').enumerate();
    let kept: Vec<&str> = columns
        .map(|(index, column)| {
            if matches!(index, 6 | 7 | 10) {
                "-"
            } else {
                column
            }
        })
        .collect();
    kept.join("\t")
}

/// The lines of `directory` and of everything in it, sorted.
pub fn list(directory: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for entry in WalkDir::new(directory) {
        let entry = entry?;
        let path = entry.path();
        let name = path.strip_prefix(directory)?.as_os_str().as_bytes();
        let object = object(path, &entry.metadata()?)
            .with_context(|| format!("cannot read {}", path.display()))?;
        lines.push(object.line(name));
    }
    lines.sort();
    Ok(lines)
}

fn object(path: &Path, metadata: &Metadata) -> Result<Object> {
    let time = |seconds: i64, nanoseconds: i64| match nanoseconds {
        0 => seconds.to_string(),
        _ => format!("{seconds}.{nanoseconds:09}"),
    };
    let kind = metadata.file_type();
    let (kind, content) = if kind.is_dir() {
        ('d', String::new())
    } else if kind.is_symlink() {
        let target = fs::read_link(path)?;
        (
            'l',
            target.as_os_str().as_bytes().escape_ascii().to_string(),
        )
    } else if kind.is_file() && metadata.size() == 0 {
        ('f', String::new())
    } else if kind.is_file() {
        let file = File::open(path)?;
        let read = |offset, bytes: &mut [u8]| Ok(file.read_exact_at(bytes, offset)?);
        ('f', sum(metadata.size(), read)?)
    } else if kind.is_fifo() {
        ('p', String::new())
    } else if kind.is_socket() {
        ('s', String::new())
    } else if kind.is_block_device() {
        ('b', String::new())
    } else {
        ('c', String::new())
    };
    Ok(Object {
        kind,
        mode: metadata.mode() & 0o7777,
        links: metadata.nlink(),
        owner: (metadata.uid(), metadata.gid()),
        size: metadata.size(),
        times: [
            time(metadata.atime(), metadata.atime_nsec()),
            time(metadata.mtime(), metadata.mtime_nsec()),
        ],
        content,
        more: Some([
            metadata.blocks().to_string(),
            metadata.rdev().to_string(),
            time(metadata.ctime(), metadata.ctime_nsec()),
        ]),
    })
}

/// Largest file (bytes) that is hashed completely.
const WHOLE_BYTES_MAX: u64 = 64 << 20;
/// Size (bytes) of one read.
const PIECE_BYTES: u64 = 1 << 20;
/// Largest extent (bytes) of a file in an ISO image, rounded up by at most one sector: its length is a 32-bit field.
const EXTENT_BYTES_MAX: u64 = 4 << 30;

/// The SHA-256 of a file in hexadecimal. `read` fills a buffer from an offset. A large file is hashed only at its start, at its
/// end, and around the ends of its extents.
pub fn sum(size: u64, mut read: impl FnMut(u64, &mut [u8]) -> Result<()>) -> Result<String> {
    let mut parts = vec![(0, size)];
    if size > WHOLE_BYTES_MAX {
        let ends = (1..=size / EXTENT_BYTES_MAX).map(|count| count * EXTENT_BYTES_MAX);
        let around = ends.map(|end| (end - PIECE_BYTES, (end + PIECE_BYTES).min(size)));
        parts = vec![(0, PIECE_BYTES)];
        parts.extend(around);
        parts.push((size - PIECE_BYTES, size));
    }
    let mut sum = Sha256::new();
    let mut buffer = vec![0; PIECE_BYTES as usize];
    for (from, to) in parts {
        for offset in (from..to).step_by(PIECE_BYTES as usize) {
            let bytes = &mut buffer[..(to - offset).min(PIECE_BYTES) as usize];
            read(offset, bytes)?;
            sum.update(bytes);
        }
    }
    let bytes = sum.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Returns the first ten lines that only the first inventory contains, and the first ten that only the second one contains.
pub fn differences(these: &[String], those: &[String]) -> String {
    let only = |these: &[String], those: &[String]| {
        let those: std::collections::BTreeSet<&String> = those.iter().collect();
        let lines = these.iter().filter(|line| !those.contains(line));
        lines.take(10).cloned().collect::<Vec<_>>().join("\n")
    };
    format!(
        "only in the first:\n{}\nonly in the second:\n{}",
        only(these, those),
        only(those, these)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_file_is_read_around_extent_ends() -> Result<()> {
        let mut read = Vec::new();
        sum((8 << 30) + 5, |at, bytes| {
            read.push((at, bytes.len()));
            Ok(())
        })?;
        let mib = 1 << 20;
        let offsets = [
            0,
            (4 << 30) - mib,
            4 << 30,
            (8 << 30) - mib,
            8 << 30,
            (8 << 30) + 5 - mib,
        ];
        let lens = [mib, mib, mib, mib, 5, mib];
        let expect: Vec<(u64, usize)> = offsets
            .into_iter()
            .zip(lens.map(|len| len as usize))
            .collect();
        assert_eq!(read, expect);
        Ok(())
    }

    #[test]
    fn line_ends_with_hash_of_the_contents() -> Result<()> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("file"), "content")?;
        let lines = list(dir.path())?;
        assert_eq!(lines.len(), 2);
        assert!(lines[1].starts_with("file\tf\t"), "{lines:?}");
        let sum = "\ted7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
        assert!(lines[1].ends_with(sum), "{lines:?}");
        let less = without_more(&lines[1]);
        assert!(less.ends_with(sum), "{less}");
        assert_eq!(less.matches("\t-").count(), 3);
        Ok(())
    }
}
