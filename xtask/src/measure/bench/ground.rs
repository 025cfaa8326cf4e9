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
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::syncfs;
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

/// A file of the same size on the tmpfs that is written to.
pub const STANDING: &str = "standing";

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

/// The number in a name of the large directory.
pub fn crowd_index(name: &[u8]) -> Option<usize> {
    str::from_utf8(name)
        .ok()?
        .strip_prefix("entry-")?
        .parse()
        .ok()
}

/// The tmpfs that everything lies in or is mounted in. Unmounted when dropped.
pub struct Ground {
    directory: TempDir,
}

impl Ground {
    /// Leaves the machine's network and mounts for empty ones, and makes all exports there.
    pub fn new(scale: Scale) -> Result<Self> {
        setrlimit(Resource::RLIMIT_NOFILE, FILE_MAX, FILE_MAX)
            .context("cannot raise the limit of open files")?;
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a namespace for the network")?;
        run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
        let ground = Self::in_memory(scale)?;
        ground
            .format(scale)
            .context("cannot make an ext4 in memory")?;
        for place in Place::ALL {
            fs::create_dir(ground.directory_of(place))?;
        }
        run(Command::new("chattr")
            .arg("+D")
            .arg(ground.directory_of(Place::Ext4Synced)))?;
        Ok(ground)
    }

    /// Leaves the machine's mounts for ones of our own, and makes there the tree that is read and the tmpfs that is
    /// written to.
    pub fn in_memory(scale: Scale) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS).context("cannot make a namespace for mounts")?;
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

        let directory = TempDir::new().context("cannot make a directory to mount a tmpfs on")?;
        tmpfs(directory.path())?;
        let ground = Self { directory };
        ground.plant(scale).with_context(|| {
            format!(
                "cannot make the tree of {} MiB in memory",
                scale.big_bytes >> 20
            )
        })?;
        let empty = ground.path(Export::Tmpfs);
        fs::create_dir(&empty)?;
        tmpfs(&empty)?;
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
        fs::create_dir(export.join(CROWD))?;
        for index in 0..scale.crowd_count {
            File::create(export.join(CROWD).join(format!("entry-{index:06}")))?;
        }
        Ok(())
    }

    fn format(&self, scale: Scale) -> Result<()> {
        let image = self.beside("ext4.image");
        // Room for the written file, and for the one before it until the journal has let it go.
        File::create(&image)?.set_len(2 * scale.big_bytes)?;
        run(Command::new("mkfs.ext4")
            // What is put off here would be done during the measurement.
            .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(&image))?;
        let export = self.path(Export::Ext4);
        fs::create_dir(&export)?;
        run(Command::new("mount")
            .args(["-o", "loop"])
            .args([&image, &export]))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Detached at once, it goes when the servers have closed it. If not, the namespace's end does the same.
        let _ = umount2(self.directory.path(), MntFlags::MNT_DETACH);
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
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
