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

/// A search, perhaps interrupted.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) handle: Handle,
    pub(super) export: u16,
    trail: Trail,
    dev: u64,
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
        let stat = files::stat(&file)?;
        if (stat.dev, stat.inode) == (self.stat.dev, self.stat.inode) {
            Ok(file)
        } else {
            Err(Errno::STALE)
        }
    }
}

/// Opens a directory beneath another for listing.
pub(super) fn open_dir(dir: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags =
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::LARGEFILE;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

impl Search {
    /// A search for the object of `handle` from `top`, first in `parent` where that is open already.
    pub(super) fn new(
        handle: Handle,
        trail: Trail,
        export: u16,
        dev: u64,
        top: impl AsFd,
        parent: Option<impl AsFd>,
    ) -> FsResult<Self> {
        let mut levels = heapless::Vec::new();
        let mut begin = |dir: OwnedFd, depth| {
            let level = Level {
                dir,
                depth,
                cookie: 0,
            };
            levels.push(level).map_err(|_| FsError::Stale)
        };
        begin(open_dir(top, c".").map_err(super::error)?, 0)?;
        if let Some(dir) = parent.and_then(|parent| open_dir(parent, c".").ok()) {
            begin(dir, trail.depth.into())?;
        }
        Ok(Self {
            handle,
            export,
            trail,
            dev,
            levels,
        })
    }

    /// Goes on. `TryLater`: it will take more; `Stale`: the object is nowhere.
    pub(super) fn step(&mut self, buffer: &mut Vec<u8>) -> FsResult<Found> {
        let mut budget = SEARCH_ENTRY_COUNT;
        let trail = &self.trail;
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
            let Ok(name_text) = CStr::from_bytes_until_nul(&name) else {
                continue;
            };
            if at_parent {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let Ok(file) = rustix::fs::openat(&level.dir, name_text, flags, Mode::empty())
                else {
                    continue;
                };
                let Ok(stat) = files::stat(&file) else {
                    continue;
                };
                let same = (stat.dev, stat.inode, generation(&stat))
                    == (self.dev, trail.inode, trail.generation);
                if same && !stat.mounted_on {
                    let dir =
                        rustix::io::fcntl_dupfd_cloexec(&level.dir, 0).map_err(super::error)?;
                    return Ok(Found {
                        file,
                        stat,
                        dir,
                        name,
                    });
                }
            } else {
                let Ok(dir) = open_dir(&level.dir, name_text) else {
                    continue;
                };
                let inside =
                    files::stat(&dir).is_ok_and(|stat| stat.dev == self.dev && !stat.mounted_on);
                let level = Level {
                    dir,
                    depth: depth + 1,
                    cookie: 0,
                };
                if inside && self.levels.push(level).is_err() {
                    return Err(FsError::Stale); // Deeper than any search goes.
                }
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
