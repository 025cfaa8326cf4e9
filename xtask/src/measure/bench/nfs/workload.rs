//! The workloads: their calls, the checks of the replies, and their aims.

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use super::connection::{
    BATCH, Connection, DEPTH, OVERLAP, Packed, Request, SLIDE, check_found, data_of, size_of,
};
use super::writing;
use crate::clients::nfs::{Call, Client, page};
use crate::measure::bench::frame;
use crate::measure::bench::load::{self, Refill};
use crate::measure::bench::table::{Aim, Metric, Reference, Subject, Unit};
use crate::measure::bench::workspace::{
    self, BIG, CROWD, Export, ListedNames, NAME_COUNT, NAMES, Pattern, STANDING, Scale, Storage,
};

type Load = load::Load<Connection>;

/// Length of a sequential READ in bytes.
const LARGE: u32 = 1 << 20;
/// Length of a random READ in bytes.
const SMALL: u32 = 4096;
/// Largest reply (bytes) that READDIR and READDIRPLUS ask for: the size that common clients use.
const PAGE: u32 = 64 << 10;

/// Titles of lines to which other lines' aims refer.
const GETATTR: &str = "GETATTR";
const CREATE_REMOVE: &str = "CREATE + REMOVE";
/// Aim for CREATE + REMOVE: largest ratio of the server's CPU time per call to that of the server in the `--against` file.
/// 0.79 is 8.2 µs divided by 10.4 µs.
const CREATE_REMOVE_BEFORE_MAX: f64 = 0.79;

/// A workload.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// NULL: the cost of RPC and network alone
    Null,
    /// GETATTR of sixteen files in turn
    Getattr,
    /// GETATTR with a second batch in flight
    GetattrOverlap,
    /// GETATTR, one call after the other
    GetattrAlone,
    /// LOOKUP of 1,000 names in random order
    Lookup,
    /// READs of 4 KiB at random offsets of a large file
    ReadRandom,
    /// Sequential READs of 1 MiB of a large file
    Read,
    /// READDIR of a directory of 100,000 entries, one page after the other
    Readdir,
    /// READDIRPLUS of that directory, with kernel handles
    Readdirplus,
    /// READDIRPLUS of that directory, with path handles
    ReaddirplusPath,
    /// Sequential WRITEs of 1 MiB to a new file on tmpfs, then COMMIT
    Write,
    /// Sequential WRITEs of 1 MiB over an existing file on tmpfs, then COMMIT
    WriteOver,
    /// Sequential WRITEs of 1 MiB to a new file on ext4, then COMMIT
    WriteExt4,
    /// CREATE of many files on tmpfs, then REMOVE
    CreateRemove,
    /// CREATE and REMOVE on tmpfs, with a server that `serve` started
    CreateRemoveServed,
    /// CREATE and REMOVE on ext4
    CreateRemoveExt4,
    /// CREATE and REMOVE in a directory that the kernel syncs with each change (`chattr +D`)
    CreateRemoveSynced,
}

/// The kinds of servers that the bench starts from each file of stowaway.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    /// `nfs` with kernel handles
    KernelHandles,
    /// `nfs` with path handles
    PathHandles,
    /// `serve` with kernel handles
    Served,
}

impl ServerKind {
    /// All kinds of servers, in the order of the variants.
    pub const ALL: [Self; 3] = [Self::KernelHandles, Self::PathHandles, Self::Served];
}

impl frame::Workload for Workload {
    fn subject(&self) -> Subject {
        let asked = |title: &str| Subject::new(title, Unit::Request);
        let listed = |title: &str| Subject::new(title, Unit::Entry);
        let moved = |title: &str| Subject::new(title, Unit::Byte);
        let of = |line, limit| Aim::at_most(limit).relative_to(Reference::Line(line));
        match self {
            Self::Null => asked("NULL"),
            Self::Getattr => asked(GETATTR).cpu(of("floor: fstat", 1.8)),
            Self::GetattrOverlap => asked("GETATTR, 32 in flight"),
            Self::GetattrAlone => asked("GETATTR, one at a time")
                .cpu(of("floor: fstat, one at a time", 1.3))
                .aim(
                    Metric::Rate,
                    Aim::at_least(1.0).relative_to(Reference::Peer),
                ),
            Self::Lookup => asked("LOOKUP").cpu(of("floor: statx", 3.3)),
            Self::ReadRandom => asked("READ 4 KiB, random").cpu(of("floor: pread 4 KiB", 2.0)),
            Self::Read => moved("READ 1 MiB")
                .cpu(of("floor: sendfile 1 MiB", 1.9))
                .aim(
                    Metric::Rate,
                    Aim::at_least(1.3).relative_to(Reference::Peer),
                ),
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
    /// The server of stowaway that the workload runs on.
    pub fn server(self) -> ServerKind {
        match self {
            Self::ReaddirplusPath => ServerKind::PathHandles,
            Self::CreateRemoveServed => ServerKind::Served,
            _ => ServerKind::KernelHandles,
        }
    }

    /// The directory that the workload changes; None if it only reads.
    pub fn storage(self) -> Option<Storage> {
        match self {
            Self::Write | Self::WriteOver | Self::CreateRemove | Self::CreateRemoveServed => {
                Some(Storage::Tmpfs)
            }
            Self::WriteExt4 | Self::CreateRemoveExt4 => Some(Storage::Ext4),
            Self::CreateRemoveSynced => Some(Storage::Ext4Synced),
            _ => None,
        }
    }

    /// Runs one turn and returns the number of bytes, calls or entries.
    pub fn run(self, load: &mut Load, objects: &Objects, scale: &Scale) -> Result<u64> {
        let count = scale.request_count;
        // A fixed seed: every server gets the same calls in every round.
        let mut random = fastrand::Rng::with_seed(1);
        match self {
            Self::Null => {
                let call = Packed::new(&Call::null());
                load.run(
                    count,
                    BATCH,
                    |_| Request::Packed(&call),
                    |_, results| {
                        ensure!(results.is_empty(), "the reply to NULL has results");
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
                    let name = workspace::name(index);
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

    /// Checks the files that a turn wrote or removed, and removes those that it made.
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

    /// Handle of the directory that the workload changes.
    fn dir(self, objects: &Objects) -> Result<&[u8]> {
        let storage = self.storage().context("the workload only reads")?;
        Ok(&objects.places[storage as usize])
    }
}

/// Sends `count` GETATTRs of the empty files in turn.
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
            ensure!(
                size == 0,
                "GETATTR of an empty file returned a size of {size} bytes"
            );
            Ok(())
        },
    )
}

/// Reads a large file of `bytes`, which begins at offset `start` of `file`, with sequential READs of `size` bytes.
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

/// Sends `count` READs of `size` bytes. Checks the length of each reply and the offset that its data comes from.
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
                "READ of {size} bytes returned {}",
                data.len()
            );
            workspace::check_stamps(data, offset(index))
        },
    )
}

/// Lists a whole large directory, with READDIRPLUS if `plus`. Each entry must be listed exactly once. Returns their number.
pub fn walk(load: &mut Load, dir: &[u8], plus: bool, entry_count: u64) -> Result<u64> {
    let mut seen = ListedNames::of(entry_count);
    let (mut cookie, mut verifier, mut eof) = (0, [0; 8], false);
    while !eof {
        let call = if plus {
            Call::read_dir_plus(dir, cookie, verifier, PAGE, PAGE)
        } else {
            Call::read_dir(dir, cookie, verifier, PAGE)
        };
        load.run(
            1,
            BATCH,
            |_| call.clone(),
            |_, results| {
                let page = page(&call, results)?;
                for entry in page.entries {
                    cookie = entry.cookie;
                    let is_whole = entry.attributes.is_some() && entry.handle.is_some();
                    ensure!(
                        !seen.add(&entry.name)? || !plus || is_whole,
                        "READDIRPLUS: {:?} has no attributes or no handle",
                        entry.name.escape_ascii()
                    );
                }
                (verifier, eof) = (page.verifier, page.eof);
                Ok(())
            },
        )?;
    }
    seen.expect_all()
}

/// Handles of the files that the calls use, and the content to write.
pub struct Objects {
    big: Vec<u8>,
    names: Vec<u8>,
    files: Vec<Vec<u8>>,
    crowd: Vec<u8>,
    /// Handles of the writable directories, in the order of [`Storage::ALL`].
    places: Vec<Vec<u8>>,
    /// Handle of the existing file that a turn writes over.
    standing: Vec<u8>,
    /// Content that the next turn writes.
    pub pattern: Pattern,
}

impl Objects {
    /// Looks up all files. `roots` has the root handles in the order of [`Export::ALL`]; `seed` is the seed of the pattern.
    pub fn find(client: &mut Client, roots: &[Vec<u8>], scale: &Scale, seed: u64) -> Result<Self> {
        let root = &roots[Export::Tree as usize];
        let names = client.walk(root, NAMES)?;
        let files = (0..DEPTH as u64)
            .map(|index| client.walk(&names, &workspace::name(index)))
            .collect::<Result<_>>()?;
        let places = Storage::ALL
            .map(|storage| client.walk(&roots[storage.export() as usize], storage.name()))
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
