//! Images with ISO 9660 and UDF: the choice between the two.
//!
//! UDF is used, as by mount(8), because ISO 9660 may have the size of a large file modulo 4 GiB, and shortened names. The exception
//! is a tree of Rock Ridge with the same files: it has symbolic links and owners, which writers of such images omit in UDF. Both
//! trees are walked once for an image. A walk that a disk stops is continued where it stopped.

use super::volume::{Listed, Volume};
use super::{FsError, FsResult, ObjectType};
use crate::config::{BRIDGE_DIRECTORY_COUNT, BRIDGE_OBJECT_COUNT_MAX, IMAGE_COUNT_MAX};
use crate::mem::Slots;

/// Size (bytes) below which an image has no file whose size is too large for ISO 9660.
const SMALL_BYTES: u64 = 1 << 32;

/// The walk through both trees of an image, and the results of the last walks.
pub(super) struct Bridge {
    /// Identity of the image whose trees are walked; 0: none.
    identity: u64,
    /// Results: the identity of an image, with the lowest bit set only if UDF is used. Stored at an index of the identity.
    results: [u64; IMAGE_COUNT_MAX],
    /// Sum over the sizes of all files of the first tree, less those of the second.
    sum: u64,
    /// True in the second tree.
    is_second: bool,
    objects_left: u32,
    /// The directory that is listed, and the cookie of the entry that was visited last.
    dir: u64,
    cookie: u64,
    /// Directories that are listed later.
    dirs: Slots<u64>,
}

impl Bridge {
    pub(super) fn new() -> Self {
        Self {
            identity: 0,
            results: [0; IMAGE_COUNT_MAX],
            sum: 0,
            is_second: false,
            objects_left: 0,
            dir: 0,
            cookie: 0,
            dirs: Slots::new(BRIDGE_DIRECTORY_COUNT),
        }
    }

    /// Returns true if the image is read as UDF, although it has Rock Ridge. `identity` is odd. A very large or damaged tree is not
    /// compared.
    ///
    /// # Errors
    /// Those that stop only.
    pub(super) fn prefers_udf(
        &mut self,
        identity: u64,
        image_bytes: u64,
        [iso, udf]: [&mut dyn Volume; 2],
    ) -> FsResult<bool> {
        let place = (identity >> 1) as usize % IMAGE_COUNT_MAX;
        if let Some(result) = self.results.get(place)
            && *result | 1 == identity
        {
            return Ok(*result & 1 != 0);
        }
        if self.identity != identity {
            self.identity = identity;
            (self.sum, self.is_second) = (0, false);
            self.begin(iso.root());
        }
        let is_udf = match self.compare(iso, udf) {
            Err(error) if error.stops() => return Err(error),
            Err(_) => image_bytes >= SMALL_BYTES,
            Ok(is_same) => !is_same,
        };
        self.identity = 0;
        if let Some(result) = self.results.get_mut(place) {
            *result = identity - u64::from(!is_udf);
        }
        Ok(is_udf)
    }

    /// Begins to walk a tree.
    fn begin(&mut self, root: u64) {
        self.objects_left = BRIDGE_OBJECT_COUNT_MAX;
        (self.dir, self.cookie) = (root, 0);
        self.dirs.clear();
    }

    /// Returns true if both trees have files of the same sizes. Empty ones do not count: in UDF, links and devices are empty files.
    fn compare(&mut self, first: &mut dyn Volume, second: &mut dyn Volume) -> FsResult<bool> {
        if !self.is_second {
            self.walk(first)?;
            self.is_second = true;
            self.begin(second.root());
            self.sum = self.sum.wrapping_neg();
        }
        self.walk(second)?;
        Ok(self.sum == 0)
    }

    /// Visits the rest of a tree.
    fn walk(&mut self, tree: &mut dyn Volume) -> FsResult<()> {
        tree.reset_budget();
        loop {
            tree.select(self.dir)?;
            tree.list(self.cookie)?;
            loop {
                let listed = match tree.next() {
                    Err(FsError::NoEntry) => break,
                    listed => listed?,
                };
                if !matches!(tree.name(), b"." | b"..") {
                    self.visit(tree, &listed)?;
                }
                self.cookie = listed.cookie;
            }
            let Some(dir) = self.dirs.pop() else {
                return Ok(());
            };
            (self.dir, self.cookie) = (dir, 0);
        }
    }

    /// Counts an object.
    ///
    /// # Errors
    /// `TryLater`: the tree is too large, or directories form a loop.
    fn visit(&mut self, tree: &mut dyn Volume, listed: &Listed) -> FsResult<()> {
        let mut found = (ObjectType::Directory, 0);
        if listed.kind != Some(ObjectType::Directory) {
            tree.select(listed.id)?;
            let attr = tree.attr(0);
            found = (attr.kind, attr.size);
        }
        match found {
            (ObjectType::Directory, _) => {
                self.dirs.push(listed.id).ok_or(FsError::TryLater)?;
            }
            (ObjectType::Regular, size) => {
                // Not a plain sum: a file that is too short does not make up for another that is too long. Empty: 0.
                let mixed = size.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                self.sum = self.sum.wrapping_add(mixed ^ (mixed >> 29));
            }
            _ => {}
        }
        let left = self.objects_left.checked_sub(1);
        self.objects_left = left.ok_or(FsError::TryLater)?;
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::iso::testing::{Draft, field, posix, record};
    use super::super::udf::testing as udf;
    use super::super::{Attr, FileTime, volume::Run};
    use super::*;

    /// A tree: the objects of each directory, a directory by its number and a file by its size. Every other call of `next` stops.
    struct Model {
        dirs: Vec<Vec<Result<usize, u64>>>,
        dir: u64,
        next: usize,
        size: u64,
        stops: bool,
    }

    const FILES: u64 = 1 << 40;

    impl Volume for Model {
        fn reset_budget(&mut self) {}
        fn root(&self) -> u64 {
            0
        }
        fn volume_bytes(&self) -> u64 {
            0
        }
        fn select(&mut self, id: u64) -> FsResult<()> {
            (self.size, self.dir) = match id.checked_sub(FILES) {
                Some(size) => (size, self.dir),
                None => (0, id),
            };
            Ok(())
        }
        fn attr(&self, fsid: u64) -> Attr {
            Attr {
                size: self.size,
                kind: ObjectType::Regular,
                fsid,
                mode: 0,
                nlink: 1,
                uid: 0,
                gid: 0,
                used: 0,
                rdev: (0, 0),
                inode: 0,
                atime: FileTime { secs: 0, nanos: 0 },
                mtime: FileTime { secs: 0, nanos: 0 },
                ctime: FileTime { secs: 0, nanos: 0 },
            }
        }
        fn target(&self) -> &[u8] {
            b""
        }
        fn check_content(&mut self) -> FsResult<()> {
            Ok(())
        }
        fn run(&mut self, _: u64) -> FsResult<Run> {
            Err(FsError::Io)
        }
        fn list(&mut self, from: u64) -> FsResult<()> {
            self.next = from as usize;
            Ok(())
        }
        fn next(&mut self) -> FsResult<Listed> {
            self.stops = !self.stops;
            if self.stops {
                return Err(FsError::AwaitsDisk);
            }
            let dir = &self.dirs[self.dir as usize];
            let object = dir.get(self.next).ok_or(FsError::NoEntry)?;
            self.next += 1;
            Ok(Listed {
                id: object.map_or_else(|size| FILES + size, |dir| dir as u64),
                inode: 0,
                kind: object.ok().map(|_| ObjectType::Directory),
                cookie: self.next as u64,
            })
        }
        fn name(&self) -> &[u8] {
            b"x"
        }
    }

    fn model(dirs: &[Vec<Result<usize, u64>>]) -> Model {
        Model {
            dirs: dirs.to_vec(),
            dir: 0,
            next: 0,
            size: 0,
            stops: false,
        }
    }

    /// The choice, and the number of stops until it was made.
    fn choose(bridge: &mut Bridge, size: u64, trees: &mut [Model; 2]) -> (bool, u32) {
        let [iso, udf] = trees;
        for stops in 0.. {
            match bridge.prefers_udf(77, size, [iso, udf]) {
                Err(error) => assert_eq!(error, FsError::AwaitsDisk),
                Ok(is_udf) => return (is_udf, stops),
            }
        }
        unreachable!()
    }

    #[test]
    fn stopped_walk_continues_and_is_done_once() {
        let tree = [vec![Err(5), Ok(1), Err(0), Err(7)], vec![Err(9)]];
        for (last, is_udf) in [(9, false), (8, true)] {
            let (bridge, other) = (&mut Bridge::new(), vec![Ok(1), Err(7), Err(5)]);
            let trees = &mut [model(&tree), model(&[other, vec![Err(last)]])];
            assert_eq!(choose(bridge, 0, trees), (is_udf, 13));
            assert_eq!(choose(bridge, 0, trees), (is_udf, 0));
        }
    }

    #[test]
    fn endless_or_wide_tree_is_not_compared() {
        let endless = [vec![Ok(0), Ok(0)]];
        let wide = [vec![Err(1); 10_001]];
        for tree in [&endless, &wide] {
            for (size, is_udf) in [(SMALL_BYTES - 1, false), (SMALL_BYTES, true)] {
                let trees = &mut [model(tree), model(tree)];
                assert_eq!(choose(&mut Bridge::new(), size, trees).0, is_udf);
            }
        }
    }

    /// An image with the UDF sample, and Rock Ridge with files of these sizes.
    pub(in super::super) fn image(sizes: &[u32]) -> Vec<u8> {
        let mut draft = Draft(udf::sample(udf::Kind::Physical).bytes);
        draft.descriptor(16, 1, 100);
        draft.descriptor(17, 255, 100);
        draft.put(18, 0, b"\0BEA01");
        draft.put(19, 0, b"\0NSR03");
        let extended = field(b"ER", b"\x08\x00\x00\x01RRIP_199");
        let first = [field(b"SP", &[0xbe, 0xef, 0]), posix(0o040_755), extended];
        let mut records = vec![record(b"\0", 100, 2048, 2, &first)];
        records.push(record(b"\x01", 100, 2048, 2, &[posix(0o040_755)]));
        for size in sizes {
            records.push(record(b"F.;1", 101, *size, 0, &[posix(0o100_644)]));
        }
        draft.directory(100, &records);
        draft.0
    }
}
