//! The workloads: what is asked, what a right answer is, and the aims that we measure ourselves by.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use super::packets::{Mode, Reply, Request};
use super::session::{DEPTH, Session, ok};
use crate::clients::sftp::Status;
use crate::measure::bench::ground::{
    self, BIG, CHUNK, CROWD, Export, Ground, NAME_COUNT, NAMES, Pattern, STANDING, Scale, Seen,
};
use crate::measure::bench::load::{self, Refill};
use crate::measure::bench::table::{Aim, Of, Subject, Unit};

type Load = load::Load<Session>;

/// What most clients read and write at once.
const SMALL: u64 = 32 << 10;
/// What OpenSSH's server reads and writes at most, and its own client asks for.
const LARGE: u64 = 255 << 10;

/// One kind of request. Files are in the page cache, on a tmpfs.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// A file from its beginning to its end, 32 KiB each
    Read32,
    /// The same, 255 KiB each
    Read255,
    /// A new file from its beginning to its end, 32 KiB each
    Write32,
    /// The same, 255 KiB each
    Write255,
    /// Over a file that is there, 32 KiB each
    Over32,
    /// The same, 255 KiB each
    Over255,
    /// Of 1,000 names, 64 requests at once
    Stat,
    /// The same, one after the other
    StatAlone,
    /// Of 1,000 names, 64 requests at once
    OpenClose,
    /// A directory of 100,000, one page after the other
    Readdir,
    /// From before the fork until VERSION is there
    Start,
}

impl Workload {
    /// What its figures say.
    pub fn subject(self) -> Subject {
        let moved = |title| Subject::new(title, Unit::Byte);
        let asked = |title| Subject::new(title, Unit::Request);
        let of_peer = |limit| Aim::at_most(limit).of(Of::Peer);
        // READs are copied since; only the peer counts.
        let read = |title| Subject {
            before_max: None,
            ..moved(title).cpu(of_peer(0.92).goal(0.85))
        };
        match self {
            Self::Read32 => read("READ 32 KiB"),
            Self::Read255 => read("READ 255 KiB"),
            Self::Write32 => moved("WRITE 32 KiB").cpu(of_peer(1.0)),
            Self::Write255 => moved("WRITE 255 KiB").cpu(of_peer(1.0)),
            Self::Over32 => moved("overwrite 32 KiB").cpu(of_peer(1.0)),
            Self::Over255 => moved("overwrite 255 KiB").cpu(of_peer(1.0)),
            Self::Stat => asked("STAT").cpu(of_peer(0.7)),
            Self::StatAlone => asked("STAT, one by one").cpu(of_peer(1.0)),
            Self::OpenClose => {
                let before = Aim::at_most(0.88).of(Of::Before).goal(0.8);
                let subject = asked("OPEN + CLOSE").cpu(of_peer(0.9)).cpu(before);
                Subject {
                    before_max: None,
                    ..subject
                }
            }
            Self::Readdir => Subject::new("READDIR", Unit::Entry).cpu(of_peer(0.7)),
            Self::Start => Subject::new("spawn to VERSION", Unit::Start).cpu(of_peer(0.3)),
        }
    }

    /// One turn; how many bytes, requests or entries it was.
    pub fn run(self, load: &mut Load, objects: &Objects, scale: &Scale) -> Result<u64> {
        let (bytes, count) = (scale.big_bytes, scale.request_count);
        match self {
            Self::Read32 => read(load, &objects.big, 0, bytes, SMALL, DEPTH),
            Self::Read255 => read(load, &objects.big, 0, bytes, LARGE, DEPTH),
            Self::Write32 => write(load, &objects.made, Mode::Make, objects, bytes, SMALL),
            Self::Write255 => write(load, &objects.made, Mode::Make, objects, bytes, LARGE),
            Self::Over32 => write(load, &objects.standing, Mode::Write, objects, bytes, SMALL),
            Self::Over255 => write(load, &objects.standing, Mode::Write, objects, bytes, LARGE),
            Self::Stat => stat(load, objects, count, DEPTH),
            Self::StatAlone => stat(load, objects, count, 1),
            Self::OpenClose => open_and_close(load, objects, count / 2),
            Self::Readdir => list(load, objects, scale.crowd_count),
            Self::Start => bail!("a running server does not start"),
        }
    }

    /// What a turn left behind is what it should have; what it made is removed.
    pub fn check(self, objects: &Objects, scale: &Scale) -> Result<()> {
        let bytes = scale.big_bytes;
        match self {
            Self::Write32 => objects.check(&objects.made, bytes, SMALL)?,
            Self::Write255 => objects.check(&objects.made, bytes, LARGE)?,
            Self::Over32 => return objects.check(&objects.standing, bytes, SMALL),
            Self::Over255 => return objects.check(&objects.standing, bytes, LARGE),
            _ => return Ok(()),
        }
        fs::remove_file(&objects.made).context("what was written is not there")
    }
}

/// READs of `step` bytes, as many as cover the `bytes` of a large file that begins at `from` of what is asked, each checked
/// for its length and for bytes of the right place.
pub fn read(
    load: &mut Load,
    path: &Path,
    from: u64,
    bytes: u64,
    step: u64,
    depth: usize,
) -> Result<u64> {
    let handle = load.open(path.as_os_str().as_bytes(), Mode::Read)?;
    load.run(
        bytes.div_ceil(step),
        Refill::Slide(depth),
        |index| Request::Read {
            handle: &handle,
            offset: from + index * step,
            len: (bytes - index * step).min(step) as u32,
        },
        |index, reply| {
            let Reply::Data(data) = reply else {
                bail!("READ is answered by {reply:?}")
            };
            let (start, end) = (index * step, (index * step + step).min(bytes));
            ensure!(
                data.len() as u64 == end - start,
                "READ {index} brought {} bytes",
                data.len()
            );
            ground::check_stamps(data, start)
        },
    )?;
    load.close(&handle)?;
    Ok(bytes)
}

/// Writes a file from its beginning to its end.
fn write(
    load: &mut Load,
    path: &Path,
    mode: Mode,
    objects: &Objects,
    bytes: u64,
    step: u64,
) -> Result<u64> {
    let handle = load.open(path.as_os_str().as_bytes(), mode)?;
    load.run(
        bytes.div_ceil(step),
        Refill::Slide(DEPTH),
        |index| Request::Write {
            handle: &handle,
            offset: index * step,
            data: objects.part(index, bytes, step),
        },
        ok,
    )?;
    load.close(&handle)?;
    Ok(bytes)
}

/// STATs of the names in turn.
pub fn stat(load: &mut Load, objects: &Objects, count: u64, depth: usize) -> Result<u64> {
    load.run(
        count,
        Refill::Batch(depth),
        |index| Request::Stat {
            path: objects.name(index),
        },
        |_, reply| match reply {
            Reply::Attrs(it) if it.size == Some(0) && it.mode.is_some() => Ok(()),
            _ => bail!("STAT is answered by {reply:?}"),
        },
    )?;
    Ok(count)
}

/// OPENs of the names in turn, 64 at once, and then as many CLOSEs.
pub fn open_and_close(load: &mut Load, objects: &Objects, count: u64) -> Result<u64> {
    let batches = count / DEPTH as u64;
    let mut handles = vec![Vec::new(); DEPTH];
    for batch in 0..batches {
        load.run(
            DEPTH as u64,
            Refill::Batch(DEPTH),
            |index| Request::Open {
                path: objects.name(batch * DEPTH as u64 + index),
                mode: Mode::Read,
            },
            |index, reply| {
                let Reply::Handle(handle) = reply else {
                    bail!("OPEN is answered by {reply:?}")
                };
                let place = &mut handles[index as usize];
                place.clear();
                place.extend(handle);
                Ok(())
            },
        )?;
        load.run(
            DEPTH as u64,
            Refill::Batch(DEPTH),
            |index| Request::Close {
                handle: &handles[index as usize],
            },
            ok,
        )?;
    }
    Ok(batches * DEPTH as u64)
}

/// Lists the large directory from its beginning to its end. Every entry must come exactly once.
pub fn list(load: &mut Load, objects: &Objects, entry_count: u64) -> Result<u64> {
    let handle = load.open_dir(objects.crowd.as_os_str().as_bytes())?;
    let mut seen = Seen::of(entry_count);
    let mut eof = false;
    while !eof {
        load.run(
            1,
            Refill::Batch(1),
            |_| Request::ReadDir { handle: &handle },
            |_, reply| {
                let names = match reply {
                    Reply::Names(names) => names,
                    Reply::Status(Status::EOF) => {
                        eof = true;
                        return Ok(());
                    }
                    _ => bail!("READDIR is answered by {reply:?}"),
                };
                let count = names.each(|name, attrs| {
                    ensure!(
                        !seen.add(name)? || attrs.size == Some(0),
                        "an entry has not its size"
                    );
                    Ok(())
                })?;
                ensure!(count > 0, "a page without names");
                Ok(())
            },
        )?;
    }
    load.close(&handle)?;
    seen.all()
}

/// Paths of what is asked for, and what is written.
pub struct Objects {
    big: PathBuf,
    crowd: PathBuf,
    names: Vec<PathBuf>,
    /// The file that is made and written.
    made: PathBuf,
    /// The file that is written over.
    standing: PathBuf,
    /// What the next turn writes.
    pub pattern: Pattern,
}

impl Objects {
    /// What one server wrote must not be taken for what another was to write: each has its own `seed`.
    pub fn new(ground: &Ground, scale: &Scale, seed: u64) -> Self {
        let tree = ground.path(Export::Tree);
        let tmpfs = ground.path(Export::Tmpfs);
        Self::below(&tree, &tmpfs, scale, seed)
    }

    /// The same as a server sees it that shows these directories under other names.
    pub fn below(tree: &Path, tmpfs: &Path, scale: &Scale, seed: u64) -> Self {
        let names = tree.join(NAMES);
        Self {
            big: tree.join(BIG),
            crowd: tree.join(CROWD),
            names: (0..NAME_COUNT)
                .map(|index| names.join(ground::name(index)))
                .collect(),
            made: tmpfs.join("made"),
            standing: tmpfs.join(STANDING),
            // The pattern has as many beginnings as there are WRITEs.
            pattern: Pattern::new(scale.big_bytes.div_ceil(SMALL) * CHUNK as u64, seed),
        }
    }

    /// READs of 32 KiB.
    pub fn read_some(&self, load: &mut Load, count: u64, depth: usize) -> Result<()> {
        read(load, &self.big, 0, count * SMALL, SMALL, depth).map(drop)
    }

    /// WRITEs of 32 KiB to the standing file.
    pub fn write_some(&self, load: &mut Load, count: u64) -> Result<()> {
        write(
            load,
            &self.standing,
            Mode::Write,
            self,
            count * SMALL,
            SMALL,
        )
        .map(drop)
    }

    fn name(&self, index: u64) -> &[u8] {
        let index = (index % NAME_COUNT) as usize;
        self.names[index].as_os_str().as_bytes()
    }

    /// What WRITE number `index` writes.
    fn part(&self, index: u64, bytes: u64, step: u64) -> &[u8] {
        let len = step.min(bytes - index * step);
        &self.pattern.chunk(index)[..len as usize]
    }

    fn check(&self, path: &Path, bytes: u64, step: u64) -> Result<()> {
        let file = File::open(path).context("what was written is not there")?;
        let len = file.metadata()?.len();
        ensure!(len == bytes, "the file has {len} bytes, not {bytes}");
        let mut found = vec![0; step as usize];
        for index in 0..bytes.div_ceil(step) {
            let written = self.part(index, bytes, step);
            let found = &mut found[..written.len()];
            file.read_exact_at(found, index * step)?;
            ensure!(found == written, "part {index} is not what was written");
        }
        Ok(())
    }
}
