//! The ground that the servers stand on: mounts of our own and what is read and written there; for NFS also a network and
//! three exports.
//!
//! The ext4 is an image in memory behind a loop device: every machine has it, it waits for no disk, and its figures do not
//! waver with one. All ends with this process; the rest of the machine does not see it.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::syncfs;
use tempfile::TempDir;

use super::Common;
use crate::machines::mounts;
use crate::setup::quietly;

/// The large file's name.
pub const BIG: &str = "big";
/// The large file repeats its offset, as eight bytes, little-endian, at every multiple of this.
pub const STAMP_STEP: usize = 4096;
/// The directory of [`NAME_COUNT`] files.
pub const NAMES: &str = "names";
/// How many files that directory has.
pub const NAME_COUNT: u64 = 1000;
/// The large directory's name.
pub const CROWD: &str = "crowd";

/// A file of the same size on the tmpfs that is written to.
pub const STANDING: &str = "standing";

/// Descriptors for us and for each server: the idle connections and some more.
const FILE_MAX: u64 = 16384;

/// What is written at once, in bytes.
pub const CHUNK: usize = 1 << 20;
/// Two chunks that follow each other begin this far apart in the pattern; so no two of a file are alike.
const STRIDE: usize = 64;
/// So many turns in a row write something else to the same place.
const SHIFT_MAX: usize = 16;

/// How large everything is.
#[derive(Clone, Copy)]
pub struct Scale {
    /// Of the large file.
    pub big_bytes: u64,
    /// In the large directory.
    pub crowd_count: u64,
    /// Small requests in a turn.
    pub request_count: u64,
    /// Names that are made and removed in a turn.
    pub made_count: u64,
}

impl Scale {
    /// For figures to be quoted.
    pub const FULL: Self = Self {
        big_bytes: 1 << 30,
        crowd_count: 100_000,
        request_count: 64_000,
        made_count: 8_000,
    };
    /// For a look.
    pub const QUICK: Self = Self {
        big_bytes: 1 << 28,
        crowd_count: 10_000,
        request_count: 16_000,
        made_count: 2_000,
    };

    /// Whether it is only for a look.
    pub fn is_quick(&self) -> bool {
        self.request_count < Self::FULL.request_count
    }

    /// What is asked for.
    pub fn of(common: &Common) -> Self {
        if common.quick {
            Self::QUICK
        } else {
            Self::FULL
        }
    }
}

/// What the servers export.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// The tree that is only read, on a tmpfs
    Tree,
    /// A tmpfs that is written to
    Tmpfs,
    /// An ext4 that is written to
    Ext4,
}

impl Export {
    /// Every one, in the order of the variants.
    pub const ALL: [Self; 3] = [Self::Tree, Self::Tmpfs, Self::Ext4];

    /// Its directory's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Tmpfs => "tmpfs",
            Self::Ext4 => "ext4",
        }
    }

    /// Whether clients may change it.
    pub fn is_writable(self) -> bool {
        self != Self::Tree
    }
}

/// A directory, empty at first, that is written to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the tmpfs
    Tmpfs,
    /// On the ext4
    Ext4,
    /// On the ext4; the kernel makes every change of its names durable before it returns (`chattr +D`)
    Ext4Synced,
}

impl Place {
    /// Every one, in the order of the variants.
    pub const ALL: [Self; 3] = [Self::Tmpfs, Self::Ext4, Self::Ext4Synced];

    /// Where it lies.
    pub fn export(self) -> Export {
        match self {
            Self::Tmpfs => Export::Tmpfs,
            Self::Ext4 | Self::Ext4Synced => Export::Ext4,
        }
    }

    /// Its name there.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tmpfs | Self::Ext4 => "plain",
            Self::Ext4Synced => "synced",
        }
    }
}

/// Name number `index` in the directory of names.
pub fn name(index: u64) -> String {
    format!("name-{index:04}")
}

/// Name number `index` in a large directory.
pub fn crowd_name(index: u64) -> String {
    format!("entry-{index:06}")
}

/// Makes a directory of so many empty files.
pub fn crowd(directory: &Path, count: u64) -> Result<()> {
    fs::create_dir_all(directory)?;
    for index in 0..count {
        File::create(directory.join(crowd_name(index)))?;
    }
    Ok(())
}

/// Which names of a large directory were listed: each must come exactly once.
pub struct Seen(Vec<bool>);

impl Seen {
    /// None yet.
    pub fn of(count: u64) -> Self {
        Self(vec![false; count as usize])
    }

    /// One was listed; false when it is the directory itself or the one above.
    pub fn add(&mut self, name: &[u8]) -> Result<bool> {
        if name == b"." || name == b".." {
            return Ok(false);
        }
        let index = str::from_utf8(name)
            .ok()
            .and_then(|name| name.strip_prefix("entry-")?.parse::<usize>().ok());
        let seen = index.and_then(|index| self.0.get_mut(index));
        let seen = seen.context("a name that nobody made")?;
        ensure!(!*seen, "{} came twice", name.escape_ascii());
        *seen = true;
        Ok(true)
    }

    /// All were; how many.
    pub fn all(self) -> Result<u64> {
        ensure!(
            self.0.iter().all(|seen| *seen),
            "not every entry was listed"
        );
        Ok(self.0.len() as u64)
    }
}

/// Whether `data` was read at `start` of a large file: the first and the last of the stamps that lie in it whole.
pub fn check_stamps(data: &[u8], start: u64) -> Result<()> {
    const STEP: u64 = STAMP_STEP as u64;
    let last = (start + data.len() as u64).saturating_sub(8);
    for at in [start.next_multiple_of(STEP), last / STEP * STEP] {
        // What is short may have none.
        let is_here = (start..=last).contains(&at);
        ensure!(
            !is_here || data[(at - start) as usize..].starts_with(&at.to_le_bytes()),
            "READ at {start} brought bytes of another place"
        );
    }
    Ok(())
}

/// What a large file is filled with.
pub struct Pattern {
    bytes: Vec<u8>,
    shift: usize,
}

impl Pattern {
    /// Enough for a file of `file_bytes`; another `seed` makes another pattern.
    pub fn new(file_bytes: u64, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let chunk_count = (file_bytes / CHUNK as u64) as usize;
        let len = CHUNK + STRIDE * (chunk_count + SHIFT_MAX);
        let mut bytes = vec![0; len];
        random.fill(&mut bytes);
        Self { bytes, shift: 0 }
    }

    /// Another content, so that what an earlier turn left is not taken for what the next one writes.
    pub fn turn(&mut self) {
        self.shift = (self.shift + 1) % SHIFT_MAX;
    }

    /// What [`CHUNK`] number `index` of the file holds.
    pub fn chunk(&self, index: u64) -> &[u8] {
        &self.bytes[STRIDE * (index as usize + self.shift)..][..CHUNK]
    }
}

/// The tmpfs that everything lies in or is mounted in. Unmounted when dropped.
pub struct Ground {
    directory: TempDir,
    /// Further directories that nfs-ganesha exports read-only.
    pub more: Vec<PathBuf>,
}

impl Ground {
    /// Leaves the machine's network and mounts for empty ones, and makes all exports there.
    pub fn new(scale: Scale) -> Result<Self> {
        setrlimit(Resource::RLIMIT_NOFILE, FILE_MAX, FILE_MAX)
            .context("cannot raise the limit of open files")?;
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a namespace for the network")?;
        quietly(Command::new("ip").args(["link", "set", "lo", "up"]))?;
        let ground = Self::in_memory(scale)?;
        ground
            .format(scale)
            .context("cannot make an ext4 in memory")?;
        for place in Place::ALL {
            fs::create_dir(ground.directory_of(place))?;
        }
        quietly(
            Command::new("chattr")
                .arg("+D")
                .arg(ground.directory_of(Place::Ext4Synced)),
        )?;
        Ok(ground)
    }

    /// Leaves the machine's mounts for ones of our own, and makes there the tree that is read and the tmpfs that is
    /// written to.
    pub fn in_memory(scale: Scale) -> Result<Self> {
        mounts::leave()?;
        // rpcbind and ganesha leave sockets and process ids here.
        mounts::mount("tmpfs", "mode=755", Path::new("/run"))?;

        let directory = TempDir::new().context("cannot make a directory to mount a tmpfs on")?;
        mounts::mount("tmpfs", "mode=755", directory.path())?;
        let ground = Self {
            directory,
            more: Vec::new(),
        };
        ground.plant(scale).with_context(|| {
            format!(
                "cannot make the tree of {} MiB in memory",
                scale.big_bytes >> 20
            )
        })?;
        let empty = ground.path(Export::Tmpfs);
        fs::create_dir(&empty)?;
        mounts::mount("tmpfs", "mode=755", &empty)?;
        fs::write(empty.join(STANDING), vec![0; scale.big_bytes as usize])?;
        Ok(ground)
    }

    /// Where an export lies.
    pub fn path(&self, export: Export) -> PathBuf {
        self.beside(export.name())
    }

    /// Writes back what changed in a place, so that the kernel's threads leave the next turn alone.
    pub fn settle(&self, place: Place) -> Result<()> {
        let path = self.directory_of(place);
        let directory =
            File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        syncfs(&directory).with_context(|| format!("cannot sync {}", path.display()))
    }

    /// A place beside the exports.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where a place lies.
    pub fn directory_of(&self, place: Place) -> PathBuf {
        self.path(place.export()).join(place.name())
    }

    fn plant(&self, scale: Scale) -> Result<()> {
        let export = self.path(Export::Tree);
        fs::create_dir(&export)?;
        let mut big = File::create(export.join(BIG))?;
        let mut block = vec![0; 1 << 20];
        for start in (0..scale.big_bytes).step_by(block.len()) {
            for (at, page) in (start..)
                .step_by(STAMP_STEP)
                .zip(block.chunks_mut(STAMP_STEP))
            {
                page[..8].copy_from_slice(&at.to_le_bytes());
            }
            big.write_all(&block)?;
        }
        fs::create_dir(export.join(NAMES))?;
        for index in 0..NAME_COUNT {
            File::create(export.join(NAMES).join(name(index)))?;
        }
        crowd(&export.join(CROWD), scale.crowd_count)
    }

    fn format(&self, scale: Scale) -> Result<()> {
        let image = self.beside("ext4.image");
        // Room for the written file, and for the one before it until the journal has let it go.
        File::create(&image)?.set_len(2 * scale.big_bytes)?;
        quietly(
            Command::new("mkfs.ext4")
                // What is put off here would be done during the measurement.
                .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
                .arg(&image),
        )?;
        let export = self.path(Export::Ext4);
        fs::create_dir(&export)?;
        mounts::mount_file(&image, &export)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Detached at once, it goes when the servers have closed it. If not, the namespace's end does the same.
        let _ = umount2(self.directory.path(), MntFlags::MNT_DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_chunks_of_turns_and_servers_are_alike() {
        let mut seen = HashSet::new();
        for seed in [1, 2] {
            let mut pattern = Pattern::new(8 * CHUNK as u64, seed);
            for _ in 0..3 {
                let before = pattern.chunk(5).to_vec();
                pattern.turn();
                assert_ne!(pattern.chunk(5), before);
            }
            seen.extend((0..8).map(|index| pattern.chunk(index).to_vec()));
        }
        assert_eq!(seen.len(), 16);
    }
}
