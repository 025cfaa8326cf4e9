//! The way down from an export's top to an object of which only its path handle is known.
//!
//! It happens after a restart, or when a descriptor was let go. It is bounded twice: by the traces, which rule out 255 of 256
//! directories at each level, and by entries looked at for one request, after which the client is told to try again later.

use super::super::handle::PathHandle;
use super::super::kernel::{self, READ};
use super::super::{FsError, FsResult, Handle};
use super::open::generation;
use crate::config::{SEARCH_DEPTH_MAX, SEARCH_ENTRY_COUNT};
use crate::sys::linux::fs::{self, File, Statx};
use core::ops::ControlFlow;
use rustix::fd::AsRawFd as _;
use rustix::fs::OFlags;

/// A directory on the way, and where in it the search goes on.
#[derive(Debug)]
struct Level {
    dir: File,
    /// Directories below the top.
    depth: usize,
    cookie: u64,
}

type Levels = heapless::Vec<Level, SEARCH_DEPTH_MAX>;

/// A search, perhaps interrupted; or none, when there is no level to go on from.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) handle: Handle,
    pub(super) export: u16,
    dev: (u32, u32),
    levels: Levels,
}

const DIRECTORY: OFlags = READ.union(OFlags::DIRECTORY);

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
    pub(super) fn add(&mut self, dir: &File, depth: usize) -> FsResult<()> {
        let dir = kernel::open(dir, c".", READ, 0)?;
        descend(&mut self.levels, dir, depth)
    }

    /// Goes on, and opens the object with `flags`. `TryLater`: it will take more; `Stale`: the object is nowhere.
    pub(super) fn step(&mut self, flags: OFlags, stat: &mut Statx) -> FsResult<File> {
        let wanted = PathHandle(self.handle.bytes());
        let (dev, mut budget) = (self.dev, SEARCH_ENTRY_COUNT);
        while let Some(Level { dir, depth, cookie }) = self.levels.last_mut() {
            let at_parent = *depth == wanted.depth();
            let mut hit = Err(FsError::Stale);
            // A directory that cannot be read is at its end.
            let _ = fs::list::<FsError>(dir.as_raw_fd(), *cookie, &mut |entry| {
                if budget == 0 {
                    hit = Err(FsError::TryLater);
                    return ControlFlow::Break(());
                }
                budget -= 1;
                *cookie = entry.cookie;
                let is_likely = if at_parent {
                    entry.inode == wanted.inode()
                } else {
                    wanted.passes(*depth, entry.inode)
                };
                if !is_likely || entry.is_dots() {
                    return ControlFlow::Continue(());
                }
                let mut fits = |file: &File, name| {
                    fs::statx(file, name, stat).is_ok()
                        && fs::device(stat) == dev
                        && !fs::is_mount_root(stat)
                        && (!at_parent || stat.stx_ino == wanted.inode())
                        && (!at_parent || generation(stat) == wanted.generation())
                };
                // What it is is asked before it is opened; that it is still the same is asked after.
                if !fits(dir, entry.name) {
                    return ControlFlow::Continue(());
                }
                let flags = if at_parent { flags } else { DIRECTORY };
                hit = kernel::open(&*dir, entry.name, flags | OFlags::NOFOLLOW, 0);
                match &hit {
                    Ok(file) if fits(file, c"") => return ControlFlow::Break(()),
                    Err(why) if at_parent && *why != FsError::NoEntry => {
                        return ControlFlow::Break(());
                    }
                    _ => hit = Err(FsError::Stale),
                }
                ControlFlow::Continue(())
            });
            match hit {
                Ok(file) if at_parent => {
                    self.levels.clear();
                    return Ok(file);
                }
                Ok(dir) => {
                    let below = *depth + 1;
                    descend(&mut self.levels, dir, below)?;
                }
                Err(FsError::Stale) => _ = self.levels.pop(),
                Err(error) => return Err(error),
            }
        }
        Err(FsError::Stale)
    }
}

fn descend(levels: &mut Levels, dir: File, depth: usize) -> FsResult<()> {
    let level = Level {
        dir,
        depth,
        cookie: 0,
    };
    // Deeper than any search goes.
    levels.push(level).map_err(|_| FsError::Stale)
}
