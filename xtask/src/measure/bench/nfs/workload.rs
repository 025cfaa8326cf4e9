//! The workloads: what is asked, what a right answer is, and the aims that we measure ourselves by.

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use super::connection::{BATCH, Connection, DEPTH, SLIDE};
use super::writing;
use crate::clients::nfs::nfs3::GETATTR3res;
use crate::clients::nfs::{Call, Client, data, found, ok, page, read as read_results};
use crate::measure::bench::frame;
use crate::measure::bench::ground::{
    self, BIG, CROWD, Export, NAME_COUNT, NAMES, Pattern, Place, STANDING, Scale, Seen,
};
use crate::measure::bench::load::{self, Refill};
use crate::measure::bench::table::{Aim, Subject, Unit, What};

type Load = load::Load<Connection>;
use cases::nfs3_types::xdr_codec::Void;

/// A sequential READ.
const LARGE: u32 = 1 << 20;
/// A random READ.
const SMALL: u32 = 4096;
/// What a page of a directory may take, as common clients ask.
const PAGE: u32 = 64 << 10;

/// One kind of request.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// The floor: what the network alone costs
    Null,
    /// Of sixteen files in turn
    Getattr,
    /// Of 1,000 names, in random order
    Lookup,
    /// 4 KiB anywhere in a large file
    ReadRandom,
    /// A large file from its beginning to its end, 1 MiB each
    Read,
    /// A directory of 100,000, one page after the other
    Readdir,
    /// The same with attributes and kernel handles
    Readdirplus,
    /// The same with path handles
    ReaddirplusPath,
    /// A new file from its beginning to its end, 1 MiB each, then COMMIT; tmpfs
    Write,
    /// The same over a file that is there
    WriteOver,
    /// A new file on ext4
    WriteExt4,
    /// Many names: made, then removed; tmpfs
    CreateRemove,
    /// The same on ext4
    CreateRemoveExt4,
    /// The same where the kernel makes names durable, whatever the server does
    CreateRemoveSynced,
}

impl frame::Workload for Workload {
    fn subject(&self) -> Subject {
        let asked = |title: &str| Subject::new(title, Unit::Request);
        let listed = |title: &str| Subject::new(title, Unit::Entry);
        let moved = |title: &str| Subject::new(title, Unit::Byte);
        match self {
            Self::Null => asked("NULL"),
            Self::Getattr => asked("GETATTR").cpu(3.5),
            Self::Lookup => asked("LOOKUP").cpu(6.0),
            Self::ReadRandom => asked("READ 4 KiB, random").cpu(6.0),
            Self::Read => moved("READ 1 MiB")
                .cpu(0.25)
                .aim(What::Rate, Aim::TimesPeer(1.3)),
            Self::Readdir => listed("READDIR"),
            Self::Readdirplus => listed("READDIRPLUS").cpu(3.2),
            Self::ReaddirplusPath => listed("READDIRPLUS, path handles").cpu(1.9),
            Self::Write => moved("WRITE + COMMIT").cpu(0.35),
            Self::WriteOver => moved("WRITE + COMMIT, in place").cpu(0.35),
            Self::WriteExt4 => moved("WRITE + COMMIT, ext4"),
            Self::CreateRemove => asked("CREATE + REMOVE").cpu(17.0),
            Self::CreateRemoveExt4 => asked("CREATE + REMOVE, ext4"),
            Self::CreateRemoveSynced => asked("CREATE + REMOVE, dirsync"),
        }
    }
}

impl Workload {
    /// Runs against our server with path handles.
    pub fn has_path_handles(self) -> bool {
        self == Self::ReaddirplusPath
    }

    /// Where it writes.
    pub fn place(self) -> Option<Place> {
        match self {
            Self::Write | Self::WriteOver | Self::CreateRemove => Some(Place::Tmpfs),
            Self::WriteExt4 | Self::CreateRemoveExt4 => Some(Place::Ext4),
            Self::CreateRemoveSynced => Some(Place::Ext4Synced),
            _ => None,
        }
    }

    /// One turn; how many units it was.
    pub fn run(self, load: &mut Load, objects: &Objects, scale: &Scale) -> Result<u64> {
        let count = scale.request_count;
        // The same seed every time: every server and every round is asked the same.
        let mut random = fastrand::Rng::with_seed(1);
        match self {
            Self::Null => load.run(
                count,
                BATCH,
                |_| Call::null(),
                |_, results| read_results::<Void>(results).map(drop),
            )?,
            Self::Getattr => load.run(
                count,
                BATCH,
                |index| Call::get_attr(&objects.files[index as usize % DEPTH]),
                |_, results| ok(read_results::<GETATTR3res>(results)?).map(drop),
            )?,
            Self::Lookup => {
                let names: Vec<String> = (0..NAME_COUNT).map(ground::name).collect();
                let order: Vec<usize> = (0..count)
                    .map(|_| random.u64(0..NAME_COUNT) as usize)
                    .collect();
                load.run(
                    count,
                    BATCH,
                    |index| Call::lookup(&objects.names, names[order[index as usize]].as_bytes()),
                    |_, results| found(results).map(drop),
                )?;
            }
            Self::ReadRandom => {
                let blocks = scale.big_bytes / u64::from(SMALL);
                let order: Vec<u64> = (0..count).map(|_| random.u64(0..blocks)).collect();
                read(load, &objects.big, 0, BATCH, count, SMALL, |index| {
                    order[index as usize] * u64::from(SMALL)
                })?;
            }
            Self::Read => {
                return read_through(load, &objects.big, 0, scale.big_bytes, LARGE);
            }
            Self::Readdir | Self::Readdirplus | Self::ReaddirplusPath => {
                return walk(
                    load,
                    &objects.crowd,
                    self != Self::Readdir,
                    scale.crowd_count,
                );
            }
            Self::Write | Self::WriteExt4 => {
                let dir = self.dir(objects)?;
                return writing::make_and_fill(load, dir, &objects.pattern, scale.big_bytes);
            }
            Self::WriteOver => {
                let file = &objects.standing;
                return writing::fill(load, file, &objects.pattern, scale.big_bytes);
            }
            Self::CreateRemove | Self::CreateRemoveExt4 | Self::CreateRemoveSynced => {
                return writing::create_and_remove(load, self.dir(objects)?, scale);
            }
        }
        Ok(count)
    }

    /// What a turn left behind is what it should have; what it made is removed.
    pub fn check(self, client: &mut Client, objects: &Objects, scale: &Scale) -> Result<()> {
        match self {
            Self::Write | Self::WriteExt4 => {
                let dir = self.dir(objects)?;
                writing::check_made(client, dir, &objects.pattern, scale.big_bytes)
            }
            Self::WriteOver => {
                let file = &objects.standing;
                writing::check_filled(client, file, &objects.pattern, scale.big_bytes)
            }
            Self::CreateRemove | Self::CreateRemoveExt4 | Self::CreateRemoveSynced => {
                writing::check_removed(client, self.dir(objects)?)
            }
            _ => Ok(()),
        }
    }

    fn dir(self, objects: &Objects) -> Result<&[u8]> {
        let place = self.place().context("a workload that only reads")?;
        Ok(&objects.places[place as usize])
    }
}

/// Reads a large file of `bytes`, which begins at `start` of what is asked, from its beginning to its end, `size` each.
pub fn read_through(
    load: &mut Load,
    file: &[u8],
    start: u64,
    bytes: u64,
    size: u32,
) -> Result<u64> {
    let step = u64::from(size);
    let count = bytes / step;
    read(load, file, start, SLIDE, count, size, |index| index * step)?;
    Ok(bytes)
}

/// READs of `size` bytes, each checked for its length and for bytes of the place that was asked for.
fn read(
    load: &mut Load,
    file: &[u8],
    start: u64,
    refill: Refill,
    count: u64,
    size: u32,
    offset: impl Fn(u64) -> u64,
) -> Result<()> {
    load.run(
        count,
        refill,
        |index| Call::read(file, start + offset(index), size),
        |index, body| {
            let (data, _) = data(body)?;
            ensure!(
                data.len() == size as usize,
                "READ of {size} bytes brought {}",
                data.len()
            );
            ground::check_stamps(data, offset(index))
        },
    )
}

/// Lists a large directory from its beginning to its end. Every entry must come exactly once.
pub fn walk(load: &mut Load, dir: &[u8], plus: bool, entry_count: u64) -> Result<u64> {
    let mut seen = Seen::of(entry_count);
    let (mut cookie, mut verifier, mut eof) = (0, [0; 8], false);
    while !eof {
        let ask = if plus {
            Call::read_dir_plus(dir, cookie, verifier, PAGE, PAGE)
        } else {
            Call::read_dir(dir, cookie, verifier, PAGE)
        };
        load.run(
            1,
            BATCH,
            |_| ask.clone(),
            |_, results| {
                let page = page(&ask, results)?;
                for entry in page.entries {
                    cookie = entry.cookie;
                    let is_whole = entry.attributes.is_some() && entry.handle.is_some();
                    ensure!(
                        !seen.add(&entry.name)? || !plus || is_whole,
                        "an entry has no attributes or no handle"
                    );
                }
                (verifier, eof) = (page.verifier, page.eof);
                Ok(())
            },
        )?;
    }
    seen.all()
}

/// Handles of what is asked for, and what is written.
pub struct Objects {
    big: Vec<u8>,
    names: Vec<u8>,
    files: Vec<Vec<u8>>,
    crowd: Vec<u8>,
    /// In the order of [`Place::ALL`].
    places: Vec<Vec<u8>>,
    /// The file that is written over.
    standing: Vec<u8>,
    /// What the next turn writes.
    pub pattern: Pattern,
}

impl Objects {
    /// Looks everything up; `roots` has one handle for each of [`Export::ALL`]; `seed` is of what is written.
    pub fn find(client: &mut Client, roots: &[Vec<u8>], scale: &Scale, seed: u64) -> Result<Self> {
        let root = &roots[Export::Tree as usize];
        let names = client.walk(root, NAMES)?;
        let files = (0..DEPTH as u64)
            .map(|index| client.walk(&names, &ground::name(index)))
            .collect::<Result<_>>()?;
        let places = Place::ALL
            .map(|place| client.walk(&roots[place.export() as usize], place.name()))
            .into_iter()
            .collect::<Result<_>>()?;
        Ok(Self {
            big: client.walk(root, BIG)?,
            crowd: client.walk(root, CROWD)?,
            names,
            files,
            places,
            standing: client.walk(&roots[Export::Tmpfs as usize], STANDING)?,
            pattern: Pattern::new(scale.big_bytes, seed),
        })
    }
}
