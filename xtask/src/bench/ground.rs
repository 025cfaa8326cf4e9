//! The ground that the servers stand on: a network and mounts of our own, and a tree on a tmpfs.
//!
//! Both end with this process; the rest of the machine does not see them.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use tempfile::TempDir;

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

/// Descriptors for us and for each server: the idle connections and some more.
const FILE_MAX: u64 = 16384;

/// How large everything is.
#[derive(Clone, Copy)]
pub struct Scale {
    /// Of the large file.
    pub big_bytes: u64,
    /// In the large directory.
    pub crowd_count: u64,
    /// Small requests in a turn.
    pub request_count: u64,
}

impl Scale {
    /// For figures to be quoted.
    pub const FULL: Self = Self {
        big_bytes: 1 << 30,
        crowd_count: 100_000,
        request_count: 64_000,
    };
    /// For a look.
    pub const QUICK: Self = Self {
        big_bytes: 1 << 28,
        crowd_count: 10_000,
        request_count: 16_000,
    };
}

/// Name number `index` in the directory of names.
pub fn name(index: u64) -> String {
    format!("name-{index:04}")
}

/// The number in a name of the large directory.
pub fn crowd_index(name: &[u8]) -> Option<usize> {
    str::from_utf8(name)
        .ok()?
        .strip_prefix("entry-")?
        .parse()
        .ok()
}

/// The tmpfs with the tree. Unmounted when dropped.
pub struct Ground {
    directory: TempDir,
}

impl Ground {
    /// Leaves the machine's network and mounts for empty ones, and makes the tree there.
    pub fn new(scale: Scale) -> Result<Self> {
        setrlimit(Resource::RLIMIT_NOFILE, FILE_MAX, FILE_MAX)
            .context("cannot raise the limit of open files")?;
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .context("cannot make namespaces for network and mounts")?;
        let nothing: Option<&str> = None;
        mount(
            nothing,
            "/",
            nothing,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            nothing,
        )
        .context("cannot keep mounts to ourselves")?;
        // rpcbind and ganesha leave sockets and process ids here.
        tmpfs(Path::new("/run"))?;
        let status = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status()
            .context("cannot start ip")?;
        ensure!(
            status.success(),
            "ip could not bring loopback up ({status})"
        );

        let directory = TempDir::new().context("cannot make a directory to mount a tmpfs on")?;
        tmpfs(directory.path())?;
        let ground = Self { directory };
        ground.plant(scale).with_context(|| {
            format!(
                "cannot make the tree of {} MiB in memory",
                scale.big_bytes >> 20
            )
        })?;
        Ok(ground)
    }

    /// What is exported.
    pub fn export(&self) -> PathBuf {
        self.directory.path().join("export")
    }

    /// A place beside the export.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn plant(&self, scale: Scale) -> Result<()> {
        let export = self.export();
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
        fs::create_dir(export.join(CROWD))?;
        for index in 0..scale.crowd_count {
            File::create(export.join(CROWD).join(format!("entry-{index:06}")))?;
        }
        Ok(())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Detached at once, it goes when the servers have closed it. If not, the namespace's end does the same.
        let _ = umount2(self.directory.path(), MntFlags::MNT_DETACH);
    }
}

fn tmpfs(place: &Path) -> Result<()> {
    mount(
        Some("tmpfs"),
        place,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )
    .with_context(|| format!("cannot mount a tmpfs on {}", place.display()))
}
