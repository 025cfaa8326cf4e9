//! The floor: what the kernel charges for changes that nobody asks for over a network, durable and not.
//!
//! A server that makes names durable before it answers cannot be quicker than the floor that does the same.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::connection::DEPTH;
use super::minimal::Call;
use crate::measure::bench::frame::Workload;
use crate::measure::bench::ground::{CHUNK, Export, Ground, Pattern, Place, STANDING, Scale};
use crate::measure::bench::measure::Cost;
use crate::measure::bench::table::{Subject, Unit};

/// Changes that are made locally, one after the other.
pub struct Floor {
    title: &'static str,
    /// Directory that is changed.
    pub place: Option<Place>,
    work: Work,
}

#[derive(Clone, Copy)]
enum Work {
    /// A new file
    Fill,
    /// The one that stands
    FillOver,
    /// The directory is made durable after so many changes, if at all
    Names(Option<usize>),
    /// A minimal server answers calls
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
    /// Every one.
    pub const ALL: [Self; 13] = [
        Self::answer("floor: fstat", Call::Stat),
        Self::answer("floor: fstat, one at a time", Call::StatAlone),
        Self::answer("floor: statx", Call::StatName),
        Self::answer("floor: pread 4 KiB", Call::Read),
        Self::answer("floor: sendfile 1 MiB", Call::SendFile),
        Self::answer("floor: getdents + statx", Call::List),
        Self::new("pwrite, new file", Place::Tmpfs, Work::Fill),
        Self::new("pwrite, in place", Place::Tmpfs, Work::FillOver),
        Self::new("pwrite + fsync, ext4", Place::Ext4, Work::Fill),
        Self::new("open + unlink", Place::Tmpfs, Work::Names(None)),
        Self::new("open + unlink, ext4", Place::Ext4, Work::Names(None)),
        Self::new("fsync after each", Place::Ext4, Work::Names(Some(1))),
        // What a server could reach that answers a pipelined batch at once.
        Self::new("fsync after sixteen", Place::Ext4, Work::Names(Some(DEPTH))),
    ];

    const fn new(title: &'static str, place: Place, work: Work) -> Self {
        Self {
            title,
            place: Some(place),
            work,
        }
    }

    const fn answer(title: &'static str, call: Call) -> Self {
        Self {
            title,
            place: None,
            work: Work::Answer(call),
        }
    }

    /// One turn. What it makes it removes.
    pub fn turn(&self, ground: &Ground, scale: &Scale) -> Result<Cost> {
        if let Work::Answer(call) = self.work {
            return call.turn(ground, scale).context(self.title);
        }
        let place = self.place.context("a floor without a directory")?;
        let directory = ground.directory_of(place);
        let cost = match self.work {
            Work::Fill => {
                let path = directory.join("floor");
                let cost = fill(&path, scale.big_bytes);
                fs::remove_file(&path)?;
                cost
            }
            Work::FillOver => fill(&ground.path(Export::Tmpfs).join(STANDING), scale.big_bytes),
            Work::Answer(_) => unreachable!("answered above"),
            Work::Names(sync_count) => create_and_remove(&directory, scale.made_count, sync_count),
        };
        cost.with_context(|| format!("{} in {}", self.title, directory.display()))
    }
}

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
