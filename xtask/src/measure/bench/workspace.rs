//! The file systems that benched servers export and the files in them, in a mount namespace of this process; for NFS also a
//! network namespace.
//!
//! The ext4 is an image in memory behind a loop device: it works on every machine, and its figures do not depend on a disk. Other
//! processes of the machine do not see the mounts, which end with this process.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::syncfs;
use tempfile::TempDir;

use super::Common;
use crate::machines::mounts;
use crate::setup::run_captured;

/// The large file's name.
pub const BIG: &str = "big";
/// The large file has a stamp at every multiple of this: its offset there in eight bytes, little-endian.
pub const STAMP_STEP: usize = 4096;
/// The directory of [`NAME_COUNT`] files.
pub const NAMES: &str = "names";
/// Number of files in the directory [`NAMES`].
pub const NAME_COUNT: u64 = 1000;
/// The large directory's name.
pub const CROWD: &str = "crowd";

/// Name of a file on the writable tmpfs that workloads write over; as large as the large file.
pub const STANDING: &str = "standing";

/// Limit of open files (RLIMIT_NOFILE) of this process and of each server: enough for the idle connections.
const FILE_MAX: u64 = 16384;

/// Size of a WRITE in bytes.
pub const CHUNK: usize = 1 << 20;
/// Distance (bytes) between the starts of successive chunks in the pattern. Chunks overlap, but no two chunks of a file are equal.
const STRIDE: usize = 64;
/// Number of successive turns that write different bytes to the same offset.
const SHIFT_MAX: usize = 16;

/// Sizes of files and directories, and numbers of requests.
#[derive(Clone, Copy)]
pub struct Scale {
    /// Size of the large file in bytes.
    pub big_bytes: u64,
    /// Number of entries of the large directory.
    pub crowd_count: u64,
    /// Number of small requests in a turn.
    pub request_count: u64,
    /// Number of names created and removed in a turn.
    pub made_count: u64,
}

impl Scale {
    /// Scale for figures that may be published.
    pub const FULL: Self = Self {
        big_bytes: 1 << 30,
        crowd_count: 100_000,
        request_count: 64_000,
        made_count: 8_000,
    };
    /// Scale of `--quick`.
    pub const QUICK: Self = Self {
        big_bytes: 1 << 28,
        crowd_count: 10_000,
        request_count: 16_000,
        made_count: 2_000,
    };

    /// Returns true if this is the scale of `--quick`.
    pub fn is_quick(&self) -> bool {
        self.request_count < Self::FULL.request_count
    }

    /// Duration of a measurement whose load does not end by itself.
    pub fn span(&self) -> Duration {
        Duration::from_secs(if self.is_quick() { 1 } else { 3 })
    }

    /// The scale for these arguments: [`Self::QUICK`] with `--quick`, else [`Self::FULL`].
    pub fn of(common: &Common) -> Self {
        if common.quick {
            Self::QUICK
        } else {
            Self::FULL
        }
    }
}

/// A directory that the servers export.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// A read-only tree on a tmpfs
    Tree,
    /// A writable tmpfs
    Tmpfs,
    /// A writable ext4
    Ext4,
}

impl Export {
    /// All exports, in the order of the variants.
    pub const ALL: [Self; 3] = [Self::Tree, Self::Tmpfs, Self::Ext4];

    /// Name of the export's directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Tmpfs => "tmpfs",
            Self::Ext4 => "ext4",
        }
    }

    /// Returns true if clients may write to the export.
    pub fn is_writable(self) -> bool {
        self != Self::Tree
    }
}

/// A directory for workloads that write; empty at first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// On the tmpfs
    Tmpfs,
    /// On the ext4
    Ext4,
}

impl Storage {
    /// All directories, in the order of the variants.
    pub const ALL: [Self; 2] = [Self::Tmpfs, Self::Ext4];

    /// The export that contains the directory.
    pub fn export(self) -> Export {
        match self {
            Self::Tmpfs => Export::Tmpfs,
            Self::Ext4 => Export::Ext4,
        }
    }

    /// Name of the directory in its export.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tmpfs | Self::Ext4 => "plain",
        }
    }
}

/// Name of file `index` in the directory [`NAMES`].
pub fn name(index: u64) -> String {
    format!("name-{index:04}")
}

/// Name of entry `index` in a large directory.
pub fn crowd_name(index: u64) -> String {
    format!("entry-{index:06}")
}

/// Creates a directory of `count` empty files.
pub fn crowd(directory: &Path, count: u64) -> Result<()> {
    fs::create_dir_all(directory)?;
    for index in 0..count {
        File::create(directory.join(crowd_name(index)))?;
    }
    Ok(())
}

/// Records which entries of a large directory were listed, and checks that each is listed exactly once.
pub struct ListedNames(Vec<bool>);

impl ListedNames {
    /// A directory of `count` entries, none of them listed yet.
    pub fn of(count: u64) -> Self {
        Self(vec![false; count as usize])
    }

    /// Records a listed name. Returns false for `.` and `..`. Fails for an unknown name and for a repeated one.
    pub fn add(&mut self, name: &[u8]) -> Result<bool> {
        if name == b"." || name == b".." {
            return Ok(false);
        }
        let index = str::from_utf8(name)
            .ok()
            .and_then(|name| name.strip_prefix("entry-")?.parse::<usize>().ok());
        let seen = index.and_then(|index| self.0.get_mut(index));
        let seen = seen
            .with_context(|| format!("listed {:?}, which does not exist", name.escape_ascii()))?;
        ensure!(!*seen, "{} was listed twice", name.escape_ascii());
        *seen = true;
        Ok(true)
    }

    /// Fails unless every entry was listed; returns their number.
    pub fn expect_all(self) -> Result<u64> {
        ensure!(
            self.0.iter().all(|seen| *seen),
            "not every entry was listed"
        );
        Ok(self.0.len() as u64)
    }
}

/// Fails unless `data` was read at offset `start` of a large file. Checks the first and the last stamp that `data` contains whole.
pub fn check_stamps(data: &[u8], start: u64) -> Result<()> {
    const STEP: u64 = STAMP_STEP as u64;
    let last = (start + data.len() as u64).saturating_sub(8);
    for offset in [start.next_multiple_of(STEP), last / STEP * STEP] {
        // A short READ may contain no whole stamp.
        let is_inside = (start..=last).contains(&offset);
        ensure!(
            !is_inside || data[(offset - start) as usize..].starts_with(&offset.to_le_bytes()),
            "READ at offset {start} returned bytes of another offset"
        );
    }
    Ok(())
}

/// Random bytes with which a large file is filled.
pub struct Pattern {
    bytes: Vec<u8>,
    shift: usize,
}

impl Pattern {
    /// A pattern for a file of `file_bytes`. Patterns of different seeds differ.
    pub fn new(file_bytes: u64, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let chunk_count = (file_bytes / CHUNK as u64) as usize;
        let len = CHUNK + STRIDE * (chunk_count + SHIFT_MAX);
        let mut bytes = vec![0; len];
        random.fill(&mut bytes);
        Self { bytes, shift: 0 }
    }

    /// Changes the content, so that bytes left by an earlier turn do not pass as those of the next one.
    pub fn turn(&mut self) {
        self.shift = (self.shift + 1) % SHIFT_MAX;
    }

    /// Content of the file's chunk `index`, of [`CHUNK`] bytes.
    pub fn chunk(&self, index: u64) -> &[u8] {
        &self.bytes[STRIDE * (index as usize + self.shift)..][..CHUNK]
    }
}

/// The tmpfs that contains all files and mount points of a bench. Unmounted on drop.
pub struct Workspace {
    directory: TempDir,
    /// More directories for nfs-ganesha to export, read-only.
    pub more: Vec<PathBuf>,
}

impl Workspace {
    /// Enters a new network namespace and a new mount namespace, and makes all exports.
    pub fn new(scale: Scale) -> Result<Self> {
        setrlimit(Resource::RLIMIT_NOFILE, FILE_MAX, FILE_MAX)
            .context("cannot raise the limit of open files")?;
        unshare(CloneFlags::CLONE_NEWNET).context("cannot create a network namespace")?;
        run_captured(Command::new("ip").args(["link", "set", "lo", "up"]))?;
        let workspace = Self::in_memory(scale)?;
        workspace
            .make_ext4(scale)
            .context("cannot make an ext4 in memory")?;
        for storage in Storage::ALL {
            fs::create_dir(workspace.directory_of(storage))?;
        }
        Ok(workspace)
    }

    /// Enters a new mount namespace, and makes the read-only tree and the writable tmpfs there.
    pub fn in_memory(scale: Scale) -> Result<Self> {
        mounts::enter_private_namespace()?;
        // rpcbind and ganesha write their sockets and PID files to /run.
        mounts::mount("tmpfs", "mode=755", Path::new("/run"))?;

        let directory = TempDir::new().context("cannot make a directory to mount a tmpfs on")?;
        mounts::mount("tmpfs", "mode=755", directory.path())?;
        let workspace = Self {
            directory,
            more: Vec::new(),
        };
        workspace.make_tree(scale).with_context(|| {
            format!(
                "cannot make the tree of {} MiB in memory",
                scale.big_bytes >> 20
            )
        })?;
        let tmpfs = workspace.path(Export::Tmpfs);
        fs::create_dir(&tmpfs)?;
        mounts::mount("tmpfs", "mode=755", &tmpfs)?;
        fs::write(tmpfs.join(STANDING), vec![0; scale.big_bytes as usize])?;
        Ok(workspace)
    }

    /// Path of an export.
    pub fn path(&self, export: Export) -> PathBuf {
        self.scratch_path(export.name())
    }

    /// Syncs the file system of `storage` after a turn, so that the kernel's writeback does not disturb the next one.
    pub fn sync(&self, storage: Storage) -> Result<()> {
        let path = self.directory_of(storage);
        let directory =
            File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        syncfs(&directory).with_context(|| format!("cannot sync {}", path.display()))
    }

    /// Path of a file or directory in the tmpfs, beside the directories of [`Export`].
    pub fn scratch_path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Path of a writable directory.
    pub fn directory_of(&self, storage: Storage) -> PathBuf {
        self.path(storage.export()).join(storage.name())
    }

    /// Makes the large file, the directory of names and the large directory.
    fn make_tree(&self, scale: Scale) -> Result<()> {
        let export = self.path(Export::Tree);
        fs::create_dir(&export)?;
        let mut big = File::create(export.join(BIG))?;
        let mut block = vec![0; 1 << 20];
        for start in (0..scale.big_bytes).step_by(block.len()) {
            for (offset, page) in (start..)
                .step_by(STAMP_STEP)
                .zip(block.chunks_mut(STAMP_STEP))
            {
                page[..8].copy_from_slice(&offset.to_le_bytes());
            }
            big.write_all(&block)?;
        }
        fs::create_dir(export.join(NAMES))?;
        for index in 0..NAME_COUNT {
            File::create(export.join(NAMES).join(name(index)))?;
        }
        crowd(&export.join(CROWD), scale.crowd_count)
    }

    /// Makes an image with an ext4 and mounts it.
    fn make_ext4(&self, scale: Scale) -> Result<()> {
        let image = self.scratch_path("ext4.image");
        // Room for the written file and for that of the previous turn, whose blocks are freed when the journal commits.
        File::create(&image)?.set_len(2 * scale.big_bytes)?;
        run_captured(
            Command::new("mkfs.ext4")
                // Without these options, a kernel thread would initialize the ext4 during the measurement.
                .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
                .arg(&image),
        )?;
        let export = self.path(Export::Ext4);
        fs::create_dir(&export)?;
        mounts::mount_file(&image, &export)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // MNT_DETACH: the file system ends when the servers have closed its files. On failure, the end of the mount namespace
        // unmounts it.
        let _ = umount2(self.directory.path(), MntFlags::MNT_DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn chunks_differ_between_offsets_turns_and_seeds() {
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
