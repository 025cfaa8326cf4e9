//! The search for the object of a path handle, downwards from the export's top.
//!
//! Needed after a restart, or after the table evicted the descriptor. Two bounds: the hash bytes rule out 255 of 256 directories at
//! each level; and a call reads a limited number of entries; then the search goes on in the next turn.

use super::super::handle::PathHandle;
use super::super::kernel::{self, READ};
use super::super::{FsError, FsResult, Handle};
use super::volume::{Volume, Volumes};
use crate::config::{SEARCH_DEPTH_MAX, SEARCH_ENTRY_COUNT, SEARCH_STAT_COST};
use crate::sys::linux::fs::{self, File, Statx};
use core::ops::ControlFlow;
use rustix::fd::AsRawFd as _;
use rustix::fs::OFlags;

/// A directory of the search, and the cookie at which its listing continues.
#[derive(Debug)]
struct Level {
    dir: File,
    volume: Volume,
    /// Depth of the directory: 0 for the export's top.
    depth: usize,
    cookie: u64,
}

type Levels = heapless::Vec<Level, SEARCH_DEPTH_MAX>;

/// A search, perhaps interrupted between two requests. Without levels, no search is in progress.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) handle: Handle,
    pub(super) export_index: u16,
    volumes: Volumes,
    levels: Levels,
}

const DIRECTORY: OFlags = READ.union(OFlags::DIRECTORY);

impl Search {
    /// A search that is not in progress.
    pub(super) const NONE: Self = Self {
        handle: Handle::EMPTY,
        export_index: 0,
        volumes: Volumes::NONE,
        levels: heapless::Vec::new(),
    };

    /// Returns true if an interrupted search can continue.
    pub(super) fn is_under_way(&self) -> bool {
        !self.levels.is_empty()
    }

    /// Begins a search for the object of `handle`, in an export with these volumes.
    pub(super) fn start(&mut self, handle: &Handle, export_index: u16, volumes: Volumes) {
        self.handle = *handle;
        self.export_index = export_index;
        self.volumes = volumes;
        self.levels.clear();
    }

    /// Ends the search without a result.
    pub(super) fn stop(&mut self) {
        self.levels.clear();
    }

    /// Adds a directory, `depth` levels below the top, to search first.
    pub(super) fn add(&mut self, dir: &File, volume: Volume, depth: usize) -> FsResult<()> {
        let dir = kernel::open(dir, c".", READ, 0)?;
        descend(&mut self.levels, dir, volume, depth)
    }

    /// Continues the search, and opens the object with `flags`.
    ///
    /// # Errors
    /// `Again`: the limit of a turn was reached; `Stale`: not found.
    pub(super) fn step(&mut self, flags: OFlags, stat: &mut Statx) -> FsResult<File> {
        let wanted = PathHandle(self.handle.bytes());
        let (volumes, mut budget) = (self.volumes, SEARCH_ENTRY_COUNT);
        while let Some(level) = self.levels.last_mut() {
            let Level {
                dir,
                volume: near,
                depth,
                cookie,
            } = level;
            let at_parent = *depth == wanted.depth();
            let mut hit = Err(FsError::Stale);
            let mut volume = *near;
            // A directory that cannot be read counts as searched.
            let _ = fs::list::<FsError>(dir.as_raw_fd(), *cookie, &mut |entry| {
                if budget == 0 {
                    hit = Err(FsError::AwaitsTurn);
                    return ControlFlow::Break(());
                }
                budget -= 1;
                *cookie = entry.cookie;
                let is_likely = |inode| match at_parent {
                    true => inode == wanted.inode(),
                    false => wanted.passes(*depth, inode),
                };
                if !(is_likely(entry.inode) || volumes.can_list_as(&is_likely)) || entry.is_dots() {
                    return ControlFlow::Continue(());
                }
                budget = budget.saturating_sub(SEARCH_STAT_COST);
                let mut fits = |file: &File, name| {
                    let entered = fs::statx(file, name, stat)
                        .map_err(kernel::error)
                        .and_then(|()| volumes.enter(*near, file, name, stat));
                    entered.is_ok_and(|entered| {
                        volume = entered;
                        let identity = volumes.identify(entered, file, name, stat);
                        is_likely(identity.inode)
                            && (!at_parent || identity.generation == wanted.generation())
                    })
                };
                // Checked before opening, and again after, because the entry may have been replaced.
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
                    descend(&mut self.levels, dir, volume, below)?;
                }
                Err(FsError::Stale) => _ = self.levels.pop(),
                Err(error) => return Err(error),
            }
        }
        Err(FsError::Stale)
    }
}

fn descend(levels: &mut Levels, dir: File, volume: Volume, depth: usize) -> FsResult<()> {
    let level = Level {
        dir,
        volume,
        depth,
        cookie: 0,
    };
    // The stack is full: the directory is deeper than `SEARCH_DEPTH_MAX`.
    levels.push(level).map_err(|_| FsError::Stale)
}
