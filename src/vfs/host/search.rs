//! The way down from an export's top to an object of which only its trail is known.
//!
//! It happens after a restart, or when a descriptor was let go. It is bounded twice: by the traces, which rule out 255 of 256
//! directories at each level, and by entries looked at for one request, after which the client is told to try again later.

use super::super::handle::Trail;
use super::super::{FsError, FsResult, Handle};
use super::words::generation;
use crate::config::{SEARCH_DEPTH_MAX, SEARCH_ENTRY_COUNT};
use crate::sys;
use crate::sys::Errno;
use crate::sys::files::{self, Stat};
use core::ffi::CStr;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, RawDir, SeekFrom};

/// A directory on the way, and where in it the search goes on.
#[derive(Debug)]
struct Level {
    dir: OwnedFd,
    /// Directories below the top.
    depth: usize,
    cookie: u64,
}

/// A search, perhaps interrupted; or none, when there is no level to go on from.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) handle: Handle,
    pub(super) export: u16,
    dev: (u32, u32),
    levels: heapless::Vec<Level, SEARCH_DEPTH_MAX>,
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::LARGEFILE);

/// Opens a directory beneath another for listing.
pub(super) fn open_dir(dir: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        dir,
        name,
        DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

impl Search {
    /// No search.
    pub(super) const NONE: Self = Self {
        handle: Handle::EMPTY,
        export: 0,
        dev: (0, 0),
        levels: heapless::Vec::new(),
    };

    /// Whether there is something to go on with.
    pub(super) fn is_under_way(&self) -> bool {
        !self.levels.is_empty()
    }

    /// Begins to look for the object of `handle` in an export whose top lies on the file system `dev`.
    pub(super) fn begin(&mut self, handle: &Handle, export: u16, dev: (u32, u32)) {
        self.handle = *handle;
        self.export = export;
        self.dev = dev;
        self.levels.clear();
    }

    /// Looks in `dir` and below, before everything that was added before; it lies `depth` levels below the top.
    pub(super) fn add(&mut self, dir: &OwnedFd, depth: usize) -> FsResult<()> {
        let dir = open_dir(dir, c".").map_err(super::words::error)?;
        // Deeper than any search goes.
        self.levels
            .push(Level {
                dir,
                depth,
                cookie: 0,
            })
            .map_err(|_| FsError::Stale)
    }

    /// Goes on, and opens the object with `flags`. `TryLater`: it will take more; `Stale`: the object is nowhere.
    pub(super) fn step(&mut self, flags: OFlags, stat: &mut Stat) -> FsResult<OwnedFd> {
        let trail = Trail(self.handle.bytes());
        let mut budget = SEARCH_ENTRY_COUNT;
        let mut name = EntryName::new();
        while let Some(level) = self.levels.last_mut() {
            let depth = level.depth;
            let at_parent = depth == trail.depth();
            let hit = level.scan(
                &mut budget,
                &mut name,
                &|inode, kind| match (at_parent, kind) {
                    (true, _) => inode == trail.inode(),
                    (false, FileType::Directory | FileType::Unknown) => trail.passes(depth, inode),
                    (false, _) => false,
                },
            );
            match hit {
                Scan::Hit => {}
                Scan::Pause => return Err(FsError::TryLater),
                Scan::End => {
                    self.levels.pop();
                    continue;
                }
            }
            let text = sys::c_str(&name);
            let open = |flags| {
                rustix::fs::openat(
                    &level.dir,
                    text,
                    flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                )
            };
            let Ok(mut file) = open(if at_parent { OFlags::PATH } else { DIRECTORY }) else {
                continue;
            };
            if files::stat(&file, stat).is_err()
                || files::device(stat) != self.dev
                || files::is_mounted_on(stat)
            {
                continue;
            }
            if !at_parent {
                let below = Level {
                    dir: file,
                    depth: depth + 1,
                    cookie: 0,
                };
                // Deeper than any search goes.
                self.levels.push(below).map_err(|_| FsError::Stale)?;
                continue;
            }
            if (stat.stx_ino, generation(stat)) != (trail.inode(), trail.generation()) {
                continue;
            }
            // What it is was asked before it is opened for more; that it is still the same is asked after.
            if !flags.contains(OFlags::PATH) {
                file = open(flags).map_err(super::words::error)?;
                files::stat(&file, stat).map_err(super::words::error)?;
                if stat.stx_ino != trail.inode() {
                    continue;
                }
            }
            self.levels.clear();
            return Ok(file);
        }
        Err(FsError::Stale)
    }
}

/// The name of an entry, with its NUL.
type EntryName = heapless::Vec<u8, 256>;

/// How far a look through a directory came.
enum Scan {
    /// At an entry that is wanted.
    Hit,
    /// The budget is spent.
    Pause,
    /// The directory is at its end, or cannot be read.
    End,
}

impl Level {
    /// Looks through the directory from where it stopped, and remembers where it stops now.
    fn scan(
        &mut self,
        budget: &mut usize,
        name: &mut EntryName,
        wanted: &dyn Fn(u64, FileType) -> bool,
    ) -> Scan {
        if rustix::fs::seek(&self.dir, SeekFrom::Start(self.cookie)).is_err() {
            return Scan::End;
        }
        let mut buffer = super::listing_buffer();
        let mut entries = RawDir::new(&self.dir, &mut buffer);
        while let Some(Ok(entry)) = entries.next() {
            if *budget == 0 {
                return Scan::Pause;
            }
            *budget -= 1;
            self.cookie = entry.next_entry_cookie();
            let found = entry.file_name().to_bytes_with_nul();
            if !matches!(found, b".\0" | b"..\0") && wanted(entry.ino(), entry.file_type()) {
                name.clear();
                let _ = name.extend_from_slice(found);
                return Scan::Hit;
            }
        }
        Scan::End
    }
}
