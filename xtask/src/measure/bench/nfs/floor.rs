//! The floors: the CPU time that the kernel takes for the same changes made locally, with fsync and without, and for the replies of
//! a minimal server.
//!
//! No server that syncs before it replies can be faster than the floor that syncs as often.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::connection::DEPTH;
use super::minimal::Call;
use crate::measure::bench::frame::Workload;
use crate::measure::bench::measure::Cost;
use crate::measure::bench::table::{Subject, Unit};
use crate::measure::bench::workspace::{
    CHUNK, Export, Pattern, STANDING, Scale, Storage, Workspace,
};

/// A workload that measures the kernel alone or a minimal server, not one of the compared servers.
pub struct Floor {
    title: &'static str,
    /// Directory in which files are changed; None for a minimal server.
    pub storage: Option<Storage>,
    work: Work,
}

#[derive(Clone, Copy)]
enum Work {
    /// Writes a new file
    Fill,
    /// Writes over an existing file
    FillOver,
    /// Creates and removes names. The directory is synced after each batch of this many changes; None: never
    Names(Option<usize>),
    /// Sends calls to a minimal server
    Answer(Call),
}

impl Workload for Floor {
    fn subject(&self) -> Subject {
        let unit = match self.work {
            Work::Fill | Work::FillOver => Unit::Byte,
            Work::Names(_) => Unit::Request,
            Work::Answer(call) => call.unit(),
        };
        Subject {
            is_floor: true,
            ..Subject::new(self.title, unit)
        }
    }
}

impl Floor {
    /// All floors.
    pub const ALL: [Self; 13] = [
        Self::answer("floor: fstat", Call::Stat),
        Self::answer("floor: fstat, one at a time", Call::StatAlone),
        Self::answer("floor: statx", Call::StatName),
        Self::answer("floor: pread 4 KiB", Call::Read),
        Self::answer("floor: sendfile 1 MiB", Call::SendFile),
        Self::answer("floor: getdents + statx", Call::List),
        Self::new("pwrite, new file", Storage::Tmpfs, Work::Fill),
        Self::new("pwrite, in place", Storage::Tmpfs, Work::FillOver),
        Self::new("pwrite + fsync, ext4", Storage::Ext4, Work::Fill),
        Self::new("open + unlink", Storage::Tmpfs, Work::Names(None)),
        Self::new("open + unlink, ext4", Storage::Ext4, Work::Names(None)),
        Self::new("fsync after each", Storage::Ext4, Work::Names(Some(1))),
        // A bound for servers that sync once per pipelined batch.
        Self::new(
            "fsync after sixteen",
            Storage::Ext4,
            Work::Names(Some(DEPTH)),
        ),
    ];

    const fn new(title: &'static str, storage: Storage, work: Work) -> Self {
        Self {
            title,
            storage: Some(storage),
            work,
        }
    }

    const fn answer(title: &'static str, call: Call) -> Self {
        Self {
            title,
            storage: None,
            work: Work::Answer(call),
        }
    }

    /// Runs one turn, and removes the files that it made.
    pub fn turn(&self, workspace: &Workspace, scale: &Scale) -> Result<Cost> {
        if let Work::Answer(call) = self.work {
            return call.turn(workspace, scale).context(self.title);
        }
        let storage = self.storage.context("the floor has no directory")?;
        let directory = workspace.directory_of(storage);
        let cost = match self.work {
            Work::Fill => {
                let path = directory.join("floor");
                let cost = fill(&path, scale.big_bytes);
                fs::remove_file(&path)?;
                cost
            }
            Work::FillOver => fill(
                &workspace.path(Export::Tmpfs).join(STANDING),
                scale.big_bytes,
            ),
            Work::Answer(_) => unreachable!("handled above"),
            Work::Names(sync_count) => create_and_remove(&directory, scale.made_count, sync_count),
        };
        cost.with_context(|| format!("{} in {}", self.title, directory.display()))
    }
}

/// Writes `file_bytes` of a pattern to a file, and syncs it.
fn fill(path: &Path, file_bytes: u64) -> Result<Cost> {
    let pattern = Pattern::new(file_bytes, 0);
    Cost::alone(|| {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        for index in 0..file_bytes / CHUNK as u64 {
            file.write_all_at(pattern.chunk(index), index * CHUNK as u64)?;
        }
        file.sync_all()?;
        Ok(file_bytes)
    })
}

/// Creates `count` files, then removes them. Syncs the directory after each `sync_count` changes.
fn create_and_remove(directory: &Path, count: u64, sync_count: Option<usize>) -> Result<Cost> {
    let names: Vec<_> = (0..count)
        .map(|index| directory.join(format!("floor-{index:06}")))
        .collect();
    let parent = File::open(directory)?;
    let each = |change: fn(&Path) -> std::io::Result<()>| {
        for batch in names.chunks(sync_count.unwrap_or(names.len())) {
            batch.iter().try_for_each(|name| change(name))?;
            if sync_count.is_some() {
                parent.sync_all()?;
            }
        }
        anyhow::Ok(())
    };
    Cost::alone(|| {
        each(|name| File::create_new(name).map(drop))?;
        each(|name| fs::remove_file(name))?;
        Ok(2 * count)
    })
}
