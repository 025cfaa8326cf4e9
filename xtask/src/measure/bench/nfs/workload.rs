//! The workloads: what is asked, what a right answer is, and the aims that we measure ourselves by.

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use super::connection::{
    BATCH, Connection, DEPTH, OVERLAP, Packed, Request, SLIDE, check_found, data_of, size_of,
};
use super::writing;
use crate::clients::nfs::{Call, Client, page};
use crate::measure::bench::frame;
use crate::measure::bench::ground::{
    self, BIG, CROWD, Export, NAME_COUNT, NAMES, Pattern, Place, STANDING, Scale, Seen,
};
use crate::measure::bench::load::{self, Refill};
use crate::measure::bench::table::{Aim, Of, Subject, Unit, What};

type Load = load::Load<Connection>;

/// A sequential READ.
const LARGE: u32 = 1 << 20;
/// A random READ.
const SMALL: u32 = 4096;
/// What a page of a directory may take, as common clients ask.
const PAGE: u32 = 64 << 10;

/// Titles of lines that others are compared with.
const GETATTR: &str = "GETATTR";
const CREATE_REMOVE: &str = "CREATE + REMOVE";
/// Ratio of CREATE and REMOVE to the file of before: 8.2 µs a call where that took 10.4.
const CREATE_REMOVE_BEFORE_MAX: f64 = 0.79;

/// One kind of request.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// The floor: what the network alone costs
    Null,
    /// Of sixteen files in turn
    Getattr,
    /// GETATTR with a second batch in flight
    GetattrOverlap,
    /// GETATTR, one call after the other
    GetattrAlone,
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
    /// Names made and removed by a server that `serve` started; tmpfs
    CreateRemoveServed,
    /// The same on ext4
    CreateRemoveExt4,
    /// The same where the kernel makes names durable, whatever the server does
    CreateRemoveSynced,
}

/// Servers that are started of each file of ours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `nfs` with kernel handles
    KernelHandles,
    /// `nfs` with path handles
    PathHandles,
    /// `serve` with kernel handles
    Served,
}

impl Kind {
    /// Every one, in the order of the variants.
    pub const ALL: [Self; 3] = [Self::KernelHandles, Self::PathHandles, Self::Served];
}

impl frame::Workload for Workload {
    fn subject(&self) -> Subject {
        let asked = |title: &str| Subject::new(title, Unit::Request);
        let listed = |title: &str| Subject::new(title, Unit::Entry);
        let moved = |title: &str| Subject::new(title, Unit::Byte);
        let of = |line, limit| Aim::at_most(limit).of(Of::Line(line));
        match self {
            Self::Null => asked("NULL"),
            Self::Getattr => asked(GETATTR).cpu(of("floor: fstat", 1.8)),
            Self::GetattrOverlap => asked("GETATTR, 32 in flight"),
            Self::GetattrAlone => asked("GETATTR, one at a time")
                .cpu(of("floor: fstat, one at a time", 1.3))
                .aim(What::Rate, Aim::at_least(1.0).of(Of::Peer)),
            Self::Lookup => asked("LOOKUP").cpu(of("floor: statx", 3.3)),
            Self::ReadRandom => asked("READ 4 KiB, random").cpu(of("floor: pread 4 KiB", 2.0)),
            Self::Read => moved("READ 1 MiB")
                .cpu(of("floor: sendfile 1 MiB", 1.9))
                .aim(What::Rate, Aim::at_least(1.3).of(Of::Peer)),
            Self::Readdir => listed("READDIR"),
            Self::Readdirplus => listed("READDIRPLUS").cpu(of("floor: getdents + statx", 1.8)),
            Self::ReaddirplusPath => {
                listed("READDIRPLUS, path handles").cpu(of("floor: getdents + statx", 1.2))
            }
            Self::Write => moved("WRITE + COMMIT").cpu(of("pwrite, new file", 2.0)),
            Self::WriteOver => moved("WRITE + COMMIT, in place").cpu(of("pwrite, in place", 2.2)),
            Self::WriteExt4 => moved("WRITE + COMMIT, ext4"),
            Self::CreateRemove => Subject {
                before_max: Some(CREATE_REMOVE_BEFORE_MAX),
                ..asked(CREATE_REMOVE)
                    .cpu(of(GETATTR, 3.7))
                    .cpu(of("open + unlink", 1.7))
            },
            Self::CreateRemoveServed => {
                asked("CREATE + REMOVE, serve").cpu(of(CREATE_REMOVE, 1.35).goal(1.15))
            }
            Self::CreateRemoveExt4 => asked("CREATE + REMOVE, ext4"),
            Self::CreateRemoveSynced => asked("CREATE + REMOVE, dirsync"),
        }
    }
}

impl Workload {
    /// The server of ours that is asked.
    pub fn server(self) -> Kind {
        match self {
            Self::ReaddirplusPath => Kind::PathHandles,
            Self::CreateRemoveServed => Kind::Served,
            _ => Kind::KernelHandles,
        }
    }

    /// Where it writes.
    pub fn place(self) -> Option<Place> {
        match self {
            Self::Write | Self::WriteOver | Self::CreateRemove | Self::CreateRemoveServed => {
                Some(Place::Tmpfs)
            }
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
            Self::Null => {
                let call = Packed::new(&Call::null());
                load.run(
                    count,
                    BATCH,
                    |_| Request::Packed(&call),
                    |_, results| {
                        ensure!(results.is_empty(), "NULL has results");
                        Ok(())
                    },
                )?;
            }
            Self::Getattr => get_attr(load, objects, count, BATCH)?,
            Self::GetattrOverlap => get_attr(load, objects, count, OVERLAP)?,
            Self::GetattrAlone => {
                let count = count / 4;
                get_attr(load, objects, count, Refill::Slide(1))?;
                return Ok(count);
            }
            Self::Lookup => {
                let call = |index| {
                    let name = ground::name(index);
                    Packed::new(&Call::lookup(&objects.names, name.as_bytes()))
                };
                let calls: Vec<_> = (0..NAME_COUNT).map(call).collect();
                load.run(
                    count,
                    BATCH,
                    |_| Request::Packed(&calls[random.u64(0..NAME_COUNT) as usize]),
                    |_, results| check_found(results),
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
            Self::CreateRemove
            | Self::CreateRemoveServed
            | Self::CreateRemoveExt4
            | Self::CreateRemoveSynced => {
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
            Self::CreateRemove
            | Self::CreateRemoveServed
            | Self::CreateRemoveExt4
            | Self::CreateRemoveSynced => writing::check_removed(client, self.dir(objects)?),
            _ => Ok(()),
        }
    }

    fn dir(self, objects: &Objects) -> Result<&[u8]> {
        let place = self.place().context("a workload that only reads")?;
        Ok(&objects.places[place as usize])
    }
}

/// GETATTRs of the empty files in turn.
fn get_attr(load: &mut Load, objects: &Objects, count: u64, refill: Refill) -> Result<()> {
    let calls: Vec<_> = objects
        .files
        .iter()
        .map(|file| Packed::new(&Call::get_attr(file)))
        .collect();
    load.run(
        count,
        refill,
        |index| Request::Packed(&calls[index as usize % DEPTH]),
        |_, results| {
            let size = size_of(results)?;
            ensure!(size == 0, "an empty file has {size} bytes");
            Ok(())
        },
    )
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
    let call = Packed::new(&Call::read(file, 0, size));
    load.run(
        count,
        refill,
        |index| Request::ReadAt(&call, start + offset(index)),
        |index, body| {
            let data = data_of(body)?;
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
