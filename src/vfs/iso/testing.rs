//! Builders of ISO images for tests and fuzzers. A hostile image is a valid one with a few bytes changed.

use core::cell::RefCell;

use super::{Block, FsError, FsResult, Image, IsoEntry, Layout, ObjectType, Run};

const SECTOR: usize = 2048;

/// A number in both byte orders, as ISO 9660 stores it.
pub fn both(number: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// A Rock Ridge field.
pub fn field(name: &[u8; 2], content: &[u8]) -> Vec<u8> {
    [&name[..], &[content.len() as u8 + 4, 1], content].concat()
}

/// Rock Ridge `PX`: mode, links, owner.
pub fn posix(mode: u32) -> Vec<u8> {
    field(
        b"PX",
        &[both(mode), both(1), both(1000), both(100)].concat(),
    )
}

/// Rock Ridge `NM`: the name; not continued in another field.
pub fn name(text: &str) -> Vec<u8> {
    field(b"NM", &[b"\0", text.as_bytes()].concat())
}

/// Rock Ridge `CE`: position of further fields.
pub fn more(block: u32, offset: u32, len: u32) -> Vec<u8> {
    field(b"CE", &[both(block), both(offset), both(len)].concat())
}

/// Rock Ridge `SL`: the target of a symbolic link, as path components.
pub fn target(names: &[&str]) -> Vec<u8> {
    let mut content = vec![0];
    for name in names {
        content.extend([0, name.len() as u8]);
        content.extend(name.as_bytes());
    }
    field(b"SL", &content)
}

/// A directory record. Flags: 2 directory, 4 associated file, 0x80 the next record continues this file.
pub fn record(id: &[u8], block: u32, size: u32, flags: u8, fields: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = [&[0, 0][..], &both(block), &both(size)].concat();
    bytes.extend([126, 11, 20, 12, 0, 0, 0, flags, 0, 0, 1, 0, 0, 1]);
    bytes.push(id.len() as u8);
    bytes.extend(id);
    if id.len().is_multiple_of(2) {
        bytes.push(0);
    }
    bytes.extend(fields.concat());
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes[0] = bytes.len() as u8;
    bytes
}

/// An image under construction.
#[derive(Clone, Default)]
pub struct Draft(pub Vec<u8>);

impl Draft {
    /// Writes bytes at an offset from the start of a block; extends the image if needed.
    pub fn put(&mut self, block: u32, offset: usize, bytes: &[u8]) {
        let at = block as usize * SECTOR + offset;
        let end = (at + bytes.len()).next_multiple_of(SECTOR);
        self.0.resize(self.0.len().max(end), 0);
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// A volume descriptor: 1 primary, 2 Joliet, 255 terminator.
    pub fn descriptor(&mut self, block: u32, kind: u8, root: u32) {
        let mut bytes = vec![0; SECTOR];
        bytes[0] = kind;
        bytes[1..7].copy_from_slice(b"CD001\x01");
        if kind == 2 {
            bytes[88..91].copy_from_slice(b"%/E");
        }
        bytes[128..132].copy_from_slice(&[0, 8, 8, 0]);
        bytes[156..190].copy_from_slice(&record(b"\0", root, SECTOR as u32, 2, &[]));
        self.put(block, 0, &bytes);
    }

    /// Writes a directory. Records never cross a sector boundary. Returns its size.
    pub fn directory(&mut self, block: u32, records: &[Vec<u8>]) -> u32 {
        let (mut bytes, mut rest) = (Vec::new(), 0);
        for record in records {
            if rest < record.len() {
                bytes.resize(bytes.len() + rest, 0);
                rest = SECTOR;
            }
            bytes.extend(record);
            rest -= record.len();
        }
        self.put(block, 0, &bytes);
        bytes.len().next_multiple_of(SECTOR) as u32
    }
}

/// Offset of the first volume descriptor.
pub const FIRST: usize = 16 * SECTOR;
/// Block of the root directory in [`sample`].
pub const ROOT: u32 = 20;
/// Block of a subdirectory.
pub const SUB: u32 = 21;
/// Block of continuation areas (`CE`).
pub const AREAS: u32 = 22;
/// Blocks of the directory that holds relocated directories, and of one of these.
pub const MOVED: [u32; 2] = [23, 24];
/// First block of the files' contents.
pub const DATA: u32 = 25;
/// Names in the root directory, in order.
pub const NAMES: [&str; 9] = [
    ".",
    "..",
    "Hello World",
    "link",
    "sub",
    "a name that goes on",
    "large",
    "rr_moved",
    "deep",
];

/// An image with Rock Ridge that contains each kind of object once.
pub fn sample() -> Draft {
    let size = SECTOR as u32;
    let dir = || posix(0o040_755);
    let mut draft = Draft::default();
    draft.descriptor(16, 1, ROOT);
    draft.descriptor(17, 255, ROOT);
    let first = [field(b"SP", &[0xbe, 0xef, 0]), dir(), more(AREAS, 0, 20)];
    draft.put(AREAS, 0, &field(b"ER", b"\x08\x00\x00\x01RRIP_199"));
    let goes_on = name("that goes on");
    draft.put(AREAS, 100, &goes_on);
    let begins = field(b"NM", b"\x01a name ");
    draft.directory(
        ROOT,
        &[
            record(b"\0", ROOT, size, 2, &first),
            record(b"\x01", ROOT, size, 2, &[dir()]),
            record(b"HELLO.;1", DATA, 5, 0, &[posix(0o100_644), name(NAMES[2])]),
            record(
                b"LINK.;1",
                0,
                0,
                0,
                &[posix(0o120_777), name("link"), target(&["sub", "file"])],
            ),
            record(b"SUB", SUB, size, 2, &[dir(), name("sub")]),
            record(
                b"LONG.;1",
                DATA,
                3,
                0,
                &[
                    posix(0o100_600),
                    begins,
                    more(AREAS, 100, goes_on.len() as u32),
                ],
            ),
            record(
                b"LARGE.;1",
                DATA,
                size,
                0x80,
                &[posix(0o100_444), name("large")],
            ),
            record(
                b"LARGE.;1",
                DATA + 2,
                7,
                0,
                &[posix(0o100_444), name("large")],
            ),
            record(b"RR_MOVED", MOVED[0], size, 2, &[dir(), name("rr_moved")]),
            record(
                b"DEEP.;1",
                0,
                0,
                0,
                &[
                    posix(0o100_644),
                    name("deep"),
                    field(b"CL", &both(MOVED[1])),
                ],
            ),
        ],
    );
    draft.directory(
        SUB,
        &[
            record(b"\0", SUB, size, 2, &[posix(0o040_711)]),
            record(b"\x01", ROOT, size, 2, &[dir()]),
            record(b"FILE.;1", DATA, 4, 0, &[posix(0o100_640), name("file")]),
        ],
    );
    draft.directory(
        MOVED[0],
        &[
            record(b"\0", MOVED[0], size, 2, &[dir()]),
            record(b"\x01", ROOT, size, 2, &[dir()]),
            record(
                b"DEEP",
                MOVED[1],
                size,
                2,
                &[dir(), name("deep"), b"RE\x04\x01".to_vec()],
            ),
        ],
    );
    draft.directory(
        MOVED[1],
        &[
            record(b"\0", MOVED[1], size, 2, &[posix(0o040_700)]),
            record(
                b"\x01",
                MOVED[0],
                size,
                2,
                &[dir(), field(b"PL", &both(ROOT))],
            ),
            record(b"END.;1", DATA, 5, 0, &[posix(0o100_644), name("end")]),
        ],
    );
    draft.put(DATA, 0, b"hello");
    draft.put(DATA + 2, 0, b"the end");
    draft
}

/// An image in memory, followed by zeros, that counts the reads.
pub struct Counted<'a> {
    /// Contents at the start of the image.
    pub bytes: &'a [u8],
    /// Size of the image including the zeros.
    pub size: u64,
    /// Number of reads.
    pub reads: u32,
}

impl<'a> Counted<'a> {
    /// An image without further zeros.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            size: bytes.len() as u64,
            reads: 0,
        }
    }
}

impl Block for Counted<'_> {
    fn read(&mut self, offset: u64, out: &mut [u8]) -> FsResult<()> {
        self.reads += 1;
        assert!(!out.is_empty(), "nothing is read");
        if offset.saturating_add(out.len() as u64) > self.size {
            return Err(FsError::Io);
        }
        let rest = self.bytes.get(offset as usize..).unwrap_or_default();
        let (there, zeros) = out.split_at_mut(rest.len().min(out.len()));
        there.copy_from_slice(&rest[..there.len()]);
        zeros.fill(0);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// Starts to list the directory with number `dir`.
pub fn list<B: Block>(
    image: &mut Image<B>,
    dir: u64,
    from: u64,
    listed: &mut IsoEntry,
) -> FsResult<()> {
    image.entry(dir, listed)?;
    image.list(from, listed)
}

/// Resolves the path `names` from the root directory and fills in `entry`. An empty path is the root. Each component is a separate
/// lookup.
pub fn walk<B: Block>(image: &mut Image<B>, names: &str, entry: &mut IsoEntry) -> FsResult<()> {
    image.reset_budget();
    image.entry(image.root(), entry)?;
    for name in names.split_terminator('/') {
        image.reset_budget();
        image.list(0, entry)?;
        image.lookup(name.as_bytes(), entry)?;
        image.entry(entry.id, entry)?;
    }
    Ok(())
}

/// An image that has been selected for reading.
pub fn image(block: Counted<'_>) -> Image<Counted<'_>> {
    let mut image = Image::new(Counted::new(&[]));
    image.switch_to(block, Layout::EMPTY);
    image
}

/// An image that explorers own.
pub struct Owned(pub Vec<u8>);

impl Block for Owned {
    fn read(&mut self, offset: u64, out: &mut [u8]) -> FsResult<()> {
        Block::read(&mut &self.0[..], offset, out)
    }

    fn size(&self) -> u64 {
        self.0.len() as u64
    }
}

thread_local! {
    /// The reader of all explored images, because its memory is never freed.
    static EXPLORER: RefCell<Image<Owned>> = RefCell::new(Image::new(Owned(Vec::new())));
}

/// Lists an image a few levels deep and reads the start of every file. Returns the number of entries. Errors are ignored: the
/// caller tests that nothing panics or loops.
pub fn explore(bytes: &[u8]) -> u32 {
    EXPLORER.with_borrow_mut(|image| {
        image.switch_to(Owned(bytes.to_vec()), Layout::EMPTY);
        explore_with(image)
    })
}

fn explore_with(image: &mut Image<Owned>) -> u32 {
    let mut entry = IsoEntry::new();
    if image.open(&mut entry).is_err() {
        return 0;
    }
    let mut dirs = vec![image.root()];
    let mut count = 0;
    while let Some(dir) = dirs.pop() {
        let mut cookie = 0;
        // Continue from the cookie of the previous entry.
        while count < 200
            && list(image, dir, cookie, &mut entry) == Ok(())
            && image.next(&mut entry) == Ok(())
        {
            count += 1;
            assert!(image.cookie() > cookie);
            cookie = image.cookie();
            let (id, name) = (entry.id, entry.name().to_vec());
            if entry.is_dots() || image.entry(id, &mut entry).is_err() {
                continue;
            }
            assert_eq!(entry.id, id);
            match image.run(1, &mut entry) {
                Ok(Run { len: 0, .. }) => {}
                Ok(run) => {
                    let mut listed = vec![0; run.len.min(100) as usize];
                    image.block().read(run.offset, &mut listed).unwrap();
                }
                Err(FsError::IsDirectory) => assert_eq!(entry.attr(7).kind, ObjectType::Directory),
                Err(_) => {}
            }
            if entry.attr(7).kind == ObjectType::Directory {
                dirs.push(id);
            }
            let listed = list(image, dir, 0, &mut entry);
            let found = listed.and_then(|()| image.lookup(&name, &mut entry));
            assert!(matches!(found, Ok(()) | Err(FsError::Io)));
        }
    }
    count
}
