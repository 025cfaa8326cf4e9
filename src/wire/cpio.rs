//! cpio archives in the "newc" format of initramfs images (cpio(5); Linux' early-userspace/buffer-format). Further archives may
//! follow the trailer of one, after zeros; other data after a trailer is ignored. Checksums are not verified.

use super::Malformed;

/// The magic number of the newc format.
pub const MAGIC: &[u8] = b"070701";
/// Size of a header (bytes): the magic number and 13 fields of eight hexadecimal digits.
const HEAD_BYTES: usize = 110;
/// The name in the last header.
const TRAILER: &[u8] = b"TRAILER!!!";

/// An object of an archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArchiveEntry<'a> {
    /// Path of the object.
    pub name: &'a [u8],
    /// Inode, major and minor number, and the number of the archive: hard links to one object have the same.
    pub identity: [u32; 4],
    /// Kind and permissions, as in stat(2).
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Number of hard links.
    pub nlink: u32,
    /// Modification time, in seconds since 1970.
    pub mtime: u32,
    /// For a device: major and minor number.
    pub rdev: (u32, u32),
    /// The contents of a file, or the target of a symbolic link. Of several hard links, only one has the data.
    pub data: &'a [u8],
}

/// Iterator over the objects of archives, up to the last trailer. Stops after the first malformed header; a missing trailer is
/// malformed too.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    archive: &'a [u8],
    /// Offset of the next header. `None`: the iteration has ended.
    offset: Option<usize>,
    /// Number of the archive.
    number: u32,
}

impl<'a> Entries<'a> {
    /// Creates an iterator over this archive.
    pub const fn new(archive: &'a [u8]) -> Self {
        Self {
            archive,
            offset: Some(0),
            number: 0,
        }
    }

    fn read(&mut self) -> Option<ArchiveEntry<'a>> {
        let offset = self.offset.take()?;
        let (head, rest) = self.archive.get(offset..)?.split_at_checked(HEAD_BYTES)?;
        let (digits, _) = head.strip_prefix(MAGIC)?.as_chunks::<8>();
        let mut fields = [0; 13];
        for (field, digits) in fields.iter_mut().zip(digits) {
            for digit in digits {
                *field = *field << 4 | char::from(*digit).to_digit(16)?;
            }
        }
        let [
            number,
            mode,
            uid,
            gid,
            nlink,
            mtime,
            len,
            major,
            minor,
            rmajor,
            rminor,
            name_len,
            _,
        ] = fields;
        let (_, name) = rest.get(..name_len as usize)?.split_last()?;
        // Header and name together end at a multiple of four, and so does the data.
        let start = (offset + HEAD_BYTES)
            .checked_add(name_len as usize)?
            .checked_next_multiple_of(4)?;
        let end = start.checked_add(len as usize)?;
        let data = self.archive.get(start..end)?;
        self.offset = end.checked_next_multiple_of(4);
        Some(ArchiveEntry {
            name,
            identity: [number, major, minor, self.number],
            mode,
            owner: (uid, gid),
            nlink,
            mtime,
            rdev: (rmajor, rminor),
            data,
        })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<ArchiveEntry<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        self.offset?;
        let mut entry = self.read();
        while entry.is_some_and(|entry| entry.name == TRAILER) {
            let rest = self.archive.get(self.offset.take()?..)?;
            let zeros = rest.iter().take_while(|byte| **byte == 0).count();
            if !rest.get(zeros..)?.starts_with(MAGIC) {
                return None;
            }
            self.offset = Some(self.archive.len() - rest.len() + zeros);
            self.number += 1;
            entry = self.read();
        }
        Some(entry.ok_or(Malformed))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An object: name, inode number if it is hard-linked, mode, data.
    pub(crate) type Object<'a> = (&'a str, usize, u32, &'a [u8]);

    /// An archive of objects.
    pub(crate) fn archive(objects: &[Object<'_>]) -> Vec<u8> {
        let mut all = Vec::new();
        let trailer = ("TRAILER!!!", 0, 0, &b""[..]);
        for (place, (name, number, mode, data)) in objects.iter().chain([&trailer]).enumerate() {
            let (number, nlink) = match number {
                0 => (100 + place, 1),
                number => (*number, 2),
            };
            let (mode, name_len) = (*mode as usize, name.len() + 1);
            let last = [1, 2, 3, 4, name_len, 0];
            all.extend(MAGIC);
            for field in [number, mode, 10, 20, nlink, 30, data.len()]
                .into_iter()
                .chain(last)
            {
                all.extend(format!("{field:08x}").into_bytes());
            }
            for bytes in [&[name.as_bytes(), &[0]].concat(), *data] {
                all.extend(bytes);
                all.resize(all.len().next_multiple_of(4), 0);
            }
        }
        all
    }

    const OBJECTS: [Object<'_>; 3] = [
        (".", 0, 0o40755, b""),
        ("etc", 0, 0o40700, b""),
        ("etc/motd", 7, 0o100_644, b"hello"),
    ];

    #[test]
    fn objects_are_read_up_to_the_trailer() {
        let mut bytes = archive(&OBJECTS);
        bytes.extend([0; 512]);
        let entries: Vec<_> = Entries::new(&bytes).map(Result::unwrap).collect();
        let expect = ArchiveEntry {
            name: b"etc/motd",
            identity: [7, 1, 2, 0],
            mode: 0o100_644,
            owner: (10, 20),
            nlink: 2,
            mtime: 30,
            rdev: (3, 4),
            data: b"hello",
        };
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[2], expect);
        assert_eq!((entries[1].name, entries[1].mode), (&b"etc"[..], 0o40700));
    }

    #[test]
    fn archives_that_follow_are_read_too() {
        let mut bytes = archive(&OBJECTS);
        bytes.extend([0; 512]);
        bytes.extend(archive(&[("more", 7, 0o100_644, b"data")]));
        bytes.extend(b"other data");
        let entries: Vec<_> = Entries::new(&bytes).map(Result::unwrap).collect();
        assert_eq!((entries.len(), entries[3].name), (4, &b"more"[..]));
        // Inode numbers of two archives are of different files.
        assert_ne!(entries[2].identity, entries[3].identity);
    }

    #[test]
    fn every_prefix_is_malformed() {
        let bytes = archive(&OBJECTS);
        // The padding after the trailer's name is optional.
        let end = bytes.len() - 3;
        for len in 0..end {
            let last = Entries::new(&bytes[..len]).last();
            assert_eq!(last, Some(Err(Malformed)), "{len}");
        }
    }

    #[test]
    fn invalid_header_fields_are_malformed() {
        // Invalid values in the first header: the magic number, a hexadecimal digit (twice), the data length, a name length of 0,
        // and a name length beyond the archive.
        for (offset, text) in [
            (0, "070702"),
            (6, "g"),
            (6, "+"),
            (54, "ffffffff"),
            (94, "00000000"),
            (94, "ffffffff"),
        ] {
            let mut bytes = archive(&OBJECTS);
            bytes[offset..offset + text.len()].copy_from_slice(text.as_bytes());
            let entries: Vec<_> = Entries::new(&bytes).collect();
            assert_eq!(entries, [Err(Malformed)], "{text} at {offset}");
        }
    }
}
