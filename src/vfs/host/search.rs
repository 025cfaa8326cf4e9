//! The way down from an export's top to an object of which only its trail is known.
//!
//! It happens after a restart, or when a descriptor was let go. It is bounded twice: by the traces, which rule out 255 of 256
//! directories at each level, and by entries looked at for one request, after which the client is told to try again later.

use super::super::handle::Trail;
use super::super::{FsError, FsResult, Handle};
use super::generation;
use crate::config::{SEARCH_DEPTH_MAX, SEARCH_ENTRY_COUNT};
use crate::sys::Errno;
use crate::sys::files::{self, Stat};
use alloc::vec::Vec;
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, RawDir, SeekFrom};

/// A directory on the way, and where in it the search goes on.
#[derive(Debug)]
struct Level {
    dir: OwnedFd,
    /// Directories below the top.
    depth: usize,
    cookie: u64,
}

/// A search, perhaps interrupted.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) handle: Handle,
    pub(super) export: u16,
    dev: (u32, u32),
    levels: heapless::Vec<Level, SEARCH_DEPTH_MAX>,
}

/// What was found: the object opened with `O_PATH`, what it is, and where.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) file: OwnedFd,
    pub(super) stat: Stat,
    dir: OwnedFd,
    name: heapless::Vec<u8, 256>,
}

impl Found {
    /// Opens the object itself for reading, for hosts where a descriptor cannot be opened again.
    pub(super) fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        let name = CStr::from_bytes_until_nul(&self.name).map_err(|_| Errno::INVAL)?;
        let file = rustix::fs::openat(&self.dir, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
        let mut stat = files::blank();
        files::stat(&file, &mut stat)?;
        if stat.stx_ino == self.stat.stx_ino {
            Ok(file)
        } else {
            Err(Errno::STALE)
        }
    }
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
    /// A search for the object of `handle` from `top`, but first in its `parent`, `depth` levels below, where that is open.
    pub(super) fn new(
        handle: &Handle,
        export: u16,
        dev: (u32, u32),
        top: BorrowedFd<'_>,
        depth: usize,
        parent: Option<BorrowedFd<'_>>,
    ) -> FsResult<Self> {
        let mut search = Self {
            handle: *handle,
            export,
            dev,
            levels: heapless::Vec::new(),
        };
        for (dir, depth) in [(Some(top), 0), (parent, depth)] {
            if let Some(dir) = dir {
                let dir = open_dir(dir, c".").map_err(super::error)?;
                let _ = search.levels.push(Level {
                    dir,
                    depth,
                    cookie: 0,
                });
            }
        }
        Ok(search)
    }

    /// Goes on. `TryLater`: it will take more; `Stale`: the object is nowhere.
    pub(super) fn step(&mut self, trail: &Trail<'_>, buffer: &mut Vec<u8>) -> FsResult<Found> {
        let mut budget = SEARCH_ENTRY_COUNT;
        let mut stat = files::blank();
        while let Some(level) = self.levels.last_mut() {
            let depth = level.depth;
            let at_parent = depth == usize::from(trail.depth);
            let hit = level.scan(
                buffer,
                &mut budget,
                &|inode, kind| match (at_parent, kind) {
                    (true, _) => inode == trail.inode,
                    (false, FileType::Directory | FileType::Unknown) => trail.passes(depth, inode),
                    (false, _) => false,
                },
            );
            let name = match hit {
                Scan::Hit(name) => name,
                Scan::Pause => return Err(FsError::TryLater),
                Scan::End => {
                    self.levels.pop();
                    continue;
                }
            };
            let flags = if at_parent { OFlags::PATH } else { DIRECTORY };
            let text = CStr::from_bytes_until_nul(&name).unwrap_or_default();
            let opened = rustix::fs::openat(
                &level.dir,
                text,
                flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            );
            let Ok(file) = opened else { continue };
            let known = files::stat(&file, &mut stat).is_ok();
            if !known
                || (stat.stx_dev_major, stat.stx_dev_minor) != self.dev
                || files::is_mounted_on(&stat)
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
            } else if (stat.stx_ino, generation(&stat)) == (trail.inode, trail.generation) {
                let dir = rustix::io::fcntl_dupfd_cloexec(&level.dir, 0).map_err(super::error)?;
                return Ok(Found {
                    file,
                    stat,
                    dir,
                    name,
                });
            }
        }
        Err(FsError::Stale)
    }
}

/// How far a look through a directory came.
enum Scan {
    /// An entry that is wanted.
    Hit(heapless::Vec<u8, 256>),
    /// The budget is spent.
    Pause,
    /// The directory is at its end, or cannot be read.
    End,
}

impl Level {
    /// Looks through the directory from where it stopped, and remembers where it stops now.
    fn scan(
        &mut self,
        buffer: &mut Vec<u8>,
        budget: &mut usize,
        wanted: &dyn Fn(u64, FileType) -> bool,
    ) -> Scan {
        if rustix::fs::seek(&self.dir, SeekFrom::Start(self.cookie)).is_err() {
            return Scan::End;
        }
        let mut entries = RawDir::new(&self.dir, buffer.spare_capacity_mut());
        while let Some(Ok(entry)) = entries.next() {
            if *budget == 0 {
                return Scan::Pause;
            }
            *budget -= 1;
            self.cookie = entry.next_entry_cookie();
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") && wanted(entry.ino(), entry.file_type()) {
                return heapless::Vec::from_slice(name.to_bytes_with_nul())
                    .map_or(Scan::End, Scan::Hit);
            }
        }
        Scan::End
    }
}
