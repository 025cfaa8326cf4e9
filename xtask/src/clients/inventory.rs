//! A line for each thing below a directory, with all that `stat` says of it and what is in it: two views of one tree are
//! the same when their lines are.
//!
//! The columns are separated by tabs: path, kind, mode, links, owner, size, blocks, device, three times, and content.

use std::fs::{self, File, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

/// What is told of one thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thing {
    /// As `find -printf %y` has it.
    pub kind: char,
    /// Without the kind.
    pub mode: u32,
    /// How many names it has.
    pub links: u64,
    /// User and group.
    pub owner: (u32, u32),
    /// In bytes.
    pub size: u64,
    /// When it was read and written last, in seconds since 1970; a fraction only where there is one.
    pub times: [String; 2],
    /// A symbolic link's target, a file's sum, or nothing.
    pub content: String,
    /// What not every protocol tells: blocks, the device that it is, when its attributes were changed.
    pub more: Option<[String; 3]>,
}

impl Thing {
    /// Its line; what is not told is a dash.
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

/// A line without what [`Thing::more`] has.
pub fn without_more(line: &str) -> String {
    let columns = line.split('\t').enumerate();
    let kept: Vec<&str> = columns
        .map(|(at, column)| {
            if matches!(at, 6 | 7 | 10) {
                "-"
            } else {
                column
            }
        })
        .collect();
    kept.join("\t")
}

/// The lines of a directory and of all below it, in the order of their paths.
pub fn of(directory: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for entry in WalkDir::new(directory) {
        let entry = entry?;
        let path = entry.path();
        let name = path.strip_prefix(directory)?.as_os_str().as_bytes();
        let thing = thing(path, &entry.metadata()?)
            .with_context(|| format!("cannot read {}", path.display()))?;
        lines.push(thing.line(name));
    }
    lines.sort();
    Ok(lines)
}

fn thing(path: &Path, of: &Metadata) -> Result<Thing> {
    let time = |seconds: i64, nanoseconds: i64| match nanoseconds {
        0 => seconds.to_string(),
        _ => format!("{seconds}.{nanoseconds:09}"),
    };
    let kind = of.file_type();
    let (kind, content) = if kind.is_dir() {
        ('d', String::new())
    } else if kind.is_symlink() {
        let target = fs::read_link(path)?;
        (
            'l',
            target.as_os_str().as_bytes().escape_ascii().to_string(),
        )
    } else if kind.is_file() && of.size() == 0 {
        ('f', String::new())
    } else if kind.is_file() {
        let file = File::open(path)?;
        let read = |at, bytes: &mut [u8]| Ok(file.read_exact_at(bytes, at)?);
        ('f', sum(of.size(), read)?)
    } else if kind.is_fifo() {
        ('p', String::new())
    } else if kind.is_socket() {
        ('s', String::new())
    } else if kind.is_block_device() {
        ('b', String::new())
    } else {
        ('c', String::new())
    };
    Ok(Thing {
        kind,
        mode: of.mode() & 0o7777,
        links: of.nlink(),
        owner: (of.uid(), of.gid()),
        size: of.size(),
        times: [
            time(of.atime(), of.atime_nsec()),
            time(of.mtime(), of.mtime_nsec()),
        ],
        content,
        more: Some([
            of.blocks().to_string(),
            of.rdev().to_string(),
            time(of.ctime(), of.ctime_nsec()),
        ]),
    })
}

/// Files up to here are read whole.
const WHOLE_BYTES_MAX: u64 = 64 << 20;
/// So much is read at once.
const PIECE_BYTES: u64 = 1 << 20;
/// No extent of a disk's file is longer than this.
const EXTENT_BYTES_MAX: u64 = 4 << 30;

/// The SHA-256 of a file, in hexadecimal, got by reading at places. Of a large one that is its beginning, its end, and what
/// lies around the ends of its extents.
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
        for at in (from..to).step_by(PIECE_BYTES as usize) {
            let bytes = &mut buffer[..(to - at).min(PIECE_BYTES) as usize];
            read(at, bytes)?;
            sum.update(bytes);
        }
    }
    let bytes = sum.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The first few lines that only one of two inventories has.
pub fn differences(these: &[String], those: &[String]) -> String {
    let only = |these: &[String], those: &[String]| {
        let those: std::collections::BTreeSet<&String> = those.iter().collect();
        let lines = these.iter().filter(|line| !those.contains(line));
        lines.take(10).cloned().collect::<Vec<_>>().join("\n")
    };
    format!(
        "only the first has:\n{}\nonly the second has:\n{}",
        only(these, those),
        only(those, these)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_is_read_where_its_extents_end() -> Result<()> {
        let mut read = Vec::new();
        sum((8 << 30) + 5, |at, bytes| {
            read.push((at, bytes.len()));
            Ok(())
        })?;
        let mib = 1 << 20;
        let places = [
            0,
            (4 << 30) - mib,
            4 << 30,
            (8 << 30) - mib,
            8 << 30,
            (8 << 30) + 5 - mib,
        ];
        let lens = [mib, mib, mib, mib, 5, mib];
        let expect: Vec<(u64, usize)> = places
            .into_iter()
            .zip(lens.map(|len| len as usize))
            .collect();
        assert_eq!(read, expect);
        Ok(())
    }

    #[test]
    fn a_line_ends_with_the_sum_of_what_is_in_a_file() -> Result<()> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("file"), "content")?;
        let lines = of(dir.path())?;
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
