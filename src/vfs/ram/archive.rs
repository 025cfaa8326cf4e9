//! Unpacks the boot module (initrd), if it is a cpio archive, into read-only files in memory.

use super::{Counts, Ram};
use crate::mem::{FNV_START, fnv1a, parts};
use crate::vfs::{
    Access, CreateWhat, ExportRoot, FileTime, FsError, FsResult, Kind, Name, NewTime, Node,
    ObjectType, Rules, SetAttr, Vfs as _,
};
use crate::wire::cpio::{ArchiveEntry, Entries, MAGIC};

/// Limit of comparisons of entries, summed over the archive, that look for earlier names of hard links.
const COMPARE_COUNT_MAX: usize = 1 << 22;

/// Counts the objects and blocks that the archive needs when unpacked. `None`: no cpio archive.
pub fn counts(archive: &[u8]) -> Option<Counts> {
    archive.starts_with(MAGIC).then(|| {
        let mut counts = Counts {
            objects: 1,
            blocks: 0,
        };
        for entry in Entries::new(archive).flatten() {
            counts.objects += 1;
            counts.blocks += Counts::blocks_of(entry.data.len());
        }
        counts
    })
}

/// Returns the instance number in file handles: an FNV-1a hash of inode number, mode, mtime, size and name of every entry. So
/// handles of another archive are rejected, and handles of the same archive stay valid after a restart.
pub fn instance(archive: &[u8]) -> u64 {
    let mut sum = FNV_START;
    for entry in Entries::new(archive).flatten() {
        let [inode, ..] = entry.identity;
        let words = [inode, entry.mode, entry.mtime, entry.data.len() as u32].map(u32::to_le_bytes);
        sum = fnv1a(fnv1a(sum, words.as_flattened()), entry.name);
    }
    sum
}

/// Creates all objects of an archive in an empty tree, then makes the tree read-only.
///
/// # Errors
/// `Invalid`: a malformed archive, or too many hard links. Errors of the tree, such as `NoEntry`: an entry precedes its directory.
pub fn unpack(ram: &mut Ram, archive: &[u8], rules: &Rules) -> FsResult<ExportRoot> {
    let export = ram.export(rules);
    ram.writable = true;
    let root = ram.root(Some(export.tag))?;
    let mut compared = 0;
    for (number, entry) in Entries::new(archive).enumerate() {
        let entry = entry.map_err(|_| FsError::Invalid)?;
        if let (dir, Some(name)) = find(ram, root, entry.name)? {
            // As in Linux, a later object replaces an earlier one of the same name, and directories are merged.
            if let Ok(present) = ram.named(dir, name) {
                match (ram.attr(present)?.kind, kind(&entry)) {
                    (ObjectType::Directory, ObjectType::Directory) => continue,
                    (ObjectType::Directory, _) => return Err(FsError::Exists),
                    _ => ram.remove(dir, name, Kind::Other)?,
                }
            }
            let mut earlier = None;
            if entry.nlink > 1 && kind(&entry) == ObjectType::Regular {
                compared += number;
                if compared > COMPARE_COUNT_MAX {
                    return Err(FsError::Invalid);
                }
                let mut before = Entries::new(archive).take(number).flatten();
                earlier = before.find(|previous| previous.identity == entry.identity);
            }
            let node = match earlier {
                Some(earlier) => {
                    let node = resolve(ram, root, earlier.name)?;
                    ram.link(node, dir, name)?;
                    node
                }
                None => ram.create(dir, name, create_what(&entry), &SetAttr::default())?,
            };
            if kind(&entry) == ObjectType::Regular && !entry.data.is_empty() {
                let pin = ram.pin(node, Some(Access::Write))?;
                let written = ram.write(&pin, 0, entry.data);
                ram.unpin(pin);
                written?;
            }
        }
    }
    // Sets attributes last: creating and writing changes mtime.
    for entry in Entries::new(archive).flatten() {
        let node = resolve(ram, root, entry.name)?;
        let time = NewTime::At(FileTime {
            secs: entry.mtime.into(),
            nanos: 0,
        });
        let (uid, gid) = entry.owner;
        ram.set_attr(
            node,
            &SetAttr {
                // The mode of a symbolic link has no meaning.
                mode: (kind(&entry) != ObjectType::SymbolicLink).then_some(entry.mode & 0o7777),
                uid: Some(uid),
                gid: Some(gid),
                size: None,
                atime: time,
                mtime: time,
            },
        )?;
    }
    ram.writable = false;
    Ok(export)
}

fn kind(entry: &ArchiveEntry<'_>) -> ObjectType {
    ObjectType::of_mode(entry.mode)
}

fn create_what<'a>(entry: &ArchiveEntry<'a>) -> CreateWhat<'a> {
    match kind(entry) {
        ObjectType::Regular => CreateWhat::File,
        ObjectType::Directory => CreateWhat::Directory,
        ObjectType::SymbolicLink => CreateWhat::Link(entry.data),
        kind => CreateWhat::Special(kind, entry.rdev),
    }
}

/// Resolves the parent directory of `path` and returns it with the last name; the root itself has no name.
fn find<'a>(ram: &mut Ram, root: Node, path: &'a [u8]) -> FsResult<(Node, Option<Name<'a>>)> {
    let (mut dir, mut last) = (root, None);
    for part in parts(path, b'/') {
        if !part.is_empty()
            && part != b"."
            && let Some(before) = last.replace(Name::new(part)?)
        {
            dir = ram.named(dir, before)?;
        }
    }
    Ok((dir, last))
}

/// Resolves a path to its object.
fn resolve(ram: &mut Ram, root: Node, path: &[u8]) -> FsResult<Node> {
    match find(ram, root, path)? {
        (dir, Some(name)) => ram.named(dir, name),
        (root, None) => Ok(root),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::Attr;
    use crate::wire::cpio::tests::{Object, archive};

    const DIRECTORY: u32 = 0o40751;
    const FILE: u32 = 0o100_640;

    struct Bench {
        ram: Ram,
        result: FsResult<ExportRoot>,
    }

    impl Bench {
        fn new(bytes: &[u8]) -> Self {
            let counts = counts(bytes).unwrap();
            let mut ram = Ram::new(counts, instance(bytes), FileTime::default);
            ram.backend = crate::vfs::Backend::Host;
            let result = unpack(&mut ram, bytes, &Rules::default());
            Self { ram, result }
        }

        fn found(&mut self, path: &str) -> FsResult<(Attr, Vec<u8>)> {
            let root = self.ram.root(Some(self.result?.tag))?;
            let node = resolve(&mut self.ram, root, path.as_bytes())?;
            let attr = self.ram.attr(node)?;
            let mut bytes = vec![0; attr.size as usize];
            match attr.kind {
                ObjectType::Regular => {
                    let pin = self.ram.pin(node, Some(Access::Read))?;
                    self.ram
                        .read(&pin, 0, &mut bytes, crate::vfs::Patience::Forever)
                        .unwrap();
                    self.ram.unpin(pin);
                }
                ObjectType::SymbolicLink => _ = self.ram.readlink(node, &mut bytes)?,
                _ => bytes.clear(),
            }
            Ok((attr, bytes))
        }
    }

    #[test]
    fn unpacked_archive_is_read_only_with_its_entries() {
        let long = vec![b'x'; 10_000];
        let bytes = archive(&[
            (".", 0, 0o40700, b""),
            ("a", 0, DIRECTORY, b""),
            ("a/one", 5, FILE, b""),
            ("./a//two", 5, FILE, &long),
            ("link", 0, 0o120_777, b"a/one"),
            ("null", 0, 0o20666, b""),
        ]);
        let mut bench = Bench::new(&bytes);
        for path in ["a/one", "a/two"] {
            let (attr, content) = bench.found(path).unwrap();
            assert_eq!((attr.mode, attr.nlink, attr.mtime.secs), (0o640, 2, 30));
            assert_eq!((attr.uid, attr.gid), (10, 20));
            assert!(content == long, "{path}");
        }
        let (attr, content) = bench.found("link").unwrap();
        assert_eq!(
            (attr.kind, &content[..]),
            (ObjectType::SymbolicLink, &b"a/one"[..])
        );
        let (attr, _) = bench.found("null").unwrap();
        assert_eq!(
            (attr.kind, attr.rdev),
            (ObjectType::CharacterDevice, (3, 4))
        );
        for (path, mode) in [("", 0o700), ("a", 0o751)] {
            let (attr, _) = bench.found(path).unwrap();
            assert_eq!((attr.mode, attr.mtime.secs), (mode, 30), "{path}");
        }
        let root = bench.ram.root(Some(bench.result.unwrap().tag)).unwrap();
        let made = bench.ram.create(
            root,
            Name::new(b"b").unwrap(),
            CreateWhat::File,
            &SetAttr::default(),
        );
        assert_eq!(made, Err(FsError::ReadOnly));
    }

    #[test]
    fn impossible_entries_fail() {
        let check = |objects: &[Object<'_>], expect| {
            let bench = Bench::new(&archive(objects));
            assert_eq!(bench.result.err(), Some(expect), "{objects:?}");
        };
        check(&[("a/b", 0, FILE, b"")], FsError::NoEntry);
        check(&[("..", 0, FILE, b"")], FsError::Exists);
        check(
            &[("a", 0, FILE, b""), ("a/b", 0, FILE, b"")],
            FsError::NotDirectory,
        );
        check(
            &[("a", 0, DIRECTORY, b""), ("a", 0, FILE, b"")],
            FsError::Exists,
        );
        check(&[("a\0b", 0, FILE, b"")], FsError::Invalid);
        // 3,000 files with a link count of 2: each is compared with all entries before it, which exceeds the limit.
        let names: Vec<_> = (0..3000).map(|number| format!("{number}")).collect();
        let objects: Vec<Object<'_>> = names
            .iter()
            .map(|name| {
                (
                    &name[..],
                    1 + name.parse::<usize>().unwrap(),
                    FILE,
                    &b""[..],
                )
            })
            .collect();
        check(&objects, FsError::Invalid);
        let mut cut = archive(&[("a", 0, FILE, b"")]);
        cut.truncate(cut.len() - 20);
        assert_eq!(Bench::new(&cut).result.err(), Some(FsError::Invalid));
        assert_eq!(counts(b"CD001"), None);
    }

    #[test]
    fn later_archive_adds_and_replaces() {
        let mut bytes = archive(&[
            ("etc", 0, DIRECTORY, b""),
            ("etc/a", 0, FILE, b"first"),
            ("etc/b", 7, FILE, b"kept"),
        ]);
        bytes.extend(archive(&[
            ("etc", 0, DIRECTORY, b""),
            ("etc/a", 0, FILE, b"second"),
            ("etc/c", 7, FILE, b"new"),
        ]));
        let mut bench = Bench::new(&bytes);
        for (path, text) in [("etc/a", "second"), ("etc/b", "kept"), ("etc/c", "new")] {
            assert_eq!(bench.found(path).unwrap().1, text.as_bytes(), "{path}");
        }
    }

    #[test]
    fn handles_survive_a_restart_with_the_same_archive() {
        let tag = |name| {
            Bench::new(&archive(&[(name, 0, FILE, b"")]))
                .result
                .unwrap()
                .tag
        };
        assert_eq!(tag("a"), tag("a"));
        assert_ne!(tag("a"), tag("b"));
    }
}
