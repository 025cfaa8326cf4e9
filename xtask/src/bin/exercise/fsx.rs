//! `exercise fsx FILE`: random reads, writes, appends, truncations and mappings of one file, each held against a model.
//!
//! After the manner of Apple's fsx. The seed that is printed repeats the same operations.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use fastrand::Rng;
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};

/// `exercise fsx`
#[derive(clap::Args)]
pub struct Args {
    /// The file to work on; it is made anew and left with the model's last content
    file: PathBuf,
    /// How many operations
    #[arg(long, default_value_t = 100_000)]
    operations: u64,
    /// The longest that the file becomes, in bytes
    #[arg(long, default_value_t = 128 * 1024)]
    size: usize,
    /// The most that one operation reads or writes, in bytes
    #[arg(long, default_value_t = 16 * 1024)]
    piece: usize,
    /// Also past the page cache, with O_DIRECT at offsets of any kind: not every file system takes that
    #[arg(long)]
    direct: bool,
    /// Without mappings, which not every file system has: reads and writes instead
    #[arg(long)]
    unmapped: bool,
    /// Repeat the run with this seed
    #[arg(long)]
    seed: Option<u64>,
}

/// How many operations an error shows.
const LAST_COUNT: usize = 20;

/// Runs all operations; the last line is the SHA-256 of what the file must contain then.
pub fn main(args: Args) -> Result<()> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let start = Instant::now();
    let mut run = Run {
        handles: Handles::open(&args.file, args.direct, true)?,
        model: Vec::new(),
        random: Rng::with_seed(seed),
        counts: BTreeMap::new(),
        last: VecDeque::new(),
        args: &args,
    };
    for number in 1..=args.operations {
        run.step().with_context(|| {
            let last: Vec<&str> = run.last.iter().map(String::as_str).collect();
            format!(
                "operation {number} with seed {seed}; the last were\n{}\n",
                last.join("\n")
            )
        })?;
    }
    run.handles.plain.sync_all()?;
    println!(
        "{} operations in {:.1} s: {:?}",
        args.operations,
        start.elapsed().as_secs_f64(),
        run.counts
    );
    println!("{}", crate::manifest::sum(&run.model));
    Ok(())
}

/// The file, opened in each way that it is used.
struct Handles {
    plain: File,
    appending: File,
    direct: Option<File>,
}

impl Handles {
    fn open(path: &Path, direct: bool, truncate: bool) -> Result<Self> {
        let open = |options: &mut OpenOptions| {
            options
                .open(path)
                .with_context(|| format!("cannot open {}", path.display()))
        };
        let plain = open(
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(truncate),
        )?;
        let appending = open(File::options().append(true))?;
        let direct = if direct {
            let flag = OFlag::O_DIRECT.bits();
            Some(open(
                File::options().read(true).write(true).custom_flags(flag),
            )?)
        } else {
            None
        };
        Ok(Self {
            plain,
            appending,
            direct,
        })
    }
}

struct Run<'a> {
    handles: Handles,
    model: Vec<u8>,
    random: Rng,
    counts: BTreeMap<&'static str, u64>,
    last: VecDeque<String>,
    args: &'a Args,
}

impl Run<'_> {
    /// One operation, and that the file is as long as the model.
    fn step(&mut self) -> Result<()> {
        match self.random.u32(..1000) {
            0..350 => self.read(),
            350..650 => self.write(),
            650..730 => self.append(),
            730..850 if self.args.unmapped => self.read(),
            850..966 if self.args.unmapped => self.write(),
            730..850 => self.map_and_read(),
            850..966 => self.map_and_write(),
            // These are rare: each makes a client send what it has, and wait.
            966..980 => self.truncate(),
            980..988 if self.args.direct => self.past_the_cache(),
            980..988 => self.read(),
            988..994 => self.sync(),
            994..997 => self.forget(),
            _ => self.open_again(),
        }?;
        let len = self.handles.plain.seek(SeekFrom::End(0))?;
        ensure!(
            len == self.model.len() as u64,
            "the file has {len} bytes, the model {}",
            self.model.len()
        );
        Ok(())
    }

    fn note(&mut self, name: &'static str, range: Range<usize>) {
        *self.counts.entry(name).or_default() += 1;
        if self.last.len() == LAST_COUNT {
            self.last.pop_front();
        }
        let len = self.model.len();
        self.last
            .push_back(format!("{name} {range:?} of {len} bytes"));
    }

    /// A piece of the largest file that there may be.
    fn range_anywhere(&mut self) -> Range<usize> {
        let start = self.random.usize(..self.args.size);
        let len = self
            .random
            .usize(1..=self.args.piece.min(self.args.size - start));
        start..start + len
    }

    /// A piece of the file as it is; none when it is empty.
    fn range_inside(&mut self) -> Option<Range<usize>> {
        let whole = self.model.len();
        if whole == 0 {
            return None;
        }
        let start = self.random.usize(..whole);
        let len = self.random.usize(1..=self.args.piece.min(whole - start));
        Some(start..start + len)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.random.fill(&mut bytes);
        bytes
    }

    /// What the file is told is what the model becomes; what lies between its end and the new piece is zero.
    fn remember(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.model.len() < end {
            self.model.resize(end, 0);
        }
        self.model[at..end].copy_from_slice(bytes);
    }

    /// `seen` was read where `range` begins; it ends where the file does.
    fn compare(&self, range: Range<usize>, seen: &[u8]) -> Result<()> {
        let end = range.end.min(self.model.len());
        let expected = self.model.get(range.start..end).unwrap_or_default();
        if expected == seen {
            return Ok(());
        }
        if expected.len() != seen.len() {
            bail!("{range:?} has {} bytes, not {}", seen.len(), expected.len());
        }
        let wrong = || (0..seen.len()).filter(|&at| seen[at] != expected[at]);
        let first = wrong().next().unwrap_or_default();
        bail!(
            "{range:?} differs in {} bytes, from {} on: it contains {:02x?} and not {:02x?}",
            wrong().count(),
            range.start + first,
            &seen[first..seen.len().min(first + 8)],
            &expected[first..seen.len().min(first + 8)],
        );
    }

    fn read(&mut self) -> Result<()> {
        let range = self.range_anywhere();
        self.note("read", range.clone());
        let seen = read_up_to(&self.handles.plain, &range)?;
        self.compare(range, &seen)
    }

    fn write(&mut self) -> Result<()> {
        let range = self.range_anywhere();
        self.note("write", range.clone());
        let bytes = self.bytes(range.len());
        self.handles
            .plain
            .write_all_at(&bytes, range.start as u64)?;
        self.remember(range.start, &bytes);
        Ok(())
    }

    fn append(&mut self) -> Result<()> {
        let start = self.model.len();
        let room = self.args.piece.min(self.args.size - start);
        if room == 0 {
            return self.truncate();
        }
        let len = self.random.usize(1..=room);
        self.note("append", start..start + len);
        let bytes = self.bytes(len);
        self.handles.appending.write_all(&bytes)?;
        self.remember(start, &bytes);
        Ok(())
    }

    /// Longer or shorter.
    fn truncate(&mut self) -> Result<()> {
        let len = self.random.usize(..=self.args.size);
        self.note("truncate", len..len);
        self.handles.plain.set_len(len as u64)?;
        self.model.resize(len, 0);
        Ok(())
    }

    fn map_and_read(&mut self) -> Result<()> {
        let Some(range) = self.range_inside() else {
            return self.append();
        };
        self.note("mapped read", range.clone());
        let map = map(&self.handles.plain)?;
        let seen = map.get(range.clone()).context("the mapping is too short")?;
        self.compare(range, seen)
    }

    fn map_and_write(&mut self) -> Result<()> {
        let Some(range) = self.range_inside() else {
            return self.append();
        };
        self.note("mapped write", range.clone());
        let bytes = self.bytes(range.len());
        let mut map = map(&self.handles.plain)?;
        map.get_mut(range.clone())
            .context("the mapping is too short")?
            .copy_from_slice(&bytes);
        if self.random.u8(..4) == 0 {
            map.flush()?;
        }
        self.remember(range.start, &bytes);
        Ok(())
    }

    /// Each such operation is one request to the server, at just this offset and of just this length.
    fn past_the_cache(&mut self) -> Result<()> {
        let range = self.range_anywhere();
        let bytes = self.bytes(range.len());
        // What was written through a mapping is the caller's to synchronize: open(2) says so.
        self.handles.plain.sync_all()?;
        let direct = self.handles.direct.as_ref().context("no O_DIRECT")?;
        if bytes[0].is_multiple_of(2) {
            direct.write_all_at(&bytes, range.start as u64)?;
            self.note("direct write", range.clone());
            self.remember(range.start, &bytes);
            Ok(())
        } else {
            let seen = read_up_to(direct, &range)?;
            self.note("direct read", range.clone());
            self.compare(range, &seen)
        }
    }

    fn sync(&mut self) -> Result<()> {
        self.note("sync", 0..self.model.len());
        if self.random.bool() {
            self.handles.plain.sync_all()?;
        } else {
            self.handles.plain.sync_data()?;
        }
        Ok(())
    }

    /// What is not in memory any more must come from where it is kept.
    fn forget(&mut self) -> Result<()> {
        self.note("forget", 0..self.model.len());
        self.handles.plain.sync_all()?;
        posix_fadvise(
            &self.handles.plain,
            0,
            0,
            PosixFadviseAdvice::POSIX_FADV_DONTNEED,
        )?;
        let seen = read_up_to(&self.handles.plain, &(0..self.model.len()))?;
        self.compare(0..self.model.len(), &seen)
    }

    fn open_again(&mut self) -> Result<()> {
        let truncate = self.random.u8(..8) == 0;
        self.note("open", 0..0);
        self.handles = Handles::open(&self.args.file, self.args.direct, truncate)?;
        if truncate {
            self.model.clear();
        }
        Ok(())
    }
}

/// As much of `range` as there is.
fn read_up_to(file: &File, range: &Range<usize>) -> Result<Vec<u8>> {
    let mut bytes = vec![0; range.len()];
    let mut have = 0;
    while have < bytes.len() {
        match file.read_at(&mut bytes[have..], (range.start + have) as u64)? {
            0 => break,
            count => have += count,
        }
    }
    bytes.truncate(have);
    Ok(bytes)
}

/// The whole file in memory, shared with everybody who maps or reads it.
#[allow(unsafe_code)]
fn map(file: &File) -> Result<memmap2::MmapMut> {
    // SAFETY: nobody else changes the file, and this process does not while it has a mapping of it.
    unsafe { memmap2::MmapMut::map_mut(file) }.context("cannot map the file")
}
