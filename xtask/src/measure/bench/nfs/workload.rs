//! The workloads: their calls, the checks of the replies, and their aims.

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use super::connection::{BATCH, Connection, DEPTH, PAGE, Packed, Request, SLIDE};
use super::version4::{self, Session};
use super::writing;
use crate::clients::nfs::{Call, Client, body, data, page};
use crate::measure::bench::frame;
use crate::measure::bench::load::{self, Refill};
use crate::measure::bench::table::{CPU, RATE, Reference, Subject, Unit};
use crate::measure::bench::workspace::{
    self, BIG, CROWD, Export, ListedNames, NAME_COUNT, NAMES, Pattern, STANDING, Scale, Storage,
};

type Load = load::Load<Connection>;

/// Length of a sequential READ in bytes.
const LARGE: u32 = 1 << 20;
/// Length of a random READ in bytes.
const SMALL: u32 = 4096;

/// A workload.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// NULL: the cost of RPC and network alone
    Null,
    /// GETATTR of sixteen files in turn
    Getattr,
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
    /// Sequential WRITEs of 1 MiB to a new file on tmpfs, then COMMIT
    Write,
    /// Sequential WRITEs of 1 MiB over an existing file on tmpfs, then COMMIT
    WriteOver,
    /// Sequential WRITEs of 1 MiB to a new file on ext4, then COMMIT
    WriteExt4,
    /// CREATE of many files on tmpfs, then REMOVE
    CreateRemove,
    /// CREATE and REMOVE on ext4
    CreateRemoveExt4,
    /// NULL by NFS 4
    Null4,
    /// SEQUENCE, PUTFH and GETATTR of sixteen files in turn
    Getattr4,
    /// SEQUENCE, PUTFH and GETATTR, one call after the other
    GetattrAlone4,
    /// SEQUENCE, PUTFH, LOOKUP, GETFH and GETATTR of 1,000 names in random order
    Lookup4,
    /// SEQUENCE, PUTFH, OPEN and CLOSE of sixteen files in turn
    Open4,
    /// READs of 4 KiB by the state ID of an open, at random offsets of a large file
    ReadRandom4,
    /// WRITEs of 512 KiB over an existing file on tmpfs, by the state ID of an open
    Write4,
    /// SEQUENCE, PUTFH, OPEN that creates a file on tmpfs, CLOSE and REMOVE
    Change4,
    /// SEQUENCE, PUTFH, LOCK and LOCKU of 100 bytes of sixteen files in turn
    Lock4,
    /// READDIR by NFS 4.1 of a directory of 100,000 entries, one page after the other
    Readdir4,
}

/// A version of NFS.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Version {
    /// Version 3
    #[value(name = "3")]
    Three,
    /// Version 4.1
    #[value(name = "4.1")]
    Four,
}

impl frame::Workload for Workload {
    fn subject(&self) -> Subject {
        let asked = |title: &str| Subject::new(title, Unit::Request);
        let moved = |title: &str| Subject::new(title, Unit::Byte);
        match self {
            Self::Null => asked("NULL").cpu(0.15),
            Self::Getattr => asked("GETATTR").cpu(0.15),
            Self::GetattrAlone => {
                let subject = asked("GETATTR, one at a time").cpu(1.0);
                subject.gate(RATE, 1.0, Reference::Peer)
            }
            Self::Lookup => asked("LOOKUP").cpu(0.25),
            Self::ReadRandom => asked("READ 4 KiB, random").cpu(0.25),
            Self::Read => {
                let subject = moved("READ 1 MiB").cpu(0.8);
                subject.gate(RATE, 1.3, Reference::Peer)
            }
            Self::Readdir => asked("READDIR").cpu(0.9),
            // Without a gate: the peer caches attributes, stowaway asks the kernel for each.
            Self::Readdirplus => asked("READDIRPLUS"),
            Self::Write => moved("WRITE + COMMIT").cpu(0.8),
            Self::WriteOver => moved("WRITE + COMMIT, in place").cpu(0.8),
            Self::WriteExt4 => moved("WRITE + COMMIT, ext4").cpu(1.0),
            Self::CreateRemove => asked("CREATE + REMOVE").cpu(0.3),
            Self::CreateRemoveExt4 => asked("CREATE + REMOVE, ext4").cpu(1.0),
            Self::Null4 => asked("4.1: NULL").gate(CPU, 1.15, Reference::Line("NULL")),
            Self::Getattr4 => asked("4.1: GETATTR").gate(CPU, 1.15, Reference::Line("GETATTR")),
            Self::GetattrAlone4 => {
                let alone = "GETATTR, one at a time";
                asked("4.1: GETATTR, one at a time").gate(CPU, 1.15, Reference::Line(alone))
            }
            Self::Lookup4 => asked("4.1: LOOKUP").cpu(0.25),
            Self::Open4 => asked("4.1: OPEN + CLOSE").cpu(1.0),
            Self::ReadRandom4 => {
                let third = Reference::Line("READ 4 KiB, random");
                asked("4.1: READ 4 KiB, random").gate(CPU, 1.05, third)
            }
            Self::Write4 => moved("4.1: WRITE, in place").cpu(1.0),
            Self::Change4 => asked("4.1: OPEN, CLOSE, REMOVE").cpu(1.0),
            Self::Lock4 => asked("4.1: LOCK + LOCKU").cpu(1.0),
            Self::Readdir4 => asked("4.1: READDIR").cpu(0.9),
        }
    }
}

impl Workload {
    /// The version of the calls.
    pub const fn version(self) -> Version {
        match self {
            Self::Null4
            | Self::Getattr4
            | Self::GetattrAlone4
            | Self::Lookup4
            | Self::Open4
            | Self::ReadRandom4
            | Self::Write4
            | Self::Change4
            | Self::Lock4
            | Self::Readdir4 => Version::Four,
            _ => Version::Three,
        }
    }

    /// Runs one turn of an NFS 4.1 workload and returns the number of calls or entries.
    pub fn run_in(self, load: &mut Load, session: &mut Session, scale: &Scale) -> Result<u64> {
        let count = scale.request_count;
        match self {
            Self::Null4 => version4::call_null(load, count),
            Self::Getattr4 => session.get_attr(load, count, BATCH),
            Self::GetattrAlone4 => session.get_attr(load, count / 4, Refill::Slide(1)),
            Self::Lookup4 => session.look_up(load, count),
            Self::Open4 => session.open_and_close(load, count),
            Self::ReadRandom4 => session.read(load, count, SMALL, scale.big_bytes),
            Self::Write4 => session.write(load, scale.big_bytes),
            Self::Change4 => session.create_and_remove(load, count),
            Self::Lock4 => session.lock_and_unlock(load, count),
            Self::Readdir4 => session.walk(load, scale.crowd_count),
            _ => bail!("the workload is of version 3"),
        }
    }

    /// The directory that the workload changes; None if it only reads.
    pub fn storage(self) -> Option<Storage> {
        match self {
            Self::Write | Self::WriteOver | Self::CreateRemove => Some(Storage::Tmpfs),
            Self::WriteExt4 | Self::CreateRemoveExt4 => Some(Storage::Ext4),
            _ => None,
        }
    }

    /// Runs one turn and returns the number of bytes, calls or entries.
    pub fn run(self, load: &mut Load, objects: &Objects, scale: &Scale) -> Result<u64> {
        let count = scale.request_count;
        // A fixed seed: every server gets the same calls in every round.
        let mut random = fastrand::Rng::with_seed(1);
        match self {
            Self::Null => repeat(load, &[Call::null()], count, BATCH, |_| 0),
            Self::Getattr => get_attr(load, objects, count, BATCH),
            Self::GetattrAlone => get_attr(load, objects, count / 4, Refill::Slide(1)),
            Self::Lookup => {
                let names: Vec<_> = (0..NAME_COUNT).map(workspace::name).collect();
                let call = |name: &String| Call::lookup(&objects.names, name.as_bytes());
                let calls: Vec<_> = names.iter().map(call).collect();
                repeat(load, &calls, count, BATCH, |_| random.usize(..calls.len()))
            }
            Self::ReadRandom => {
                let blocks = scale.big_bytes / u64::from(SMALL);
                let offset = |_| random.u64(0..blocks) * u64::from(SMALL);
                let offsets: Vec<u64> = (0..count).map(offset).collect();
                read(load, &objects.big, BATCH, &offsets, SMALL)?;
                Ok(count)
            }
            Self::Read => {
                let step = LARGE as usize;
                let offsets: Vec<u64> = (0..scale.big_bytes).step_by(step).collect();
                read(load, &objects.big, SLIDE, &offsets, LARGE)?;
                Ok(scale.big_bytes)
            }
            Self::Readdir => walk(load, &objects.crowd, false, scale.crowd_count),
            Self::Readdirplus => walk(load, &objects.crowd, true, scale.crowd_count),
            Self::Write | Self::WriteExt4 => {
                let dir = self.dir(objects)?;
                writing::make_and_fill(load, dir, &objects.pattern, scale.big_bytes)
            }
            Self::WriteOver => {
                writing::fill(load, &objects.standing, &objects.pattern, scale.big_bytes)
            }
            Self::CreateRemove | Self::CreateRemoveExt4 => {
                writing::create_and_remove(load, self.dir(objects)?, scale)
            }
            _ => bail!("the workload is of version 4.1"),
        }
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
            Self::CreateRemove | Self::CreateRemoveExt4 => {
                writing::check_removed(client, self.dir(objects)?)
            }
            _ => Ok(()),
        }
    }

    /// Handle of the directory that the workload changes.
    fn dir(self, objects: &Objects) -> Result<&[u8]> {
        let storage = self.storage().context("the workload only reads")?;
        Ok(&objects.places[storage as usize])
    }
}

/// Sends each of `calls` and parses the reply completely. Then sends `count` of them, each the one that `choose` returns; the
/// replies must be equal to those before, because parsing each would take more CPU time than the server. Returns the number of
/// calls.
fn repeat(
    load: &mut Load,
    calls: &[Call<'_>],
    count: u64,
    refill: Refill,
    mut choose: impl FnMut(u64) -> usize,
) -> Result<u64> {
    let mut replies = vec![Vec::new(); calls.len()];
    let first_count = calls.len() as u64;
    let call = |index: u64| calls[index as usize].clone();
    load.run(first_count, refill, call, |index, results| {
        let procedure = calls[index as usize].procedure;
        body(procedure, results)?.ok()?;
        replies[index as usize] = results.to_vec();
        Ok(())
    })?;
    let order: Vec<_> = (0..count).map(&mut choose).collect();
    let packed: Vec<_> = calls.iter().map(Packed::new).collect();
    let call = |index: u64| Request::Packed(&packed[order[index as usize]]);
    load.run(count, refill, call, |index, results| {
        let expected = &replies[order[index as usize]];
        ensure!(
            results == expected,
            "{results:02x?} instead of {expected:02x?}"
        );
        Ok(())
    })?;
    Ok(first_count + count)
}

/// Sends `count` GETATTRs of the empty files in turn.
fn get_attr(load: &mut Load, objects: &Objects, count: u64, refill: Refill) -> Result<u64> {
    let files = objects.files.iter();
    let calls: Vec<_> = files.map(|file| Call::get_attr(file)).collect();
    repeat(load, &calls, count, refill, |index| {
        index as usize % calls.len()
    })
}

/// Sends READs of `size` bytes at `offsets`. Checks the length of each reply and the offset that its data comes from.
fn read(load: &mut Load, file: &[u8], refill: Refill, offsets: &[u64], size: u32) -> Result<()> {
    load.run(
        offsets.len() as u64,
        refill,
        |index| Call::read(file, offsets[index as usize], size),
        |index, results| {
            let (data, _) = data(results)?;
            ensure!(
                data.len() == size as usize,
                "READ of {size} bytes returned {}",
                data.len()
            );
            workspace::check_stamps(data, offsets[index as usize])
        },
    )
}

/// Lists a whole large directory, with READDIRPLUS if `plus`. Each entry must be listed exactly once. Returns their number.
fn walk(load: &mut Load, dir: &[u8], plus: bool, entry_count: u64) -> Result<u64> {
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
