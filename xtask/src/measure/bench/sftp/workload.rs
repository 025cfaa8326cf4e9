//! The workloads: their requests, the checks of the replies, and their aims.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use super::session::{DEPTH, Reply, Session, ok};
use crate::clients::sftp::{self, Attrs, NameEntry, Request, Status, open};
use crate::measure::bench::load::{self, Refill};
use crate::measure::bench::table::{Subject, Unit};
use crate::measure::bench::workspace::{
    self, BIG, CHUNK, CROWD, Export, ListedNames, NAME_COUNT, NAMES, Pattern, STANDING, Scale,
    Workspace,
};

type Load = load::Load<Session>;

/// Length in bytes of most clients' READs and WRITEs.
const SMALL: u64 = 32 << 10;
/// Length in bytes of the READs and WRITEs of OpenSSH's client: the largest that its server supports.
const LARGE: u64 = 255 << 10;

/// Flags of an OPEN that creates or truncates the file, then writes.
const MAKE: u32 = open::WRITE | open::CREATE | open::TRUNCATE;

/// A workload. Files are in the page cache, on a tmpfs.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Sequential READs of 32 KiB of a large file
    Read32,
    /// Sequential READs of 255 KiB of a large file
    Read255,
    /// Sequential WRITEs of 32 KiB to a new file
    Write32,
    /// Sequential WRITEs of 255 KiB to a new file
    Write255,
    /// Sequential WRITEs of 32 KiB over an existing file
    Over32,
    /// Sequential WRITEs of 255 KiB over an existing file
    Over255,
    /// STAT of 1,000 names, 64 in flight
    Stat,
    /// STAT of 1,000 names, one after the other
    StatAlone,
    /// OPEN and CLOSE of 1,000 names, 64 in flight
    OpenClose,
    /// READDIR of a directory of 100,000 entries, one page after the other
    Readdir,
    /// Start of a server, from before the fork until VERSION has arrived
    Start,
}

impl Workload {
    /// Title, unit and aims.
    pub fn subject(self) -> Subject {
        let moved = |title| Subject::new(title, Unit::Byte);
        let asked = |title| Subject::new(title, Unit::Request);
        match self {
            Self::Read32 => moved("READ 32 KiB").cpu(0.92),
            Self::Read255 => moved("READ 255 KiB").cpu(0.92),
            Self::Write32 => moved("WRITE 32 KiB").cpu(1.0),
            Self::Write255 => moved("WRITE 255 KiB").cpu(1.0),
            Self::Over32 => moved("overwrite 32 KiB").cpu(1.0),
            Self::Over255 => moved("overwrite 255 KiB").cpu(1.0),
            Self::Stat => asked("STAT").cpu(0.7),
            Self::StatAlone => asked("STAT, one by one").cpu(1.0),
            Self::OpenClose => asked("OPEN + CLOSE").cpu(0.9),
            Self::Readdir => asked("READDIR").cpu(0.7),
            Self::Start => Subject::new("spawn to VERSION", Unit::Start).cpu(0.3),
        }
    }

    /// Runs one turn and returns the number of bytes, requests or entries.
    pub fn run(self, load: &mut Load, objects: &Objects, scale: &Scale) -> Result<u64> {
        let (bytes, count) = (scale.big_bytes, scale.request_count);
        match self {
            Self::Read32 => read(load, &objects.big, bytes, SMALL),
            Self::Read255 => read(load, &objects.big, bytes, LARGE),
            Self::Write32 => write(load, &objects.made, MAKE, objects, bytes, SMALL),
            Self::Write255 => write(load, &objects.made, MAKE, objects, bytes, LARGE),
            Self::Over32 => write(load, &objects.standing, open::WRITE, objects, bytes, SMALL),
            Self::Over255 => write(load, &objects.standing, open::WRITE, objects, bytes, LARGE),
            Self::Stat => stat(load, objects, count, DEPTH),
            Self::StatAlone => stat(load, objects, count, 1),
            Self::OpenClose => open_and_close(load, objects, count / 2),
            Self::Readdir => list(load, objects, scale.crowd_count),
            Self::Start => bail!("a start is not measured on a running server"),
        }
    }

    /// Checks the file that a turn wrote, and removes a file that it made.
    pub fn check(self, objects: &Objects, scale: &Scale) -> Result<()> {
        let bytes = scale.big_bytes;
        match self {
            Self::Write32 => objects.check(&objects.made, bytes, SMALL)?,
            Self::Write255 => objects.check(&objects.made, bytes, LARGE)?,
            Self::Over32 => return objects.check(&objects.standing, bytes, SMALL),
            Self::Over255 => return objects.check(&objects.standing, bytes, LARGE),
            _ => return Ok(()),
        }
        fs::remove_file(&objects.made).context("cannot remove the written file")
    }
}

/// Reads a file of `bytes` with READs of `step` bytes. Checks the length of each reply and the offset that its data comes from.
fn read(load: &mut Load, path: &Path, bytes: u64, step: u64) -> Result<u64> {
    let handle = load.open(path.as_os_str().as_bytes(), open::READ)?;
    load.run(
        bytes.div_ceil(step),
        Refill::Slide(DEPTH),
        |index| {
            let len = (bytes - index * step).min(step) as u32;
            Request::Read(&handle, index * step, len)
        },
        |index, reply| {
            let Reply::Data(data) = reply else {
                bail!("the reply to READ is {reply:?}")
            };
            let (start, end) = (index * step, (index * step + step).min(bytes));
            ensure!(
                data.len() as u64 == end - start,
                "READ {index} returned {} bytes instead of {}",
                data.len(),
                end - start
            );
            workspace::check_stamps(data, start)
        },
    )?;
    load.close(&handle)?;
    Ok(bytes)
}

/// Writes `bytes` of the pattern to a file, with WRITEs of `step` bytes.
fn write(
    load: &mut Load,
    path: &Path,
    flags: u32,
    objects: &Objects,
    bytes: u64,
    step: u64,
) -> Result<u64> {
    let handle = load.open(path.as_os_str().as_bytes(), flags)?;
    load.run(
        bytes.div_ceil(step),
        Refill::Slide(DEPTH),
        |index| Request::Write(&handle, index * step, objects.part(index, bytes, step)),
        ok,
    )?;
    load.close(&handle)?;
    Ok(bytes)
}

/// Sends `count` STATs of the names in turn, `depth` in flight.
fn stat(load: &mut Load, objects: &Objects, count: u64, depth: usize) -> Result<u64> {
    load.run(
        count,
        Refill::Batch(depth),
        |index| Request::Stat(objects.name(index)),
        |_, reply| match reply {
            Reply::Other(sftp::Reply::Attrs(it)) if it.size == Some(0) && it.mode.is_some() => {
                Ok(())
            }
            _ => bail!("the reply to STAT is {reply:?}"),
        },
    )?;
    Ok(count)
}

/// OPENs the names in turn, 64 in flight, and then CLOSEs these 64, until `count` files were opened.
fn open_and_close(load: &mut Load, objects: &Objects, count: u64) -> Result<u64> {
    let batches = count / DEPTH as u64;
    let mut handles = vec![Vec::new(); DEPTH];
    for batch in 0..batches {
        load.run(
            DEPTH as u64,
            Refill::Batch(DEPTH),
            |index| {
                let name = objects.name(batch * DEPTH as u64 + index);
                Request::Open(name, open::READ, Attrs::default())
            },
            |index, reply| {
                let Reply::Other(sftp::Reply::Handle(handle)) = reply else {
                    bail!("the reply to OPEN is {reply:?}")
                };
                handles[index as usize] = handle;
                Ok(())
            },
        )?;
        load.run(
            DEPTH as u64,
            Refill::Batch(DEPTH),
            |index| Request::Close(&handles[index as usize]),
            ok,
        )?;
    }
    Ok(batches * DEPTH as u64)
}

/// Lists the whole large directory. Each entry must be listed exactly once. Returns their number.
fn list(load: &mut Load, objects: &Objects, entry_count: u64) -> Result<u64> {
    let handle = load.open_dir(objects.crowd.as_os_str().as_bytes())?;
    let mut seen = ListedNames::of(entry_count);
    let mut eof = false;
    while !eof {
        load.run(
            1,
            Refill::Batch(1),
            |_| Request::ReadDir(&handle),
            |_, reply| {
                let entries = match reply {
                    Reply::Other(sftp::Reply::Name(entries)) => entries,
                    Reply::Other(sftp::Reply::Status(Status::EOF, _)) => {
                        eof = true;
                        return Ok(());
                    }
                    _ => bail!("the reply to READDIR is {reply:?}"),
                };
                ensure!(!entries.is_empty(), "READDIR returned no names and no EOF");
                for entry in &entries {
                    let NameEntry {
                        name,
                        long_name,
                        attrs,
                    } = entry;
                    let is_empty = attrs.size == Some(0) && long_name.ends_with(name);
                    ensure!(
                        !seen.add(name)? || is_empty,
                        "READDIR: {entry:?} is not an empty file"
                    );
                }
                Ok(())
            },
        )?;
    }
    load.close(&handle)?;
    seen.expect_all()
}

/// Paths of the files that the requests use, and the content to write.
pub struct Objects {
    big: PathBuf,
    crowd: PathBuf,
    names: Vec<PathBuf>,
    /// The file that a turn makes and writes.
    made: PathBuf,
    /// The existing file that a turn writes over.
    standing: PathBuf,
    /// Content that the next turn writes.
    pub pattern: Pattern,
}

impl Objects {
    /// Makes the paths. Each server has its own `seed`, so that bytes written by one server fail
    /// the check of another.
    pub fn new(workspace: &Workspace, scale: &Scale, seed: u64) -> Self {
        let tree = workspace.path(Export::Tree);
        let tmpfs = workspace.path(Export::Tmpfs);
        let names = tree.join(NAMES);
        Self {
            big: tree.join(BIG),
            crowd: tree.join(CROWD),
            names: (0..NAME_COUNT)
                .map(|index| names.join(workspace::name(index)))
                .collect(),
            made: tmpfs.join("made"),
            standing: tmpfs.join(STANDING),
            // Each WRITE uses the start of another chunk, so that no two WRITEs have equal data.
            pattern: Pattern::new(scale.big_bytes.div_ceil(SMALL) * CHUNK as u64, seed),
        }
    }

    fn name(&self, index: u64) -> &[u8] {
        let index = (index % NAME_COUNT) as usize;
        self.names[index].as_os_str().as_bytes()
    }

    /// Data of WRITE `index`.
    fn part(&self, index: u64, bytes: u64, step: u64) -> &[u8] {
        let len = step.min(bytes - index * step);
        &self.pattern.chunk(index)[..len as usize]
    }

    /// Reads the written file, without the server, and compares it with the pattern.
    fn check(&self, path: &Path, bytes: u64, step: u64) -> Result<()> {
        let file = File::open(path).context("cannot open the written file")?;
        let len = file.metadata()?.len();
        ensure!(
            len == bytes,
            "the written file has {len} bytes instead of {bytes}"
        );
        let mut found = vec![0; step as usize];
        for index in 0..bytes.div_ceil(step) {
            let written = self.part(index, bytes, step);
            let found = &mut found[..written.len()];
            file.read_exact_at(found, index * step)?;
            ensure!(
                found == written,
                "the file does not contain the data of WRITE {index}"
            );
        }
        Ok(())
    }
}
