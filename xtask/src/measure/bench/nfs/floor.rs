//! The floors: the CPU time that the kernel takes for the same changes made locally, and for the replies of a minimal server.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

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
    work: Work,
}

#[derive(Clone, Copy)]
enum Work {
    /// Writes a new file
    Fill,
    /// Writes over an existing file
    FillOver,
    /// Creates and removes names
    Names,
    /// Sends calls to a minimal server
    Answer(Call),
}

impl Workload for Floor {
    fn subject(&self) -> Subject {
        let unit = match self.work {
            Work::Fill | Work::FillOver => Unit::Byte,
            Work::Names => Unit::Request,
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
    pub const ALL: [Self; 9] = [
        Self::answer("floor: fstat", Call::Stat),
        Self::answer("floor: fstat, one at a time", Call::StatAlone),
        Self::answer("floor: statx", Call::StatName),
        Self::answer("floor: pread 4 KiB", Call::Read),
        Self::answer("floor: sendfile 1 MiB", Call::SendFile),
        Self::answer("floor: getdents + statx", Call::List),
        Self::new("pwrite, new file", Work::Fill),
        Self::new("pwrite, in place", Work::FillOver),
        Self::new("open + unlink", Work::Names),
    ];

    const fn new(title: &'static str, work: Work) -> Self {
        Self { title, work }
    }

    const fn answer(title: &'static str, call: Call) -> Self {
        Self::new(title, Work::Answer(call))
    }

    /// The directory in which files are changed; None for a minimal server.
    pub fn storage(&self) -> Option<Storage> {
        let is_answer = matches!(self.work, Work::Answer(_));
        (!is_answer).then_some(Storage::Tmpfs)
    }

    /// Runs one turn, and removes the files that it made.
    pub fn turn(&self, workspace: &Workspace, scale: &Scale) -> Result<Cost> {
        let directory = workspace.directory_of(Storage::Tmpfs);
        let cost = match self.work {
            Work::Answer(call) => call.turn(workspace, scale),
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
            Work::Names => create_and_remove(&directory, scale.made_count),
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

/// Creates `count` files, then removes them.
fn create_and_remove(directory: &Path, count: u64) -> Result<Cost> {
    let names: Vec<_> = (0..count)
        .map(|index| directory.join(format!("floor-{index:06}")))
        .collect();
    Cost::alone(|| {
        for name in &names {
            File::create_new(name)?;
        }
        for name in &names {
            fs::remove_file(name)?;
        }
        Ok(2 * count)
    })
}
